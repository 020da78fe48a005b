//! An agent that says what it likes over either transport, and protobuf made by hand.

use super::raw::{Socket, post_bytes, request};
use super::server::Server;
use opamp_operator::opamp::proto::{AgentToServer, ServerToAgent};
use prost::Message as _;
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::Message;

/// One agent's connection.
pub enum Peer {
    Socket(Box<Socket>),
    Polling(SocketAddr),
}

impl Peer {
    /// One over each transport.
    pub async fn both(server: &Server) -> [Self; 2] {
        [Self::Socket(Socket::open(server.address).await.into()), Self::Polling(server.address)]
    }

    /// Sends a message and takes the next one: its answer, if nothing is pushed.
    pub async fn asks(&mut self, message: &AgentToServer) -> ServerToAgent {
        self.says(&message.encode_to_vec()).await
    }

    /// The same with the bytes of a message.
    pub async fn says(&mut self, message: &[u8]) -> ServerToAgent {
        match self {
            Self::Socket(socket) => {
                socket.send(Message::Binary([&[0], message].concat().into())).await;
                socket.next().await
            }
            Self::Polling(server) => request(*server, post_bytes(message.to_vec())).await.message(),
        }
    }

    /// A number that tells the transports apart, for uids.
    pub fn number(&self) -> u8 {
        match self {
            Self::Socket(_) => 1,
            Self::Polling(_) => 2,
        }
    }
}

/// A field with a number in it.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field with bytes, a text or a message in it.
pub fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2)[..], &varint(value.len() as u64), value].concat()
}

/// A field of four bytes and one of eight.
pub fn fixed(field: u64) -> Vec<u8> {
    [&varint(field << 3 | 5)[..], &[4; 4], &varint((field + 1) << 3 | 1), &[8; 8]].concat()
}

/// A number as it is written.
pub fn varint(value: u64) -> Vec<u8> {
    let mut rest = value;
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
