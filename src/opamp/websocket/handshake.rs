//! The upgrade of an HTTP request to a WebSocket (RFC 6455, section 4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Method, Request, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Why a request cannot become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only GET can be upgraded.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// The version of WebSocket is not 13, the only one that was ever standardised.
    #[error("the WebSocket version is not 13")]
    Version,
    /// A header is missing or wrong.
    #[error("the WebSocket request is malformed")]
    Malformed,
}

/// Whether a request asks for an upgrade at all.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) || headers.contains_key(SEC_WEBSOCKET_KEY)
}

/// Checks a request, and returns the value of `Sec-WebSocket-Accept`.
pub fn accept_key<B>(request: &Request<B>) -> Result<String, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    let upgrades = has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket");
    if request.version() != Version::HTTP_11 || !upgrades {
        return Err(Refusal::Malformed);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Refusal::Malformed)?.as_bytes();
    // The key is 16 random bytes; that they are decoded checks only that a WebSocket client speaks.
    let nonce = STANDARD.decode(key).map_err(|_| Refusal::Malformed)?;
    if nonce.len() == 16 { Ok(derive_accept_key(key)) } else { Err(Refusal::Malformed) }
}

/// Whether a header, which may come several times with several tokens each, has this one.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3, with one header replaced, or left out by an empty value.
    fn accepted(method: Method, changed: (&str, &str)) -> Result<String, Refusal> {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut request = Request::builder().method(method);
        for (name, value) in good {
            let value = if name == changed.0 { changed.1 } else { value };
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        accept_key(&request.body(()).expect("a request"))
    }

    #[test]
    fn key_is_that_of_the_standard() {
        let key = accepted(Method::GET, ("", ""));
        assert_eq!(key.as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn request_that_is_no_upgrade_is_refused() {
        for (changed, refusal) in [
            (("connection", "close"), Refusal::Malformed),
            (("connection", ""), Refusal::Malformed),
            (("upgrade", "h2c"), Refusal::Malformed),
            (("sec-websocket-version", "8"), Refusal::Version),
            (("sec-websocket-version", ""), Refusal::Version),
            (("sec-websocket-key", ""), Refusal::Malformed),
            (("sec-websocket-key", "c2hvcnQ="), Refusal::Malformed),
            (("sec-websocket-key", "not base64"), Refusal::Malformed),
        ] {
            assert_eq!(accepted(Method::GET, changed), Err(refusal), "{changed:?}");
        }
        assert_eq!(accepted(Method::POST, ("", "")), Err(Refusal::Method));
    }
}
