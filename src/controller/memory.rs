//! Forgets: agents that have been away for too long are in no count, and slices of dead replicas that say nothing any
//! more are deleted.

use super::context::{Leader, hashes, readable};
use crate::api::{AssignmentStatus, CollectorGroup};
use crate::cluster::delete_slice;
use crate::config::ConfigHash;
use crate::fleet::{Memory, ObservedAgent, outlived};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeMap;
use std::sync::Arc;

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
        let mut memories: BTreeMap<Option<&str>, Memory> = BTreeMap::new();
        let lost: Vec<bool> = agents
            .iter()
            .map(|agent| {
                let group = agent.group.as_deref();
                !agent.connected
                    && memories
                        .entry(group)
                        .or_insert_with(|| self.memory(namespace, group))
                        .has_lost(agent, now)
            })
            .collect();
        if !lost.contains(&true) {
            return Some(agents);
        }
        let kept = agents.iter().zip(lost).filter(|(_, lost)| !lost).map(|(agent, _)| agent.clone());
        Some(kept.collect())
    }

    /// What is remembered of the agents of a group. Of one that cannot be read nothing is known, so nothing is forgotten.
    fn memory(&self, namespace: &str, group: Option<&str>) -> Memory {
        let Some(name) = group else { return Memory::default() };
        let Some(group) = self.stores.groups.get(&ObjectRef::new(name).within(namespace)) else {
            return Memory::default();
        };
        let Some(group) = readable(&group) else {
            return Memory { forget_after: std::time::Duration::MAX, ..Memory::default() };
        };
        let assignment =
            group.status.as_ref().and_then(|status| status.assignment.clone()).unwrap_or_default();
        of(group, &assignment, &hashes(&self.revisions(namespace)))
    }

    /// Deletes the slices of dead replicas that say nothing any more.
    pub(super) async fn sweep(&self) {
        if !self.stores.are_ready() {
            return;
        }
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
    }
}
