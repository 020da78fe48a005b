use super::*;
use crate::api::{AgentEntry, SLICE_FORMAT_VERSION, VerdictEntry};
use crate::fleet::Verdict;
use crate::fleet::fixtures::*;

const CONNECTED: u32 = EntryFlags::CONNECTED.0;

/// A slice with one agent.
fn slice(entry: AgentEntry) -> AgentSliceSpec {
    AgentSliceSpec {
        format_version: SLICE_FORMAT_VERSION,
        groups: vec!["g".into(), "h".into()],
        revisions: [A, B, C].map(|n| hash(n).to_string()).into(),
        messages: vec!["no such component".into()],
        agents: vec![entry],
        ..AgentSliceSpec::default()
    }
}

fn entry(flags: u32, since: i64, host: &str) -> AgentEntry {
    AgentEntry { uid: uid(1).to_hex(), host: host.into(), flags, since, ..AgentEntry::default() }
}

fn verdict(revision: u32, code: u32, at: i64) -> VerdictEntry {
    VerdictEntry { revision, code, message: (code == 2).then_some(0), at }
}

/// What the slices of living (true) and dead replicas make of the one agent in them.
fn merged(sources: &[(&str, bool, &AgentSliceSpec)]) -> ObservedAgent {
    let replica = |alive: &bool| if *alive { Replica::Alive(Timestamp::MIN) } else { Replica::Dead(at(99)) };
    let sources =
        sources.iter().map(|(name, alive, slice)| SliceSource { name, replica: replica(alive), slice });
    let mut agents = merge(sources, &Bindings::new());
    assert_eq!(agents.len(), 1, "one agent");
    agents.remove(0)
}

/// It left another replica for the one that died: nobody has seen it leave there. Their clocks may be ten seconds apart.
#[test]
fn agent_of_a_dead_replica_is_unreachable_though_it_left_a_living_one_before() {
    for (left, expected) in [(55, Some(at(99))), (60, Some(at(99))), (70, Some(at(99))), (71, None)] {
        let living = slice(entry(0, left, "living"));
        let dead = slice(entry(CONNECTED, 60, "dead"));
        let agent = merged(&[("dead", false, &dead), ("living", true, &living)]);
        assert_eq!((agent.unreachable, agent.connected), (expected, false), "left at {left}");
        assert_eq!(agent.away_since().map(|since| since == at(99)), Some(expected.is_some()));
    }
}

#[test]
fn entry_is_read_with_its_tables() {
    let flags = CONNECTED
        | EntryFlags::REPORTS_HEALTH.0
        | EntryFlags::ACCEPTS_CONFIG.0
        | EntryFlags::REPORTS_CONFIG.0
        | 1 << 31;
    let agent = merged(&[(
        "s",
        true,
        &slice(AgentEntry {
            group: Some(0),
            overlapping: Some(1),
            running: Some(2),
            verdicts: vec![verdict(1, 2, 5), verdict(2, 1, 6)],
            ..entry(flags, 7, "host")
        }),
    )]);
    let mut ledger = Ledger::default();
    ledger.note(hash(B), Verdict::failed("no such component"), Timestamp::from_second(5).expect("in range"));
    ledger.note(hash(C), Verdict::Applied, Timestamp::from_second(6).expect("in range"));
    let expected = ObservedAgent {
        overlapping: Some("h".into()),
        healthy: Some(false),
        running: Some(hash(C)),
        ledger,
        ..seen(uid(1), Timestamp::from_second(7).expect("in range"))
    };
    assert_eq!(agent, expected);
    assert!(!agent.is_healthy() && agent.is_eligible());
}

#[test]
fn agent_that_does_not_report_health_counts_as_healthy() {
    for (flags, healthy) in [
        (0, None),
        (EntryFlags::REPORTS_HEALTH.0, Some(false)),
        (EntryFlags::REPORTS_HEALTH.0 | EntryFlags::HEALTHY.0, Some(true)),
    ] {
        let agent = merged(&[("s", true, &slice(entry(flags, 0, "")))]);
        assert_eq!((agent.healthy, agent.is_healthy()), (healthy, healthy != Some(false)));
    }
}

#[test]
fn agent_is_eligible_if_it_is_connected_and_takes_configurations_and_reports() {
    for reports in [EntryFlags::REPORTS_CONFIG.0, EntryFlags::REPORTS_EFFECTIVE.0] {
        let able = CONNECTED | EntryFlags::ACCEPTS_CONFIG.0 | reports;
        for without in [0, CONNECTED, EntryFlags::ACCEPTS_CONFIG.0, reports] {
            let agent = merged(&[("s", true, &slice(entry(able & !without, 0, "")))]);
            assert_eq!(agent.is_eligible(), without == 0, "without {without}");
            assert_eq!(agent.is_unverified(), without == reports, "without {without}");
        }
    }
}

#[test]
fn nobody_is_connected_to_a_dead_replica() {
    let connected = slice(entry(CONNECTED, 0, ""));
    assert!(merged(&[("s", true, &connected)]).connected);
    assert!(!merged(&[("s", false, &connected)]).connected);
}

/// The copy named `right` is to be taken, whichever comes first.
#[test]
fn of_several_copies_the_best_is_taken() {
    type Source = (u32, bool, i64, &'static str);
    let cases: [(&str, Source, Source); 9] = [
        ("connected beats disconnected", (CONNECTED, true, 1, "a"), (0, true, 9, "b")),
        ("connected beats disconnected at once", (CONNECTED, true, 1, "a"), (0, true, 1, "b")),
        ("of two that lost it the later one counts", (0, true, 2, "a"), (0, true, 1, "b")),
        ("of two dead ones the later one counts", (CONNECTED, false, 2, "a"), (CONNECTED, false, 1, "b")),
        (
            "connected beats one that a dead replica had",
            (CONNECTED, true, 1, "a"),
            (CONNECTED, false, 9, "b"),
        ),
        ("living beats dead", (0, true, 1, "a"), (0, false, 9, "b")),
        ("living beats dead that had it connected", (0, true, 1, "a"), (CONNECTED, false, 9, "b")),
        ("later beats earlier", (CONNECTED, true, 2, "a"), (CONNECTED, true, 1, "b")),
        ("greater name decides", (CONNECTED, true, 1, "b"), (CONNECTED, true, 1, "a")),
    ];
    for (name, right, wrong) in cases {
        let read = |source: Source, host| (source.3, source.1, slice(entry(source.0, source.2, host)));
        let (right, wrong) = (read(right, "right"), read(wrong, "wrong"));
        let [right, wrong] = [&right, &wrong].map(|(name, alive, slice)| (*name, *alive, slice));
        assert_eq!(merged(&[right, wrong]).host, "right", "{name}");
        assert_eq!(merged(&[wrong, right]).host, "right", "{name}, in the other order");
    }
}

#[test]
fn verdicts_of_all_copies_count_and_a_refusal_in_any_stands() {
    let with = |flags, verdicts| slice(AgentEntry { verdicts, ..entry(flags, 0, "") });
    let winner = with(CONNECTED, vec![verdict(0, 1, 30), verdict(1, 1, 40)]);
    let loser = with(0, vec![verdict(1, 2, 10), verdict(2, 1, 20)]);
    let ledger = merged(&[("a", true, &winner), ("b", false, &loser)]).ledger;
    assert_eq!(ledger.get(hash(A)), Some(&Verdict::Applied));
    assert_eq!(ledger.get(hash(B)), Some(&Verdict::failed("no such component")));
    assert_eq!(ledger.get(hash(C)), Some(&Verdict::Applied));
    let order: Vec<ConfigHash> = ledger.iter().map(|given| given.hash).collect();
    assert_eq!(order, [B, C, A].map(hash), "in order of time");
}

#[test]
fn refusal_of_the_taken_copy_is_not_replaced_by_another() {
    let with = |flags, code| slice(AgentEntry { verdicts: vec![verdict(0, code, 1)], ..entry(flags, 0, "") });
    let ledger = merged(&[("a", true, &with(CONNECTED, 3)), ("b", true, &with(0, 2))]).ledger;
    assert_eq!(ledger.get(hash(A)), Some(&Verdict::RolledBackByAgent));
}

#[test]
fn agents_are_merged_by_uid() {
    let slice = |uids: &[u32]| AgentSliceSpec {
        agents: uids.iter().map(|n| AgentEntry { uid: uid(*n).to_hex(), ..AgentEntry::default() }).collect(),
        ..slice(AgentEntry::default())
    };
    let (one, other) = (slice(&[1, 3]), slice(&[2, 3, 4]));
    let source = |name, slice| SliceSource { name, replica: Replica::Alive(Timestamp::MIN), slice };
    let uids: Vec<InstanceUid> = merge([source("a", &one), source("b", &other)], &Bindings::new())
        .into_iter()
        .map(|agent| agent.uid)
        .collect();
    assert_eq!(uids, [1, 2, 3, 4].map(uid));
}

#[test]
fn agent_of_a_dead_replica_is_unreachable_until_another_one_holds_it() {
    let connected = slice(entry(EntryFlags::CONNECTED.0, 5, "h"));
    let gone = slice(entry(0, 5, "h"));
    assert_eq!(merged(&[("s", false, &connected)]).unreachable, Some(at(99)));
    assert_eq!(merged(&[("s", false, &gone)]).unreachable, None, "it had left before the replica died");
    assert_eq!(merged(&[("s", false, &connected), ("t", true, &connected)]).unreachable, None);
}

#[test]
fn agent_that_was_started_anew_and_came_back_by_another_replica_has_restarted() {
    let entry = |flags: u32, since, started| AgentEntry {
        running: Some(0),
        started: Some(started),
        ..entry(flags, since, "")
    };
    for (before, after, restarted) in [(-5, -5 - 50, None), (-5, -1, Some(at(50)))] {
        let old = slice(entry(0, at(0).as_second(), before));
        let new = slice(entry(CONNECTED, at(50).as_second(), after));
        let agent = merged(&[("old", true, &old), ("new", true, &new)]);
        assert_eq!(agent.faltered.restarted, restarted);
    }
}

/// What a replica of a newer version writes in another format: four things mean the same in all of them.
#[test]
fn agent_of_a_newer_format_is_there_and_nothing_else_is_believed_of_it() {
    let newer = AgentEntry {
        group: Some(1),
        running: Some(0),
        verdicts: vec![verdict(1, 2, 7)],
        health_after: 9,
        ..entry(u32::MAX, 6, "what it means now")
    };
    let newer = AgentSliceSpec { format_version: SLICE_FORMAT_VERSION + 1, ..slice(newer) };
    let agent = merged(&[("new", true, &newer)]);
    assert!(agent.newer && agent.connected);
    assert_eq!((agent.group.as_deref(), agent.since.as_second()), (Some("h"), 6));
    assert_eq!((agent.running, agent.ledger.iter().count(), agent.healthy), (None, 0, None));
    assert!(!agent.accepts_config && !agent.exempt && !agent.polling);
    assert_eq!((agent.host.as_str(), agent.health_since.as_second()), ("", 6));

    // It has come from a replica of this version, which knows what it refused.
    let left = slice(AgentEntry { verdicts: vec![verdict(1, 2, 4)], ..entry(0, 5, "old") });
    let agent = merged(&[("new", true, &newer), ("old", true, &left)]);
    assert!(agent.newer && agent.connected);
    assert!(agent.ledger.refusal(hash(B), None).is_some(), "a refusal in any copy stands");
    let gone = merged(&[("new", false, &newer)]);
    assert_eq!((gone.connected, gone.unreachable), (false, Some(at(99))), "its replica died");
}

#[test]
fn slice_of_an_older_format_than_any_says_nothing() {
    let none = AgentSliceSpec { format_version: 0, ..slice(entry(CONNECTED, 6, "host")) };
    assert!(
        merge([SliceSource { name: "s", replica: Replica::Alive(at(0)), slice: &none }], &Bindings::new())
            .is_empty()
    );
}

/// Kinds of verdict that a newer replica writes are skipped; the agent counts with all that is known.
#[test]
fn unknown_codes_of_an_entry_are_skipped_and_the_rest_of_it_counts() {
    let newer = AgentEntry {
        group: Some(0),
        running: Some(1),
        verdicts: vec![verdict(0, 99, 7), verdict(1, 1, 7)],
        sight: Some(crate::api::SightEntry { code: 42, ..crate::api::SightEntry::default() }),
        ..entry(CONNECTED | EntryFlags::ACCEPTS_CONFIG.0 | EntryFlags::REPORTS_CONFIG.0 | 1 << 20, 6, "host")
    };
    let agent = merged(&[("new", true, &slice(newer))]);
    assert!(agent.is_eligible() && !agent.newer);
    assert_eq!(agent.running, Some(hash(B)));
    assert_eq!(agent.ledger.iter().map(|given| given.hash).collect::<Vec<_>>(), [hash(B)]);
    assert!(agent.drift().is_none() && agent.is_unseen(), "nobody can tell");
}

const POLLS: u32 = EntryFlags::CONNECTED.0 | EntryFlags::POLLING.0;
const VISITS: u32 = EntryFlags::VISITS.0;

/// Of an agent that polls them in turn, the replica that learned something last is believed, and it has been there since
/// the first one has had it.
#[test]
fn of_replicas_that_are_polled_in_turn_the_one_with_the_latest_news_is_believed() {
    let polled = |since, news_after, host| slice(AgentEntry { news_after, ..entry(POLLS, since, host) });
    for (early, late, expected) in [
        (polled(1, 0, "early"), polled(5, 0, "late"), "late"),
        (polled(1, 9, "early"), polled(5, 0, "late"), "early"),
        (polled(1, 9, "early"), polled(5, 6, "late"), "late"),
    ] {
        for sources in [[("a", true, &early), ("b", true, &late)], [("b", true, &late), ("a", true, &early)]]
        {
            let agent = merged(&sources);
            assert_eq!((&*agent.host, agent.since), (expected, time(1)));
        }
    }
    let counted = |news_number, host| slice(AgentEntry { news_number, ..entry(POLLS, 1, host) });
    let (first, second) = (counted(9, "first"), counted(10, "second"));
    for sources in [[("a", true, &first), ("b", true, &second)], [("b", true, &first), ("a", true, &second)]]
    {
        assert_eq!(merged(&sources).host, "second", "within the same second");
    }
    let socket = slice(entry(CONNECTED, 1, "early"));
    let agent = merged(&[("a", true, &socket), ("b", true, &polled(5, 0, "late"))]);
    assert_eq!(agent.since, time(5), "a socket that another link has taken the place of proves nothing");
}

/// Whatever else is known of an agent comes before what a replica says that it only visits.
#[test]
fn of_an_agent_that_visits_only_its_verdicts_count_and_when_it_was_seen() {
    let visited = |flags, since| {
        let visits = entry(VISITS | flags, since, "visits");
        slice(AgentEntry { running: Some(1), verdicts: vec![verdict(0, 2, 5), verdict(1, 1, 6)], ..visits })
    };
    for (name, known, alive) in [
        ("connected", entry(CONNECTED, 1, "known"), true),
        ("disconnected", entry(0, 1, "known"), true),
        ("of a dead replica", entry(CONNECTED, 1, "known"), false),
    ] {
        let known = slice(AgentEntry { group: Some(0), running: Some(2), ..known });
        for flags in [0, CONNECTED] {
            let visits = visited(flags, 9);
            let agent = merged(&[("a", alive, &known), ("b", true, &visits)]);
            let alone = merged(&[("a", alive, &known)]);
            assert!(agent.ledger.refuses(hash(A)), "{name}");
            let seen = if agent.connected { 1 } else { 9 };
            assert_eq!(agent.since.as_second(), seen, "{name}");
            let same = ObservedAgent { ledger: Ledger::default(), since: alone.since, ..agent };
            assert_eq!(same, alone, "{name}");
        }
    }
    let alone = visited(CONNECTED, 9);
    let source = SliceSource { name: "s", replica: Replica::Alive(Timestamp::MIN), slice: &alone };
    assert_eq!(merge([source], &Bindings::new()), [], "nobody has it");
}

/// It polled the replica that died and this one in turn, and was away from here because it polled the other.
#[test]
fn agent_that_polled_a_replica_that_died_is_unreachable_though_a_living_one_saw_it_later() {
    let living = slice(entry(0, 50, "living"));
    let dead = slice(entry(POLLS, 5, "dead"));
    let dead_at = |second| {
        let source = |name, replica, slice| SliceSource { name, replica, slice };
        let replica = Replica::Dead(Timestamp::from_second(second).expect("in range"));
        let alive = Replica::Alive(Timestamp::MIN);
        let sources = [source("dead", replica, &dead), source("living", alive, &living)];
        let agent = merge(sources, &Bindings::new()).remove(0);
        (agent.unreachable.map(Timestamp::as_second), agent.since.as_second())
    };
    assert_eq!(dead_at(60), (Some(60), 50));
    assert_eq!(dead_at(40), (Some(40), 50), "their clocks may be ten seconds apart");
    assert_eq!(dead_at(39), (None, 50), "it left this one after that");
}

fn whose(principal: u32, bound_before: i64, entry: AgentEntry) -> AgentSliceSpec {
    let mut slice = slice(AgentEntry { bound: Some(principal), bound_before, ..entry });
    slice.principals = vec!["0000000000000001".into(), "0000000000000002".into()];
    slice
}

fn mark(n: u8) -> PrincipalMark {
    PrincipalMark::from_hex(&format!("{n:016}")).expect("a mark")
}

/// Two holders' agents with one uid, at two replicas: whatever states they are in, nothing of theirs is mixed.
#[test]
fn uid_of_two_holders_is_the_olders_and_nothing_of_the_other_counts() {
    let refusing = |entry: AgentEntry| AgentEntry { verdicts: vec![verdict(0, 2, 5)], ..entry };
    for (name, owner, other) in [
        ("both connected", entry(CONNECTED, 10, "own"), entry(CONNECTED, 20, "other")),
        ("the owner reconnected later", entry(CONNECTED, 30, "own"), entry(CONNECTED, 20, "other")),
        ("the owner is away", entry(0, 15, "own"), entry(CONNECTED, 20, "other")),
        ("the other only visits", entry(CONNECTED, 10, "own"), entry(VISITS, 20, "other")),
    ] {
        let owner_since = owner.since;
        let owned = whose(0, owner_since - 1, owner.clone());
        let others = whose(1, 0, refusing(other));
        for sources in
            [[("a", true, &owned), ("b", true, &others)], [("a", true, &others), ("b", true, &owned)]]
        {
            let agent = merged(&sources);
            let alone = merged(&[("a", true, &owned)]);
            assert!(agent.contested && !alone.contested, "{name}");
            assert_eq!(ObservedAgent { contested: false, ..agent }, alone, "{name}");
        }
    }
}

#[test]
fn what_was_told_of_a_uid_stays_so_for_as_long_as_any_slice_has_its_owner() {
    let first = whose(0, 0, entry(CONNECTED, 20, "first"));
    let second = whose(1, 0, entry(CONNECTED, 10, "second"));
    let source = |name, slice| SliceSource { name, replica: Replica::Alive(Timestamp::MIN), slice };
    let both = [source("a", &first), source("b", &second)];
    for (told, expected) in
        [(None, "second"), (Some(mark(1)), "first"), (Some(mark(2)), "second"), (Some(mark(3)), "second")]
    {
        let told: Bindings = told.map(|mark| (uid(1), mark)).into_iter().collect();
        assert_eq!(merge(both, &told)[0].host, expected, "{told:?}");
    }
    let told = Bindings::from([(uid(1), mark(1))]);
    let left = merge([source("b", &second)], &told).remove(0);
    assert_eq!((&*left.host, left.contested), ("second", false));
}

#[test]
fn copies_that_are_bound_to_nobody_are_of_whoever_the_others_are() {
    let nobodys = slice(AgentEntry { verdicts: vec![verdict(0, 2, 5)], ..entry(CONNECTED, 30, "nobodys") });
    let owned = whose(0, 0, entry(0, 10, "own"));
    let agent = merged(&[("a", true, &nobodys), ("b", true, &owned)]);
    assert_eq!((&*agent.host, agent.bound, agent.contested), ("nobodys", Some(mark(1)), false));
    assert!(agent.ledger.refuses(hash(A)));
}

/// It was unhealthy when the first replica offered it something, and says to the second one that it has it.
#[test]
fn agent_that_was_ill_when_it_was_offered_what_it_runs_is_exempt_wherever_it_says_so() {
    let exempt = |of| AgentEntry {
        running: Some(0),
        verdicts: vec![verdict(of, 6, 5)],
        ..entry(EntryFlags::EXEMPT.0, 10, "offered")
    };
    for (of, running, expected) in
        [(1, Some(1), true), (1, Some(2), false), (1, None, false), (2, Some(1), false)]
    {
        let left = slice(exempt(of));
        let came = slice(AgentEntry { running, ..entry(CONNECTED, 20, "came") });
        let agent = merged(&[("a", true, &left), ("b", true, &came)]);
        assert_eq!(agent.exempt, expected, "offered {of}, runs {running:?}");
    }
}

/// What the second replica says of an agent that the first one knew as an adoptee, and what the leader is to make of it.
#[test]
fn adoptee_that_moves_waits_anew_unless_it_has_answered_where_it_was_admitted() {
    let waits = EntryFlags::WAITS.0;
    let adoptee = |flags, came: i64, since: i64, verdicts| {
        let known = AgentEntry { adoptee: Some(came - since), verdicts, ..entry(flags, since, "") };
        slice(known)
    };
    let refused = || vec![verdict(1, 2, 12)];
    let plain = |running| slice(AgentEntry { running: Some(running), ..entry(CONNECTED, 20, "") });
    let own = |since, waits| Some(Adoptee { since, waits });
    for (name, left, came, expected) in [
        (
            "it waits at both",
            adoptee(waits, 5, 10, vec![]),
            adoptee(CONNECTED | waits, 20, 20, vec![]),
            own(20, true),
        ),
        (
            "it was admitted",
            adoptee(0, 5, 10, vec![]),
            adoptee(CONNECTED | waits, 20, 20, vec![]),
            own(20, true),
        ),
        (
            "it refused then",
            adoptee(0, 5, 10, refused()),
            adoptee(CONNECTED | waits, 20, 20, vec![]),
            own(5, false),
        ),
        ("admitted at both", adoptee(0, 5, 10, vec![]), adoptee(CONNECTED, 20, 20, vec![]), own(5, false)),
        ("it took what it was given", adoptee(0, 5, 10, vec![]), plain(1), own(5, false)),
        ("it waited, and was given nothing", adoptee(waits, 5, 10, vec![]), plain(1), None),
    ] {
        assert_eq!(merged(&[("a", true, &left), ("b", true, &came)]).adoptee, expected, "{name}");
    }
}

/// The order travels to the second replica by slices of exceptions; that it was carried out has to travel back.
#[test]
fn order_that_was_carried_out_before_the_agent_moved_counts() {
    let done = |order, after| Some(crate::api::DoneEntry { order, after });
    for (left, came, expected) in [
        (done(10, 2), None, Some((10, 12))),
        (done(10, 2), done(5, 1), Some((10, 12))),
        (done(5, 1), done(10, 2), Some((10, 12))),
        (None, None, None),
    ] {
        let left = slice(AgentEntry { done: left, ..entry(0, 13, "") });
        let came = slice(AgentEntry { done: came, ..entry(CONNECTED, 14, "") });
        let done = merged(&[("a", true, &left), ("b", true, &came)]).done;
        assert_eq!(done.map(|done| (done.order, done.at.as_second())), expected);
    }
}
