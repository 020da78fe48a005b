//! When an agent is offered its revision.

use super::*;
use jiff::SignedDuration;

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
        ("nothing assigned", |_, group| *group = super::group("g", None, None), None),
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
        let due = agent.due_offer(&group, at(9)).map(|offer| offer.hash());
        assert_eq!(due, expected.map(hash), "{name}");
    }
}

#[test]
fn unanswered_offer_on_a_socket_waits_for_a_reconnect() {
    let mut agent = agent();
    agent.note_offer(hash(B), Form::Plain, at(0));
    hear(&mut agent, heartbeat());
    assert_eq!(due(&agent, at(86400)), None);
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert_eq!(due(&agent, at(1)), Some(B));
    agent.note_offer(hash(B), Form::Plain, at(1));
    assert!(agent.detach(OTHER_SOCKET, at(2)));
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert_eq!(due(&agent, at(2)), Some(B), "the same link again, after a goodbye");
}

#[test]
fn offer_of_another_revision_does_not_wait() {
    let mut agent = agent();
    agent.note_offer(hash(A), Form::Plain, at(0));
    assert_eq!(due(&agent, at(0)), Some(B));
}

#[test]
fn unanswered_offer_over_http_is_repeated_with_doubling_pauses() {
    let mut agent = agent();
    hear_over(&mut agent, heartbeat(), Link::Polling);
    let mut sent = at(0);
    let pauses: Vec<i64> = (0..300)
        .map(|_| {
            agent.note_offer(hash(B), Form::Plain, sent);
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
        agent.note_offer(hash(B), Form::Plain, at(1));
        assert_eq!(due(&agent, at(86400)), None);
        assert!(agent.detach(first, at(2)));
        hear_over(&mut agent, heartbeat(), second);
        assert_eq!(due(&agent, at(2)), Some(B), "{second:?}");
    }
}

#[test]
fn agent_that_lost_what_it_had_on_a_living_link_is_offered_it_again() {
    let mut agent = agent();
    agent.note_offer(hash(B), Form::Plain, at(0));
    hear(&mut agent, applied(B));
    hear(&mut agent, full());
    assert_eq!(due(&agent, at(5)), None, "not with every message");
    assert_eq!(due(&agent, at(10)), Some(B));
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
    let (applying, failed_again) = (corrected(1, applying(B)), corrected(1, failed(B, "no")));
    for verdicts in [vec![failed_again.clone()], vec![applying.clone(), failed_again.clone()]] {
        let mut agent = agent();
        agent.note_offer(hash(B), Form::Plain, at(0));
        hear(&mut agent, failed(B, "no"));
        assert_eq!(due_after_retry(&agent, 100), Some((B, Form::Correction(1))), "forgiven");
        agent.note_offer(hash(B), Form::Correction(1), at(100));
        assert_eq!(due_after_retry(&agent, 9999), None, "unanswered");
        for report in verdicts {
            assert_eq!(due_after_retry(&agent, 9999), None, "{report:?} to come");
            let edge = hear_at(&mut agent, 101, report.clone());
            assert!(edge == Edge::Urgent || report == applying, "{report:?}");
        }
        assert!(agent.ledger.refusal(hash(B), Some(at(2))).is_some(), "the verdict is of this attempt");
        assert_eq!(due_after_retry(&agent, 9999), Some((A, Form::Plain)));
        assert_eq!(hear_at(&mut agent, 102, failed_again.clone()), Edge::None, "the same again is no news");
    }
}

/// The revision that is due to an agent in a group that was retried, and its form.
fn due_after_retry(agent: &Agent, second: i64) -> Option<(u8, Form)> {
    let offer = agent.due_offer(&retried(2), at(second))?;
    Some((offer.hash().as_bytes()[0], offer.form))
}

#[test]
fn old_refusal_that_is_told_again_does_not_answer_a_correction() {
    let mut agent = agent();
    agent.note_offer(hash(B), Form::Plain, at(0));
    hear(&mut agent, failed(B, "no"));
    agent.note_offer(hash(B), Form::Correction(1), at(100));
    assert_eq!(hear_at(&mut agent, 101, failed(B, "no")), Edge::None);
    assert!(agent.ledger.refusal(hash(B), Some(at(2))).is_none(), "still forgiven");
    assert_eq!(due_after_retry(&agent, 102), None, "still to be answered");
}

#[test]
fn correction_differs_from_what_the_agent_says_it_has_also_after_a_restart_of_the_operator() {
    for (received, expected) in [
        (failed(B, "no"), (B, Form::Correction(1))),
        (corrected(1, failed(B, "no")), (B, Form::Correction(2))),
        (corrected(2, failed(B, "no")), (B, Form::Correction(3))),
        (corrected(255, failed(B, "no")), (B, Form::Correction(0))),
    ] {
        let mut agent = agent();
        agent.ledger.note(hash(B), Verdict::failed("no"), at(0));
        hear(&mut agent, received.clone());
        assert_eq!(due_after_retry(&agent, 100), Some(expected), "{received:?}");
    }
}

#[test]
fn revision_that_the_agent_has_left_is_offered_as_it_is() {
    let mut agent = agent();
    hear(&mut agent, failed(B, "no"));
    hear(&mut agent, applied(A));
    assert_eq!(due_after_retry(&agent, 100), Some((B, Form::Plain)));
}

#[test]
fn correction_that_is_reported_counts_as_its_revision() {
    let mut agent = agent();
    hear(&mut agent, corrected(7, applied(B)));
    assert_eq!(agent.running(), Some(hash(B)));
    assert_eq!(agent.ledger.get(hash(B)), Some(&Verdict::Applied));
    assert_eq!(due(&agent, at(1)), None);
}

#[test]
fn refusal_within_the_second_of_a_retry_is_not_forgiven_by_it() {
    let mut agent = agent();
    hear(&mut agent, failed(B, "no"));
    agent.note_offer(hash(B), Form::Plain, at(2) + SignedDuration::from_millis(100));
    agent.receive(failed(B, "no"), SOCKET, Some(&retried(2)), at(2) + SignedDuration::from_millis(200));
    assert!(agent.ledger.refusal(hash(B), Some(at(2))).is_some());
}

#[test]
fn forgiven_revision_is_offered_again_when_the_offer_was_lost_with_its_link() {
    let mut agent = agent();
    hear(&mut agent, failed(B, "no"));
    agent.note_offer(hash(B), Form::Plain, at(3));
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert_eq!(agent.due_offer(&retried(2), at(4)).map(|due| due.hash()), Some(hash(B)));
}

#[test]
fn agent_that_never_answered_is_offered_the_revision_once_more_by_a_retry() {
    let mut agent = agent();
    let mut group = group("g", Some(B), Some(A));
    agent.note_offer(hash(B), Form::Plain, at(1));
    let due = |agent: &Agent, group: &GroupView, second| {
        agent.due_offer(group, at(second)).map(|offer| offer.hash())
    };
    assert_eq!(due(&agent, &group, 500), None, "no reconnect tells that it was lost");
    group.assignment.retried_at = Some(at(600));
    assert_eq!(due(&agent, &group, 601), Some(hash(B)));
    agent.note_offer(hash(B), Form::Plain, at(601));
    assert_eq!(due(&agent, &group, 602), None);
}
