//! What must hold whatever a peer sends. Each function takes the bytes of one fuzz target; `tests/fuzz_seeds.rs` calls
//! them too, with the seeds and mutations of them.

use bytes::Bytes;
use flate2::{Compression, read::GzEncoder};
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use opamp_operator::config::{ConfigFile, ConfigHash, Desired, HashKey};
use opamp_operator::fleet::{Attributes, Delays, GroupView, Payload, Principal, Revision, Roster, View};
use opamp_operator::opamp::framing::unframe;
use opamp_operator::opamp::proto::{AgentToServer, ServerToAgent};
use opamp_operator::opamp::untrusted::{Agents, read_body, read_frames};
use opamp_operator::opamp::{Hub, Metrics, encode_files};
use prost::Message;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Longest message, in bytes. Short, so that what happens at a limit is found soon.
const LIMIT: usize = 16 << 10;
/// What the server says that it does.
const CAPABILITIES: u64 = 0x27;

/// A stream of frames. The first byte says in how long pieces it comes too: that must change nothing.
///
/// # Panics
/// When a rule is broken.
pub fn frame(data: &[u8]) {
    let Some((length, stream)) = data.split_first() else { return };
    let whole = read_frames([stream], LIMIT);
    let cut = read_frames(stream.chunks(usize::from(*length) + 1), LIMIT);
    assert!(whole == cut, "what is read depends on where the stream is cut");
    assert!(whole.pings.iter().all(|payload| payload.len() <= 125));
    let received: usize = whole.messages.iter().chain(&whole.pings).map(Bytes::len).sum();
    assert!(received <= stream.len(), "more than was sent");
    for message in whole.messages {
        assert!(message.len() <= LIMIT);
        drop(unframe(message));
    }
}

/// Messages one after the other, each behind a byte for who says it and by what, and two for its length: the last one
/// has all that is left.
///
/// # Panics
/// When a rule is broken.
pub fn message(mut data: &[u8]) {
    let mut agents = Agents::new(hub(), LIMIT);
    let principals =
        ["one", "two"].map(|name| Arc::new(Principal::new("default", name, Attributes::default())));
    while let Some((&[way, low, high], rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (message, rest) = rest.split_at(length);
        data = rest;
        let principal = &principals[usize::from(way >> 7)];
        let said = Bytes::copy_from_slice(message);
        // A socket has one credential for as long as it is open.
        let socket = way & 0x83;
        let answers = match way >> 2 & 0x3 {
            0 => vec![agents.poll(principal, said)],
            1 => {
                agents.close(socket);
                continue;
            }
            _ => agents.say_on(socket, principal, said),
        };
        check(message, &answers);
    }
}

/// What must hold of an answer, and of what is pushed after it.
fn check(said: &[u8], answers: &[Vec<u8>]) {
    for (place, encoded) in answers.iter().enumerate() {
        assert!(encoded.len() <= LIMIT, "longer than the limit");
        let Ok(answer) = ServerToAgent::decode(&encoded[..]) else { panic!("not a ServerToAgent") };
        if let Some(error) = &answer.error_response {
            assert!(place == 0 && !error.error_message.is_empty(), "errors are answers, and say why");
            let alone = ServerToAgent {
                instance_uid: answer.instance_uid.clone(),
                error_response: answer.error_response.clone(),
                ..Default::default()
            };
            assert!(answer == alone, "an error goes alone");
            continue;
        }
        assert_eq!((answer.capabilities, answer.instance_uid.len()), (CAPABILITIES, 16));
        assert!(answer.packages_available.is_none() && answer.custom_message.is_none());
        if let Some(config) = answer.remote_config {
            assert!(
                config.config.is_some_and(|files| !files.config_map.is_empty()),
                "it would stop a Collector"
            );
        }
    }
    let first = answers.first().map(|answer| ServerToAgent::decode(&answer[..]));
    let Some(Ok(first)) = first else { panic!("each message is answered") };
    match AgentToServer::decode(said) {
        Ok(said) if said.instance_uid.len() == 16 => assert_eq!(first.instance_uid, said.instance_uid),
        _ => assert!(first.error_response.is_some(), "what cannot be read, or has no uid, is an error"),
    }
}

/// A body, behind a byte for its coding and one for the limit.
///
/// # Panics
/// When a rule is broken.
pub fn http_body(data: &[u8]) {
    let Some((&[coding, limit], body)) = data.split_first_chunk() else { return };
    let limit = usize::from(limit) * 64;
    let coding = ["gzip", "identity", "", "br", "gzip, gzip", "x-gzip", "\t,gzip"][usize::from(coding % 7)];
    let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
    match read_body(&headers, Bytes::copy_from_slice(body), limit) {
        Ok(read) => {
            assert!(read.len() <= limit, "longer than the limit");
            assert!(coding.contains("gzip") || read == body);
        }
        Err(StatusCode::UNSUPPORTED_MEDIA_TYPE) => assert!(matches!(coding, "br" | "gzip, gzip")),
        Err(StatusCode::PAYLOAD_TOO_LARGE) => assert!(body.len() > limit || coding.contains("gzip")),
        Err(code) => assert!(code == StatusCode::BAD_REQUEST && coding.contains("gzip"), "{code}"),
    }
    let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let mut compressed = Vec::new();
    GzEncoder::new(body, Compression::fast()).read_to_end(&mut compressed).expect("in memory");
    let compressed = Bytes::from(compressed);
    let back = read_body(&headers, compressed.clone(), compressed.len().max(body.len()));
    assert!(back.is_ok_and(|read| read == body), "it is not what was compressed");
    if compressed.len() < body.len() {
        let cut = read_body(&headers, compressed, body.len() - 1);
        assert!(cut == Err(StatusCode::PAYLOAD_TOO_LARGE), "one byte more than the limit");
    }
}

/// A hub of one group. All agents are to run one configuration, and fall back to another.
fn hub() -> Arc<Hub> {
    let second = Duration::from_secs(1);
    let delays = Delays { urgent: second, slow: second, assumed_interval: second * 30 };
    let hub = Hub::new(Roster::new("replica", delays), Metrics::default());
    hub.know(HashKey::try_from(&[1; 32][..]).expect("32 bytes"));
    let group = GroupView::of_all("all", Some(revision(b'b')), Some(revision(b'a')));
    hub.set_view(Arc::new(View::new([("default".into(), group)])));
    hub
}

/// A revision whose hash is this byte, 32 times.
fn revision(mark: u8) -> Arc<Revision> {
    // That of the supervisor in the seeds, which has applied b.
    let body = format!(
        "receivers: {{nop: {{}}}}\nexporters: {{nop: {{}}}}\n\
         processors: {{attributes: {{actions: [{{key: mark, value: \"{}\", action: insert}}]}}}}\n\
         service: {{pipelines: {{traces: {{receivers: [nop], processors: [attributes], exporters: [nop]}}}}}}\n",
        char::from(mark)
    );
    let files = [ConfigFile::new("collector.yaml", "text/yaml", body.into_bytes())];
    let payload = Payload { files: encode_files(&files).unwrap_or_default(), ..Payload::default() };
    Arc::new(Revision {
        name: "r".into(),
        hash: ConfigHash::from_bytes([mark; 32]),
        payload,
        desired: Desired::collector(&files),
        needs: None,
        secrets: Box::default(),
    })
}
