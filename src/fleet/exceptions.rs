//! Treatments, restarts, refusals and bindings as slices of exceptions: what the leader publishes for one group, and
//! replicas act on.

use super::pack::{FAILED, ROLLED_BACK};
use super::unpack::unpack;
use super::{
    Bindings, Cause, Given, InstanceUid, Ledger, Order, PrincipalMark, Refusals, Restart, Restarts,
    Treatment, Treatments, Verdict,
};
use crate::api::{
    AgentEntry, AgentSliceSpec, RestartEntry, SLICE_FORMAT_VERSION, TreatmentEntry, VerdictEntry,
};
use crate::config::ConfigHash;
use crate::fleet::treatment::Ordered;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Most agents of one slice: so many of which all is told are below 62 KiB (design, section 4).
const MAX_ENTRIES: usize = 190;

/// What is said of one agent.
#[derive(Clone, Copy)]
struct Exception<'a> {
    treatment: Option<&'a Treatment>,
    restart: Option<&'a Restart>,
    refused: Option<&'a Ledger>,
    bound: Option<PrincipalMark>,
}

impl Exception<'_> {
    fn refusals(&self) -> impl Iterator<Item = &Given> {
        self.refused.into_iter().flat_map(Ledger::iter)
    }

    fn hashes(&self) -> impl Iterator<Item = ConfigHash> {
        let treated = self.treatment.map(|treatment| treatment.of);
        self.refusals().map(|given| given.hash).chain(treated)
    }
}

/// The slices of one group, in order: an agent stays in its slice for as long as their number is the same, which is a
/// power of two, so that a change rewrites one of them.
pub fn pack_exceptions(group: &str, told: &Excepted) -> Vec<AgentSliceSpec> {
    let Excepted { treatments, restarts, refusals, bindings } = told;
    let uids = treatments.keys().chain(restarts.keys()).chain(refusals.keys()).chain(bindings.keys());
    let uids: BTreeSet<InstanceUid> = uids.copied().collect();
    if uids.is_empty() {
        return Vec::new();
    }
    let mut count = 1;
    loop {
        let mut shards = vec![BTreeMap::new(); count];
        for uid in &uids {
            let told = Exception {
                treatment: treatments.get(uid),
                restart: restarts.get(uid),
                refused: refusals.get(uid),
                bound: bindings.get(uid).copied(),
            };
            shards[shard(*uid, count)].insert(*uid, told);
        }
        if shards.iter().all(|shard| shard.len() <= MAX_ENTRIES) || count > uids.len() {
            return shards.iter().map(|shard| slice(group, shard)).collect();
        }
        count *= 2;
    }
}

/// Whether a slice has the format of a newer version: what it says of the same agents is not to be written anew.
pub fn has_newer_format(slice: &AgentSliceSpec) -> bool {
    slice.format_version > SLICE_FORMAT_VERSION
}

/// What slices of exceptions tell of the agents of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excepted {
    /// Who is treated, and how.
    pub treatments: Treatments,
    /// Who is started anew, because a person asked for that.
    pub restarts: Restarts,
    /// Who refused what.
    pub refusals: Refusals,
    /// Whose they are, of those of which that is told.
    pub bindings: Bindings,
}

/// All that these slices tell; nothing of those that have a format that this program does not know.
pub fn unpack_exceptions<'a>(slices: impl IntoIterator<Item = &'a AgentSliceSpec>) -> Excepted {
    let mut all = Excepted::default();
    for told in slices.into_iter().flat_map(unpack) {
        let treatment = told.running.and_then(|of| read(told.entry, of));
        all.treatments.extend(treatment.map(|treatment| (told.uid, treatment)));
        let restart = told.entry.restart.as_ref().and_then(read_restart);
        all.restarts.extend(restart.map(|restart| (told.uid, restart)));
        if told.ledger.iter().next().is_some() {
            all.refusals.insert(told.uid, told.ledger);
        }
        all.bindings.extend(told.bound.map(|mark| (told.uid, mark)));
    }
    all
}

/// Uids end in random or counted bits, whatever their version begins with.
fn shard(uid: InstanceUid, count: usize) -> usize {
    let sum = uid
        .as_bytes()
        .iter()
        .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    sum % count
}

fn slice(group: &str, exceptions: &BTreeMap<InstanceUid, Exception<'_>>) -> AgentSliceSpec {
    let mut revisions: Vec<ConfigHash> = exceptions.values().flat_map(Exception::hashes).collect();
    revisions.sort_unstable();
    revisions.dedup();
    let mut principals: Vec<PrincipalMark> = exceptions.values().filter_map(|told| told.bound).collect();
    principals.sort_unstable();
    principals.dedup();
    let holder = |mark: PrincipalMark| u32::try_from(principals.binary_search(&mark).ok()?).ok();
    let index = |hash: ConfigHash| u32::try_from(revisions.binary_search(&hash).ok()?).ok();
    let verdict = |given: &Given| {
        let code = match given.verdict {
            Verdict::Applied => return None,
            Verdict::Failed(_) => FAILED,
            Verdict::RolledBackByAgent => ROLLED_BACK,
        };
        Some(VerdictEntry { revision: index(given.hash)?, code, message: None, at: given.at.as_second() })
    };
    let entry = |(uid, told): (&InstanceUid, &Exception<'_>)| AgentEntry {
        uid: uid.to_hex(),
        bound: told.bound.and_then(holder),
        group: Some(0),
        running: told.treatment.and_then(|treatment| index(treatment.of)),
        since: told.treatment.map_or(0, |treatment| treatment.began.as_second()),
        treatment: told.treatment.map(written),
        restart: told.restart.map(written_restart),
        verdicts: told.refusals().filter_map(verdict).collect(),
        ..AgentEntry::default()
    };
    AgentSliceSpec {
        format_version: SLICE_FORMAT_VERSION,
        groups: vec![group.to_owned()],
        agents: exceptions.iter().map(entry).collect(),
        principals: principals.iter().map(|mark| mark.to_hex()).collect(),
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
            Cause::Other(code) => code,
        },
        orders: treatment.orders,
        order: match last.map(|last| last.order) {
            None => 0,
            Some(Order::Offer) => 1,
            Some(Order::Restart) => 2,
            Some(Order::Stable) => 3,
            Some(Order::Other(code)) => code,
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
            code => Cause::Other(code),
        },
        began: time(entry.since)?,
        orders: written.orders,
        last: match written.order {
            0 => None,
            1 => Some(ordered(Order::Offer)),
            2 => Some(ordered(Order::Restart)),
            3 => Some(ordered(Order::Stable)),
            code => Some(ordered(Order::Other(code))),
        },
        sent_back: written.sent_back,
        well: written.well.and_then(after),
        quarantined: written.quarantined.and_then(after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{A, B, C, at, hash, uid};

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

    fn treated(treatments: &Treatments) -> Excepted {
        Excepted { treatments: treatments.clone(), ..Excepted::default() }
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
        let slices = pack_exceptions("edge", &treated(&treatments));
        assert_eq!(slices.len(), 1);
        assert_eq!(slices[0].groups, ["edge"]);
        let written = serde_json::to_value(&slices[0]).expect("JSON");
        let read: AgentSliceSpec = serde_json::from_value(written).expect("a slice");
        assert_eq!(unpack_exceptions([&read]).treatments, treatments);
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
        let told = Excepted { treatments, restarts, ..Excepted::default() };
        let slices = pack_exceptions("edge", &told);
        assert_eq!((slices.len(), slices[0].agents.len()), (1, 3));
        let written = serde_json::to_value(&slices[0]).expect("JSON");
        let read: AgentSliceSpec = serde_json::from_value(written).expect("a slice");
        assert_eq!(unpack_exceptions([&read]), told);
        assert_eq!(unpack_exceptions([&AgentSliceSpec { format_version: 2, ..read }]), Excepted::default());
    }

    #[test]
    fn many_are_spread_over_slices_and_one_more_changes_one_slice() {
        let one = treatment(A, Cause::Drift, Some(Order::Offer));
        let mut treatments: BTreeMap<_, _> = (0..3_000).map(|n| (uid(n), one.clone())).collect();
        let before = pack_exceptions("edge", &treated(&treatments));
        assert!(before.len() <= 32 && before.iter().all(|slice| slice.agents.len() <= MAX_ENTRIES));
        assert_eq!(before.iter().map(|slice| slice.agents.len()).sum::<usize>(), 3_000);
        treatments.insert(uid(3_000), one);
        let after = pack_exceptions("edge", &treated(&treatments));
        assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
        assert!(pack_exceptions("edge", &Excepted::default()).is_empty());
    }

    fn refused(verdicts: &[(u8, Verdict)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (n, verdict) in verdicts {
            ledger.note(hash(*n), verdict.clone(), at(4));
        }
        ledger
    }

    #[test]
    fn refusals_come_back_as_they_were_written_beside_treatments() {
        let treatments = Treatments::from([(uid(1), treatment(A, Cause::Drift, None))]);
        let refusals = Refusals::from([
            (uid(1), refused(&[(B, Verdict::failed("")), (A, Verdict::RolledBackByAgent)])),
            (uid(2), refused(&[(B, Verdict::RolledBackByAgent)])),
        ]);
        let told = Excepted { treatments, refusals, ..Excepted::default() };
        let slices = pack_exceptions("edge", &told);
        assert_eq!((slices.len(), &slices[0].groups[..]), (1, &["edge".to_owned()][..]));
        let written = serde_json::to_value(&slices[0]).expect("JSON");
        let read: AgentSliceSpec = serde_json::from_value(written).expect("a slice");
        assert_eq!(unpack_exceptions([&read]), told);
        let newer = AgentSliceSpec { format_version: 2, ..read };
        assert_eq!(unpack_exceptions([&newer]), Excepted::default());
    }

    #[test]
    fn bindings_come_back_as_they_were_written_beside_refusals_and_alone() {
        let mark = |n: u8| PrincipalMark::from_hex(&format!("{n:016}")).expect("a mark");
        let refusals = Refusals::from([(uid(1), refused(&[(B, Verdict::RolledBackByAgent)]))]);
        let bindings = Bindings::from([(uid(1), mark(2)), (uid(2), mark(1)), (uid(3), mark(2))]);
        let told = Excepted { refusals, bindings, ..Excepted::default() };
        let slices = pack_exceptions("edge", &told);
        assert_eq!((slices.len(), slices[0].principals.len()), (1, 2));
        let written = serde_json::to_value(&slices[0]).expect("JSON");
        let read: AgentSliceSpec = serde_json::from_value(written).expect("a slice");
        assert_eq!(unpack_exceptions([&read]), told);
        assert_eq!(unpack_exceptions([&AgentSliceSpec { format_version: 2, ..read }]), Excepted::default());
    }

    #[test]
    fn slice_of_agents_of_which_all_is_told_stays_below_its_size() {
        let order = Ordered { order: Order::Restart, given: at(99_999), done: Some(at(199_999)) };
        let one = Treatment {
            orders: u32::MAX,
            last: Some(order),
            well: Some(at(999_999)),
            quarantined: Some(at(999_999)),
            sent_back: true,
            ..treatment(C, Cause::Drift, None)
        };
        let both = refused(&[(A, Verdict::failed("")), (B, Verdict::RolledBackByAgent)]);
        let entries = u32::try_from(MAX_ENTRIES).expect("few");
        let treatments: Treatments = (0..entries).map(|n| (uid(n), one.clone())).collect();
        let refusals: Refusals = (0..entries).map(|n| (uid(n), both.clone())).collect();
        let ordered = Ordered { order: Order::Restart, given: at(25), done: Some(at(26)) };
        let restart = Restart { asked: at(20), ordered, started: Some(-99_999), missed: Some(at(85)) };
        let restarts: Restarts = (0..entries).map(|n| (uid(n), restart)).collect();
        let mark = |n: u32| PrincipalMark::from_hex(&format!("{n:016}")).expect("a mark");
        let bindings: Bindings = (0..entries).map(|n| (uid(n), mark(n))).collect();
        let slices = pack_exceptions("edge", &Excepted { treatments, restarts, refusals, bindings });
        assert_eq!(slices.len(), 1);
        let bytes = serde_json::to_vec(&slices[0]).expect("JSON").len();
        assert!(bytes <= 62 * 1024, "{bytes} bytes");
    }

    #[test]
    fn codes_of_a_newer_leader_are_kept_as_they_are() {
        for (cause, order) in [(7, 1), (1, 9), (7, 9)] {
            let treatments = [(uid(1), treatment(A, Cause::Drift, Some(Order::Offer)))].into();
            let mut slice = pack_exceptions("edge", &treated(&treatments)).remove(0);
            let written = slice.agents[0].treatment.as_mut().expect("a treatment");
            (written.cause, written.order) = (cause, order);
            let read = unpack_exceptions([&slice]).treatments;
            assert!(read[&uid(1)].is_newer(), "cause {cause}, order {order}");
            let again = pack_exceptions("edge", &treated(&read));
            assert_eq!(again, [slice]);
        }
    }

    #[test]
    fn what_is_damaged_is_left_out() {
        let treatments = [(uid(1), treatment(A, Cause::Drift, Some(Order::Offer)))].into();
        let whole = pack_exceptions("edge", &treated(&treatments)).remove(0);
        assert_eq!(unpack_exceptions([&whole]).treatments.len(), 1);
        let with = |change: &dyn Fn(&mut AgentEntry)| {
            let mut slice = whole.clone();
            change(&mut slice.agents[0]);
            unpack_exceptions([&slice]).treatments.len()
        };
        let treated = |entry: &mut AgentEntry, change: &dyn Fn(&mut TreatmentEntry)| {
            change(entry.treatment.as_mut().expect("a treatment"));
        };
        assert_eq!(with(&|entry| treated(entry, &|written| written.given = i64::MAX)), 0);
        assert_eq!(with(&|entry| entry.since = i64::MAX), 0);
        assert_eq!(with(&|entry| entry.uid = "x".into()), 0);
        assert_eq!(with(&|entry| entry.running = Some(7)), 0);
        assert_eq!(with(&|entry| entry.treatment = None), 0);
        assert_eq!(unpack_exceptions([&AgentSliceSpec { format_version: 2, ..whole }]), Excepted::default());
    }
}
