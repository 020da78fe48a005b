//! The edge: a line for each receiver, and whoever posts what stands in it. Telling never waits.

use super::line::{Dropped, Line, Next, Rules, Settled};
use super::message::message;
use super::notice::Notice;
use super::receiver::Receiver;
use super::retry::Outcome;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use metrics::Metrics;
pub use post::{Trust, TrustError};
pub use proxies::Proxies;

mod metrics;
mod post;
mod proxies;

/// A receiver, and whom to trust there.
#[derive(Clone)]
pub struct Route {
    /// Who it is.
    pub receiver: Receiver,
    /// By whom its certificate must be signed.
    pub trust: Trust,
}

/// Where notices are put that are to be told; clones put them into the same place.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    desks: watch::Sender<Vec<Arc<Desk>>>,
    /// How many notices wait in all.
    waiting: watch::Sender<usize>,
    metrics: Metrics,
    proxies: Proxies,
    clock: Clock,
}

/// One receiver's place: it keeps its line when the file describes it otherwise.
struct Desk {
    name: String,
    kind: &'static str,
    /// Nothing, once the receiver is gone.
    route: Mutex<Option<Arc<Route>>>,
    line: Mutex<Line>,
    wake: Notify,
}

/// The time as lines know it: it does not jump.
struct Clock {
    began: Timestamp,
    at: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { began: Timestamp::now(), at: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.at.elapsed()).unwrap_or(SignedDuration::MAX);
        self.began.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}

impl Outbox {
    /// One without receivers, which will be reached through these proxies.
    pub fn new(metrics: Metrics, proxies: Proxies) -> Self {
        let (desks, waiting) = (watch::Sender::new(Vec::new()), watch::Sender::new(0));
        Self(Arc::new(Shared { desks, waiting, metrics, proxies, clock: Clock::new() }))
    }

    /// Has these notices told, each to the receivers that want it. It never waits: where a line is full, its oldest
    /// notice is left out.
    pub fn tell(&self, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let desks = self.0.desks.borrow().clone();
        for notice in notices.into_iter().map(Arc::new) {
            for desk in &desks {
                self.0.put(desk, &notice);
            }
        }
    }

    /// From now on these are the receivers. One of the same name and kind keeps what waits for it; what waits for one
    /// that is gone is dropped.
    pub fn take(&self, routes: Vec<Route>) {
        let before = self.0.desks.borrow().clone();
        let mut desks = Vec::new();
        for route in routes {
            let (name, kind) = (route.receiver.name.clone(), route.receiver.target.kind());
            let kept = before.iter().find(|desk| desk.name == name && desk.kind == kind);
            let desk = kept.cloned().unwrap_or_else(|| {
                let (line, wake) = (Mutex::default(), Notify::new());
                Arc::new(Desk { name, kind, route: Mutex::new(None), line, wake })
            });
            *lock(&desk.route) = Some(Arc::new(route));
            // A slower pace may be a faster one now.
            desk.wake.notify_one();
            desks.push(desk);
        }
        for gone in before.iter().filter(|desk| !desks.iter().any(|kept| Arc::ptr_eq(desk, kept))) {
            // Its courier clears the line, after the post that is under way.
            *lock(&gone.route) = None;
            gone.wake.notify_one();
        }
        self.0.desks.send_replace(desks);
    }

    /// Posts what is to be told, for ever. No receiver waits for another one.
    pub async fn serve(&self) {
        let mut desks = self.0.desks.subscribe();
        let mut known: Vec<Arc<Desk>> = Vec::new();
        let mut couriers = FuturesUnordered::new();
        loop {
            let now = desks.borrow_and_update().clone();
            for new in now.iter().filter(|desk| !known.iter().any(|old| Arc::ptr_eq(old, desk))) {
                couriers.push(self.0.carry(new.clone()));
            }
            known = now;
            tokio::select! {
                changed = desks.changed() => if changed.is_err() { return },
                Some(()) = couriers.next() => {}
            }
        }
    }

    /// Resolves when nothing waits.
    pub async fn emptied(&self) {
        drop(self.0.waiting.subscribe().wait_for(|waiting| *waiting == 0).await);
    }
}

impl Shared {
    fn put(&self, desk: &Desk, notice: &Arc<Notice>) {
        // Held until the notice stands in the line: whoever takes the receiver away finds it there.
        let route = lock(&desk.route);
        let Some(Route { receiver, .. }) = route.as_deref().filter(|route| route.receiver.wants(notice))
        else {
            return;
        };
        let rules = rules(receiver);
        let dropped = lock(&desk.line).add(notice.clone(), self.clock.now(), &rules);
        self.metrics.waiting(desk.kind, 1);
        self.waiting.send_modify(|waiting| *waiting += 1);
        for dropped in dropped {
            match dropped {
                Dropped::Superseded => self.leave(desk, "superseded", 1),
                Dropped::Overflowed => {
                    tracing::warn!(receiver = desk.name, "notification left out: too many wait");
                    self.leave(desk, "overflowed", 1);
                }
            }
        }
        desk.wake.notify_one();
    }

    /// Counts notices that wait no more.
    fn leave(&self, desk: &Desk, result: &'static str, many: usize) {
        self.metrics.over(desk.kind, result, many);
        self.metrics.waiting(desk.kind, -i64::try_from(many).unwrap_or(i64::MAX));
        self.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(many));
    }

    /// Posts what stands in one line, until its receiver is gone.
    async fn carry(self: &Arc<Self>, desk: Arc<Desk>) {
        loop {
            let Some(route) = lock(&desk.route).clone() else {
                let dropped = lock(&desk.line).clear();
                self.leave(&desk, "removed", dropped);
                return;
            };
            let rules = rules(&route.receiver);
            let next = lock(&desk.line).next(self.clock.now(), &rules);
            match next {
                Next::Nothing => desk.wake.notified().await,
                Next::At(time) => {
                    let wait = Duration::try_from(time.duration_since(self.clock.now())).unwrap_or_default();
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = desk.wake.notified() => {}
                    }
                }
                Next::Post(notice, left_out) => {
                    // Receivers compare this time with theirs.
                    let post = message(&route.receiver, &notice, left_out, Timestamp::now());
                    let url = route.receiver.target.url();
                    let outcome = post::post(url, &self.proxies.way(url), &route.trust, post).await;
                    self.settle(&desk, &notice, &outcome, &rules);
                }
            }
        }
    }

    fn settle(&self, desk: &Desk, notice: &Notice, outcome: &Outcome, rules: &Rules) {
        self.metrics.attempt(
            desk.kind,
            match outcome {
                Outcome::Taken => "ok",
                Outcome::Refused(_) => "refused",
                Outcome::Failed { .. } => "failed",
            },
        );
        let settled = lock(&desk.line).settle(outcome, self.clock.now(), chance(), rules);
        let (receiver, id, event) = (desk.name.as_str(), notice.id.as_str(), notice.kind.as_str());
        let (namespace, name) = (notice.namespace.as_str(), notice.name.as_str());
        let why = match outcome {
            Outcome::Failed { why, .. } => why.clone(),
            Outcome::Refused(status) => format!("status {status}"),
            Outcome::Taken => String::new(),
        };
        match settled {
            Settled::Delivered => {
                tracing::info!(receiver, id, event, namespace, name, "notification delivered");
                self.leave(desk, "delivered", 1);
            }
            Settled::Refused => {
                tracing::error!(
                    receiver,
                    id,
                    event,
                    namespace,
                    name,
                    why,
                    "notification refused: it is not tried again"
                );
                self.leave(desk, "refused", 1);
            }
            Settled::GaveUp => {
                tracing::error!(receiver, id, event, namespace, name, why, "notification given up");
                self.leave(desk, "gave_up", 1);
            }
            Settled::Again => {
                tracing::warn!(
                    receiver,
                    id,
                    event,
                    namespace,
                    name,
                    why,
                    "notification failed: it is tried again"
                );
            }
        }
    }
}

fn rules(receiver: &Receiver) -> Rules {
    Rules {
        max_per_minute: receiver.max_per_minute,
        give_up_after: receiver.give_up_after,
        only_the_last: receiver.has_incidents(),
    }
}

/// A number from 0 to 1, for pauses that differ.
fn chance() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / f64::from(u32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
