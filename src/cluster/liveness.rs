//! Which replicas are alive, judged by their Leases, and which of these nobody will renew any more.

use crate::api::REPLICA_LABEL;
use crate::fleet::Replica;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Which replicas are alive, judged by the observer's own clock.
#[derive(Default)]
pub struct Liveness {
    seen: BTreeMap<String, Renewal>,
}

/// The last change of a replica's Lease that was seen, and when.
struct Renewal {
    told: Option<MicroTime>,
    at: Moment,
    /// When it was seen to be renewed. One that was only found may have been renewed long ago, by somebody who is dead.
    renewed: Option<Timestamp>,
    /// Since when it has been renewed without a break.
    alive_from: Timestamp,
    duration: Duration,
}

/// A time by both clocks: the one that only goes forward, and the one that status and slices are written with.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the clock that only goes forward.
    pub instant: Instant,
    /// By the wall's clock.
    pub wall: Timestamp,
}

impl Moment {
    /// The present.
    pub fn now() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }
}

impl Liveness {
    /// Takes in a replica's Lease as it stands.
    pub fn observe(&mut self, lease: &Lease, now: Moment) {
        let Some(spec) = &lease.spec else { return };
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let duration = duration_of(lease);
        let unchanged = self.seen.get(&holder).is_some_and(|renewal| renewal.told == spec.renew_time);
        if !holder.is_empty() && !unchanged {
            let before = self.seen.get(&holder);
            let unbroken = before.filter(|before| before.holds(now.instant));
            let alive_from = unbroken.map_or(now.wall, |before| before.alive_from);
            let renewed = before.map(|_| now.wall);
            let told = spec.renew_time.clone();
            self.seen.insert(holder, Renewal { told, at: now, renewed, alive_from, duration });
        }
    }

    /// A replica's Lease was given back or deleted.
    pub fn forget(&mut self, identity: &str) {
        self.seen.remove(identity);
    }

    /// Whether a replica renewed its Lease in time.
    pub fn of(&self, identity: &str, now: Instant) -> Replica {
        match self.seen.get(identity) {
            Some(renewal) if renewal.holds(now) => Replica::Alive(renewal.alive_from),
            Some(renewal) => {
                Replica::Dead(renewal.at.wall.saturating_add(renewal.duration).unwrap_or(Timestamp::MAX))
            }
            None => Replica::Dead(Timestamp::UNIX_EPOCH),
        }
    }

    /// Until when every living replica is known to have watched its agents: its Lease is renewed only when its slices
    /// are written. Nothing if no replica is alive, or of one no renewal was seen yet.
    pub fn watched_until(&self, now: Instant) -> Option<Timestamp> {
        let living = self.seen.values().filter(|renewal| renewal.holds(now));
        living.map(|renewal| renewal.renewed).min().flatten()
    }
}

impl Renewal {
    fn holds(&self, now: Instant) -> bool {
        now.duration_since(self.at.instant) < self.duration
    }
}

/// The Leases of replicas as objects: names of replicas change with every restart, so some have to go.
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

fn duration_of(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Duration::from_secs(seconds.unsigned_abs().into())
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

    const DURATION: Duration = Duration::from_secs(15);

    fn lease(second: i64) -> Lease {
        let renewed = Timestamp::from_second(second).expect("in range");
        let spec = LeaseSpec {
            holder_identity: Some("replica".into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(renewed)),
            ..Default::default()
        };
        Lease { spec: Some(spec), ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn replica_is_alive_while_its_lease_keeps_changing_whatever_its_clock_says() {
        let start = Moment::now();
        let after = |duration| later(start, duration);
        let mut liveness = Liveness::default();
        liveness.observe(&lease(1), start);
        liveness.observe(&lease(1), after(Duration::from_secs(10)));
        let alive = Replica::Alive(start.wall);
        assert_eq!(liveness.of("replica", after(Duration::from_secs(14)).instant), alive);
        let died = Replica::Dead(after(DURATION).wall);
        assert_eq!(
            liveness.of("replica", after(DURATION * 3).instant),
            died,
            "the same lease was no renewal"
        );
        liveness.observe(&lease(2), after(DURATION));
        let again = Replica::Alive(after(DURATION).wall);
        assert_eq!(liveness.of("replica", after(Duration::from_secs(29)).instant), again, "after a break");
        assert_eq!(liveness.of("another", start.instant), Replica::Dead(Timestamp::UNIX_EPOCH));
    }

    #[tokio::test(start_paused = true)]
    async fn agents_are_watched_until_the_earliest_renewal_of_a_living_replica() {
        let start = Moment::now();
        let after = |seconds| later(start, Duration::from_secs(seconds));
        let of = |holder: &str, second| {
            let mut lease = lease(second);
            lease.spec.as_mut().expect("a spec").holder_identity = Some(holder.into());
            lease
        };
        let mut liveness = Liveness::default();
        assert_eq!(liveness.watched_until(start.instant), None);
        liveness.observe(&of("a", 1), after(0));
        liveness.observe(&of("b", 1), after(0));
        liveness.observe(&of("a", 2), after(1));
        assert_eq!(liveness.watched_until(after(2).instant), None, "b was found, and may be dead");
        liveness.observe(&of("b", 2), after(5));
        assert_eq!(liveness.watched_until(after(6).instant), Some(after(1).wall));
        liveness.observe(&of("a", 3), after(10));
        assert_eq!(liveness.watched_until(after(11).instant), Some(after(5).wall));
        assert_eq!(liveness.watched_until(after(20).instant), Some(after(10).wall), "b is dead");
        liveness.observe(&of("c", 1), after(21));
        assert_eq!(liveness.watched_until(after(21).instant), None, "who comes is watched from now on");
        liveness.observe(&of("c", 2), after(22));
        assert_eq!(liveness.watched_until(after(22).instant), Some(after(10).wall));
    }

    #[tokio::test(start_paused = true)]
    async fn lease_goes_when_it_has_been_dead_for_long_and_nothing_stands_in_the_replicas_slices() {
        let (start, dead_for) = (Instant::now(), Duration::from_mins(3));
        let object = |version: &str, released: bool| {
            let mut lease = lease(1);
            lease.metadata.name = Some("opamp-operator-replica-a".into());
            lease.metadata.labels = Some([(REPLICA_LABEL.to_owned(), "a".to_owned())].into());
            lease.metadata.resource_version = Some(version.into());
            lease.spec.as_mut().expect("a spec").holder_identity = (!released).then(|| "a".into());
            lease
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

    fn later(moment: Moment, duration: Duration) -> Moment {
        Moment { instant: moment.instant + duration, wall: moment.wall + duration }
    }
}
