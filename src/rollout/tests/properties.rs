//! What holds in every world.

use super::world::{Manner, World};
use crate::api::{AttributeSelector, Phase, RevisionState, RolloutState as State, Share};
use crate::fleet::{Cohort, InstanceUid};
use crate::rollout::Content;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        6 => Just(Manner::Good),
        1 => Just(Manner::Refuses),
        1 => Just(Manner::Silent),
        1 => Just(Manner::FallsIll),
    ]
}

/// What happens next in a world.
#[derive(Clone, Copy, Debug)]
enum Move {
    Tick(i64),
    Disconnect(usize),
    Reconnect(usize),
    Pause(bool),
    Promote(u32),
    Abort(u32),
    Retry(u32),
    Undo(u32),
    /// Other content: the revision of this number.
    Content(u8),
    DryRun(bool),
    Join,
    /// Moves to another group, or is forgotten.
    Leave(usize),
    /// Its replica dies; it is held by no other.
    Strand(usize),
    /// The leader dies between the writes of the rollout and of the group.
    Lag(bool),
    /// Another leader goes on from what is written.
    Reload,
    InFlight(u32),
    Threshold(u32),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (1..400_i64).prop_map(Move::Tick),
        2 => (0..40_usize).prop_map(Move::Disconnect),
        2 => (0..40_usize).prop_map(Move::Reconnect),
        1 => any::<bool>().prop_map(Move::Pause),
        1 => any::<u32>().prop_map(Move::Promote),
        1 => any::<u32>().prop_map(Move::Abort),
        1 => any::<u32>().prop_map(Move::Retry),
        1 => any::<u32>().prop_map(Move::Undo),
        1 => (1..5_u8).prop_map(Move::Content),
        1 => any::<bool>().prop_map(Move::DryRun),
        1 => Just(Move::Join),
        1 => (0..40_usize).prop_map(Move::Leave),
        1 => (0..40_usize).prop_map(Move::Strand),
        1 => any::<bool>().prop_map(Move::Lag),
        1 => Just(Move::Reload),
        1 => (0..5_u32).prop_map(Move::InFlight),
        1 => (0..5_u32).prop_map(Move::Threshold),
    ];
    prop::collection::vec(one, 1..60)
}

fn apply(world: &mut World, step: Move) {
    let count = world.members.len();
    match step {
        Move::Join => world.join(u16::try_from(1000 + count).expect("few"), Manner::Good),
        Move::Leave(index) if count > 1 => drop(world.members.remove(index % count)),
        Move::Leave(_) => {}
        Move::Strand(index) => {
            world.disconnect(index % count);
            world.members[index % count].seen.unreachable = Some(world.now);
        }
        Move::Lag(lagging) => world.lagging = lagging,
        Move::Reload => {
            let written = serde_json::to_string(&world.status).expect("JSON");
            let read = serde_json::from_str(&written).expect("a status");
            assert_eq!(world.status, read, "all state is in the status");
        }
        Move::InFlight(limit) => world.strategy.max_in_flight = limit,
        Move::Threshold(count) => world.strategy.failure_threshold = Share::Count(count),
        Move::Tick(seconds) => drop(world.tick(seconds)),
        Move::Disconnect(index) => world.disconnect(index % count),
        Move::Reconnect(index) => world.reconnect(index % count),
        Move::Pause(paused) => world.paused = paused,
        Move::Promote(token) => world.ask("promote", &token.to_string()),
        Move::Abort(token) => world.ask("abort", &token.to_string()),
        Move::Retry(token) => world.ask("retry", &token.to_string()),
        Move::Undo(token) => world.ask("undo", &token.to_string()),
        Move::Content(number) => {
            let name = format!("r-{number}");
            let rejected = world.states.get(&name) == Some(&RevisionState::Rejected);
            world.content = Content::Revision { name, rejected };
        }
        Move::DryRun(on) => world.ask("dry-run", &on.to_string()),
    }
}

/// A world of these agents in which `r-2` is bad; with a ring, every third agent is in it, and a phase takes half of them.
fn world_of(manners: Vec<Manner>, ring: bool) -> World {
    let mut world = World::with_stable(u16::try_from(manners.len()).expect("few"));
    world.bad.insert("r-2".into());
    world.members.iter_mut().zip(manners).for_each(|(member, manner)| member.manner = manner);
    if ring {
        let edge =
            AttributeSelector { match_labels: [("ring".into(), "edge".into())].into(), ..Default::default() };
        world.tell_ring(&edge, 0..world.members.len().div_ceil(3));
        let half = Phase {
            name: "edge".into(),
            selector: Some(edge),
            agents: Share::PerMille(500),
            ..world.strategy.phases[0].clone()
        };
        world.strategy.phases.insert(1, half);
    }
    world
}

fn uids(world: &World) -> BTreeSet<InstanceUid> {
    world.members.iter().map(|member| member.seen.uid).collect()
}

/// The agents of the cohort that replicas act on.
fn assigned(world: &World) -> Vec<InstanceUid> {
    let cohort = Cohort::read(&world.assignment.seed, &world.assignment.terms).expect("readable");
    let seen = world.members.iter().map(|member| &member.seen);
    seen.filter(|seen| cohort.contains(seen.uid, |ring| seen.is_in(ring))).map(|seen| seen.uid).collect()
}

/// The agents of the cohort.
fn inside(world: &World) -> BTreeSet<InstanceUid> {
    world.cohort().into_iter().map(|index| world.members[index].seen.uid).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nobody_outside_the_cohort_is_offered_the_target(manners in prop::collection::vec(manner(), 1..40), moves in moves(), ring in any::<bool>()) {
        let mut world = world_of(manners, ring);
        let mut ever = BTreeSet::new();
        let mut attempt = None;
        for step in moves {
            // Who was in when the agents looked, or is in now.
            let before = inside(&world);
            apply(&mut world, step);
            if world.status.target_revision.as_deref() == Some("r-2") {
                let cohort = world.status.cohort.clone().expect("a cohort");
                let (now, there) = (inside(&world), uids(&world));
                if attempt == Some(cohort.attempt) {
                    prop_assert!(before.intersection(&there).all(|uid| now.contains(uid)), "the cohort shrank");
                }
                attempt = Some(cohort.attempt);
                ever.extend(now);
            }
            // Whom the group's assignment names, while it is behind the rollout.
            if world.assignment.target.as_deref() == Some("r-2") {
                ever.extend(assigned(&world));
            }
            let offered = world.members.iter().filter(|member| member.offered.contains("r-2"));
            prop_assert!(offered.into_iter().all(|member| ever.contains(&member.seen.uid)));
        }
    }

    #[test]
    fn revision_that_always_fails_harms_at_most_the_canaries(
        manners in prop::collection::vec(prop_oneof![Just(Manner::Refuses), Just(Manner::Silent), Just(Manner::FallsIll)], 1..60),
        first in prop_oneof![(1..8_u32).prop_map(Share::Count), (1..300_u32).prop_map(Share::PerMille)],
        moves in prop::collection::vec(prop_oneof![
            6 => (1..400_i64).prop_map(Move::Tick),
            1 => (0..60_usize).prop_map(Move::Disconnect),
            1 => any::<bool>().prop_map(Move::Lag),
            1 => any::<bool>().prop_map(Move::Pause),
            1 => Just(Move::Reload),
        ], 1..60),
    ) {
        let mut world = world_of(manners, false);
        world.strategy.phases.drain(..3);
        world.strategy.phases.insert(0, Phase { name: "canary".into(), agents: first, duration: Some("1m".parse().expect("a duration")), ..world.strategy.phases[0].clone() });
        let canaries = first.of(world.members.len());
        for step in moves {
            apply(&mut world, step);
        }
        prop_assert!(world.offered("r-2") <= canaries, "{} of {canaries}: {}", world.offered("r-2"), world.status.message);
        prop_assert_ne!(world.status.stable_revision.as_deref(), Some("r-2"));
    }

    #[test]
    fn rejected_revision_is_never_offered_again_without_a_request(manners in prop::collection::vec(manner(), 1..20), moves in moves()) {
        let mut world = world_of(manners, false);
        world.all(Manner::Refuses);
        for _ in 0..50 {
            if world.tick(1) == State::RolledBack {
                break;
            }
        }
        prop_assert_eq!(world.status.state, State::RolledBack);
        world.states.insert("r-2".into(), RevisionState::Rejected);
        let before = world.offered("r-2");
        for step in moves.into_iter().filter(|step| !matches!(step, Move::Retry(_) | Move::Undo(_) | Move::Leave(_) | Move::Lag(true))) {
            apply(&mut world, step);
            world.states.insert("r-2".into(), RevisionState::Rejected);
            prop_assert_eq!(world.offered("r-2"), before);
        }
    }

    #[test]
    fn rollout_always_ends_or_says_what_it_waits_for(manners in prop::collection::vec(manner(), 1..20), moves in moves(), ring in any::<bool>()) {
        let mut world = world_of(manners, ring);
        for step in moves {
            apply(&mut world, step);
        }
        world.lagging = false;
        for _ in 0..120 {
            world.tick(60);
        }
        let (state, status) = (world.status.state, &world.status);
        let stalled = status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True");
        let over = [State::Completed, State::RolledBack, State::Halted, State::Invalid].contains(&state);
        let waits = stalled || [State::AwaitingApproval, State::Paused, State::Pending].contains(&state);
        prop_assert!(over || waits, "{:?}: {}", state, status.message);
        prop_assert!(!status.message.is_empty());
    }

    #[test]
    fn step_changes_nothing_when_nothing_has_changed(manners in prop::collection::vec(manner(), 1..20), moves in moves()) {
        let mut world = world_of(manners, false);
        for step in moves {
            apply(&mut world, step);
        }
        // A step may let the next phase begin; after a few, at one time, nothing is left to do.
        (0..8).for_each(|_| world.lead());
        let settled = world.status.clone();
        prop_assert_eq!(world.decide().status, settled);
    }

    #[test]
    fn completed_means_that_no_more_failed_than_the_threshold(bad in 0..30_usize, threshold in 0..10_u32) {
        let mut world = World::with_stable(30);
        world.strategy.failure_threshold = Share::Count(threshold);
        world.strategy.phases.drain(..3);
        world.bad.insert("r-2".into());
        world.members[..bad].iter_mut().for_each(|member| member.manner = Manner::Refuses);
        for _ in 0..5 {
            world.tick(1);
        }
        let expected = if bad > threshold as usize { State::RolledBack } else { State::Completed };
        prop_assert_eq!(world.status.state, expected, "{}", world.status.message);
    }
}

#[test]
fn status_stays_small_at_any_fleet_size() {
    let mut world = World::with_stable(500);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.strategy.phases.drain(..3);
    world.run_until(State::RolledBack);
    let bytes = serde_json::to_string(&world.status).expect("JSON").len();
    assert!(bytes < 8 * 1024, "{bytes} bytes");
    assert_eq!(world.status.failures.len(), 10);
}
