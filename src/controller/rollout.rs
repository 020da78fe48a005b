//! Reconciles a `ConfigRollout`: dereference, resolve, find or make its revision, step, write.

use super::content::{ResolvedFile, resolve};
use super::leader::{Error, Guarded, Leader, hashes, lock};
use super::revision::{self, Plan};
use super::sources;
use crate::api::{
    ConditionType, ConfigRevision, ConfigRollout, ConfigRolloutStatus, Reason, RevisionState, RolloutState,
    Stage,
};
use crate::cluster::{Written, write_status};
use crate::config::{ConfigFile, content_hash};
use crate::rollout::{Asked, Claim, Content, GroupFacts, Input, Next, holder, is_under_way, step};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use std::sync::Arc;
use std::time::Duration;

/// A rollout's content, and what it was made from: while that stands, nothing is read again.
pub struct Cached {
    basis: Basis,
    content: Content,
}

/// What a content is made from: the spec's generation and the versions of the objects that it refers to.
#[derive(Clone, PartialEq, Eq)]
struct Basis {
    generation: Option<i64>,
    references: Vec<(&'static str, String, Option<String>)>,
}

/// Brings a rollout one step on.
///
/// # Errors
/// When the API server does not answer as wanted; it is tried again.
pub async fn reconcile(guarded: Arc<Guarded<ConfigRollout>>, leader: Arc<Leader>) -> Result<Action, Error> {
    let Some(rollout) = readable(&guarded) else { return Ok(Action::await_change()) };
    let namespace = rollout.namespace().unwrap_or_default();
    let Some(agents) = leader.observatory.agents(&namespace) else { return Ok(Action::await_change()) };
    if rollout.metadata.deletion_timestamp.is_some() || !stores_are_ready(&leader).await {
        return Ok(Action::await_change());
    }
    let prior = rollout.status.clone().unwrap_or_default();
    let mut next = step(&Input {
        generation: rollout.metadata.generation.unwrap_or_default(),
        strategy: &rollout.spec.strategy,
        paused: rollout.spec.paused,
        annotations: rollout.annotations(),
        prior: &prior,
        group: group_facts(&leader, rollout).await?,
        revisions: &hashes(&leader.revisions(&namespace)),
        agents: &agents_of(&agents, &rollout.spec.group_name),
        assumed_interval: leader.assumed_interval,
        entropy: entropy()?,
        now: Timestamp::now(),
    });
    next.status.leader_term = Some(leader.term);
    let action = write(&leader, rollout, &prior, &next).await?;
    // Only time brings an attempt on when no agent does.
    Ok(if is_under_way(&next.status) { Action::requeue(leader.status_interval) } else { action })
}

/// Content first has to be known before anything is decided about it.
async fn stores_are_ready(leader: &Leader) -> bool {
    let stores = &leader.stores;
    let ready = tokio::try_join!(
        stores.rollouts.wait_until_ready(),
        stores.groups.wait_until_ready(),
        stores.revisions.wait_until_ready(),
        stores.config_maps.wait_until_ready(),
        stores.secrets.wait_until_ready(),
    );
    ready.is_ok()
}

/// The object, unless it cannot be read: that is told, and harms no other.
pub fn readable<K: kube::Resource<DynamicType = ()>>(guarded: &Guarded<K>) -> Option<&K> {
    match &guarded.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            let (namespace, name) = (guarded.namespace().unwrap_or_default(), guarded.name_any());
            tracing::warn!(kind = %K::kind(&()), namespace, name, error = %invalid.error, "cannot read resource");
            None
        }
    }
}

fn agents_of(agents: &[crate::fleet::ObservedAgent], group: &str) -> Vec<crate::fleet::ObservedAgent> {
    agents.iter().filter(|agent| agent.group.as_deref() == Some(group)).cloned().collect()
}

/// Random bits for the seed of a new attempt.
fn entropy() -> Result<u64, Error> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}").into())
}

async fn group_facts(leader: &Leader, rollout: &ConfigRollout) -> Result<GroupFacts, Error> {
    let namespace = rollout.namespace().unwrap_or_default();
    let name = &rollout.spec.group_name;
    let Some(group) = leader.stores.groups.get(&ObjectRef::new(name).within(&namespace)) else {
        return Ok(GroupFacts::Missing(name.clone()));
    };
    if let Some(holder) = holder_of(leader, &namespace, name).filter(|holder| *holder != rollout.name_any()) {
        return Ok(GroupFacts::Taken(holder));
    }
    let status = group.0.as_ref().ok().and_then(|group| group.status.as_ref());
    let stable = status.and_then(|status| status.stable_revision.clone());
    let offline_after = group.0.as_ref().map_or(Duration::ZERO, |group| group.spec.offline_after.get());
    Ok(GroupFacts::Held { content: content(leader, rollout).await?, stable, offline_after })
}

/// The name of the rollout that holds a group.
pub fn holder_of(leader: &Leader, namespace: &str, group: &str) -> Option<String> {
    let all = leader.stores.rollouts.state();
    let readable = all.iter().filter_map(|guarded| guarded.0.as_ref().ok());
    let here = readable.filter(|rollout| {
        rollout.metadata.namespace.as_deref() == Some(namespace)
            && rollout.spec.group_name == group
            && rollout.metadata.deletion_timestamp.is_none()
    });
    holder(here.map(|rollout| Claim {
        name: rollout.metadata.name.as_deref().unwrap_or_default(),
        created: rollout.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
    }))
    .map(str::to_owned)
}

/// The revision that the rollout's content is, made if it is new. Read again only when something changed.
async fn content(leader: &Leader, rollout: &ConfigRollout) -> Result<Content, Error> {
    let basis = basis(leader, rollout);
    let id = rollout.uid().unwrap_or_default();
    if let Some(cached) = lock(&leader.contents).get(&id).filter(|cached| cached.basis == basis) {
        return Ok(judged(leader, rollout, cached.content.clone()));
    }
    let namespace = rollout.namespace().unwrap_or_default();
    let fetched = sources::fetch(&leader.client, &namespace, &rollout.spec.config).await?;
    let content = match resolve(&rollout.spec.config, &fetched) {
        Ok(files) => Content::Revision { name: revision_of(leader, rollout, &files).await?, rejected: false },
        Err(content) => content,
    };
    let mut contents = lock(&leader.contents);
    contents.retain(|id, _| leader.stores.rollouts.find(|known| known.uid().as_ref() == Some(id)).is_some());
    contents.insert(id, Cached { basis, content: content.clone() });
    drop(contents);
    Ok(judged(leader, rollout, content))
}

/// Adds whether an earlier attempt with the revision failed.
fn judged(leader: &Leader, rollout: &ConfigRollout, content: Content) -> Content {
    let Content::Revision { name, .. } = content else { return content };
    let known = leader.revision(&rollout.namespace().unwrap_or_default(), &name);
    let status = known.as_ref().and_then(|guarded| guarded.0.as_ref().ok()?.status.as_ref());
    let rejected = status.is_some_and(|status| status.state == RevisionState::Rejected);
    Content::Revision { name, rejected }
}

fn basis(leader: &Leader, rollout: &ConfigRollout) -> Basis {
    let namespace = rollout.namespace().unwrap_or_default();
    let spec = &rollout.spec.config;
    let config_maps = sources::config_map_names(spec).into_iter().map(|name| {
        let found = leader.stores.config_maps.get(&ObjectRef::new(name).within(&namespace));
        ("ConfigMap", name.to_owned(), found.and_then(|object| object.resource_version()))
    });
    let secrets = sources::secret_names(spec).into_iter().map(|name| {
        let found = leader.stores.secrets.get(&ObjectRef::new(name).within(&namespace));
        ("Secret", name.to_owned(), found.and_then(|object| object.resource_version()))
    });
    Basis { generation: rollout.metadata.generation, references: config_maps.chain(secrets).collect() }
}

/// Finds or makes the revision with these files, and returns its name.
async fn revision_of(
    leader: &Leader,
    rollout: &ConfigRollout,
    files: &[ResolvedFile],
) -> Result<String, Error> {
    let namespace = rollout.namespace().unwrap_or_default();
    let bodies: Vec<ConfigFile> = files.iter().map(|resolved| resolved.file.clone()).collect();
    let hash = content_hash(&leader.key, &bodies);
    let revision = match revision::plan(&leader.revisions(&namespace), &rollout.name_any(), hash) {
        Plan::Reuse(name) => reuse(leader, rollout, &namespace, &name, files).await?,
        Plan::Create(number) => {
            let previous = previous(leader, rollout, &namespace).await?;
            let author = revision::author(rollout, previous.as_ref(), files);
            let mut new = revision::new_revision(rollout, number, hash, files, author, Timestamp::now());
            new.metadata.namespace = Some(namespace);
            leader.check_lease()?;
            let created = revision::create(&leader.client, &new, files).await?;
            tracing::info!(namespace = new.metadata.namespace, name = created.name_any(), "revision created");
            created
        }
    };
    // A name that was taken meanwhile by other content: the store will know it in a moment.
    if revision.spec.hash != hash.to_string() {
        return Err(anyhow::anyhow!("revision {} was made with other content", revision.name_any()).into());
    }
    Ok(revision.name_any())
}

async fn reuse(
    leader: &Leader,
    rollout: &ConfigRollout,
    namespace: &str,
    name: &str,
    files: &[ResolvedFile],
) -> Result<ConfigRevision, Error> {
    let api: Api<ConfigRevision> = Api::namespaced(leader.client.clone(), namespace);
    let revision = api.get(name).await?;
    leader.check_lease()?;
    revision::ensure_secret(&leader.client, &revision, files).await?;
    revision::add_owner(&leader.client, &revision, &revision::owner(rollout)).await?;
    Ok(revision)
}

/// The revision that the rollout had before, with its bodies.
async fn previous(
    leader: &Leader,
    rollout: &ConfigRollout,
    namespace: &str,
) -> Result<Option<ConfigRevision>, Error> {
    let Some(name) = rollout.status.as_ref().and_then(|status| status.target_revision.as_ref()) else {
        return Ok(None);
    };
    Ok(Api::<ConfigRevision>::namespaced(leader.client.clone(), namespace).get_opt(name).await?)
}

/// Writes the status, and what follows from it: Events, and the states of the rollout's revisions.
async fn write(
    leader: &Leader,
    rollout: &ConfigRollout,
    prior: &ConfigRolloutStatus,
    next: &Next,
) -> Result<Action, Error> {
    let Next { status: next, notices } = next;
    if prior != next {
        let id = format!("rollout/{}", rollout.uid().unwrap_or_default());
        if let Some(wait) = leader.hold_back(&id, is_urgent(prior, next)) {
            return Ok(Action::requeue(wait));
        }
        let namespace = rollout.namespace().unwrap_or_default();
        let api: Api<ConfigRollout> = Api::namespaced(leader.client.clone(), &namespace);
        match write_if_leading(leader, &api, rollout, prior, next).await? {
            Written::Yes => {
                announce(leader, rollout, prior, next).await;
                answer(leader, rollout, notices).await;
            }
            Written::Unchanged => {}
            // The watch brings the newer object; where it was the Lease, nothing would call again.
            Written::Conflict => return Ok(Action::requeue(leader.status_interval)),
            Written::Deposed => leader.step_down(),
        }
    }
    settle_revisions(leader, rollout, next).await?;
    Ok(Action::await_change())
}

/// Writes a status, unless the Lease is gone: then nothing is written, and the next leader decides.
pub async fn write_if_leading<K, S>(
    leader: &Leader,
    api: &Api<K>,
    object: &K,
    old: &S,
    new: &S,
) -> Result<Written, Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    S: serde::Serialize,
{
    if !leader.may_write() {
        return Ok(Written::Conflict);
    }
    Ok(write_status(api, object, old, new).await?)
}

fn is_urgent(prior: &ConfigRolloutStatus, next: &ConfigRolloutStatus) -> bool {
    prior.state != next.state
        || prior.handled != next.handled
        || prior.cohort.as_ref().map(|cohort| (cohort.stage, &cohort.terms))
            != next.cohort.as_ref().map(|cohort| (cohort.stage, &cohort.terms))
        || prior.target_revision != next.target_revision
        || prior.observed_generation != next.observed_generation
        || stalled(prior) != stalled(next)
}

fn stalled(status: &ConfigRolloutStatus) -> Option<&str> {
    let stalled =
        status.conditions.iter().find(|c| c.type_ == ConditionType::Stalled.as_str() && c.status == "True");
    stalled.map(|condition| condition.reason.as_str())
}

/// Tells of transitions, and of nothing else.
async fn announce(
    leader: &Leader,
    rollout: &ConfigRollout,
    prior: &ConfigRolloutStatus,
    next: &ConfigRolloutStatus,
) {
    let same = prior.state == next.state
        && prior.target_revision == next.target_revision
        && stalled(prior) == stalled(next)
        && reason(prior) == reason(next);
    if same {
        return;
    }
    let warning = next.state == RolloutState::Invalid
        || stalled(next).is_some()
        || matches!(next.state, RolloutState::RollingBack | RolloutState::RolledBack | RolloutState::Halted);
    let target = next.target_revision.as_deref().unwrap_or("no revision yet");
    let note = format!("{:?} ({target}): {}", next.state, next.message);
    leader.announcer.tell(rollout, warning, reason(next).unwrap_or(Reason::Progressing), &note).await;
}

/// Tells of each request whether it was carried out, and why not.
async fn answer(leader: &Leader, rollout: &ConfigRollout, notices: &[Asked]) {
    for notice in notices {
        let (warning, reason, note) = match notice {
            Ok(request) => (false, Reason::RequestHandled, format!("{} was carried out", request.name())),
            Err(why) => (true, Reason::RequestRefused, why.clone()),
        };
        leader.announcer.tell(rollout, warning, reason, &note).await;
    }
}

fn reason(status: &ConfigRolloutStatus) -> Option<Reason> {
    let ready = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str())?;
    Reason::parse(&ready.reason)
}

/// Brings the states of the rollout's revisions in line with its status; done again after a crash in between.
async fn settle_revisions(
    leader: &Leader,
    rollout: &ConfigRollout,
    next: &ConfigRolloutStatus,
) -> Result<(), Error> {
    let standing = revision::Standing {
        target: next.target_revision.as_deref(),
        stable: next.stable_revision.as_deref(),
        failed: matches!(
            next.cohort.as_ref().map(|cohort| cohort.stage),
            Some(Stage::RollingBack | Stage::RolledBack | Stage::Halted)
        ),
    };
    let namespace = rollout.namespace().unwrap_or_default();
    for guarded in leader.stores.revisions.state() {
        let Ok(revision) = &guarded.0 else { continue };
        let mine = revision.metadata.namespace.as_deref() == Some(&namespace)
            && revision.spec.rollout == rollout.name_any();
        if mine && leader.may_write() {
            let before = revision.status.as_ref().map_or(RevisionState::Candidate, |status| status.state);
            let state = revision::state(&revision.name_any(), before, &standing);
            revision::settle(&leader.client, revision, state, Timestamp::now()).await?;
        }
    }
    Ok(())
}
