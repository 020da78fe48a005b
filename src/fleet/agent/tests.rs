use super::*;
use crate::fleet::fixtures::*;
use jiff::SignedDuration;

/// A supervisor on a socket, in a group that has B as target and A to fall back to.
fn hear(agent: &mut Agent, report: Report) -> Edge {
    hear_over(agent, report, SOCKET)
}

fn hear_over(agent: &mut Agent, report: Report, link: Link) -> Edge {
    agent.receive(report, link, Some(&group("g", Some(B), Some(A))), at(1))
}

fn heartbeat() -> Report {
    Report::default()
}

fn due(agent: &Agent, now: Timestamp) -> Option<u8> {
    agent.due_offer(&group("g", Some(B), Some(A)), now).map(|revision| revision.hash.as_bytes()[0])
}

fn refuses(agent: &Agent) -> [bool; 3] {
    [A, B, C].map(|n| agent.ledger.refuses(hash(n)))
}

#[test]
fn offer_is_due_only_while_every_condition_holds() {
    type Change = fn(&mut Agent, &mut GroupView);
    let cases: [(&str, Change, Option<u8>); 15] = [
        ("as it should be", |_, _| (), Some(B)),
        ("disconnected", |agent, _| assert!(agent.detach(SOCKET, at(0))), None),
        ("state incomplete", |agent, _| agent.complete = false, None),
        ("accepts none", |agent, _| agent.capabilities = Capabilities::REPORTS_REMOTE_CONFIG, None),
        ("group's generation ahead", |_, group| group.generation = 2, None),
        ("group's generation behind", |_, group| group.assignment.generation = 2, Some(B)),
        ("revisions not loaded", |_, group| group.assignment.loaded = false, None),
        ("nothing assigned", |_, group| group.assignment = assignment(None, None), None),
        ("outside the cohort", |_, group| group.assignment.cohort = None, Some(A)),
        (
            "runs it",
            |agent, _| {
                hear(agent, applied(B));
            },
            None,
        ),
        (
            "is applying it",
            |agent, _| {
                hear(agent, applying(B));
            },
            None,
        ),
        (
            "has it without a word",
            |agent, _| {
                hear(agent, config(Some(B), Outcome::Unset));
            },
            None,
        ),
        (
            "runs another",
            |agent, _| {
                hear(agent, applied(C));
            },
            Some(B),
        ),
        (
            "refused it",
            |agent, _| {
                hear(agent, failed(B, "no"));
            },
            Some(A),
        ),
        (
            "refused both",
            |agent, _| {
                hear(agent, failed(A, "no"));
                hear(agent, failed(B, "no"));
            },
            None,
        ),
    ];
    for (name, change, expected) in cases {
        let (mut agent, mut group) = (agent(), group("g", Some(B), Some(A)));
        change(&mut agent, &mut group);
        let due = agent.due_offer(&group, at(9)).map(|revision| revision.hash);
        assert_eq!(due, expected.map(hash), "{name}");
    }
}

#[test]
fn unanswered_offer_on_a_socket_waits_for_a_reconnect() {
    let mut agent = agent();
    agent.note_offer(hash(B), at(0));
    hear(&mut agent, heartbeat());
    assert_eq!(due(&agent, at(86400)), None);
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert_eq!(due(&agent, at(1)), Some(B));
    agent.note_offer(hash(B), at(1));
    assert!(agent.detach(OTHER_SOCKET, at(2)));
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert_eq!(due(&agent, at(2)), Some(B), "the same link again, after a goodbye");
}

#[test]
fn offer_of_another_revision_does_not_wait() {
    let mut agent = agent();
    agent.note_offer(hash(A), at(0));
    assert_eq!(due(&agent, at(0)), Some(B));
}

#[test]
fn unanswered_offer_over_http_is_repeated_with_doubling_pauses() {
    let mut agent = agent();
    hear_over(&mut agent, heartbeat(), Link::Polling);
    let mut sent = at(0);
    let pauses: Vec<i64> = (0..300)
        .map(|_| {
            agent.note_offer(hash(B), sent);
            let pause = (1..=1000).find(|pause| due(&agent, sent + seconds(*pause)).is_some());
            sent += seconds(pause.expect("repeated some day"));
            pause.expect("repeated some day")
        })
        .collect();
    assert_eq!(pauses[..7], [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(pauses.last(), Some(&300));
}

#[test]
fn agent_that_does_not_report_is_offered_a_revision_once_per_connection() {
    for (first, second) in [(SOCKET, OTHER_SOCKET), (Link::Polling, Link::Polling)] {
        let mut agent = agent();
        let mute = Report { capabilities: Some(Capabilities::ACCEPTS_REMOTE_CONFIG), ..heartbeat() };
        hear_over(&mut agent, mute, first);
        assert_eq!(due(&agent, at(1)), Some(B));
        agent.note_offer(hash(B), at(1));
        assert_eq!(due(&agent, at(86400)), None);
        assert!(agent.detach(first, at(2)));
        hear_over(&mut agent, heartbeat(), second);
        assert_eq!(due(&agent, at(2)), Some(B), "{second:?}");
    }
}

#[test]
fn agent_that_lost_what_it_had_on_a_living_link_is_offered_it_again() {
    let mut agent = agent();
    agent.note_offer(hash(B), at(0));
    hear(&mut agent, applied(B));
    hear(&mut agent, full());
    assert_eq!(due(&agent, at(5)), None, "not with every message");
    assert_eq!(due(&agent, at(10)), Some(B));
}

/// What a supervisor with automatic rollback reports.
#[test]
fn revision_stays_refused_when_the_agent_fails_it_and_returns_to_the_one_before() {
    let mut agent = agent();
    let said = [applied(A), applying(B), failed(B, "no such component"), applied(A)];
    let edges = said.map(|report| hear(&mut agent, report));
    assert_eq!(edges, [Edge::Urgent, Edge::Slow, Edge::Urgent, Edge::Slow]);
    assert_eq!(agent.ledger.get(hash(B)), Some(&Verdict::failed("no such component")));
    assert_eq!(agent.ledger.get(hash(A)), Some(&Verdict::Applied));
    assert_eq!((agent.running(), due(&agent, at(86400))), (Some(hash(A)), None));
}

/// A group whose rollout was retried at this second.
fn retried(second: i64) -> GroupView {
    let mut group = group("g", Some(B), Some(A));
    group.assignment.retried_at = Some(at(second));
    group
}

fn hear_at(agent: &mut Agent, second: i64, report: Report) -> Edge {
    agent.receive(report, SOCKET, Some(&retried(2)), at(second))
}

#[test]
fn forgiven_revision_is_offered_once_and_refused_again_by_the_next_verdict() {
    for verdicts in [vec![failed(B, "no")], vec![applying(B), failed(B, "no")]] {
        let mut agent = agent();
        agent.note_offer(hash(B), at(0));
        hear(&mut agent, failed(B, "no"));
        let due = |agent: &Agent, second| agent.due_offer(&retried(2), at(second)).map(|due| due.hash);
        assert_eq!(due(&agent, 100), Some(hash(B)), "forgiven");
        agent.note_offer(hash(B), at(100));
        assert_eq!(due(&agent, 9999), None, "unanswered");
        for report in verdicts {
            assert_eq!(due(&agent, 9999), None, "{report:?} to come");
            let edge = hear_at(&mut agent, 101, report.clone());
            assert!(edge == Edge::Urgent || report == applying(B), "{report:?}");
        }
        assert!(agent.ledger.refusal(hash(B), Some(at(2))).is_some(), "the verdict is of this attempt");
        assert_eq!(due(&agent, 9999), Some(hash(A)));
        assert_eq!(hear_at(&mut agent, 102, failed(B, "no")), Edge::None, "the same again is no news");
    }
}

#[test]
fn refusal_within_the_second_of_a_retry_is_not_forgiven_by_it() {
    let mut agent = agent();
    hear(&mut agent, failed(B, "no"));
    agent.note_offer(hash(B), at(2) + SignedDuration::from_millis(100));
    agent.receive(failed(B, "no"), SOCKET, Some(&retried(2)), at(2) + SignedDuration::from_millis(200));
    assert!(agent.ledger.refusal(hash(B), Some(at(2))).is_some());
}

#[test]
fn forgiven_revision_is_offered_again_when_the_offer_was_lost_with_its_link() {
    let mut agent = agent();
    hear(&mut agent, failed(B, "no"));
    agent.note_offer(hash(B), at(3));
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert_eq!(agent.due_offer(&retried(2), at(4)).map(|due| due.hash), Some(hash(B)));
}

#[test]
fn late_success_takes_a_refusal_back() {
    let mut agent = agent();
    hear(&mut agent, failed(B, "no"));
    assert_eq!(hear(&mut agent, applied(B)), Edge::Urgent);
    assert_eq!(refuses(&agent), [false; 3]);
}

#[test]
fn verdict_is_only_what_the_agent_says_of_one_of_our_hashes() {
    for report in [
        config(None, Outcome::Applied),
        config(None, Outcome::Failed("no".into())),
        config(None, Outcome::Unset),
        config(Some(A), Outcome::Unset),
        applying(A),
    ] {
        let mut agent = agent();
        hear(&mut agent, report.clone());
        assert_eq!(agent.ledger.iter().count(), 0, "{report:?}");
    }
}

#[test]
fn text_of_a_failure_stands_in_the_ledger_only() {
    let mut agent = agent();
    hear(&mut agent, failed(B, "no"));
    let kept = agent.config.map(|config| config.outcome);
    assert_eq!(kept, Some(Outcome::Failed(String::new())));
    assert_eq!(agent.ledger.get(hash(B)), Some(&Verdict::failed("no")));
}

/// The agent says each of these in turn; then, whether it left B by itself.
#[test]
fn agent_that_returns_by_itself_has_rolled_back() {
    let nothing = || config(None, Outcome::Applied);
    for (name, said, expected) in [
        ("while applying", vec![applied(A), applying(B), applied(A)], true),
        ("after it had applied", vec![applied(A), applied(B), applied(A)], true),
        ("to no configuration of ours", vec![applying(B), nothing()], true),
        ("to one it never ran", vec![applying(B), applied(C)], false),
        ("not yet done", vec![applied(A), applying(B), applying(A)], false),
        ("no longer saying", vec![applied(A), applying(B), config(Some(A), Outcome::Unset)], false),
        ("the same again", vec![applied(B), applied(B)], false),
        ("first report", vec![applied(A)], false),
    ] {
        let mut agent = agent();
        let last = said.into_iter().map(|report| hear(&mut agent, report)).last();
        let verdict = agent.ledger.get(hash(B)) == Some(&Verdict::RolledBackByAgent);
        assert_eq!((verdict, refuses(&agent)), (expected, [false, expected, false]), "{name}");
        assert!(!expected || last == Some(Edge::Urgent), "{name}");
    }
}

#[test]
fn refusal_keeps_its_words_when_the_agent_tries_again_and_returns() {
    let mut agent = agent();
    for report in [applied(A), failed(B, "no"), applying(B), applied(A)] {
        hear(&mut agent, report);
    }
    assert_eq!(agent.ledger.get(hash(B)), Some(&Verdict::failed("no")));
}

#[test]
fn agent_that_was_told_to_return_has_not_rolled_back() {
    let mut told = agent();
    hear(&mut told, applied(A));
    hear(&mut told, applied(B));
    told.note_offer(hash(A), at(1));
    hear(&mut told, applied(A));
    assert_eq!(refuses(&told), [false; 3], "told by this replica");

    let mut told = agent();
    let withdrawn = group("g", None, Some(A));
    for report in [applied(A), applied(B), applied(A)] {
        told.receive(report, Link::Polling, Some(&withdrawn), at(1));
    }
    assert_eq!(refuses(&told), [false; 3], "assigned it, so another replica may have told it");
}

#[test]
fn what_an_agent_reported_before_a_reconnect_proves_no_rollback() {
    let mut agent = agent();
    hear(&mut agent, applied(A));
    hear(&mut agent, applied(B));
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    hear_over(&mut agent, applied(A), OTHER_SOCKET);
    assert_eq!(refuses(&agent), [false; 3]);
}

#[test]
fn first_report_after_a_restart_of_the_operator_proves_no_rollback() {
    let mut agent = Agent::new(uid(1), at(0));
    agent.ledger.note(hash(A), Verdict::Applied, at(0));
    agent.ledger.note(hash(B), Verdict::Applied, at(0));
    hear(&mut agent, Report { full: true, ..applied(A) });
    assert_eq!(refuses(&agent), [false; 3]);
}

#[test]
fn edge_is_urgent_for_verdicts_and_health_and_none_for_heartbeats() {
    let described = |pairs: &[(&str, &str)]| Report {
        description: Some(Description { attributes: attributes(pairs) }),
        ..heartbeat()
    };
    let health = |healthy| Report { healthy: Some(healthy), ..heartbeat() };
    let mut agent = agent();
    for (name, report, expected) in [
        ("heartbeat", heartbeat(), Edge::None),
        ("full state again", full(), Edge::None),
        ("same capabilities", Report { capabilities: Some(TAKES_CONFIG), ..heartbeat() }, Edge::None),
        ("other capabilities", Report { capabilities: Some(Capabilities(2)), ..heartbeat() }, Edge::Slow),
        ("another host", described(&[("host.name", "h")]), Edge::Slow),
        ("another version", described(&[("host.name", "h"), ("service.version", "1")]), Edge::Slow),
        (
            "an attribute that is not written",
            described(&[("host.name", "h"), ("service.version", "1"), ("uptime", "1")]),
            Edge::None,
        ),
        ("first health", health(true), Edge::Slow),
        ("same health", health(true), Edge::None),
        ("falls ill", health(false), Edge::Urgent),
        ("recovers", health(true), Edge::Urgent),
        ("applying", applying(A), Edge::None),
        ("applied", applied(A), Edge::Urgent),
        ("applied, still", applied(A), Edge::None),
        ("applying the next", applying(B), Edge::Slow),
        ("failed", failed(B, "no"), Edge::Urgent),
        ("failed, still", failed(B, "no"), Edge::None),
        ("failed, in other words", failed(B, "not at all"), Edge::Urgent),
        ("failed, without words", failed(B, ""), Edge::None),
    ] {
        assert_eq!(hear(&mut agent, report), expected, "{name}");
    }
    assert_eq!(hear_over(&mut agent, heartbeat(), OTHER_SOCKET), Edge::Slow, "reconnect");
    assert_eq!(agent.ledger.get(hash(B)), Some(&Verdict::failed("not at all")));
}

#[test]
fn agent_is_detached_only_by_the_link_that_it_has() {
    let mut agent = agent();
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert!(!agent.detach(SOCKET, at(5)));
    assert!(agent.connected());
    assert!(agent.detach(OTHER_SOCKET, at(5)));
    assert!(!agent.connected() && !agent.detach(OTHER_SOCKET, at(6)));
}

#[test]
fn agent_was_last_seen_when_its_socket_ended_or_when_it_last_polled() {
    for (link, last_seen) in [(SOCKET, at(500)), (Link::Polling, at(1))] {
        let mut agent = agent();
        hear_over(&mut agent, heartbeat(), link);
        agent.detach(link, at(500));
        assert_eq!((agent.last_seen, agent.since), (last_seen, last_seen), "{link:?}");
    }
}

#[test]
fn connection_is_as_old_as_its_link() {
    let mut agent = agent();
    agent.receive(heartbeat(), SOCKET, None, at(7));
    assert_eq!((agent.since, agent.last_seen), (at(0), at(7)));
    agent.receive(heartbeat(), OTHER_SOCKET, None, at(8));
    assert_eq!((agent.since, agent.last_seen), (at(8), at(8)));
}

#[test]
fn state_stays_complete_once_it_was_and_omitted_parts_are_unchanged() {
    let mut agent = agent();
    hear(&mut agent, Report { healthy: Some(true), ..applied(A) });
    let before = agent.clone();
    hear(&mut agent, heartbeat());
    assert!(agent.complete);
    assert_eq!(
        (agent.healthy, agent.capabilities, agent.host(), agent.running()),
        (before.healthy, before.capabilities, before.host(), before.running())
    );
}

/// 10 KB is the budget for all of an agent, its socket and task included (design, section 11).
#[test]
fn agent_is_small() {
    let size = size_of::<Agent>();
    assert!(size <= 320, "{size} bytes");
}
