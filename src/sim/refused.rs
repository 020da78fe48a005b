//! What a server says that lets an agent not in.

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use std::fmt;
use std::io;
use std::time::Duration;

/// An answer in place of a connection or of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its status.
    pub status: u16,
    /// How long the agent is told to wait, if it is.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// The refusal in an answer with this head. Clients heed `Retry-After` with 429 and 503 only.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let throttled = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let told = headers.get(RETRY_AFTER).filter(|_| throttled);
        let seconds = told.and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok());
        Self { status: status.as_u16(), retry_after: seconds.map(Duration::from_secs) }
    }

    /// The refusal by which a connection failed, if it was one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::other(refused)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_is_heeded_with_the_two_statuses_that_ask_for_one() {
        let told = |status, pause: &str| {
            let headers = [(RETRY_AFTER, pause.parse().expect("a value"))].into_iter().collect();
            let error = io::Error::from(Refused::new(status, &headers));
            Refused::of(&error).and_then(|refused| refused.retry_after)
        };
        for (status, pause, expected) in [
            (StatusCode::SERVICE_UNAVAILABLE, "30", Some(30)),
            (StatusCode::TOO_MANY_REQUESTS, " 60 ", Some(60)),
            (StatusCode::UNAUTHORIZED, "30", None),
            (StatusCode::SERVICE_UNAVAILABLE, "soon", None),
        ] {
            assert_eq!(told(status, pause), expected.map(Duration::from_secs), "{status} {pause}");
        }
        assert_eq!(Refused::of(&io::ErrorKind::UnexpectedEof.into()), None);
    }
}
