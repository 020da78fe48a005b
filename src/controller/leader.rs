//! The leader: what it watches, what it holds, and the two controllers that it runs.

use super::revision::Known;
use super::{group, rollout, term};
use crate::api::{CollectorGroup, ConfigRevision, ConfigRollout};
use crate::cluster::{Announcer, Held, Observatory};
use crate::config::{ConfigHash, HashKey};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A resource that may turn out to be unreadable; the others go on.
pub type Guarded<K> = DeserializeGuard<K>;

/// Several changes within this time make one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Objects of one kind that are reconciled at the same time. A reconcile waits for the API server only, so a few
/// hide its latency; more would only load it.
const CONCURRENCY: u16 = 4;

/// What a leader is made of.
pub struct LeaderConfig {
    /// The client.
    pub client: Client,
    /// What all replicas see.
    pub observatory: Observatory,
    /// The replica's identity, for Events.
    pub identity: String,
    /// The key of the content hashes.
    pub key: HashKey,
    /// Whether this process still holds the leader's Lease.
    pub held: watch::Receiver<Option<Held>>,
    /// Shortest time between two status writes of an object that change no state.
    pub status_interval: Duration,
    /// An agent's heartbeat, or the interval of its polls, as it is assumed.
    pub assumed_interval: Duration,
    /// The first pause after a reconcile that failed; each further one doubles it.
    pub retry: Duration,
}

/// The state that both controllers share.
pub struct Leader {
    pub(super) client: Client,
    pub(super) announcer: Announcer,
    pub(super) observatory: Observatory,
    pub(super) key: HashKey,
    pub(super) term: i64,
    pub(super) stores: Stores,
    pub(super) contents: Mutex<HashMap<String, rollout::Cached>>,
    held: watch::Receiver<Option<Held>>,
    paces: Mutex<HashMap<String, Instant>>,
    pub(super) status_interval: Duration,
    pub(super) assumed_interval: Duration,
    retry: Duration,
    deposed: watch::Sender<bool>,
}

/// What the leader has read of the cluster. Revisions are kept without their bodies.
pub(super) struct Stores {
    pub rollouts: Store<Guarded<ConfigRollout>>,
    pub groups: Store<Guarded<CollectorGroup>>,
    pub revisions: Store<Guarded<ConfigRevision>>,
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
    pub secrets: Store<PartialObjectMeta<Secret>>,
}

/// Leads until the future is dropped, or another leader has a higher term.
///
/// # Errors
/// When office cannot be taken.
pub async fn lead(config: LeaderConfig) -> kube::Result<()> {
    let transitions = config.held.borrow().as_ref().map_or(0, |held| held.transitions);
    let term = term::take_office(&config.client, transitions).await?;
    tracing::info!(term, "leading");
    let poke = watch::Sender::new(0_u64);
    let (stores, feeds) = Feeds::new(&config.client, &poke);
    let leader = Arc::new(Leader::new(config, term, stores));
    let mut deposed = leader.deposed.subscribe();
    tokio::select! {
        () = run(&leader, feeds, &poke) => {}
        _ = deposed.wait_for(|deposed| *deposed) => tracing::warn!(term, "another leader has a higher term"),
    }
    Ok(())
}

/// Runs both controllers. Whatever changes, every object is looked at again: what is done twice changes nothing.
async fn run(leader: &Arc<Leader>, feeds: Feeds, poke: &watch::Sender<u64>) {
    let config = || controller::Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let rollouts = Controller::for_stream(feeds.rollouts, leader.stores.rollouts.clone())
        .with_config(config())
        .reconcile_all_on(changes(poke.subscribe()))
        .run(rollout::reconcile, retry_later, leader.clone())
        .for_each(|_| std::future::ready(()));
    let groups = Controller::for_stream(feeds.groups, leader.stores.groups.clone())
        .with_config(config())
        .reconcile_all_on(changes(poke.subscribe()))
        .run(group::reconcile, retry_later, leader.clone())
        .for_each(|_| std::future::ready(()));
    let observed = changes(leader.observatory.changes()).for_each(|()| {
        poke.send_modify(|version| *version += 1);
        std::future::ready(())
    });
    tokio::join!(rollouts, groups, feeds.others, observed);
}

/// Each change of a number that only grows.
fn changes(receiver: watch::Receiver<u64>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(receiver, async |mut receiver| {
        receiver.changed().await.ok()?;
        Some(((), receiver))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that a controller wants")]
fn retry_later<K: Resource<DynamicType = ()>>(
    object: Arc<Guarded<K>>,
    error: &Error,
    leader: Arc<Leader>,
) -> Action {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    tracing::warn!(kind = %K::kind(&()), namespace, name, error = %format!("{:#}", error.0), "reconcile failed");
    Action::requeue(leader.retry)
}

/// A reconcile that failed, with its causes.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] anyhow::Error);

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self(error.into())
    }
}

impl Leader {
    fn new(config: LeaderConfig, term: i64, stores: Stores) -> Self {
        Self {
            announcer: Announcer::new(config.client.clone(), &config.identity),
            client: config.client,
            observatory: config.observatory,
            key: config.key,
            held: config.held,
            status_interval: config.status_interval,
            assumed_interval: config.assumed_interval,
            retry: config.retry,
            term,
            stores,
            contents: Mutex::default(),
            paces: Mutex::default(),
            deposed: watch::Sender::new(false),
        }
    }

    /// Whether this process may still write; asked at every write.
    pub(super) fn may_write(&self) -> bool {
        self.held.borrow().is_some_and(|held| held.is_valid())
    }

    /// Fails when this process may no longer write.
    pub(super) fn check_lease(&self) -> Result<(), Error> {
        if self.may_write() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("the leader's lease is no longer held").into())
        }
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
            };
            Some((revision.name_any(), known))
        })
        .collect()
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

/// A panic elsewhere leaves the maps whole: each change is one insert.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hashes of revisions by name.
pub(super) fn hashes(known: &BTreeMap<String, Known>) -> BTreeMap<String, ConfigHash> {
    known.iter().map(|(name, revision)| (name.clone(), revision.hash)).collect()
}

type Feed<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// The watches. The first two drive the controllers; each of them tells after its store has the change, so that
/// a reconcile never acts on less than what it was called for.
struct Feeds {
    rollouts: Feed<Guarded<ConfigRollout>>,
    groups: Feed<Guarded<CollectorGroup>>,
    others: futures::future::BoxFuture<'static, ()>,
}

impl Feeds {
    fn new(client: &Client, poke: &watch::Sender<u64>) -> (Stores, Self) {
        let (rollouts, rollout_feed) = mirror(Api::all(client.clone()), poke, |_| {});
        let (groups, group_feed) = mirror(Api::all(client.clone()), poke, |_| {});
        let (revisions, revision_feed) = mirror(Api::all(client.clone()), poke, strip_bodies);
        let (config_maps, config_map_feed) = mirror(Api::all(client.clone()), poke, |_| {});
        let (secrets, secret_feed) = mirror(Api::all(client.clone()), poke, |_| {});
        let others = async {
            tokio::join!(drain(revision_feed), drain(config_map_feed), drain(secret_feed));
        };
        let stores = Stores { rollouts, groups, revisions, config_maps, secrets };
        (stores, Self { rollouts: rollout_feed, groups: group_feed, others: Box::pin(others) })
    }
}

fn strip_bodies(revision: &mut Guarded<ConfigRevision>) {
    if let Ok(revision) = &mut revision.0 {
        revision.spec.files.iter_mut().for_each(|file| file.body = None);
    }
}

fn mirror<K>(
    api: Api<K>,
    poke: &watch::Sender<u64>,
    modify: impl FnMut(&mut K) + Send + 'static,
) -> (Store<K>, Feed<K>)
where
    K: Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let (reader, writer) = reflector::store();
    let poke = poke.clone();
    let feed = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(modify)
        .reflect(writer)
        .inspect(move |_| poke.send_modify(|version| *version += 1))
        .touched_objects();
    (reader, feed.boxed())
}

async fn drain<K>(mut feed: Feed<K>) {
    while let Some(event) = feed.next().await {
        if let Err(error) = event {
            tracing::warn!(%error, "cannot watch");
        }
    }
}
