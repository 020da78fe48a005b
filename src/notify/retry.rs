//! What came of a post, and when it is tried again.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use std::time::Duration;

/// The pause after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(1);
/// The longest pause that a receiver can ask for: a wrong value does not silence it for ever.
const MOST_ASKED: Duration = Duration::from_hours(1);

/// What came of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has taken it.
    Taken,
    /// It never will: the status of its answer.
    Refused(u16),
    /// It may later.
    Failed {
        /// Why not now, in a few words without any of the receiver's.
        why: String,
        /// For how long it wants to be left alone.
        pause: Option<Duration>,
    },
}

impl Outcome {
    /// What an answer means. Redirects are refusals: what is posted is for nobody else.
    pub fn of_answer(status: u16, retry_after: Option<&str>, now: Timestamp) -> Self {
        match status {
            200..=299 => Self::Taken,
            408 | 425 | 429 | 500..=599 => {
                let pause =
                    retry_after.and_then(|value| asked(value, now)).map(|pause| pause.min(MOST_ASKED));
                Self::Failed { why: format!("status {status}"), pause }
            }
            _ => Self::Refused(status),
        }
    }

    /// That there was no answer.
    pub fn without_answer(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into(), pause: None }
    }
}

/// How long a `Retry-After` asks to wait: seconds, or a date.
fn asked(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// The pause after so many failures in a row: half of it is fixed, half is chance, so that receivers that failed
/// together are not asked together. `chance` is from 0 to 1.
pub fn pause(failures: u32, chance: f64) -> Duration {
    let whole = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_refused_or_tried_again() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let failed = |status: u16, seconds: Option<u64>| Outcome::Failed {
            why: format!("status {status}"),
            pause: seconds.map(Duration::from_secs),
        };
        for (status, header, expected) in [
            (200, None, Outcome::Taken),
            (202, Some("9"), Outcome::Taken),
            (301, None, Outcome::Refused(301)),
            (307, Some("9"), Outcome::Refused(307)),
            (400, None, Outcome::Refused(400)),
            (404, None, Outcome::Refused(404)),
            (410, None, Outcome::Refused(410)),
            (408, None, failed(408, None)),
            (429, Some("7"), failed(429, Some(7))),
            (429, Some(" 0 "), failed(429, Some(0))),
            (429, Some("soon"), failed(429, None)),
            (429, Some("-1"), failed(429, None)),
            (503, Some("Fri, 02 Jan 2026 03:05:05 GMT"), failed(503, Some(60))),
            (503, Some("Fri, 02 Jan 2026 03:00:00 GMT"), failed(503, Some(0))),
            (500, Some("18446744073709551615"), failed(500, Some(3600))),
            (599, None, failed(599, None)),
            (101, None, Outcome::Refused(101)),
        ] {
            assert_eq!(Outcome::of_answer(status, header, now), expected, "{status} {header:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_half_of_each_is_chance() {
        for (failures, least, most) in [
            (1, 500, 1000),
            (2, 1000, 2000),
            (3, 2000, 4000),
            (6, 16_000, 32_000),
            (7, 30_000, 60_000),
            (u32::MAX, 30_000, 60_000),
        ] {
            assert_eq!(pause(failures, 0.0), Duration::from_millis(least), "{failures}");
            assert_eq!(pause(failures, 1.0), Duration::from_millis(most), "{failures}");
        }
    }
}
