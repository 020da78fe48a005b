//! What an agent's reports on its configuration tell.

use super::*;

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
    for report in [applied(A), failed(B, "no"), applying(B), config(None, Outcome::Applied)] {
        hear(&mut agent, report);
    }
    assert_eq!(agent.ledger.get(hash(B)), Some(&Verdict::failed("no")));
}

#[test]
fn agent_that_was_told_to_return_has_not_rolled_back() {
    let mut told = agent();
    hear(&mut told, applied(A));
    hear(&mut told, applied(B));
    told.note_offer(hash(A), Form::Plain, at(1));
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

/// It polls, and another replica has told it to return meanwhile.
#[test]
fn what_an_agent_reported_before_it_spoke_to_another_replica_proves_no_rollback() {
    for missed in [Missed::Messages(1), Missed::Unknown] {
        let mut agent = agent();
        hear(&mut agent, applied(A));
        hear(&mut agent, applied(B));
        hear(&mut agent, Report { missed, ..heartbeat() });
        hear(&mut agent, applied(A));
        assert_eq!(refuses(&agent), [false; 3], "{missed:?}");
        hear(&mut agent, applied(B));
        hear(&mut agent, applied(A));
        assert_eq!(refuses(&agent), [false, true, false], "it has spoken to nobody else since");
    }
}

#[test]
fn first_report_after_a_restart_of_the_operator_proves_no_rollback() {
    let mut agent = Agent::new(uid(1), at(0));
    agent.ledger.note(hash(A), Verdict::Applied, at(0));
    agent.ledger.note(hash(B), Verdict::Applied, at(0));
    hear(&mut agent, Report { full: true, ..applied(A) });
    assert_eq!(refuses(&agent), [false; 3]);
}

/// A person asked for a retry at second 100. What an agent says of B before it and after it, whether B was offered here
/// after it, and whether B is then refused.
#[test]
fn refusal_from_before_a_retry_that_is_told_here_for_the_first_time_is_forgiven() {
    let mut retried = group("g", Some(B), Some(A));
    retried.assignment.retried_at = Some(at(100));
    for (name, before, offered_at, after, refused) in [
        ("told again after a move", vec![], None, vec![failed(B, "no")], false),
        ("it was offered here before the retry only", vec![], Some(50), vec![failed(B, "no")], false),
        ("it answers an offer", vec![], Some(110), vec![failed(B, "no")], true),
        ("it is seen to try", vec![], None, vec![applying(B), failed(B, "no")], true),
        ("it is seen to leave it", vec![applied(A)], None, vec![applied(B), applied(A)], true),
        ("known before", vec![failed(B, "no")], None, vec![failed(B, "no")], false),
        (
            "known before, and it answers an offer",
            vec![failed(B, "no")],
            Some(110),
            vec![failed(B, "no")],
            true,
        ),
    ] {
        // What it was assigned when it left B by itself; else that would be no refusal.
        let mut agent = agent();
        for report in before {
            agent.receive(report, SOCKET, Some(&group("g", Some(B), Some(A))), at(40));
        }
        if let Some(second) = offered_at {
            agent.note_offer(hash(B), Form::Plain, at(second));
        }
        for report in after {
            agent.receive(report, SOCKET, Some(&retried), at(120));
        }
        let stands = agent.ledger.refusal(hash(B), Some(at(100))).is_some();
        assert_eq!(stands, refused, "{name}");
        assert!(agent.ledger.refuses(hash(B)), "{name}: what it said is known all the same");
        if !refused {
            let offered = agent.due_offer(&retried, at(121)).map(|offer| offer.hash());
            assert_eq!(offered, Some(hash(B)), "{name}: it is tried again");
        }
    }
}
