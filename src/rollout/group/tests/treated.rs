//! Agents that are put right, in their group's status.

use super::*;
use crate::fleet::{Cause, Order, Ordered, Restart, Treatment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// An agent that is to run `r-2`, with what was seen of it.
fn sighted(number: u8, shown: Option<Shown>) -> ObservedAgent {
    let sight = shown.map(|shown| Sight { shown, ..Sight::blank(hash(2), at(50)) });
    ObservedAgent { sight, reports_effective: true, ..agent(number, Some(2)) }
}

fn modified() -> Shown {
    Shown::Drifted(DriftClass::Modified, "exporters::otlp::endpoint".into())
}

fn treatment(cause: Cause, orders: u32, order: Option<Order>) -> Treatment {
    Treatment {
        of: hash(2),
        cause,
        began: at(40),
        orders,
        last: order.map(|order| Ordered { order, given: at(41), done: Some(at(42)) }),
        sent_back: order == Some(Order::Stable),
        well: None,
        quarantined: None,
    }
}

fn quarantined(mut treatment: Treatment) -> Treatment {
    treatment.quarantined = Some(at(60));
    treatment
}

fn ill(agent: ObservedAgent) -> ObservedAgent {
    ObservedAgent { healthy: Some(false), health_since: at(30), ..agent }
}

fn told(agents: &[ObservedAgent], treatments: &[Treatment]) -> CollectorGroupStatus {
    let treatments = agents.iter().map(|agent| agent.uid).zip(treatments.iter().cloned()).collect();
    status_with(&treatments, &CollectorGroupStatus::default(), agents, Some(&rollout(Stage::Completed)))
}

#[test]
fn problem_of_an_agent_says_what_is_tried_and_what_was() {
    use {Cause::*, ProblemKind as Kind};
    let offered = |orders| treatment(Drift, orders, Some(Order::Offer));
    let well = Treatment { well: Some(at(70)), ..treatment(Illness, 3, Some(Order::Stable)) };
    let stable = ObservedAgent { running: Some(hash(1)), ..sighted(1, None) };
    for (agent, treatment, kind, message, since) in [
        (
            sighted(1, Some(modified())),
            offered(2),
            Kind::Drifted,
            "Modified at exporters::otlp::endpoint; correction 2 of 5",
            at(40),
        ),
        (sighted(1, None), offered(1), Kind::Drifted, "correction 1 of 5", at(40)),
        (
            sighted(1, Some(modified())),
            quarantined(offered(5)),
            Kind::Quarantined,
            "Modified at exporters::otlp::endpoint; 5 corrections did not last",
            at(60),
        ),
        (sighted(1, None), quarantined(offered(5)), Kind::Quarantined, "5 corrections did not last", at(60)),
        (
            ill(sighted(1, Some(Shown::InSync))),
            treatment(Illness, 1, Some(Order::Restart)),
            Kind::Unhealthy,
            "started anew",
            at(30),
        ),
        (
            ill(stable.clone()),
            quarantined(treatment(Illness, 3, Some(Order::Stable))),
            Kind::Quarantined,
            "stays unhealthy; 3 attempts, the last: offered the stable revision",
            at(60),
        ),
        (
            ill(sighted(1, None)),
            quarantined(treatment(Illness, 0, None)),
            Kind::Quarantined,
            "stays unhealthy, and takes neither a restart nor a configuration",
            at(60),
        ),
        (
            stable,
            well,
            Kind::SentBack,
            "ill with the target, so it has the stable revision by itself; a retry offers it the target",
            at(40),
        ),
    ] {
        let status = told(&[agent], &[treatment]);
        let problems: Vec<_> = status
            .problems
            .iter()
            .map(|problem| (problem.kind, &*problem.message, problem.since.0))
            .collect();
        assert_eq!(problems, [(kind, message, since)]);
    }
}

#[test]
fn what_else_is_the_matter_with_an_agent_does_not_hide_where_it_drifts() {
    use {Cause::*, ProblemKind as Kind};
    let drifting = sighted(1, Some(modified()));
    let mut refused = ObservedAgent { running: Some(hash(1)), ..drifting.clone() };
    refused.sight = Some(Sight { shown: modified(), ..Sight::blank(hash(1), at(50)) });
    refused.ledger.note(hash(2), Verdict::failed("no such exporter"), at(20));
    let left_alone = quarantined(treatment(Illness, 0, None));
    for (agent, treatment, kinds) in [
        (refused, None, &[Kind::Failed, Kind::Drifted][..]),
        (ill(drifting.clone()), None, &[Kind::Unhealthy, Kind::Drifted]),
        (ill(drifting.clone()), Some(left_alone), &[Kind::Quarantined, Kind::Drifted]),
    ] {
        let status = told(&[agent], treatment.as_slice());
        assert_eq!(status.agents.drifted, 1);
        assert_eq!(status.problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), kinds);
        let drifts = status.problems.last().expect("a problem");
        assert_eq!((&*drifts.message, drifts.since.0), ("Modified at exporters::otlp::endpoint", at(50)));
    }
    let restart = Restart {
        asked: at(40),
        ordered: Ordered { order: Order::Restart, given: at(50), done: None },
        started: None,
        missed: Some(at(90)),
    };
    let (agents, rollout) = ([drifting], rollout(Stage::Completed));
    let restarts: Restarts = [(agents[0].uid, restart)].into();
    let none = CollectorGroupStatus::default();
    let missed = status_of(&Treatments::new(), &restarts, &none, &agents, Some(&rollout));
    let kinds: Vec<_> = missed.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [Kind::NotRestarted, Kind::Drifted]);
}

#[test]
fn agent_drifts_until_it_has_been_seen_to_be_right_and_a_quarantine_degrades_its_group() {
    let offered = treatment(Cause::Drift, 1, Some(Order::Offer));
    let well = Treatment { well: Some(at(70)), ..offered.clone() };
    let agents = [sighted(1, None), sighted(2, Some(Shown::InSync)), sighted(3, Some(modified()))];
    let status = told(&agents, &[offered.clone(), well, quarantined(offered)]);
    let counts = &status.agents;
    assert_eq!((counts.in_sync, counts.drifted, counts.quarantined), (1, 2, 1));
    assert_eq!(condition(&status, "Drifted"), Some(("True", "AgentsDrifted")));
    assert_eq!(condition(&status, "Degraded"), Some(("True", "AgentsQuarantined")));
    assert_eq!(condition(&status, "Ready"), Some(("False", "AgentsNotInSync")));
}

#[test]
fn agent_that_was_sent_back_is_in_sync_with_stable_and_not_with_the_target() {
    let sent_back = treatment(Cause::Illness, 3, Some(Order::Stable));
    for (running, in_sync) in [(1, 1), (2, 0)] {
        let agent = agent(1, Some(running));
        assert_eq!(told(&[agent], std::slice::from_ref(&sent_back)).agents.in_sync, in_sync);
    }
    // Once everybody else has the target as stable there is nothing to give it: it keeps what it runs.
    let proven = ConfigRolloutStatus { stable_revision: Some("r-2".into()), ..rollout(Stage::Completed) };
    let agent = agent(1, Some(1));
    let treatments = [(agent.uid, sent_back)].into();
    let status = status_with(&treatments, &CollectorGroupStatus::default(), &[agent], Some(&proven));
    assert_eq!((status.agents.in_sync, status.agents.drifted), (0, 0));
    assert_eq!(status.problems[0].kind, ProblemKind::SentBack);
}

#[test]
fn agent_that_does_not_answer_drifts_whatever_it_said_before() {
    for running in [None, Some(1), Some(2)] {
        let told_stale = ObservedAgent { told: Some((DriftClass::Stale, at(9))), ..agent(1, running) };
        let status = told(&[told_stale], &[]);
        assert_eq!((status.agents.drifted, status.agents.in_sync), (1, 0), "{running:?}");
        assert_eq!((&*status.problems[0].message, status.problems[0].since.0), ("Stale", at(9)));
    }
}

#[test]
fn agent_that_is_missed_after_a_restart_is_listed_and_a_restart_that_stopped_degrades_the_group() {
    let agents = [agent(1, Some(1)), agent(2, Some(1))];
    let ordered = Ordered { order: Order::Restart, given: at(50), done: None };
    let restart = Restart { asked: at(40), ordered, started: None, missed: None };
    let restarts: Restarts =
        [(agents[0].uid, restart), (agents[1].uid, Restart { missed: Some(at(90)), ..restart })].into();
    for (state, degraded) in
        [("Running", None), ("Stopped", Some(("True", "RestartStopped"))), ("Completed", None)]
    {
        let requested = Time(at(40));
        let restart = serde_json::json!({"token": "t", "requestedAt": requested, "seed": "", "state": state});
        let restart = serde_json::from_value(restart).expect("a restart");
        let prior = CollectorGroupStatus { restart: Some(restart), ..CollectorGroupStatus::default() };
        let completed = rollout(Stage::Completed);
        let status = status_of(&Treatments::new(), &restarts, &prior, &agents, Some(&completed));
        assert_eq!(condition(&status, "Degraded"), degraded);
        let missed: Vec<_> =
            status.problems.iter().filter(|problem| problem.kind == ProblemKind::NotRestarted).collect();
        assert_eq!(missed.iter().map(|problem| problem.since.0).collect::<Vec<_>>(), [at(90)]);
        assert_eq!(missed[0].agent, agents[1].uid.to_string());
    }
}
