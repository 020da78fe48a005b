//! What a rollout's content is: read, resolved, checked, and found or made as a revision.

use super::content::{ResolvedFile, resolve};
use super::context::{Basis, Cached, Error, Leader};
use super::lock::lock;
use super::revision::{self, Plan};
use super::sources;
use crate::api::{ConfigRevision, ConfigRollout, RevisionState};
use crate::cluster::stamped_since;
use crate::config::{ConfigFile, content_hash};
use crate::rollout::Content;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;

/// The revision that the rollout's content is, made if it is new. Read again only when something changed.
pub async fn content(leader: &Leader, rollout: &ConfigRollout) -> Result<Content, Error> {
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
            let since = stamped_since::<ConfigRollout>(&leader.client).await?;
            let author = revision::author(rollout, previous.as_ref(), files, since);
            let mut new = revision::new_revision(rollout, number, hash, files, author, Timestamp::now());
            new.metadata.namespace = Some(namespace);
            leader.check_lease()?;
            revision::create(&leader.client, &new, files).await?
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
    revision::add_owner(&leader.client, &revision, rollout).await?;
    Ok(revision)
}

/// The revision that the rollout had before, with its bodies.
async fn previous(
    leader: &Leader,
    rollout: &ConfigRollout,
    namespace: &str,
) -> Result<Option<ConfigRevision>, Error> {
    let Some(status) = &rollout.status else { return Ok(None) };
    // Behind a pin the content was another revision than the target.
    let put_aside = status.pinned.as_ref().map(|pinned| &pinned.instead);
    let put_aside = put_aside.filter(|name| leader.revision(namespace, name).is_some());
    let Some(name) = put_aside.or(status.target_revision.as_ref()) else { return Ok(None) };
    Ok(Api::<ConfigRevision>::namespaced(leader.client.clone(), namespace).get_opt(name).await?)
}
