//! Treatments and restarts as slices of exceptions: what the leader publishes for one group, and replicas act on.

use super::{Cause, InstanceUid, Order, Restart, Treatment};
use crate::api::{AgentEntry, AgentSliceSpec, RestartEntry, SLICE_FORMAT_VERSION, TreatmentEntry};
use crate::config::ConfigHash;
use crate::fleet::treatment::Ordered;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Most agents of one slice (design, section 4).
const MAX_ENTRIES: usize = 250;

/// The slices of one group, in order: an agent stays in its slice for as long as their number is the same, which is a
/// power of two, so that a change rewrites one of them.
pub fn pack_exceptions(
    group: &str,
    treatments: &BTreeMap<InstanceUid, Treatment>,
    restarts: &BTreeMap<InstanceUid, Restart>,
) -> Vec<AgentSliceSpec> {
    let agents: BTreeSet<&InstanceUid> = treatments.keys().chain(restarts.keys()).collect();
    if agents.is_empty() {
        return Vec::new();
    }
    let mut count = 1;
    loop {
        let mut shards = vec![BTreeMap::new(); count];
        for uid in &agents {
            shards[shard(**uid, count)].insert(**uid, (treatments.get(uid), restarts.get(uid)));
        }
        if shards.iter().all(|shard| shard.len() <= MAX_ENTRIES) || count > agents.len() {
            return shards.iter().map(|shard| slice(group, shard)).collect();
        }
        count *= 2;
    }
}

/// The treatments of a slice, each with its agent; none if it has a format that this program does not know.
pub fn unpack_exceptions(slice: &AgentSliceSpec) -> impl Iterator<Item = (InstanceUid, Treatment)> {
    let known = slice.format_version == SLICE_FORMAT_VERSION;
    slice.agents.iter().filter(move |_| known).filter_map(|entry| {
        let content = slice.revisions.get(usize::try_from(entry.running?).ok()?)?;
        let treatment = read(entry, content.parse().ok()?)?;
        Some((InstanceUid::from_hex(&entry.uid)?, treatment))
    })
}

/// The restarts of a slice, each with its agent.
pub fn unpack_restarts(slice: &AgentSliceSpec) -> impl Iterator<Item = (InstanceUid, Restart)> {
    let known = slice.format_version == SLICE_FORMAT_VERSION;
    slice.agents.iter().filter(move |_| known).filter_map(|entry| {
        let restart = read_restart(entry.restart.as_ref()?)?;
        Some((InstanceUid::from_hex(&entry.uid)?, restart))
    })
}

/// Uids end in random or counted bits, whatever their version begins with.
fn shard(uid: InstanceUid, count: usize) -> usize {
    let sum = uid
        .as_bytes()
        .iter()
        .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    sum % count
}

/// What is ordered for one agent.
type Orders<'a> = (Option<&'a Treatment>, Option<&'a Restart>);

fn slice(group: &str, agents: &BTreeMap<InstanceUid, Orders<'_>>) -> AgentSliceSpec {
    let mut revisions: Vec<ConfigHash> =
        agents.values().filter_map(|(treatment, _)| Some(treatment.as_ref()?.of)).collect();
    revisions.sort_unstable();
    revisions.dedup();
    let index = |of: ConfigHash| u32::try_from(revisions.binary_search(&of).ok()?).ok();
    let entry = |(uid, (treatment, restart)): (&InstanceUid, &Orders<'_>)| AgentEntry {
        uid: uid.to_hex(),
        group: Some(0),
        running: treatment.and_then(|treatment| index(treatment.of)),
        since: treatment.map_or(0, |treatment| treatment.began.as_second()),
        treatment: treatment.map(written),
        restart: restart.map(written_restart),
        ..AgentEntry::default()
    };
    AgentSliceSpec {
        format_version: SLICE_FORMAT_VERSION,
        groups: vec![group.to_owned()],
        agents: agents.iter().map(entry).collect(),
        revisions: revisions.iter().map(ToString::to_string).collect(),
        ..AgentSliceSpec::default()
    }
}

fn written(treatment: &Treatment) -> TreatmentEntry {
    let began = treatment.began.as_second();
    let after = |time: Timestamp| time.as_second() - began;
    let last = treatment.last;
    TreatmentEntry {
        cause: match treatment.cause {
            Cause::Drift => 1,
            Cause::Illness => 2,
        },
        orders: treatment.orders,
        order: match last.map(|last| last.order) {
            None => 0,
            Some(Order::Offer) => 1,
            Some(Order::Restart) => 2,
            Some(Order::Stable) => 3,
        },
        given: last.map_or(0, |last| after(last.given)),
        done: last.and_then(|last| Some(last.done?.as_second() - last.given.as_second())),
        sent_back: treatment.sent_back,
        well: treatment.well.map(after),
        quarantined: treatment.quarantined.map(after),
    }
}

fn written_restart(restart: &Restart) -> RestartEntry {
    RestartEntry {
        asked: restart.asked.as_second(),
        given: restart.ordered.given.as_second(),
        started: restart.started,
        done: restart.ordered.done.map(Timestamp::as_second),
        missed: restart.missed.map(Timestamp::as_second),
    }
}

fn read_restart(written: &RestartEntry) -> Option<Restart> {
    let time = |second| Timestamp::from_second(second).ok();
    let given = time(written.given)?;
    Some(Restart {
        asked: time(written.asked)?,
        ordered: Ordered { order: Order::Restart, given, done: written.done.and_then(time) },
        started: written.started,
        missed: written.missed.and_then(time),
    })
}

fn read(entry: &AgentEntry, of: ConfigHash) -> Option<Treatment> {
    let written = entry.treatment.as_ref()?;
    let time = |second| Timestamp::from_second(second).ok();
    let after = |seconds: i64| time(entry.since.saturating_add(seconds));
    let given = after(written.given)?;
    let ordered = |order| Ordered {
        order,
        given,
        done: written.done.and_then(|done| time(given.as_second().saturating_add(done))),
    };
    Some(Treatment {
        of,
        cause: match written.cause {
            1 => Cause::Drift,
            2 => Cause::Illness,
            _ => return None,
        },
        began: time(entry.since)?,
        orders: written.orders,
        last: match written.order {
            0 => None,
            1 => Some(ordered(Order::Offer)),
            2 => Some(ordered(Order::Restart)),
            3 => Some(ordered(Order::Stable)),
            _ => return None,
        },
        sent_back: written.sent_back,
        well: written.well.and_then(after),
        quarantined: written.quarantined.and_then(after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{A, B, at, hash, uid};

    fn treatment(n: u8, cause: Cause, order: Option<Order>) -> Treatment {
        let last = order.map(|order| Ordered { order, given: at(5), done: None });
        Treatment {
            of: hash(n),
            cause,
            began: at(3),
            orders: 2,
            last,
            sent_back: false,
            well: None,
            quarantined: None,
        }
    }

    #[test]
    fn treatments_come_back_as_they_were_written() {
        let mut treatments: BTreeMap<InstanceUid, Treatment> = [
            (uid(1), treatment(A, Cause::Drift, Some(Order::Offer))),
            (uid(2), treatment(B, Cause::Illness, Some(Order::Restart))),
            (uid(3), treatment(A, Cause::Illness, Some(Order::Stable))),
            (uid(4), treatment(A, Cause::Drift, None)),
        ]
        .into();
        let third = treatments.get_mut(&uid(3)).expect("the third");
        third.last = third.last.map(|last| Ordered { done: Some(at(6)), ..last });
        third.sent_back = true;
        third.well = Some(at(8));
        third.quarantined = Some(at(9));
        let slices = pack_exceptions("edge", &treatments, &BTreeMap::new());
        assert_eq!(slices.len(), 1);
        assert_eq!(slices[0].groups, ["edge"]);
        let written = serde_json::to_value(&slices[0]).expect("JSON");
        let read: AgentSliceSpec = serde_json::from_value(written).expect("a slice");
        assert_eq!(unpack_exceptions(&read).collect::<BTreeMap<_, _>>(), treatments);
    }

    #[test]
    fn restarts_come_back_as_they_were_written_beside_a_treatment_and_alone() {
        let restart = |done, started, missed| Restart {
            asked: at(20),
            ordered: Ordered { order: Order::Restart, given: at(25), done },
            started,
            missed,
        };
        let treatments = [(uid(1), treatment(A, Cause::Drift, None))].into();
        let restarts: BTreeMap<_, _> = [
            (uid(1), restart(None, None, None)),
            (uid(2), restart(Some(at(26)), Some(-5), None)),
            (uid(3), restart(None, Some(99), Some(at(85)))),
        ]
        .into();
        let slices = pack_exceptions("edge", &treatments, &restarts);
        assert_eq!((slices.len(), slices[0].agents.len()), (1, 3));
        let written = serde_json::to_value(&slices[0]).expect("JSON");
        let read: AgentSliceSpec = serde_json::from_value(written).expect("a slice");
        assert_eq!(unpack_restarts(&read).collect::<BTreeMap<_, _>>(), restarts);
        assert_eq!(unpack_exceptions(&read).collect::<BTreeMap<_, _>>(), treatments);
        assert_eq!(unpack_restarts(&AgentSliceSpec { format_version: 2, ..read }).count(), 0);
    }

    #[test]
    fn many_are_spread_over_slices_and_one_more_changes_one_slice() {
        let one = treatment(A, Cause::Drift, Some(Order::Offer));
        let mut treatments: BTreeMap<_, _> = (0..3_000).map(|n| (uid(n), one.clone())).collect();
        let before = pack_exceptions("edge", &treatments, &BTreeMap::new());
        assert!(before.len() <= 32 && before.iter().all(|slice| slice.agents.len() <= MAX_ENTRIES));
        assert_eq!(before.iter().map(|slice| slice.agents.len()).sum::<usize>(), 3_000);
        treatments.insert(uid(3_000), one);
        let after = pack_exceptions("edge", &treatments, &BTreeMap::new());
        assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
        assert!(pack_exceptions("edge", &BTreeMap::new(), &BTreeMap::new()).is_empty());
    }

    /// An order of a newer leader is not known here: nothing is done rather than something else.
    #[test]
    fn what_a_newer_leader_wrote_and_what_is_damaged_is_left_out() {
        let treatments = [(uid(1), treatment(A, Cause::Drift, Some(Order::Offer)))].into();
        let whole = pack_exceptions("edge", &treatments, &BTreeMap::new()).remove(0);
        assert_eq!(unpack_exceptions(&whole).count(), 1);
        let with = |change: &dyn Fn(&mut AgentEntry)| {
            let mut slice = whole.clone();
            change(&mut slice.agents[0]);
            unpack_exceptions(&slice).count()
        };
        let treated = |entry: &mut AgentEntry, change: &dyn Fn(&mut TreatmentEntry)| {
            change(entry.treatment.as_mut().expect("a treatment"));
        };
        assert_eq!(with(&|entry| treated(entry, &|written| written.order = 9)), 0);
        assert_eq!(with(&|entry| treated(entry, &|written| written.cause = 9)), 0);
        assert_eq!(with(&|entry| treated(entry, &|written| written.given = i64::MAX)), 0);
        assert_eq!(with(&|entry| entry.since = i64::MAX), 0);
        assert_eq!(with(&|entry| entry.uid = "x".into()), 0);
        assert_eq!(with(&|entry| entry.running = Some(7)), 0);
        assert_eq!(with(&|entry| entry.treatment = None), 0);
        assert_eq!(unpack_exceptions(&AgentSliceSpec { format_version: 2, ..whole }).count(), 0);
    }
}
