//! What the door says to those that it does not let in.

use crate::opamp::chance::retry_after;
use crate::opamp::credentials::Refusal as Unproven;
use crate::opamp::http::{self, Response};
use crate::opamp::websocket::Refusal;
use hyper::header::{
    ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use hyper::{Method, StatusCode};

/// The answer to a peer that came when there were too many.
pub fn busy() -> Response {
    let mut response = later(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer that tells to come back, each time a little later.
fn later(code: StatusCode) -> Response {
    let mut response = http::status(code);
    response.headers_mut().insert(RETRY_AFTER, retry_after());
    response
}

/// The answer to a peer of which nobody knows who it is.
pub fn unproven(refusal: Unproven) -> Response {
    match refusal {
        Unproven::Throttled => later(StatusCode::TOO_MANY_REQUESTS),
        Unproven::Unavailable => later(StatusCode::SERVICE_UNAVAILABLE),
        Unproven::Missing | Unproven::Malformed | Unproven::Unknown | Unproven::Expired => {
            let mut response = http::status(StatusCode::UNAUTHORIZED);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// The answer that opens a WebSocket.
pub fn switching(accept: &str) -> Response {
    let mut response = http::status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// The answer to what is neither a message nor the opening of a WebSocket.
pub fn neither(method: &Method) -> Response {
    match *method {
        Method::POST => http::status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        Method::GET => refused(Refusal::Version),
        _ => {
            let mut response = http::status(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
            response
        }
    }
}

/// The answer to an upgrade that is none.
pub fn refused(refusal: Refusal) -> Response {
    let mut response = http::text(
        match refusal {
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Version => StatusCode::UPGRADE_REQUIRED,
            Refusal::Malformed => StatusCode::BAD_REQUEST,
        },
        &refusal.to_string(),
    );
    let headers = response.headers_mut();
    match refusal {
        Refusal::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("GET"))),
        Refusal::Version => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        Refusal::Malformed => {}
    }
    response
}
