//! One step of a rollout: what its status is to be, given what is known now.

use super::attempt::{self, Attempt};
use super::conditions::{Outcome, conditions};
use super::input::{Content, GroupFacts, Input};
use super::plan::Plan;
use super::requests::{self, Asked, Request, was_asked};
use super::{message, phases, plan, tally, undo};
use crate::api::{ConfigRolloutStatus, DRY_RUN_ANNOTATION, Reason, RolloutState, Stage};

/// What a step came to.
pub struct Next {
    /// The new status.
    pub status: ConfigRolloutStatus,
    /// What to tell of requests: whether they were carried out, and why not.
    pub notices: Vec<Asked>,
}

/// The status after one step. Calling it again with what it returned changes nothing, as long as nothing else
/// does. A status of a newer version that decides by what is not known here is left as it is.
pub fn step(input: &Input<'_>) -> Next {
    if input.prior.is_newer() {
        return Next { status: input.prior.clone(), notices: Vec::new() };
    }
    let mut status = input.prior.clone();
    status.observed_generation = Some(input.generation);
    let target = status.target_revision.clone();
    let revisions = requests::Revisions {
        target: target.as_deref(),
        wanted: input.group.wanted(),
        pinned: status.pinned.is_some(),
    };
    let mut notices = requests::take(input.annotations, &mut status.handled, revisions);
    plan::forget(&mut status);
    let outcome = decide(input, &mut status, &mut notices);
    let prior = std::mem::take(&mut status.conditions);
    status.conditions = conditions(prior, input.generation, input.now, &outcome);
    status.state = outcome.state;
    status.message = outcome.message;
    Next { status, notices }
}

fn decide(input: &Input<'_>, status: &mut ConfigRolloutStatus, notices: &mut [Asked]) -> Outcome {
    match &input.group {
        GroupFacts::Missing(name) => {
            attempt::refuse_all(notices, "the group does not exist");
            attempt::refuse_undo(notices, "the group does not exist");
            let text = format!("CollectorGroup {name} does not exist in this namespace; create it");
            Outcome::new(RolloutState::Pending, Reason::GroupNotFound, text)
        }
        GroupFacts::Taken(by) => {
            attempt::refuse_all(notices, "another rollout holds the group");
            attempt::refuse_undo(notices, "another rollout holds the group");
            let text = format!("rollout {by} is older and holds the group; delete one of the two");
            Outcome::new(RolloutState::Pending, Reason::GroupTaken, text).stalled()
        }
        GroupFacts::Held { content, stable, offline_after } => {
            // A later rollout inherits the group's. Once there is one, the rollout's own counts: the group's is
            // derived from it, and may be behind.
            if status.stable_revision.is_none() {
                status.stable_revision.clone_from(stable);
            }
            let attempt = Attempt { input, offline_after: *offline_after };
            let content = undo::settle(status, content, input.revisions, notices);
            let outcome = hold(&attempt, status, &content, notices);
            Outcome { message: undo::explain(outcome.message, status.pinned.as_ref()), ..outcome }
        }
    }
}

/// Decides by the content, once the group is held. Whatever that came to, the attempt under way goes on: gates
/// guard the agents that have its target.
fn hold(
    attempt: &Attempt<'_>,
    status: &mut ConfigRolloutStatus,
    content: &Content,
    notices: &mut [Asked],
) -> Outcome {
    match content {
        Content::Revision { name, rejected } if status.target_revision.as_ref() != Some(name) => {
            if status.pinned.is_none() && attempt.input.is_dry_run() {
                return foresee(attempt, status, name, *rejected, notices);
            }
            start(attempt, status, name, *rejected, notices)
        }
        Content::Revision { .. } => attempt.advance(status, notices),
        Content::Missing(what) => {
            attempt.advance(status, notices);
            let text = format!("{what} does not exist; the rollout starts when it appears");
            Outcome::new(RolloutState::Pending, Reason::SourceNotFound, text)
        }
        Content::Invalid(reason, why) => {
            attempt.advance(status, notices);
            Outcome::new(RolloutState::Invalid, *reason, format!("not sent: {why}"))
        }
    }
}

/// Says what other content would do, and does nothing of it; the attempt under way goes on.
fn foresee(
    attempt: &Attempt<'_>,
    status: &mut ConfigRolloutStatus,
    revision: &str,
    rejected: bool,
    notices: &mut [Asked],
) -> Outcome {
    if let Some(falling) = falling(attempt, status, notices) {
        return falling;
    }
    let input = attempt.input;
    let why = format!("{revision} waits as a dry run; remove annotation {DRY_RUN_ANNOTATION} first");
    attempt::refuse_retry(notices, &why);
    let goes_on = attempt.advance(status, notices).message;
    let hash = input.revisions.get(revision).map(|revision| revision.hash);
    let plan = Plan::new(input.strategy, hash, &input.crowd(Some(revision), None));
    plan.write(status);
    let mut text = format!("dry run of {revision}: {}", plan.describe());
    if rejected {
        text += "; it was rejected before, so it will need annotation fleet.opamp.dev/retry";
    }
    if is_under_way(status) {
        let target = status.target_revision.as_deref().unwrap_or_default();
        text = format!("{text}; meanwhile {target}: {goes_on}");
    }
    Outcome::new(RolloutState::Paused, Reason::DryRun, text)
}

/// Phases that want less and less cannot be gone through; the attempt under way goes on.
fn falling(
    attempt: &Attempt<'_>,
    status: &mut ConfigRolloutStatus,
    notices: &mut [Asked],
) -> Option<Outcome> {
    let phase = attempt.input.strategy.falling_phase()?;
    attempt::refuse_retry(notices, "the phases cannot be gone through");
    attempt.advance(status, notices);
    let text = format!(
        "phase {} has fewer agents than the one before it: shares are cumulative, so raise it",
        phase.name
    );
    Some(Outcome::new(RolloutState::Invalid, Reason::InvalidPhases, text))
}

/// Starts an attempt with other content, if it may be tried and there is anybody to reach.
fn start(
    attempt: &Attempt<'_>,
    status: &mut ConfigRolloutStatus,
    revision: &str,
    rejected: bool,
    notices: &mut [Asked],
) -> Outcome {
    let retried = rejected && was_asked(notices, &Request::Retry);
    if rejected && !retried {
        attempt.advance(status, notices);
        let text = format!(
            "revision {revision} was rejected before; annotate fleet.opamp.dev/retry to try it again"
        );
        return Outcome::new(RolloutState::Pending, Reason::RevisionRejected, text).stalled();
    }
    if let Some(falling) = falling(attempt, status, notices) {
        return falling;
    }
    let counts = tally(&attempt.input.crowd(Some(revision), None), None, None).counts;
    if !attempt.input.strategy.phases.iter().any(|phase| phases::can_reach(phase, &counts)) {
        attempt::refuse_retry(notices, "no agent of the group is reachable");
        attempt.advance(status, notices);
        return Outcome::new(RolloutState::Pending, Reason::NoReachableAgents, message::nobody(&counts));
    }
    if !retried {
        attempt::refuse_all(notices, "an attempt with other content has just begun");
    }
    attempt.begin(status, revision, retried);
    attempt.advance(status, &mut [])
}

/// Whether an attempt goes through its phases or back: then time alone changes what is to be done.
pub fn is_under_way(status: &ConfigRolloutStatus) -> bool {
    let stage = status.cohort.as_ref().map(|cohort| cohort.stage);
    matches!(stage, Some(Stage::Running | Stage::RollingBack))
}
