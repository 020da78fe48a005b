//! The WebSocket transport, with peers that break its rules.

use super::raw::{Socket, bare, frame, full, is_bad_request, upgraded_tcp};
use super::server::{Server, group, group_of, revision, revision_of, uid};
use super::{PATIENCE, within};
use futures::{SinkExt, StreamExt};
use opamp_operator::config::ConfigFile;
use opamp_operator::fleet::GroupView;
use opamp_operator::opamp::Limits;
use opamp_operator::opamp::proto::{AgentToServer, ComponentHealth};
use opamp_operator::sim::{Behaviour, Profile};
use prost::Message as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Health nested so deep.
fn nested(depth: usize) -> AgentToServer {
    let mut health = ComponentHealth::default();
    for _ in 0..depth {
        health = ComponentHealth {
            component_health_map: [("part".to_owned(), health)].into(),
            ..Default::default()
        };
    }
    AgentToServer { health: Some(health), ..full(uid(1), 0) }
}

#[tokio::test]
async fn agents_on_one_socket_are_told_apart() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    for number in [1, 2] {
        let answer = socket.ask(&full(uid(number), 0)).await;
        assert_eq!((answer.instance_uid, answer.flags), (uid(number).to_vec(), 0));
    }
    assert_eq!(socket.ask(&bare(uid(1), 1)).await.flags, 0);
    assert_eq!(server.metric("opamp_websocket_active_connections"), 1);
    drop(socket);
    for number in [1, 2] {
        server.until("disconnected", uid(number), |agent| !agent.connected()).await;
    }
    assert_eq!(server.metric("opamp_websocket_active_connections"), 0);
}

#[tokio::test]
async fn message_in_continuation_frames_is_one_message() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    let message = frame(&full(uid(1), 0));
    let pieces: Vec<&[u8]> = message.chunks(7).collect();
    for (place, piece) in pieces.iter().enumerate() {
        let opcode = OpCode::Data(if place == 0 { Data::Binary } else { Data::Continue });
        let piece = Frame::message(piece.to_vec(), opcode, place + 1 == pieces.len());
        socket.send(Message::Frame(piece)).await;
    }
    let answer = socket.next().await;
    assert_eq!((answer.instance_uid, answer.flags), (uid(1).to_vec(), 0));
}

#[tokio::test]
async fn malformed_message_is_answered_and_harms_nobody() {
    let server = Server::new().await;
    let mut agent = server.agent("ws", Profile::new(uid(9)), Behaviour::Apply);
    within("connected", agent.until(|journal| journal.connected)).await;
    let mut socket = Socket::open(server.address).await;
    let good = frame(&full(uid(1), 0));
    let too_deep = frame(&nested(60));
    let [another_header, longer_header] = [&[1][..], &[0x80, 1]].map(|header| [header, &good[1..]].concat());
    for (malformed, message, echoed) in [
        ("no header", &b""[..], 0),
        ("another header", &another_header, 0),
        ("a longer one", &longer_header, 0),
        ("not protobuf", b"\0not protobuf", 0),
        ("cut off", &good[..good.len() - 1], 0),
        ("no uid", b"\0", 0),
        ("too deep", &too_deep[..], 16),
    ] {
        socket.send(Message::Binary(message.to_vec().into())).await;
        let answer = socket.next().await;
        assert!(is_bad_request(&answer), "{malformed}");
        assert_eq!(answer.instance_uid.len(), echoed, "{malformed}");
    }
    assert_eq!(socket.ask(&full(uid(1), 0)).await.instance_uid, uid(1));
    server.assign([group(Some(revision(1)), None)]);
    within("the other agent's offer", agent.until(|journal| !journal.offers.is_empty())).await;
    assert_eq!(agent.journal().connections, 1);
}

#[tokio::test]
async fn health_nested_200_deep_is_refused_and_no_overflow() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    assert!(!is_bad_request(&socket.ask(&nested(20)).await));
    for depth in [200, 10_000] {
        let mut health = Vec::new();
        for _ in 0..depth {
            // A map entry with only a value: that of field 6, of which field 2 is the nested health.
            let entry = [&[0x12][..], &varint(health.len()), &health].concat();
            health = [&[0x32][..], &varint(entry.len()), &entry].concat();
        }
        let message =
            [&[0][..], &bare(uid(1), 1).encode_to_vec(), &[0x2a], &varint(health.len()), &health].concat();
        socket.send(Message::Binary(message.into())).await;
        assert!(is_bad_request(&socket.next().await), "{depth}");
    }
}

fn varint(value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(value as u64, &mut bytes);
    bytes
}

#[tokio::test]
async fn peer_that_breaks_a_rule_is_told_which() {
    let limits = Limits { max_message_bytes: 1000, ..Limits::default() };
    let server = Server::start(limits).await;
    let long = || Message::Binary(vec![0; 1001].into());
    let half = |opcode, last| Message::Frame(Frame::message(vec![0; 600], OpCode::Data(opcode), last));
    for (broken, messages, code) in [
        ("a long message", vec![long()], 1009),
        ("long together", vec![half(Data::Binary, false), half(Data::Continue, true)], 1009),
        ("text", vec![Message::text("{}")], 1003),
        ("a continuation of nothing", vec![half(Data::Continue, true)], 1002),
    ] {
        let mut socket = Socket::open(server.address).await;
        for message in messages {
            // A part that the server did not wait for may not go out any more.
            let _ = socket.0.send(message).await;
        }
        assert_eq!(socket.closed().await, Some(code), "{broken}");
    }
    assert_eq!(server.metric("opamp_websocket_closed_total{reason=\"too_long\"}"), 2);
}

#[tokio::test]
async fn unmasked_frame_ends_the_connection() {
    let server = Server::new().await;
    let mut stream = upgraded_tcp(server.address).await;
    stream.write_all(&[0x82, 0x01, 0x00]).await.expect("sent");
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.expect("an orderly end");
    assert_eq!(rest[..4], [0x88, rest[1], 0x03, 0xea]);
}

#[tokio::test]
async fn close_of_the_peer_is_answered_with_its_code() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    socket.ask(&full(uid(1), 0)).await;
    let close =
        tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 4000.into(), reason: "done".into() };
    socket.send(Message::Close(Some(close))).await;
    assert_eq!(socket.closed().await, Some(4000));
    server.until("disconnected", uid(1), |agent| !agent.connected()).await;
}

#[tokio::test]
async fn silent_peer_is_pinged_and_stays_while_it_answers() {
    let tenth = Duration::from_millis(100);
    let limits = Limits { ping_interval: tenth, idle_deadline: tenth * 100, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut socket = Socket::open(server.address).await;
    socket.ask(&full(uid(1), 0)).await;
    for _ in 0..3 {
        let ping = within("a ping", socket.0.next()).await;
        assert!(matches!(ping, Some(Ok(Message::Ping(_)))), "{ping:?}");
    }
    assert_eq!(socket.ask(&bare(uid(1), 1)).await.flags, 0);
}

#[tokio::test]
async fn ping_of_the_peer_is_answered_with_its_payload() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    socket.send(Message::Ping("are you there".into())).await;
    let pong = within("a pong", socket.0.next()).await;
    assert!(matches!(&pong, Some(Ok(Message::Pong(payload))) if payload == "are you there"), "{pong:?}");
}

#[tokio::test]
async fn peer_that_answers_no_ping_is_closed() {
    let limits = Limits {
        ping_interval: Duration::from_millis(20),
        // Long enough for a ping to come first on a machine that is busy.
        idle_deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let mut stream = upgraded_tcp(server.address).await;
    let message = frame(&full(uid(1), 0));
    let length = 0x80 | u8::try_from(message.len()).expect("short");
    stream.write_all(&[&[0x82, length, 0, 0, 0, 0], &message[..]].concat()).await.expect("sent");
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.expect("an orderly end");
    assert!(rest.windows(2).any(|bytes| bytes == [0x89, 0x00]), "a ping came first");
    assert_eq!(server.metric("opamp_websocket_closed_total{reason=\"idle\"}"), 1);
    assert!(server.known(uid(1)).is_some_and(|agent| !agent.connected()));
}

#[tokio::test]
async fn peer_that_never_speaks_is_closed() {
    let limits = Limits { message_timeout: Duration::from_millis(20), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut socket = Socket::open(server.address).await;
    assert_eq!(socket.closed().await, Some(1008));
}

#[tokio::test]
async fn peer_that_does_not_read_is_closed_and_delays_nobody() {
    let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut deaf = Socket::open_with_little_memory(server.address).await;
    deaf.ask(&full(uid(1), 0)).await;
    let mut agent = server.agent("ws", Profile::new(uid(2)).with("reads", "yes"), Behaviour::Apply);
    within("connected", agent.until(|journal| journal.connected)).await;
    // More than the server's system keeps of what was not read.
    let big = revision_of(1, &[ConfigFile::new("big.yaml", "", vec![b'#'; 16 << 20])]);
    let preferred = GroupView { priority: 1, ..group_of("reading", "reads", "yes", revision(2)) };
    server.assign([preferred, group(Some(big), None)]);
    within("the other agent's offer", agent.until(|journal| !journal.offers.is_empty())).await;
    server.until("the deaf one is disconnected", uid(1), |agent| !agent.connected()).await;
    assert_eq!(server.metric("opamp_websocket_closed_total{reason=\"slow\"}"), 1);
}

#[tokio::test]
async fn shutdown_sends_close_frames_and_waits_for_the_peers() {
    let patient = Limits { close_timeout: PATIENCE, ..Limits::default() };
    let server = Server::start(patient).await;
    let address = server.address;
    let mut polite = Socket::open(address).await;
    polite.ask(&full(uid(1), 0)).await;
    let mut slow = upgraded_tcp(address).await;
    let stopped = server.stop();
    assert_eq!(polite.closed().await, Some(1001));
    // The client library answers the Close frame while it is asked for more.
    assert!(within("the end", polite.0.next()).await.is_none());
    let mut close = [0; 4];
    within("the Close frame", slow.read_exact(&mut close)).await.expect("a frame");
    assert_eq!((close[0], &close[2..]), (0x88, &1001_u16.to_be_bytes()[..]));
    assert!(!stopped.is_finished(), "the slow peer has not answered yet");
    drop(slow);
    within("the server", stopped).await.expect("no panic");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_peer_that_never_answers() {
    let limits = Limits {
        close_timeout: Duration::from_millis(20),
        write_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let _deaf = upgraded_tcp(server.address).await;
    within("the server", server.stop()).await.expect("no panic");
}
