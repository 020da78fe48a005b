//! What the reconciles share: the leader's stores, its Lease, and the guarded ways to read and write.

use super::left::Left;
use super::lock::lock;
use super::order::Order;
use super::revision::Known;
use crate::api::{CollectorGroup, ConfigRevision, ConfigRollout};
use crate::cluster::{Announcer, Held, Observatory, Whole, Written, write_status};
use crate::config::{ConfigHash, HashKey, Inventory};
use crate::notify::Outbox;
use crate::rollout::{Claim, Content, Furthest, RevisionFacts, holder};
use crate::telemetry::{ControlMetrics, FleetMetrics, RolloutMetrics, Write};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A resource that may turn out to be unreadable; the others go on.
pub type Guarded<K> = DeserializeGuard<K>;

/// What a leader is made of.
pub struct LeaderConfig {
    /// The client.
    pub client: Client,
    /// What all replicas see.
    pub observatory: Observatory,
    /// The replica's identity, for Events.
    pub identity: String,
    /// Where it is told how the fleet is.
    pub fleet_metrics: FleetMetrics,
    /// Where it is told how rollouts are.
    pub rollout_metrics: RolloutMetrics,
    /// Where the leader's own work is counted.
    pub control_metrics: ControlMetrics,
    /// Where notifications of what it writes are put.
    pub outbox: Outbox,
    /// The key of the content hashes.
    pub key: HashKey,
    /// Whether this process still holds the leader's Lease.
    pub held: watch::Receiver<Option<Held>>,
    /// Shortest time between two status writes of an object that change no state.
    pub status_interval: Duration,
    /// An agent's heartbeat, or the interval of its polls, as it is assumed.
    pub assumed_interval: Duration,
    /// How long the agents of a replica that died are waited for.
    pub unreachable_for: Duration,
    /// How long the agents of each step of an adoption but the last must stay healthy.
    pub adoption_soaks: [Duration; 3],
    /// How long agents must be well that were told where to send their own telemetry, before the next are.
    pub telemetry_settle: Duration,
    /// The first pause after a reconcile that failed; each further one doubles it.
    pub retry: Duration,
}

/// A rollout's content, and what it was made from: while that stands, nothing is read again.
pub struct Cached {
    /// What it was made from.
    pub basis: Basis,
    /// What it came to.
    pub content: Content,
}

/// What a content is made from: the spec's generation and the versions of the objects that it refers to.
#[derive(Clone, PartialEq, Eq)]
pub struct Basis {
    /// The spec's generation.
    pub generation: Option<i64>,
    /// Kind, name and version of each object.
    pub references: Vec<(&'static str, String, Option<String>)>,
}

/// The leader's Lease as it was when office was taken. One that was lost and taken back is another one.
#[derive(Clone)]
pub struct Office {
    held: watch::Receiver<Option<Held>>,
    /// How often the Lease had changed hands.
    transitions: i64,
}

impl Office {
    /// The one that is taken now.
    pub(super) fn new(held: watch::Receiver<Option<Held>>) -> Self {
        let transitions = held.borrow().as_ref().map_or(0, |held| held.transitions);
        Self { held, transitions }
    }

    /// How often the Lease had changed hands.
    pub(super) fn transitions(&self) -> i64 {
        self.transitions
    }

    /// Whether this process still leads.
    pub(super) fn is_held(&self) -> bool {
        self.held.borrow().is_some_and(|held| held.is_valid() && held.transitions == self.transitions)
    }
}

/// The state that both controllers share.
pub struct Leader {
    pub(super) client: Client,
    pub(super) announcer: Announcer,
    pub(super) observatory: Observatory,
    pub(super) fleet_metrics: FleetMetrics,
    pub(super) rollout_metrics: RolloutMetrics,
    pub(super) control_metrics: ControlMetrics,
    /// How far attempts ever came, by the rollout's uid.
    pub(super) furthest: Mutex<HashMap<String, Furthest>>,
    pub(super) outbox: Outbox,
    pub(super) key: HashKey,
    pub(super) term: i64,
    pub(super) stores: Stores,
    pub(super) contents: Mutex<HashMap<String, Cached>>,
    /// What stands for the telemetry of each group's agents, by the group's uid.
    pub(super) telemetry: Mutex<HashMap<String, (Basis, ConfigHash)>>,
    /// What a newer version has, as far as that was told.
    pub(super) left: Left,
    office: Office,
    paces: Mutex<HashMap<String, Instant>>,
    pub(super) status_interval: Duration,
    pub(super) assumed_interval: Duration,
    pub(super) unreachable_for: Duration,
    pub(super) adoption_soaks: [Duration; 3],
    pub(super) telemetry_settle: Duration,
    pub(super) retry: Duration,
    pub(super) deposed: watch::Sender<bool>,
    pub(super) order: Order,
}

/// What the leader has read of the cluster. Revisions are kept without their bodies.
pub(super) struct Stores {
    pub rollouts: Store<Guarded<Whole<ConfigRollout>>>,
    pub groups: Store<Guarded<Whole<CollectorGroup>>>,
    pub revisions: Store<Guarded<ConfigRevision>>,
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
    pub secrets: Store<PartialObjectMeta<Secret>>,
    /// How many of them have not been listed once.
    pub unlisted: Arc<AtomicUsize>,
}

impl Stores {
    /// Whether everything has been listed once; whoever is called before that is called again when it is.
    ///
    /// It is asked and never awaited: a store wakes only the last of several that wait for it, and a reconcile
    /// that is not woken keeps its object from ever being reconciled again.
    pub fn are_ready(&self) -> bool {
        self.unlisted.load(Ordering::Acquire) == 0
    }
}

/// A reconcile that failed, with its causes.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] pub(super) anyhow::Error);

/// This process leads no more.
#[derive(Debug, thiserror::Error)]
#[error("the leader's lease is no longer held")]
pub struct LeaseLost;

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self(error.into())
    }
}

impl Leader {
    /// The state of a leader in this term, with its office.
    pub(super) fn new(config: LeaderConfig, office: Office, term: i64, stores: Stores) -> Self {
        Self {
            announcer: Announcer::new(config.client.clone(), &config.identity),
            client: config.client,
            observatory: config.observatory,
            fleet_metrics: config.fleet_metrics,
            rollout_metrics: config.rollout_metrics,
            control_metrics: config.control_metrics,
            furthest: Mutex::default(),
            outbox: config.outbox,
            key: config.key,
            office,
            status_interval: config.status_interval,
            assumed_interval: config.assumed_interval,
            unreachable_for: config.unreachable_for,
            adoption_soaks: config.adoption_soaks,
            telemetry_settle: config.telemetry_settle,
            retry: config.retry,
            term,
            stores,
            contents: Mutex::default(),
            telemetry: Mutex::default(),
            left: Left::default(),
            paces: Mutex::default(),
            deposed: watch::Sender::new(false),
            order: Order::default(),
        }
    }

    /// Whether this process may still write; asked at every write.
    pub(super) fn may_write(&self) -> bool {
        self.office.is_held()
    }

    /// Fails when this process may no longer write.
    pub(super) fn check_lease(&self) -> Result<(), Error> {
        if self.may_write() { Ok(()) } else { Err(Error(LeaseLost.into())) }
    }

    /// Another leader has written: this one ends.
    pub(super) fn step_down(&self) {
        self.deposed.send_replace(true);
    }

    /// The revisions of a namespace by name.
    pub(super) fn revisions(&self, namespace: &str) -> BTreeMap<String, Known> {
        let all = self.stores.revisions.state();
        let here = all.iter().filter(|guarded| guarded.namespace().as_deref() == Some(namespace));
        here.filter_map(|guarded| {
            let revision = guarded.0.as_ref().ok()?;
            let known = Known {
                rollout: revision.spec.rollout.clone(),
                number: revision.spec.number,
                hash: revision.spec.hash.parse().ok()?,
                state: revision.status.as_ref().map(|status| status.state).unwrap_or_default(),
            };
            Some((revision.name_any(), known))
        })
        .collect()
    }

    /// The component types that these revisions need, as far as they are known.
    pub(super) fn needs<'a>(
        &self,
        namespace: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, Inventory> {
        let needed = |name: &'a str| {
            let known = self.revision(namespace, name)?;
            let components = known.0.as_ref().ok()?.spec.components.clone()?;
            Some((name.to_owned(), Inventory::new(components)))
        };
        names.into_iter().filter_map(needed).collect()
    }

    /// One revision as it stands, without its bodies.
    pub(super) fn revision(&self, namespace: &str, name: &str) -> Option<Arc<Guarded<ConfigRevision>>> {
        self.stores.revisions.get(&ObjectRef::new(name).within(namespace))
    }

    /// Holds back a status write that changes no state, so that an object's status is written at most once in
    /// the interval; how long to wait, if it is to wait.
    pub(super) fn hold_back(&self, object: &str, urgent: bool) -> Option<Duration> {
        let now = Instant::now();
        let mut paces = lock(&self.paces);
        let last = paces.get(object).copied();
        let wait = last.map_or(Duration::ZERO, |last| self.status_interval.saturating_sub(now - last));
        if !urgent && !wait.is_zero() {
            return Some(wait);
        }
        paces.insert(object.to_owned(), now);
        None
    }
}

/// Random bits for the seed of a new attempt or adoption.
pub fn entropy() -> Result<u64, Error> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}").into())
}

/// The name of the rollout that holds a group.
pub fn holder_of(leader: &Leader, namespace: &str, group: &str) -> Option<String> {
    let all = leader.stores.rollouts.state();
    let readable = all.iter().filter_map(|guarded| guarded.0.as_ref().ok());
    let here = readable.filter(|rollout| {
        rollout.metadata.namespace.as_deref() == Some(namespace) && rollout.spec.group_name == group
    });
    holder(here.filter_map(|rollout| claim(rollout))).map(str::to_owned)
}

/// A rollout's claim to its group; nothing once it is being deleted.
pub(super) fn claim(rollout: &ConfigRollout) -> Option<Claim<'_>> {
    rollout.metadata.deletion_timestamp.is_none().then(|| Claim {
        name: rollout.metadata.name.as_deref().unwrap_or_default(),
        created: rollout.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
    })
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

/// Writes a status, unless the Lease is gone: then nothing is written, and the next leader decides.
pub async fn write_if_leading<K, S>(
    leader: &Leader,
    kind: &'static str,
    api: &Api<K>,
    object: &Whole<K>,
    old: &S,
    new: &S,
) -> Result<Written, Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    S: serde::Serialize,
{
    if !leader.may_write() {
        return Ok(Written::Conflict);
    }
    let written = write_status(api, object, old, new).await;
    let counted = match &written {
        Ok(Written::Yes) => Some(Write::Ok),
        Ok(Written::Unchanged) => None,
        Ok(Written::Conflict) => Some(Write::Conflict),
        Ok(Written::Deposed) => Some(Write::Deposed),
        Err(_) => Some(Write::Error),
    };
    if let Some(write) = counted {
        leader.control_metrics.status_written(kind, write);
    }
    Ok(written?)
}

/// Revisions by name, as the step of this rollout needs to know them.
pub(super) fn facts(known: &BTreeMap<String, Known>, rollout: &str) -> BTreeMap<String, RevisionFacts> {
    let fact = |revision: &Known| RevisionFacts {
        hash: revision.hash,
        number: revision.number,
        state: revision.state,
        own: revision.rollout == rollout,
    };
    known.iter().map(|(name, revision)| (name.clone(), fact(revision))).collect()
}

/// The hashes of revisions by name.
pub(super) fn hashes(known: &BTreeMap<String, Known>) -> BTreeMap<String, ConfigHash> {
    known.iter().map(|(name, revision)| (name.clone(), revision.hash)).collect()
}
