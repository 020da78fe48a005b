use super::*;
use crate::api::{AgentEntry, AgentSliceSpec, EntryFlags, SLICE_FORMAT_VERSION, VerdictEntry};
use crate::fleet::Verdict;
use crate::fleet::fixtures::*;

const CONNECTED: u32 = EntryFlags::CONNECTED.0;

fn entry(n: u32, flags: u32, since: i64) -> AgentEntry {
    AgentEntry {
        uid: uid(n).to_hex(),
        group: Some(0),
        running: Some(0),
        flags,
        since: at(since).as_second(),
        ..AgentEntry::default()
    }
}

fn slice(agents: Vec<AgentEntry>) -> AgentSliceSpec {
    AgentSliceSpec {
        format_version: SLICE_FORMAT_VERSION,
        groups: vec!["g".into()],
        revisions: [A, B].map(|n| hash(n).to_string()).into(),
        agents,
        ..AgentSliceSpec::default()
    }
}

/// Whether a dead replica's slice with one agent can go at second 1000, when living ones say this of agents. The group
/// may offer A and B, and forgets after 600 s.
fn can_go(died: i64, dead: AgentEntry, living: Vec<AgentEntry>) -> bool {
    let (dead, living) = (slice(vec![dead]), slice(living));
    let source = |name, replica, slice| SliceSource { name, replica, slice };
    let slices =
        [source("dead", Replica::Dead(at(died)), &dead), source("living", Replica::Alive(at(0)), &living)];
    let gone = outlived(&slices, |_| memory(None), at(1000));
    assert!(gone.iter().all(|name| *name == "dead"), "a living replica's slice is its own");
    !gone.is_empty()
}

fn memory(retried_at: Option<Timestamp>) -> Memory {
    Memory { forget_after: Duration::from_mins(10), live: vec![hash(A), hash(B)], retried_at }
}

fn refusing(at_second: i64, entry: AgentEntry) -> AgentEntry {
    let refusal = VerdictEntry { revision: 1, code: 2, message: None, at: at(at_second).as_second() };
    AgentEntry { verdicts: vec![refusal], ..entry }
}

#[test]
fn whose_an_agent_is_is_told_once_its_uid_was_contested_for_as_long_as_it_is_known() {
    let mark = |n: u8| PrincipalMark::from_hex(&format!("{n:016}")).expect("a mark");
    let agent = |n, bound: Option<u8>, contested| ObservedAgent {
        bound: bound.map(mark),
        contested,
        ..seen(uid(n), at(0))
    };
    let agents =
        [agent(1, Some(1), true), agent(2, Some(1), false), agent(3, Some(1), false), agent(4, None, false)];
    let agents: Vec<&ObservedAgent> = agents.iter().collect();
    let prior = Bindings::from([(uid(2), mark(1)), (uid(3), mark(2)), (uid(4), mark(1)), (uid(9), mark(1))]);
    assert_eq!(bindings(&prior, &agents), [(uid(1), mark(1)), (uid(2), mark(1))].into());
}

/// Else the impostor would have the uid once its owner's replica is gone.
#[test]
fn dead_replicas_slice_stays_while_another_holders_agent_has_come_with_a_uid_in_it() {
    let whose = |bound| AgentEntry { bound: Some(bound), ..entry(1, CONNECTED, 1) };
    for (holder, expected) in [(0, true), (1, false)] {
        let with = |entry| AgentSliceSpec {
            principals: ["0000000000000001", "0000000000000002"].map(Into::into).into(),
            ..slice(vec![entry])
        };
        let (dead, living) = (with(whose(0)), with(whose(holder)));
        let source = |name, replica, slice| SliceSource { name, replica, slice };
        let slices =
            [source("dead", Replica::Dead(at(950)), &dead), source("living", Replica::Alive(at(0)), &living)];
        assert_eq!(!outlived(&slices, |_| memory(None), at(1000)).is_empty(), expected);
    }
}

#[test]
fn dead_replicas_slice_goes_once_its_agents_are_elsewhere_or_forgotten() {
    let here = || vec![entry(1, CONNECTED, 960)];
    let away = |since| vec![entry(1, 0, since)];
    let fell_ill = VerdictEntry { revision: 0, code: 4, message: None, at: at(900).as_second() };
    for (what, died, dead, living, expected) in [
        ("connected elsewhere", 950, entry(1, CONNECTED, 1), here(), true),
        ("not seen since its replica died", 950, entry(1, CONNECTED, 1), vec![], false),
        ("another agent is", 950, entry(1, CONNECTED, 1), vec![entry(2, CONNECTED, 960)], false),
        ("its replica died long ago", 399, entry(1, CONNECTED, 1), vec![], true),
        ("as long ago as agents are remembered", 400, entry(1, CONNECTED, 1), vec![], false),
        ("gone before its replica", 950, entry(1, 0, 399), vec![], true),
        ("gone a short time before", 950, entry(1, 0, 400), vec![], false),
        ("left another replica before it came here", 950, entry(1, CONNECTED, 500), away(490), false),
        ("left another replica after it was here", 950, entry(1, CONNECTED, 500), away(960), true),
        ("it refused what no living replica knows of", 950, refusing(9, entry(1, 0, 900)), here(), false),
        ("gone, and refused", 950, refusing(9, entry(1, 0, 399)), here(), true),
        ("they know of it", 950, refusing(9, entry(1, 0, 900)), vec![refusing(9, here().remove(0))], true),
        ("it was ill before", 950, entry(1, EntryFlags::EXEMPT.0, 900), here(), false),
        ("it fell ill", 950, AgentEntry { verdicts: vec![fell_ill], ..entry(1, 0, 900) }, here(), false),
        (
            "it fell ill with what it does not run any more",
            950,
            AgentEntry { running: Some(1), ..entry(1, EntryFlags::EXEMPT.0, 900) },
            here(),
            true,
        ),
    ] {
        assert_eq!(can_go(died, dead, living), expected, "{what}");
    }
}

#[test]
fn one_agent_keeps_its_whole_slice_and_an_empty_slice_goes() {
    let (one, both) = (slice(vec![entry(1, 0, 900)]), slice(vec![entry(1, 0, 900), entry(2, CONNECTED, 1)]));
    let (empty, living) = (slice(vec![]), slice(vec![entry(1, CONNECTED, 960)]));
    let sources = [
        SliceSource { name: "both", replica: Replica::Dead(at(950)), slice: &both },
        SliceSource { name: "empty", replica: Replica::Dead(at(950)), slice: &empty },
        SliceSource { name: "living", replica: Replica::Alive(at(0)), slice: &living },
        SliceSource { name: "one", replica: Replica::Dead(at(950)), slice: &one },
    ];
    assert_eq!(outlived(&sources, |_| memory(None), at(1000)), ["empty", "one"]);
}

/// Nobody knows when a replica died that gave its Lease back, or whose Lease is gone: what it said last counts.
#[test]
fn agents_of_a_replica_without_a_lease_are_remembered_from_when_they_were_seen() {
    for (since, expected) in [(400, false), (399, true)] {
        let slice = slice(vec![entry(1, CONNECTED, since)]);
        let source =
            SliceSource { name: "dead", replica: Replica::Dead(Timestamp::UNIX_EPOCH), slice: &slice };
        assert_eq!(!outlived(&[source], |_| memory(None), at(1000)).is_empty(), expected, "{since}");
        let agent = merge([source], &Bindings::new()).remove(0);
        assert_eq!(is_forgotten(&agent, memory(None).forget_after, at(1000)), expected, "{since}");
    }
}

#[test]
fn connected_agent_is_never_forgotten() {
    let slice = slice(vec![entry(1, CONNECTED, 1)]);
    let source = SliceSource { name: "s", replica: Replica::Alive(at(0)), slice: &slice };
    assert!(!is_forgotten(
        &merge([source], &Bindings::new()).remove(0),
        memory(None).forget_after,
        at(100_000)
    ));
}

fn ledger(verdicts: &[(u8, Verdict, i64)]) -> Ledger {
    let mut ledger = Ledger::default();
    for (n, verdict, second) in verdicts {
        ledger.note(hash(*n), verdict.clone(), at(*second));
    }
    ledger
}

#[test]
fn refusals_are_told_while_they_matter() {
    let no = || Verdict::failed("no such component");
    let bare = || Verdict::failed("");
    let back = || Verdict::RolledBackByAgent;
    for (what, told, heard, retried_at, expected) in [
        ("a refusal, without words", ledger(&[]), ledger(&[(B, no(), 5)]), None, ledger(&[(B, bare(), 5)])),
        ("a return", ledger(&[]), ledger(&[(B, back(), 5)]), None, ledger(&[(B, back(), 5)])),
        ("a success", ledger(&[]), ledger(&[(B, Verdict::Applied, 5)]), None, ledger(&[])),
        ("other content", ledger(&[]), ledger(&[(C, no(), 5)]), None, ledger(&[])),
        ("told before, of other content", ledger(&[(C, bare(), 5)]), ledger(&[]), None, ledger(&[])),
        ("told before", ledger(&[(B, bare(), 5)]), ledger(&[]), None, ledger(&[(B, bare(), 5)])),
        ("forgiven", ledger(&[(B, bare(), 5)]), ledger(&[(B, no(), 5)]), Some(at(5)), ledger(&[])),
        (
            "refused once more",
            ledger(&[(B, bare(), 5)]),
            ledger(&[(B, no(), 9)]),
            Some(at(6)),
            ledger(&[(B, bare(), 9)]),
        ),
        ("taken since", ledger(&[(B, bare(), 5)]), ledger(&[(B, Verdict::Applied, 6)]), None, ledger(&[])),
        (
            "taken before",
            ledger(&[(B, bare(), 5)]),
            ledger(&[(B, Verdict::Applied, 4)]),
            None,
            ledger(&[(B, bare(), 5)]),
        ),
    ] {
        let agent = ObservedAgent { ledger: heard, ..seen(uid(1), at(0)) };
        let prior = Refusals::from([(uid(1), told)]);
        let refusals = memory(retried_at).refusals(&prior, &[&agent]);
        assert_eq!(refusals.get(&uid(1)).cloned().unwrap_or_default(), expected, "{what}");
        assert_eq!(refusals.is_empty(), expected == Ledger::default(), "{what}");
    }
}

#[test]
fn refusals_of_a_forgotten_agent_are_forgotten() {
    let prior = Refusals::from([(uid(1), ledger(&[(B, Verdict::failed(""), 5)]))]);
    assert!(memory(None).refusals(&prior, &[]).is_empty());
}

/// Of an agent that one of the two tells of in a newer version's format nobody here can say what would be lost.
#[test]
fn dead_replicas_slice_stays_until_its_agents_are_forgotten_where_a_newer_version_tells_of_them() {
    let newer = |entry| AgentSliceSpec { format_version: SLICE_FORMAT_VERSION + 1, ..slice(vec![entry]) };
    let (known, here) = (slice(vec![entry(1, CONNECTED, 1)]), slice(vec![entry(1, CONNECTED, 960)]));
    for (dead, living, died, expected) in [
        (known.clone(), here.clone(), 950, true),
        (newer(entry(1, CONNECTED, 1)), here, 950, false),
        (known, newer(entry(1, CONNECTED, 960)), 950, false),
        (newer(entry(1, CONNECTED, 1)), slice(vec![]), 399, true),
    ] {
        let source = |name, replica, slice| SliceSource { name, replica, slice };
        let slices = [
            source("dead", Replica::Dead(at(died)), &dead),
            source("living", Replica::Alive(at(0)), &living),
        ];
        assert_eq!(
            !outlived(&slices, |_| memory(None), at(1000)).is_empty(),
            expected,
            "{}",
            dead.format_version
        );
    }
}
