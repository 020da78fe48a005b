//! Forgets: agents that have been away for too long are in no count, and slices of dead replicas that say nothing any
//! more are deleted, and then their Leases.

use super::context::{Guarded, Leader, hashes, readable};
use crate::api::{AssignmentStatus, CollectorGroup, ConfigRollout};
use crate::cluster::{Whole, delete_lease, delete_slice};
use crate::config::ConfigHash;
use crate::fleet::{FORGET_UNGROUPED_AFTER, Memory, ObservedAgent, is_forgotten, outlived};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is remembered of a group's agents.
pub fn of(
    group: &CollectorGroup,
    assignment: &AssignmentStatus,
    revisions: &BTreeMap<String, ConfigHash>,
) -> Memory {
    let live = [&assignment.target, &assignment.stable].into_iter().flatten();
    Memory {
        forget_after: group.spec.forget_after.get(),
        live: live.filter_map(|name| revisions.get(name)).copied().collect(),
        retried_at: assignment.retried_at.as_ref().map(|time| time.0),
    }
}

impl Leader {
    /// The agents of a namespace, in order of group, without those that are forgotten; nothing while they are not known.
    pub(super) fn agents(&self, namespace: &str) -> Option<Arc<[ObservedAgent]>> {
        let agents = self.observatory.agents(namespace)?;
        let now = Timestamp::now();
        let mut patience: BTreeMap<Option<&str>, Duration> = BTreeMap::new();
        let mut is_lost = |agent: &ObservedAgent, group| {
            let known = patience.entry(group).or_insert_with(|| self.forget_after(namespace, group));
            is_forgotten(agent, *known, now)
        };
        let lost: Vec<bool> =
            agents.iter().map(|agent| !agent.connected && is_lost(agent, agent.group.as_deref())).collect();
        if !lost.contains(&true) {
            return Some(agents);
        }
        let kept = agents.iter().zip(lost).filter(|(_, lost)| !lost).map(|(agent, _)| agent.clone());
        Some(kept.collect())
    }

    /// How long a disconnected agent of a group is remembered.
    fn forget_after(&self, namespace: &str, group: Option<&str>) -> Duration {
        self.group(namespace, group).map_or(FORGET_UNGROUPED_AFTER, |group| {
            // Of a group that cannot be read nothing is known, so nothing is forgotten.
            readable(&group).map_or(Duration::MAX, |group| group.spec.forget_after.get())
        })
    }

    /// What is remembered of the agents of a group.
    fn memory(&self, namespace: &str, group: Option<&str>) -> Memory {
        let unread = || Memory { forget_after: self.forget_after(namespace, group), ..Memory::default() };
        let Some(found) = self.group(namespace, group) else { return unread() };
        let Some(group) = readable(&found) else { return unread() };
        let assignment =
            group.status.as_ref().and_then(|status| status.assignment.clone()).unwrap_or_default();
        of(group, &assignment, &hashes(&self.revisions(namespace)))
    }

    fn group(&self, namespace: &str, name: Option<&str>) -> Option<Arc<Guarded<Whole<CollectorGroup>>>> {
        self.stores.groups.get(&ObjectRef::new(name?).within(namespace))
    }

    /// Drops the turns of groups that are gone; one that a rollout still names may come again.
    fn forget_turns(&self) {
        let rollouts = self.stores.rollouts.state();
        let is_named = |namespace: &str, group: &str| {
            rollouts.iter().any(|rollout| {
                let of_it = |rollout: &Whole<ConfigRollout>| rollout.spec.group_name == group;
                rollout.namespace().as_deref() == Some(namespace) && readable(rollout).is_none_or(of_it)
            })
        };
        self.order.keep(|namespace, group| {
            self.group(namespace, Some(group)).is_some() || is_named(namespace, group)
        });
    }

    /// Deletes the slices of dead replicas that say nothing any more.
    pub(super) async fn sweep(&self) {
        if !self.stores.are_ready() {
            return;
        }
        self.forget_turns();
        let now = Timestamp::now();
        let outlived = self
            .observatory
            .outlived(|namespace, slices| outlived(slices, |group| self.memory(namespace, group), now));
        for slice in outlived {
            if !self.may_write() {
                return;
            }
            let (namespace, name) = (slice.namespace().unwrap_or_default(), slice.name_any());
            match delete_slice(&self.client, &slice).await {
                Ok(true) => tracing::info!(namespace, name, "deleted a dead replica's slice"),
                // It has changed: the watch brings it, and it is looked at again.
                Ok(false) => {}
                Err(error) => tracing::warn!(namespace, name, %error, "cannot delete slice"),
            }
        }
        self.sweep_leases().await;
    }

    /// Deletes the Leases of replicas that ended and have left nothing else.
    async fn sweep_leases(&self) {
        for lease in self.observatory.abandoned(self.unreachable_for) {
            if !self.may_write() {
                return;
            }
            let name = lease.name_any();
            match delete_lease(&self.client, &lease).await {
                Ok(true) => tracing::info!(name, "deleted a dead replica's lease"),
                // Its replica came back under the same name.
                Ok(false) => {}
                Err(error) => tracing::warn!(name, %error, "cannot delete lease"),
            }
        }
    }
}
