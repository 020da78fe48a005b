//! Chance, by which many peers do not all do the same in the same moment.

use hyper::header::HeaderValue;
use std::time::Duration;

/// The least that a refused peer is told to wait. The specification recommends no less (section "Throttling").
const LEAST_PAUSE: Duration = Duration::from_secs(30);
/// How much longer some are told to wait. As long again: whoever was refused together returns over half a minute.
const SPREAD: Duration = Duration::from_secs(30);

/// How long a refused peer is told to wait.
pub fn pause() -> Duration {
    pause_by(chance())
}

/// The same as a value of `Retry-After`.
pub fn retry_after() -> HeaderValue {
    pause().as_secs().into()
}

/// A moment in the last quarter of a time: by how much it is earlier than the end is chance, so that connections that
/// were opened together do not end together.
pub fn jittered(time: Duration) -> Duration {
    jittered_by(time, chance())
}

fn pause_by(chance: u32) -> Duration {
    LEAST_PAUSE + share(SPREAD, chance)
}

fn jittered_by(time: Duration, chance: u32) -> Duration {
    time.saturating_sub(share(time / 4, chance))
}

fn share(time: Duration, chance: u32) -> Duration {
    time * (chance >> 16) / (1 << 16)
}

fn chance() -> u32 {
    // Without chance all are told the same.
    getrandom::u32().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_end_in_the_last_quarter_of_their_time() {
        let day = Duration::from_hours(24);
        for (chance, expected) in [(0, day), (1 << 31, Duration::from_hours(21))] {
            assert_eq!(jittered_by(day, chance), expected);
        }
        assert!(jittered_by(day, u32::MAX) > Duration::from_hours(18));
    }

    #[test]
    fn refused_peers_return_over_half_a_minute() {
        for (chance, expected) in [(0, 30), (1 << 31, 45)] {
            assert_eq!(pause_by(chance), Duration::from_secs(expected));
        }
        assert!(pause_by(u32::MAX) < Duration::from_mins(1));
    }
}
