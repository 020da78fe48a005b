//! One step of a rollout: what its status is to be, given what is known now.

use super::attempt::{self, Attempt};
use super::conditions::{Verdict, conditions};
use super::crowd::{Attempted, Crowd};
use super::plan::Plan;
use super::requests::{self, Asked};
use super::{message, phases, plan, tally, undo};
use crate::api::{
    ConfigRolloutStatus, DRY_RUN_ANNOTATION, Reason, RevisionState, RolloutState, Stage, Strategy,
};
use crate::config::{ConfigHash, Inventory};
use crate::fleet::ObservedAgent;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that a step depends on.
pub struct Input<'a> {
    /// The generation of the rollout's spec.
    pub generation: i64,
    /// How carefully to go.
    pub strategy: &'a Strategy,
    /// Whether a person has paused the rollout.
    pub paused: bool,
    /// The rollout's annotations, for requests.
    pub annotations: &'a BTreeMap<String, String>,
    /// The status as it stands.
    pub prior: &'a ConfigRolloutStatus,
    /// The group, and what the spec's content came to.
    pub group: GroupFacts,
    /// The revisions that exist, by name.
    pub revisions: &'a BTreeMap<String, RevisionFacts>,
    /// The component types that revisions need, by name, as far as they are known: of the target, and of what the
    /// content is.
    pub needs: &'a BTreeMap<String, Inventory>,
    /// The group's agents, as all replicas see them.
    pub agents: &'a [ObservedAgent],
    /// An agent's heartbeat, or the interval of its polls, as it is assumed.
    pub assumed_interval: Duration,
    /// How long the agents of a replica that died are waited for.
    pub unreachable_for: Duration,
    /// Until when every living replica is known to have watched its agents.
    pub watched_until: Option<Timestamp>,
    /// Entropy for the seed of a new attempt.
    pub entropy: u64,
    /// The time.
    pub now: Timestamp,
}

impl Input<'_> {
    /// The group's agents as a revision meets them that was not begun with, or as an attempt with it does.
    pub(super) fn crowd(&self, revision: Option<&str>, attempt: Option<&ConfigRolloutStatus>) -> Crowd<'_> {
        let began = attempt
            .and_then(|status| status.phases.iter().filter_map(|phase| phase.started_at.as_ref()).min());
        let retried_at = attempt.and_then(|status| status.cohort.as_ref()?.retried_at.as_ref());
        let known = revision.and_then(|name| self.revisions.get(name));
        Crowd {
            agents: self.agents,
            needs: revision.and_then(|name| self.needs.get(name)),
            attempt: known.map(|known| Attempted {
                hash: known.hash,
                began: began.map_or(self.now, |time| time.0),
                retried_at: retried_at.map(|time| time.0),
            }),
        }
    }

    fn is_dry_run(&self) -> bool {
        self.annotations.get(DRY_RUN_ANNOTATION).is_some_and(|value| value == "true")
    }
}

/// What a rollout needs to know of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionFacts {
    /// The hash of its content.
    pub hash: ConfigHash,
    /// Its number.
    pub number: i64,
    /// What became of it.
    pub state: RevisionState,
    /// Whether it is the rollout's own; the others are of other rollouts.
    pub own: bool,
}

/// What a rollout's content came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Something that it refers to does not exist yet; says what.
    Missing(String),
    /// It must not be sent; says why.
    Invalid(Reason, String),
    /// It is a revision.
    Revision {
        /// The revision's name.
        name: String,
        /// Whether an earlier attempt with it failed.
        rejected: bool,
    },
}

/// What a rollout needs to know of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupFacts {
    /// It does not exist.
    Missing(String),
    /// An older rollout holds it; its name.
    Taken(String),
    /// This rollout holds it.
    Held {
        /// What the rollout's content came to.
        content: Content,
        /// The group's last known good revision.
        stable: Option<String>,
        /// Silence that means gone, for its agents.
        offline_after: Duration,
    },
}

impl GroupFacts {
    /// The revision that the rollout's content is.
    pub fn wanted(&self) -> Option<&str> {
        match self {
            Self::Held { content: Content::Revision { name, .. }, .. } => Some(name),
            _ => None,
        }
    }
}

/// What a step came to.
pub struct Next {
    /// The new status.
    pub status: ConfigRolloutStatus,
    /// What to tell of requests: whether they were carried out, and why not.
    pub notices: Vec<Asked>,
}

/// What the status is to say.
pub(super) struct Outcome {
    pub state: RolloutState,
    pub reason: Reason,
    pub stalled: bool,
    pub message: String,
}

impl Outcome {
    pub(super) fn new(state: RolloutState, reason: Reason, message: impl Into<String>) -> Self {
        Self { state, reason, stalled: false, message: message.into() }
    }

    pub(super) fn stalled(self) -> Self {
        Self { stalled: true, ..self }
    }
}

/// The status after one step. Calling it again with what it returned changes nothing, as long as nothing else
/// does.
pub fn step(input: &Input<'_>) -> Next {
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
    status.state = outcome.state;
    status.message = outcome.message;
    status.conditions = conditions(
        std::mem::take(&mut status.conditions),
        input.generation,
        input.now,
        &Verdict {
            state: status.state,
            reason: outcome.reason,
            stalled: outcome.stalled,
            message: &status.message,
        },
    );
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
    let retried = rejected && attempt::was_asked(notices, &requests::Request::Retry);
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
