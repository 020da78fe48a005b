//! When the operator could keep its promises, and when it could not: pure functions of times.

use jiff::{SignedDuration, Timestamp};

/// For how long after a fault the operator may still be about to catch up: another leader waits for a Lease to run out.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(8);

/// A time in which the operator was hindered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// How much of a time was neither disturbed nor soon after it.
pub fn undisturbed(from: Timestamp, until: Timestamp, disturbances: &[Disturbance]) -> SignedDuration {
    let mut sorted = disturbances.to_vec();
    sorted.sort_by_key(|disturbance| disturbance.from);
    let (mut calm, mut at) = (SignedDuration::ZERO, from);
    for Disturbance { from, until: end } in sorted {
        let begins = from.clamp(at, until.max(at));
        calm += begins.duration_since(at);
        let end = end.saturating_add(AFTERMATH).unwrap_or(Timestamp::MAX);
        at = at.max(end.min(until)).max(begins);
    }
    calm + until.max(at).duration_since(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn disturbances_that_overlap_count_once() {
        let disturbances = [(10, 20), (15, 18), (40, 41)]
            .map(|(from, until)| Disturbance { from: at(from), until: at(until) });
        // Each goes on for 8 s: 10 to 28 and 40 to 49 are not calm.
        assert_eq!(undisturbed(at(0), at(60), &disturbances), SignedDuration::from_secs(33));
        assert_eq!(undisturbed(at(12), at(27), &disturbances), SignedDuration::ZERO);
        assert_eq!(undisturbed(at(12), at(30), &disturbances), SignedDuration::from_secs(2));
        assert_eq!(undisturbed(at(0), at(9), &disturbances), SignedDuration::from_secs(9));
    }
}
