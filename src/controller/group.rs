//! Reconciles a `CollectorGroup`: derives its assignment from the rollout that holds it, counts, writes.

use super::context::{Error, Guarded, Leader, entropy, hashes, holder_of, readable, write_if_leading};
use super::revision;
use crate::api::{AssignmentStatus, CollectorGroup, CollectorGroupStatus, ConfigRolloutStatus};
use crate::cluster::Written;
use crate::fleet::Treatments;
use crate::rollout::{GroupInput, group_status};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Brings a group's status in line with its rollout and its agents.
///
/// # Errors
/// When the API server does not answer as wanted; it is tried again.
pub async fn reconcile(guarded: Arc<Guarded<CollectorGroup>>, leader: Arc<Leader>) -> Result<Action, Error> {
    let Some(group) = readable(&guarded) else { return Ok(Action::await_change()) };
    let (namespace, name) = (group.namespace().unwrap_or_default(), group.name_any());
    let Some(agents) = leader.observatory.agents(&namespace) else { return Ok(Action::await_change()) };
    if !leader.stores.are_ready() {
        return Ok(Action::await_change());
    }
    let prior = group.status.clone().unwrap_or_default();
    let rollout = rollout_status(&leader, &namespace, &name);
    let named = [
        rollout.as_ref().and_then(|status| status.target_revision.clone()),
        rollout.as_ref().and_then(|status| status.stable_revision.clone()),
    ];
    let before = prior.assignment.as_ref().map(AssignmentStatus::revisions).unwrap_or_default();
    let named: BTreeSet<String> = named.into_iter().flatten().chain(before).collect();
    let mut next = group_status(&GroupInput {
        name: &name,
        generation: group.metadata.generation.unwrap_or_default(),
        prior: &prior,
        rollout: rollout.as_ref(),
        needs: &leader.needs(&namespace, named.iter().map(String::as_str)),
        revisions: &hashes(&leader.revisions(&namespace)),
        apply_timeout: None,
        agents: &agents,
        treatments: &Treatments::new(),
        max_attempts: group.spec.drift.correction.max_attempts,
        offline_after: group.spec.offline_after.get(),
        adoption_soaks: &leader.adoption_soaks,
        watched_until: leader.observatory.watched_until(),
        entropy: entropy()?,
        now: Timestamp::now(),
    });
    next.leader_term = Some(leader.term);
    // Only time brings an adoption on when no agent does.
    let adopting = next.assignment.as_ref().is_some_and(|assignment| assignment.adoption.is_some());
    let idle = if adopting { Action::requeue(leader.status_interval) } else { Action::await_change() };
    if prior == next {
        return Ok(idle);
    }
    own_revisions(&leader, group, &next).await?;
    Ok(write(&leader, group, &prior, &next).await?.unwrap_or(idle))
}

fn rollout_status(leader: &Leader, namespace: &str, group: &str) -> Option<ConfigRolloutStatus> {
    let holder = holder_of(leader, namespace, group)?;
    let rollout = leader.stores.rollouts.get(&ObjectRef::new(&holder).within(namespace))?;
    Some(rollout.0.as_ref().ok()?.status.clone().unwrap_or_default())
}

/// A revision that is target or stable belongs to the group as well, before anybody acts on it: deleting the
/// rollout then leaves it.
async fn own_revisions(
    leader: &Leader,
    group: &CollectorGroup,
    next: &CollectorGroupStatus,
) -> Result<(), Error> {
    let namespace = group.namespace().unwrap_or_default();
    for name in next.assignment.as_ref().map(AssignmentStatus::revisions).unwrap_or_default() {
        let known = leader.revision(&namespace, &name);
        let Some(revision) = known.as_ref().and_then(|guarded| guarded.0.as_ref().ok()) else { continue };
        if leader.may_write() {
            revision::add_owner(&leader.client, revision, &revision::owner(group)).await?;
        }
    }
    Ok(())
}

async fn write(
    leader: &Leader,
    group: &CollectorGroup,
    prior: &CollectorGroupStatus,
    next: &CollectorGroupStatus,
) -> Result<Option<Action>, Error> {
    let id = format!("group/{}", group.uid().unwrap_or_default());
    if let Some(wait) = leader.hold_back(&id, prior.assignment != next.assignment) {
        return Ok(Some(Action::requeue(wait)));
    }
    let api: Api<CollectorGroup> =
        Api::namespaced(leader.client.clone(), &group.namespace().unwrap_or_default());
    match write_if_leading(leader, &api, group, prior, next).await? {
        Written::Yes | Written::Unchanged => {}
        // The watch brings the newer object; where it was the Lease, nothing would call again.
        Written::Conflict => return Ok(Some(Action::requeue(leader.status_interval))),
        Written::Deposed => leader.step_down(),
    }
    Ok(None)
}
