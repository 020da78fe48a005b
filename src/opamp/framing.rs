//! How an `OpAMP` message is laid into a WebSocket message: a header, then protobuf.
//!
//! The header is a varint whose only defined value is 0, so it is one zero byte. Any other value is for messages
//! that this version of the protocol does not know (specification, "WebSocket Message Format").

use bytes::Bytes;

/// The header, which goes before each message.
pub const HEADER: u8 = 0;

/// The longest varint, in bytes.
const MAX_VARINT_BYTES: usize = 10;

/// A WebSocket message that does not hold an `OpAMP` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// There is no header, or its varint does not end.
    #[error("the message has no complete header")]
    Truncated,
    /// The header has a value that means nothing.
    #[error("the message's header is not 0")]
    UnknownHeader,
}

/// The protobuf of a WebSocket message. It may be empty: that is a message with no field set.
pub fn unframe(mut message: Bytes) -> Result<Bytes, FramingError> {
    let length = message.iter().take(MAX_VARINT_BYTES).position(|byte| byte & 0x80 == 0);
    let header = message.split_to(length.ok_or(FramingError::Truncated)? + 1);
    // Zero may be written longer than it must be, as 80 00.
    let zero = header.iter().all(|byte| matches!(byte, 0 | 0x80));
    if zero { Ok(message) } else { Err(FramingError::UnknownHeader) }
}

/// The WebSocket message that holds this protobuf.
pub fn frame(protobuf: &impl prost::Message) -> Bytes {
    let mut message = Vec::with_capacity(1 + protobuf.encoded_len());
    message.push(HEADER);
    message.extend(protobuf.encode_to_vec());
    message.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opamp::proto::AgentToServer;

    #[test]
    fn header_is_read_as_a_varint() {
        for (message, expected) in [
            (&[0, 1, 2][..], Ok(&[1, 2][..])),
            (&[0], Ok(&[])),
            (&[0x80, 0, 7], Ok(&[7])),
            (&[], Err(FramingError::Truncated)),
            (&[0x80, 0x80], Err(FramingError::Truncated)),
            (&[0x80; 11], Err(FramingError::Truncated)),
            (&[1, 2], Err(FramingError::UnknownHeader)),
            (&[0x80, 1], Err(FramingError::UnknownHeader)),
        ] {
            let read = unframe(Bytes::from_static(message));
            assert_eq!(read, expected.map(Bytes::from_static), "{message:?}");
        }
    }

    #[test]
    fn framed_message_is_read_back() {
        let message = AgentToServer { instance_uid: vec![7; 16], ..Default::default() };
        let protobuf = unframe(frame(&message)).expect("framed");
        assert!(prost::Message::decode(protobuf).is_ok_and(|read: AgentToServer| read == message));
        assert_eq!(frame(&AgentToServer::default()), Bytes::from_static(&[0]));
    }
}
