//! Which replicas are alive, judged by their Leases, and in which namespaces.

use super::promise::Promise;
use crate::fleet::Replica;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Which replicas are alive, judged by the observer's own clock.
#[derive(Default)]
pub struct Liveness {
    seen: BTreeMap<String, Renewal>,
}

/// A replica's Lease as it was seen last.
struct Renewal {
    told: Option<MicroTime>,
    duration: Duration,
    whole: Watch,
    /// Where the replica once was behind, until that makes no difference any more: there only the renewals count that
    /// promised something.
    apart: BTreeMap<String, Watch>,
}

/// The last renewal that was seen of all that count.
#[derive(Clone, Copy, PartialEq)]
struct Watch {
    at: Moment,
    /// When it was seen to be renewed. One that was only found may have been renewed long ago, by somebody who is dead.
    renewed: Option<Timestamp>,
    /// Since when it has been renewed without a break.
    alive_from: Timestamp,
}

/// A time by both clocks: the one that only goes forward, and the one that status and slices are written with.
#[derive(Clone, Copy, Debug, PartialEq)]
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
        let before = self.seen.remove(&holder);
        let unchanged = before.as_ref().is_some_and(|before| before.told == spec.renew_time);
        if unchanged {
            self.seen.extend(before.map(|before| (holder, before)));
        } else if !holder.is_empty() {
            let (told, promise) = (spec.renew_time.clone(), Promise::of(lease));
            self.seen.insert(holder, Renewal::new(before, told, duration, &promise, now));
        }
    }

    /// A replica's Lease was given back or deleted.
    pub fn forget(&mut self, identity: &str) {
        self.seen.remove(identity);
    }

    /// Whether a replica renewed its Lease in time, whatever it promised.
    pub fn of(&self, identity: &str, now: Instant) -> Replica {
        self.judge(identity, now, |renewal| renewal.whole)
    }

    /// Whether a replica promised in time that its slices of a namespace are written.
    pub fn of_slices(&self, identity: &str, namespace: &str, now: Instant) -> Replica {
        self.judge(identity, now, |renewal| renewal.watch(namespace))
    }

    fn judge(&self, identity: &str, now: Instant, watch: impl Fn(&Renewal) -> Watch) -> Replica {
        let Some(renewal) = self.seen.get(identity) else { return Replica::Dead(Timestamp::UNIX_EPOCH) };
        let watch = watch(renewal);
        if watch.holds(renewal.duration, now) {
            Replica::Alive(watch.alive_from)
        } else {
            Replica::Dead(watch.at.wall.saturating_add(renewal.duration).unwrap_or(Timestamp::MAX))
        }
    }

    /// Until when every living replica is known to have watched its agents of a namespace: a renewal promises that its
    /// slices are written. Nothing if no replica is alive there, or of one no renewal was seen yet.
    pub fn watched_until(&self, namespace: &str, now: Instant) -> Option<Timestamp> {
        let watches = self.seen.values().map(|renewal| (renewal.watch(namespace), renewal.duration));
        let living = watches.filter(|(watch, duration)| watch.holds(*duration, now));
        living.map(|(watch, _)| watch.renewed).min().flatten()
    }
}

impl Renewal {
    fn new(
        before: Option<Self>,
        told: Option<MicroTime>,
        duration: Duration,
        promise: &Promise,
        now: Moment,
    ) -> Self {
        let whole = before.as_ref().map(|before| before.whole);
        let mut apart = before.map_or_else(BTreeMap::new, |before| before.apart);
        for namespace in promise.behind() {
            // The renewals until now counted there as well. Of a Lease that was only found nobody knows that, and it is
            // taken for renewed in the same way as elsewhere.
            let until_now = whole.unwrap_or(Watch { at: now, renewed: None, alive_from: now.wall });
            apart.entry(namespace.to_string()).or_insert(until_now);
        }
        let whole = Watch::renewed(whole, duration, now);
        for (_, watch) in apart.iter_mut().filter(|(name, _)| !promise.behind().contains(&***name)) {
            *watch = Watch::renewed(Some(*watch), duration, now);
        }
        apart.retain(|_, watch| *watch != whole);
        Self { told, duration, whole, apart }
    }

    /// The last renewal that counts in a namespace.
    fn watch(&self, namespace: &str) -> Watch {
        self.apart.get(namespace).copied().unwrap_or(self.whole)
    }
}

impl Watch {
    fn renewed(before: Option<Self>, duration: Duration, now: Moment) -> Self {
        let unbroken = before.filter(|before| before.holds(duration, now.instant));
        Self {
            at: now,
            renewed: before.map(|_| now.wall),
            alive_from: unbroken.map_or(now.wall, |before| before.alive_from),
        }
    }

    fn holds(&self, duration: Duration, now: Instant) -> bool {
        now.duration_since(self.at.instant) < duration
    }
}

/// How long a Lease lasts after each renewal.
pub fn duration_of(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Duration::from_secs(seconds.unsigned_abs().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use std::sync::Arc;

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
        assert_eq!(liveness.watched_until("ns", start.instant), None);
        liveness.observe(&of("a", 1), after(0));
        liveness.observe(&of("b", 1), after(0));
        liveness.observe(&of("a", 2), after(1));
        assert_eq!(liveness.watched_until("ns", after(2).instant), None, "b was found, and may be dead");
        liveness.observe(&of("b", 2), after(5));
        assert_eq!(liveness.watched_until("ns", after(6).instant), Some(after(1).wall));
        liveness.observe(&of("a", 3), after(10));
        assert_eq!(liveness.watched_until("ns", after(11).instant), Some(after(5).wall));
        assert_eq!(liveness.watched_until("ns", after(20).instant), Some(after(10).wall), "b is dead");
        liveness.observe(&of("c", 1), after(21));
        assert_eq!(liveness.watched_until("ns", after(21).instant), None, "who comes is watched from now on");
        liveness.observe(&of("c", 2), after(22));
        assert_eq!(liveness.watched_until("ns", after(22).instant), Some(after(10).wall));
    }

    /// A renewal each five seconds; the replica is behind in one namespace for a while.
    #[tokio::test(start_paused = true)]
    async fn replica_that_is_behind_in_a_namespace_is_dead_there_after_its_lease_and_alive_elsewhere() {
        let start = Moment::now();
        let after = |seconds| later(start, Duration::from_secs(seconds));
        let wall = |seconds| after(seconds).wall;
        let renewal = |second, names: &[&str]| {
            let mut lease = lease(second);
            let names = names.iter().map(|name| Arc::from(*name)).collect();
            Promise::except(names).expect("few").write_to(&mut lease.metadata);
            lease
        };
        for behind_until in [10, 15, 60] {
            let resumed = behind_until + 5;
            let mut liveness = Liveness::default();
            for second in (0..=80).step_by(5) {
                let is_behind = (10..=behind_until).contains(&second);
                let names: &[&str] = if is_behind { &["full"] } else { &[] };
                liveness.observe(&renewal(second, names), after(second.unsigned_abs()));
                let now = after(second.unsigned_abs()).instant;
                let last = |promised: i64| (promised > 0).then(|| wall(promised.unsigned_abs()));
                assert_eq!(liveness.of("replica", now), Replica::Alive(start.wall));
                assert_eq!(liveness.of_slices("replica", "other", now), Replica::Alive(start.wall));
                assert_eq!(liveness.watched_until("other", now), last(second), "at {second}");
                let is_dead = is_behind && second >= 20;
                let was_dead = resumed >= 20 && second >= resumed;
                let alive_from = if was_dead { wall(resumed.unsigned_abs()) } else { start.wall };
                let expected = if is_dead { Replica::Dead(wall(20)) } else { Replica::Alive(alive_from) };
                assert_eq!(liveness.of_slices("replica", "full", now), expected, "at {second}");
                let promised = if is_behind { 5 } else { second };
                let expected = if is_dead { None } else { last(promised) };
                assert_eq!(liveness.watched_until("full", now), expected, "at {second}");
            }
        }
    }

    /// How long it has been behind nobody knows, so nothing is judged by time there until it is not any more.
    #[tokio::test(start_paused = true)]
    async fn replica_that_is_found_behind_in_a_namespace_has_watched_nothing_there() {
        let start = Moment::now();
        let mut liveness = Liveness::default();
        let mut found = lease(0);
        Promise::except([Arc::from("full")].into()).expect("few").write_to(&mut found.metadata);
        liveness.observe(&found, start);
        found.spec.as_mut().expect("a spec").renew_time = lease(5).spec.and_then(|spec| spec.renew_time);
        liveness.observe(&found, later(start, Duration::from_secs(5)));
        let now = later(start, Duration::from_secs(6)).instant;
        assert_eq!(liveness.of_slices("replica", "full", now), Replica::Alive(start.wall));
        assert_eq!(liveness.watched_until("full", now), None);
        assert_eq!(liveness.watched_until("other", now), Some(later(start, Duration::from_secs(5)).wall));
    }

    fn later(moment: Moment, duration: Duration) -> Moment {
        Moment { instant: moment.instant + duration, wall: moment.wall + duration }
    }
}
