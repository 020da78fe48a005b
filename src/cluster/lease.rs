//! Leases: the pure decisions, and the loop that carries them out.
//!
//! The leader holds one Lease, each replica its own. Whether somebody else's Lease has run out is judged by the
//! observer's own clock since the last change that it saw, so clocks that differ between replicas do no harm. Whoever
//! waits for a Lease is told of its changes, so that it knows when the Lease runs out and asks for it then.

use super::promise::Promise;
use super::watching::pauses;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// What an observer knows of a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed<'a> {
    /// Who holds it; empty: nobody.
    pub holder: &'a str,
    /// How long ago, by the observer's clock, the Lease last changed.
    pub unchanged_for: Duration,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It does not exist: create it.
    Create,
    /// It is mine: renew it.
    Renew,
    /// It is nobody's, or has run out: take it over.
    TakeOver,
    /// It is somebody else's.
    Wait,
}

/// Decides what to do about a Lease that lasts for `duration`.
pub fn evaluate(lease: Option<Observed<'_>>, me: &str, duration: Duration) -> Step {
    match lease {
        None => Step::Create,
        Some(lease) if lease.holder == me => Step::Renew,
        Some(lease) if lease.holder.is_empty() || lease.unchanged_for >= duration => Step::TakeOver,
        Some(_) => Step::Wait,
    }
}

/// How long to wait before the next look at a Lease that lasts for `duration` and is renewed every `renewal`: none if it
/// can be had, else until it runs out. A look in between finds what nobody told of.
pub fn look_after(lease: Option<Observed<'_>>, me: &str, duration: Duration, renewal: Duration) -> Duration {
    match evaluate(lease, me, duration) {
        Step::Create | Step::TakeOver => Duration::ZERO,
        Step::Renew => renewal,
        Step::Wait => {
            let left = lease.map_or(duration, |lease| duration.saturating_sub(lease.unchanged_for));
            left.min(renewal)
        }
    }
}

/// For how long a holder relies on a Lease that lasts for `duration`, counted from before it asked for it. The tenth
/// that is left is for clocks that do not go equally fast: the holder's may be slow, and that of whoever waits fast.
fn relied_on(duration: Duration) -> Duration {
    duration / 10 * 9
}

/// What a holder may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// How often the Lease has changed hands; a new leader's term is at least this.
    pub transitions: i64,
    /// Until when, by this process's clock, nobody else can have taken the Lease.
    pub until: Instant,
}

impl Held {
    /// Whether it is still held: asked again at every write.
    pub fn is_valid(&self) -> bool {
        Instant::now() < self.until
    }
}

/// One Lease that this process wants to hold.
pub struct Keeper {
    api: Api<Lease>,
    name: String,
    identity: String,
    labels: BTreeMap<String, String>,
    duration: Duration,
    /// The last change that was seen; nothing: there is no Lease, as far as is known.
    seen: Option<Seen>,
}

/// A Lease as it was seen.
struct Seen {
    holder: String,
    renewed: Option<MicroTime>,
    /// Since when it stands so, by this process's clock.
    since: Instant,
}

impl Keeper {
    /// A keeper of the Lease `name`, which lasts for `duration` after each renewal.
    pub fn new(api: Api<Lease>, name: &str, identity: &str, duration: Duration) -> Self {
        Self {
            api,
            name: name.to_owned(),
            identity: identity.to_owned(),
            labels: BTreeMap::new(),
            duration,
            seen: None,
        }
    }

    /// Adds a label to the Lease when it is created.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Tells of the Lease as it is now and whenever it changes; nothing where there is none. Without an answer of the
    /// API server it is silent.
    pub fn news(&self) -> BoxStream<'static, Option<Lease>> {
        let name = self.name.clone();
        let heard = watch_object(self.api.clone(), &name).backoff(pauses()).filter_map(move |heard| {
            let heard = heard.inspect_err(|error| tracing::warn!(lease = name, %error, "cannot watch lease"));
            std::future::ready(heard.ok())
        });
        heard.boxed()
    }

    /// Tries once to get or keep the Lease, with this promise.
    ///
    /// # Errors
    /// When the API server does not take the write; a conflict means that somebody else was faster.
    pub async fn turn(&mut self, promise: &Promise) -> kube::Result<Option<Held>> {
        let asked = Instant::now();
        let current = self.api.get_opt(&self.name).await?;
        // Not when it was asked for: a renewal may have come between, on which its holder relies for longer.
        self.observe(current.as_ref(), Instant::now());
        let step = evaluate(self.observed(Instant::now()), &self.identity, self.duration);
        let spec = current.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(step == Step::TakeOver);
        let acquired = if step == Step::Renew { spec.acquire_time } else { None };
        let mut metadata = current.map_or_else(|| self.metadata(), |lease| lease.metadata);
        promise.write_to(&mut metadata);
        let lease = self.lease(metadata, transitions, acquired);
        match step {
            Step::Wait => return Ok(None),
            Step::Create => drop(self.api.create(&PostParams::default(), &lease).await?),
            Step::Renew | Step::TakeOver => {
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
        }
        Ok(Some(Held { transitions: i64::from(transitions), until: asked + relied_on(self.duration) }))
    }

    /// Gives the Lease back, so that another holder need not wait for it to run out.
    ///
    /// # Errors
    /// When the API server does not take the write.
    pub async fn release(&self) -> kube::Result<()> {
        loop {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            match self.api.replace(&self.name, &PostParams::default(), &lease).await {
                // The last renewal, which nobody waits for any more, came between.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => return other.map(drop),
            }
        }
    }

    /// Takes in the Lease as it stands.
    fn observe(&mut self, lease: Option<&Lease>, now: Instant) {
        let spec = lease.map(|lease| lease.spec.clone().unwrap_or_default());
        self.seen = spec.map(|spec| {
            let (holder, renewed) = (spec.holder_identity.unwrap_or_default(), spec.renew_time);
            let unchanged =
                self.seen.as_ref().filter(|seen| seen.holder == holder && seen.renewed == renewed);
            let since = unchanged.map_or(now, |seen| seen.since);
            Seen { holder, renewed, since }
        });
    }

    fn observed(&self, now: Instant) -> Option<Observed<'_>> {
        self.seen
            .as_ref()
            .map(|seen| Observed { holder: &seen.holder, unchanged_for: now.duration_since(seen.since) })
    }

    /// When to look at the Lease again, as it was seen last.
    fn next_look(&self, renewal: Duration, now: Instant) -> Instant {
        now + look_after(self.observed(now), &self.identity, self.duration, renewal)
    }

    /// Whether it was seen in this process's own hands.
    fn is_mine(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.holder == self.identity)
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.name.clone()), labels: Some(self.labels.clone()), ..Default::default() }
    }

    fn lease(&self, metadata: ObjectMeta, transitions: i32, acquired: Option<MicroTime>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let seconds = i32::try_from(self.duration.as_secs().max(1)).unwrap_or(i32::MAX);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(transitions),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            ..Default::default()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

/// Keeps a Lease for as long as it is polled, and tells through `held` whether it is held. It is renewed with what
/// can be promised by then, and only while something can. `news` tells of its changes.
pub async fn keep(
    keeper: &mut Keeper,
    renewal: Duration,
    held: &watch::Sender<Option<Held>>,
    mut promise: impl FnMut() -> Option<Promise>,
    mut news: impl Stream<Item = Option<Lease>> + Unpin,
) {
    let asking = async {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                Some(lease) = news.next() => {
                    let now = Instant::now();
                    keeper.observe(lease.as_ref(), now);
                    // Its own renewals, of which the news tells too, are in time as they are.
                    if !keeper.is_mine() {
                        next = keeper.next_look(renewal, now);
                    }
                }
                () = sleep_until(next) => next = try_once(keeper, renewal, held, promise()).await,
            }
        }
    };
    tokio::select! { () = asking => {}, () = let_run_out(held) => {} }
}

/// One turn at the Lease; when the next one is due. One that came to nothing is tried again before long.
async fn try_once(
    keeper: &mut Keeper,
    renewal: Duration,
    held: &watch::Sender<Option<Held>>,
    promise: Option<Promise>,
) -> Instant {
    let asked = Instant::now();
    if let Some(promise) = promise {
        match timeout(renewal, keeper.turn(&promise)).await {
            Ok(Ok(now)) => {
                held.send_replace(now);
                let now_waits = || keeper.next_look(renewal, Instant::now());
                return now.map_or_else(now_waits, |_| asked + renewal);
            }
            Ok(Err(error)) => tracing::warn!(lease = keeper.name, %error, "cannot renew lease"),
            Err(_) => tracing::warn!(lease = keeper.name, "no answer to a lease renewal in time"),
        }
    }
    Instant::now() + renewal / 5
}

/// Tells when a Lease that is not renewed can be relied on no more: at that moment, whatever a renewal waits for.
async fn let_run_out(held: &watch::Sender<Option<Held>>) {
    let mut changes = held.subscribe();
    loop {
        let until = changes.borrow_and_update().map(|held| held.until);
        let over = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = over => {
                held.send_if_modified(|now| now.take_if(|now| !now.is_valid()).is_some());
            }
        }
    }
}

#[cfg(test)]
mod keeping;
#[cfg(test)]
mod skew;

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn observed(holder: &str, seconds: u64) -> Observed<'_> {
        Observed { holder, unchanged_for: Duration::from_secs(seconds) }
    }

    #[test]
    fn lease_is_taken_only_when_it_is_nobodys_or_has_run_out() {
        for (lease, expected) in [
            (None, Step::Create),
            (Some(observed("me", 0)), Step::Renew),
            (Some(observed("me", 100)), Step::Renew),
            (Some(observed("", 0)), Step::TakeOver),
            (Some(observed("other", 14)), Step::Wait),
            (Some(observed("other", 15)), Step::TakeOver),
        ] {
            assert_eq!(evaluate(lease, "me", DURATION), expected, "{lease:?}");
        }
    }

    #[test]
    fn lease_is_looked_at_when_it_runs_out_and_no_later_than_it_would_be_renewed() {
        for (lease, expected) in [
            (None, 0),
            (Some(observed("me", 0)), 5),
            (Some(observed("me", 100)), 5),
            (Some(observed("", 0)), 0),
            (Some(observed("other", 0)), 5),
            (Some(observed("other", 10)), 5),
            (Some(observed("other", 13)), 2),
            (Some(observed("other", 15)), 0),
            (Some(observed("other", 100)), 0),
        ] {
            let after = look_after(lease, "me", DURATION, Duration::from_secs(5));
            assert_eq!(after, Duration::from_secs(expected), "{lease:?}");
        }
    }
}
