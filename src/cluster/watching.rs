//! How everything is watched that this program follows at the API server: for how long at a time, and when again after an
//! error.

use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff};
use std::time::Duration;

/// For how long one request watches, in seconds. A connection that has died without a word is found when so much time
/// and a little more has passed without an event, and a replica that acts on what it read before has to find that soon:
/// the default is five minutes.
const AT_A_TIME: u32 = 60;

/// After so long a silence a connection to the API server is dead: longer than a watch may be silent.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(AT_A_TIME as u64 + 15);

/// The longest pause after an error. Nothing that people apply is seen before the watches are back, however short the
/// time was in which the API server was away; the pauses of [`DefaultBackoff`] grow to a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A watch of all objects of a kind.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(AT_A_TIME)
}

/// The pauses after errors that come one after another: those of client-go, from 0.8 s on, but five seconds at most.
pub fn pauses() -> Pauses {
    Pauses::default()
}

/// See [`pauses`].
#[derive(Default)]
pub struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_begin_anew_after_a_success() {
        let mut pauses = pauses();
        let first = pauses.next().expect("it never ends");
        assert!(first < Duration::from_secs(2), "{first:?}");
        let later: Vec<Duration> = pauses.by_ref().skip(3).take(20).collect();
        assert_eq!(later, [LONGEST_PAUSE; 20]);
        pauses.reset();
        assert!(pauses.next().expect("it never ends") < Duration::from_secs(2));
    }
}
