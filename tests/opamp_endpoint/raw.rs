//! Peers that speak as they like. Nothing here is the server's but the messages' types, which
//! `tests/proto_compat.rs` compares with those of opamp-go.

use super::within;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use opamp_operator::opamp::proto::{
    AgentDescription, AgentToServer, RemoteConfigStatus, ServerErrorResponseType, ServerToAgent,
    server_error_response::Details,
};
use prost::Message as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Where the specification puts both transports.
const PATH: &str = "/v1/opamp";

/// Takes and reports configurations.
pub const TAKES_CONFIG: u64 = 0x1 | 0x2 | 0x1000;

/// A message with an agent's full state.
pub fn full(uid: [u8; 16], sequence_num: u64) -> AgentToServer {
    AgentToServer {
        agent_description: Some(AgentDescription::default()),
        remote_config_status: Some(RemoteConfigStatus::default()),
        ..bare(uid, sequence_num)
    }
}

/// A message that says nothing new.
pub fn bare(uid: [u8; 16], sequence_num: u64) -> AgentToServer {
    AgentToServer {
        instance_uid: uid.to_vec(),
        sequence_num,
        capabilities: TAKES_CONFIG,
        ..Default::default()
    }
}

/// Whether a message is a `BAD_REQUEST` and nothing else.
pub fn is_bad_request(message: &ServerToAgent) -> bool {
    let error = message.error_response.as_ref();
    let alone = ServerToAgent {
        instance_uid: message.instance_uid.clone(),
        error_response: message.error_response.clone(),
        ..Default::default()
    };
    error.is_some_and(|error| error.r#type() == ServerErrorResponseType::BadRequest) && *message == alone
}

/// Whether a message is an `UNAVAILABLE` that tells to come back after half a minute to a minute, and nothing else.
pub fn is_unavailable(message: &ServerToAgent) -> bool {
    let Some(error) = &message.error_response else { return false };
    let alone = ServerToAgent {
        instance_uid: message.instance_uid.clone(),
        error_response: message.error_response.clone(),
        ..Default::default()
    };
    let Some(Details::RetryInfo(retry)) = error.details else { return false };
    let pause = Duration::from_nanos(retry.retry_after_nanoseconds).as_secs();
    error.r#type() == ServerErrorResponseType::Unavailable && (30..=60).contains(&pause) && *message == alone
}

/// A message as it stands in a WebSocket message: behind a header, which is 0.
pub fn frame(message: &AgentToServer) -> Bytes {
    [&[0][..], &message.encode_to_vec()].concat().into()
}

/// A WebSocket.
pub struct Socket<S = TcpStream>(pub WebSocketStream<S>);

impl Socket {
    pub async fn open(server: SocketAddr) -> Self {
        Self::on(TcpStream::connect(server).await.expect("a connection"), server).await
    }

    /// One whose system keeps next to nothing of what it does not read.
    pub async fn open_with_little_memory(server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a size");
        Self::on(socket.connect(server).await.expect("a connection"), server).await
    }

    async fn on(stream: TcpStream, server: SocketAddr) -> Self {
        let (socket, _) = client_async(format!("ws://{server}{PATH}"), stream).await.expect("an upgrade");
        Self(socket)
    }

    /// One with this header `Authorization`.
    pub async fn open_with(server: SocketAddr, authorization: &str) -> Self {
        let stream = TcpStream::connect(server).await.expect("a connection");
        Self::over(stream, server, authorization).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// One on a stream that is there, with this header `Authorization` unless it is empty.
    pub async fn over(stream: S, server: SocketAddr, authorization: &str) -> Self {
        let mut request = format!("ws://{server}{PATH}").into_client_request().expect("a request");
        if !authorization.is_empty() {
            request.headers_mut().insert("authorization", authorization.parse().expect("a value"));
        }
        let (socket, _) = client_async(request, stream).await.expect("an upgrade");
        Self(socket)
    }

    pub async fn send(&mut self, message: Message) {
        self.0.send(message).await.expect("sent");
    }

    /// The next message of the server.
    pub async fn next(&mut self) -> ServerToAgent {
        match within("a message", self.0.next()).await {
            Some(Ok(Message::Binary(message))) => {
                let data = message.strip_prefix(&[0]).expect("a header, which is 0");
                ServerToAgent::decode(data).unwrap_or_else(|error| panic!("{error}"))
            }
            other => panic!("no message but {other:?}"),
        }
    }

    /// Sends a message and takes the next one, which is its answer if nothing is pushed.
    pub async fn ask(&mut self, message: &AgentToServer) -> ServerToAgent {
        self.send(Message::Binary(frame(message))).await;
        self.next().await
    }

    /// The code of the Close frame that comes next, other than pings; none if the connection just ends.
    pub async fn closed(&mut self) -> Option<u16> {
        within("the end", async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    Some(Ok(Message::Ping(_))) => {}
                    Some(Ok(other)) => panic!("no end but {other:?}"),
                    Some(Err(_)) | None => return None,
                }
            }
        })
        .await
    }
}

/// An answer over plain HTTP.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The message in the body.
    pub fn message(&self) -> ServerToAgent {
        ServerToAgent::decode(self.body.clone()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

impl Answer {
    /// Whether it tells to come back after half a minute to a minute.
    pub fn is_put_off(&self) -> bool {
        self.header("retry-after").parse().is_ok_and(|seconds: u64| (30..=60).contains(&seconds))
    }
}

/// Sends a request on a connection of its own.
pub async fn request(server: SocketAddr, request: Request<impl Into<Bytes>>) -> Answer {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, Full::new(body.into()));
    within("a response", async {
        let stream = TcpStream::connect(server).await.expect("a connection");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a client");
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("a response");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        driver.abort();
        Answer { status: head.status, headers: head.headers, body }
    })
    .await
}

/// A POST of a message, as clients send it.
pub fn post(message: &AgentToServer) -> Request<Vec<u8>> {
    post_bytes(message.encode_to_vec())
}

/// The same with the bytes of a message.
pub fn post_bytes(message: Vec<u8>) -> Request<Vec<u8>> {
    Request::post(PATH)
        .header("host", "server")
        .header("content-type", "application/x-protobuf")
        .body(message)
        .expect("a request")
}

/// A TCP connection on which a WebSocket was opened, without a client that would know its rules.
pub async fn upgraded_tcp(server: SocketAddr) -> TcpStream {
    upgraded_tcp_with(server, "").await.0
}

/// The same with these header lines more, and the head of the response.
pub async fn upgraded_tcp_with(server: SocketAddr, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nhost: server\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(within("the upgrade", stream.read_u8()).await.expect("a head"));
    }
    let response = String::from_utf8(response).expect("text");
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    (stream, response)
}
