//! What a step of a rollout depends on.

use super::crowd::{Attempted, Crowd};
use crate::api::{ConfigRolloutStatus, DRY_RUN_ANNOTATION, Reason, RevisionState, Strategy};
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

    /// Whether new content is only planned.
    pub(super) fn is_dry_run(&self) -> bool {
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
