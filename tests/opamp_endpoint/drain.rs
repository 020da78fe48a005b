//! The door closes: connections end one after the other, and are served until then.

use super::gate::Tokens;
use super::raw::{Socket, bare, full, upgraded_tcp};
use super::server::{Server, uid};
use super::within;
use futures::StreamExt;
use futures::future::{join_all, select_all};
use opamp_operator::opamp::{Limits, PATH};
use prost::Message as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// So long that only the first connection is ended while a test runs.
fn slowly() -> Limits {
    let hour = Duration::from_hours(1);
    Limits { drain_period: hour, drain_pause: hour, ..Limits::default() }
}

#[tokio::test]
async fn close_frames_are_spread() {
    const SOCKETS: u32 = 40;
    let (drain_period, pause) = (Duration::from_millis(800), Duration::from_millis(20));
    let server = Server::start(Limits { drain_period, ..Limits::default() }).await;
    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        let mut socket = Socket::open(server.address).await;
        socket.ask(&full(uid(u8::try_from(number).expect("few")), 0)).await;
        sockets.push(socket);
    }
    let begin = Instant::now();
    let stopped = server.stop();
    let ends = sockets.into_iter().map(async |mut socket| {
        assert_eq!(socket.closed().await, Some(1001));
        let end = begin.elapsed();
        assert!(within("the end", socket.0.next()).await.is_none());
        end
    });
    let mut ends = join_all(ends).await;
    ends.sort();
    for (place, end) in (0..).zip(&ends) {
        assert!(*end >= pause * place, "place {place}: {ends:?}");
    }
    within("the server", stopped).await.expect("no panic");
}

#[tokio::test]
async fn sockets_are_served_until_their_moment_comes() {
    let server = Server::start(slowly()).await;
    let mut sockets = Vec::new();
    for number in 0..4 {
        let mut socket = Socket::open(server.address).await;
        socket.ask(&full(uid(number), 0)).await;
        sockets.push((number, socket));
    }
    let stopped = server.stop();
    let (code, first, _) = select_all(sockets.iter_mut().map(|(_, socket)| Box::pin(socket.closed()))).await;
    assert_eq!(code, Some(1001));
    sockets.remove(first);
    for (number, socket) in &mut sockets {
        let answer = socket.ask(&bare(uid(*number), 1)).await;
        assert_eq!((answer.instance_uid, answer.error_response), (uid(*number).to_vec(), None));
    }
    assert!(!stopped.is_finished());
    drop(sockets);
    within("the server, which waits for nobody now", stopped).await.expect("no panic");
}

#[tokio::test]
async fn socket_whose_credential_is_taken_away_does_not_wait_for_its_turn() {
    let tokens = Arc::new(Tokens::default());
    tokens.give("first", "one");
    tokens.give("good", "two");
    tokens.give("bad", "three");
    let server = Server::guarded(slowly(), tokens.clone()).await;
    let mut sockets = Vec::new();
    for (number, token) in (0..).zip(["first", "bad", "good", "bad"]) {
        let mut socket = Socket::open_with(server.address, &format!("Bearer {token}")).await;
        socket.ask(&full(uid(number), 0)).await;
        sockets.push(socket);
    }
    let stopped = server.stop();
    let (code, first, _) = select_all(sockets.iter_mut().map(|socket| Box::pin(socket.closed()))).await;
    assert_eq!(code, Some(1001));
    tokens.take("bad");
    for (number, socket) in sockets.iter_mut().enumerate().filter(|(number, _)| *number != first) {
        if number % 2 == 1 {
            assert_eq!(socket.closed().await, Some(1008), "the socket of a token that is gone");
        } else {
            let number = u8::try_from(number).expect("few");
            assert_eq!(socket.ask(&bare(uid(number), 1)).await.instance_uid, uid(number));
        }
    }
    drop(sockets);
    within("the server, which waits for nobody now", stopped).await.expect("no panic");
}

#[tokio::test]
async fn connection_of_polls_is_answered_once_more_and_told_that_it_ends() {
    let server = Server::start(slowly()).await;
    let mut polls = Vec::new();
    for number in 0..3 {
        let mut poll = TcpStream::connect(server.address).await.expect("a connection");
        let head = poll_once(&mut poll, uid(number), 0).await;
        assert!(!head.contains("connection: close"), "{head}");
        polls.push((number, poll));
    }
    let stopped = server.stop();
    // Nothing came on the one whose moment is now, so it ends without a word.
    let ended = polls.iter_mut().map(|(_, poll)| Box::pin(poll.read_u8()));
    let (end, first, _) = within("the end of one", select_all(ended)).await;
    assert_eq!(end.expect_err("the end").kind(), std::io::ErrorKind::UnexpectedEof);
    polls.remove(first);
    for (number, poll) in &mut polls {
        let head = poll_once(poll, uid(*number), 1).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
        assert_eq!(within("the end", poll.read(&mut [0])).await.expect("no error"), 0);
    }
    within("the server", stopped).await.expect("no panic");
}

#[tokio::test]
async fn door_without_connections_closes_at_once() {
    let server = Server::start(slowly()).await;
    let address = server.address;
    let gone = upgraded_tcp(address).await;
    drop(gone);
    within("the server", server.stop()).await.expect("no panic");
    assert!(TcpStream::connect(address).await.is_err());
}

/// Sends a message on a connection that is kept; the head of the response.
async fn poll_once(stream: &mut TcpStream, uid: [u8; 16], sequence: u64) -> String {
    let body = if sequence == 0 { full(uid, 0) } else { bare(uid, sequence) }.encode_to_vec();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: server\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("sent");
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(within("a response", stream.read_u8()).await.expect("a head"));
    }
    let head = String::from_utf8(response).expect("text").to_lowercase().replacen("http/1.1", "HTTP/1.1", 1);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    within("a body", stream.read_exact(&mut body)).await.expect("a body");
    head
}
