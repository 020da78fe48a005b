//! Replicas whose clocks differ from the leader's, and a leader whose clock differs from that of the one before: what that
//! may cost, and what not.

use super::world::{Manner, World};
use crate::api::{RolloutState as State, Share};
use jiff::SignedDuration;
use proptest::prelude::*;

const AHEAD: [i64; 7] = [-10, -5, -1, 0, 1, 5, 10];

/// A world of so many agents whose replicas' clocks are ahead by these seconds, in turn.
fn world(agents: u16, ahead: &[i64]) -> World {
    let mut world = World::with_stable(agents);
    for (member, ahead) in world.members.iter_mut().zip(ahead.iter().cycle()) {
        member.ahead = SignedDuration::from_secs(*ahead);
    }
    world
}

#[test]
fn agents_that_fall_ill_with_the_target_have_failed_whatever_their_replicas_clock_says() {
    for ahead in AHEAD {
        let mut world = world(100, &[ahead]);
        world.bad.insert("r-2".into());
        world.all(Manner::FallsIll);
        world.run_until(State::RolledBack);
        assert_eq!(world.offered("r-2"), 2, "{ahead} s ahead");
        assert_eq!(world.status.failures[0].reason, "Unhealthy", "{ahead} s ahead");
    }
}

#[test]
fn agent_that_fell_ill_for_a_moment_has_failed_whatever_its_replicas_clock_says() {
    for ahead in AHEAD {
        let mut world = world(50, &[ahead]);
        world.run_until(State::Soaking);
        let canary = world.cohort()[0];
        world.tick(1);
        world.members[canary].seen.faltered.fell_ill = Some(world.now);
        world.tick(1);
        assert_eq!(world.status.state, State::RollingBack, "{ahead} s ahead: {}", world.status.message);
    }
}

#[test]
fn agent_that_was_ill_before_the_offer_counts_for_nothing_whatever_its_replicas_clock_says() {
    for ahead in AHEAD {
        let mut world = world(10, &[ahead]);
        world.strategy.phases.drain(..3);
        world.strategy.failure_threshold = Share::Count(0);
        let now = world.now;
        for member in &mut world.members[..9] {
            (member.seen.healthy, member.seen.health_since) = (Some(false), now);
        }
        world.run_until(State::Completed);
        assert_eq!((world.status.agents.failed, world.running("r-2")), (0, 10), "{ahead} s ahead");
    }
}

/// A soak stands in the status as a time by the clock of the leader that began it.
#[test]
fn soak_under_another_leader_is_shorter_by_no_more_than_their_clocks_differ() {
    for ahead in [-10, 0, 10] {
        let mut world = World::with_stable(100);
        world.run_until(State::Soaking);
        world.now += SignedDuration::from_secs(ahead);
        let mut soaked = 0;
        while world.tick(1) == State::Soaking {
            soaked += 1;
        }
        assert_eq!(soaked, 299 - ahead, "{ahead} s ahead");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// They apply what they get and stay well, and may leave for less than a minute.
    #[test]
    fn nobody_who_does_well_has_failed_whatever_the_clocks_say(
        ahead in prop::collection::vec(-10..=10_i64, 1..6),
        agents in 5..40_u16,
        leaves in prop::collection::vec((1..90_i64, 0..40_usize, 1..60_i64), 0..12),
    ) {
        let mut world = world(agents, &ahead);
        world.strategy.failure_threshold = Share::Count(0);
        for (after, index, away) in leaves {
            let index = index % world.members.len();
            world.tick(after);
            world.disconnect(index);
            world.tick(away);
            world.reconnect(index);
            prop_assert_eq!(world.status.agents.failed, 0, "{:?}", world.status.failures);
        }
        world.run_until(State::Completed);
        prop_assert_eq!(world.status.agents.failed, 0, "{:?}", world.status.failures);
    }
}
