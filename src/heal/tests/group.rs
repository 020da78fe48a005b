//! All agents of a group: who is treated at the same time.

use super::super::*;
use crate::api::AssignmentStatus;
use crate::fleet::fixtures::{A, at, hash, seen, uid};
use crate::fleet::{Cause, DriftClass, Live, ObservedAgent, Order, Rank, Restarts, Shown, Sight, Treatments};
use std::collections::BTreeMap;

fn assignment() -> AssignmentStatus {
    let everybody = crate::api::Term { boundary: Rank::ALL.to_string(), ..Default::default() };
    AssignmentStatus {
        target: Some("r-1".into()),
        stable: Some("r-1".into()),
        seed: "0000000000000001".into(),
        terms: vec![everybody],
        ..AssignmentStatus::default()
    }
}

/// An agent that drifts since this second.
fn drifting(n: u32, since: i64) -> ObservedAgent {
    let shown = Shown::Drifted(DriftClass::Changed, "".into());
    let sight = Some(Sight { shown, ..Sight::blank(hash(A), at(since)) });
    ObservedAgent { running: Some(hash(A)), reports_effective: true, sight, ..seen(uid(n), at(0)) }
}

fn treated(prior: &Treatments, agents: &[ObservedAgent], second: i64) -> Step {
    let agents: Vec<&ObservedAgent> = agents.iter().collect();
    look(prior, &Restarts::new(), &agents, super::rules(second))
}

/// What is done about agents that nothing was done about so far, while these are restarted.
pub fn treated_beside(restarts: &Restarts, agents: &[&ObservedAgent], second: i64) -> Step {
    look(&Treatments::new(), restarts, agents, super::rules(second))
}

fn look(prior: &Treatments, restarts: &Restarts, agents: &[&ObservedAgent], rules: Rules) -> Step {
    let revisions = [("r-1".to_owned(), hash(A))].into();
    let needs = BTreeMap::new();
    let live = Live::new(&assignment(), &revisions, &needs);
    step(prior, restarts, agents, &live, |agent| agent.uid == uid(999), &rules)
}

#[test]
fn tenth_of_a_group_is_treated_at_the_same_time_those_first_who_have_waited_longest() {
    let agents: Vec<ObservedAgent> = (0..39).map(|n| drifting(n, 100 - i64::from(n))).collect();
    let first = treated(&Treatments::new(), &agents, 200);
    assert_eq!(first.treatments.keys().copied().collect::<Vec<_>>(), [36, 37, 38].map(uid));
    let ordered = Happened::Ordered(Cause::Drift, Order::Offer);
    assert!(first.news.len() == 3 && first.news.iter().all(|news| news.what == ordered));
    let second = treated(&first.treatments, &agents, 201);
    assert_eq!(
        (second.treatments, second.news),
        (first.treatments.clone(), vec![]),
        "those have to end first"
    );

    // One of them goes away: it takes nobody's place.
    let mut away = agents.clone();
    away[38].connected = false;
    let third = treated(&first.treatments, &away, 202);
    assert_eq!(third.treatments.keys().copied().collect::<Vec<_>>(), [35, 36, 37, 38].map(uid));

    // A small group has one place.
    assert_eq!(treated(&Treatments::new(), &agents[..9], 200).treatments.len(), 1);
}

/// A supervisor that is told where to send its own telemetry starts its Collector anew.
#[test]
fn agents_that_something_else_disturbs_count_against_the_tenth() {
    let agents: Vec<ObservedAgent> = (0..39).map(|n| drifting(n, 100 - i64::from(n))).collect();
    let agents: Vec<&ObservedAgent> = agents.iter().collect();
    for (disturbed, expected) in [(0, 3), (1, 2), (3, 0), (30, 0)] {
        let rules = Rules { disturbed, ..super::rules(200) };
        let step = look(&Treatments::new(), &Restarts::new(), &agents, rules);
        assert_eq!(step.treatments.len(), expected, "{disturbed}");
    }
}

#[test]
fn those_who_are_judged_and_those_who_wait_to_be_adopted_are_not_treated() {
    let adoptee = crate::fleet::Adoptee { since: 0, waits: false };
    let agents = [
        drifting(999, 1),
        ObservedAgent { adoptee: Some(adoptee), ..drifting(2, 1) },
        ObservedAgent { connected: false, ..drifting(3, 1) },
    ];
    assert_eq!(treated(&Treatments::new(), &agents, 200), Step::default());
}

#[test]
fn agent_that_is_gone_for_good_is_not_treated_any_more() {
    let first = treated(&Treatments::new(), &[drifting(1, 1)], 200);
    assert_eq!(first.treatments.len(), 1);
    assert_eq!(treated(&first.treatments, &[], 201), Step::default());
}
