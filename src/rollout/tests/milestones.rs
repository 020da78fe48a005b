//! What takes its time counts once, and with the time that it took.

use super::world::{Manner, World, revision};
use crate::api::{PhaseOutcome, RolloutState as State, Stage};
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
    world.strategy.on_failure = crate::api::OnFailure::Pause;
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
