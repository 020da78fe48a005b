//! What the leader sees: the slices of all replicas, and which of these are alive.

use super::exceptions::tells_of_exceptions;
use super::liveness::{Liveness, Moment, Sight};
use super::registry::{Registry, replica_of};
use super::watching::{pauses, watching};
use crate::api::{AgentSlice, REPLICA_LABEL};
use crate::fleet::{ObservedAgent, Replica, SliceSource, merge, unpack_exceptions};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Tells that something changed; how often does not matter, only that it did.
pub type Changes = watch::Receiver<u64>;

/// All slices as the leader knows them. Cheap to clone: a handle.
#[derive(Clone)]
pub struct Observatory {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Inner {
    /// By namespace, then by name.
    slices: BTreeMap<String, BTreeMap<String, Arc<AgentSlice>>>,
    /// The leader's own, in the same way.
    exceptions: BTreeMap<String, BTreeMap<String, Arc<AgentSlice>>>,
    liveness: Liveness,
    registry: Registry,
    /// Who was alive when the agents were last merged, by namespace: who is behind in one is alive in others.
    replicas: BTreeMap<String, BTreeMap<String, Replica>>,
    /// Merged agents, until something changes.
    merged: HashMap<String, Arc<[ObservedAgent]>>,
    slices_listed: bool,
    leases_listed: bool,
}

impl Default for Observatory {
    fn default() -> Self {
        Self { inner: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }
}

impl Observatory {
    /// The agents of a namespace, in order of group; nothing until slices and Leases have been read once: without that, agents that
    /// are there would look gone.
    pub fn agents(&self, namespace: &str) -> Option<Arc<[ObservedAgent]>> {
        let mut inner = self.lock();
        if !inner.slices_listed || !inner.leases_listed {
            return None;
        }
        if let Some(agents) = inner.merged.get(namespace) {
            return Some(agents.clone());
        }
        let agents: Arc<[ObservedAgent]> = inner.merge(namespace).into();
        inner.merged.insert(namespace.to_owned(), agents.clone());
        Some(agents)
    }

    /// The slices of replicas that are dead, of every namespace, of which `outlived` says that they have nothing more to
    /// tell; nothing until slices and Leases have been read once.
    pub fn outlived(
        &self,
        outlived: impl for<'a> Fn(&str, &[SliceSource<'a>]) -> Vec<&'a str>,
    ) -> Vec<Arc<AgentSlice>> {
        let inner = self.lock();
        if !inner.slices_listed || !inner.leases_listed {
            return Vec::new();
        }
        // Who is only behind will not write its slices anew when it can, so they have to stay.
        let now = Instant::now();
        let of = |(namespace, slices): (&String, &BTreeMap<String, Arc<AgentSlice>>)| {
            let alive = |replica: &str| inner.liveness.of(replica, now);
            let sources: Vec<SliceSource<'_>> = inner.sources(namespace, alive).collect();
            let names = outlived(namespace, &sources);
            names.into_iter().filter_map(|name| slices.get(name).cloned()).collect::<Vec<_>>()
        };
        inner.slices.iter().flat_map(of).collect()
    }

    /// The Leases that replicas left behind when they ended, `after` they ran out: those of which no slice is left.
    pub fn abandoned(&self, after: Duration) -> Vec<Arc<Lease>> {
        let inner = self.lock();
        if !inner.slices_listed || !inner.leases_listed {
            return Vec::new();
        }
        let has_slices = |replica: &str| {
            inner.slices.values().flat_map(BTreeMap::values).any(|slice| slice.spec.replica == replica)
        };
        inner.registry.abandoned(after, has_slices, Instant::now())
    }

    /// The slices of a group's exceptions.
    pub fn exceptions(&self, namespace: &str, group: &str) -> Vec<Arc<AgentSlice>> {
        let inner = self.lock();
        let here = inner.exceptions.get(namespace).into_iter().flat_map(BTreeMap::values);
        here.filter(|slice| slice.spec.groups.iter().any(|name| name == group)).cloned().collect()
    }

    /// Until when every living replica is known to have watched its agents of a namespace; nothing if none is alive.
    pub fn watched_until(&self, namespace: &str) -> Option<Timestamp> {
        self.lock().liveness.watched_until(namespace, Instant::now())
    }

    /// Tells of changes from now on.
    pub fn changes(&self) -> Changes {
        self.changed.subscribe()
    }

    /// Follows slices and replicas' Leases for ever; `recheck` is how often to ask whether a Lease ran out.
    pub async fn follow(&self, client: Client, namespace: &str, recheck: Duration) {
        let slices = async {
            // What a Lease tells of has been written by then, so a list of all slices has it or never will.
            drop(self.changes().wait_for(|_| self.lock().leases_listed).await);
            self.follow_slices(client.clone()).await;
        };
        let leases = self.follow_leases(client.clone(), namespace);
        let recheck = async {
            let mut ticks = tokio::time::interval(recheck);
            loop {
                ticks.tick().await;
                self.update(|inner| inner.recheck(Instant::now()));
            }
        };
        tokio::join!(slices, leases, recheck);
    }

    async fn follow_slices(&self, client: Client) {
        let api: Api<DeserializeGuard<AgentSlice>> = Api::all(client);
        let mut events = watcher(api, watching()).backoff(pauses()).boxed();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => self.update(|inner| inner.apply(event)),
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "cannot watch agent slices"),
            }
        }
    }

    async fn follow_leases(&self, client: Client, namespace: &str) {
        let api: Api<Lease> = Api::namespaced(client, namespace);
        let mut events = watcher(api, watching().labels(REPLICA_LABEL)).backoff(pauses()).boxed();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => self.update(|inner| inner.apply_lease(event, Moment::now())),
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "cannot watch leases"),
            }
        }
    }

    fn update(&self, change: impl FnOnce(&mut Inner) -> bool) {
        if change(&mut self.lock()) {
            self.changed.send_modify(|version| *version += 1);
        }
    }

    /// A panic elsewhere leaves the maps whole: each change is one insert or remove.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The slices of a namespace, each with what is known of its replica.
    fn sources(
        &self,
        namespace: &str,
        known: impl Fn(&str) -> Replica,
    ) -> impl Iterator<Item = SliceSource<'_>> {
        let slices = self.slices.get(namespace).into_iter().flatten();
        slices.map(move |(name, slice)| SliceSource {
            name,
            replica: known(&slice.spec.replica),
            slice: &slice.spec,
        })
    }

    /// In order of group, so that a group's agents are one part of the list: it is asked for at every step.
    fn merge(&self, namespace: &str) -> Vec<ObservedAgent> {
        let exceptions = self.exceptions.get(namespace).into_iter().flat_map(BTreeMap::values);
        let binding = exceptions.map(|slice| &slice.spec).filter(|slice| !slice.principals.is_empty());
        let known = |replica: &str| {
            let known = self.replicas.get(namespace).and_then(|replicas| replicas.get(replica));
            known.copied().unwrap_or(Replica::Dead(Timestamp::UNIX_EPOCH))
        };
        let mut agents = merge(self.sources(namespace, known), &unpack_exceptions(binding).bindings);
        agents.sort_by(|a, b| (&a.group, a.uid).cmp(&(&b.group, b.uid)));
        agents
    }

    fn apply(&mut self, event: watcher::Event<DeserializeGuard<AgentSlice>>) -> bool {
        match event {
            watcher::Event::Init => {
                self.slices.clear();
                self.exceptions.clear();
                self.slices_listed = false;
                self.liveness.slices_are_going_to_be_listed();
                false
            }
            watcher::Event::InitApply(slice) | watcher::Event::Apply(slice) => {
                self.liveness.slices_are_seen(version(&slice));
                self.put(slice)
            }
            watcher::Event::InitDone => {
                self.slices_listed = true;
                self.liveness.slices_are_listed();
                self.merged.clear();
                self.recheck(Instant::now());
                true
            }
            watcher::Event::Delete(slice) => {
                let namespace = slice.namespace().unwrap_or_default();
                self.liveness.slices_are_seen(version(&slice));
                self.merged.remove(&namespace);
                let slices =
                    if tells_of_exceptions(slice.labels()) { &mut self.exceptions } else { &mut self.slices };
                slices.get_mut(&namespace).is_some_and(|slices| slices.remove(&slice.name_any()).is_some())
            }
        }
    }

    fn put(&mut self, slice: DeserializeGuard<AgentSlice>) -> bool {
        let (namespace, name) = (slice.namespace().unwrap_or_default(), slice.name_any());
        match slice.0 {
            Ok(slice) if tells_of_exceptions(slice.labels()) => {
                let binds = !slice.spec.principals.is_empty();
                let before =
                    self.exceptions.entry(namespace.clone()).or_default().insert(name, Arc::new(slice));
                if binds || before.is_some_and(|before| !before.spec.principals.is_empty()) {
                    self.merged.remove(&namespace);
                }
                true
            }
            Ok(slice) => {
                self.merged.remove(&namespace);
                self.slices.entry(namespace).or_default().insert(name, Arc::new(slice));
                self.recheck(Instant::now());
                true
            }
            Err(invalid) => {
                tracing::warn!(namespace, name, error = %invalid.error, "cannot read agent slice");
                false
            }
        }
    }

    fn apply_lease(&mut self, event: watcher::Event<Lease>, now: Moment) -> bool {
        match event {
            watcher::Event::Init => {
                self.registry.relist();
                false
            }
            watcher::Event::InitApply(lease) => self.put_lease(lease, Sight::Found, now),
            watcher::Event::Apply(lease) => self.put_lease(lease, Sight::Told, now),
            watcher::Event::InitDone => {
                self.leases_listed = true;
                for gone in self.registry.are_listed() {
                    self.forget(&gone);
                }
                self.recheck(now.instant);
                true
            }
            watcher::Event::Delete(lease) => {
                self.registry.remove(&lease.name_any());
                self.forget(&lease);
                self.recheck(now.instant)
            }
        }
    }

    fn put_lease(&mut self, lease: Lease, sight: Sight, now: Moment) -> bool {
        let released = lease.spec.as_ref().is_none_or(|spec| spec.holder_identity.is_none());
        match replica_of(&lease) {
            Some(replica) if released => self.liveness.forget(&replica),
            _ => self.liveness.observe(&lease, sight, now),
        }
        self.registry.put(lease, now.instant);
        self.recheck(now.instant)
    }

    fn forget(&mut self, lease: &Lease) {
        if let Some(replica) = replica_of(lease) {
            self.liveness.forget(&replica);
        }
    }

    /// Asks again who is alive; true if that changed.
    fn recheck(&mut self, now: Instant) -> bool {
        self.replicas.retain(|namespace, _| self.slices.contains_key(namespace));
        let mut changed = false;
        for (namespace, slices) in &self.slices {
            let of = |replica: &String| self.liveness.of_slices(replica, namespace, now);
            let replicas = slices.values().map(|slice| &slice.spec.replica);
            let replicas = replicas.map(|replica| (replica.clone(), of(replica))).collect();
            if self.replicas.get(namespace) != Some(&replicas) {
                self.replicas.insert(namespace.clone(), replicas);
                self.merged.remove(namespace);
                changed = true;
            }
        }
        changed
    }
}

/// The version of a slice; zero if that is no number, which it is by KEP-5504.
fn version(slice: &DeserializeGuard<AgentSlice>) -> u64 {
    slice.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AgentSliceSpec, WRITTEN_ANNOTATION};
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use kube::api::ObjectMeta;
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};

    fn slice(version: u64) -> DeserializeGuard<AgentSlice> {
        let metadata = ObjectMeta {
            name: Some("a-0".into()),
            namespace: Some("ns".into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        let spec = AgentSliceSpec { replica: "a".into(), ..AgentSliceSpec::default() };
        DeserializeGuard(Ok(AgentSlice { metadata, spec }))
    }

    /// The replica's Lease, renewed at this second after the last slice was written in this version.
    fn lease(second: i64, written: u64) -> Lease {
        let metadata = ObjectMeta {
            name: Some("opamp-operator-replica-a".into()),
            labels: Some([(REPLICA_LABEL.to_owned(), "a".to_owned())].into()),
            annotations: Some([(WRITTEN_ANNOTATION.to_owned(), written.to_string())].into()),
            resource_version: Some(second.to_string()),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            holder_identity: Some("a".into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(second).expect("in range"))),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    /// The two watches do not keep step: whatever one of them tells, the agents were watched only as far as both go.
    #[tokio::test(start_paused = true)]
    async fn agents_are_watched_as_far_as_both_leases_and_slices_were_seen() {
        let mut inner = Inner::default();
        let start = Moment::now();
        let after = |seconds| {
            let later = Duration::from_secs(seconds);
            Moment { instant: start.instant + later, wall: start.wall + later }
        };
        let watched = |inner: &Inner, seconds| {
            let until = inner.liveness.watched_until("ns", after(seconds).instant);
            until.map(|until| until.duration_since(start.wall).as_secs())
        };
        for event in [Init, InitApply(lease(0, 7)), InitDone] {
            inner.apply_lease(event, after(0));
        }
        // The slice that was written last has been deleted since.
        for event in [Init, InitApply(slice(5)), InitDone] {
            inner.apply(event);
        }
        inner.apply_lease(Apply(lease(5, 7)), after(5));
        assert_eq!(watched(&inner, 5), Some(5));
        inner.apply_lease(Apply(lease(10, 12)), after(10));
        assert_eq!(watched(&inner, 10), Some(5));
        inner.apply(Apply(slice(12)));
        assert_eq!(watched(&inner, 10), Some(10));
        inner.apply_lease(Apply(lease(15, 13)), after(15));
        inner.apply(Delete(slice(14)));
        assert_eq!(watched(&inner, 15), Some(15));
        for event in [Init, InitApply(lease(20, 13)), InitDone] {
            inner.apply_lease(event, after(20));
        }
        assert_eq!(watched(&inner, 20), Some(15), "found, not told");
        inner.apply_lease(Apply(lease(25, 16)), after(25));
        for event in [Init, InitApply(slice(13)), InitDone] {
            inner.apply(event);
        }
        assert_eq!(watched(&inner, 25), Some(25), "listed since");
    }
}
