use super::*;
use crate::opamp::websocket::frame::MAX_CONTROL_BYTES;
use proptest::prelude::*;

const MASK: [u8; 4] = [0xa5, 0, 0xff, 0x31];
const LIMIT: usize = 1000;

/// A frame as a client sends it.
fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if last { 0x80 | opcode } else { opcode }];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(0x80 | short),
        (_, Ok(long)) => {
            frame.push(0x80 | 0x7e);
            frame.extend(long.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let mut masked = payload.to_vec();
    unmask(&mut masked, MASK, 0);
    frame.extend(masked);
    frame
}

fn message(bytes: &[u8]) -> Event {
    Event::Message(Bytes::copy_from_slice(bytes))
}

/// All events of a stream that comes in the given pieces, and how it broke off.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(event)) => events.push(event),
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

#[test]
fn message_is_joined_of_its_frames_with_control_frames_in_between() {
    let stream = [
        frame(false, 2, b"one "),
        frame(true, 9, b"ping"),
        frame(false, 0, b"two "),
        frame(true, 10, b""),
        frame(true, 0, b"three"),
        frame(true, 2, b""),
        frame(true, 8, &[&1000_u16.to_be_bytes()[..], b"bye"].concat()),
    ];
    let expected = [
        Event::Ping(Bytes::from_static(b"ping")),
        Event::Pong,
        message(b"one two three"),
        message(b""),
        Event::Close(Some(1000)),
    ];
    assert_eq!(decode([&stream.concat()[..]]), (expected.to_vec(), None));
}

#[test]
fn broken_stream_ends_with_the_code_that_says_why() {
    let over = vec![0; LIMIT + 1];
    for (broken, stream, violation) in [
        ("text", vec![frame(true, 1, b"hello")], Violation::Text),
        ("continuation of nothing", vec![frame(true, 0, b"")], Violation::Protocol),
        ("message in a message", vec![frame(false, 2, b""), frame(true, 2, b"")], Violation::Protocol),
        ("close with half a code", vec![frame(true, 8, &[3])], Violation::Protocol),
        ("close with a code for nobody", vec![frame(true, 8, &1005_u16.to_be_bytes())], Violation::Protocol),
        ("long frame", vec![frame(true, 2, &over)], Violation::TooLong),
        (
            "long message",
            vec![frame(false, 2, &over[..600]), frame(true, 0, &over[..600])],
            Violation::TooLong,
        ),
    ] {
        let (events, found) = decode([&stream.concat()[..]]);
        assert_eq!((events.len(), found), (0, Some(violation)), "{broken}");
    }
}

#[test]
fn frame_that_is_too_long_is_refused_by_its_header() {
    let header = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    assert_eq!(decode([&header[..]]).1, Some(Violation::TooLong));
}

#[test]
fn announced_length_reserves_nothing() {
    let mut decoder = Decoder::new(64 << 20);
    decoder.feed(&[0x82, 0xff, 0, 0, 0, 0, 3, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5]);
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.message.is_some_and(|message| message.capacity() < 100));
}

#[test]
fn nothing_is_held_between_messages() {
    let mut decoder = Decoder::new(LIMIT);
    decoder.feed(&[frame(true, 2, &[7; LIMIT]), frame(true, 9, &[7; MAX_CONTROL_BYTES])].concat());
    while decoder.next().expect("a good stream").is_some() {}
    assert_eq!((decoder.input.capacity(), decoder.control.capacity()), (0, 0));
    assert!(decoder.message.is_none() && decoder.frame.is_none());
}

proptest! {
    #[test]
    fn events_do_not_depend_on_where_the_stream_is_cut(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 1_usize..4), 1..5),
        cut in 1_usize..50,
    ) {
        let mut stream = Vec::new();
        for (payload, frames) in &messages {
            let pieces: Vec<&[u8]> = payload.chunks(payload.len().div_ceil(*frames).max(1)).collect();
            stream.extend(frame(pieces.len() < 2, 2, pieces.first().copied().unwrap_or_default()));
            for (index, piece) in pieces.iter().enumerate().skip(1) {
                stream.extend(frame(index + 1 == pieces.len(), 0, piece));
            }
        }
        let expected: Vec<Event> = messages.iter().map(|(payload, _)| message(payload)).collect();
        prop_assert_eq!(decode(stream.chunks(cut)), (expected, None));
    }

    #[test]
    fn noise_never_panics_nor_passes_the_limit(noise in prop::collection::vec(any::<u8>(), 0..2000), cut in 1_usize..100) {
        let (events, _) = decode(noise.chunks(cut));
        for event in events {
            prop_assert!(!matches!(event, Event::Message(message) if message.len() > LIMIT));
        }
    }
}
