//! How often something may happen. Pure: time is an argument.

use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// Lets so much pass in a second, and once so much more after a pause (a token bucket, kept as the moment at which all
/// that has passed is paid for).
pub struct Pace {
    each: Duration,
    credit: Duration,
    paid: Instant,
}

impl Pace {
    /// At most `rate` in a second, and `burst` at once.
    pub fn new(rate: NonZeroU32, burst: u32, now: Instant) -> Self {
        let each = Duration::from_secs(1) / rate.get();
        Self { each, credit: each * burst, paid: now }
    }

    /// Whether one more may pass now; if so, it has.
    pub fn takes(&mut self, now: Instant) -> bool {
        let paid = self.paid.max(now) + self.each;
        let passes = paid <= now + self.credit;
        if passes {
            self.paid = paid;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a thousand pass at this moment.
    fn passing(pace: &mut Pace, now: Instant) -> usize {
        (0..1000).filter(|_| pace.takes(now)).count()
    }

    #[test]
    fn burst_passes_at_once_and_then_as_many_as_the_time_is_worth() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(10).expect("not zero"), 50, start);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for (milliseconds, expected) in
            [(0, 50), (99, 0), (100, 1), (1100, 10), (3_600_000, 50), (3_600_050, 0), (3_600_100, 1)]
        {
            assert_eq!(passing(&mut pace, at(milliseconds)), expected, "after {milliseconds} ms");
        }
    }

    #[test]
    fn burst_of_one_keeps_the_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::MIN, 1, start);
        let passed = (0..100).filter(|tenth| pace.takes(start + Duration::from_millis(100) * *tenth)).count();
        assert_eq!(passed, 10);
    }
}
