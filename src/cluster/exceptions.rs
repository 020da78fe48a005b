//! Slices of exceptions: whom the leader treats or has started anew, and who refused what. Written by the leader for each
//! group, read by every replica.

use super::Written;
use crate::api::{AgentSlice, AgentSliceSpec, CONTENT_LABEL, CollectorGroup, EXCEPTIONS};
use crate::fleet::{
    AgentKey, Ledger, Restart, Treatment, unpack_exceptions, unpack_refusals, unpack_restarts,
};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether a slice tells of exceptions, not of the agents of a replica.
pub fn tells_of_exceptions(labels: &BTreeMap<String, String>) -> bool {
    labels.get(CONTENT_LABEL).is_some_and(|content| content == EXCEPTIONS)
}

/// A slice's namespace and name.
type SliceKey = (Arc<str>, String);

/// What one slice tells.
#[derive(Default, PartialEq)]
struct Told {
    treatments: Vec<(AgentKey, Treatment)>,
    restarts: Vec<(AgentKey, Restart)>,
    refusals: Vec<(AgentKey, Ledger)>,
}

/// All exceptions as a replica knows them.
#[derive(Default)]
pub struct Exceptions {
    known: BTreeMap<SliceKey, Told>,
    /// The slices seen by the list that is under way; the others are gone when it ends.
    listing: Option<BTreeSet<SliceKey>>,
    listed: bool,
}

impl Exceptions {
    /// Whether everything has been listed once: before that, an agent that was sent back would seem to be like all
    /// others.
    pub fn are_listed(&self) -> bool {
        self.listed
    }

    /// Takes in one event; true if something changed.
    pub fn apply(&mut self, event: watcher::Event<DeserializeGuard<AgentSlice>>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing = Some(BTreeSet::new());
                false
            }
            watcher::Event::InitApply(slice) => {
                self.put(&slice);
                false
            }
            watcher::Event::InitDone => {
                let seen = self.listing.take().unwrap_or_default();
                self.known.retain(|key, _| seen.contains(key));
                self.listed = true;
                true
            }
            watcher::Event::Apply(slice) => self.put(&slice),
            watcher::Event::Delete(slice) => self.known.remove(&key(&slice)).is_some(),
        }
    }

    /// One that cannot be read keeps its last readable state.
    fn put(&mut self, slice: &DeserializeGuard<AgentSlice>) -> bool {
        let key = key(slice);
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
        let Ok(read) = &slice.0 else {
            tracing::warn!(namespace = %key.0, name = key.1, "cannot read slice of exceptions");
            return false;
        };
        let agent = |uid| AgentKey { namespace: key.0.clone(), uid };
        let treatments = unpack_exceptions(&read.spec).map(|(uid, treatment)| (agent(uid), treatment));
        let restarts = unpack_restarts(&read.spec).map(|(uid, restart)| (agent(uid), restart));
        let refusals = unpack_refusals(&read.spec).map(|(uid, refused)| (agent(uid), refused));
        let new = Told {
            treatments: treatments.collect(),
            restarts: restarts.collect(),
            refusals: refusals.collect(),
        };
        self.known.get(&key) != Some(&new) && {
            self.known.insert(key, new);
            true
        }
    }

    /// All agents that are treated.
    pub fn treatments(&self) -> impl Iterator<Item = &(AgentKey, Treatment)> {
        self.known.values().flat_map(|told| &told.treatments)
    }

    /// All agents that are started anew, because a person asked for that.
    pub fn restarts(&self) -> impl Iterator<Item = &(AgentKey, Restart)> {
        self.known.values().flat_map(|told| &told.restarts)
    }

    /// All agents that refused what they may be offered.
    pub fn refusals(&self) -> impl Iterator<Item = &(AgentKey, Ledger)> {
        self.known.values().flat_map(|told| &told.refusals)
    }
}

fn key(slice: &DeserializeGuard<AgentSlice>) -> SliceKey {
    (slice.namespace().unwrap_or_default().into(), slice.name_any())
}

/// Brings the slices of one group's exceptions to what they are to be: `known` are those that stand, `wanted` what is to
/// be in the first, the second and so on. Each write holds only while its slice is as it was read.
///
/// # Errors
/// When the API server does not take a write for another reason than that the slice has changed.
pub async fn write_exceptions(
    client: &Client,
    group: &CollectorGroup,
    known: &[Arc<AgentSlice>],
    wanted: Vec<AgentSliceSpec>,
) -> kube::Result<Written> {
    let api: Api<AgentSlice> = Api::namespaced(client.clone(), &group.namespace().unwrap_or_default());
    let mut written = Written::Unchanged;
    let names: Vec<String> = (0..wanted.len()).map(|index| name(group, index)).collect();
    for (name, spec) in names.iter().zip(wanted) {
        let stands = known.iter().find(|slice| slice.name_any() == *name);
        if stands.is_some_and(|stands| stands.spec == spec) {
            continue;
        }
        if !put(&api, slice(group, name, stands, spec)).await? {
            return Ok(Written::Conflict);
        }
        written = Written::Yes;
    }
    for surplus in known.iter().filter(|slice| !names.contains(&slice.name_any())) {
        if !delete(&api, surplus).await? {
            return Ok(Written::Conflict);
        }
        written = Written::Yes;
    }
    Ok(written)
}

/// The group's uid, because a group that is made anew under the same name is another one.
fn name(group: &CollectorGroup, index: usize) -> String {
    format!("{EXCEPTIONS}-{}-{index}", group.uid().unwrap_or_default())
}

fn slice(
    group: &CollectorGroup,
    name: &str,
    stands: Option<&Arc<AgentSlice>>,
    spec: AgentSliceSpec,
) -> AgentSlice {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some([(CONTENT_LABEL.to_owned(), EXCEPTIONS.to_owned())].into()),
        owner_references: group.owner_ref(&()).map(|owner| vec![owner]),
        resource_version: stands.and_then(|stands| stands.resource_version()),
        ..ObjectMeta::default()
    };
    AgentSlice { metadata, spec }
}

/// True if it was taken; false if the slice has changed meanwhile.
async fn put(api: &Api<AgentSlice>, slice: AgentSlice) -> kube::Result<bool> {
    let written = if slice.metadata.resource_version.is_some() {
        api.replace(&slice.name_any(), &PostParams::default(), &slice).await
    } else {
        api.create(&PostParams::default(), &slice).await
    };
    unless_changed(written.map(drop))
}

pub(super) async fn delete(api: &Api<AgentSlice>, slice: &AgentSlice) -> kube::Result<bool> {
    let preconditions = Preconditions { resource_version: slice.resource_version(), uid: slice.uid() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_changed(api.delete(&slice.name_any(), &params).await.map(drop))
}

fn unless_changed(result: kube::Result<()>) -> kube::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}
