//! What the door asks before it takes anything from a peer: who speaks there.
//!
//! The door knows what a peer shows, and [`Credentials`] what that is worth. Who keeps the list of tokens, whom else
//! to ask and which authorities are trusted is decided elsewhere. Nothing here is printed or logged that a peer could
//! be let in with.

mod attempts;
mod authority;
mod gate;
mod shares;
mod subject;

pub use authority::{Authority, AuthorityError, Owner, first_good};
pub(super) use gate::{Gate, Pass};
pub(super) use shares::Place;

use crate::fleet::Principal;
use futures::future::BoxFuture;
use hyper::header::{AUTHORIZATION, HeaderMap};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::watch;

/// What stands for a token where it is looked up: its SHA-256. To look a digest up in a table tells nobody by the time
/// that it takes how near a guess was.
pub type TokenDigest = [u8; 32];

/// A peer's certificate and those above it. The peer has shown that it holds the key of the first; nothing else is
/// known of them.
pub type Chain = Arc<[CertificateDer<'static>]>;

/// Gives out what a peer is, or why it is nobody.
pub trait Credentials: Send + Sync {
    /// What can be said at once.
    fn look_up(&self, shown: &Shown) -> Known;

    /// Asks whoever has to be asked. Only where [`Credentials::look_up`] says so.
    fn ask<'a>(&'a self, shown: &'a Shown) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>>;

    /// Changes when [`Credentials::look_up`] may say something else than it did before.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What can be said of a peer at once.
#[derive(Clone, Debug)]
pub enum Known {
    /// Who it is.
    Granted(Arc<Principal>),
    /// It is nobody.
    Refused(Refusal),
    /// Somebody else has to be asked.
    Ask,
}

/// Why a peer is not let in. It is told no more than the status: which of them it is would help whoever guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It shows nothing that could tell who it is.
    #[error("no credential is shown")]
    Missing,
    /// Its `Authorization` is no bearer token, or there are several.
    #[error("the authorization is no bearer token")]
    Malformed,
    /// What it shows is nobody's, or no longer valid.
    #[error("the credential is not valid")]
    Unknown,
    /// Its certificate, or the authority that signed it, is not valid at this time.
    #[error("the certificate, or the authority that signed it, has expired or is not valid yet")]
    Expired,
    /// It would have to be asked elsewhere who it is, and its address was refused too often for that.
    #[error("there were too many refused attempts from this address")]
    Throttled,
    /// Nobody can tell right now.
    #[error("credentials cannot be checked right now")]
    Unavailable,
}

impl Refusal {
    /// A fixed text for the metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether the peer has shown that it is nobody.
    fn is_final(self) -> bool {
        matches!(self, Self::Missing | Self::Malformed | Self::Unknown | Self::Expired)
    }
}

/// What a peer shows of itself.
#[derive(Clone, Default)]
pub struct Shown {
    /// What its `Authorization` says.
    pub authorization: Authorization,
    /// Its certificates.
    pub certificates: Option<Chain>,
}

/// What a peer's header `Authorization` says.
#[derive(Clone, Default)]
pub enum Authorization {
    /// There is none.
    #[default]
    Absent,
    /// A bearer token.
    Bearer(Token),
    /// Something else.
    Other,
}

/// A bearer token. No `Debug`, and its text is kept only where somebody else may have to be asked for it.
#[derive(Clone)]
pub struct Token {
    digest: TokenDigest,
    signed: Option<Arc<str>>,
}

impl Token {
    /// A token with this text.
    pub fn new(text: &str) -> Self {
        // Tokens with three parts are signed (RFC 7519), and whoever signed them can be asked.
        let signed = (text.split('.').count() == 3).then(|| text.into());
        Self { digest: digest_of(text.as_bytes()), signed }
    }

    /// What stands for it.
    pub fn digest(&self) -> &TokenDigest {
        &self.digest
    }

    /// The text of a token that has the form of a signed one.
    pub fn signed(&self) -> Option<&str> {
        self.signed.as_deref()
    }
}

/// What stands for a token with this text.
pub fn digest_of(text: &[u8]) -> TokenDigest {
    Sha256::digest(text).into()
}

impl Authorization {
    /// What the headers of a request say. All others are hints at best: `X-Agent-ID` and `OpAMP-Instance-UID` are for
    /// balancers, and anybody may write anything there.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => value.to_str().ok().and_then(bearer).map_or(Self::Other, Self::Bearer),
            (Some(_), Some(_)) => Self::Other,
        }
    }
}

fn bearer(value: &str) -> Option<Token> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Token::new(token))
}

/// Lets everybody in: `--agent-auth none`.
pub struct Anybody {
    principal: Arc<Principal>,
    never: watch::Sender<u64>,
}

impl Anybody {
    /// All peers belong to this namespace.
    pub fn new(namespace: &str) -> Self {
        Self { principal: Principal::anybody(namespace).into(), never: watch::Sender::new(0) }
    }
}

impl Credentials for Anybody {
    fn look_up(&self, _: &Shown) -> Known {
        Known::Granted(self.principal.clone())
    }

    fn ask<'a>(&'a self, _: &'a Shown) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>> {
        Box::pin(async { Ok(self.principal.clone()) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.never.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    /// What is read from these headers.
    fn read(values: &[&str]) -> Result<TokenDigest, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        }
        match Authorization::of(&headers) {
            Authorization::Absent => Err("absent"),
            Authorization::Bearer(token) => Ok(*token.digest()),
            Authorization::Other => Err("other"),
        }
    }

    #[test]
    fn bearer_token_is_read_from_a_single_authorization() {
        let (token, other) = (Ok(digest_of(b"secret")), Err("other"));
        for (values, expected) in [
            (&["Bearer secret"][..], token),
            (&["bearer   secret "], token),
            (&[], Err("absent")),
            (&["Basic c2VjcmV0"], other),
            (&["Bearer"], other),
            (&["Bearer "], other),
            (&["Bearer secret", "Bearer secret"], other),
        ] {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }

    #[test]
    fn text_is_kept_of_a_token_in_three_parts_only() {
        for (text, kept) in [("a.b.c", Some("a.b.c")), ("abc", None), ("a.b", None), ("a.b.c.d", None)] {
            assert_eq!(Token::new(text).signed(), kept, "{text}");
        }
    }
}
