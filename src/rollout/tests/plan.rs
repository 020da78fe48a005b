//! Dry runs: what new content would do, while nothing of it is done.

use super::world::{Manner, World, hash, revision};
use crate::api::{AttributeSelector, OnFailure, Phase, PhaseOutcome, Reason, RolloutState as State, Share};
use crate::rollout::{Content, assignment};

/// Turns the dry run on.
fn dry(mut world: World) -> World {
    world.ask("dry-run", "true");
    world
}

/// Name and planned number of each phase.
fn planned(world: &World) -> Vec<(&str, Option<i64>)> {
    world.status.phases.iter().map(|step| (step.phase.name.as_str(), step.planned)).collect()
}

const DEFAULT: [(&str, Option<i64>); 4] =
    [("canary", Some(2)), ("early-adopters", Some(8)), ("majority", Some(40)), ("full", Some(50))];

#[test]
fn new_content_is_planned_and_not_started_until_the_annotation_is_gone() {
    let mut world = dry(World::with_stable(100));
    for member in &mut world.members[..3] {
        member.seen.running = Some(hash("r-2"));
    }
    for _ in 0..3 {
        assert_eq!(world.tick(600), State::Paused);
        world.members[..3].iter_mut().for_each(|member| member.seen.running = Some(hash("r-2")));
    }
    world.lead();
    assert_eq!(planned(&world), DEFAULT);
    assert_eq!(world.status.agents.unchanged, Some(3));
    assert_eq!(world.status.target_revision.as_deref(), Some("r-1"));
    assert_eq!(world.offered("r-2"), 0);
    let ready = world.status.conditions.iter().find(|c| c.type_ == "Ready").expect("a condition");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", Reason::DryRun.as_str()));
    assert!(world.status.message.contains("canary 2, early-adopters 8"), "{}", world.status.message);
    world.annotations.clear();
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 100);
    assert_eq!((world.status.agents.unchanged, planned(&world)[0].1), (None, None));
}

#[test]
fn plan_counts_who_cannot_take_part_and_says_why() {
    let mut world = dry(World::new(10));
    world.members[0].seen.accepts_config = false;
    world.members[1].seen.accepts_config = false;
    world.members[2].seen.reports_config = false;
    world.disconnect(3);
    assert_eq!(world.tick(1), State::Paused);
    let agents = &world.status.agents;
    assert_eq!((agents.total, agents.eligible, agents.incompatible, agents.unverified), (10, 6, 2, 1));
    let message = &world.status.message;
    assert!(message.contains("1 offline, 2 incompatible, 1 without ReportsRemote"), "{message}");
    assert_eq!(planned(&world).iter().filter_map(|(_, number)| *number).sum::<i64>(), 6);
    assert_eq!((world.status.cohort.is_none(), world.offered("r-1")), (true, 0));
}

#[test]
fn plan_is_the_same_again_and_follows_the_strategy_and_the_fleet() {
    let mut world = dry(World::with_stable(100));
    world.tick(1);
    assert_eq!(world.decide().status, world.status, "nothing has changed");
    world.strategy.phases.drain(..2);
    world.strategy.phases[0].agents = Share::Count(7);
    world.disconnect(0);
    world.tick(1);
    assert_eq!(planned(&world), [("majority", Some(7)), ("full", Some(92))]);
    assert_eq!(world.decide().status, world.status, "nothing has changed");
}

#[test]
fn running_attempt_goes_on_untouched_and_under_its_gate() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.run_until(State::Soaking);
    let before = world.status.clone();
    world.content = revision("r-3");
    world.strategy.phases[0].agents = Share::Count(5);
    let mut world = dry(world);
    assert_eq!(world.tick(1), State::Paused);
    assert_eq!(planned(&world)[..2], [("canary", Some(5)), ("early-adopters", Some(5))]);
    for (step, was) in world.status.phases.iter().zip(&before.phases) {
        assert_eq!((step.count, &step.started_at, step.outcome), (was.count, &was.started_at, was.outcome));
        assert_eq!(step.phase, was.phase, "the plan of the attempt is its own");
    }
    assert_eq!(world.status.current_phase, before.current_phase);
    assert!(world.status.message.contains("meanwhile r-2: phase 1 of 4"), "{}", world.status.message);
    world.all(Manner::FallsIll);
    (0..5).for_each(|_| {
        world.tick(2);
    });
    assert_eq!((world.running("r-2"), world.status.state), (0, State::Paused), "the gate guards its agents");
    world.annotations.clear();
    world.run_until(State::Completed);
    assert_eq!(world.running("r-3"), 100);
}

#[test]
fn finished_attempt_loses_nothing_that_it_needs() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.members[7].manner = Manner::Refuses;
    world.run_until(State::Completed);
    let before = world.status.clone();
    world.content = revision("r-3");
    world.strategy.phases.remove(0);
    let mut world = dry(world);
    assert_eq!(world.tick(1), State::Paused);
    let full = world.status.phases.last().expect("a phase");
    assert_eq!((full.outcome, full.count), (PhaseOutcome::Passed, Some(100)));
    assert_eq!(full.started_at, before.phases[3].started_at);
    world.content = revision("r-2");
    assert_eq!(world.tick(1), State::Completed);
    assert_eq!(
        crate::api::RolloutAgentCounts { unchanged: None, ..before.agents },
        world.status.agents,
        "counted as before"
    );
    assert_eq!(world.status.failures, before.failures);
}

#[test]
fn attempt_that_stands_still_can_be_gone_on_with_after_a_dry_run() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.strategy.on_failure = OnFailure::Pause;
    world.run_until(State::Paused);
    let before = world.status.phases.clone();
    world.content = revision("r-3");
    let mut world = dry(world);
    world.tick(1);
    world.ask("retry", "now");
    world.tick(1);
    let refused = world.notices.remove(0).expect_err("the new content waits");
    assert!(refused.contains("remove annotation fleet.opamp.dev/dry-run"), "{refused}");
    world.content = revision("r-2");
    world.tick(1);
    assert_eq!(world.status.phases, before);
    world.bad.clear();
    world.ask("retry", "again");
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 100);
}

#[test]
fn undo_acts_in_a_dry_run() {
    let mut world = World::with_stable(100);
    world.run_until(State::Completed);
    world.content = revision("r-3");
    let mut world = dry(world);
    world.tick(1);
    world.ask("undo", "r-1/now");
    world.run_until(State::Completed);
    assert_eq!((world.running("r-1"), world.offered("r-3")), (100, 0));
}

#[test]
fn rejected_content_is_not_tried_again_by_a_dry_run() {
    let mut world = dry(World::with_stable(10));
    world.content = Content::Revision { name: "r-2".into(), rejected: true };
    world.ask("retry", "r-2/x");
    assert_eq!(world.tick(1), State::Paused);
    assert!(world.status.message.contains("will need annotation fleet.opamp.dev/retry"));
    assert_eq!(world.offered("r-2"), 0);
}

fn with_ring(mut world: World) -> (World, AttributeSelector) {
    let edge =
        AttributeSelector { match_labels: [("ring".into(), "edge".into())].into(), ..Default::default() };
    let last = world.strategy.phases.remove(3);
    let canary = Phase { name: "canary".into(), agents: Share::Count(1), ..last.clone() };
    let ring = Phase { name: "edge".into(), selector: Some(edge.clone()), ..last.clone() };
    world.strategy.phases = vec![canary, ring, last];
    (world, edge)
}

#[test]
fn plan_says_that_nobody_knows_who_is_in_a_ring_until_replicas_have_told() {
    let (world, edge) = with_ring(World::new(100));
    let mut world = dry(world);
    world.tick(1);
    assert_eq!(planned(&world), [("canary", Some(1)), ("edge", None), ("full", None)]);
    let message = world.status.message.clone();
    assert!(
        message.contains("let in: canary 1, unknown from edge on, until every replica has told"),
        "{message}"
    );
    let assignment = assignment(None, 1, Some(&world.status), None);
    assert_eq!(
        (&assignment.rings[..], assignment.target),
        (&[edge.clone()][..], None),
        "they are asked for it"
    );
    world.tell_ring(&edge, 0..20);
    world.tick(1);
    let numbers: Vec<i64> = planned(&world).into_iter().filter_map(|(_, number)| number).collect();
    assert_eq!((numbers.len(), numbers.iter().sum::<i64>(), numbers[0]), (3, 100, 1));
    assert!((19..=20).contains(&numbers[1]), "the canary may be one of the ring: {numbers:?}");
}

#[test]
fn phases_that_fall_are_invalid_in_a_dry_run_too() {
    let mut world = dry(World::with_stable(10));
    world.strategy.phases[1].agents = Share::PerMille(10);
    assert_eq!(world.tick(1), State::Invalid);
}

#[test]
fn agent_that_was_away_all_the_time_is_not_lost_when_the_plan_has_other_steps() {
    let mut world = World::with_stable(100);
    world.disconnect(7);
    world.tick(1);
    world.run_until(State::Completed);
    world.content = revision("r-3");
    world.strategy.phases.iter_mut().for_each(|step| step.name += "-too");
    let mut world = dry(world);
    world.tick(600);
    // The first step writes the plan, and the next one counts by what it finds there.
    world.tick(1);
    let agents = &world.status.agents;
    assert_eq!((agents.failed, agents.offline), (0, 1), "{:?}", world.status.failures);
}
