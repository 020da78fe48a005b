//! Leases: the pure decision, and the loop that carries it out.
//!
//! The leader holds one Lease, each replica its own. Whether somebody else's Lease has run out is judged by the
//! observer's own clock since the last change that it saw, so clocks that differ between replicas do no harm.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

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
    seen: Option<(Option<MicroTime>, String, Instant)>,
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

    /// Tries once to get or keep the Lease.
    ///
    /// # Errors
    /// When the API server does not take the write; a conflict means that somebody else was faster.
    pub async fn turn(&mut self) -> kube::Result<Option<Held>> {
        let asked = Instant::now();
        let current = self.api.get_opt(&self.name).await?;
        let spec = current.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let observed =
            current.as_ref().map(|_| Observed { holder: &holder, unchanged_for: self.observe(&spec, asked) });
        let step = evaluate(observed, &self.identity, self.duration);
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(step == Step::TakeOver);
        let acquired = if step == Step::Renew { spec.acquire_time } else { None };
        let metadata = current.map(|lease| lease.metadata);
        match step {
            Step::Wait => return Ok(None),
            Step::Create => {
                let lease = self.lease(self.metadata(), 0, None);
                self.api.create(&PostParams::default(), &lease).await?;
            }
            Step::Renew | Step::TakeOver => {
                let lease = self.lease(metadata.unwrap_or_default(), transitions, acquired);
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

    fn observe(&mut self, spec: &LeaseSpec, now: Instant) -> Duration {
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let same = |(renewed, who, _): &&(Option<MicroTime>, String, Instant)| {
            *renewed == spec.renew_time && *who == holder
        };
        let since = self.seen.as_ref().filter(same).map_or(now, |(_, _, since)| *since);
        self.seen = Some((spec.renew_time.clone(), holder, since));
        now - since
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

/// Keeps a Lease for as long as it is polled, and tells through `held` whether it is held. It is renewed only
/// while `may_renew` says so: a replica's Lease says that its slices are written.
pub async fn keep(
    keeper: &mut Keeper,
    every: Duration,
    held: &watch::Sender<Option<Held>>,
    may_renew: impl Fn() -> bool,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if may_renew() {
            match tokio::time::timeout(every, keeper.turn()).await {
                Ok(Ok(now)) => drop(held.send_replace(now)),
                Ok(Err(error)) => tracing::warn!(lease = keeper.name, %error, "cannot renew lease"),
                Err(_) => tracing::warn!(lease = keeper.name, "no answer to a lease renewal in time"),
            }
        }
        held.send_if_modified(|now| now.take_if(|now| !now.is_valid()).is_some());
    }
}

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
}
