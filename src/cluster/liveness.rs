//! Which replicas are alive, judged by their Leases, and in which namespaces.

use super::promise::Promise;
use crate::fleet::Replica;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Most renewals of a replica that wait for its slices: five minutes of them.
const MOST_WAITING: usize = 60;

/// Which replicas are alive, judged by the observer's own clock, and until when what they saw of their agents is known.
#[derive(Default)]
pub struct Liveness {
    replicas: BTreeMap<String, Renewals>,
    /// Slices up to this version were seen.
    slices: u64,
    /// Slices up to this version will have been seen when all are listed.
    listing: u64,
}

/// A replica's Lease as it was seen last, and what it promised.
struct Renewals {
    told: Option<MicroTime>,
    last: Renewal,
    /// The last one of which every slice was seen that had been written by then.
    covered: Option<Renewal>,
    /// Those after it, each with the version up to which slices have to be seen.
    waiting: VecDeque<(u64, Renewal)>,
}

/// How a Lease came to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Its change was told.
    Told,
    /// It was found when all were listed, and may have changed long ago.
    Found,
}

/// One renewal.
#[derive(Clone)]
struct Renewal {
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
    pub fn observe(&mut self, lease: &Lease, sight: Sight, now: Moment) {
        let Some(spec) = &lease.spec else { return };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let before = self.replicas.get_mut(holder);
        if holder.is_empty() || before.as_ref().is_some_and(|before| before.told == spec.renew_time) {
            return;
        }
        let (told, promise) = (spec.renew_time.clone(), Promise::of(lease));
        let last = before.as_ref().map(|before| &before.last);
        let renewal = Renewal::new(last, duration_of(lease), &promise, sight, now);
        if let Some(before) = before {
            before.add(told, promise.written(), renewal);
        } else {
            let waiting = VecDeque::from([(promise.written(), renewal.clone())]);
            let renewals = Renewals { told, last: renewal, covered: None, waiting };
            self.replicas.insert(holder.to_owned(), renewals);
        }
        self.cover();
    }

    /// A replica's Lease was given back or deleted.
    pub fn forget(&mut self, identity: &str) {
        self.replicas.remove(identity);
    }

    /// A slice was seen in this version. They come in order of their versions, so all before it were seen as well.
    pub fn slices_are_seen(&mut self, version: u64) {
        self.slices = self.slices.max(version);
        self.cover();
    }

    /// All slices are going to be listed: each that a Lease has told of until now will be among them, or be gone.
    pub fn slices_are_going_to_be_listed(&mut self) {
        let told = self.replicas.values().flat_map(|renewals| &renewals.waiting).map(|(version, _)| *version);
        self.listing = told.max().unwrap_or_default();
    }

    /// All slices were listed.
    pub fn slices_are_listed(&mut self) {
        self.slices_are_seen(self.listing);
    }

    fn cover(&mut self) {
        for renewals in self.replicas.values_mut() {
            renewals.cover(self.slices);
        }
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
        let Some(renewals) = self.replicas.get(identity) else { return Replica::Dead(Timestamp::UNIX_EPOCH) };
        let renewal = &renewals.last;
        let watch = watch(renewal);
        if watch.holds(renewal.duration, now) {
            Replica::Alive(watch.alive_from)
        } else {
            Replica::Dead(watch.at.wall.saturating_add(renewal.duration).unwrap_or(Timestamp::MAX))
        }
    }

    /// Until when it is known what every living replica saw of its agents of a namespace: a renewal promises that its
    /// slices are written, and says which have to be seen. Nothing if no replica is alive there, or of one no renewal was
    /// seen yet.
    pub fn watched_until(&self, namespace: &str, now: Instant) -> Option<Timestamp> {
        let is_alive = |renewals: &&Renewals| {
            let Renewals { last, .. } = renewals;
            last.watch(namespace).holds(last.duration, now)
        };
        let living = self.replicas.values().filter(is_alive);
        let watched = |renewals: &Renewals| renewals.covered.as_ref()?.watch(namespace).renewed;
        living.map(watched).min().flatten()
    }
}

impl Renewals {
    fn add(&mut self, told: Option<MicroTime>, written: u64, renewal: Renewal) {
        self.told = told;
        // What waits for the same slices is covered at the same moment: only the last of it matters.
        if self.waiting.back().is_some_and(|(before, _)| *before == written) {
            self.waiting.pop_back();
        }
        self.waiting.truncate(MOST_WAITING - 1);
        self.waiting.push_back((written, renewal.clone()));
        self.last = renewal;
    }

    fn cover(&mut self, slices: u64) {
        while self.waiting.front().is_some_and(|(written, _)| *written <= slices) {
            self.covered = self.waiting.pop_front().map(|(_, renewal)| renewal);
        }
    }
}

impl Renewal {
    fn new(before: Option<&Self>, duration: Duration, promise: &Promise, sight: Sight, now: Moment) -> Self {
        let whole = before.map(|before| before.whole);
        let mut apart = before.map_or_else(BTreeMap::new, |before| before.apart.clone());
        for namespace in promise.behind() {
            // The renewals until now counted there as well. Of a Lease that was only found nobody knows that, and it is
            // taken for renewed in the same way as elsewhere.
            let until_now = whole.unwrap_or(Watch { at: now, renewed: None, alive_from: now.wall });
            apart.entry(namespace.to_string()).or_insert(until_now);
        }
        let whole = Watch::renewed(whole, duration, sight, now);
        for (_, watch) in apart.iter_mut().filter(|(name, _)| !promise.behind().contains(&***name)) {
            *watch = Watch::renewed(Some(*watch), duration, sight, now);
        }
        apart.retain(|_, watch| *watch != whole);
        Self { duration, whole, apart }
    }

    /// The last renewal that counts in a namespace.
    fn watch(&self, namespace: &str) -> Watch {
        self.apart.get(namespace).copied().unwrap_or(self.whole)
    }
}

impl Watch {
    fn renewed(before: Option<Self>, duration: Duration, sight: Sight, now: Moment) -> Self {
        let unbroken = before.filter(|before| before.holds(duration, now.instant));
        let renewed = match sight {
            Sight::Told => before.map(|_| now.wall),
            Sight::Found => before.and_then(|before| before.renewed),
        };
        Self { at: now, renewed, alive_from: unbroken.map_or(now.wall, |before| before.alive_from) }
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
        liveness.observe(&lease(1), Sight::Told, start);
        liveness.observe(&lease(1), Sight::Told, after(Duration::from_secs(10)));
        let alive = Replica::Alive(start.wall);
        assert_eq!(liveness.of("replica", after(Duration::from_secs(14)).instant), alive);
        let died = Replica::Dead(after(DURATION).wall);
        assert_eq!(
            liveness.of("replica", after(DURATION * 3).instant),
            died,
            "the same lease was no renewal"
        );
        liveness.observe(&lease(2), Sight::Told, after(DURATION));
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
        liveness.observe(&of("a", 1), Sight::Told, after(0));
        liveness.observe(&of("b", 1), Sight::Told, after(0));
        liveness.observe(&of("a", 2), Sight::Told, after(1));
        assert_eq!(liveness.watched_until("ns", after(2).instant), None, "b was found, and may be dead");
        liveness.observe(&of("b", 2), Sight::Told, after(5));
        assert_eq!(liveness.watched_until("ns", after(6).instant), Some(after(1).wall));
        liveness.observe(&of("a", 3), Sight::Told, after(10));
        assert_eq!(liveness.watched_until("ns", after(11).instant), Some(after(5).wall));
        assert_eq!(liveness.watched_until("ns", after(20).instant), Some(after(10).wall), "b is dead");
        liveness.observe(&of("c", 1), Sight::Told, after(21));
        assert_eq!(liveness.watched_until("ns", after(21).instant), None, "who comes is watched from now on");
        liveness.observe(&of("c", 2), Sight::Told, after(22));
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
            Promise::except(names, 0).expect("few").write_to(&mut lease.metadata);
            lease
        };
        for behind_until in [10, 15, 60] {
            let resumed = behind_until + 5;
            let mut liveness = Liveness::default();
            for second in (0..=80).step_by(5) {
                let is_behind = (10..=behind_until).contains(&second);
                let names: &[&str] = if is_behind { &["full"] } else { &[] };
                liveness.observe(&renewal(second, names), Sight::Told, after(second.unsigned_abs()));
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
        Promise::except([Arc::from("full")].into(), 0).expect("few").write_to(&mut found.metadata);
        liveness.observe(&found, Sight::Told, start);
        found.spec.as_mut().expect("a spec").renew_time = lease(5).spec.and_then(|spec| spec.renew_time);
        liveness.observe(&found, Sight::Told, later(start, Duration::from_secs(5)));
        let now = later(start, Duration::from_secs(6)).instant;
        assert_eq!(liveness.of_slices("replica", "full", now), Replica::Alive(start.wall));
        assert_eq!(liveness.watched_until("full", now), None);
        assert_eq!(liveness.watched_until("other", now), Some(later(start, Duration::from_secs(5)).wall));
    }

    /// A renewal each five seconds, which names the last slice that was written; the observer sees slices late.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_watched_beyond_the_slices_that_were_seen() {
        let start = Moment::now();
        let after = |seconds| later(start, Duration::from_secs(seconds));
        let renewal = |second: i64, written| {
            let mut lease = lease(second);
            Promise::except([].into(), written).expect("few").write_to(&mut lease.metadata);
            lease
        };
        let mut liveness = Liveness::default();
        let watched = |liveness: &Liveness, second| {
            let until = liveness.watched_until("ns", after(second).instant)?;
            Some(until.duration_since(start.wall).as_secs())
        };
        liveness.observe(&renewal(0, 10), Sight::Found, after(0));
        liveness.observe(&renewal(5, 10), Sight::Told, after(5));
        assert_eq!(watched(&liveness, 5), None, "no slice was seen");
        liveness.slices_are_seen(9);
        assert_eq!(watched(&liveness, 6), None);
        liveness.slices_are_seen(10);
        assert_eq!(watched(&liveness, 6), Some(5));
        liveness.slices_are_seen(12);
        liveness.observe(&renewal(10, 11), Sight::Told, after(10));
        assert_eq!(watched(&liveness, 10), Some(10), "a slice may be seen before its renewal");
        for (second, written) in [(15, 13), (20, 14), (25, 14), (30, 15)] {
            liveness.observe(&renewal(second, written), Sight::Told, after(second.unsigned_abs()));
        }
        let alive = Replica::Alive(start.wall);
        assert_eq!((watched(&liveness, 30), liveness.of("replica", after(30).instant)), (Some(10), alive));
        liveness.slices_are_seen(14);
        assert_eq!(watched(&liveness, 31), Some(25));
        liveness.slices_are_going_to_be_listed();
        liveness.observe(&renewal(35, 16), Sight::Told, after(35));
        assert_eq!(watched(&liveness, 35), Some(25));
        liveness.slices_are_listed();
        assert_eq!(
            watched(&liveness, 35),
            Some(30),
            "what was written after the list began may not be in it"
        );
        for second in (40..5_000).step_by(5) {
            liveness.observe(
                &renewal(second, second.unsigned_abs()),
                Sight::Told,
                after(second.unsigned_abs()),
            );
        }
        assert_eq!(liveness.replicas["replica"].waiting.len(), MOST_WAITING);
        liveness.slices_are_seen(4_995);
        assert_eq!(watched(&liveness, 4_996), Some(4_995));
    }

    /// It may have been renewed just before its replica died, and long before it was found.
    #[tokio::test(start_paused = true)]
    async fn lease_that_is_found_renewed_shows_a_living_replica_and_not_until_when_it_watched() {
        let start = Moment::now();
        let after = |seconds| later(start, Duration::from_secs(seconds));
        let mut liveness = Liveness::default();
        for (second, sight, watched) in [
            (0, Sight::Found, None),
            (5, Sight::Found, None),
            (10, Sight::Told, Some(10)),
            (60, Sight::Found, Some(10)),
            (65, Sight::Told, Some(65)),
        ] {
            let now = after(second);
            liveness.observe(&lease(second.cast_signed()), sight, now);
            let expected = watched.map(|second| after(second).wall);
            assert_eq!(liveness.watched_until("ns", now.instant), expected, "at {second}");
            let alive_from = if second < 60 { start.wall } else { after(60).wall };
            assert_eq!(liveness.of("replica", now.instant), Replica::Alive(alive_from));
        }
    }

    fn later(moment: Moment, duration: Duration) -> Moment {
        Moment { instant: moment.instant + duration, wall: moment.wall + duration }
    }
}
