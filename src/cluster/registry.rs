//! The Leases of replicas as objects: which of them nobody will renew any more.

use super::liveness::duration_of;
use crate::api::REPLICA_LABEL;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The Leases of replicas. Their names change with every restart, so some have to go.
#[derive(Default)]
pub struct Registry {
    leases: BTreeMap<String, Registered>,
    /// Those that are there, while they are listed anew.
    listed: Option<BTreeSet<String>>,
}

struct Registered {
    lease: Arc<Lease>,
    /// Since when it stands as it does, by this process's clock.
    since: Instant,
}

impl Registry {
    /// Takes in a Lease as it stands.
    pub fn put(&mut self, lease: Lease, now: Instant) {
        let name = lease.name_any();
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        let version = |lease: &Lease| (lease.uid(), lease.resource_version());
        let unchanged =
            self.leases.get(&name).is_some_and(|before| version(&before.lease) == version(&lease));
        if !unchanged {
            self.leases.insert(name, Registered { lease: Arc::new(lease), since: now });
        }
    }

    /// A Lease was deleted.
    pub fn remove(&mut self, name: &str) {
        self.leases.remove(name);
    }

    /// All are going to be listed anew.
    pub fn relist(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// All were listed; those that are gone.
    pub fn are_listed(&mut self) -> Vec<Arc<Lease>> {
        let Some(listed) = self.listed.take() else { return Vec::new() };
        let gone = self.leases.extract_if(.., |name, _| !listed.contains(name));
        gone.map(|(_, gone)| gone.lease).collect()
    }

    /// The Leases that can go: given back or run out for `after`, and nothing stands in the replica's slices.
    pub fn abandoned(
        &self,
        after: Duration,
        has_slices: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Vec<Arc<Lease>> {
        let is_abandoned = |entry: &&Registered| {
            let Some(replica) = replica_of(&entry.lease) else { return false };
            now.duration_since(entry.since) >= duration_of(&entry.lease) + after && !has_slices(&replica)
        };
        self.leases.values().filter(is_abandoned).map(|entry| entry.lease.clone()).collect()
    }
}

/// Whose Lease it is, also when it is given back.
pub fn replica_of(lease: &Lease) -> Option<String> {
    lease.labels().get(REPLICA_LABEL).cloned()
}

/// Deletes a replica's Lease, unless it has changed since it was read, or is another one of the same name; true if it is
/// gone.
///
/// # Errors
/// When the API server does not take it for another reason.
pub async fn delete_lease(client: &Client, lease: &Lease) -> kube::Result<bool> {
    let api: Api<Lease> = Api::namespaced(client.clone(), &lease.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: lease.uid(), resource_version: lease.resource_version() };
    let only_this = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&lease.name_any(), &only_this).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use kube::api::ObjectMeta;

    #[tokio::test(start_paused = true)]
    async fn lease_goes_when_it_has_been_dead_for_long_and_nothing_stands_in_the_replicas_slices() {
        let (start, dead_for) = (Instant::now(), Duration::from_mins(3));
        let object = |version: &str, released: bool| {
            let metadata = ObjectMeta {
                name: Some("opamp-operator-replica-a".into()),
                labels: Some([(REPLICA_LABEL.to_owned(), "a".to_owned())].into()),
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            };
            let spec = LeaseSpec {
                holder_identity: (!released).then(|| "a".into()),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            };
            Lease { metadata, spec: Some(spec) }
        };
        for released in [false, true] {
            let mut registry = Registry::default();
            let goes = |registry: &Registry, has_slices: bool, seconds| {
                let now = start + Duration::from_secs(seconds);
                registry.abandoned(dead_for, |replica| replica == "a" && has_slices, now).len() == 1
            };
            registry.put(object("1", released), start);
            registry.put(object("1", released), start + Duration::from_secs(100));
            assert!(!goes(&registry, false, 194), "its agents are waited for");
            assert!(goes(&registry, false, 195), "found again it is no younger");
            assert!(!goes(&registry, true, 10_000), "its slices are still of use");
            registry.put(object("2", false), start + Duration::from_secs(200));
            assert!(!goes(&registry, false, 394), "its replica came back");
            registry.relist();
            registry.put(object("2", false), start + Duration::from_mins(5));
            assert!(registry.are_listed().is_empty() && goes(&registry, false, 395));
            registry.relist();
            assert_eq!(registry.are_listed().len(), 1, "somebody deleted it while nobody watched");
            assert!(!goes(&registry, false, 10_000));
        }
    }
}
