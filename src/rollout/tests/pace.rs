//! `maxInFlight`: how many agents may be without an answer at once.

use super::world::{Manner, World};
use crate::api::RolloutState as State;

/// So many agents on `r-1`, all to take `r-2` in one phase, few at a time.
fn world(agents: u16, max_in_flight: u32) -> World {
    let mut world = World::with_stable(agents);
    world.strategy.phases.drain(..3);
    world.strategy.max_in_flight = max_in_flight;
    world
}

/// Agents of the cohort that do not run the target yet.
fn in_flight(world: &World) -> usize {
    world.cohort().len() - world.running("r-2")
}

#[test]
fn no_more_agents_are_in_flight_than_may_be_and_all_are_reached() {
    for (agents, limit) in [(100, 7), (10, 1), (5, 50)] {
        let mut world = world(agents, limit);
        for _ in 0..1000 {
            world.lead();
            assert!(in_flight(&world) <= limit as usize, "{} of {limit}", in_flight(&world));
            if world.tick(1) == State::Completed {
                break;
            }
        }
        assert_eq!(world.running("r-2"), usize::from(agents));
    }
}

#[test]
fn boundary_is_raised_at_most_once_a_second() {
    let mut world = world(100, 10);
    world.lead();
    let first = world.cohort().len();
    world.tick(0);
    assert_eq!(world.running("r-2"), first);
    world.lead();
    assert_eq!(world.cohort().len(), first, "its agents have answered, but the second is not over");
    world.tick(1);
    assert_eq!(world.cohort().len(), 2 * first);
}

#[test]
fn agents_let_in_late_have_their_whole_time_to_answer() {
    let mut world = world(30, 10);
    world.tick(1);
    world.tick(50);
    // Those of the second raise do not answer at first.
    world.lead();
    world.all(Manner::Silent);
    world.tick(1);
    assert!(in_flight(&world) > 0);
    for _ in 0..55 {
        world.tick(1);
        assert_eq!(world.status.agents.failed, 0, "{}", world.status.message);
    }
    world.run_until(State::RolledBack);
    assert!(world.status.failures.iter().all(|failure| failure.reason == "TimedOut"));
}

#[test]
fn terms_stay_few_however_long_a_phase_takes() {
    let mut world = world(150, 1);
    let mut most = 0;
    while world.tick(2) != State::Completed {
        most = most.max(world.status.cohort.as_ref().map_or(0, |cohort| cohort.terms.len()));
    }
    assert!((2..=8).contains(&most), "{most} terms");
    assert_eq!(world.running("r-2"), 150);
}

#[test]
fn threshold_is_a_share_of_all_agents_that_the_phase_lets_in() {
    let mut world = world(100, 5);
    world.bad.insert("r-2".into());
    (0..10).for_each(|index| world.members[index].manner = Manner::Refuses);
    world.run_until(State::Completed);
    assert_eq!(world.status.agents.failed, 10, "10% of 100 may fail, whoever comes first");
}

#[test]
fn limit_that_is_taken_away_lets_in_the_rest_at_once() {
    let mut world = world(100, 1);
    world.tick(1);
    assert!(world.cohort().len() < 5);
    world.strategy.max_in_flight = 0;
    world.tick(1);
    assert_eq!(world.cohort().len(), 100);
}

#[test]
fn paused_rollout_lets_nobody_in() {
    let mut world = world(100, 5);
    world.tick(1);
    world.paused = true;
    let before = world.cohort().len();
    for _ in 0..10 {
        world.tick(10);
    }
    assert_eq!(world.cohort().len(), before);
}

#[test]
fn failures_of_a_long_phase_are_not_forgotten() {
    let fail: [fn(&mut World, usize); 2] = [
        |world, index| {
            let seen = &mut world.members[index].seen;
            (seen.healthy, seen.health_since) = (Some(false), world.now);
        },
        |world, index| world.disconnect(index),
    ];
    for fail in fail {
        let mut world = world(200, 1);
        let mut ended = false;
        for _ in 0..600 {
            let target = super::world::hash("r-2");
            for index in (0..200).step_by(3) {
                let seen = &world.members[index].seen;
                let applied = seen.ledger.iter().find(|given| given.hash == target);
                let is_new = applied.is_some_and(|given| given.at < world.now) && seen.healthy == Some(true);
                if is_new && seen.connected {
                    fail(&mut world, index);
                }
            }
            ended |= world.tick(2) == State::RolledBack;
        }
        assert!(ended, "a third of them failed: {}", world.status.message);
    }
}
