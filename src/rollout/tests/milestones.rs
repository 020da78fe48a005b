//! What takes its time counts once, and with the time that it took.

use super::world::{Manner, World, revision};
use crate::api::{OnFailure, PhaseOutcome, RolloutState as State, Stage};
use crate::rollout::{Furthest, Milestone};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Forgets what was reached, plays on until a state is reached, and says what was reached by then.
fn reached_until(world: &mut World, state: State) -> Vec<Milestone> {
    world.reached.clear();
    world.run_until(state);
    world.reached.clone()
}

fn passed(seconds: u64) -> Milestone {
    Milestone::PhaseEnded(PhaseOutcome::Passed, Duration::from_secs(seconds))
}

fn applied(share: i64, since: Timestamp, until: Timestamp) -> Milestone {
    let took = until.duration_since(since);
    Milestone::Applied(share, Duration::try_from(took).expect("a while"))
}

/// When the phase at this place began.
fn began(world: &World, phase: usize) -> Timestamp {
    world.status.phases[phase].started_at.clone().expect("begun").0
}

#[test]
fn shares_count_from_the_beginning_of_the_attempt_and_phases_from_their_own() {
    let mut world = World::with_stable(100);
    let reached = reached_until(&mut world, State::Completed);
    let a_moment = SignedDuration::from_secs(1);
    let start = began(&world, 0);
    let expected = [
        passed(301),
        passed(301),
        applied(50, start, began(&world, 2) + a_moment),
        passed(181),
        applied(99, start, began(&world, 3) + a_moment),
        applied(100, start, began(&world, 3) + a_moment),
        passed(1),
        Milestone::Ended(Stage::Completed),
    ];
    let sorted = |milestones: &[Milestone]| {
        let mut shown: Vec<String> = milestones.iter().map(|reached| format!("{reached:?}")).collect();
        shown.sort();
        shown
    };
    assert_eq!(sorted(&reached), sorted(&expected));
}

#[test]
fn attempt_that_goes_back_reaches_no_share_by_that() {
    let mut world = World::with_stable(10);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    let reached = reached_until(&mut world, State::RolledBack);
    let [Milestone::PhaseEnded(PhaseOutcome::Failed, _), Milestone::Ended(Stage::RolledBack)] = reached[..]
    else {
        panic!("{reached:?}");
    };
}

#[test]
fn share_counts_once_in_an_attempt_though_agents_come_and_go() {
    let mut world = World::with_stable(4);
    world.strategy.phases.drain(..3);
    world.strategy.phases[0].duration = Some("5m".parse().expect("a duration"));
    let reached = reached_until(&mut world, State::Soaking);
    assert_eq!(reached.len(), 3, "{reached:?}");
    // Three more, which do not answer: 4 of 7 agents have it. Then they do.
    (10..13).for_each(|number| world.join(number, Manner::Silent));
    world.tick(1);
    assert_eq!(world.status.progress, "4/7");
    world.all(Manner::Good);
    let reached = reached_until(&mut world, State::Completed);
    assert!(!reached.iter().any(|milestone| matches!(milestone, Milestone::Applied(..))), "{reached:?}");
    // The next attempt begins anew.
    world.content = revision("r-3");
    let reached = reached_until(&mut world, State::Soaking);
    assert_eq!(reached.len(), 3, "{reached:?}");
}

#[test]
fn new_leader_does_not_count_what_the_status_shows_as_reached() {
    let mut world = World::with_stable(4);
    world.strategy.phases.drain(..3);
    world.strategy.phases[0].duration = Some("5m".parse().expect("a duration"));
    world.run_until(State::Soaking);
    world.furthest = Furthest::default();
    let reached = reached_until(&mut world, State::Completed);
    let [Milestone::PhaseEnded(PhaseOutcome::Passed, _), Milestone::Ended(Stage::Completed)] = reached[..]
    else {
        panic!("{reached:?}");
    };
}

#[test]
fn retry_of_a_failed_phase_counts_from_the_attempts_beginning() {
    let mut world = World::with_stable(4);
    world.strategy.phases.drain(..3);
    world.strategy.on_failure = OnFailure::Pause;
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.run_until(State::Paused);
    let start = began(&world, 0);
    world.bad.clear();
    world.tick(100);
    world.ask("retry", "now");
    let reached = reached_until(&mut world, State::Completed);
    assert!(reached.contains(&applied(100, start, world.now)), "{reached:?}");
}

/// What ended within a second.
fn ended_in_a_tick(world: &mut World) -> Vec<Milestone> {
    world.reached.clear();
    world.tick(1);
    let is_end = |milestone: &&Milestone| matches!(milestone, Milestone::Ended(_) | Milestone::Superseded);
    world.reached.iter().filter(is_end).copied().collect()
}

#[test]
fn attempt_that_another_takes_the_place_of_ends_once_as_superseded() {
    let arrangements: [(&str, Manner, OnFailure, State); 3] = [
        ("running", Manner::Good, OnFailure::Rollback, State::Soaking),
        ("held", Manner::Refuses, OnFailure::Pause, State::Paused),
        ("going back", Manner::FallsIll, OnFailure::Rollback, State::RollingBack),
    ];
    for (stage, manner, on_failure, state) in arrangements {
        let mut world = World::with_stable(100);
        world.strategy.on_failure = on_failure;
        world.bad.insert("r-2".into());
        world.all(manner);
        world.run_until(state);
        world.content = revision("r-3");
        assert_eq!(ended_in_a_tick(&mut world), [Milestone::Superseded], "{stage}");
        // Nor does a new leader find an end in what the status shows.
        world.furthest = Furthest::default();
        assert_eq!(ended_in_a_tick(&mut world), [], "{stage}");
    }
}

#[test]
fn attempt_that_has_ended_is_not_superseded_by_the_next() {
    for (manner, stable, state) in [
        (Manner::Good, true, State::Completed),
        (Manner::Refuses, true, State::RolledBack),
        (Manner::Refuses, false, State::Halted),
    ] {
        let mut world = if stable { World::with_stable(100) } else { World::new(100) };
        world.bad.extend(["r-1".into(), "r-2".into()]);
        world.all(manner);
        world.run_until(state);
        world.content = revision("r-3");
        assert_eq!(ended_in_a_tick(&mut world), [], "{state:?}");
        assert_eq!(world.status.target_revision.as_deref(), Some("r-3"), "{state:?}");
    }
}

#[test]
fn undo_supersedes_the_attempt_under_way_and_an_abort_does_not() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.ask("undo", "r-1/x");
    assert_eq!(ended_in_a_tick(&mut world), [Milestone::Superseded]);
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.ask("abort", "x");
    world.reached.clear();
    world.run_until(State::RolledBack);
    assert_eq!(world.reached.last(), Some(&Milestone::Ended(Stage::RolledBack)));
    assert!(!world.reached.contains(&Milestone::Superseded));
}
