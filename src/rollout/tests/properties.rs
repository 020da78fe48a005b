//! What holds in every world.

use super::world::{Manner, World};
use crate::api::{RevisionState, RolloutState, Share};
use crate::rollout::Content;
use proptest::prelude::*;

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
    ];
    prop::collection::vec(one, 1..60)
}

fn apply(world: &mut World, step: Move) {
    let count = world.members.len();
    match step {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nobody_outside_the_cohort_is_offered_the_target(manners in prop::collection::vec(manner(), 1..40), moves in moves()) {
        let mut world = World::with_stable(u16::try_from(manners.len()).expect("few"));
        world.bad.insert("r-2".into());
        world.members.iter_mut().zip(manners).for_each(|(member, manner)| member.manner = manner);
        let mut ever: std::collections::BTreeSet<usize> = world.cohort().into_iter().collect();
        ever.clear();
        let mut attempt = None;
        for step in moves {
            // Who was in when the agents looked, or is in now.
            let before = world.cohort();
            apply(&mut world, step);
            if world.status.target_revision.as_deref() == Some("r-2") {
                let cohort = world.status.cohort.clone().expect("a cohort");
                if attempt == Some(cohort.attempt) {
                    let now = world.cohort();
                    prop_assert!(before.iter().all(|index| now.contains(index)), "the cohort shrank");
                }
                attempt = Some(cohort.attempt);
                ever.extend(world.cohort());
            }
            let offered = (0..world.members.len()).filter(|index| world.members[*index].offered.contains("r-2"));
            prop_assert!(offered.into_iter().all(|index| ever.contains(&index)));
        }
    }

    #[test]
    fn step_changes_nothing_when_nothing_has_changed(manners in prop::collection::vec(manner(), 1..20), moves in moves()) {
        let mut world = World::with_stable(u16::try_from(manners.len()).expect("few"));
        world.bad.insert("r-2".into());
        world.members.iter_mut().zip(manners).for_each(|(member, manner)| member.manner = manner);
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
        let expected = if bad > threshold as usize { RolloutState::RolledBack } else { RolloutState::Completed };
        prop_assert_eq!(world.status.state, expected, "{}", world.status.message);
    }
}

#[test]
fn status_stays_small_at_any_fleet_size() {
    let mut world = World::with_stable(500);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.strategy.phases.drain(..3);
    world.run_until(RolloutState::RolledBack);
    let bytes = serde_json::to_string(&world.status).expect("JSON").len();
    assert!(bytes < 8 * 1024, "{bytes} bytes");
    assert_eq!(world.status.failures.len(), 10);
}
