//! Whose the revisions of the cluster are: what tells an agent that runs another group's revision.

use crate::api::{AssignmentStatus, CollectorGroup, ConfigRevision};
use crate::config::ConfigHash;
use crate::fleet::{Belonging, Belongings, Claimant};
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All revisions by namespace and name, without their bodies.
#[derive(Default)]
pub struct Origins {
    known: BTreeMap<Arc<str>, BTreeMap<String, Origin>>,
    /// What the list that is under way has brought.
    listing: Option<BTreeMap<Arc<str>, BTreeMap<String, Origin>>>,
    listed: bool,
}

/// Where a revision comes from, and who owns it.
#[derive(PartialEq)]
struct Origin {
    hash: ConfigHash,
    rollout: String,
    owners: BTreeSet<String>,
}

impl Origins {
    /// Whether everything has been listed once: before that, an agent with another group's revision would seem to
    /// run nothing of ours.
    pub fn are_listed(&self) -> bool {
        self.listed
    }

    /// Takes in one event; true if something changed.
    pub fn apply(&mut self, event: watcher::Event<DeserializeGuard<ConfigRevision>>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing = Some(BTreeMap::new());
                false
            }
            watcher::Event::InitApply(revision) => {
                if let Some((key, name, origin)) = read(&revision) {
                    self.listing.get_or_insert_default().entry(key).or_default().insert(name, origin);
                }
                false
            }
            watcher::Event::InitDone => {
                self.known = self.listing.take().unwrap_or_default();
                self.listed = true;
                true
            }
            watcher::Event::Apply(revision) => read(&revision).is_some_and(|(key, name, origin)| {
                let known = self.known.entry(key).or_default();
                let changed = known.get(&name) != Some(&origin);
                known.insert(name, origin);
                changed
            }),
            watcher::Event::Delete(revision) => {
                let namespace: Arc<str> = revision.namespace().unwrap_or_default().into();
                let known = self.known.get_mut(&namespace);
                known.is_some_and(|known| known.remove(&revision.name_any()).is_some())
            }
        }
    }

    /// The namespaces that have revisions.
    pub fn namespaces(&self) -> Vec<Arc<str>> {
        self.known.keys().cloned().collect()
    }

    /// Whose the revisions of a namespace are, of these groups and their assignments.
    pub fn belongings<'a>(
        &self,
        namespace: &str,
        groups: impl Iterator<Item = (&'a CollectorGroup, Option<&'a AssignmentStatus>)>,
    ) -> Belongings {
        let known = self.known.get(namespace);
        let revisions: Vec<Belonging<'_>> = known
            .into_iter()
            .flatten()
            .map(|(name, origin)| Belonging {
                name,
                hash: origin.hash,
                rollout: &origin.rollout,
                owners: origin.owners.iter().map(String::as_str).collect(),
            })
            .collect();
        let groups: Vec<(Arc<str>, String, Vec<String>)> = groups
            .map(|(group, assignment)| {
                let live = assignment.map(AssignmentStatus::revisions).unwrap_or_default();
                (group.name_any().into(), group.uid().unwrap_or_default(), live)
            })
            .collect();
        let claimants: Vec<Claimant<'_>> =
            groups.iter().map(|(name, uid, live)| Claimant { name, uid, live: live.clone() }).collect();
        Belongings::new(&revisions, &claimants)
    }
}

/// A revision that cannot be read is left out.
fn read(revision: &DeserializeGuard<ConfigRevision>) -> Option<(Arc<str>, String, Origin)> {
    let read = revision.0.as_ref().ok()?;
    let origin = Origin {
        hash: read.spec.hash.parse().ok()?,
        rollout: read.spec.rollout.clone(),
        owners: read.owner_references().iter().map(|owner| owner.uid.clone()).collect(),
    };
    Some((revision.namespace().unwrap_or_default().into(), revision.name_any(), origin))
}
