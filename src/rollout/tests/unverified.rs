//! Agents that take configurations and cannot say what became of them.

use super::world::{Manner, World};
use crate::api::{Approval, PhaseOutcome, Reason, RolloutState as State};

/// Agents that neither say nor show anything, on a rollout of `r-1` through these approvals, one phase each.
fn mute(agents: u16, approvals: &[Approval]) -> World {
    let mut world = World::new(agents);
    let phases = world.strategy.phases.split_off(4 - approvals.len());
    world.strategy.phases = phases;
    for (phase, approval) in world.strategy.phases.iter_mut().zip(approvals) {
        phase.approval = *approval;
    }
    world.members.iter_mut().for_each(|member| member.seen.reports_config = false);
    world
}

#[test]
fn agents_that_show_what_is_in_effect_are_judged_as_those_that_say_it() {
    let mut world = World::with_stable(100);
    for member in &mut world.members {
        (member.seen.reports_config, member.seen.reports_effective) = (false, true);
    }
    world.run_until(State::Soaking);
    assert_eq!((world.running("r-2"), world.status.agents.eligible), (2, 100));
    world.run_until(State::Completed);
    assert_eq!((world.status.agents.updated, world.status.agents.unverified), (100, 0));
}

#[test]
fn agents_that_do_not_show_it_in_time_have_failed() {
    let mut world = World::with_stable(100);
    for member in &mut world.members {
        (member.seen.reports_config, member.seen.reports_effective) = (false, true);
    }
    world.all(Manner::Silent);
    world.run_until(State::RolledBack);
    assert_eq!(world.status.failures[0].reason, "TimedOut");
    assert_eq!(world.offered("r-2"), 2, "the canaries only");
}

#[test]
fn agent_that_shows_it_before_it_starts_anew_has_two_heartbeats_to_become_well() {
    for (seconds, expected) in [(30, State::Soaking), (90, State::RolledBack)] {
        let mut world = World::with_stable(100);
        for member in &mut world.members {
            (member.seen.reports_config, member.seen.reports_effective) = (false, true);
        }
        world.run_until(State::Soaking);
        world.tick(5);
        let canary = world.cohort()[0];
        let ill = |world: &mut World, healthy| {
            world.members[canary].seen.healthy = Some(healthy);
            world.members[canary].seen.health_since = world.now;
        };
        ill(&mut world, false);
        for _ in 0..seconds {
            world.tick(1);
        }
        ill(&mut world, true);
        assert_eq!(world.tick(1), expected, "ill for {seconds} s: {}", world.status.message);
    }
}

#[test]
fn agent_without_health_is_good_when_it_is_updated_and_stays_connected() {
    let mut world = World::with_stable(100);
    world.members.iter_mut().for_each(|member| member.seen.healthy = None);
    world.run_until(State::Soaking);
    assert_eq!(world.status.agents.healthy, 2);
    let gone = world.cohort()[0];
    world.disconnect(gone);
    world.run_until(State::RollingBack);
    assert_eq!(world.status.failures[0].reason, "Lost");
}

#[test]
fn agents_that_cannot_answer_count_for_nothing_beside_those_that_can() {
    let mut world = World::with_stable(10);
    world.strategy.phases.iter_mut().for_each(|phase| phase.approval = Approval::Manual);
    world.members[..5].iter_mut().for_each(|member| member.seen.reports_config = false);
    world.run_until(State::AwaitingApproval);
    assert_eq!((world.status.agents.targeted, world.status.agents.eligible), (1, 5), "2% of five");
    world.ask("promote", "full-go");
    world.run_until(State::AwaitingApproval);
    world.ask("promote", "full-end");
    world.run_until(State::Completed);
    assert_eq!((world.status.agents.updated, world.status.agents.unverified), (5, 5));
    assert_eq!(world.offered("r-2"), 10, "they are offered it all the same");
}

#[test]
fn phase_of_such_agents_alone_waits_for_a_person_and_says_why() {
    let mut world = mute(10, &[Approval::Manual, Approval::Manual]);
    world.run_until(State::AwaitingApproval);
    assert_eq!(world.offered("r-1"), 5, "the first half");
    assert_eq!(world.status.phases[0].count, Some(5));
    assert!(world.status.message.contains("only a person can judge"), "{}", world.status.message);
    for _ in 0..10 {
        assert_eq!(world.tick(3600), State::AwaitingApproval, "it never passes by itself");
    }
    assert_eq!(world.status.stable_revision, None);
    world.ask("promote", "one");
    world.tick(1);
    world.run_until(State::AwaitingApproval);
    assert_eq!(world.offered("r-1"), 10);
    world.ask("promote", "two");
    world.tick(1);
    assert_eq!(world.status.state, State::Completed, "{}", world.status.message);
    assert_eq!(world.status.stable_revision.as_deref(), Some("r-1"));
    assert!(world.status.phases.iter().all(|phase| phase.outcome == PhaseOutcome::Passed));
}

#[test]
fn phase_without_approval_never_begins_with_such_agents_alone() {
    let mut world = mute(10, &[Approval::Automatic]);
    for _ in 0..10 {
        assert_eq!(world.tick(3600), State::Pending);
    }
    assert!(world.status.message.contains("approval: Manual"), "{}", world.status.message);
    assert_eq!(world.offered("r-1"), 0);

    let mut world = mute(10, &[Approval::Manual, Approval::Automatic]);
    world.run_until(State::AwaitingApproval);
    world.ask("promote", "one");
    for _ in 0..10 {
        world.tick(3600);
        assert_eq!(world.offered("r-1"), 5, "{}", world.status.message);
    }
    assert!(world.is_stalled(Reason::ProgressDeadlineExceeded), "{}", world.status.message);
}

#[test]
fn promote_of_a_last_phase_without_approval_needs_evidence_also_from_such_agents() {
    let mut world = mute(10, &[Approval::Manual]);
    world.run_until(State::AwaitingApproval);
    world.status.phases[0].phase.approval = Approval::Automatic;
    world.ask("promote", "now");
    world.tick(1);
    assert_eq!((world.status.state, world.status.stable_revision.as_deref()), (State::Progressing, None));
}
