//! The rules of messages and answers, over both transports (docs/opamp-conformance.md has the table).

use super::peer::{Peer, bytes, fixed, number, varint};
use super::raw::{Socket, TAKES_CONFIG, bare, frame, full, is_bad_request, upgraded_tcp, upgraded_tcp_with};
use super::server::{Server, group, revision, revision_of, uid};
use super::within;
use futures::StreamExt;
use jiff::Timestamp;
use opamp_operator::config::ConfigFile;
use opamp_operator::opamp::Limits;
use opamp_operator::opamp::proto::{
    AgentToServer, ComponentHealth, ConnectionSettingsRequest, ConnectionSettingsStatus, CustomCapabilities,
    CustomMessage, PackageStatuses, ServerToAgent,
};
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// What this server does: it accepts statuses and effective configurations, and offers configurations.
const WORKS: u64 = 0x1 | 0x2 | 0x4 | 0x20;

/// Whether an answer says only that the message has come.
fn acknowledges(answer: &ServerToAgent, uid: [u8; 16]) -> bool {
    *answer == ServerToAgent { instance_uid: uid.to_vec(), capabilities: WORKS, ..Default::default() }
}

#[tokio::test]
async fn header_may_be_written_longer_than_it_must_be() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    let data = full(uid(1), 0).encode_to_vec();
    for zeros in [1, 2, 10] {
        let mut header = vec![0x80; zeros];
        header[zeros - 1] = 0;
        socket.send(Message::Binary([&header[..], &data].concat().into())).await;
        assert!(acknowledges(&socket.next().await, uid(1)), "{zeros} bytes");
    }
}

#[tokio::test]
async fn message_of_no_bytes_is_a_message_that_lacks_its_uid() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        let answer = peer.says(&[]).await;
        let text = answer.error_response.as_ref().map(|error| error.error_message.as_str());
        assert!(text.is_some_and(|text| text.contains("instance_uid")), "it was read: {text:?}");
        assert_eq!(peer.asks(&full(uid(1), 0)).await.instance_uid, uid(1));
    }
}

/// A message of exactly this length, the header of the WebSocket message included.
fn of_length(length: usize) -> Message {
    let start = frame(&full(uid(1), 0));
    let padding = length - start.len() - varint(2000 << 3 | 2).len() - 2;
    let message = [&start[..], &bytes(2000, &vec![0; padding])].concat();
    assert_eq!(message.len(), length);
    Message::Binary(message.into())
}

#[tokio::test]
async fn longest_message_is_taken_and_one_byte_more_ends_the_connection() {
    let server = Server::start(Limits { max_message_bytes: 1000, ..Limits::default() }).await;
    let mut socket = Socket::open(server.address).await;
    socket.send(of_length(1000)).await;
    assert_eq!(socket.next().await.instance_uid, uid(1));
    socket.send(of_length(1001)).await;
    assert_eq!(socket.closed().await, Some(1009));
}

#[tokio::test]
async fn longest_message_has_64_mebibytes_unless_that_is_set() {
    assert_eq!(Limits::default().max_message_bytes, 64 << 20);
    let server = Server::new().await;
    let mut stream = upgraded_tcp(server.address).await;
    let length = (64_u64 << 20) + 1;
    stream.write_all(&[&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()).await.expect("sent");
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.expect("an orderly end");
    assert_eq!((rest[0], &rest[2..4]), (0x88, &1009_u16.to_be_bytes()[..]), "before any of it came");
}

#[tokio::test]
async fn compression_of_messages_is_not_agreed_on_nor_taken() {
    let server = Server::new().await;
    let offered = "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
    let (mut stream, head) = upgraded_tcp_with(server.address, offered).await;
    assert!(!head.to_ascii_lowercase().contains("sec-websocket-extensions"), "{head}");
    stream.write_all(&[0xc2, 0x81, 0, 0, 0, 0, 0]).await.expect("sent");
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.expect("an orderly end");
    assert_eq!((rest[0], &rest[2..4]), (0x88, &1002_u16.to_be_bytes()[..]));
}

#[tokio::test]
async fn each_message_is_answered_once_in_order_and_under_its_uid() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    let mut expected = Vec::new();
    for count in 0..30 {
        let uid = uid(count % 3);
        if count % 10 == 9 {
            socket.send(Message::Binary(vec![0, 0xff].into())).await;
            expected.push((Vec::new(), true));
        } else {
            socket.send(Message::Binary(frame(&full(uid, u64::from(count / 3))))).await;
            expected.push((uid.to_vec(), false));
        }
    }
    for expected in expected {
        let answer = socket.next().await;
        assert_eq!((answer.instance_uid, answer.error_response.is_some()), expected);
    }
    socket.send(Message::Ping("the end".into())).await;
    assert!(matches!(within("the pong", socket.0.next()).await, Some(Ok(Message::Pong(_)))));
}

#[tokio::test]
async fn error_says_why_and_goes_alone() {
    let server = Server::new().await;
    server.assign([group(Some(revision(1)), None)]);
    let asks_for_a_certificate = AgentToServer {
        connection_settings_request: Some(ConnectionSettingsRequest::default()),
        ..full(uid(1), 0)
    };
    let of_another_version = AgentToServer { instance_uid: b"01H0".to_vec(), ..full(uid(1), 0) };
    for mut peer in Peer::both(&server).await {
        for (what, message) in [
            ("cut off", full(uid(1), 0).encode_to_vec().split_last().expect("bytes").1.to_vec()),
            ("not text where text must be", bytes(3, &bytes(1, &bytes(1, &[0xff])))),
            ("another kind of field", number(1, 7)),
            ("a uid of another length", of_another_version.encode_to_vec()),
            ("a request for a certificate", asks_for_a_certificate.encode_to_vec()),
        ] {
            let answer = peer.says(&message).await;
            assert!(is_bad_request(&answer), "{what}");
            let text = answer.error_response.expect("an error").error_message;
            assert!(text.contains(' '), "{what}: it is for people to read, not {text:?}");
        }
        assert!(server.known(uid(1)).is_none(), "nothing of it was taken in");
    }
}

#[tokio::test]
async fn uid_that_is_not_16_bytes_is_refused_and_echoed() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        for (length, echoed) in [(0, 0), (15, 15), (17, 17), (26, 26), (36, 36), (1000, 0)] {
            let message = AgentToServer { instance_uid: vec![7; length], ..full(uid(1), 0) };
            let answer = peer.asks(&message).await;
            assert!(is_bad_request(&answer), "{length} bytes");
            assert_eq!(answer.instance_uid, vec![7; echoed]);
        }
    }
}

#[tokio::test]
async fn first_answer_has_exactly_what_works_and_nothing_that_was_not_asked_for() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        let everything = AgentToServer {
            capabilities: 0xffff,
            package_statuses: Some(PackageStatuses::default()),
            connection_settings_status: Some(ConnectionSettingsStatus::default()),
            ..full(uid, 0)
        };
        assert!(acknowledges(&peer.asks(&everything).await, uid));
        assert!(acknowledges(&peer.asks(&bare(uid, 1)).await, uid));
    }
}

#[tokio::test]
async fn custom_capabilities_and_messages_are_passed_over_and_the_rest_is_taken_in() {
    let server = Server::new().await;
    let custom = |uid, sequence_num| AgentToServer {
        custom_capabilities: Some(CustomCapabilities {
            capabilities: vec!["io.example.pause/v1".to_owned()],
        }),
        custom_message: Some(CustomMessage {
            capability: "io.example.pause/v1".to_owned(),
            r#type: "status".to_owned(),
            data: vec![0xff; 1000],
        }),
        health: Some(ComponentHealth { healthy: true, ..Default::default() }),
        ..full(uid, sequence_num)
    };
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        assert!(acknowledges(&peer.asks(&custom(uid, 0)).await, uid));
        assert_eq!(server.known(uid).and_then(|agent| agent.healthy), Some(true));
        let alone =
            AgentToServer { custom_message: Some(CustomMessage::default()), capabilities: 0, ..bare(uid, 1) };
        assert!(acknowledges(&peer.asks(&alone).await, uid));
    }
}

#[tokio::test]
async fn fields_values_and_bits_of_later_versions_are_passed_over() {
    let server = Server::new().await;
    server.assign([group(Some(revision(1)), None)]);
    let new = [number(1500, u64::MAX), bytes(1501, b"of a later version"), fixed(1502)].concat();
    let in_it = |parts: &[Vec<u8>]| [&new[..], &parts.concat(), &new].concat();
    let pair = |value: &[u8]| bytes(2, &in_it(&[bytes(1, b"service.name"), bytes(2, value)]));
    let description = in_it(&[pair(&bytes(1, b"collector")), pair(&bytes(1504, b"a later kind of value"))]);
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        let message = in_it(&[
            bytes(1, &uid),
            bytes(3, &description),
            number(4, TAKES_CONFIG | 1 << 40 | 1 << 63),
            bytes(5, &in_it(&[number(1, 1)])),
            bytes(7, &in_it(&[number(2, 99)])),
            number(10, 1 << 40),
        ]);
        let answer = peer.says(&message).await;
        assert!(answer.error_response.is_none() && answer.remote_config.is_some());
        assert_eq!((answer.instance_uid, answer.capabilities, answer.flags), (uid.to_vec(), WORKS, 0));
        let agent = server.known(uid).expect("an agent");
        assert_eq!((agent.attributes.get("service.name"), agent.healthy), (Some("collector"), Some(true)));
    }
}

#[tokio::test]
async fn configuration_above_the_limit_is_not_sent_but_counted_and_awaited() {
    let server = Server::start(Limits { max_message_bytes: 2000, ..Limits::default() }).await;
    let long = revision_of(1, &[ConfigFile::new("long.yaml", "", vec![b'#'; 2000])]);
    server.assign([group(Some(long.clone()), None)]);
    for mut peer in Peer::both(&server).await {
        let (uid, transport) = (uid(peer.number()), ["", "websocket", "http"][usize::from(peer.number())]);
        for message in [full(uid, 0), bare(uid, 1)] {
            assert!(acknowledges(&peer.asks(&message).await, uid));
        }
        assert_eq!(server.metric("opamp_offers_oversized_total"), u64::from(peer.number()), "once for each");
        assert_eq!(server.metric(&format!("opamp_offers_total{{transport=\"{transport}\"}}")), 0);
        // It counts as offered, so a rollout sees that the agent does not apply it.
        let group = group(Some(long.clone()), None);
        let agent = server.known(uid).expect("an agent");
        assert!(agent.due_offer(&group, Timestamp::now()).is_none());
    }
}
