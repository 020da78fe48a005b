//! What a step of a rollout brought about that has a duration: a function of the status before it and after it, so that
//! each counts once, whoever leads.

use crate::api::{ConfigRolloutStatus, PhaseOutcome, RolloutAgentCounts, Stage};
use jiff::Timestamp;
use std::time::Duration;

/// The shares of the eligible agents that are watched for, in percent.
const SHARES: [i64; 3] = [50, 99, 100];

/// Something that took its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// This share of the eligible agents, in percent, has applied the target: counted from the attempt's beginning.
    Applied(i64, Duration),
    /// A phase has passed, or has failed: counted from its beginning.
    PhaseEnded(PhaseOutcome, Duration),
    /// The attempt has ended in this stage.
    Ended(Stage),
    /// The attempt before was under way, and another one has begun in its place.
    Superseded,
}

/// How far an attempt ever came. The status says how far it is now, and a leader remembers the rest: agents that come,
/// go and come again reach a share once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Furthest {
    attempt: i64,
    share: i64,
}

/// What the change from one status to the next brought about, and how far the attempt has come by it.
pub fn milestones(
    furthest: Furthest,
    prior: &ConfigRolloutStatus,
    next: &ConfigRolloutStatus,
    now: Timestamp,
) -> (Furthest, Vec<Milestone>) {
    let Some(attempt) = next.cohort.as_ref().map(|cohort| cohort.attempt) else {
        return (furthest, Vec::new());
    };
    let before = Some(prior).filter(|prior| prior.cohort.as_ref().is_some_and(|was| was.attempt == attempt));
    let mut reached = phases(before, next, now);
    if before.is_none() && is_under_way(prior) {
        reached.push(Milestone::Superseded);
    }
    let known = if furthest.attempt == attempt { furthest.share } else { 0 };
    let from =
        before.filter(|before| goes_on(before)).map_or(known, |before| known.max(share(&before.agents)));
    let to = if before.is_none_or(goes_on) { share(&next.agents) } else { from };
    if let Some(began) = began(next) {
        let newly = SHARES.into_iter().filter(|share| (from + 1..=to).contains(share));
        reached.extend(newly.map(|share| Milestone::Applied(share, since(began, now))));
    }
    let stage = |status: &ConfigRolloutStatus| status.cohort.as_ref().map(|cohort| cohort.stage);
    let ended =
        stage(next).filter(|stage| matches!(stage, Stage::Completed | Stage::RolledBack | Stage::Halted));
    reached.extend(ended.filter(|_| before.and_then(stage) != ended).map(Milestone::Ended));
    (Furthest { attempt, share: from.max(to) }, reached)
}

/// The phases that have ended.
fn phases(
    before: Option<&ConfigRolloutStatus>,
    next: &ConfigRolloutStatus,
    now: Timestamp,
) -> Vec<Milestone> {
    let ended = next.phases.iter().filter_map(|phase| {
        let was =
            before.and_then(|before| before.phases.iter().find(|was| was.phase.name == phase.phase.name));
        let is_end = matches!(phase.outcome, PhaseOutcome::Passed | PhaseOutcome::Failed);
        let is_new = was.map(|was| was.outcome) != Some(phase.outcome);
        let began = phase.started_at.as_ref().filter(|_| is_end && is_new)?;
        Some(Milestone::PhaseEnded(phase.outcome, since(began.0, now)))
    });
    ended.collect()
}

/// Whether there is an attempt that has not ended.
fn is_under_way(status: &ConfigRolloutStatus) -> bool {
    let stage = status.cohort.as_ref().map(|cohort| cohort.stage);
    matches!(stage, Some(Stage::Running | Stage::Held | Stage::RollingBack))
}

/// Whether more agents are to take the target.
fn goes_on(status: &ConfigRolloutStatus) -> bool {
    status.cohort.as_ref().is_some_and(|cohort| cohort.stage == Stage::Running)
}

/// The largest of [`SHARES`] that the agents have reached; 0: none.
fn share(agents: &RolloutAgentCounts) -> i64 {
    let is_reached = |share: &i64| {
        agents.eligible > 0 && agents.updated.saturating_mul(100) >= agents.eligible.saturating_mul(*share)
    };
    SHARES.into_iter().rev().find(is_reached).unwrap_or_default()
}

/// When the attempt began. A retry moves the cohort's time, and not that of a phase that had begun.
fn began(status: &ConfigRolloutStatus) -> Option<Timestamp> {
    let phases = status.phases.iter().filter_map(|phase| phase.started_at.as_ref());
    let stage = status.cohort.as_ref().and_then(|cohort| cohort.since.as_ref());
    phases.chain(stage).map(|time| time.0).min()
}

fn since(began: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(began)).unwrap_or_default()
}
