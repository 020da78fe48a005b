//! An agent's plain HTTP connection: each message is a POST, whose response is the server's next message.

use super::endpoint::Endpoint;
use super::link::Link;
use super::refused::Refused;
use crate::opamp::proto::{AgentToServer, ServerToAgent};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, Read};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PROTOBUF: &str = "application/x-protobuf";

/// How long an answer may take, a new connection included. One may never come: the network loses it, or hyper does if the
/// connection ends in the moment in which a request is handed to it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection, opened again when the server has closed it between two polls.
pub struct Client {
    endpoint: Endpoint,
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection, and ends with the client.
    driver: JoinSet<hyper::Result<()>>,
    /// Which of several servers was polled last.
    turn: usize,
    /// Answers that were not taken yet. Never more than the messages that an agent sends without looking, three.
    answers: VecDeque<ServerToAgent>,
}

impl Link for Client {
    async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let mut driver = JoinSet::new();
        let (turn, sender) = connect(endpoint, 0, &mut driver).await?;
        Ok(Self { endpoint: endpoint.clone(), sender, driver, turn, answers: VecDeque::new() })
    }

    async fn send(&mut self, message: &AgentToServer) -> io::Result<()> {
        let answer = timeout(ANSWER_TIMEOUT, self.ask(message)).await??;
        self.answers.push_back(answer);
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<ServerToAgent> {
        match self.answers.pop_front() {
            Some(answer) => Ok(answer),
            None => pending().await,
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.driver.shutdown().await;
        Ok(())
    }
}

impl Client {
    async fn ask(&mut self, message: &AgentToServer) -> io::Result<ServerToAgent> {
        if !self.endpoint.others.is_empty() || self.sender.ready().await.is_err() {
            (self.turn, self.sender) = connect(&self.endpoint, self.turn + 1, &mut self.driver).await?;
        }
        let request = request(&self.endpoint, message).map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        read(response).await
    }
}

async fn connect(
    endpoint: &Endpoint,
    turn: usize,
    driver: &mut JoinSet<hyper::Result<()>>,
) -> io::Result<(usize, SendRequest<Full<Bytes>>)> {
    driver.shutdown().await;
    let (turn, stream) = endpoint.connect_in_turn(turn).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    driver.spawn(connection);
    Ok((turn, sender))
}

fn request(endpoint: &Endpoint, message: &AgentToServer) -> hyper::http::Result<Request<Full<Bytes>>> {
    let request = Request::post(&endpoint.path)
        .header(HOST, &endpoint.authority)
        .header(CONTENT_TYPE, PROTOBUF)
        .header(ACCEPT_ENCODING, "gzip");
    let headers = endpoint.access.headers();
    headers
        .fold(request, |request, (name, value)| request.header(name, value))
        .body(Full::new(message.encode_to_vec().into()))
}

async fn read(response: Response<Incoming>) -> io::Result<ServerToAgent> {
    let (head, body) = response.into_parts();
    let mut body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if head.status != StatusCode::OK {
        return Err(Refused::new(head.status, &head.headers).into());
    }
    if head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        let mut inflated = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut inflated)?;
        body = inflated.into();
    }
    ServerToAgent::decode(body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn poll_that_is_never_answered_fails_after_half_a_minute() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = server.local_addr().expect("an address");
        let endpoint: Endpoint = format!("http://{address}/v1/opamp").parse().expect("an endpoint");
        let mut client = Client::open(&endpoint).await.expect("open");
        let _silent = server.accept().await.expect("a connection");
        let start = Instant::now();
        let error = client.send(&AgentToServer::default()).await.expect_err("no answer");
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, ANSWER_TIMEOUT));
    }
}
