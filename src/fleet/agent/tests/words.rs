//! How agents drift by their own words, as time passes.

use super::*;
use crate::fleet::DriftClass::{Failed, Silent, Stale};
use crate::fleet::{DriftClass, DriftRules};
use std::time::Duration;

/// A group whose agents have a minute to answer.
fn waiting() -> GroupView {
    let mut group = group("g", Some(B), Some(A));
    group.assignment.apply_timeout = Some(Duration::from_mins(1));
    group
}

/// An agent that was offered B at second 0.
fn offered() -> Agent {
    let mut agent = agent();
    agent.note_offer(hash(B), Form::Plain, at(0));
    agent
}

/// Looks at the agent's words at this second, as every second does.
fn look(agent: &mut Agent, group: &GroupView, second: i64) -> Option<(DriftClass, Timestamp)> {
    let before = agent.told();
    let settled = agent.is_settled();
    let edge = agent.judge_words(Some(group), Duration::from_secs(90), at(second));
    assert_eq!(edge == Edge::Urgent, agent.told() != before);
    assert!(!settled || (before, agent.told()) == (None, None), "settled, but {:?}", agent.told());
    agent.told()
}

fn say(agent: &mut Agent, second: i64, report: Report) {
    agent.receive(report, SOCKET, Some(&waiting()), at(second));
}

#[test]
fn agent_that_does_not_apply_what_it_was_offered_in_time_drifts_in_the_way_that_it_says() {
    for (name, said, expected) in [
        ("nothing", None, Some(Stale)),
        ("that it has another", Some(applied(A)), Some(Stale)),
        ("that it lost it", Some(applied(C)), Some(Stale)),
        ("that it has it", Some(config(Some(B), Outcome::Unset)), Some(Silent)),
        ("that it applies it", Some(applying(B)), Some(Silent)),
        ("that it runs it", Some(applied(B)), None),
        // What it refused it is not assigned any more.
        ("that it failed", Some(failed(B, "no")), None),
    ] {
        let mut agent = offered();
        if let Some(report) = said {
            say(&mut agent, 1, report);
        }
        assert_eq!(look(&mut agent, &waiting(), 59), None, "{name}: there is time");
        assert_eq!(look(&mut agent, &waiting(), 60), expected.map(|class| (class, at(60))), "{name}");
        assert_eq!(look(&mut agent, &waiting(), 61), expected.map(|class| (class, at(60))), "{name}: still");
    }
}

#[test]
fn agent_that_is_to_run_what_it_refused_has_failed() {
    let mut agent = agent();
    let back = GroupView {
        assignment: crate::fleet::Assignment { cohort: None, rolling_back: true, ..waiting().assignment },
        ..waiting()
    };
    agent.note_offer(hash(A), Form::Plain, at(0));
    say(&mut agent, 1, failed(A, "no"));
    assert_eq!([59, 60].map(|second| look(&mut agent, &back, second)), [None, Some((Failed, at(60)))]);
}

#[test]
fn drift_by_words_follows_the_words_and_ends_with_them() {
    let mut agent = offered();
    assert_eq!(look(&mut agent, &waiting(), 70), Some((Stale, at(60))));
    say(&mut agent, 71, applying(B));
    assert_eq!(look(&mut agent, &waiting(), 71), Some((Silent, at(71))));
    say(&mut agent, 75, applied(B));
    assert_eq!(look(&mut agent, &waiting(), 75), None);
}

#[test]
fn words_are_judged_only_while_the_agent_was_offered_something_over_this_link_and_can_answer() {
    type Change = fn(&mut Agent, &mut GroupView);
    let cases: [(&str, Change, bool); 11] = [
        ("as it should be", |_, _| (), true),
        ("disconnected", |agent, _| assert!(agent.detach(SOCKET, at(1))), false),
        (
            "over another link",
            |agent, _| {
                hear_over(agent, heartbeat(), OTHER_SOCKET);
            },
            false,
        ),
        ("state incomplete", |agent, _| agent.complete = false, false),
        ("takes none", |agent, _| agent.capabilities = Capabilities::REPORTS_REMOTE_CONFIG, false),
        ("cannot answer", |agent, _| agent.capabilities = Capabilities::ACCEPTS_REMOTE_CONFIG, false),
        ("assigned another", |_, group| group.assignment.cohort = None, false),
        ("assigned nothing", |_, group| *group = super::group("g", None, None), false),
        ("no time is set", |_, group| group.assignment.apply_timeout = None, false),
        ("drift is off", |_, group| group.drift = DriftRules { off: true, ..DriftRules::default() }, false),
        ("group's generation ahead", |_, group| group.generation = 2, false),
    ];
    for (name, change, expected) in cases {
        for drifts_before in [false, true] {
            let (mut agent, mut group) = (offered(), waiting());
            if drifts_before {
                assert!(look(&mut agent, &group, 60).is_some());
            }
            change(&mut agent, &mut group);
            assert_eq!(look(&mut agent, &group, 100).is_some(), expected, "{name}");
        }
    }
    let mut nobody = offered();
    look(&mut nobody, &waiting(), 60);
    assert_eq!((nobody.judge_words(None, Duration::ZERO, at(61)), nobody.told()), (Edge::Urgent, None));
}

#[test]
fn agent_that_polls_has_three_polls_to_answer_if_that_is_longer() {
    for (timeout, over) in [(60, 90), (100, 100)] {
        let (mut agent, mut group) = (agent(), waiting());
        group.assignment.apply_timeout = Some(Duration::from_secs(timeout));
        hear_over(&mut agent, heartbeat(), Link::Polling);
        agent.note_offer(hash(B), Form::Plain, at(0));
        let before = look(&mut agent, &group, over - 1);
        assert_eq!((before, look(&mut agent, &group, over)), (None, Some((Stale, at(over)))), "{timeout}");
    }
}

#[test]
fn offer_that_is_repeated_for_want_of_an_answer_gives_no_more_time() {
    let mut agent = agent();
    hear_over(&mut agent, heartbeat(), Link::Polling);
    for second in [0, 10, 30, 70] {
        agent.note_offer(hash(B), Form::Plain, at(second));
    }
    assert_eq!(look(&mut agent, &waiting(), 90), Some((Stale, at(90))));
    agent.note_offer(hash(B), Form::Plain, at(150));
    assert_eq!(look(&mut agent, &waiting(), 150), Some((Stale, at(90))));
}

#[test]
fn correction_is_answered_in_its_own_form_only() {
    for (said, expected) in [
        (applied(B), Some(Silent)),
        (corrected(2, applied(B)), Some(Silent)),
        (corrected(1, applying(B)), Some(Silent)),
        (corrected(1, applied(B)), None),
    ] {
        let mut agent = offered();
        say(&mut agent, 1, applied(B));
        assert_eq!(look(&mut agent, &waiting(), 100), None);
        agent.note_offer(hash(B), Form::Correction(1), at(100));
        say(&mut agent, 101, said.clone());
        assert_eq!(look(&mut agent, &waiting(), 159), None, "{said:?}");
        assert_eq!(look(&mut agent, &waiting(), 160), expected.map(|class| (class, at(160))), "{said:?}");
    }
}

#[test]
fn correction_that_was_answered_is_not_waited_for_when_the_agent_has_the_older_form_again() {
    let mut agent = offered();
    agent.note_offer(hash(B), Form::Correction(1), at(0));
    say(&mut agent, 1, corrected(1, applied(B)));
    say(&mut agent, 2, applied(B));
    assert_eq!(look(&mut agent, &waiting(), 500), None);
}

#[test]
fn agent_that_applies_anew_by_itself_or_lost_what_it_had_has_the_whole_time_for_it() {
    for (report, class) in [(applying(B), Silent), (full(), Stale)] {
        let mut agent = offered();
        say(&mut agent, 1, applied(B));
        say(&mut agent, 1000, report.clone());
        let seen = [1000, 1059, 1060].map(|second| look(&mut agent, &waiting(), second));
        assert_eq!(seen, [None, None, Some((class, at(1060)))], "{report:?}");
    }
}

#[test]
fn agent_that_came_with_its_revision_and_never_says_that_it_runs_is_silent() {
    for (outcome, expected) in
        [(Outcome::Applying, Some(Silent)), (Outcome::Unset, Some(Silent)), (Outcome::Applied, None)]
    {
        let mut agent = agent();
        let came = Report { config: Some(reported(Some(B), outcome.clone())), ..full() };
        agent.receive(came, OTHER_SOCKET, Some(&waiting()), at(5));
        let seen = [64, 65].map(|second| look(&mut agent, &waiting(), second));
        assert_eq!(seen, [None, expected.map(|class| (class, at(65)))], "{outcome:?}");
    }
}

#[test]
fn agent_that_only_shows_its_configuration_is_stale_until_it_shows_the_right_one() {
    let shows =
        Capabilities(Capabilities::ACCEPTS_REMOTE_CONFIG.0 | Capabilities::REPORTS_EFFECTIVE_CONFIG.0);
    let mut agent = offered();
    say(&mut agent, 1, Report { capabilities: Some(shows), ..heartbeat() });
    assert_eq!([59, 60].map(|second| look(&mut agent, &waiting(), second)), [None, Some((Stale, at(60)))]);
    agent.note_effective(hash(B), true, &waiting(), at(70));
    assert_eq!(look(&mut agent, &waiting(), 70), None);
    agent.note_effective(hash(B), false, &waiting(), at(100));
    assert_eq!(
        [159, 160].map(|second| look(&mut agent, &waiting(), second)),
        [None, Some((Stale, at(160)))],
        "it has time to show it again"
    );
}
