//! Peers that take their time, or send rubbish: each is given up in the end, takes little until then, and delays nobody.
//! Readers of WebSockets are in `websocket`.

use super::limits::{refused_connections, refused_messages};
use super::raw::{Socket, frame, full, post, request, upgraded_tcp};
use super::server::{Server, group, group_of, revision, revision_of, uid};
use super::within;
use hyper::StatusCode;
use opamp_operator::config::ConfigFile;
use opamp_operator::fleet::GroupView;
use opamp_operator::opamp::proto::AgentToServer;
use opamp_operator::opamp::{Limits, PATH};
use opamp_operator::sim::{Behaviour, Profile, Simulated};
use prost::Message as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;

/// How long these servers wait for slow peers.
const SHORT: Duration = Duration::from_millis(300);
/// How often a slow peer sends a byte: often enough that it is never silent for [`SHORT`].
const DRIP: Duration = Duration::from_millis(20);
/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);

/// An agent that has to be served whatever others do.
struct Bystander(Simulated);

impl Bystander {
    async fn join(server: &Server) -> Self {
        let profile = Profile::new(uid(99)).with("bystander", "yes");
        let mut agent = server.agent("ws", profile, Behaviour::Apply);
        within("connected", agent.until(|journal| journal.connected)).await;
        Self(agent)
    }

    /// A group of this agent alone, which wins over others.
    fn group(target: u8) -> GroupView {
        GroupView { priority: 1, ..group_of("bystanders", "bystander", "yes", revision(target)) }
    }

    /// It is offered a configuration, on the connection that it had from the start.
    async fn is_served(&mut self, server: &Server) {
        server.assign([Self::group(1)]);
        within("the bystander's offer", self.0.until(|journal| !journal.offers.is_empty())).await;
        assert_eq!(self.0.journal().connections, 1);
    }
}

/// Sends a little now and then for as long as the server takes it, and returns what the server says meanwhile.
async fn drip(stream: TcpStream, drop: &'static [u8]) -> Vec<u8> {
    let (mut reads, mut writes) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut beat = interval(DRIP);
        while writes.write_all(drop).await.is_ok() {
            beat.tick().await;
        }
    });
    let mut said = Vec::new();
    // The server closes while something is on the way, so that the end may be a reset.
    let _ = within("the end", reads.read_to_end(&mut said)).await;
    dripping.abort();
    said
}

/// A connection on which this was sent.
async fn having_sent(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    stream
}

fn post_head(length: usize) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nhost: server\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// A frame's header that announces a binary message of this length, with a mask of zeros.
fn announced(length: u64) -> Vec<u8> {
    [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()
}

/// The code of a Close frame that comes after any number of empty pongs.
fn close_code(frames: &[u8]) -> Option<u16> {
    match frames {
        [0x8a, 0, rest @ ..] => close_code(rest),
        [0x88, _, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

#[tokio::test]
async fn socket_that_opens_and_says_nothing_is_closed_and_counted() {
    let server = Server::start(Limits { header_read_timeout: SHORT, ..Limits::default() }).await;
    let mut bystander = Bystander::join(&server).await;
    let mut stream = having_sent(&server, b"").await;
    bystander.is_served(&server).await;
    let mut said = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut said)).await;
    assert_eq!(refused_connections(&server, "no_request"), 1);
}

#[tokio::test]
async fn request_whose_head_comes_byte_by_byte_is_given_up() {
    let server = Server::start(Limits { header_read_timeout: SHORT, ..Limits::default() }).await;
    let mut bystander = Bystander::join(&server).await;
    let stream = having_sent(&server, format!("POST {PATH} HTTP/1.1\r\nx-slow: ").as_bytes()).await;
    drip(stream, b"x").await;
    assert_eq!(refused_connections(&server, "no_request"), 1);
    bystander.is_served(&server).await;
}

#[tokio::test]
async fn body_that_comes_byte_by_byte_is_given_up() {
    let server = Server::start(Limits { message_timeout: SHORT, ..Limits::default() }).await;
    let mut bystander = Bystander::join(&server).await;
    let said = drip(having_sent(&server, post_head(100_000).as_bytes()).await, &[0]).await;
    assert!(said.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&said));
    assert_eq!(refused_messages(&server, "late"), 1);
    bystander.is_served(&server).await;
}

#[tokio::test]
async fn websocket_message_that_comes_byte_by_byte_is_given_up() {
    let server = Server::start(Limits { message_timeout: SHORT, ..Limits::default() }).await;
    let mut bystander = Bystander::join(&server).await;
    // A long frame, and one frame that others would have to follow: pings in between make no other message of it.
    let first_of_many = [0x02, 0x81, 0, 0, 0, 0, 0];
    let ping = &[0x89, 0x80, 0, 0, 0, 0];
    for (begun, drop) in [(&announced(100_000)[..], &[0][..]), (&first_of_many, ping)] {
        let mut stream = upgraded_tcp(server.address).await;
        let message = frame(&full(uid(1), 0));
        stream.write_all(&[&announced(message.len() as u64)[..], &message].concat()).await.expect("sent");
        let mut header = [0; 2];
        within("the answer", stream.read_exact(&mut header)).await.expect("a frame");
        let mut answer = vec![0; header[1].into()];
        within("the answer", stream.read_exact(&mut answer)).await.expect("a frame");
        stream.write_all(begun).await.expect("sent");
        let said = drip(stream, drop).await;
        assert_eq!(close_code(&said), Some(1008), "{said:?}");
    }
    assert_eq!(refused_messages(&server, "late"), 2);
    bystander.is_served(&server).await;
}

#[tokio::test]
async fn rubbish_ends_its_connection_only() {
    let server = Server::new().await;
    let mut bystander = Bystander::join(&server).await;
    for rubbish in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0\r\n\r\n", &[0xff; 10_000]]
    {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let _ = stream.write_all(rubbish).await;
        let mut said = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut said)).await;
    }
    assert_eq!(refused_connections(&server, "not_http"), 3);
    bystander.is_served(&server).await;
}

#[tokio::test]
async fn answer_that_is_not_read_is_kept_for_a_while_only() {
    let limits = Limits { write_timeout: SHORT, header_read_timeout: SHORT, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut bystander = Bystander::join(&server).await;
    // More than the server's system keeps of what was not read.
    let big = revision_of(2, &[ConfigFile::new("big.yaml", "", vec![b'#'; 16 << 20])]);
    server.assign([Bystander::group(1), group(Some(big), None)]);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    let mut deaf = socket.connect(server.address).await.expect("a connection");
    let message = full(uid(1), 0).encode_to_vec();
    deaf.write_all(post_head(message.len()).as_bytes()).await.expect("sent");
    deaf.write_all(&message).await.expect("sent");
    within("the deaf one to be given up", async {
        while refused_connections(&server, "slow") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut read = Vec::new();
    let _ = within("the end", deaf.read_to_end(&mut read)).await;
    assert!(read.len() < 16 << 20, "it broke off");
    bystander.is_served(&server).await;
}

/// The code with which a peer is closed that sends most of a message of a million bytes, and then nothing.
async fn almost_sends(server: std::net::SocketAddr) -> Option<u16> {
    let mut stream = upgraded_tcp(server).await;
    // The server may close it before all has gone.
    let _ = stream.write_all(&[announced(1_000_000), vec![0; 900_000]].concat()).await;
    let mut close = [0; 4];
    stream.read_exact(&mut close).await.ok()?;
    close_code(&close)
}

#[tokio::test]
async fn long_messages_that_do_not_end_take_bounded_memory_and_short_ones_pass() {
    // There is memory for four of the longest.
    let limits = Limits {
        max_message_bytes: 1 << 20,
        message_memory_bytes: 0,
        message_timeout: LONG,
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut bystander = Bystander::join(&server).await;
    let mut peers = JoinSet::new();
    for _ in 0..10 {
        peers.spawn(almost_sends(server.address));
    }
    for _ in 0..6 {
        let code = within("a refusal", peers.join_next()).await.expect("a peer").expect("no panic");
        assert_eq!(code, Some(1013));
    }
    assert_eq!(refused_messages(&server, "no_memory"), 6);
    let long = AgentToServer { instance_uid: vec![0; 1_000_000], ..full(uid(1), 0) };
    let answer = request(server.address, post(&long)).await;
    assert_eq!((answer.status, answer.is_put_off()), (StatusCode::SERVICE_UNAVAILABLE, true));
    assert_eq!(refused_messages(&server, "no_memory"), 7);
    // What is short passes on both transports.
    let mut socket = Socket::open(server.address).await;
    assert_eq!(socket.ask(&full(uid(1), 0)).await.error_response, None);
    assert_eq!(request(server.address, post(&full(uid(2), 0))).await.status, StatusCode::OK);
    bystander.is_served(&server).await;
    // And when they are gone there is memory again.
    drop(peers);
    within("memory", async {
        while request(server.address, post(&long)).await.status == StatusCode::SERVICE_UNAVAILABLE {}
    })
    .await;
}
