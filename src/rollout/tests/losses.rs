//! What is the network's, or the operator's own trouble, and no verdict on a revision.

use super::world::{Manner, World};
use crate::api::{ConfigRolloutStatus, Reason, RolloutState as State};
use jiff::SignedDuration;

#[test]
fn agents_that_vanish_with_the_target_are_lost_and_count_as_failed() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    world.cohort().into_iter().for_each(|index| world.disconnect(index));
    for _ in 0..90 {
        let state = world.tick(1);
        assert!(matches!(state, State::Soaking | State::Progressing), "{state:?}: {}", world.status.message);
    }
    assert_eq!(world.tick(1), State::RolledBack, "nobody is left to wait for");
    assert!(world.status.failures.iter().all(|failure| failure.reason == "Lost"));
}

#[test]
fn network_that_fails_in_the_last_phase_is_no_verdict_on_the_revision_either() {
    for (gone, ends) in [(20, false), (11, false), (10, true)] {
        let mut world = World::with_stable(20);
        world.strategy.phases[3].duration = Some("10m".parse().expect("a duration"));
        world.run_until(State::Soaking);
        while world.running("r-2") < 20 {
            world.tick(1);
        }
        (0..gone).for_each(|index| world.disconnect(index));
        world.tick(1);
        world.tick(91);
        let stalled = world.is_stalled(Reason::ConnectivityLost);
        assert_eq!(
            (world.status.state == State::RollingBack, stalled),
            (ends, !ends),
            "{gone} of 20 are gone: {:?} {}",
            world.status.state,
            world.status.message
        );
    }
}

#[test]
fn network_that_fails_everywhere_is_no_verdict_on_the_revision() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    (0..100).for_each(|index| world.disconnect(index));
    for _ in 0..60 {
        world.tick(60);
        assert_eq!(world.status.agents.failed, 0);
    }
    assert!(world.is_stalled(Reason::ConnectivityLost), "{}", world.status.message);
    (0..100).for_each(|index| world.reconnect(index));
    world.run_until(State::Completed);
}

#[test]
fn agents_of_a_replica_that_died_are_neither_good_nor_failed() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    for index in world.cohort() {
        world.members[index].seen.connected = false;
        world.members[index].seen.unreachable = Some(world.now);
    }
    for _ in 0..30 {
        world.tick(60);
        assert_eq!(world.running("r-2"), 2, "the phase waits");
        assert_eq!(world.status.agents.failed, 0);
    }
    assert!(world.is_stalled(Reason::ProgressDeadlineExceeded));
}

#[test]
fn agents_of_a_replica_that_died_are_waited_for_three_minutes() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    let canary = world.cohort()[0];
    world.tick(200);
    world.members[canary].seen.connected = false;
    world.members[canary].seen.unreachable = Some(world.now);
    for _ in 0..180 {
        world.tick(1);
        assert_eq!(world.running("r-2"), 2, "the phase waits: {}", world.status.message);
    }
    world.tick(1);
    world.tick(1);
    assert_eq!(world.status.agents.failed, 0);
    assert!(world.running("r-2") > 2, "then they are offline like others: {}", world.status.message);
}

#[test]
fn soak_ends_only_when_every_living_replica_has_watched_it() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    let end = world.now + SignedDuration::from_secs(300);
    world.watched_until = Some(end - SignedDuration::from_secs(1));
    for _ in 0..10 {
        assert_eq!(world.tick(100), State::Soaking, "time that nobody watched is no soak");
    }
    assert!(world.status.message.ends_with("not every replica has told yet what it saw until then"));
    world.watched_until = Some(end);
    assert_eq!(world.tick(1), State::Progressing);
}

#[test]
fn agents_of_a_replica_that_was_cut_off_have_their_whole_time_to_answer() {
    let mut world = World::with_stable(20);
    world.all(Manner::Silent);
    world.tick(1);
    world.now += SignedDuration::from_secs(90);
    // Their replica could make no offers, and has just come back.
    let back = world.now;
    world.members.iter_mut().for_each(|member| member.seen.reachable_since = back);
    world.lead();
    for _ in 0..60 {
        assert_eq!(world.tick(1), State::Progressing, "{}", world.status.message);
    }
    world.run_until(State::RolledBack);
}

/// A replica dies with all canaries before any has answered. Until its Lease runs out nobody knows, and the time for an
/// answer passes; until its agents are given up nobody can tell; and then they come back.
#[test]
fn replica_that_dies_before_any_verdict_is_no_verdict_itself() {
    let mut world = World::with_stable(100);
    world.all(Manner::Silent);
    world.tick(1);
    let cohort = world.cohort();
    assert_eq!(cohort.len(), 2);
    world.tick(50);
    world.watched_until = Some(world.now);
    for _ in 0..15 {
        assert_eq!(world.tick(1), State::Progressing, "{}", world.status.message);
    }
    world.watched_until = None;
    for index in cohort.clone() {
        world.members[index].seen.connected = false;
        world.members[index].seen.unreachable = Some(world.now);
    }
    for _ in 0..30 {
        assert_eq!(world.tick(60), State::Progressing, "{}", world.status.message);
        assert_eq!((world.status.agents.failed, world.running("r-2"), world.cohort().len()), (0, 0, 2));
    }
    assert!(world.is_stalled(Reason::ProgressDeadlineExceeded), "{}", world.status.message);
    world.all(Manner::Good);
    for index in cohort {
        world.members[index].seen.unreachable = None;
        world.reconnect(index);
    }
    world.run_until(State::Completed);
    assert_eq!((world.status.agents.failed, world.running("r-2")), (0, 100));
}

#[test]
fn agents_that_a_living_replica_saw_wait_in_vain_have_failed() {
    let mut world = World::with_stable(100);
    world.all(Manner::Silent);
    world.tick(1);
    world.tick(59);
    world.watched_until = Some(world.now);
    assert_eq!(world.tick(2), State::Progressing, "{}", world.status.message);
    world.watched_until = Some(world.now);
    assert_ne!(world.tick(1), State::Progressing, "{}", world.status.message);
}

/// A leader that has just taken over does not know which of the replicas that it finds have died before.
#[test]
fn nobody_has_failed_by_time_alone_before_the_leader_has_seen_who_is_alive() {
    for gone in [false, true] {
        let mut world = World::with_stable(100);
        if !gone {
            world.all(Manner::Silent);
        }
        world.tick(1);
        if gone {
            world.cohort().into_iter().for_each(|index| world.disconnect(index));
        }
        world.watched_until = Some(jiff::Timestamp::MIN);
        for _ in 0..10 {
            let state = world.tick(60);
            assert!(matches!(state, State::Progressing | State::Soaking), "{}", world.status.message);
            assert_eq!(world.status.agents.failed, 0);
        }
        world.watched_until = None;
        world.run_until(State::RolledBack);
    }
}

/// The agents of a replica that died do not come back: what is left of the phase decides, and what is decided there is
/// about the revision.
#[test]
fn revision_that_is_bad_is_rolled_back_though_some_agents_are_out_of_reach() {
    let mut world = World::with_stable(100);
    world.bad.insert("r-2".into());
    world.tick(1);
    let cohort = world.cohort();
    world.members[cohort[0]].seen.connected = false;
    world.members[cohort[0]].seen.unreachable = Some(world.now);
    world.members[cohort[1]].manner = Manner::Refuses;
    world.run_until(State::RolledBack);
    assert_eq!(world.status.agents.failed, 1);
}

/// One of two canaries has come to a replica of a newer version, whose format of slices is not known here.
#[test]
fn agents_that_a_newer_version_tells_of_are_there_and_neither_lost_nor_failed_nor_good() {
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    let canary = world.cohort()[0];
    let known = world.members[canary].seen.clone();
    let agent = &mut world.members[canary].seen;
    (agent.newer, agent.running, agent.healthy, agent.since) = (true, None, None, world.now);
    (agent.accepts_config, agent.reports_config) = (false, false);
    for _ in 0..30 {
        world.tick(60);
        assert_eq!((world.status.agents.failed, world.running("r-1")), (0, 98), "the phase waits");
        assert_eq!((world.status.agents.total, world.status.agents.incompatible), (100, 0));
    }
    assert!(world.is_stalled(Reason::ProgressDeadlineExceeded), "{}", world.status.message);
    (world.members[canary].seen.connected, world.members[canary].seen.since) = (false, world.now);
    for _ in 0..5 {
        world.tick(60);
        assert_eq!(world.status.agents.failed, 0, "not even when it leaves");
    }
    world.members[canary].seen = known;
    world.run_until(State::Completed);
}

/// An older leader among the decisions of a newer one.
#[test]
fn status_that_a_newer_version_decides_by_is_left_as_it_is() {
    use crate::api::{Cohort, PhaseOutcome, Stage};
    let mut world = World::with_stable(100);
    world.run_until(State::Soaking);
    let known = world.status.clone();
    let cohort = known.cohort.clone().expect("a cohort");
    world.status.phases[3].outcome = PhaseOutcome::Unknown;
    world.tick(60);
    assert_eq!(world.status.phases[3].outcome, PhaseOutcome::Unknown, "only told, and it goes on");
    let mut current = known.clone();
    current.phases[0].outcome = PhaseOutcome::Unknown;
    let stage = Some(Cohort { stage: Stage::Unknown, ..cohort });
    for newer in [
        ConfigRolloutStatus { state: State::Unknown, ..known.clone() },
        ConfigRolloutStatus { cohort: stage, ..known },
        current,
    ] {
        world.status = newer.clone();
        world.all(Manner::Silent);
        world.ask("abort", "now");
        world.lead();
        assert_eq!(world.status, newer);
        assert!(world.notices.is_empty(), "the newer version answers");
    }
}
