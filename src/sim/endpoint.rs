//! Where an agent connects to.

use super::access::{Access, Stream};
use hyper::Uri;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

/// How messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over one WebSocket.
    WebSocket,
    /// Over plain HTTP, by polling.
    Http,
}

/// A server's address, and what is shown there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// How messages go.
    pub transport: Transport,
    /// Whether they go over TLS.
    pub encrypted: bool,
    /// Host and port, for connecting and for the `Host` header.
    pub authority: String,
    /// The path and query.
    pub path: String,
    /// What is shown to be let in.
    pub access: Access,
    /// Other servers' hosts and ports. An agent that polls asks all of them in turn, as behind a balancer that keeps no
    /// client at one server.
    pub others: Arc<[String]>,
}

/// A text that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a URL.
    #[error("an endpoint is a URL such as ws://127.0.0.1:4320/v1/opamp")]
    Malformed,
    /// The scheme decides the transport, and this one stands for none.
    #[error("the scheme must be ws, wss, http or https, not {0}")]
    Scheme(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Malformed)?;
        let (transport, encrypted) = match uri.scheme_str().ok_or(EndpointError::Malformed)? {
            "ws" => (Transport::WebSocket, false),
            "wss" => (Transport::WebSocket, true),
            "http" => (Transport::Http, false),
            "https" => (Transport::Http, true),
            other => return Err(EndpointError::Scheme(other.to_owned())),
        };
        let host = uri.host().ok_or(EndpointError::Malformed)?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }));
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (access, others) = (Access::default(), Arc::default());
        Ok(Self { transport, encrypted, authority, path, access, others })
    }
}

impl Endpoint {
    /// The endpoint, at which agents are let in so.
    #[must_use]
    pub fn with(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The endpoint, and these servers beside it, in turn.
    #[must_use]
    pub fn in_turn_with(self, others: impl IntoIterator<Item = String>) -> Self {
        Self { others: others.into_iter().collect(), ..self }
    }

    /// Opens a connection to the server whose turn it is, or to the next one that there is; returns which that was.
    pub(super) async fn connect_in_turn(&self, turn: usize) -> io::Result<(usize, Box<dyn Stream>)> {
        let servers: Vec<&String> = [&self.authority].into_iter().chain(self.others.iter()).collect();
        let mut refused = io::ErrorKind::NotConnected.into();
        for turn in (turn..).take(servers.len()) {
            let Some(server) = servers.get(turn % servers.len()) else { continue };
            match self.access.connect(server, self.encrypted).await {
                Ok(stream) => return Ok((turn, stream)),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Opens a connection to it.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        self.access.connect(&self.authority, self.encrypted).await
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::WebSocket => "ws",
            Transport::Http => "http",
        };
        let secure = if self.encrypted { "s" } else { "" };
        write!(f, "{scheme}{secure}://{}{}", self.authority, self.path)
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
            ("https://example.com", Transport::Http, "https://example.com:443/"),
            ("wss://example.com:4320/", Transport::WebSocket, "wss://example.com:4320/"),
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
            ("tcp://example.com/", EndpointError::Scheme("tcp".to_owned())),
        ] {
            assert_eq!(text.parse::<Endpoint>().err(), Some(error), "{text}");
        }
    }
}
