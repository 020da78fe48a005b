//! The leader: what it watches, and the two controllers that it runs.

use super::announce::{of_deleted_group, of_deleted_rollout};
use super::context::{Error, Guarded, Leader, LeaderConfig, Office, Stores};
use super::farewells::Farewells;
use super::metrics::{Silence, counted};
use super::{group, rollout, term};
use crate::api::{CollectorGroup, ConfigRevision, ConfigRollout};
use crate::cluster::{Whole, pauses, watching};
use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Several changes within this time make one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Objects of one kind that are reconciled at the same time. A reconcile waits for the API server only, so a few
/// hide its latency; more would only load it.
const CONCURRENCY: u16 = 4;

/// Leads until the future is dropped, or another leader has a higher term.
///
/// # Errors
/// When office cannot be taken.
pub async fn lead(config: LeaderConfig) -> kube::Result<()> {
    let office = Office::new(config.held.clone());
    let term = term::take_office(&config.client, office.transitions()).await?;
    tracing::info!(term, "leading");
    let poke = watch::Sender::new(0_u64);
    let (stores, feeds) = Feeds::new(&config, &office, &poke);
    let leader = Arc::new(Leader::new(config, office, term, stores));
    let mut deposed = leader.deposed.subscribe();
    // Whoever ceases to lead ceases to tell of the fleet, however that ends.
    let (fleet, rollouts) = (leader.fleet_metrics.clone(), leader.rollout_metrics.clone());
    let _silent = Silence { fleet, rollouts };
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
        .run(reconcile_rollout, retry_later, leader.clone())
        .for_each(|_| std::future::ready(()));
    let groups = Controller::for_stream(feeds.groups, leader.stores.groups.clone())
        .with_config(config())
        .reconcile_all_on(changes(poke.subscribe()))
        .run(reconcile_group, retry_later, leader.clone())
        .for_each(|_| std::future::ready(()));
    let observed = changes(leader.observatory.changes()).for_each(|()| {
        poke.send_modify(|version| *version += 1);
        std::future::ready(())
    });
    // All groups and rollouts are gone through each time.
    let told = at_intervals(poke.subscribe(), leader.status_interval, || leader.tell_metrics());
    let swept = async {
        let mut ticks = tokio::time::interval(leader.assumed_interval);
        loop {
            ticks.tick().await;
            leader.sweep().await;
        }
    };
    tokio::join!(rollouts, groups, feeds.others, observed, told, swept);
}

async fn reconcile_rollout(
    rollout: Arc<Guarded<Whole<ConfigRollout>>>,
    leader: Arc<Leader>,
) -> Result<Action, Error> {
    counted(rollout::KIND, leader.clone(), Box::pin(rollout::reconcile(rollout, leader))).await
}

async fn reconcile_group(
    group: Arc<Guarded<Whole<CollectorGroup>>>,
    leader: Arc<Leader>,
) -> Result<Action, Error> {
    counted(group::KIND, leader.clone(), Box::pin(group::reconcile(group, leader))).await
}

/// Tells of changes of a number, and then waits: what changes meanwhile is told together.
async fn at_intervals(mut version: watch::Receiver<u64>, interval: Duration, tell: impl Fn()) {
    while version.changed().await.is_ok() {
        tell();
        tokio::time::sleep(interval).await;
    }
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

type Feed<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// The watches. The first two drive the controllers; each of them tells after its store has the change, so that
/// a reconcile never acts on less than what it was called for.
struct Feeds {
    rollouts: Feed<Guarded<Whole<ConfigRollout>>>,
    groups: Feed<Guarded<Whole<CollectorGroup>>>,
    others: futures::future::BoxFuture<'static, ()>,
}

impl Feeds {
    fn new(config: &LeaderConfig, office: &Office, poke: &watch::Sender<u64>) -> (Stores, Self) {
        let client = &config.client;
        let mut rollouts_end = Farewells::new(config, office, of_deleted_rollout);
        let mut groups_end = Farewells::new(config, office, of_deleted_group);
        let tell = Tell { poke: poke.clone(), unlisted: Arc::default() };
        let (rollouts, rollout_feed) =
            mirror(Api::all(client.clone()), &tell, |_| {}, move |event| rollouts_end.hear(event));
        let (groups, group_feed) =
            mirror(Api::all(client.clone()), &tell, |_| {}, move |event| groups_end.hear(event));
        let (revisions, revision_feed) = mirror(Api::all(client.clone()), &tell, strip_bodies, |_| {});
        let (config_maps, config_map_feed) = mirror(Api::all(client.clone()), &tell, |_| {}, |_| {});
        let (secrets, secret_feed) = mirror(Api::all(client.clone()), &tell, |_| {}, |_| {});
        let others = async {
            tokio::join!(drain(revision_feed), drain(config_map_feed), drain(secret_feed));
        };
        let stores = Stores { rollouts, groups, revisions, config_maps, secrets, unlisted: tell.unlisted };
        (stores, Self { rollouts: rollout_feed, groups: group_feed, others: Box::pin(others) })
    }
}

/// Tells the controllers of changes, once these are in the stores.
struct Tell {
    poke: watch::Sender<u64>,
    unlisted: Arc<AtomicUsize>,
}

impl Tell {
    /// Tells of one more kind, which is not listed yet.
    fn listing(&self) -> Listing {
        self.unlisted.fetch_add(1, Ordering::AcqRel);
        Listing { poke: self.poke.clone(), unlisted: self.unlisted.clone(), listed: false }
    }
}

/// Tells of one kind.
struct Listing {
    poke: watch::Sender<u64>,
    unlisted: Arc<AtomicUsize>,
    listed: bool,
}

impl Listing {
    fn of<K>(&mut self, event: &Result<watcher::Event<K>, watcher::Error>) {
        if matches!(event, Ok(watcher::Event::InitDone)) && !self.listed {
            self.listed = true;
            self.unlisted.fetch_sub(1, Ordering::AcqRel);
        }
        self.poke.send_modify(|version| *version += 1);
    }
}

fn strip_bodies(revision: &mut Guarded<ConfigRevision>) {
    if let Ok(revision) = &mut revision.0 {
        revision.spec.files.iter_mut().for_each(|file| file.body = None);
    }
}

/// Mirrors all objects of a kind; `heard` has each event after the store has it.
fn mirror<K>(
    api: Api<K>,
    tell: &Tell,
    modify: impl FnMut(&mut K) + Send + 'static,
    mut heard: impl FnMut(&watcher::Event<K>) + Send + 'static,
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
    let mut told = tell.listing();
    let feed = watcher(api, watching())
        .backoff(pauses())
        .modify(modify)
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(event) = event {
                heard(event);
            }
            told.of(event);
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const INTERVAL: Duration = Duration::from_secs(1);

    /// Ten seconds of a fleet in which something changes each so many milliseconds: how often that is told, and whether
    /// the last change is.
    async fn times_told(changes_each: u64) -> (usize, bool) {
        let poke = watch::Sender::new(0_u64);
        let (times, last) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let seen = poke.subscribe();
        let told = at_intervals(poke.subscribe(), INTERVAL, || {
            times.fetch_add(1, Ordering::Relaxed);
            last.store(usize::try_from(*seen.borrow()).expect("few"), Ordering::Relaxed);
        });
        let changes = async {
            for change in 1..=10_000 / changes_each {
                poke.send_replace(change);
                sleep(Duration::from_millis(changes_each)).await;
            }
            sleep(INTERVAL).await;
        };
        tokio::select! {
            () = told => unreachable!("the number may change for ever"),
            () = changes => {}
        }
        let is_last = last.load(Ordering::Relaxed) == usize::try_from(10_000 / changes_each).expect("few");
        (times.load(Ordering::Relaxed), is_last)
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_are_told_once_an_interval_however_often_something_changes_and_the_last_change_is_told() {
        // At once, and then each second: of what goes on for ten seconds eleven times.
        for (changes_each, times) in [(1, 11), (100, 11), (300, 11), (2_000, 5), (10_000, 1)] {
            assert_eq!(times_told(changes_each).await, (times, true), "a change each {changes_each} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_are_not_told_while_nothing_changes() {
        let poke = watch::Sender::new(7_u64);
        let told = AtomicUsize::new(0);
        let telling = at_intervals(poke.subscribe(), INTERVAL, || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        assert!(tokio::time::timeout(INTERVAL * 100, telling).await.is_err());
        assert_eq!(told.into_inner(), 0);
    }
}
