//! When it is an agent's turn to be asked for its full state, as every agent is once in a while.

use super::InstanceUid;
use jiff::Timestamp;
use std::time::Duration;

/// When the agent's present turn began: its turns are an interval apart, and those of all agents spread over it. Nothing
/// if there are no turns.
pub fn last_turn(uid: InstanceUid, interval: Duration, now: Timestamp) -> Option<Timestamp> {
    let interval = i64::try_from(interval.as_millis()).ok().filter(|interval| *interval > 0)?;
    let share = u128::from(spread(uid)) * u128::from(interval.unsigned_abs());
    let offset = i64::try_from(share >> u64::BITS).ok()?;
    let now = now.as_millisecond();
    let passed = now.checked_sub(offset)?.rem_euclid(interval);
    Timestamp::from_millisecond(now.checked_sub(passed)?).ok()
}

/// A number for a uid, all of them spread evenly whatever the uids have in common. It is asked for every agent every
/// second and costs less than a [`Rank`](super::Rank), which agents must not be able to choose.
fn spread(uid: InstanceUid) -> u64 {
    let half = |from: usize| {
        let bytes = uid.as_bytes().iter().skip(from).take(8);
        bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    mix(half(0).wrapping_add(mix(half(8))))
}

/// Each bit of the result hangs on all bits of the number (as in `SplitMix64`).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{at, uid};
    use proptest::prelude::*;

    const FIVE_MINUTES: Duration = Duration::from_mins(5);

    /// A uid of version 7 as many clients make them at about the same time.
    fn version_7(n: u32) -> InstanceUid {
        let mut bytes = [0x70; 16];
        bytes[..6].copy_from_slice(&0x0001_9000_0000_0000_u64.to_be_bytes()[2..]);
        bytes[12..].copy_from_slice(&n.wrapping_mul(2_654_435_769).to_be_bytes());
        InstanceUid::new(bytes)
    }

    #[test]
    fn turns_of_ten_thousand_agents_are_spread_over_the_interval() {
        let counted: fn(u32) -> InstanceUid = uid;
        for (name, uids) in [("counted", counted), ("of version 7", version_7)] {
            let mut seconds = [0; 300];
            for n in 0..10_000 {
                let began = last_turn(uids(n), FIVE_MINUTES, at(0)).expect("a turn");
                let ago = at(0).duration_since(began).as_secs();
                seconds[usize::try_from(ago).expect("not in the future")] += 1;
            }
            let most = seconds.iter().max().expect("seconds");
            assert!(*most <= 60, "{name}: {most} in one second, where 33 would be even");
            let tens: Vec<i32> = seconds.chunks(10).map(|ten| ten.iter().sum()).collect();
            assert!(tens.iter().all(|ten| (250..=420).contains(ten)), "{name}: {tens:?}");
        }
    }

    #[test]
    fn there_are_no_turns_without_an_interval_or_at_the_end_of_time() {
        for (interval, now) in [
            (Duration::ZERO, at(0)),
            (Duration::from_micros(1), at(0)),
            (Duration::MAX, at(0)),
            (Duration::from_hours(24 * 365 * 30_000), Timestamp::MIN),
        ] {
            assert_eq!(last_turn(uid(1), interval, now), None, "{interval:?}");
        }
    }

    proptest! {
        #[test]
        fn each_interval_has_one_turn_of_each_agent(
            bytes: [u8; 16], interval in 1_u64..10_000_000, now in 0_i64..4_000_000_000_000
        ) {
            let (uid, length) = (InstanceUid::new(bytes), Duration::from_millis(interval));
            let turn = |now| last_turn(uid, length, Timestamp::from_millisecond(now).expect("in range"));
            let began = turn(now).expect("a turn").as_millisecond();
            let interval = i64::try_from(interval).expect("small");
            prop_assert!(began <= now && now < began + interval);
            for (when, expected) in [
                (began, began),
                (began + interval - 1, began),
                (began + interval, began + interval),
                (began - 1, began - interval),
            ] {
                prop_assert_eq!(turn(when).expect("a turn").as_millisecond(), expected);
            }
        }
    }
}
