//! When the operator could keep its promises, and when it could not: pure functions of times.

use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// For how long after a fault the operator may still be about to catch up: another leader waits for a Lease to run out.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(8);

/// How far apart two answers of the API server may be. Where it takes longer, the machine does not keep up with what runs
/// on it: a replica that waits so long too for each of its writes loses its Lease, which is renewed every second.
const APART: SignedDuration = SignedDuration::from_millis(500);

/// A time in which the operator was hindered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// When the machine did not keep up with what ran on it: by when the API server answered one who asks without a break,
/// oldest first, and by the present.
pub fn stalls(answers: &[Timestamp], now: Timestamp) -> Vec<Disturbance> {
    let until = answers.iter().copied().skip(1).chain([now]);
    let between = answers.iter().copied().zip(until).map(|(from, until)| Disturbance { from, until });
    between.filter(|time| time.until.duration_since(time.from) > APART).collect()
}

/// How much of a time was neither disturbed nor soon after it.
pub fn undisturbed(from: Timestamp, until: Timestamp, disturbances: &[Disturbance]) -> SignedDuration {
    outside(from, until, disturbances, AFTERMATH)
}

/// How much of a time was not disturbed, each disturbance going on for a while after it.
fn outside(
    from: Timestamp,
    until: Timestamp,
    disturbances: &[Disturbance],
    aftermath: SignedDuration,
) -> SignedDuration {
    let mut sorted = disturbances.to_vec();
    sorted.sort_by_key(|disturbance| disturbance.from);
    let (mut calm, mut at) = (SignedDuration::ZERO, from);
    for Disturbance { from, until: end } in sorted {
        let begins = from.clamp(at, until.max(at));
        calm += begins.duration_since(at);
        let end = end.saturating_add(aftermath).unwrap_or(Timestamp::MAX);
        at = at.max(end.min(until)).max(begins);
    }
    calm + until.max(at).duration_since(at)
}

/// How much of a run's time was disturbed, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// How long it took.
    pub lasted: SignedDuration,
    /// How long no fault lasted.
    pub beside_faults: SignedDuration,
    /// So much was disturbed by faults, the time after them included.
    pub by_faults: SignedDuration,
    /// So much more by the machine, the time after it included.
    pub by_machine: SignedDuration,
    /// How often the machine did not keep up beside the faults.
    pub stalls: usize,
    /// For how long, all told.
    pub stood: SignedDuration,
}

impl Account {
    /// Of the time between these two.
    pub fn new(from: Timestamp, until: Timestamp, faults: &[Disturbance], stalls: &[Disturbance]) -> Self {
        let calm_but_for_machine = undisturbed(from, until, faults);
        let calm = undisturbed(from, until, &[faults, stalls].concat());
        let at_once = SignedDuration::ZERO;
        let beside = |stall: &Disturbance| outside(stall.from, stall.until, faults, at_once);
        let stood: Vec<SignedDuration> = stalls.iter().map(beside).filter(|stood| !stood.is_zero()).collect();
        let lasted = until.duration_since(from);
        Self {
            lasted,
            beside_faults: outside(from, until, faults, at_once),
            by_faults: lasted - calm_but_for_machine,
            by_machine: calm_but_for_machine - calm,
            stalls: stood.len(),
            stood: stood.into_iter().sum(),
        }
    }

    /// Whether the machine kept up for at least a quarter of the time in which no fault lasted. If not, the run shows too
    /// little, whatever came of it. The quarter is less than what was left with a load of 37 on 2 cores.
    pub fn is_conclusive(&self) -> bool {
        self.stood * 4 <= self.beside_faults * 3
    }
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: SignedDuration| format!("{:.1} s", time.as_secs_f64());
        write!(
            out,
            "disturbed, with 8 s after each time: {} of {} by faults, {} more by the machine, which did not keep up \
             {} times, {} in all, of the {} beside faults",
            seconds(self.by_faults),
            seconds(self.lasted),
            seconds(self.by_machine),
            self.stalls,
            seconds(self.stood),
            seconds(self.beside_faults),
        )
    }
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

    /// Times in milliseconds.
    fn times(pairs: &[(i64, i64)]) -> Vec<Disturbance> {
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).expect("in range");
        pairs.iter().map(|(from, until)| Disturbance { from: time(*from), until: time(*until) }).collect()
    }

    #[test]
    fn machine_does_not_keep_up_where_answers_are_more_than_half_a_second_apart() {
        for (answers, now, expected) in [
            (&[][..], 10_000, &[][..]),
            (&[0], 500, &[]),
            (&[0], 501, &[(0, 501)]),
            (&[0, 100, 600, 700], 700, &[]),
            (&[0, 100, 601, 700], 700, &[(100, 601)]),
            (&[0, 3_000, 3_100, 9_000], 9_000, &[(0, 3_000), (3_100, 9_000)]),
            (&[0, 3_000, 6_000], 9_000, &[(0, 3_000), (3_000, 6_000), (6_000, 9_000)]),
        ] {
            let answers: Vec<Timestamp> = times(&answers.iter().map(|at| (*at, *at)).collect::<Vec<_>>())
                .into_iter()
                .map(|time| time.from)
                .collect();
            let now = Timestamp::from_millisecond(now).expect("in range");
            assert_eq!(stalls(&answers, now), times(expected), "{answers:?}");
        }
    }

    #[test]
    fn account_tells_the_faults_time_from_the_machines() {
        // Lasted, beside faults, by faults, by the machine, stalls, stood.
        for (faults, slow, expected) in [
            (&[][..], &[][..], (100, 100, 0, 0, 0, 0)),
            (&[(10, 20)], &[], (100, 90, 18, 0, 0, 0)),
            (&[], &[(10, 20)], (100, 100, 0, 18, 1, 10)),
            (&[(10, 20)], &[(12, 18)], (100, 90, 18, 0, 0, 0)),
            (&[(10, 20)], &[(15, 25)], (100, 90, 18, 5, 1, 5)),
            (&[(10, 20)], &[(40, 41), (43, 44), (95, 100)], (100, 90, 18, 17, 3, 7)),
        ] {
            let seconds = |pairs: &[(i64, i64)]| {
                let scaled = pairs.iter().map(|(from, until)| (from * 1000, until * 1000));
                times(&scaled.collect::<Vec<_>>())
            };
            let account = Account::new(at(0), at(100), &seconds(faults), &seconds(slow));
            let Account { lasted, beside_faults, by_faults, by_machine, stalls, stood } = account;
            let told = (lasted, beside_faults, by_faults, by_machine, stalls, stood);
            let (lasted, beside_faults, by_faults, by_machine, stalls, stood) = expected;
            let whole = SignedDuration::from_secs;
            let expected = (
                whole(lasted),
                whole(beside_faults),
                whole(by_faults),
                whole(by_machine),
                stalls,
                whole(stood),
            );
            assert_eq!(told, expected, "{faults:?} {slow:?}");
        }
    }

    #[test]
    fn run_of_which_the_machine_took_more_than_three_quarters_shows_too_little() {
        for (faults, slow, conclusive) in [
            (&[][..], &[(0, 75_000)][..], true),
            (&[], &[(0, 75_001)], false),
            (&[], &[(0, 30_000), (40_000, 85_001)], false),
            // What a fault takes is not the machine's, and is not counted for it either.
            (&[(0, 90_000)], &[(0, 90_000)], true),
            (&[(0, 80_000)], &[(80_000, 95_000)], true),
            (&[(0, 80_000)], &[(80_000, 95_001)], false),
        ] {
            let account = Account::new(at(0), at(100), &times(faults), &times(slow));
            assert_eq!(account.is_conclusive(), conclusive, "{account}");
        }
    }
}
