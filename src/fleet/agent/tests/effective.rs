//! Agents that cannot say what became of a configuration, but show which one is in effect.

use super::*;
use crate::config::ConfigFile;

/// Takes configurations and shows what is in effect.
const SHOWS: Capabilities =
    Capabilities(Capabilities::ACCEPTS_REMOTE_CONFIG.0 | Capabilities::REPORTS_EFFECTIVE_CONFIG.0);

fn shows() -> Agent {
    let mut agent = agent();
    hear(&mut agent, Report { capabilities: Some(SHOWS), ..heartbeat() });
    agent
}

/// The agent reports what is in effect, and is compared as a replica does it.
fn report(agent: &mut Agent, files: &[ConfigFile], group: &GroupView) -> Edge {
    let Some(revision) = agent.compared_with(group).cloned() else { return Edge::None };
    let covers = revision.desired.as_ref().is_some_and(|desired| desired.is_covered_by(files));
    agent.note_effective(revision.hash, covers, group, at(5))
}

#[test]
fn configuration_in_effect_is_taken_for_an_applied_of_the_assigned_revision() {
    let (mut agent, group) = (shows(), group("g", Some(B), Some(A)));
    assert_eq!(report(&mut agent, &[effective(A)], &group), Edge::None);
    assert_eq!(agent.running(), None, "not what it is assigned");
    assert_eq!(report(&mut agent, &[effective(B)], &group), Edge::Urgent);
    assert_eq!((agent.running(), agent.ledger.get(hash(B))), (Some(hash(B)), Some(&Verdict::Applied)));
    assert_eq!(report(&mut agent, &[effective(B)], &group), Edge::None, "the same again is no news");
}

#[test]
fn agent_that_starts_anew_after_it_showed_a_configuration_has_not_faltered() {
    let (mut agent, group) = (shows(), group("g", Some(B), Some(A)));
    let health = |healthy| Report { healthy: Some(healthy), ..heartbeat() };
    hear(&mut agent, health(true));
    report(&mut agent, &[effective(B)], &group);
    hear(&mut agent, health(false));
    hear(&mut agent, health(true));
    assert_eq!(agent.steady.faltered().fell_ill, None);
    hear(&mut agent, health(false));
    assert!(agent.steady.faltered().fell_ill.is_some(), "it was well with it");
}

#[test]
fn agent_that_shows_it_no_more_has_left_it() {
    let (mut agent, group) = (shows(), group("g", Some(B), Some(A)));
    report(&mut agent, &[effective(B)], &group);
    assert_eq!(report(&mut agent, &[effective(C)], &group), Edge::Urgent);
    assert_eq!(agent.running(), None);
    assert_eq!(refuses(&agent), [false; 3], "which is no refusal");
}

#[test]
fn full_state_without_a_status_takes_nothing_back_from_an_agent_that_has_none() {
    let (mut agent, group) = (shows(), group("g", Some(B), Some(A)));
    report(&mut agent, &[effective(B)], &group);
    hear(&mut agent, Report { capabilities: Some(SHOWS), ..full() });
    assert_eq!(agent.running(), Some(hash(B)));
}

#[test]
fn return_to_stable_by_order_is_shown_and_is_no_refusal() {
    let mut agent = shows();
    report(&mut agent, &[effective(B)], &group("g", Some(B), Some(A)));
    let mut back = group("g", Some(B), Some(A));
    back.assignment.cohort = None;
    report(&mut agent, &[effective(A)], &back);
    assert_eq!((agent.running(), refuses(&agent)), (Some(hash(A)), [false; 3]));
}

#[test]
fn comparison_that_is_out_of_date_counts_for_nothing() {
    let (mut agent, group) = (shows(), group("g", Some(B), Some(A)));
    assert_eq!(agent.note_effective(hash(A), true, &group, at(5)), Edge::None);
    assert_eq!(agent.running(), None);
}

#[test]
fn only_what_such_an_agent_is_assigned_is_looked_for() {
    type Change = fn(&mut Agent, &mut GroupView);
    let cases: [(&str, Change, Option<u8>); 7] = [
        ("as it should be", |_, _| (), Some(B)),
        ("outside the cohort", |_, group| group.assignment.cohort = None, Some(A)),
        ("says it itself", |agent, _| agent.capabilities = Capabilities(SHOWS.0 | TAKES_CONFIG.0), None),
        ("shows nothing", |agent, _| agent.capabilities = Capabilities::ACCEPTS_REMOTE_CONFIG, None),
        ("takes nothing", |agent, _| agent.capabilities = Capabilities::REPORTS_EFFECTIVE_CONFIG, None),
        ("state incomplete", |agent, _| agent.complete = false, None),
        ("revisions not loaded", |_, group| group.assignment.loaded = false, None),
    ];
    for (name, change, expected) in cases {
        let (mut agent, mut group) = (shows(), group("g", Some(B), Some(A)));
        change(&mut agent, &mut group);
        let compared = agent.compared_with(&group).map(|revision| revision.hash);
        assert_eq!(compared, expected.map(hash), "{name}");
    }
}

#[test]
fn agent_that_shows_it_is_offered_a_revision_once_per_connection_and_revision() {
    let (mut agent, group) = (shows(), group("g", Some(B), Some(A)));
    assert_eq!(due(&agent, at(1)), Some(B));
    agent.note_offer(hash(B), Form::Plain, at(1));
    assert_eq!(due(&agent, at(86400)), None);
    report(&mut agent, &[effective(B)], &group);
    assert_eq!(due(&agent, at(86400)), None);
    report(&mut agent, &[effective(C)], &group);
    assert_eq!(due(&agent, at(86400)), None, "not with every report");
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert_eq!(due(&agent, at(86401)), Some(B));
}
