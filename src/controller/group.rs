//! Reconciles a `CollectorGroup`: derives its assignment from the rollout that holds it, counts, writes.

use super::announce::{answer_all, notify_of_group};
use super::care::{Care, treat};
use super::context::{Error, Guarded, Leader, entropy, hashes, holder_of, readable, write_if_leading};
use super::{memory, revision, telemetry};
use crate::api::{AssignmentStatus, CollectorGroup, CollectorGroupStatus, ConfigRollout, Strategy};
use crate::cluster::{Whole, Written};
use crate::fleet::{Live, ObservedAgent};
use crate::heal::begin;
use crate::rollout::{
    GroupInput, Judged, assignment, group_news, group_status, in_group, next_offline, take_restart,
};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What is reconciled here, in metrics.
pub const KIND: &str = "CollectorGroup";

/// Brings a group's status in line with its rollout and its agents.
///
/// # Errors
/// When the API server does not answer as wanted; it is tried again.
pub async fn reconcile(
    guarded: Arc<Guarded<Whole<CollectorGroup>>>,
    leader: Arc<Leader>,
) -> Result<Action, Error> {
    let Some(group) = readable(&guarded) else { return Ok(Action::await_change()) };
    let (namespace, name) = (group.namespace().unwrap_or_default(), group.name_any());
    let Some(agents) = leader.agents(&namespace) else { return Ok(Action::await_change()) };
    if !leader.stores.are_ready() {
        return Ok(Action::await_change());
    }
    let prior = group.status.clone().unwrap_or_default();
    let rollout = holding_rollout(&leader, &namespace, &name);
    if group.spec.selector.is_newer() || rollout.as_ref().is_some_and(|rollout| rollout.is_newer()) {
        return Ok(Action::await_change());
    }
    let status = rollout.as_ref().map(|rollout| rollout.status.clone().unwrap_or_default());
    let generation = group.metadata.generation.unwrap_or_default();
    let apply_timeout = rollout.as_ref().map(|rollout| &rollout.spec.strategy.apply_timeout);
    let standing = assignment(prior.assignment.as_ref(), generation, status.as_ref(), apply_timeout);
    let before = prior.assignment.as_ref().map(AssignmentStatus::revisions).unwrap_or_default();
    let named: BTreeSet<String> = standing.revisions().into_iter().chain(before).collect();
    let needs = leader.needs(&namespace, named.iter().map(String::as_str));
    let revisions = hashes(&leader.revisions(&namespace));
    let members: Vec<&ObservedAgent> = agents.iter().filter(|agent| in_group(agent, &name)).collect();
    let live = Live::new(&standing, &revisions, &needs);
    let memory = memory::of(group, &standing, &revisions);
    let patience = standing.apply_timeout.clone().unwrap_or_else(|| Strategy::default().apply_timeout).get();
    let judged = Judged::new(status.as_ref());
    let care = treat(&leader, group, &members, &live, &memory, &judged, patience).await?;
    let disturbed = care.disturbed(&members);
    let Care { treatments, restarts, mut restart, wake, undone } = care;
    let now = Timestamp::now();
    let mut handled = prior.handled.clone();
    let asked = take_restart(group.annotations(), &mut handled);
    if let Some(Ok(token)) = &asked {
        restart = Some(begin(token, prior.restart.as_ref(), &members, entropy()?, now));
    }
    let mut next = group_status(&GroupInput {
        name: &name,
        generation,
        prior: &prior,
        rollout: status.as_ref(),
        assignment: &standing,
        live: &live,
        agents: &agents,
        members: &members,
        treatments: &treatments,
        restarts: &restarts,
        restart: restart.as_ref(),
        handled: handled.as_ref(),
        max_attempts: group.spec.drift.correction.max_attempts,
        offline_after: group.spec.offline_after.get(),
        adoption_soaks: &leader.adoption_soaks,
        watched_until: leader.observatory.watched_until(&namespace),
        entropy: entropy()?,
        now,
    });
    let telling = telemetry::bring_on(&leader, group, &members, disturbed, &mut next, now).await?;
    next.leader_term = Some(leader.term);
    // What was decided on agents and could not be written yet is told when it is, unless others wait for the rest.
    if let Some(wait) = undone.filter(|_| prior.assignment == next.assignment && asked.is_none()) {
        return Ok(Action::requeue(wait));
    }
    let wakes = [wake, next_offline(&members, group.spec.offline_after.get(), now)];
    let after = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
    // Only time brings an adoption on when no agent does.
    let adopting = next.assignment.as_ref().is_some_and(|assignment| assignment.adoption.is_some());
    let waits = wakes.into_iter().flatten().min().map(after);
    let waits =
        [waits, undone, telling, adopting.then_some(leader.status_interval)].into_iter().flatten().min();
    let idle = waits.map_or_else(Action::await_change, Action::requeue);
    if prior == next {
        return Ok(idle);
    }
    own_revisions(&leader, group, &next).await?;
    Ok(write(&leader, group, &prior, &next, rollout.as_ref(), asked).await?.unwrap_or(idle))
}

fn holding_rollout(leader: &Leader, namespace: &str, group: &str) -> Option<Whole<ConfigRollout>> {
    let holder = holder_of(leader, namespace, group)?;
    let rollout = leader.stores.rollouts.get(&ObjectRef::new(&holder).within(namespace))?;
    rollout.0.as_ref().ok().cloned()
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
            revision::add_owner(&leader.client, revision, group).await?;
        }
    }
    Ok(())
}

async fn write(
    leader: &Leader,
    group: &Whole<CollectorGroup>,
    prior: &CollectorGroupStatus,
    next: &CollectorGroupStatus,
    rollout: Option<&Whole<ConfigRollout>>,
    asked: Option<Result<String, String>>,
) -> Result<Option<Action>, Error> {
    let id = format!("group/{}", group.uid().unwrap_or_default());
    if let Some(wait) = leader.hold_back(&id, prior.assignment != next.assignment || asked.is_some()) {
        return Ok(Some(Action::requeue(wait)));
    }
    let namespace = group.namespace().unwrap_or_default();
    let turn = leader.order.turn(&namespace, &group.name_any()).await;
    let seen = holding_rollout(leader, &namespace, &group.name_any());
    let version = |rollout: Option<&Whole<ConfigRollout>>| rollout.and_then(ResourceExt::resource_version);
    let is_latest = turn.allows(version(rollout).as_deref(), version(seen.as_ref()).as_deref());
    if prior.assignment != next.assignment && !is_latest {
        // The watch brings the rollout as it is now.
        return Ok(Some(Action::requeue(leader.status_interval)));
    }
    let api: Api<CollectorGroup> = Api::namespaced(leader.client.clone(), &namespace);
    let written = write_if_leading(leader, KIND, &api, group, prior, next).await?;
    drop(turn);
    notify_of_group(leader, written, group, prior, next);
    match written {
        Written::Yes | Written::Unchanged => {
            leader.count_restarts(prior.restart.as_ref(), next.restart.as_ref());
            let agents = next.restart.as_ref().map_or(0, |restart| restart.agents);
            let done = |token| ("restart", format!("restart {token} of {agents} agents has begun"));
            let notices = asked.into_iter().map(|asked| asked.map(done)).collect();
            answer_all(leader, group, notices).await;
            for told in group_news(prior, next) {
                leader.announcer.tell(group, told.warning, told.reason, &told.note).await;
            }
        }
        // The watch brings the newer object; where it was the Lease, nothing would call again.
        Written::Conflict => return Ok(Some(Action::requeue(leader.status_interval))),
        Written::Deposed => leader.step_down(),
    }
    Ok(None)
}
