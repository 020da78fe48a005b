//! One step of a rollout: what its status is to be, given what is known now.

use super::conditions::{Verdict, conditions};
use super::{count, message};
use crate::api::{Cohort, ConfigRolloutStatus, Reason, RolloutAgentCounts, RolloutState, Term};
use crate::config::ConfigHash;
use crate::fleet::{self, ObservedAgent, Rank, Seed};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Everything that a step depends on.
pub struct Input<'a> {
    /// The generation of the rollout's spec.
    pub generation: i64,
    /// The status as it stands.
    pub prior: &'a ConfigRolloutStatus,
    /// The group, and what the spec's content came to.
    pub group: GroupFacts,
    /// The hashes of the revisions that exist, by name.
    pub revisions: &'a BTreeMap<String, ConfigHash>,
    /// The group's agents, as all replicas see them.
    pub agents: &'a [ObservedAgent],
    /// Entropy for the seed of a new attempt.
    pub entropy: u64,
    /// The time.
    pub now: Timestamp,
}

/// What a rollout's content came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Something that it refers to does not exist yet; says what.
    Missing(String),
    /// It must not be sent; says why.
    Invalid(Reason, String),
    /// It is the revision of this name.
    Revision(String),
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
    },
}

/// The status after one step. Calling it again with what it returned changes nothing, as long as nothing else
/// does.
pub fn step(input: &Input<'_>) -> ConfigRolloutStatus {
    let mut next = input.prior.clone();
    next.observed_generation = Some(input.generation);
    let outcome = decide(input, &mut next);
    next.state = outcome.state;
    next.message = outcome.message;
    next.conditions = conditions(
        std::mem::take(&mut next.conditions),
        input.generation,
        input.now,
        &Verdict {
            state: next.state,
            reason: outcome.reason,
            stalled: outcome.stalled,
            message: &next.message,
        },
    );
    next
}

struct Outcome {
    state: RolloutState,
    reason: Reason,
    stalled: bool,
    message: String,
}

impl Outcome {
    fn new(state: RolloutState, reason: Reason, message: String) -> Self {
        Self { state, reason, stalled: false, message }
    }

    fn stalled(self) -> Self {
        Self { stalled: true, ..self }
    }
}

fn decide(input: &Input<'_>, next: &mut ConfigRolloutStatus) -> Outcome {
    match &input.group {
        GroupFacts::Missing(name) => {
            recount(input, next);
            let text = format!("CollectorGroup {name} does not exist in this namespace; create it");
            Outcome::new(RolloutState::Pending, Reason::GroupNotFound, text)
        }
        GroupFacts::Taken(by) => {
            let text = format!("rollout {by} is older and holds the group; delete one of the two");
            Outcome::new(RolloutState::Pending, Reason::GroupTaken, text).stalled()
        }
        GroupFacts::Held { content, stable } => {
            // A later rollout inherits the group's. Once there is one, the rollout's own counts: the group's is
            // derived from it, and may be behind.
            if next.stable_revision.is_none() {
                next.stable_revision.clone_from(stable);
            }
            hold(input, next, content)
        }
    }
}

/// Decides by the content, once the group is held.
fn hold(input: &Input<'_>, next: &mut ConfigRolloutStatus, content: &Content) -> Outcome {
    match content {
        Content::Missing(what) => {
            recount(input, next);
            let text = format!("{what} does not exist; the rollout starts when it appears");
            Outcome::new(RolloutState::Pending, Reason::SourceNotFound, text)
        }
        Content::Invalid(reason, why) => {
            recount(input, next);
            Outcome::new(RolloutState::Invalid, *reason, format!("not sent: {why}"))
        }
        Content::Revision(name) if next.target_revision.as_ref() == Some(name) => advance(input, next),
        Content::Revision(name) => start(input, next, name),
    }
}

/// Starts an attempt with other content, if there is anybody to reach.
fn start(input: &Input<'_>, next: &mut ConfigRolloutStatus, revision: &str) -> Outcome {
    let counts = recount(input, next);
    if counts.eligible == 0 {
        return Outcome::new(RolloutState::Pending, Reason::NoReachableAgents, message::nobody(&counts));
    }
    let attempt = next.cohort.as_ref().map_or(0, |cohort| cohort.attempt) + 1;
    next.target_revision = Some(revision.to_owned());
    // The one phase of today: everybody, later joiners too.
    let everybody = Term { phase: "full".to_owned(), selector: None, boundary: Rank::ALL.to_string() };
    next.cohort =
        Some(Cohort { attempt, seed: Seed::new(input.entropy).to_string(), terms: vec![everybody] });
    next.state = RolloutState::Progressing;
    advance(input, next)
}

/// Judges the running attempt. Completed is final for a content: agents that fall ill later are the group's
/// matter.
fn advance(input: &Input<'_>, next: &mut ConfigRolloutStatus) -> Outcome {
    let counts = recount(input, next);
    let completed = |next: &ConfigRolloutStatus| next.state == RolloutState::Completed;
    if !completed(next) && is_complete(&counts) {
        next.state = RolloutState::Completed;
    }
    if completed(next) {
        next.stable_revision.clone_from(&next.target_revision);
        return Outcome::new(RolloutState::Completed, Reason::Completed, message::completed(&counts));
    }
    let outcome = Outcome::new(RolloutState::Progressing, Reason::Progressing, message::progressing(&counts));
    if counts.failed > 0 && counts.pending == 0 {
        return Outcome { reason: Reason::AgentsFailed, message: message::failed(&counts), ..outcome }
            .stalled();
    }
    outcome
}

/// Complete: somebody is there, and everybody that is there applied the target and is healthy.
fn is_complete(counts: &RolloutAgentCounts) -> bool {
    counts.targeted > 0 && counts.updated == counts.targeted && counts.healthy == counts.targeted
}

/// Counts the agents against the target as it stands in `next`.
fn recount(input: &Input<'_>, next: &mut ConfigRolloutStatus) -> RolloutAgentCounts {
    let target = next.target_revision.as_ref().and_then(|name| input.revisions.get(name)).copied();
    let cohort = next.cohort.as_ref().and_then(|cohort| fleet::Cohort::read(&cohort.seed, &cohort.terms));
    let (counts, failures) = count(input.agents, target, cohort.as_ref());
    next.progress = format!("{}/{}", counts.updated, counts.eligible);
    next.agents = counts.clone();
    next.failures = failures;
    counts
}
