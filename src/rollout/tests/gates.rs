//! What ends an attempt, and what does not.

use super::world::{Manner, World, revision};
use crate::api::{OnFailure, PhaseOutcome, Reason, RolloutState as State, Share};
use crate::fleet::{Faltered, Verdict};
use crate::rollout::Content;
use jiff::SignedDuration;

/// A hundred agents on `r-1`, all of this manner towards `r-2`, which is bad.
fn bad_rollout(manner: Manner) -> World {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(manner);
    world
}

#[test]
fn bad_configuration_hurts_only_the_canaries_and_they_get_stable_back() {
    for manner in [Manner::Refuses, Manner::FallsIll, Manner::Silent] {
        let mut world = bad_rollout(manner);
        world.run_until(State::RolledBack);
        assert_eq!(world.offered("r-2"), 2, "{manner:?}");
        assert_eq!(world.running("r-1"), 100, "{manner:?}");
        assert_eq!(world.status.stable_revision.as_deref(), Some("r-1"));
        assert_eq!(world.status.phases[0].outcome, PhaseOutcome::Failed);
        for _ in 0..100 {
            assert_eq!(world.tick(60), State::RolledBack, "it is not tried again by itself");
        }
        assert_eq!(world.offered("r-2"), 2, "{manner:?}");
    }
}

#[test]
fn failures_have_their_reason() {
    for (manner, reason) in
        [(Manner::Refuses, "Failed"), (Manner::FallsIll, "Unhealthy"), (Manner::Silent, "TimedOut")]
    {
        let mut world = bad_rollout(manner);
        world.strategy.on_failure = OnFailure::Pause;
        world.run_until(State::Paused);
        assert!(
            world.status.failures.iter().all(|failure| failure.reason == reason),
            "{:?}",
            world.status.failures
        );
        assert!(!world.status.failures.is_empty());
    }
}

#[test]
fn one_failure_more_than_the_threshold_ends_the_attempt_at_once() {
    for (threshold, bad, ends) in [
        (Share::Count(0), 1, true),
        (Share::Count(1), 1, false),
        (Share::Count(1), 2, true),
        (Share::PerMille(100), 10, false),
        (Share::PerMille(100), 11, true),
    ] {
        let mut world = World::with_stable(100);
        world.strategy.phases.drain(..3);
        world.strategy.failure_threshold = threshold;
        world.bad.insert("r-2".into());
        world.members[..bad].iter_mut().for_each(|member| member.manner = Manner::Refuses);
        world.tick(1);
        world.tick(1);
        let expected = if ends { State::RollingBack } else { State::Completed };
        assert_eq!(
            world.status.state, expected,
            "{bad} of 100 failed, {threshold} may: {}",
            world.status.message
        );
    }
}

#[test]
fn agent_that_fails_below_the_threshold_goes_back_to_stable_by_itself() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    let last = world.members.len() - 1;
    world.members[last].manner = Manner::Refuses;
    world.strategy.phases.drain(..3);
    world.run_until(State::Completed);
    world.tick(1);
    assert_eq!((world.running("r-2"), world.running("r-1")), (99, 1));
    assert_eq!(world.status.agents.failed, 1);
}

#[test]
fn first_rollout_that_fails_halts_with_nothing_to_go_back_to() {
    let mut world = World::new(10);
    world.bad.insert("r-1".into());
    world.all(Manner::Refuses);
    world.run_until(State::Halted);
    assert_eq!(world.offered("r-1"), 1);
    assert!(world.is_stalled(Reason::TooManyFailures));
}

#[test]
fn rollback_goes_to_the_proven_revision_not_to_the_one_before() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.content = revision("r-3");
    world.bad.insert("r-3".into());
    world.all(Manner::Refuses);
    world.run_until(State::RolledBack);
    assert_eq!(world.running("r-1"), 100);
}

#[test]
fn rejected_content_is_not_started_again_until_a_retry() {
    let mut world = World::with_stable(10);
    world.content = Content::Revision { name: "r-2".into(), rejected: true };
    for _ in 0..5 {
        world.tick(60);
        assert!(world.is_stalled(Reason::RevisionRejected));
    }
    assert_eq!(world.status.state, State::Pending);
    assert_eq!(world.offered("r-2"), 0);
    world.ask("retry", "again");
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 10);
}

#[test]
fn late_answer_overturns_a_timeout_until_the_rollback_starts() {
    let mut world = World::with_stable(100);
    world.strategy.failure_threshold = Share::Count(2);
    world.all(Manner::Silent);
    (0..90).for_each(|_| {
        world.tick(1);
    });
    assert_eq!(world.status.agents.failed, 2, "{}", world.status.message);
    assert_eq!(world.status.state, State::Progressing);
    world.all(Manner::Good);
    world.tick(1);
    assert_eq!(world.status.agents.failed, 0);
    assert_eq!(world.status.state, State::Soaking);
}

#[test]
fn agent_that_was_unhealthy_before_the_offer_does_not_count_against_it() {
    let mut world = World::with_stable(10);
    world.strategy.phases.drain(..3);
    for member in &mut world.members[..9] {
        member.seen.healthy = Some(false);
    }
    world.run_until(State::Completed);
    assert_eq!(world.status.agents.failed, 0);
    assert_eq!(world.running("r-2"), 10);
}

#[test]
fn agent_has_two_heartbeats_to_become_healthy_after_it_applied() {
    let mut slow = World::with_stable(10);
    slow.strategy.phases.drain(..3);
    slow.lead();
    slow.now += jiff::SignedDuration::from_secs(1);
    for member in &mut slow.members {
        member.seen.running = Some(super::world::hash("r-2"));
        member.seen.ledger.renew(super::world::hash("r-2"), crate::fleet::Verdict::Applied, slow.now);
        member.seen.healthy = Some(false);
        member.seen.health_since = slow.now;
    }
    for _ in 0..60 {
        assert_eq!(slow.tick(1), State::Progressing, "{}", slow.status.message);
    }
    assert_eq!(slow.tick(1), State::RollingBack);
}

#[test]
fn phase_without_progress_is_stalled_and_that_clears_by_itself() {
    let mut world = World::with_stable(10);
    world.strategy.apply_timeout = "2h".parse().expect("a duration");
    world.all(Manner::Silent);
    world.tick(1);
    world.tick(900);
    assert!(!world.is_stalled(Reason::ProgressDeadlineExceeded));
    world.tick(2);
    assert!(world.is_stalled(Reason::ProgressDeadlineExceeded), "{}", world.status.message);
    assert_eq!(world.status.state, State::Progressing);
    world.all(Manner::Good);
    assert_eq!(world.tick(1), State::Soaking);
    assert!(!world.is_stalled(Reason::ProgressDeadlineExceeded));
}

#[test]
fn pause_on_failure_stops_and_leaves_the_cohort_as_it_is() {
    let mut world = bad_rollout(Manner::FallsIll);
    world.strategy.on_failure = OnFailure::Pause;
    world.run_until(State::Paused);
    for _ in 0..10 {
        assert_eq!(world.tick(3600), State::Paused);
    }
    assert_eq!((world.offered("r-2"), world.running("r-2")), (2, 2));
}

#[test]
fn gate_ends_a_paused_rollout_too() {
    let mut world = bad_rollout(Manner::FallsIll);
    world.tick(1);
    world.tick(1);
    world.paused = true;
    world.run_until(State::RolledBack);
    assert_eq!(world.offered("r-2"), 2);
}

#[test]
fn rollback_that_cannot_reach_everybody_ends_after_the_deadline() {
    let mut world = bad_rollout(Manner::FallsIll);
    world.run_until(State::Soaking);
    world.all(Manner::Silent);
    world.members.iter_mut().for_each(|member| member.seen.healthy = Some(false));
    world
        .members
        .iter_mut()
        .for_each(|member| member.seen.health_since = world.now + jiff::SignedDuration::from_secs(1));
    world.run_until(State::RollingBack);
    world.tick(900);
    assert_eq!(world.status.state, State::RollingBack);
    world.tick(1);
    assert_eq!(world.status.state, State::RolledBack);
    assert!(world.status.message.contains("2 of 2 agents are not back"), "{}", world.status.message);
}

#[test]
fn rollback_does_not_take_agents_that_have_just_gone_for_agents_that_are_back() {
    for (away, returns) in [(90, true), (91, false)] {
        let mut world = bad_rollout(Manner::FallsIll);
        world.run_until(State::RollingBack);
        let cohort = world.cohort();
        for index in &cohort {
            world.disconnect(*index);
        }
        assert_eq!(world.tick(1), State::RollingBack, "{}", world.status.message);
        assert!(world.status.message.contains("0 of 2 agents are back"), "{}", world.status.message);
        world.tick(away - 1);
        let expected = if returns { State::RollingBack } else { State::RolledBack };
        assert_eq!(world.status.state, expected, "away for {away} s");
        for index in &cohort {
            world.reconnect(*index);
        }
        world.tick(1);
        assert_eq!((world.status.state, world.running("r-1")), (State::RolledBack, 100));
    }
}

/// One canary of a hundred agents, soaking; its index.
fn soaking_canary() -> (World, usize) {
    let mut world = World::with_stable(50);
    world.run_until(State::Soaking);
    let canary = world.cohort()[0];
    (world, canary)
}

#[test]
fn canary_that_fell_ill_for_a_moment_between_two_steps_has_failed() {
    let (mut world, canary) = soaking_canary();
    world.tick(10);
    world.members[canary].seen.faltered.fell_ill = Some(world.now);
    world.run_until(State::RolledBack);
    assert_eq!(world.status.failures[0].reason, "Unhealthy", "{}", world.status.message);
    assert_eq!(world.offered("r-2"), 1);
}

#[test]
fn canary_that_is_started_anew_in_the_soak_has_failed_but_not_while_it_applies() {
    for (after, fails) in [(30, false), (100, true)] {
        let (mut world, canary) = soaking_canary();
        world.tick(after);
        world.members[canary].seen.faltered.restarted = Some(world.now);
        world.tick(1);
        let expected = if fails { State::RollingBack } else { State::Soaking };
        assert_eq!(world.status.state, expected, "{after} s after it applied");
        assert!(world.status.failures.iter().all(|failure| failure.reason == "Restarted"));
    }
}

#[test]
fn what_happened_before_an_agent_was_let_in_does_not_count() {
    let mut world = World::with_stable(50);
    // Content that all of them run already, and some have had their troubles with.
    for member in &mut world.members {
        member.seen.running = Some(super::world::hash("r-2"));
        member.seen.ledger.renew(super::world::hash("r-2"), Verdict::Applied, world.now);
    }
    world.now += SignedDuration::from_secs(500);
    for member in &mut world.members {
        member.seen.faltered = Faltered { fell_ill: Some(world.now), restarted: Some(world.now) };
    }
    world.members[7].seen.healthy = Some(false);
    world.now += SignedDuration::from_secs(500);
    world.run_until(State::Completed);
    assert_eq!(world.status.agents.failed, 0);
}

#[test]
fn retry_forgives_what_happened_before_it() {
    let (mut world, canary) = soaking_canary();
    world.strategy.on_failure = OnFailure::Pause;
    world.tick(10);
    world.members[canary].seen.faltered.fell_ill = Some(world.now);
    world.run_until(State::Paused);
    world.tick(10);
    world.ask("retry", "again");
    world.run_until(State::Soaking);
    world.run_until(State::Completed);
}

#[test]
fn what_failed_is_told_after_the_rollback_too_and_nothing_else_is() {
    for manner in [Manner::Refuses, Manner::FallsIll, Manner::Silent] {
        let mut world = bad_rollout(manner);
        world.run_until(State::RolledBack);
        let (failed, failures) = (world.status.agents.failed, world.status.failures.clone());
        for _ in 0..10 {
            world.tick(600);
        }
        assert_eq!(world.status.state, State::RolledBack);
        assert_eq!((world.status.agents.failed, &world.status.failures), (failed, &failures), "{manner:?}");
        assert!(failed > 0 && !failures.is_empty());
    }
    let mut aborted = World::with_stable(100);
    aborted.run_until(State::Soaking);
    aborted.ask("abort", "no");
    aborted.run_until(State::RolledBack);
    aborted.tick(3600);
    assert_eq!(aborted.status.agents.failed, 0, "they did nothing wrong");
}

#[test]
fn halted_rollout_is_offered_to_nobody_who_comes_later() {
    let mut world = World::new(10);
    world.bad.insert("r-1".into());
    world.strategy.phases.drain(..3);
    world.all(Manner::Refuses);
    world.run_until(State::Halted);
    let before = world.offered("r-1");
    (10..20).for_each(|number| world.join(number, Manner::Good));
    for _ in 0..10 {
        world.tick(60);
    }
    assert_eq!(world.offered("r-1"), before);
}

#[test]
fn wait_after_a_long_soak_has_its_own_deadline() {
    let mut world = World::with_stable(100);
    world.strategy.phases[0].approval = crate::api::Approval::Manual;
    world.run_until(State::AwaitingApproval);
    world.tick(7200);
    let canary = world.cohort()[0];
    world.disconnect(canary);
    world.tick(1);
    assert!(!world.is_stalled(Reason::ProgressDeadlineExceeded), "{}", world.status.message);
    assert_eq!(world.status.state, State::Progressing);
    world.reconnect(canary);
    assert_eq!(world.tick(1), State::AwaitingApproval);
}

#[test]
fn refusal_from_an_earlier_attempt_trips_no_gate() {
    let mut world = World::with_stable(20);
    world.bad.insert("r-2".into());
    world.strategy.phases.drain(..3);
    (0..2).for_each(|index| world.members[index].manner = Manner::Refuses);
    world.run_until(State::Completed);
    world.content = revision("r-3");
    world.tick(1);
    world.run_until(State::Completed);
    world.strategy = crate::api::Strategy::default();
    for _ in 0..10 {
        // Whoever is the canary: those that refused it before have said nothing of it now.
        world.content = revision("r-2");
        world.tick(1);
        world.run_until(State::Completed);
        assert_eq!((world.status.agents.failed, world.status.agents.incompatible), (0, 2));
        world.content = revision("r-3");
        world.tick(1);
        world.run_until(State::Completed);
    }
}

#[test]
fn what_agents_do_after_completion_is_not_the_rollouts_failure() {
    let mut world = World::with_stable(20);
    world.run_until(State::Completed);
    world.tick(86400);
    for index in 0..15 {
        world.members[index].seen.faltered.restarted = Some(world.now);
        world.members[index].seen.faltered.fell_ill = Some(world.now);
    }
    world.disconnect(16);
    world.tick(600);
    assert_eq!(
        (world.status.agents.failed, world.status.agents.healthy),
        (0, 19),
        "{}",
        world.status.message
    );
    assert_eq!(world.status.failures, []);
}
