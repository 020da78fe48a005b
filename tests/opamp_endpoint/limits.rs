//! Each limit refuses what is above it, says so, counts it, and leaves those alone that are below.

use super::gate::{Tokens, upgrade, with};
use super::raw::{Socket, bare, frame, full, is_bad_request, is_unavailable, post, request};
use super::server::{Server, uid};
use super::within;
use hyper::{Request, StatusCode};
use opamp_operator::opamp::Limits;
use opamp_operator::opamp::proto::{AgentDescription, AgentToServer, AnyValue, KeyValue, any_value};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many refused connections are told so at the same time.
const TOLD: usize = 64;

pub fn refused_connections(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("opamp_connections_refused_total{{reason=\"{reason}\"}}"))
}

pub fn refused_messages(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("opamp_messages_refused_total{{reason=\"{reason}\"}}"))
}

/// An agent with this many attributes of both kinds, with these names in front.
fn described(number: u8, identifying: usize, others: usize) -> AgentToServer {
    let attributes = |name: &'static str, count: usize| {
        (0..count).map(move |number| KeyValue {
            key: format!("{name}{number}"),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue("value".to_owned())) }),
        })
    };
    let description = AgentDescription {
        identifying_attributes: attributes("i", identifying).collect(),
        non_identifying_attributes: attributes("o", others).collect(),
    };
    AgentToServer { agent_description: Some(description), ..full(uid(number), 0) }
}

#[tokio::test]
async fn connections_that_come_too_fast_are_put_off_by_different_times_and_open_ones_go_on() {
    let limits = Limits { max_connection_rate: NonZeroU32::MIN, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut early = Socket::open(server.address).await;
    early.ask(&full(uid(1), 0)).await;
    let (mut upgrades, mut polls) = (BTreeSet::new(), BTreeSet::new());
    within("twenty refusals of each kind", async {
        let mut refused = 0;
        while refused < 40 {
            for (pauses, asked) in [(&mut upgrades, upgrade()), (&mut polls, post(&full(uid(2), 0)))] {
                let answer = request(server.address, asked).await;
                if answer.status == StatusCode::SERVICE_UNAVAILABLE {
                    assert!(answer.is_put_off(), "{:?}", answer.headers);
                    pauses.insert(answer.header("retry-after").to_owned());
                    refused += 1;
                }
            }
        }
    })
    .await;
    assert!(upgrades.len() > 1 && polls.len() > 1, "{upgrades:?} {polls:?}");
    assert!(refused_connections(&server, "too_fast") >= 40);
    assert_eq!(early.ask(&bare(uid(1), 1)).await.flags, 0);
}

#[tokio::test]
async fn refused_peers_that_say_nothing_are_few_and_the_rest_is_dropped() {
    // Longer than the test, so that only those are dropped to whom nobody has listened.
    let patient = Limits { header_read_timeout: Duration::from_mins(10), ..Limits::default() };
    let server = Server::start(Limits { max_connections: 1, ..patient }).await;
    let mut first = Socket::open(server.address).await;
    first.ask(&full(uid(1), 0)).await;
    let mut peers = JoinSet::new();
    for _ in 0..TOLD + 30 {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        peers.spawn(async move { stream.read_u8().await.is_err() });
    }
    for _ in 0..30 {
        let dropped = within("one that is dropped", peers.join_next()).await;
        assert!(dropped.is_some_and(|dropped| dropped.expect("no panic")), "without a word");
    }
    assert_eq!(peers.len(), TOLD, "the others may still ask");
    assert_eq!(refused_connections(&server, "too_many"), TOLD as u64 + 30);
    assert_eq!(first.ask(&bare(uid(1), 1)).await.flags, 0);
}

#[tokio::test]
async fn agents_above_the_limit_are_put_off_on_both_transports_and_known_ones_go_on() {
    let server = Server::start(Limits { max_agents: 2, ..Limits::default() }).await;
    let mut socket = Socket::open(server.address).await;
    assert_eq!(socket.ask(&full(uid(1), 0)).await.error_response, None);
    assert_eq!(request(server.address, post(&full(uid(2), 0))).await.status, StatusCode::OK);
    let answer = socket.ask(&full(uid(3), 0)).await;
    assert!(is_unavailable(&answer), "the socket stays open");
    assert_eq!(answer.instance_uid, uid(3));
    let answer = request(server.address, post(&full(uid(3), 0))).await;
    assert_eq!((answer.status, answer.is_put_off()), (StatusCode::SERVICE_UNAVAILABLE, true));
    assert!(is_unavailable(&answer.message()));
    assert!(server.known(uid(3)).is_none());
    assert_eq!(refused_messages(&server, "too_many_agents"), 2);
    assert_eq!(
        server.metric("opamp_messages_total{transport=\"http\",kind=\"description\",result=\"unavailable\"}"),
        1
    );
    for number in [1, 2] {
        assert_eq!(socket.ask(&bare(uid(number), 1)).await.error_response, None, "agent {number}");
    }
}

#[tokio::test]
async fn holder_of_one_credential_cannot_take_the_places_of_others() {
    let tokens = Arc::new(Tokens::default());
    tokens.give("bad", "attacker");
    tokens.give("good", "fleet");
    let limits = Limits { max_agents: 10, max_agents_per_credential: 3, ..Limits::default() };
    let server = Server::guarded(limits, tokens).await;
    let poll = async |token: &str, number, sequence| {
        let message = full(uid(number), sequence);
        request(server.address, with(post(&message), &format!("Bearer {token}"))).await.status.as_u16()
    };
    let mut statuses = Vec::new();
    for number in 0..8 {
        statuses.push(poll("bad", number, 0).await);
    }
    assert_eq!(statuses, [200, 200, 200, 503, 503, 503, 503, 503]);
    assert_eq!(poll("bad", 1, 1).await, 200, "one that is known");
    for number in 100..103 {
        assert_eq!(poll("good", number, 0).await, 200);
    }
    assert_eq!(refused_messages(&server, "too_many_agents_of_credential"), 5);
}

#[tokio::test]
async fn agents_of_one_namespace_leave_connections_for_the_others() {
    let tokens = Arc::new(Tokens::default());
    tokens.give("one", "first");
    tokens.give("two", "second");
    tokens.give_elsewhere("other", "elsewhere", "first");
    let limits = Limits { max_connections_per_namespace: 2, ..Limits::default() };
    let server = Server::guarded(limits, tokens).await;
    let ask = async |asked: Request<Vec<u8>>, token: &str| {
        request(server.address, with(asked, &format!("Bearer {token}"))).await
    };
    let mut socket = Socket::open_with(server.address, "Bearer one").await;
    let second = Socket::open_with(server.address, "Bearer two").await;
    for asked in [upgrade(), post(&full(uid(3), 0))] {
        let answer = ask(asked, "two").await;
        assert_eq!((answer.status, answer.is_put_off()), (StatusCode::SERVICE_UNAVAILABLE, true));
    }
    assert_eq!(refused_connections(&server, "too_many_of_namespace"), 2);
    assert_eq!(ask(post(&full(uid(4), 0)), "other").await.status, StatusCode::OK);
    assert_eq!(socket.ask(&full(uid(1), 0)).await.error_response, None, "what is open goes on");

    drop(second);
    within("a place that came free", async {
        while ask(post(&full(uid(3), 0)), "two").await.status != StatusCode::OK {}
    })
    .await;
    // Over plain HTTP a place is for as long as the connection, so one after the other finds one.
    for sequence in 1..5 {
        within("the place of the poll before", async {
            while ask(post(&bare(uid(3), sequence)), "two").await.status != StatusCode::OK {}
        })
        .await;
    }
}

#[tokio::test]
async fn attributes_above_the_limit_are_dropped_the_identifying_ones_last() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    for (number, identifying, others, kept, dropped) in
        [(1, 28, 100, 128, 0), (2, 28, 101, 128, 1), (3, 1000, 1000, 128, 2)]
    {
        let answer = socket.ask(&described(number, identifying, others)).await;
        assert_eq!((answer.error_response, answer.flags), (None, 0));
        let agent = server.known(uid(number)).expect("known");
        let names = |name: &'static str| (0..1000).map(move |number| format!("{name}{number}"));
        let has = |key: &String| agent.attributes.get(key).is_some();
        assert_eq!(names("i").filter(has).count(), identifying.min(128));
        assert_eq!(names("i").chain(names("o")).filter(has).count(), kept);
        assert_eq!(refused_messages(&server, "too_many_attributes"), dropped);
    }
}

#[tokio::test]
async fn message_that_would_be_far_larger_when_decoded_is_refused_before() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    let bomb = described(1, 20_000, 20_000);
    let answer = socket.ask(&bomb).await;
    assert!(is_bad_request(&answer));
    assert_eq!(answer.instance_uid, uid(1));
    let answer = request(server.address, post(&bomb)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(is_bad_request(&answer.message()));
    assert_eq!(refused_messages(&server, "too_many_fields"), 2);
    assert!(server.known(uid(1)).is_none());
    assert_eq!(socket.ask(&full(uid(1), 0)).await.error_response, None);
}

#[tokio::test]
async fn messages_that_are_too_long_are_counted() {
    let server = Server::start(Limits { max_message_bytes: 1000, ..Limits::default() }).await;
    let long = described(1, 100, 0);
    let mut socket = Socket::open(server.address).await;
    let message = frame(&long);
    socket.send(tokio_tungstenite::tungstenite::Message::Binary(message)).await;
    assert_eq!(socket.closed().await, Some(1009));
    assert_eq!(request(server.address, post(&long)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(refused_messages(&server, "too_long"), 2);
}
