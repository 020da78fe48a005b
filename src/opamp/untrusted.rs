//! What peers can make the door do, as functions of bytes: for the fuzz targets in `fuzz/` and for the run of their
//! seeds. The program itself uses none of it.

use super::http;
use super::hub::{Attachment, Hub};
use super::offer::Encoded;
use super::websocket::{Decoder, Event};
use crate::fleet::{Link, Principal};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a stream of frames came to.
#[derive(Default, PartialEq, Eq)]
pub struct Frames {
    /// The payloads of binary messages, in order.
    pub messages: Vec<Bytes>,
    /// The payloads of pings, in order.
    pub pings: Vec<Bytes>,
    /// Whether the stream was ended, by a Close frame or by a broken rule.
    pub ended: bool,
}

/// Reads a stream that comes in these pieces, with messages of at most `limit` bytes.
pub fn read_frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Frames {
    let mut decoder = Decoder::new(limit);
    let mut frames = Frames::default();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => frames.messages.push(message),
                Ok(Some(Event::Ping(payload))) => frames.pings.push(payload),
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(_))) | Err(_) => {
                    frames.ended = true;
                    return frames;
                }
            }
        }
    }
    frames
}

/// Reads a body over plain HTTP that came with these headers, to at most `limit` bytes.
pub fn read_body(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, StatusCode> {
    http::decode(headers, body, limit)
}

/// Agents that talk to a hub: some on sockets, some by polls.
pub struct Agents {
    hub: Arc<Hub>,
    limit: usize,
    sockets: BTreeMap<u8, Attachment>,
}

impl Agents {
    /// Agents of this hub, that are sent messages of at most `limit` bytes.
    pub fn new(hub: Arc<Hub>, limit: usize) -> Self {
        Self { hub, limit, sockets: BTreeMap::new() }
    }

    /// Takes in what the holder of a credential says on a socket; it is opened with the first message. Returns the
    /// answer, and whatever is pushed then.
    pub fn say_on(&mut self, socket: u8, principal: &Arc<Principal>, message: Bytes) -> Vec<Vec<u8>> {
        let attach = || self.hub.attach(principal.clone(), self.limit);
        let socket = self.sockets.entry(socket).or_insert_with(attach);
        let answer = socket.receive(message);
        let pushes = std::iter::from_fn(|| socket.next_push());
        std::iter::once(answer).chain(pushes).map(|message| joined(&message)).collect()
    }

    /// Takes in what the holder of a credential says in a poll; returns the answer.
    pub fn poll(&self, principal: &Arc<Principal>, message: Bytes) -> Vec<u8> {
        joined(&self.hub.receive(principal, Link::Polling, message, self.limit).encoded)
    }

    /// Ends a socket.
    pub fn close(&mut self, socket: u8) {
        self.sockets.remove(&socket);
    }
}

fn joined(message: &Encoded) -> Vec<u8> {
    [&message.head[..], &message.files].concat()
}
