//! The two live revisions of a group, as the leader compares agents with them.

use super::{Cohort, InstanceUid, ObservedAgent, Restart, Side, Sides, Treatment, side};
use crate::api::AssignmentStatus;
use crate::config::{ConfigHash, Inventory};
use std::collections::BTreeMap;

/// What each agent of a group is to run. Replicas come to the same from the same assignment
/// ([`assigned`](super::assigned)).
pub struct Live<'a> {
    /// What decides an agent's side.
    pub sides: Sides,
    /// The component types in the target.
    pub target_needs: Option<&'a Inventory>,
    /// The component types in the stable revision.
    pub stable_needs: Option<&'a Inventory>,
    cohort: Option<Cohort>,
}

impl<'a> Live<'a> {
    /// From a group's assignment, with the hashes of the revisions that exist and the component types in them, by name.
    pub fn new(
        assignment: &AssignmentStatus,
        revisions: &BTreeMap<String, ConfigHash>,
        needs: &'a BTreeMap<String, Inventory>,
    ) -> Self {
        let hash = |name: &Option<String>| name.as_ref().and_then(|name| revisions.get(name)).copied();
        let needs = |name: &Option<String>| name.as_ref().and_then(|name| needs.get(name));
        Self {
            sides: Sides {
                target: hash(&assignment.target),
                stable: hash(&assignment.stable),
                rolling_back: assignment.rolling_back,
                retried_at: assignment.retried_at.as_ref().map(|time| time.0),
            },
            target_needs: needs(&assignment.target),
            stable_needs: needs(&assignment.stable),
            cohort: Cohort::read(&assignment.seed, &assignment.terms),
        }
    }

    /// The content that an agent is to run by the group's assignment.
    pub fn assigned(&self, agent: &ObservedAgent) -> Option<ConfigHash> {
        let in_cohort = || {
            let inside = |cohort: &Cohort| cohort.contains(agent.uid, |ring| agent.is_in(ring));
            self.cohort.as_ref().is_some_and(inside) && !agent.lacks(self.target_needs)
        };
        match side(&self.sides, in_cohort, &agent.ledger)? {
            Side::Target => self.sides.target,
            Side::Stable => self.stable_for(agent),
        }
    }

    /// The stable revision, if this agent can run it.
    fn stable_for(&self, agent: &ObservedAgent) -> Option<ConfigHash> {
        self.sides.stable.filter(|_| !agent.lacks(self.stable_needs))
    }

    /// All that there is to know of what an agent is to run.
    pub fn to_run(&self, agent: &ObservedAgent, treatment: Option<&Treatment>) -> ToRun {
        let assigned = self.assigned(agent);
        let fallback = self.stable_for(agent).filter(|stable| Some(*stable) != assigned);
        let sent_back =
            treatment.is_some_and(|treatment| treatment.sent_back && Some(treatment.of) == assigned);
        ToRun { assigned, wanted: if sent_back { fallback } else { assigned }, fallback }
    }
}

/// What one agent is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToRun {
    /// The content that its group assigns to it.
    pub assigned: Option<ConfigHash>,
    /// The content that it is to run in the end: the same, unless it has been sent back to stable by itself.
    pub wanted: Option<ConfigHash>,
    /// What it can have instead if the target made it ill: nothing once the target is the stable revision, or where it
    /// cannot run that one. Then it keeps what it runs.
    pub fallback: Option<ConfigHash>,
}

/// Treatments by agent.
pub type Treatments = BTreeMap<InstanceUid, Treatment>;

/// Restarts that a person asked for, by agent.
pub type Restarts = BTreeMap<InstanceUid, Restart>;
