//! Who is let in, and when.

use super::world::{Manner, World, revision};
use crate::api::{Approval, PhaseOutcome, Reason, RolloutState as State, Share};
use crate::config::Inventory;
use crate::rollout::Content;

#[test]
fn default_phases_reach_exactly_their_shares_and_soak_in_between() {
    let mut world = World::with_stable(100);
    let mut reached = Vec::new();
    while world.tick(1) != State::Completed {
        let phase = world.status.current_phase.as_ref().map(|phase| phase.name.clone()).unwrap_or_default();
        let running = world.running("r-2");
        if reached.last() != Some(&(phase.clone(), running)) && world.status.state == State::Soaking {
            reached.push((phase, running));
        }
    }
    let expected = [("canary", 2), ("early-adopters", 10), ("majority", 50)];
    assert_eq!(reached, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(world.running("r-2"), 100);
    assert_eq!(world.status.stable_revision.as_deref(), Some("r-2"));
    assert!(world.status.phases.iter().all(|phase| phase.outcome == PhaseOutcome::Passed));
}

#[test]
fn soak_lasts_as_long_as_the_phase_says() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    for _ in 0..299 {
        assert_eq!(world.tick(1), State::Soaking, "{}", world.status.message);
    }
    world.tick(1);
    assert_eq!(
        world.status.current_phase.as_ref().map(|phase| phase.display.as_str()),
        Some("2/4 early-adopters")
    );
}

#[test]
fn phase_that_adds_no_agent_is_skipped_and_said_so() {
    let mut world = World::with_stable(3);
    world.run_until(State::Completed);
    let outcomes: Vec<PhaseOutcome> = world.status.phases.iter().map(|phase| phase.outcome).collect();
    let (passed, skipped) = (PhaseOutcome::Passed, PhaseOutcome::Skipped);
    assert_eq!(outcomes, [passed, skipped, passed, passed], "1, 1, 2 and 3 agents");
}

#[test]
fn counts_and_percentages_are_both_shares() {
    let mut world = World::with_stable(10);
    world.strategy.phases[0].agents = Share::Count(3);
    world.run_until(State::Soaking);
    assert_eq!(world.running("r-2"), 3);
}

#[test]
fn agents_that_join_take_the_revision_of_their_side_and_never_move_a_boundary() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    let boundary = world.status.cohort.clone().expect("a cohort").terms;
    (100..200).for_each(|number| world.join(number, Manner::Good));
    world.tick(1);
    assert_eq!(world.status.cohort.as_ref().expect("a cohort").terms, boundary);
    assert_eq!(world.running("r-2"), world.cohort().len());
    assert_eq!(world.running("r-1") + world.running("r-2"), 200, "nobody is left without a configuration");
    world.run_until(State::Completed);
    world.join(200, Manner::Good);
    world.tick(1);
    assert_eq!(world.running("r-2"), 201, "later joiners are in");
}

#[test]
fn offline_agents_never_block_and_take_their_revision_when_they_return() {
    let mut world = World::with_stable(10);
    (0..5).for_each(|index| world.disconnect(index));
    world.tick(1);
    world.run_until(State::Completed);
    assert_eq!(world.running("r-2"), 5);
    (0..5).for_each(|index| world.reconnect(index));
    world.tick(1);
    assert_eq!(world.running("r-2"), 10);
}

#[test]
fn rollout_with_nobody_to_reach_waits_and_proves_nothing() {
    let mut world = World::new(3);
    (0..3).for_each(|index| world.disconnect(index));
    for _ in 0..10 {
        assert_eq!(world.tick(600), State::Pending);
    }
    assert_eq!(world.status.target_revision, None);
    assert_eq!(world.status.stable_revision, None);
    world.reconnect(0);
    world.run_until(State::Completed);
}

#[test]
fn phase_passes_only_with_evidence() {
    let mut world = World::with_stable(4);
    world.run_until(State::Soaking);
    (0..4).for_each(|index| world.disconnect(index));
    (0..4).for_each(|index| world.members[index].seen.running = None);
    for _ in 0..20 {
        world.tick(60);
        assert_ne!(world.status.state, State::Completed, "nobody is there to prove it");
    }
}

#[test]
fn agents_that_cannot_take_it_are_counted_apart_and_never_offered() {
    let mut world = World::with_stable(10);
    world.members[0].seen.accepts_config = false;
    world.members[1].seen.reports_config = false;
    world.run_until(State::Completed);
    assert_eq!((world.status.agents.incompatible, world.status.agents.unverified), (1, 1));
    assert_eq!(world.running("r-2"), 8);
    assert!(!world.members[0].offered.contains("r-2"));
}

#[test]
fn manual_approval_waits_for_a_person() {
    let mut world = World::with_stable(10);
    world.strategy.phases[0].approval = Approval::Manual;
    world.run_until(State::AwaitingApproval);
    for _ in 0..10 {
        assert_eq!(world.tick(3600), State::AwaitingApproval);
    }
    assert_eq!(world.running("r-2"), 1);
    world.ask("promote", "ok");
    world.run_until(State::Completed);
}

#[test]
fn paused_rollout_reaches_nobody_new_and_its_soak_clock_stands_still() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.tick(100);
    world.paused = true;
    world.lead();
    for _ in 0..10 {
        assert_eq!(world.tick(3600), State::Paused);
    }
    assert_eq!(world.running("r-2"), 2);
    world.paused = false;
    world.lead();
    for second in 0..199 {
        assert_eq!(world.tick(1), State::Soaking, "200 s are left, {second} have passed");
    }
    world.tick(1);
    world.tick(1);
    assert_eq!(world.running("r-2"), 10);
}

#[test]
fn changed_phases_act_from_the_next_attempt() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.strategy.phases[0].agents = Share::Count(50);
    world.strategy.phases[1].agents = Share::Count(60);
    world.run_until(State::Soaking);
    world.run_until(State::Progressing);
    world.run_until(State::Soaking);
    assert_eq!(world.running("r-2"), 10, "the plan is the attempt's");
    world.content = revision("r-3");
    world.tick(1);
    world.tick(1);
    assert_eq!(world.running("r-3"), 50);
}

#[test]
fn new_content_supersedes_the_running_target_and_its_agents_go_back_to_stable() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.content = revision("r-3");
    world.tick(1);
    world.tick(1);
    assert_eq!(world.running("r-2"), 0, "two live revisions at most");
    assert_eq!((world.running("r-3"), world.running("r-1")), (2, 98));
    let cohort = world.status.cohort.clone().expect("a cohort");
    assert_eq!(cohort.attempt, 3);
}

#[test]
fn content_that_cannot_be_sent_is_told_while_the_attempt_goes_on_under_its_gate() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.run_until(State::Soaking);
    world.content = Content::Invalid(Reason::InvalidConfig, "it is no YAML".into());
    assert_eq!(world.tick(1), State::Invalid);
    world.all(Manner::FallsIll);
    world.tick(2);
    world.tick(2);
    world.tick(2);
    assert_eq!(world.status.state, State::Invalid);
    assert_eq!(world.running("r-2"), 0, "the gate guards those that have the target");
}

#[test]
fn phases_that_fall_are_told_and_nothing_is_sent() {
    for (first, second, falls) in [
        (Share::PerMille(500), Share::PerMille(95), true),
        (Share::Count(10), Share::Count(9), true),
        (Share::Count(10), Share::Count(10), false),
        (Share::Count(10), Share::PerMille(10), false),
    ] {
        let mut world = World::with_stable(100);
        world.strategy.phases[0].agents = first;
        world.strategy.phases[1].agents = second;
        world.tick(1);
        world.tick(1);
        let expected = if falls { State::Invalid } else { State::Soaking };
        assert_eq!(world.status.state, expected, "{first} then {second}: {}", world.status.message);
        assert_eq!(world.offered("r-2") == 0, falls);
    }
}

#[test]
fn agents_that_lack_a_component_are_counted_never_offered_and_block_nothing() {
    let inventory = |receiver: &str| Inventory::new([("receivers", vec![receiver.to_owned()])]);
    let mut world = World::with_stable(10);
    world.needs.insert("r-2".into(), inventory("kafka"));
    for member in &mut world.members[..4] {
        member.seen.build = Some(inventory("otlp").into());
    }
    world.members[4].seen.build = Some(inventory("kafka").into());
    world.run_until(State::Completed);
    assert_eq!((world.status.agents.incompatible, world.status.agents.eligible), (4, 6));
    assert!(world.members[..4].iter().all(|member| !member.offered.contains("r-2")));
    assert_eq!((world.running("r-2"), world.running("r-1")), (6, 4), "what is not known is offered");
}

#[test]
fn rollout_that_nobody_was_built_for_waits_and_pushes_nothing() {
    let mut world = World::with_stable(3);
    world.needs.insert("r-2".into(), Inventory::new([("receivers", vec!["kafka".to_owned()])]));
    let built = Inventory::new([("receivers", vec!["otlp".to_owned()])]);
    world.members.iter_mut().for_each(|member| member.seen.build = Some(built.clone().into()));
    assert_eq!(world.tick(1), State::Pending);
    assert!(world.status.message.contains("3 incompatible"), "{}", world.status.message);
    assert_eq!(world.offered("r-2"), 0);
}
