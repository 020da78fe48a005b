//! Reconciles a `ConfigRollout`: dereference, resolve, find or make its revision, step, write.

use super::announce::{announce, answer, notify_of_rollout};
use super::contents::content;
use super::context::{Error, Guarded, Leader, entropy, facts, holder_of, readable, write_if_leading};
use super::lock::lock;
use super::revision;
use crate::api::{ConfigRevision, ConfigRollout, ConfigRolloutStatus, RevisionState, Stage, UNDO_ANNOTATION};
use crate::cluster::{Whole, Written};
use crate::fleet::ObservedAgent;
use crate::rollout::{Content, GroupFacts, Input, Next, is_under_way, stalled, step};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is reconciled here, in metrics.
pub const KIND: &str = "ConfigRollout";

/// Brings a rollout one step on.
///
/// # Errors
/// When the API server does not answer as wanted; it is tried again.
pub async fn reconcile(
    guarded: Arc<Guarded<Whole<ConfigRollout>>>,
    leader: Arc<Leader>,
) -> Result<Action, Error> {
    let Some(rollout) = readable(&guarded) else { return Ok(Action::await_change()) };
    let namespace = rollout.namespace().unwrap_or_default();
    let Some(agents) = leader.agents(&namespace) else { return Ok(Action::await_change()) };
    if rollout.metadata.deletion_timestamp.is_some() || !leader.stores.are_ready() {
        return Ok(Action::await_change());
    }
    let is_left = rollout.is_newer();
    if leader.left.begins(&format!("rollout/{}", rollout.uid().unwrap_or_default()), is_left) {
        tracing::warn!(
            namespace,
            name = rollout.name_any(),
            "left to a newer version: it says what is not known here"
        );
    }
    if is_left {
        return Ok(Action::await_change());
    }
    let group = match group_facts(&leader, rollout).await? {
        Ok(group) => group,
        Err(later) => return Ok(later),
    };
    let wanted = group.wanted().map(str::to_owned);
    let prior = rollout.status.clone().unwrap_or_default();
    let known = leader.revisions(&namespace);
    // The step may go on with the target, or begin with what is wanted or with what an undo names.
    let live = [wanted.clone(), prior.target_revision.clone()].into_iter().flatten();
    let undoes = rollout.annotations().contains_key(UNDO_ANNOTATION);
    let named: BTreeSet<String> = live.chain(known.keys().filter(|_| undoes).cloned()).collect();
    let mut next = step(&Input {
        generation: rollout.metadata.generation.unwrap_or_default(),
        strategy: &rollout.spec.strategy,
        paused: rollout.spec.paused,
        annotations: rollout.annotations(),
        prior: &prior,
        group,
        needs: &leader.needs(&namespace, named.iter().map(String::as_str)),
        revisions: &facts(&known, &rollout.name_any()),
        agents: agents_of(&agents, &rollout.spec.group_name),
        assumed_interval: leader.assumed_interval,
        unreachable_for: leader.unreachable_for,
        watched_until: leader.observatory.watched_until(&namespace),
        entropy: entropy()?,
        now: Timestamp::now(),
    });
    next.status.leader_term = Some(leader.term);
    let action = write(&leader, rollout, &prior, &next, wanted.as_deref()).await?;
    prune(&leader, rollout, &next.status, wanted.as_deref(), &agents).await?;
    // Only time brings an attempt on when no agent does.
    Ok(if is_under_way(&next.status) { Action::requeue(leader.status_interval) } else { action })
}

/// A group's part of a namespace's agents, which come in order of group.
fn agents_of<'a>(agents: &'a [ObservedAgent], group: &str) -> &'a [ObservedAgent] {
    let start = agents.partition_point(|agent| agent.group.as_deref() < Some(group));
    let end = agents.partition_point(|agent| agent.group.as_deref() <= Some(group));
    &agents[start..end]
}

/// What the step needs to know of the group; else when to look again: if the group cannot be read, because without its
/// times nobody can be judged, or if the content's revision is not there.
async fn group_facts(leader: &Leader, rollout: &ConfigRollout) -> Result<Result<GroupFacts, Action>, Error> {
    let namespace = rollout.namespace().unwrap_or_default();
    let name = &rollout.spec.group_name;
    let Some(group) = leader.stores.groups.get(&ObjectRef::new(name).within(&namespace)) else {
        return Ok(Ok(GroupFacts::Missing(name.clone())));
    };
    if let Some(holder) = holder_of(leader, &namespace, name).filter(|holder| *holder != rollout.name_any()) {
        return Ok(Ok(GroupFacts::Taken(holder)));
    }
    let Some(group) = readable(&group).filter(|group| !group.spec.selector.is_newer()) else {
        return Ok(Err(Action::await_change()));
    };
    let stable = group.status.as_ref().and_then(|status| status.stable_revision.clone());
    let offline_after = group.spec.offline_after.get();
    let content = content(leader, rollout).await?;
    // One that has just been made: the watch brings it, with what it needs of agents.
    if let Content::Revision { name, .. } = &content
        && leader.revision(&namespace, name).is_none()
    {
        // Or it has been deleted, and is made again.
        lock(&leader.contents).remove(&rollout.uid().unwrap_or_default());
        return Ok(Err(Action::requeue(leader.status_interval)));
    }
    Ok(Ok(GroupFacts::Held { content, stable, offline_after }))
}

/// Writes the status, and what follows from it: Events, and the states of the rollout's revisions.
async fn write(
    leader: &Leader,
    rollout: &Whole<ConfigRollout>,
    prior: &ConfigRolloutStatus,
    next: &Next,
    wanted: Option<&str>,
) -> Result<Action, Error> {
    let Next { status: next, notices } = next;
    if prior != next {
        let id = format!("rollout/{}", rollout.uid().unwrap_or_default());
        if let Some(wait) = leader.hold_back(&id, is_urgent(prior, next)) {
            return Ok(Action::requeue(wait));
        }
        let namespace = rollout.namespace().unwrap_or_default();
        settle_left_target(leader, rollout, prior, next).await?;
        let api: Api<ConfigRollout> = Api::namespaced(leader.client.clone(), &namespace);
        let mut turn = leader.order.turn(&namespace, &rollout.spec.group_name).await;
        let written = write_if_leading(leader, KIND, &api, rollout, prior, next).await?;
        if written == Written::Yes {
            turn.overtakes(rollout.resource_version());
        }
        drop(turn);
        notify_of_rollout(leader, written, rollout, prior, next);
        match written {
            Written::Yes => {
                leader.count_step(rollout, prior, next);
                announce(leader, rollout, prior, next).await;
                answer(leader, rollout, notices).await;
            }
            Written::Unchanged => {}
            // The watch brings the newer object; where it was the Lease, nothing would call again.
            Written::Conflict => return Ok(Action::requeue(leader.status_interval)),
            Written::Deposed => leader.step_down(),
        }
    }
    settle_revisions(leader, rollout, next, wanted).await?;
    Ok(Action::await_change())
}

fn is_urgent(prior: &ConfigRolloutStatus, next: &ConfigRolloutStatus) -> bool {
    prior.state != next.state
        || prior.handled != next.handled
        || prior.pinned != next.pinned
        || prior.cohort.as_ref().map(|cohort| (cohort.stage, &cohort.terms))
            != next.cohort.as_ref().map(|cohort| (cohort.stage, &cohort.terms))
        || prior.target_revision != next.target_revision
        || prior.observed_generation != next.observed_generation
        || stalled(prior) != stalled(next)
}

/// A target that failed and is left for another one is settled first: afterwards no status tells that it failed.
async fn settle_left_target(
    leader: &Leader,
    rollout: &ConfigRollout,
    prior: &ConfigRolloutStatus,
    next: &ConfigRolloutStatus,
) -> Result<(), Error> {
    let standing = standing(prior, None);
    let left = prior.target_revision.as_ref().filter(|target| next.target_revision.as_ref() != Some(target));
    let Some(left) = left.filter(|_| standing.failed) else { return Ok(()) };
    let known = leader.revision(&rollout.namespace().unwrap_or_default(), left);
    match known.as_ref().and_then(|guarded| guarded.0.as_ref().ok()) {
        Some(revision) => settle(leader, revision, &standing).await,
        None => Ok(()),
    }
}

/// Brings the states of the rollout's revisions in line with its status; done again after a crash in between.
async fn settle_revisions(
    leader: &Leader,
    rollout: &ConfigRollout,
    next: &ConfigRolloutStatus,
    wanted: Option<&str>,
) -> Result<(), Error> {
    let standing = standing(next, wanted.filter(|_| next.pinned.is_none()));
    let namespace = rollout.namespace().unwrap_or_default();
    for guarded in leader.stores.revisions.state() {
        let Ok(revision) = &guarded.0 else { continue };
        let mine = revision.metadata.namespace.as_deref() == Some(&namespace)
            && revision.spec.rollout == rollout.name_any();
        if mine {
            settle(leader, revision, &standing).await?;
        }
    }
    Ok(())
}

async fn settle(
    leader: &Leader,
    revision: &ConfigRevision,
    standing: &revision::Standing<'_>,
) -> Result<(), Error> {
    if !leader.may_write() {
        return Ok(());
    }
    let before = revision.status.as_ref().map_or(RevisionState::Candidate, |status| status.state);
    if before == RevisionState::Unknown {
        return Ok(());
    }
    let state = revision::state(&revision.name_any(), before, standing);
    Ok(revision::settle(&leader.client, revision, state, Timestamp::now()).await?)
}

fn standing<'a>(status: &'a ConfigRolloutStatus, wanted: Option<&'a str>) -> revision::Standing<'a> {
    let stage = status.cohort.as_ref().map(|cohort| cohort.stage);
    revision::Standing {
        target: status.target_revision.as_deref(),
        stable: status.stable_revision.as_deref(),
        failed: matches!(stage, Some(Stage::RollingBack | Stage::RolledBack | Stage::Halted)),
        wanted,
    }
}

/// Deletes the revisions that are too many: never one that is target or stable of any group, pinned, the rollout's
/// content, or still run. Content that is deleted would come back under another name, not rejected and not put aside.
async fn prune(
    leader: &Leader,
    rollout: &ConfigRollout,
    status: &ConfigRolloutStatus,
    wanted: Option<&str>,
    agents: &[ObservedAgent],
) -> Result<(), Error> {
    let namespace = rollout.namespace().unwrap_or_default();
    let live = live_revisions(leader, &namespace);
    let needed = |name: &str, hash| {
        named_by(status).any(|named| named == name)
            || wanted == Some(name)
            || live.contains(name)
            || agents.iter().any(|agent| agent.running == Some(hash))
    };
    let limit = usize::try_from(rollout.spec.revision_history_limit).unwrap_or(1).max(1);
    for name in revision::surplus(&leader.revisions(&namespace), &rollout.name_any(), limit, needed) {
        if leader.may_write() {
            revision::delete(&leader.client, &namespace, &name).await?;
            tracing::info!(namespace, name, "revision deleted: revisionHistoryLimit");
        }
    }
    Ok(())
}

/// The revisions that a rollout's status names.
fn named_by(status: &ConfigRolloutStatus) -> impl Iterator<Item = &str> {
    let pinned = status.pinned.as_ref().map(|pinned| [&pinned.revision, &pinned.instead]);
    let named = [&status.target_revision, &status.stable_revision].into_iter().flatten();
    named.chain(pinned.into_iter().flatten()).map(String::as_str)
}

/// The revisions that the groups of a namespace name.
fn live_revisions(leader: &Leader, namespace: &str) -> BTreeSet<String> {
    let groups = leader.stores.groups.state();
    let here = groups.iter().filter(|group| group.namespace().as_deref() == Some(namespace));
    let statuses = here.filter_map(|group| group.0.as_ref().ok()?.status.clone());
    statuses.filter_map(|status| status.assignment).flat_map(|assignment| assignment.revisions()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Pinned;

    #[test]
    fn status_names_its_live_revisions_and_what_a_pin_puts_aside() {
        let mut status =
            ConfigRolloutStatus { target_revision: Some("r-4".into()), ..ConfigRolloutStatus::default() };
        assert_eq!(named_by(&status).collect::<Vec<_>>(), ["r-4"]);
        status.stable_revision = Some("r-3".into());
        status.pinned = Some(Pinned { revision: "r-1".into(), instead: "r-2".into() });
        assert_eq!(named_by(&status).collect::<Vec<_>>(), ["r-4", "r-3", "r-1", "r-2"]);
    }
}
