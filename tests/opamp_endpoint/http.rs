//! The plain HTTP transport and the dispatch between the two.

use super::raw::{Socket, bare, full, is_bad_request, post, request, upgraded_tcp};
use super::server::{Server, uid};
use super::within;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use hyper::{Method, Request, StatusCode};
use opamp_operator::opamp::proto::ServerToAgent;
use opamp_operator::opamp::{Limits, PATH};
use prost::Message as _;
use std::io::Read;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    GzEncoder::new(bytes, Compression::best()).read_to_end(&mut compressed).expect("in memory");
    compressed
}

/// A message with one header more, or another one.
fn with(name: &'static str, value: &'static str, body: Vec<u8>) -> Request<Vec<u8>> {
    let mut request = post(&full(uid(1), 0));
    request.headers_mut().insert(name, value.parse().expect("a value"));
    *request.body_mut() = body;
    request
}

#[tokio::test]
async fn both_transports_are_on_one_path() {
    let server = Server::new().await;
    let answer = request(server.address, post(&full(uid(1), 0))).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/x-protobuf"));
    assert_eq!((answer.message().instance_uid, answer.message().capabilities), (uid(1).to_vec(), 0x27));
    let mut socket = Socket::open(server.address).await;
    assert_eq!(socket.ask(&full(uid(2), 0)).await.instance_uid, uid(2));
    for number in [1, 2] {
        assert!(server.known(uid(number)).is_some_and(|agent| agent.connected()));
    }
}

#[tokio::test]
async fn gap_between_two_polls_is_noticed() {
    let server = Server::new().await;
    for (message, flags) in [(full(uid(1), 0), 0), (bare(uid(1), 1), 0), (bare(uid(1), 3), 1)] {
        assert_eq!(request(server.address, post(&message)).await.message().flags, flags);
    }
}

#[tokio::test]
async fn request_that_fits_no_transport_is_refused_with_the_right_status() {
    let server = Server::new().await;
    let plain = |method, path: &str| Request::builder().method(method).uri(path).header("host", "server");
    let empty = Vec::new;
    for (expected, request_of) in [
        (StatusCode::NOT_FOUND, plain(Method::POST, "/").body(empty())),
        (StatusCode::NOT_FOUND, plain(Method::GET, "/v1/opamp/").body(empty())),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, plain(Method::POST, PATH).body(empty())),
        (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            plain(Method::POST, PATH).header("content-type", "application/json").body(empty()),
        ),
        (StatusCode::METHOD_NOT_ALLOWED, plain(Method::DELETE, PATH).body(empty())),
        (
            StatusCode::METHOD_NOT_ALLOWED,
            plain(Method::GET, PATH).header("content-type", "application/x-protobuf").body(empty()),
        ),
        (StatusCode::UPGRADE_REQUIRED, plain(Method::GET, PATH).body(empty())),
        (
            StatusCode::UPGRADE_REQUIRED,
            plain(Method::GET, PATH)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "8")
                .body(empty()),
        ),
        (
            StatusCode::BAD_REQUEST,
            plain(Method::GET, PATH)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .body(empty()),
        ),
    ] {
        let request_of = request_of.expect("a request");
        let shown = format!("{request_of:?}");
        assert_eq!(request(server.address, request_of).await.status, expected, "{shown}");
    }
}

#[tokio::test]
async fn malformed_body_is_a_bad_request_in_both_senses() {
    let server = Server::new().await;
    for body in [b"not protobuf".to_vec(), Vec::new()] {
        let answer = request(server.address, with("x-any", "", body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.header("content-type"), "application/x-protobuf");
        assert!(is_bad_request(&answer.message()));
    }
}

#[tokio::test]
async fn bodies_may_be_compressed_in_both_directions() {
    let server = Server::new().await;
    let body = gzip(&full(uid(1), 0).encode_to_vec());
    let mut compressed = with("content-encoding", "gzip", body);
    compressed.headers_mut().insert("accept-encoding", "gzip".parse().expect("a value"));
    let answer = request(server.address, compressed).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (StatusCode::OK, "gzip"));
    let mut inflated = Vec::new();
    GzDecoder::new(&answer.body[..]).read_to_end(&mut inflated).expect("gzip");
    assert!(ServerToAgent::decode(&inflated[..]).is_ok_and(|message| message.instance_uid == uid(1)));
    for value in ["identity", "gzip;q=0"] {
        let plain =
            request(server.address, with("accept-encoding", value, full(uid(1), 1).encode_to_vec())).await;
        assert_eq!((plain.header("content-encoding"), plain.message().instance_uid), ("", uid(1).to_vec()));
    }
}

#[tokio::test]
async fn answer_is_compressed_for_whoever_takes_that() {
    let server = Server::new().await;
    for (accepted, coding) in [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("br, gzip;q=0.5", "gzip"),
        ("deflate;q=1, *;q=0.1", "gzip"),
        ("identity", ""),
        ("gzip;q=0, *", ""),
        ("gzip; q=0.000", ""),
        ("br", ""),
    ] {
        let asked = with("accept-encoding", accepted, full(uid(1), 0).encode_to_vec());
        let answer = request(server.address, asked).await;
        assert_eq!(
            (answer.status, answer.header("content-encoding")),
            (StatusCode::OK, coding),
            "{accepted}"
        );
    }
}

#[tokio::test]
async fn media_type_and_codings_are_read_as_http_defines_them() {
    let server = Server::new().await;
    let message = || full(uid(1), 0).encode_to_vec();
    for (expected, name, value, body) in [
        (StatusCode::OK, "content-type", "Application/X-Protobuf", message()),
        (StatusCode::OK, "content-type", "application/x-protobuf; messageType=\"AgentToServer\"", message()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "application/x-protobuf2", message()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "application/protobuf", message()),
        (StatusCode::OK, "content-encoding", "identity", message()),
        (StatusCode::OK, "content-encoding", "GZip", gzip(&message())),
        (StatusCode::OK, "content-encoding", "x-gzip", gzip(&message())),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding", "deflate", message()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding", "gzip, gzip", gzip(&gzip(&message()))),
    ] {
        let answer = request(server.address, with(name, value, body)).await;
        assert_eq!(answer.status, expected, "{name}: {value}");
        if expected == StatusCode::UNSUPPORTED_MEDIA_TYPE && name == "content-encoding" {
            assert_eq!(answer.header("accept-encoding"), "gzip, identity");
        }
    }
    let mut twice = with("content-encoding", "gzip", gzip(&message()));
    twice.headers_mut().append("content-encoding", "br".parse().expect("a value"));
    assert_eq!(request(server.address, twice).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn body_that_cannot_be_taken_gets_the_right_status() {
    let limits = Limits { max_message_bytes: 100_000, ..Limits::default() };
    let server = Server::start(limits).await;
    let bomb = gzip(&vec![0; 50_000_000]);
    assert!(bomb.len() < 100_000);
    for (name, expected, request_of) in [
        ("bomb", StatusCode::PAYLOAD_TOO_LARGE, with("content-encoding", "gzip", bomb)),
        ("long", StatusCode::PAYLOAD_TOO_LARGE, with("x-any", "", vec![0; 100_001])),
        ("unknown encoding", StatusCode::UNSUPPORTED_MEDIA_TYPE, with("content-encoding", "br", Vec::new())),
        ("not gzip", StatusCode::BAD_REQUEST, with("content-encoding", "gzip", b"plain".to_vec())),
    ] {
        assert_eq!(request(server.address, request_of).await.status, expected, "{name}");
    }
    assert_eq!(request(server.address, post(&full(uid(1), 0))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn chunked_body_is_bounded_too() {
    let limits = Limits { max_message_bytes: 1000, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let body = [&head, &chunk, &chunk, &chunk, "0\r\n\r\n"].concat();
    stream.write_all(body.as_bytes()).await.expect("sent");
    let mut response = String::new();
    within("the response", stream.read_to_string(&mut response)).await.expect("text");
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn chunked_bomb_is_refused() {
    let limits = Limits { max_message_bytes: 10_000, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: server\r\nconnection: close\r\ncontent-encoding: gzip\r\n\
         content-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let bomb = gzip(&vec![0; 5_000_000]);
    assert!(bomb.len() < 10_000);
    for piece in bomb.chunks(100) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        stream.write_all(&chunk).await.expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    let mut response = String::new();
    within("the response", stream.read_to_string(&mut response)).await.expect("text");
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn body_that_does_not_come_is_not_waited_for() {
    let limits = Limits { message_timeout: Duration::from_millis(20), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: server\r\ncontent-length: 100\r\ncontent-type: application/x-protobuf\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut response = [0; 12];
    within("the response", stream.read_exact(&mut response)).await.expect("a response");
    assert_eq!(&response, b"HTTP/1.1 408");
}

#[tokio::test]
async fn head_that_does_not_come_ends_the_connection() {
    let limits = Limits { header_read_timeout: Duration::from_millis(20), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(b"POST /v1/opamp HTTP/1.1\r\nhost:").await.expect("sent");
    let mut rest = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn connection_above_the_limit_is_told_to_come_back() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = Server::start(limits).await;
    let first = upgraded_tcp(server.address).await;
    let answer = request(server.address, post(&full(uid(1), 0))).await;
    assert_eq!((answer.status, answer.is_put_off()), (StatusCode::SERVICE_UNAVAILABLE, true));
    assert_eq!(server.metric("opamp_connections_refused_total{reason=\"too_many\"}"), 1);
    drop(first);
    within("the place to become free", async {
        while request(server.address, post(&full(uid(1), 0))).await.status != StatusCode::OK {}
    })
    .await;
}
