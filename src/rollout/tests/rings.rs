//! Phases that select agents by their attributes.

use super::world::World;
use crate::api::{AttributeSelector, Phase, PhaseOutcome, Reason, RolloutState as State, Share, Strategy};

fn edge() -> AttributeSelector {
    AttributeSelector { match_labels: [("ring".into(), "edge".into())].into(), ..Default::default() }
}

/// One agent, then half of the ring, then the whole ring, then all; each soaks a minute.
fn phases() -> Vec<Phase> {
    let all = Strategy::default().phases.remove(3);
    let phase = |name: &str, selector: Option<AttributeSelector>, agents| Phase {
        name: name.into(),
        selector,
        agents,
        duration: Some("1m".parse().expect("a duration")),
        ..all.clone()
    };
    vec![
        phase("canary", None, Share::Count(1)),
        phase("half-edge", Some(edge()), Share::PerMille(500)),
        phase("edge", Some(edge()), Share::ALL),
        all,
    ]
}

/// A hundred agents on `r-1`, of which the first twenty are in the ring.
fn world() -> World {
    let mut world = World::with_stable(100);
    world.strategy.phases = phases();
    world
}

fn running_in_ring(world: &World) -> usize {
    let hash = Some(super::world::hash("r-2"));
    world.members[..20].iter().filter(|member| member.seen.running == hash).count()
}

fn soak_in(world: &mut World, phase: &str) {
    let is_there = |world: &World| {
        world.status.current_phase.as_ref().is_some_and(|current| current.name == phase)
            && world.status.state == State::Soaking
    };
    while !is_there(world) {
        assert_ne!(world.tick(1), State::Completed, "{phase} was not reached");
    }
}

#[test]
fn ring_is_a_share_of_the_agents_that_its_selector_matches() {
    let mut world = world();
    world.tell_ring(&edge(), 0..20);
    soak_in(&mut world, "canary");
    assert_eq!(world.running("r-2"), 1);
    let canary_outside = 1 - running_in_ring(&world);
    soak_in(&mut world, "half-edge");
    // A canary that is in the ring is one of the ten, or comes on top of them by its rank.
    assert!((10..=11 - canary_outside).contains(&running_in_ring(&world)), "10 of 20");
    assert!(world.running("r-2") <= 11, "a ring adds to a share");
    soak_in(&mut world, "edge");
    assert_eq!(running_in_ring(&world), 20);
    assert_eq!(world.running("r-2"), 20 + canary_outside, "nobody outside the ring but the canary");
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 100);
}

#[test]
fn ring_begins_only_when_its_agents_are_known() {
    let mut world = world();
    for _ in 0..600 {
        world.tick(1);
    }
    assert_eq!(world.running("r-2"), 1, "{}", world.status.message);
    assert_eq!(world.status.phases[1].outcome, PhaseOutcome::Waiting);
    assert!(world.status.message.contains("half-edge begins once"), "{}", world.status.message);
    for _ in 0..600 {
        world.tick(1);
    }
    assert!(world.is_stalled(Reason::ProgressDeadlineExceeded), "a replica that never tells is named");
    world.tell_ring(&edge(), 0..20);
    soak_in(&mut world, "half-edge");
}

const RING_UNKNOWN: &str = "half-edge begins once every replica has told which agents its selector matches";

#[test]
fn promote_before_a_ring_is_known_ends_the_phase_and_the_ring_begins_by_itself_when_it_is() {
    let mut world = world();
    world.run_until(State::Soaking);
    world.ask("promote", "one");
    for _ in 0..5 {
        assert_eq!(world.tick(1), State::Progressing);
        assert!(world.status.message.contains(RING_UNKNOWN), "{}", world.status.message);
        assert_eq!((world.status.phases[0].outcome, world.running("r-2")), (PhaseOutcome::Passed, 1));
    }
    assert_eq!(world.notices, [Ok("promote")], "it ended the soak");
    world.ask("promote", "two");
    world.tick(1);
    assert_eq!((world.status.phases[1].outcome, world.running("r-2")), (PhaseOutcome::Waiting, 1));
    let told = world.notices.pop().expect("an answer");
    assert!(
        told.as_ref()
            .is_err_and(|why| why.contains("promote: nothing is left to end") && why.contains(RING_UNKNOWN)),
        "{told:?}"
    );
    world.tell_ring(&edge(), 0..20);
    assert_eq!(world.tick(1), State::Progressing);
    assert_eq!(world.status.phases[1].outcome, PhaseOutcome::Running, "{}", world.status.message);
    world.run_until(State::Soaking);
    assert_eq!(world.notices, [Ok("promote")], "and nobody has to ask again");
}

#[test]
fn full_promote_leaves_rings_out_that_are_not_known() {
    for waits in [false, true] {
        let mut world = world();
        world.run_until(State::Soaking);
        if waits {
            world.ask("promote", "one");
            world.tick(1);
        }
        world.ask("promote", "full-all");
        world.tick(1);
        let last = world.status.phases.last().map(|phase| phase.outcome);
        assert_eq!(last, Some(PhaseOutcome::Running), "{}", world.status.message);
        assert!(world.notices.iter().all(Result::is_ok), "{:?}", world.notices);
        world.run_until(State::Completed);
    }
}

#[test]
fn promote_before_the_first_phase_is_refused_while_its_ring_is_not_known() {
    let mut world = world();
    world.strategy.phases.remove(0);
    world.tick(1);
    world.ask("promote", "one");
    world.tick(1);
    assert_eq!((world.status.state, world.running("r-2")), (State::Progressing, 0));
    let told = world.notices.pop().expect("an answer");
    assert!(told.as_ref().is_err_and(|why| why.contains(RING_UNKNOWN)), "{told:?}");
}

#[test]
fn promote_of_a_paused_rollout_lets_no_ring_begin_later_than_that_until_it_goes_on() {
    let mut world = world();
    world.run_until(State::Soaking);
    world.paused = true;
    world.ask("promote", "one");
    world.tick(1);
    assert_eq!(
        (world.status.phases[0].outcome, &*world.notices),
        (PhaseOutcome::Passed, &[Ok("promote")][..])
    );
    world.tell_ring(&edge(), 0..20);
    assert_eq!(world.tick(1), State::Paused, "{}", world.status.message);
    assert_eq!(world.status.phases[1].outcome, PhaseOutcome::Waiting);
    world.paused = false;
    world.run_until(State::Soaking);
    assert_eq!(world.status.phases[1].outcome, PhaseOutcome::Running);
}

#[test]
fn first_phase_may_be_a_ring() {
    let mut world = world();
    world.strategy.phases.remove(0);
    world.tick(1);
    assert_eq!(world.status.state, State::Progressing);
    assert_eq!(world.running("r-2"), 0);
    world.tell_ring(&edge(), 0..20);
    soak_in(&mut world, "half-edge");
    assert_eq!((world.running("r-2"), running_in_ring(&world)), (10, 10));
}

#[test]
fn ring_that_matches_nobody_is_skipped_and_said_so() {
    let mut world = world();
    world.tell_ring(&edge(), 0..0);
    world.run_until(State::Completed);
    let outcomes: Vec<PhaseOutcome> = world.status.phases.iter().map(|phase| phase.outcome).collect();
    let (passed, skipped) = (PhaseOutcome::Passed, PhaseOutcome::Skipped);
    assert_eq!(outcomes, [passed, skipped, skipped, passed]);
}

#[test]
fn agent_that_joins_the_ring_later_takes_the_revision_of_its_side() {
    let mut world = world();
    world.tell_ring(&edge(), 0..20);
    soak_in(&mut world, "edge");
    let before = world.running("r-2");
    world.tell_ring(&edge(), 0..40);
    world.tick(1);
    assert_eq!(running_in_ring(&world), 20);
    assert!(world.running("r-2") >= before + 19, "the ring's boundary is 100%");
}
