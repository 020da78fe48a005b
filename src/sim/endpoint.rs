//! Where an agent connects to.

use hyper::Uri;
use std::fmt;
use std::str::FromStr;

/// How messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over one WebSocket.
    WebSocket,
    /// Over plain HTTP, by polling.
    Http,
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How messages go.
    pub transport: Transport,
    /// Host and port, for connecting and for the `Host` header.
    pub authority: String,
    /// The path and query.
    pub path: String,
}

/// A text that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a URL.
    #[error("an endpoint is a URL such as ws://127.0.0.1:4320/v1/opamp")]
    Malformed,
    /// The scheme decides the transport, and this one stands for none.
    #[error("the scheme must be ws or http, not {0} (without TLS)")]
    Scheme(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Malformed)?;
        let transport = match uri.scheme_str().ok_or(EndpointError::Malformed)? {
            "ws" => Transport::WebSocket,
            "http" => Transport::Http,
            other => return Err(EndpointError::Scheme(other.to_owned())),
        };
        let host = uri.host().ok_or(EndpointError::Malformed)?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { transport, authority, path })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::WebSocket => "ws",
            Transport::Http => "http",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_decides_the_transport() {
        for (text, transport, shown) in [
            ("ws://127.0.0.1:4320/v1/opamp", Transport::WebSocket, "ws://127.0.0.1:4320/v1/opamp"),
            ("http://[::1]:4320/v1/opamp?a=b", Transport::Http, "http://[::1]:4320/v1/opamp?a=b"),
            ("http://example.com", Transport::Http, "http://example.com:80/"),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.transport, endpoint.to_string()), (transport, shown.to_owned()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, error) in [
            ("127.0.0.1:4320", EndpointError::Malformed),
            ("/v1/opamp", EndpointError::Malformed),
            ("wss://example.com/", EndpointError::Scheme("wss".to_owned())),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }
}
