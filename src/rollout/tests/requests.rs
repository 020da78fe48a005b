//! What people ask for.

use super::world::{Manner, World, revision};
use crate::api::{Approval, OnFailure, PhaseOutcome, RolloutState as State};
use crate::rollout::Content;

#[test]
fn promote_ends_the_soak_of_one_phase() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.ask("promote", "go");
    world.tick(1);
    world.tick(1);
    assert_eq!(world.running("r-2"), 10);
    assert_eq!(world.status.state, State::Soaking, "the next phase soaks as ever");
    assert_eq!(world.notices, [Ok("promote")]);
    assert_eq!(world.status.handled.as_ref().and_then(|handled| handled.promote.as_deref()), Some("go"));
}

#[test]
fn full_promote_ends_the_waits_of_all_phases() {
    let mut world = World::with_stable(100);
    world.strategy.phases[2].approval = Approval::Manual;
    world.run_until(State::Soaking);
    world.ask("promote", "full-go");
    world.tick(1);
    world.tick(1);
    assert_eq!((world.running("r-2"), world.status.state), (100, State::Completed));
}

#[test]
fn promote_never_passes_a_failed_gate() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(Manner::FallsIll);
    world.tick(1);
    world.tick(1);
    world.ask("promote", "full-please");
    world.run_until(State::RolledBack);
    assert_eq!(world.offered("r-2"), 2);
    assert!(
        world.notices[0].as_ref().is_err_and(|why| why.contains("gate has failed")),
        "{:?}",
        world.notices
    );
}

#[test]
fn promote_of_the_last_phase_needs_evidence() {
    let mut world = World::with_stable(10);
    world.strategy.phases.drain(..3);
    world.all(Manner::Silent);
    world.tick(1);
    world.ask("promote", "now");
    world.tick(1);
    assert_eq!(world.status.state, State::Progressing, "nobody has proven anything");
    let told = world.notices.last().expect("an answer");
    assert!(told.as_ref().is_err_and(|why| why.contains("promote: the last phase")), "{told:?}");
}

#[test]
fn abort_acts_as_a_failed_gate() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.ask("abort", "stop");
    world.run_until(State::RolledBack);
    assert_eq!((world.running("r-1"), world.running("r-2")), (100, 0));
    assert!(world.status.message.contains("aborted by request"), "{}", world.status.message);
}

#[test]
fn abort_without_a_stable_revision_halts() {
    let mut world = World::new(100);
    world.lead();
    world.run_until(State::Soaking);
    world.ask("abort", "stop");
    assert_eq!(world.tick(1), State::Halted);
    assert_eq!(world.running("r-1"), 2, "agents keep what they run");
}

/// As while the only replica starts anew: a share of nobody is nothing to begin with.
#[test]
fn promote_while_nobody_can_be_reached_ends_the_phase_and_the_next_begins_when_somebody_can() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    (0..100).for_each(|index| world.disconnect(index));
    world.ask("promote", "one");
    world.tick(1);
    assert_eq!(world.status.phases[0].outcome, PhaseOutcome::Passed);
    world.ask("promote", "two");
    world.tick(1);
    assert_eq!(world.status.phases[1].outcome, PhaseOutcome::Waiting, "{}", world.status.message);
    assert_eq!(world.notices.remove(0), Ok("promote"));
    let told = world.notices.remove(0);
    assert!(told.as_ref().is_err_and(|why| why.contains("nothing is left to end")), "{told:?}");
    (0..100).for_each(|index| world.reconnect(index));
    world.tick(1);
    assert_eq!(world.status.phases[1].outcome, PhaseOutcome::Running, "{}", world.status.message);
}

/// A person decides, and knows that: the status says what the soak waits for.
#[test]
fn promote_ends_a_soak_also_where_nobody_has_watched_it() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.watched_until = Some(world.now);
    world.tick(400);
    assert_eq!(world.status.state, State::Soaking, "{}", world.status.message);
    world.ask("promote", "go");
    world.tick(1);
    assert_eq!(world.status.phases[1].outcome, PhaseOutcome::Running, "{}", world.status.message);
    assert_eq!(world.notices, [Ok("promote")]);
}

#[test]
fn abort_and_promote_of_a_finished_rollout_are_refused() {
    let mut world = World::with_stable(10);
    world.run_until(State::Completed);
    world.ask("abort", "late");
    world.ask("promote", "late");
    assert_eq!(world.tick(1), State::Completed);
    assert!(world.notices.iter().all(Result::is_err) && world.notices.len() == 2, "{:?}", world.notices);
}

#[test]
fn retry_of_a_paused_failure_keeps_seed_and_terms_and_forgives() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.strategy.on_failure = OnFailure::Pause;
    world.run_until(State::Paused);
    let before = world.status.cohort.clone().expect("a cohort");
    world.bad.clear();
    world.ask("retry", "mended");
    world.run_until(State::Soaking);
    let after = world.status.cohort.clone().expect("a cohort");
    assert_eq!((&after.seed, &after.terms, after.attempt), (&before.seed, &before.terms, before.attempt));
    assert_eq!((world.running("r-2"), world.status.agents.failed), (2, 0));
    world.run_until(State::Completed);
}

#[test]
fn retry_of_a_halted_rollout_goes_on() {
    let mut world = World::new(10);
    world.bad.insert("r-1".into());
    world.all(Manner::Refuses);
    world.run_until(State::Halted);
    world.bad.clear();
    world.ask("retry", "mended");
    world.run_until(State::Completed);
    assert_eq!(world.running("r-1"), 10);
}

#[test]
fn retry_after_a_rollback_is_a_new_attempt_with_another_seed() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.run_until(State::RolledBack);
    let before = world.status.cohort.clone().expect("a cohort");
    world.bad.clear();
    world.ask("retry", "mended");
    world.tick(1);
    let after = world.status.cohort.clone().expect("a cohort");
    assert_eq!(after.attempt, before.attempt + 1);
    assert_ne!(after.seed, before.seed);
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 100);
}

#[test]
fn retry_of_a_completed_rollout_offers_the_target_again_to_agents_that_failed() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.members[7].manner = Manner::Refuses;
    world.strategy.phases.drain(..3);
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 99);
    world.bad.clear();
    world.ask("retry", "again");
    world.tick(1);
    world.tick(1);
    assert_eq!((world.running("r-2"), world.status.state), (100, State::Completed));
}

#[test]
fn request_that_nothing_can_be_done_for_is_refused_and_says_why() {
    let mut world = World::with_stable(10);
    world.run_until(State::Soaking);
    (0..10).for_each(|index| world.disconnect(index));
    world.content = Content::Revision { name: "r-3".into(), rejected: true };
    world.ask("retry", "r-3/now");
    world.tick(1);
    assert_eq!(world.notices, [Err("retry: no agent of the group is reachable".to_owned())]);
}

#[test]
fn next_phase_does_not_begin_while_nobody_can_be_reached() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    (0..100).for_each(|index| world.disconnect(index));
    world.ask("promote", "go");
    world.tick(1);
    (0..100).for_each(|index| world.reconnect(index));
    world.tick(1);
    world.tick(1);
    assert_eq!(world.running("r-2"), 10, "10% of all, not of those who were there at a bad moment");
}

#[test]
fn retry_of_rejected_content_forgives_the_agents_that_refused_it() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    world.run_until(State::RolledBack);
    world.bad.clear();
    world.content = revision("r-3");
    world.run_until(State::Completed);
    world.content = Content::Revision { name: "r-2".into(), rejected: true };
    world.tick(1);
    world.ask("retry", "r-2/mended");
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 100);
}

#[test]
fn attempt_that_begins_while_paused_lets_nobody_in_until_the_pause_ends() {
    let mut world = World::with_stable(100);
    world.paused = true;
    for _ in 0..5 {
        assert_eq!(world.tick(600), State::Paused);
    }
    assert_eq!(world.offered("r-2"), 0);
    world.paused = false;
    assert_eq!(world.tick(1), State::Progressing);
    assert_eq!(world.tick(1), State::Soaking);
    assert_eq!(world.running("r-2"), 2);
}
