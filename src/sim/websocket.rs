//! An agent's WebSocket, by a library that knows nothing of our server's side.

use super::access::Stream;
use super::endpoint::Endpoint;
use super::link::Link;
use super::refused::Refused;
use crate::opamp::framing::{frame, unframe};
use crate::opamp::proto::{AgentToServer, ServerToAgent};
use futures::{SinkExt, StreamExt};
use prost::Message as _;
use std::io;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, http::Uri};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// The read buffer of one agent, in bytes. Small, so that a fleet of 10,000 fits beside its server.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Longest message and frame, in bytes, as the specification recommends. Servers send a message in one frame.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// An open WebSocket.
pub struct Socket(WebSocketStream<Box<dyn Stream>>);

impl Link for Socket {
    async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = endpoint.connect().await?;
        let uri: Uri = endpoint.to_string().parse().map_err(io::Error::other)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let request = endpoint
            .access
            .headers()
            .fold(ClientRequestBuilder::new(uri), |request, (name, value)| request.with_header(name, value));
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(failed)?;
        Ok(Self(socket))
    }

    async fn send(&mut self, message: &AgentToServer) -> io::Result<()> {
        self.0.send(Message::Binary(frame(message))).await.map_err(failed)
    }

    async fn receive(&mut self) -> io::Result<ServerToAgent> {
        loop {
            match self.0.next().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(failed)? {
                Message::Binary(message) => {
                    let message = unframe(message).map_err(io::Error::other)?;
                    return ServerToAgent::decode(message).map_err(io::Error::other);
                }
                Message::Close(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.close(None).await.map_err(failed)?;
        while let Some(Ok(_)) = self.0.next().await {}
        Ok(())
    }
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::Http(answer) => Refused::new(answer.status(), answer.headers()).into(),
        other => io::Error::other(other),
    }
}
