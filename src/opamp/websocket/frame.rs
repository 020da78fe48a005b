//! Frames: their headers, and how a connection ends.

use bytes::{BufMut, Bytes, BytesMut};

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with the message that was begun.
    Continuation,
    /// Begins a text message, which `OpAMP` has no use for.
    Text,
    /// Begins a binary message.
    Binary,
    /// Ends the connection.
    Close,
    /// Asks for a sign of life.
    Ping,
    /// Is one.
    Pong,
}

impl Opcode {
    fn read(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// Control frames may come between the frames of a message; they are short and whole.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;

/// What a peer did that ends the connection, by the code that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The rules of frames were broken.
    #[error("the frame breaks the protocol")]
    Protocol,
    /// A text message came.
    #[error("text messages are not accepted")]
    Text,
    /// A message is longer than the limit.
    #[error("the message is too long")]
    TooLong,
}

/// The header of a frame from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The frame is the last one of its message.
    pub last: bool,
    /// Its kind.
    pub opcode: Opcode,
    /// How the payload is masked.
    pub mask: [u8; 4],
    /// The payload's length in bytes.
    pub length: u64,
}

impl Header {
    /// Reads a header from the start of `bytes`, and says how many bytes it has; nothing if more are needed.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let opcode = Opcode::read(first & 0x0f).ok_or(Violation::Protocol)?;
        // The reserved bits are for extensions, which nobody negotiated; clients must mask.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Violation::Protocol);
        }
        let Some((length, rest)) = read_length(second & 0x7f, rest) else { return Ok(None) };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let header = Self { last: first & 0x80 != 0, opcode, mask: *mask, length };
        header.check()?;
        Ok(Some((header, bytes.len() - rest.len())))
    }

    fn check(&self) -> Result<(), Violation> {
        let control = self.opcode.is_control();
        if control && (!self.last || self.length > MAX_CONTROL_BYTES as u64) || self.length > i64::MAX as u64
        {
            return Err(Violation::Protocol);
        }
        Ok(())
    }
}

fn read_length(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    match short {
        126 => rest.split_first_chunk().map(|(long, rest)| (u16::from_be_bytes(*long).into(), rest)),
        127 => rest.split_first_chunk().map(|(long, rest)| (u64::from_be_bytes(*long), rest)),
        short => Some((short.into(), rest)),
    }
}

/// Undoes a client's masking of bytes that begin at `offset` of their payload.
pub fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let start = usize::try_from(offset % 4).unwrap_or_default();
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte ^= mask[(start + index) % 4];
    }
}

/// The header of a frame from the server that is a whole message of this length.
pub fn head(opcode: Opcode, length: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(16);
    head.put_u8(0x80 | opcode.bits());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => head.put_u8(short),
        (_, Ok(long)) => {
            head.put_u8(126);
            head.put_u16(long);
        }
        _ => {
            head.put_u8(127);
            head.put_u64(length as u64);
        }
    }
    head
}

/// A control frame from the server. A longer payload than a control frame may have is cut.
pub fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(MAX_CONTROL_BYTES)];
    let mut frame = head(opcode, payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

/// A Close frame with a code and a reason.
pub fn close(code: u16, reason: &str) -> Bytes {
    control(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    #[test]
    fn header_is_read_in_each_length() {
        for (bytes, length, size) in [
            (&[0x82, 0x85, 1, 2, 3, 4][..], 5, 6),
            (&[0x82, 0xfe, 1, 0, 1, 2, 3, 4], 256, 8),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65536, 14),
        ] {
            let header = Header { last: true, opcode: Opcode::Binary, mask: MASK, length };
            assert_eq!(Header::read(bytes), Ok(Some((header, size))));
            for end in 0..bytes.len() {
                assert_eq!(Header::read(&bytes[..end]), Ok(None), "the first {end} bytes");
            }
        }
    }

    #[test]
    fn header_that_breaks_a_rule_is_refused() {
        for (broken, bytes) in [
            ("not masked", &[0x82, 0x05][..]),
            ("reserved bit", &[0xc2, 0x85, 1, 2, 3, 4]),
            ("unknown opcode", &[0x83, 0x85, 1, 2, 3, 4]),
            ("fragmented ping", &[0x09, 0x80, 1, 2, 3, 4]),
            ("long ping", &[0x89, 0xfe, 0, 126, 1, 2, 3, 4]),
            ("length above 2^63", &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ] {
            assert_eq!(Header::read(bytes), Err(Violation::Protocol), "{broken}");
        }
    }

    #[test]
    fn masking_goes_on_where_it_stopped() {
        let plain = *b"some payload";
        let mut masked = plain;
        unmask(&mut masked, MASK, 0);
        let (start, end) = masked.split_at_mut(5);
        unmask(start, MASK, 0);
        unmask(end, MASK, 5);
        assert_eq!(masked, plain);
    }

    #[test]
    fn head_has_the_shortest_length() {
        for (length, size) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            assert_eq!(head(Opcode::Binary, length).len(), size, "{length}");
        }
        assert_eq!(&close(1001, "bye")[..], b"\x88\x05\x03\xe9bye");
    }
}
