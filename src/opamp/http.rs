//! The plain HTTP transport: one message in a request, its answer in the response.

use super::answer::Reception;
use super::chance::retry_after;
use super::hub::Hub;
use super::limits::Limits;
use super::memory::{Exhausted, Memory, Share};
use super::offer::Encoded;
use crate::fleet::{Link, Principal};
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
    RETRY_AFTER,
};
use hyper::{Method, Request, StatusCode};
use std::io::{self, Read, Write};
use std::sync::Arc;
use tokio::time::timeout;

/// A response whose body is there as a whole.
pub type Response = hyper::Response<Full<Bytes>>;

/// The content type of both directions; some clients want exactly this text.
const PROTOBUF: &str = "application/x-protobuf";
/// How much of a body above the limit is read and dropped before the answer. A peer that is answered while it
/// still sends sees a broken connection and not the status; one that sends even more shall.
const DRAINED_BYTES: usize = 1 << 20;

/// How much of a body is inflated at a time.
const INFLATED_BYTES: usize = 8 << 10;

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    TooLarge,
    /// Its encoding is neither gzip nor identity.
    UnknownEncoding,
    /// It is not what its encoding says, or broke off.
    Malformed,
    /// It did not come in time.
    Late,
    /// There is no memory for it.
    NoMemory,
}

impl Unread {
    /// A fixed text for the metrics; nothing for those that no limit refused.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::TooLarge => Some("too_long"),
            Self::Late => Some("late"),
            Self::NoMemory => Some("no_memory"),
            Self::UnknownEncoding | Self::Malformed => None,
        }
    }
}

impl From<Exhausted> for Unread {
    fn from(_: Exhausted) -> Self {
        Self::NoMemory
    }
}

impl From<Unread> for StatusCode {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge => Self::PAYLOAD_TOO_LARGE,
            Unread::UnknownEncoding => Self::UNSUPPORTED_MEDIA_TYPE,
            Unread::Malformed => Self::BAD_REQUEST,
            Unread::Late => Self::REQUEST_TIMEOUT,
            Unread::NoMemory => Self::SERVICE_UNAVAILABLE,
        }
    }
}

/// A response without a body.
pub fn status(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// A response that says something to a person.
pub fn text(code: StatusCode, text: &str) -> Response {
    let mut response = status(code);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    *response.body_mut() = Full::new(format!("{text}\n").into());
    response
}

/// Whether a request is for this transport.
pub fn is_protobuf(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(PROTOBUF))
}

/// Takes in the message of a request. What is kept of it meanwhile comes out of the share.
pub async fn exchange(
    hub: &Hub,
    principal: &Arc<Principal>,
    limits: &Limits,
    share: Share,
    request: Request<Incoming>,
) -> Response {
    if request.method() != Method::POST {
        let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let gzip = accepts_gzip(request.headers());
    let body = read_message(request, limits.max_message_bytes, share);
    let read = timeout(limits.message_timeout, body).await.unwrap_or(Err(Unread::Late));
    let (message, _share) = match read {
        Ok(read) => read,
        Err(unread) => return unreadable(hub, unread),
    };
    let reply = hub.receive(principal, Link::Polling, message, limits.max_message_bytes);
    let code = match reply.reception {
        Reception::Taken => StatusCode::OK,
        Reception::BadRequest => StatusCode::BAD_REQUEST,
        Reception::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    later(answer(code, &reply.encoded, gzip))
}

fn unreadable(hub: &Hub, unread: Unread) -> Response {
    if let Some(reason) = unread.reason() {
        hub.metrics.message_refused(reason);
    }
    later(not_taken(unread))
}

/// Says when to come back, if that is what the response means.
fn later(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, retry_after());
    }
    response
}

/// The answer to a body that was not taken. A client that compressed it in another way is told in which one it may.
fn not_taken(unread: Unread) -> Response {
    let mut response = status(unread.into());
    if unread == Unread::UnknownEncoding {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"));
    }
    response
}

fn answer(code: StatusCode, message: &Encoded, gzip: bool) -> Response {
    let mut response = status(code);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    let compressed = gzip.then(|| compress(message)).and_then(Result::ok);
    if compressed.is_some() {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let body = compressed.unwrap_or_else(|| [&message.head[..], &message.files].concat().into());
    *response.body_mut() = Full::new(body);
    response
}

fn compress(message: &Encoded) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&message.head)?;
    encoder.write_all(&message.files)?;
    encoder.finish().map(Bytes::from)
}

/// Whether gzip is among the accepted encodings, by name or by `*`, and not with a weight of 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<(&str, bool)> = values.flat_map(|value| value.split(',')).map(coding).collect();
    let weight = |name: &str| {
        codings.iter().find(|(coding, _)| coding.eq_ignore_ascii_case(name)).map(|(_, wanted)| *wanted)
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(false)
}

/// A coding of `Accept-Encoding`, and whether its weight is above 0.
fn coding(text: &str) -> (&str, bool) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.is_none_or(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0)))
}

async fn read_message(
    request: Request<Incoming>,
    limit: usize,
    mut share: Share,
) -> Result<(Bytes, Share), Unread> {
    let gzip = is_gzip(request.headers())?;
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > (limit + DRAINED_BYTES) as u64) {
        return Err(Unread::TooLarge);
    }
    let body = read_body(request.into_body(), limit, &mut share).await?;
    if !gzip {
        return Ok((body, share));
    }
    // Inflating a hostile body takes long enough to be felt by the others on this thread.
    let inflating = tokio::task::spawn_blocking(move || {
        let inflated = inflate(&body[..], limit, |bytes| share.keep(body.len() + bytes))?;
        Ok((inflated, share))
    });
    inflating.await.unwrap_or(Err(Unread::Malformed))
}

/// The message of a body that is there as a whole. It takes memory from nobody.
pub(super) fn decode(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, StatusCode> {
    let gzip = is_gzip(headers)?;
    let mut share = Memory::new(usize::MAX).share();
    let body = read_body(Full::new(body), limit, &mut share).now_or_never().unwrap_or(Err(Unread::Late))?;
    Ok(if gzip { inflate(&body[..], limit, |_| Ok(()))? } else { body })
}

/// Whether a body is compressed. What was encoded more than once is not taken: nobody does it but to hide a bomb in
/// another one.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Unread> {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    let codings = values.flat_map(|value| value.to_str().unwrap_or("not text").split(',')).map(str::trim);
    let mut codings = codings.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(name), None) if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
            Ok(true)
        }
        _ => Err(Unread::UnknownEncoding),
    }
}

/// Reads a body up to the limit, whatever its announced length.
async fn read_body(
    mut body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    share: &mut Share,
) -> Result<Bytes, Unread> {
    let mut read = BytesMut::new();
    let mut excess = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Malformed)?.into_data() else { continue };
        if excess == 0 && read.len() + data.len() <= limit {
            read.extend_from_slice(&data);
            share.keep(read.capacity())?;
            continue;
        }
        read = BytesMut::new();
        share.keep(0)?;
        excess += data.len();
        if excess > DRAINED_BYTES {
            break;
        }
    }
    if excess == 0 { Ok(read.freeze()) } else { Err(Unread::TooLarge) }
}

/// Inflates a body piece by piece; `keep` is told how much memory that has taken.
fn inflate(
    body: impl Read,
    limit: usize,
    mut keep: impl FnMut(usize) -> Result<(), Exhausted>,
) -> Result<Bytes, Unread> {
    let mut inflated = Vec::new();
    let mut decoder = MultiGzDecoder::new(body);
    let mut piece = [0; INFLATED_BYTES];
    loop {
        let count = decoder.read(&mut piece).map_err(|_| Unread::Malformed)?;
        if count == 0 {
            return Ok(inflated.into());
        }
        if inflated.len() + count > limit {
            return Err(Unread::TooLarge);
        }
        inflated.extend_from_slice(&piece[..count]);
        keep(inflated.capacity())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a header"))])
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        compress(&Encoded { head: Bytes::copy_from_slice(bytes), files: Bytes::new() }).expect("in memory")
    }

    #[test]
    fn gzip_is_accepted_by_name_or_star_with_a_weight_above_zero() {
        for (accepted, value) in [
            (true, "gzip"),
            (true, "deflate, GZIP;q=0.5"),
            (true, "*"),
            (true, "br;q=1.0, *;q=0.1"),
            (false, ""),
            (false, "identity"),
            (false, "gzip;q=0"),
            (false, "gzip; q=0.000, *"),
            (false, "*;q=0"),
            (false, "xgzip"),
        ] {
            assert_eq!(accepts_gzip(&headers(ACCEPT_ENCODING, value)), accepted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn content_type_may_have_parameters_and_any_case() {
        for (matches, value) in [
            (true, "application/x-protobuf"),
            (true, "Application/X-Protobuf; proto=opamp"),
            (false, "application/x-protobuf2"),
            (false, "application/json"),
        ] {
            assert_eq!(is_protobuf(&headers(CONTENT_TYPE, value)), matches, "{value}");
        }
    }

    #[test]
    fn body_is_inflated_up_to_the_limit() {
        for (plain, limit, expected) in [
            (b"message".to_vec(), 7, Ok(&b"message"[..])),
            (b"message".to_vec(), 6, Err(Unread::TooLarge)),
            (vec![0; 100_000], 1000, Err(Unread::TooLarge)),
            (Vec::new(), 0, Ok(b"")),
        ] {
            assert_eq!(
                inflate(&gzip(&plain)[..], limit, |_| Ok(())),
                expected.map(Bytes::from_static),
                "{limit}"
            );
        }
        assert_eq!(inflate(&b"not gzip"[..], 100, |_| Ok(())), Err(Unread::Malformed));
        assert_eq!(inflate(&gzip(b"message")[..12], 100, |_| Ok(())), Err(Unread::Malformed));
    }

    #[test]
    fn bomb_is_inflated_no_further_than_the_limit() {
        let bomb = gzip(&vec![0; 1 << 20]).repeat(500);
        let mut rest = &bomb[..];
        assert_eq!(inflate(&mut rest, 1000, |_| Ok(())), Err(Unread::TooLarge));
        assert!(rest.len() > bomb.len() / 2, "only {} of {} bytes are left", rest.len(), bomb.len());
    }

    #[tokio::test]
    async fn body_is_kept_in_both_forms_only_if_there_is_memory_for_it() {
        let memory = Memory::new(100_000);
        let body = || Full::new(Bytes::from(vec![0; 100_000]));
        let (mut first, mut second) = (memory.share(), memory.share());
        assert!(read_body(body(), 1 << 20, &mut first).await.is_ok());
        assert_eq!(read_body(body(), 1 << 20, &mut second).await, Err(Unread::NoMemory));
        drop(first);
        let kept = inflate(&gzip(&vec![0; 200_000])[..], 1 << 20, |bytes| second.keep(bytes));
        assert_eq!(kept, Err(Unread::NoMemory));
    }

    #[tokio::test]
    async fn body_above_the_limit_is_not_kept() {
        for (length, limit, expected) in [(10, 10, Ok(10)), (11, 10, Err(Unread::TooLarge))] {
            let body = Full::new(Bytes::from(vec![0; length]));
            let mut share = Memory::new(0).share();
            assert_eq!(read_body(body, limit, &mut share).await.map(|read| read.len()), expected);
        }
    }

    #[test]
    fn encodings_other_than_gzip_and_identity_are_unknown() {
        for (values, expected) in [
            (&[][..], Ok(false)),
            (&[""], Ok(false)),
            (&["gzip"], Ok(true)),
            (&["X-GZip"], Ok(true)),
            (&["identity"], Ok(false)),
            (&["identity, gzip"], Ok(true)),
            (&["br"], Err(Unread::UnknownEncoding)),
            (&["gzip, gzip"], Err(Unread::UnknownEncoding)),
            (&["gzip", "br"], Err(Unread::UnknownEncoding)),
            (&["\u{fc}"], Err(Unread::UnknownEncoding)),
        ] {
            let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).expect("a header");
            let headers = values.iter().map(|text| (CONTENT_ENCODING, value(text))).collect();
            assert_eq!(is_gzip(&headers), expected, "{values:?}");
        }
    }
}
