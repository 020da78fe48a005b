//! `ConfigRevision`s: which one a content is, how a new one is made, who owns it, what became of it.

use super::content::ResolvedFile;
use super::stamps::changed_by;
use crate::api::{
    Body, ConfigFormat, ConfigRevision, ConfigRevisionSpec, ConfigRevisionStatus, ConfigRollout, FileSource,
    PROVEN_LABEL, ROLLOUT_LABEL, RevisionFile, RevisionState,
};
use crate::cluster::files_secret_name;
use crate::config::{ConfigFile, ConfigHash, Inventory};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;

/// A revision as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The rollout that it came from.
    pub rollout: String,
    /// Its number.
    pub number: i64,
    /// The hash of its content.
    pub hash: ConfigHash,
    /// What became of it.
    pub state: RevisionState,
}

/// The revision that a content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The content was there before: going back to it reuses its object.
    Reuse(String),
    /// It is new, and gets this number.
    Create(i64),
}

/// Finds the revision of a rollout with this content, or the next number: one above the highest of that name,
/// also where an earlier rollout of the name has left revisions.
pub fn plan(known: &BTreeMap<String, Known>, rollout: &str, hash: ConfigHash) -> Plan {
    let mine = || known.iter().filter(|(_, revision)| revision.rollout == rollout);
    match mine().find(|(_, revision)| revision.hash == hash) {
        Some((name, _)) => Plan::Reuse(name.clone()),
        None => Plan::Create(mine().map(|(_, revision)| revision.number).max().unwrap_or_default() + 1),
    }
}

/// The revisions of a rollout that are too many: the oldest of those that nobody needs, beyond `limit`. The newest
/// always stays, so that no number is given twice.
pub fn surplus(
    known: &BTreeMap<String, Known>,
    rollout: &str,
    limit: usize,
    needed: impl Fn(&str, ConfigHash) -> bool,
) -> Vec<String> {
    let mut idle: Vec<(&String, &Known)> = known
        .iter()
        .filter(|(name, revision)| revision.rollout == rollout && !needed(name, revision.hash))
        .collect();
    idle.sort_by_key(|(_, revision)| std::cmp::Reverse(revision.number));
    let newest =
        known.values().filter(|revision| revision.rollout == rollout).map(|known| known.number).max();
    let old = idle.into_iter().skip(limit).filter(|(_, revision)| Some(revision.number) != newest);
    old.map(|(name, _)| name.clone()).collect()
}

/// The object of a new revision.
pub fn new_revision(
    rollout: &ConfigRollout,
    number: i64,
    hash: ConfigHash,
    files: &[ResolvedFile],
    author: Option<String>,
    now: Timestamp,
) -> ConfigRevision {
    let name = rollout.name_any();
    let spec = ConfigRevisionSpec {
        rollout: name.clone(),
        number,
        hash: hash.to_string(),
        format: rollout.spec.config.format,
        components: needed(rollout.spec.config.format, files),
        files: files.iter().map(revision_file).collect(),
        author,
        created_at: Time(now),
    };
    let mut revision = ConfigRevision::new(&format!("{name}-{number}"), spec);
    revision.metadata.labels = Some(rollout_label(&name));
    revision.metadata.owner_references = rollout.owner_ref(&()).map(|owner| vec![owner]);
    revision
}

/// The component types that a Collector configuration defines, as it stands in its revision.
fn needed(format: ConfigFormat, files: &[ResolvedFile]) -> Option<BTreeMap<String, Vec<String>>> {
    if format != ConfigFormat::Collector {
        return None;
    }
    let files: Vec<ConfigFile> = files.iter().map(|resolved| resolved.file.clone()).collect();
    let needed = Inventory::needed_by(&files);
    let sections = needed.sections();
    Some(sections.map(|(section, types)| (section.to_owned(), types.iter().cloned().collect())).collect())
}

fn revision_file(resolved: &ResolvedFile) -> RevisionFile {
    let file = &resolved.file;
    // A body from a Secret is kept in a Secret; the others are text, as `resolve` made sure of.
    let text = || String::from_utf8_lossy(&file.body).into_owned();
    RevisionFile {
        name: file.name.clone(),
        content_type: file.content_type.clone(),
        size: i64::try_from(file.body.len()).unwrap_or(i64::MAX),
        source: resolved.source,
        reference: resolved.reference.clone(),
        body: (resolved.source != FileSource::Secret).then(|| Body(text())),
    }
}

/// The Secret with the bodies that came from Secrets; nothing if there are none.
pub fn files_secret(revision: &ConfigRevision, files: &[ResolvedFile]) -> Option<Secret> {
    let from_secrets = files.iter().enumerate().filter(|(_, file)| file.source == FileSource::Secret);
    let data: BTreeMap<String, ByteString> = from_secrets
        .map(|(index, resolved)| (index.to_string(), ByteString(resolved.file.body.to_vec())))
        .collect();
    (!data.is_empty()).then(|| Secret {
        metadata: ObjectMeta {
            name: Some(files_secret_name(&revision.name_any())),
            labels: Some(rollout_label(&revision.spec.rollout)),
            owner_references: revision.owner_ref(&()).map(|owner| vec![owner]),
            ..Default::default()
        },
        data: Some(data),
        immutable: Some(true),
        ..Default::default()
    })
}

fn rollout_label(rollout: &str) -> BTreeMap<String, String> {
    [(ROLLOUT_LABEL.to_owned(), rollout.to_owned())].into()
}

/// Who changed the content: the object whose content changed while the rollout's spec did not, else the user who
/// changed the spec, verified where the API server has stamped it `stamped_since` then.
pub fn author(
    rollout: &ConfigRollout,
    previous: Option<&ConfigRevision>,
    files: &[ResolvedFile],
    stamped_since: Option<Timestamp>,
) -> Option<String> {
    let observed = rollout.status.as_ref().and_then(|status| status.observed_generation);
    let spec_is_the_same = observed.is_some() && observed == rollout.metadata.generation;
    let by_reference =
        previous.filter(|_| spec_is_the_same).and_then(|previous| changed_reference(previous, files));
    by_reference.or_else(|| changed_by(rollout, stamped_since))
}

/// The referenced object of the first file that differs. A Secret's body is not in the revision: its size is
/// compared and, where nothing else differs, the first Secret is taken to have changed.
fn changed_reference(previous: &ConfigRevision, files: &[ResolvedFile]) -> Option<String> {
    let before = |name: &str| previous.spec.files.iter().find(|file| file.name == name);
    let differs = |resolved: &&ResolvedFile| before(&resolved.file.name) != Some(&revision_file(resolved));
    let secret = |resolved: &&ResolvedFile| resolved.source == FileSource::Secret;
    let changed = files.iter().find(differs).or_else(|| files.iter().find(secret))?;
    let name = &changed.reference.as_ref()?.name;
    match changed.source {
        FileSource::Inline | FileSource::Unknown => None,
        FileSource::ConfigMap => Some(format!("configmap/{name}")),
        FileSource::Secret => Some(format!("secret/{name}")),
    }
}

/// What a rollout's status says of its revisions.
pub struct Standing<'a> {
    /// The target's name.
    pub target: Option<&'a str>,
    /// The name of the last known good revision.
    pub stable: Option<&'a str>,
    /// The attempt with the target failed.
    pub failed: bool,
    /// The name of the content that waits to be rolled out.
    pub wanted: Option<&'a str>,
}

/// Where a revision of a rollout stands, by the rollout's status. Away from the target what was proven stays
/// proven, and what was rejected stays rejected.
pub fn state(name: &str, before: RevisionState, standing: &Standing<'_>) -> RevisionState {
    if standing.stable == Some(name) {
        RevisionState::Proven
    } else if standing.target == Some(name) && standing.failed {
        RevisionState::Rejected
    } else if before == RevisionState::Proven {
        RevisionState::Proven
    } else if standing.target == Some(name) {
        RevisionState::Candidate
    } else if before == RevisionState::Rejected {
        RevisionState::Rejected
    } else if standing.wanted == Some(name) {
        RevisionState::Candidate
    } else {
        RevisionState::Superseded
    }
}

/// Creates a revision and its Secret; an object that exists already stays as it is.
///
/// # Errors
/// When the API server does not take them.
pub async fn create(
    client: &Client,
    revision: &ConfigRevision,
    files: &[ResolvedFile],
) -> kube::Result<ConfigRevision> {
    let namespace = revision.namespace().unwrap_or_default();
    let api: Api<ConfigRevision> = Api::namespaced(client.clone(), &namespace);
    let created = match api.create(&PostParams::default(), revision).await {
        Err(kube::Error::Api(status)) if status.code == 409 => api.get(&revision.name_any()).await?,
        other => {
            let created = other?;
            tracing::info!(namespace, name = created.name_any(), "revision created");
            created
        }
    };
    if created.spec.hash == revision.spec.hash {
        ensure_secret(client, &created, files).await?;
    }
    Ok(created)
}

/// Creates the Secret of a revision if it is not there: a crash may have come between the two.
///
/// # Errors
/// When the API server does not take it.
pub async fn ensure_secret(
    client: &Client,
    revision: &ConfigRevision,
    files: &[ResolvedFile],
) -> kube::Result<()> {
    let Some(secret) = files_secret(revision, files) else { return Ok(()) };
    let api: Api<Secret> = Api::namespaced(client.clone(), &revision.namespace().unwrap_or_default());
    match api.create(&PostParams::default(), &secret).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

/// Adds an owner to a revision that does not have it yet. It is kept for as long as any of its owners is there.
///
/// # Errors
/// When the API server does not take the write, a conflict included.
pub async fn add_owner<K: Resource<DynamicType = ()>>(
    client: &Client,
    revision: &ConfigRevision,
    owner: &K,
) -> kube::Result<()> {
    let mut owners = revision.owner_references().to_vec();
    let Some(new) = owner.owner_ref(&()).filter(|new| owners.iter().all(|owner| owner.uid != new.uid)) else {
        return Ok(());
    };
    owners.push(new);
    let metadata = json!({"resourceVersion": revision.resource_version(), "ownerReferences": owners});
    let api: Api<ConfigRevision> = Api::namespaced(client.clone(), &revision.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({"metadata": metadata}));
    api.patch(&revision.name_any(), &PatchParams::default(), &patch).await.map(drop)
}

/// Deletes a revision; its Secret goes with it.
///
/// # Errors
/// When the API server does not take the request; that it is gone already is no error.
pub async fn delete(client: &Client, namespace: &str, name: &str) -> kube::Result<()> {
    let api: Api<ConfigRevision> = Api::namespaced(client.clone(), namespace);
    unless_outdated(api.delete(name, &DeleteParams::default()).await)
}

/// Writes where a revision stands, if that is news; the label repeats it for backups, which drop status.
///
/// # Errors
/// When the API server does not take the write for another reason than that the object has changed.
pub async fn settle(
    client: &Client,
    revision: &ConfigRevision,
    state: RevisionState,
    now: Timestamp,
) -> kube::Result<()> {
    let before = revision.status.clone().unwrap_or_default();
    if revision.status.is_some() && before.state == state {
        return Ok(());
    }
    let proven = state == RevisionState::Proven;
    let api: Api<ConfigRevision> = Api::namespaced(client.clone(), &revision.namespace().unwrap_or_default());
    if proven && !revision.labels().contains_key(PROVEN_LABEL) {
        let metadata =
            json!({"resourceVersion": revision.resource_version(), "labels": {PROVEN_LABEL: "true"}});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        // The watch brings the labelled object, and with it the next turn, which writes the status.
        return unless_outdated(api.patch(&revision.name_any(), &PatchParams::default(), &patch).await);
    }
    let status = ConfigRevisionStatus {
        state,
        message: String::new(),
        proven_at: if proven { before.proven_at.or(Some(Time(now))) } else { None },
    };
    let patch =
        Patch::Merge(json!({"metadata": {"resourceVersion": revision.resource_version()}, "status": status}));
    unless_outdated(api.patch_status(&revision.name_any(), &PatchParams::default(), &patch).await)
}

/// An object that has changed since it was read, or is gone: the watch brings it, and it is looked at again.
fn unless_outdated<K>(written: kube::Result<K>) -> kube::Result<()> {
    match written {
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests;
