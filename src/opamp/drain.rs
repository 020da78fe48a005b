//! When each connection ends while a door drains. Pure: time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// Spreads the ends of connections over a time, so that their agents do not all return in the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    start: Instant,
    period: Duration,
    /// Between two ends.
    pause: Duration,
}

impl Drain {
    /// Ends so many connections within `period`. Few of them take less time than that: no two ends are further apart
    /// than `longest_pause`, and without connections it is over at once.
    pub fn new(start: Instant, period: Duration, connections: usize, longest_pause: Duration) -> Self {
        let connections = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
        Self { start, period, pause: (period / connections).min(longest_pause) }
    }

    /// The moment of the connection at this place, counted from 0. Places beyond the number of connections, which may
    /// have grown a little, end with the period.
    pub fn moment(&self, place: u32) -> Instant {
        self.start + self.pause.saturating_mul(place).min(self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);
    const LONGEST_PAUSE: Duration = Duration::from_millis(50);

    fn after(connections: usize, place: u32) -> Duration {
        let start = Instant::now();
        Drain::new(start, PERIOD, connections, LONGEST_PAUSE).moment(place) - start
    }

    #[test]
    fn connections_end_one_after_the_other_within_the_period() {
        for (connections, place, expected) in [
            (0, 0, 0),
            (1, 0, 0),
            (3, 2, 100),
            (200, 199, 9950),
            (10_000, 0, 0),
            (10_000, 1, 1),
            (10_000, 5000, 5000),
            (10_000, 9999, 9999),
            (10_000, 10_000, 10_000),
            (10_000, u32::MAX, 10_000),
        ] {
            let expected = Duration::from_millis(expected);
            assert_eq!(after(connections, place), expected, "{place} of {connections}");
        }
    }

    #[test]
    fn no_part_of_the_period_ends_more_than_its_share() {
        for connections in [1, 7, 250, 20_000, 1_000_000] {
            let start = Instant::now();
            let drain = Drain::new(start, PERIOD, connections, LONGEST_PAUSE);
            let tenth = |place| ((drain.moment(place) - start).as_millis() / 1000).min(9);
            let mut ends = [0_usize; 10];
            (0..u32::try_from(connections).expect("few")).for_each(|place| ends[tenth(place) as usize] += 1);
            let share = (connections / 10 + 1).max(20);
            assert!(ends.iter().all(|ends| *ends <= share), "{connections}: {ends:?}");
        }
    }
}
