//! Going back on request, and staying there.

use super::world::{Manner, World, revision};
use crate::api::{Approval, ConfigRolloutStatus, OnFailure, Pinned, Reason, RolloutState as State};
use crate::rollout::Content;

fn with_short_soaks(mut world: World) -> World {
    let soaks = world.strategy.phases.iter_mut().filter_map(|phase| phase.duration.as_mut());
    soaks.for_each(|soak| *soak = "3s".parse().expect("a duration"));
    world
}

/// A hundred agents; `r-1` and `r-2` are proven, `r-2` is the target.
fn two_proven() -> World {
    let mut world = with_short_soaks(World::with_stable(100));
    world.run_until(State::Completed);
    world
}

/// A state, and what leads to it.
type Arrangement = (&'static str, fn(&mut World));

fn pinned(status: &ConfigRolloutStatus) -> Option<(&str, &str)> {
    status.pinned.as_ref().map(|Pinned { revision, instead }| (revision.as_str(), instead.as_str()))
}

#[test]
fn undo_is_a_rollout_back_in_phases() {
    let mut world = two_proven();
    world.ask("undo", "oh-no");
    assert_eq!(world.tick(1), State::Progressing);
    assert_eq!(world.status.target_revision.as_deref(), Some("r-1"));
    assert_eq!(pinned(&world.status), Some(("r-1", "r-2")));
    assert!(world.status.message.contains("r-1 is pinned by undo"), "{}", world.status.message);
    assert_eq!(world.tick(1), State::Soaking);
    assert_eq!(world.running("r-1"), 2, "a canary first");
    world.run_until(State::Completed);
    assert_eq!(world.running("r-1"), 100);
    assert_eq!(world.status.stable_revision.as_deref(), Some("r-1"));
    assert_eq!(world.notices, [Ok("undo")]);
    assert_eq!(world.status.handled.as_ref().and_then(|handled| handled.undo.as_deref()), Some("oh-no"));
}

#[test]
fn undo_that_fails_its_gate_goes_back_to_stable() {
    let mut world = two_proven();
    world.bad.insert("r-1".into());
    world.all(Manner::Refuses);
    world.ask("undo", "r-1/x");
    world.run_until(State::RolledBack);
    assert_eq!(world.running("r-2"), 100);
    assert_eq!(pinned(&world.status), Some(("r-1", "r-2")), "the content is not tried behind anybody's back");
}

#[test]
fn undo_works_in_any_state() {
    let arrangements: [Arrangement; 9] = [
        ("progressing", |world| {
            world.all(Manner::Silent);
            world.tick(1);
            world.all(Manner::Good);
        }),
        ("soaking", |world| world.run_until(State::Soaking)),
        ("awaiting approval", |world| {
            world.strategy.phases[0].approval = Approval::Manual;
            world.run_until(State::AwaitingApproval);
        }),
        ("paused", |world| {
            world.run_until(State::Soaking);
            world.paused = true;
            assert_eq!(world.tick(1), State::Paused);
        }),
        ("paused by failures", |world| {
            world.bad.insert("r-2".into());
            world.all(Manner::Refuses);
            world.strategy.on_failure = OnFailure::Pause;
            world.run_until(State::Paused);
        }),
        ("rolled back", |world| {
            world.bad.insert("r-2".into());
            world.all(Manner::Refuses);
            world.run_until(State::RolledBack);
        }),
        ("rejected content", |world| {
            world.run_until(State::Completed);
            world.content = Content::Revision { name: "r-3".into(), rejected: true };
            assert_eq!(world.tick(1), State::Pending);
        }),
        ("invalid content", |world| {
            world.run_until(State::Completed);
            world.content = Content::Invalid(Reason::InvalidConfig, "line 1".into());
            assert_eq!(world.tick(1), State::Invalid);
        }),
        ("missing source", |world| {
            world.run_until(State::Completed);
            world.content = Content::Missing("ConfigMap c".into());
            assert_eq!(world.tick(1), State::Pending);
        }),
    ];
    for (what, arrange) in arrangements {
        let mut world = with_short_soaks(World::with_stable(100));
        arrange(&mut world);
        world.strategy.phases[0].approval = Approval::Automatic;
        world.ask("undo", "r-1/now");
        world.tick(1);
        assert_eq!(world.notices, [Ok("undo")], "{what}");
        assert_eq!(world.status.target_revision.as_deref(), Some("r-1"), "{what}");
        world.paused = false;
        world.run_until(State::Completed);
        assert_eq!(
            (world.running("r-1"), world.is_stalled(Reason::RevisionRejected)),
            (100, false),
            "{what}"
        );
        let (destination, _) = pinned(&world.status).expect(what);
        assert_eq!(destination, "r-1", "{what}");
    }
}

#[test]
fn undo_of_a_paused_rollout_takes_the_target_back_at_once_and_lets_nobody_in() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.paused = true;
    world.tick(1);
    world.content = revision("r-3");
    world.ask("undo", "r-4/x");
    assert_eq!(world.tick(1), State::Paused);
    for _ in 0..5 {
        assert_eq!(world.tick(600), State::Paused);
    }
    assert_eq!((world.running("r-1"), world.offered("r-4")), (100, 0));
    assert_eq!(world.notices, [Ok("undo")]);
}

#[test]
fn halted_rollout_can_go_to_a_revision_that_is_named() {
    let mut world = World::new(10);
    world.content = revision("r-2");
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.run_until(State::Halted);
    world.ask("undo", "somewhere");
    assert_eq!(world.tick(1), State::Halted);
    let refused = world.notices.remove(0).expect_err("nothing is proven");
    assert!(refused.contains("name one"), "{refused}");
    world.ask("undo", "r-1/there");
    world.run_until(State::Completed);
    assert_eq!(world.running("r-1"), 10);
}

#[test]
fn only_other_content_ends_a_pin() {
    let mut world = two_proven();
    world.ask("undo", "back");
    world.run_until(State::Completed);
    let stays: [fn(&mut World); 4] = [
        |world| world.content = revision("r-2"),
        |world| drop(world.strategy.phases.drain(..3)),
        |world| world.content = Content::Missing("ConfigMap c".into()),
        |world| world.content = revision("r-2"),
    ];
    for (index, change) in stays.into_iter().enumerate() {
        change(&mut world);
        assert_eq!(world.tick(60), State::Completed, "change {index}");
        assert_eq!(
            (pinned(&world.status), world.running("r-1")),
            (Some(("r-1", "r-2")), 100),
            "change {index}"
        );
    }
    world.content = revision("r-3");
    world.run_until(State::Progressing);
    assert_eq!((pinned(&world.status), world.status.target_revision.as_deref()), (None, Some("r-3")));
    world.run_until(State::Completed);
    assert_eq!(world.running("r-3"), 100);
    assert!(!world.status.message.contains("pinned"), "{}", world.status.message);
}

#[test]
fn invalid_content_behind_a_pin_ends_it_when_it_becomes_something_else() {
    let mut world = two_proven();
    world.content = Content::Invalid(Reason::InvalidConfig, "no".repeat(500));
    world.tick(1);
    world.ask("undo", "r-1/x");
    world.run_until(State::Completed);
    let (_, instead) = pinned(&world.status).expect("a pin");
    assert!(instead.starts_with("invalid: nono") && instead.len() <= 256, "{instead}");
    world.content = Content::Invalid(Reason::InvalidConfig, "another fault".into());
    assert_eq!(world.tick(1), State::Invalid);
    assert_eq!((pinned(&world.status), world.running("r-1")), (None, 100));
}

#[test]
fn undo_to_the_specs_own_content_takes_the_pin_away() {
    let mut world = two_proven();
    world.ask("undo", "back");
    world.run_until(State::Completed);
    world.ask("undo", "r-2/forth");
    world.tick(1);
    assert_eq!((pinned(&world.status), world.status.target_revision.as_deref()), (None, Some("r-2")));
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 100);
}

#[test]
fn rejected_content_behind_a_pin_stays_rejected_until_a_retry_names_it() {
    let mut world = with_short_soaks(World::with_stable(100));
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.run_until(State::RolledBack);
    world.content = Content::Revision { name: "r-2".into(), rejected: true };
    world.ask("undo", "away");
    world.run_until(State::Completed);
    assert_eq!(pinned(&world.status), Some(("r-1", "r-2")));
    world.bad.clear();
    world.ask("retry", "again");
    world.tick(1);
    assert_eq!(pinned(&world.status), Some(("r-1", "r-2")), "without a name, it is for the target");
    world.ask("retry", "r-2/again");
    world.tick(1);
    assert_eq!((pinned(&world.status), world.status.target_revision.as_deref()), (None, Some("r-2")));
    assert_eq!(world.notices.last(), Some(&Ok("retry")));
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 100);
}

#[test]
fn undo_waits_for_agents_when_none_is_reachable() {
    let mut world = two_proven();
    (0..100).for_each(|index| world.disconnect(index));
    world.ask("undo", "back");
    assert_eq!(world.tick(1), State::Pending);
    assert_eq!((&world.notices[..], pinned(&world.status)), (&[Ok("undo")][..], Some(("r-1", "r-2"))));
    (0..100).for_each(|index| world.reconnect(index));
    world.run_until(State::Completed);
    assert_eq!(world.running("r-1"), 100);
}

#[test]
fn undo_that_was_there_from_the_start_is_echoed_and_not_acted_on() {
    let mut world = World::new(10);
    world.ask("undo", "r-3/old");
    world.run_until(State::Completed);
    assert_eq!((world.running("r-1"), world.status.pinned.is_none()), (10, true));
    assert_eq!(world.status.handled.as_ref().and_then(|handled| handled.undo.as_deref()), Some("r-3/old"));
}

#[test]
fn undo_while_a_source_is_missing_holds_when_that_comes_back_as_it_was() {
    let mut world = World::with_stable(10);
    world.run_until(State::Completed);
    world.content = Content::Missing("ConfigMap exporters".into());
    world.tick(1);
    world.ask("undo", "r-1/back");
    world.tick(1);
    assert_eq!(world.status.target_revision.as_deref(), Some("r-1"), "{}", world.status.message);
    world.content = revision("r-2");
    for _ in 0..1000 {
        world.tick(1);
    }
    assert_eq!(world.running("r-1"), 10, "{}", world.status.message);
    world.content = revision("r-3");
    world.tick(1);
    assert_eq!(world.status.target_revision.as_deref(), Some("r-3"));
}
