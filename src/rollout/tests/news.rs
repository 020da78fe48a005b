//! What people are told, and that they are told it once.

use super::world::{Manner, World, revision};
use crate::api::Reason::{
    Completed, PhaseFailed, PhasePassed, PhaseStarted, RolledBack, Soaking, TooManyFailures,
};
use crate::api::{Approval, OnFailure, Reason, RolloutState as State, Share};
use crate::rollout::Content;

/// Forgets what was told, and plays on until a state is reached; reasons and notes of what was told then.
fn told_until(world: &mut World, state: State) -> Vec<(Reason, String)> {
    world.told.clear();
    world.run_until(state);
    told(world)
}

fn told(world: &World) -> Vec<(Reason, String)> {
    world.told.iter().map(|news| (news.reason, news.note.clone())).collect()
}

fn reasons(told: &[(Reason, String)]) -> Vec<Reason> {
    told.iter().map(|(reason, _)| *reason).collect()
}

#[test]
fn each_phase_is_told_when_it_starts_soaks_and_passes() {
    let mut world = World::with_stable(100);
    let told = told_until(&mut world, State::Completed);
    let soaked = [PhaseStarted, Soaking, PhasePassed];
    let expected = [&soaked[..], &soaked, &soaked, &[PhaseStarted, PhasePassed, Completed]].concat();
    assert_eq!(reasons(&told), expected, "{told:#?}");
    assert_eq!(told[0].1, "phase 1 of 4 (canary) of r-2 started: 2 of 100 agents are to run it");
    assert!(told[1].1.starts_with("phase 1 of 4 (canary) of r-2 soaks until "), "{}", told[1].1);
    assert!(told[1].1.ends_with("Z: 2 agents updated, 2 healthy, 0 failed"), "{}", told[1].1);
    assert_eq!(told[2].1, "phase 1 of 4 (canary) of r-2 passed: 2 agents updated, 2 healthy, 0 failed");
    let last = told.last().map(|(_, note)| note.as_str());
    assert_eq!(last, Some("r-2 completed: 100 of 100 agents updated, 100 healthy, 0 failed"));
    assert!(world.told.iter().all(|news| !news.warning));
}

#[test]
fn failed_gate_and_rollback_are_told_with_the_first_failure() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(Manner::Refuses);
    let told = told_until(&mut world, State::RolledBack);
    assert_eq!(reasons(&told)[..2], [PhaseStarted, PhaseFailed], "{told:#?}");
    assert_eq!(told.last().map(|(reason, _)| *reason), Some(RolledBack));
    assert!(
        reasons(&told)
            .iter()
            .all(|reason| { [PhaseStarted, PhaseFailed, TooManyFailures, RolledBack].contains(reason) })
    );
    let first = world.status.failures.last().expect("a failure").host.clone();
    let why = format!(
        "2 of 2 agents failed, more than failureThreshold 10% allows; the first: {first}: Failed, no"
    );
    assert_eq!(told[1].1, format!("phase 1 of 4 (canary) of r-2 failed: {why}"));
    assert_eq!(told.last().map(|(_, note)| note.clone()), Some(format!("r-2 was rolled back to r-1: {why}")));
    assert!(world.told.iter().skip(1).all(|news| news.warning));
    assert!(world.status.message.contains(&why), "{}", world.status.message);
    let count = world.told.len();
    (0..50).for_each(|_| {
        world.tick(60);
    });
    assert_eq!(world.told.len(), count, "nothing has passed since: {:?}", world.told.last());
}

#[test]
fn rollback_that_takes_time_is_told_when_it_begins_and_when_it_ends() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.all(Manner::FallsIll);
    let told = told_until(&mut world, State::RolledBack);
    assert_eq!(
        reasons(&told),
        [PhaseStarted, Soaking, PhaseFailed, TooManyFailures, RolledBack],
        "{told:#?}"
    );
    assert!(told[3].1.starts_with("r-2 is rolled back to r-1: "), "{}", told[3].1);
}

#[test]
fn skipped_phase_is_told() {
    let mut world = World::with_stable(2);
    let told = told_until(&mut world, State::Completed);
    let skipped: Vec<&str> = told
        .iter()
        .filter(|(reason, _)| *reason == Reason::PhaseSkipped)
        .map(|(_, note)| note.as_str())
        .collect();
    assert_eq!(
        skipped,
        [
            "phase 2 of 4 (early-adopters) of r-2 skipped: it adds no agent",
            "phase 3 of 4 (majority) of r-2 skipped: it adds no agent"
        ]
    );
}

#[test]
fn failures_below_the_threshold_are_told_with_the_phase_that_passed() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.members[7].manner = Manner::Refuses;
    world.strategy.phases.drain(..3);
    let told = told_until(&mut world, State::Completed);
    let passed = &told[1];
    let expected = "phase 1 of 1 (full) of r-2 passed: 99 agents updated, 99 healthy, 1 failed; the first: host-7: \
                    Failed, no";
    assert_eq!((passed.0, passed.1.as_str()), (Reason::PhasePassed, expected));
}

#[test]
fn agent_that_comes_and_goes_in_a_soak_is_no_news() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.told.clear();
    let canary = world.cohort()[0];
    world.disconnect(canary);
    assert_eq!(world.tick(1), State::Progressing);
    world.reconnect(canary);
    assert_eq!(world.tick(1), State::Soaking);
    assert_eq!(told(&world), []);
}

#[test]
fn waits_and_stops_are_told_once_with_what_they_wait_for() {
    let mut world = World::with_stable(100);
    world.strategy.phases[0].approval = Approval::Manual;
    let waiting = told_until(&mut world, State::AwaitingApproval);
    assert!(waiting.last().is_some_and(|(_, note)| note.contains("fleet.opamp.dev/promote")), "{waiting:?}");
    world.ask("promote", "go");
    let promoted = told_until(&mut world, State::Soaking);
    assert_eq!(
        reasons(&promoted),
        [Reason::PhasePassed, Reason::PhaseStarted, Reason::Soaking],
        "{promoted:?}"
    );
    world.paused = true;
    assert_eq!(reasons(&told_until(&mut world, State::Paused)), [Reason::Paused]);
    world.told.clear();
    world.paused = false;
    world.tick(1);
    assert_eq!(reasons(&told(&world)), [Reason::Soaking], "it goes on");
    world.told.clear();
    world.content = Content::Invalid(Reason::InvalidConfig, "no".into());
    world.tick(1);
    world.tick(1);
    assert_eq!(reasons(&told(&world)), [Reason::InvalidConfig]);
    assert!(world.told[0].warning);
}

#[test]
fn stall_is_told_when_it_begins_and_when_it_ends() {
    let mut world = World::with_stable(10);
    world.strategy.apply_timeout = "2h".parse().expect("a duration");
    world.all(Manner::Silent);
    world.tick(1);
    world.told.clear();
    world.tick(901);
    world.tick(901);
    assert_eq!(reasons(&told(&world)), [Reason::ProgressDeadlineExceeded]);
    world.all(Manner::Good);
    world.told.clear();
    world.tick(1);
    assert_eq!(reasons(&told(&world)), [Reason::Soaking]);
}

#[test]
fn stop_halt_and_abort_are_told_with_their_cause() {
    let mut paused = World::with_stable(100);
    paused.bad.insert("r-2".into());
    paused.all(Manner::Refuses);
    paused.strategy.on_failure = OnFailure::Pause;
    let stopped = told_until(&mut paused, State::Paused);
    assert!(stopped.last().is_some_and(|(_, note)| note.ends_with("; retry or abort")), "{stopped:?}");
    paused.bad.clear();
    paused.ask("retry", "x");
    let resumed = told_until(&mut paused, State::Soaking);
    assert!(resumed[0].1.ends_with("(canary) of r-2 goes on, failures forgiven"), "{resumed:?}");

    let mut aborted = World::new(100);
    aborted.strategy.failure_threshold = Share::Count(0);
    aborted.run_until(State::Soaking);
    aborted.ask("abort", "x");
    let halted = told_until(&mut aborted, State::Halted);
    assert_eq!(reasons(&halted), [Reason::PhaseFailed, Reason::Aborted]);
    assert!(halted[1].1.starts_with("r-1 is halted, with nothing to go back to: aborted"), "{halted:?}");
}

#[test]
fn attempt_that_goes_on_beside_other_content_is_told_as_well() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.content = Content::Invalid(Reason::InvalidConfig, "no".into());
    world.tick(1);
    world.told.clear();
    for _ in 0..1000 {
        assert_eq!(world.tick(1), State::Invalid);
    }
    let told = told(&world);
    assert_eq!(told.last().map(|(reason, _)| *reason), Some(Reason::Completed), "{told:?}");
    assert_eq!(reasons(&told).iter().filter(|reason| **reason == Reason::PhasePassed).count(), 4);
}

#[test]
fn end_of_a_pin_is_told() {
    let mut world = World::with_stable(10);
    world.run_until(State::Completed);
    world.ask("undo", "back");
    world.run_until(State::Completed);
    world.told.clear();
    world.content = revision("r-3");
    world.tick(1);
    assert_eq!(reasons(&told(&world)), [Reason::Unpinned, Reason::PhaseStarted]);
    assert!(world.told[0].note.starts_with("r-1 is no longer pinned"), "{:?}", world.told[0]);
}

#[test]
fn content_that_turns_invalid_as_the_attempt_completes_is_told_beside_it() {
    let mut world = World::with_stable(100);
    world.strategy.phases.drain(..3);
    world.tick(1);
    world.told.clear();
    world.content = Content::Invalid(Reason::InvalidConfig, "no".into());
    world.tick(1);
    assert_eq!(reasons(&told(&world)), [PhasePassed, Completed, Reason::InvalidConfig]);
}
