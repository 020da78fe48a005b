//! Received bytes to messages. Pure: it is fed, and asked what is complete.

use super::frame::{Header, Opcode, Violation, unmask};
use bytes::Bytes;

/// Something complete that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A binary message, joined of all its frames.
    Message(Bytes),
    /// A ping with its payload, which the pong repeats.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The client closes, for the reason with this code if it gave one.
    Close(Option<u16>),
}

/// Reads one connection. It holds memory only while something is incomplete, and no more than was received: a
/// length that a peer announces reserves nothing.
pub struct Decoder {
    /// Longest message, in bytes.
    limit: usize,
    /// Received and not yet read.
    input: Vec<u8>,
    /// The frame whose payload is being received.
    frame: Option<Frame>,
    /// The payload of a binary message so far.
    message: Option<Vec<u8>>,
    /// The payload of a control frame so far.
    control: Vec<u8>,
}

struct Frame {
    header: Header,
    /// How much of the payload has been received.
    received: u64,
}

impl Decoder {
    /// A decoder for messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, input: Vec::new(), frame: None, message: None, control: Vec::new() }
    }

    /// Takes in received bytes. Call [`Decoder::next`] until it returns nothing before the next ones, so that
    /// they do not pile up.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// What is complete next; nothing if more bytes are needed. After a violation the decoder is of no use.
    pub fn next(&mut self) -> Result<Option<Event>, Violation> {
        let mut used = 0;
        let event = loop {
            match self.step(&mut used)? {
                Step::Starved => break None,
                Step::Event(event) => break Some(event),
                Step::Onward => {}
            }
        };
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(event)
    }

    /// Whether a frame or a message has begun and not ended.
    pub fn is_in_message(&self) -> bool {
        self.frame.is_some() || self.message.is_some()
    }

    /// Whether nothing has come that is not complete.
    pub fn is_empty(&self) -> bool {
        !self.is_in_message() && self.input.is_empty()
    }

    /// How much memory it takes for what is incomplete, in bytes.
    pub fn kept(&self) -> usize {
        self.input.capacity() + self.message.as_ref().map_or(0, Vec::capacity)
    }

    /// Reads one header or one piece of payload.
    fn step(&mut self, used: &mut usize) -> Result<Step, Violation> {
        let Some(frame) = &mut self.frame else {
            return self.begin_frame(used);
        };
        let rest = &mut self.input[*used..];
        let missing = usize::try_from(frame.header.length - frame.received).unwrap_or(usize::MAX);
        let count = rest.len().min(missing);
        let piece = &mut rest[..count];
        unmask(piece, frame.header.mask, frame.received);
        let target =
            if frame.header.opcode.is_control() { Some(&mut self.control) } else { self.message.as_mut() };
        target.ok_or(Violation::Protocol)?.extend_from_slice(piece);
        frame.received += count as u64;
        *used += count;
        if count < missing { Ok(Step::Starved) } else { self.end_frame() }
    }

    fn begin_frame(&mut self, used: &mut usize) -> Result<Step, Violation> {
        let Some((header, size)) = Header::read(&self.input[*used..])? else { return Ok(Step::Starved) };
        *used += size;
        match (header.opcode, &self.message) {
            (Opcode::Text, _) => return Err(Violation::Text),
            (Opcode::Binary, Some(_)) | (Opcode::Continuation, None) => return Err(Violation::Protocol),
            (Opcode::Binary, None) => self.message = Some(Vec::new()),
            _ => {}
        }
        let so_far = self.message.as_ref().filter(|_| !header.opcode.is_control()).map_or(0, Vec::len);
        if header.length > self.limit.saturating_sub(so_far) as u64 && !header.opcode.is_control() {
            return Err(Violation::TooLong);
        }
        self.frame = Some(Frame { header, received: 0 });
        Ok(Step::Onward)
    }

    fn end_frame(&mut self) -> Result<Step, Violation> {
        let Some(Frame { header, .. }) = self.frame.take() else { return Ok(Step::Onward) };
        let event = match header.opcode {
            Opcode::Ping => Event::Ping(std::mem::take(&mut self.control).into()),
            Opcode::Pong => {
                self.control = Vec::new();
                Event::Pong
            }
            Opcode::Close => Event::Close(close_code(&std::mem::take(&mut self.control))?),
            _ if !header.last => return Ok(Step::Onward),
            _ => Event::Message(self.message.take().unwrap_or_default().into()),
        };
        Ok(Step::Event(event))
    }
}

enum Step {
    /// More bytes are needed.
    Starved,
    /// Something was read that completes nothing.
    Onward,
    /// Something is complete.
    Event(Event),
}

/// The code of a Close frame, if it is one that may go over the wire (RFC 6455, section 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(code)),
            _ => Err(Violation::Protocol),
        },
        [_] => Err(Violation::Protocol),
    }
}

#[cfg(test)]
mod tests;
