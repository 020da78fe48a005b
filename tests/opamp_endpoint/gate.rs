//! Who is let in: nothing is taken from a peer that shows no credential, or not a good one.

use super::raw::{Answer, Socket, bare, full, post, request};
use super::server::{NAMESPACE, Server, uid};
use super::within;
use futures::future::BoxFuture;
use hyper::{Request, StatusCode};
use opamp_operator::fleet::{Attributes, Principal, TokenName};
use opamp_operator::opamp::credentials::{
    Authorization, Credentials, Known, Refusal, Shown, TokenDigest, digest_of,
};
use opamp_operator::opamp::{Limits, PATH};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Tokens that a test gives out and takes away.
#[derive(Default)]
pub struct Tokens {
    known: Mutex<HashMap<TokenDigest, Arc<Principal>>>,
    changes: watch::Sender<u64>,
}

impl Tokens {
    /// The holder of this token is `identity`.
    pub fn give(&self, token: &str, identity: &str) {
        self.put(token, Principal::new(NAMESPACE, identity, Attributes::default()));
    }

    /// The same, where the token stands under this key.
    pub fn give_key(&self, token: &str, identity: &str, key: &str) {
        self.put(token, Self::holder(identity, key));
    }

    /// The holder of this token is `identity` in another namespace.
    pub fn give_elsewhere(&self, token: &str, namespace: &str, identity: &str) {
        self.put(token, Principal::new(namespace, identity, Attributes::default()));
    }

    /// Who speaks by the token of this key.
    pub fn holder(identity: &str, key: &str) -> Principal {
        let (_, secret) = identity.split_once('/').expect("a namespace");
        let token = TokenName { secret: secret.into(), key: key.into() };
        Principal::new(NAMESPACE, identity, Attributes::default()).by(token)
    }

    fn put(&self, token: &str, principal: Principal) {
        self.known.lock().expect("a table").insert(digest_of(token.as_bytes()), principal.into());
        self.changes.send_modify(|change| *change += 1);
    }

    /// Nobody holds this token any more.
    pub fn take(&self, token: &str) {
        self.known.lock().expect("a table").remove(&digest_of(token.as_bytes()));
        self.changes.send_modify(|change| *change += 1);
    }
}

impl Credentials for Tokens {
    fn look_up(&self, shown: &Shown) -> Known {
        match &shown.authorization {
            Authorization::Absent => Known::Refused(Refusal::Missing),
            Authorization::Other => Known::Refused(Refusal::Malformed),
            Authorization::Bearer(token) => {
                let known = self.known.lock().expect("a table").get(token.digest()).cloned();
                known.map_or(Known::Refused(Refusal::Unknown), Known::Granted)
            }
        }
    }

    fn ask<'a>(&'a self, _: &'a Shown) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>> {
        Box::pin(async { Err(Refusal::Unknown) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

async fn server(limits: Limits) -> (Arc<Tokens>, Server) {
    let tokens = Arc::new(Tokens::default());
    tokens.give("good", "one");
    (tokens.clone(), Server::guarded(limits, tokens).await)
}

pub fn with(mut request: Request<Vec<u8>>, authorization: &str) -> Request<Vec<u8>> {
    if !authorization.is_empty() {
        request.headers_mut().insert("authorization", authorization.parse().expect("a value"));
    }
    request
}

/// A request that opens a WebSocket.
pub fn upgrade() -> Request<Vec<u8>> {
    Request::get(PATH)
        .header("host", "server")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Vec::new())
        .expect("a request")
}

fn is_refused(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
        && answer.header("www-authenticate") == "Bearer"
        && answer.body.is_empty()
}

#[tokio::test]
async fn peer_without_a_good_token_is_refused_on_both_transports_and_leaves_no_trace() {
    let (_, server) = server(Limits::default()).await;
    for authorization in ["", "Bearer bad", "Bearer", "Basic good", "good", "Bearer good good"] {
        for unproven in [post(&full(uid(1), 0)), upgrade()] {
            let answer = request(server.address, with(unproven, authorization)).await;
            assert!(is_refused(&answer), "{authorization:?}: {} {:?}", answer.status, answer.headers);
        }
    }
    assert!(server.known(uid(1)).is_none());
    assert_eq!(
        server.metric("opamp_messages_total{transport=\"http\",kind=\"description\",result=\"ok\"}"),
        0
    );
    assert_eq!(server.metric("opamp_connections_refused_total{reason=\"missing\"}"), 2);
    assert_eq!(server.metric("opamp_connections_refused_total{reason=\"malformed\"}"), 6);
    assert_eq!(server.metric("opamp_connections_refused_total{reason=\"unknown\"}"), 4);
}

#[tokio::test]
async fn peer_with_a_good_token_is_served_whatever_its_other_headers_say() {
    let (_, server) = server(Limits::default()).await;
    let mut asked = with(post(&full(uid(1), 0)), "bearer good");
    for name in ["x-agent-id", "opamp-instance-uid"] {
        asked.headers_mut().insert(name, "01010101-0101-0101-0101-010101010101".parse().expect("a value"));
    }
    let answer = request(server.address, asked).await;
    assert_eq!((answer.status, answer.message().instance_uid), (StatusCode::OK, uid(1).to_vec()));
    assert!(server.known(uid(1)).is_some());
    assert_eq!(
        request(server.address, with(upgrade(), "Bearer good")).await.status,
        StatusCode::SWITCHING_PROTOCOLS
    );
}

#[tokio::test]
async fn refusal_comes_before_the_body() {
    let (_, server) = server(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: server\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut response = [0; 13];
    within("the refusal", stream.read_exact(&mut response)).await.expect("a response");
    assert_eq!(&response, b"HTTP/1.1 401 ");
}

#[tokio::test]
async fn address_that_was_refused_too_often_is_told_to_wait_and_a_good_token_still_opens() {
    let (_, server) = server(Limits { max_refused_attempts: 3, ..Limits::default() }).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let answer = request(server.address, with(post(&full(uid(1), 0)), "Bearer bad")).await;
        statuses.push((answer.status.as_u16(), answer.is_put_off()));
    }
    assert_eq!(statuses, [(401, false), (401, false), (401, false), (429, true), (429, true)]);
    assert_eq!(server.metric("opamp_connections_refused_total{reason=\"throttled\"}"), 2);
    let answer = request(server.address, with(post(&full(uid(1), 0)), "Bearer good")).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn sockets_of_a_token_that_is_taken_away_are_closed_and_its_polls_refused() {
    let (tokens, server) = server(Limits::default()).await;
    tokens.give("other", "two");
    let mut sockets = Vec::new();
    for number in 0..4 {
        let mut socket = Socket::open_with(server.address, "Bearer good").await;
        socket.ask(&full(uid(number), 0)).await;
        sockets.push(socket);
    }
    let mut other = Socket::open_with(server.address, "Bearer other").await;
    other.ask(&full(uid(9), 0)).await;
    tokens.take("good");
    let poll = request(server.address, with(post(&bare(uid(8), 0)), "Bearer good")).await;
    assert!(is_refused(&poll));
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, Some(1008));
    }
    assert_eq!(server.metric("opamp_websocket_closed_total{reason=\"revoked\"}"), 4);
    server.until("the agent to be disconnected", uid(0), |agent| !agent.connected()).await;
    assert_eq!(other.ask(&bare(uid(9), 1)).await.instance_uid, uid(9), "another credential's stays");
}

#[tokio::test]
async fn socket_is_closed_when_it_has_been_open_for_long_enough() {
    let limits = Limits { max_age: Duration::from_millis(40), ..Limits::default() };
    let (_, server) = server(limits).await;
    let mut socket = Socket::open_with(server.address, "Bearer good").await;
    assert_eq!(socket.closed().await, Some(1001));
    assert_eq!(server.metric("opamp_websocket_closed_total{reason=\"aged\"}"), 1);
}

#[tokio::test]
async fn uid_of_another_credential_is_answered_with_a_new_one() {
    let (tokens, server) = server(Limits::default()).await;
    tokens.give("rotated", "one");
    tokens.give("other", "two");
    let ask = async |message, token: &str| {
        request(server.address, with(post(&message), &format!("Bearer {token}"))).await.message()
    };
    assert!(ask(full(uid(1), 0), "good").await.agent_identification.is_none());
    for message in [full(uid(1), 0), bare(uid(1), 1)] {
        let given = ask(message, "other").await;
        assert_eq!(given.instance_uid, uid(1), "it has to know that it is meant");
        let new = given.agent_identification.expect("a new uid").new_instance_uid;
        assert!(new.len() == 16 && new != uid(1));
    }
    let goes_on = ask(bare(uid(1), 1), "rotated").await;
    assert!(goes_on.agent_identification.is_none() && goes_on.flags == 0, "another token of the same holder");
}
