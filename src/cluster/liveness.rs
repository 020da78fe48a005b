//! Which replicas are alive, judged by their Leases.

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

fn duration_of(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Duration::from_secs(seconds.unsigned_abs().into())
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

    fn later(moment: Moment, duration: Duration) -> Moment {
        Moment { instant: moment.instant + duration, wall: moment.wall + duration }
    }
}
