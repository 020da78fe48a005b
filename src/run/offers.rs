//! When this replica may make offers: while it holds its Lease, by groups that it has read since it has had it.
//!
//! One that was cut off, or stood still, has the groups as they were. Its watch may take half a minute to come back, and
//! until then it would offer what has been rolled back meanwhile.

use super::readiness::{Check, Readiness};
use crate::cluster::Held;
use crate::opamp::Hub;
use std::sync::Arc;
use tokio::select;
use tokio::sync::watch;

/// What is known of the Lease and of the groups. Pure.
#[derive(Debug, Default)]
struct Offering {
    holds: bool,
    /// How often the Lease was had anew. Groups that were read before that do not count.
    gained: u64,
}

impl Offering {
    /// Takes in whether the Lease is held.
    fn note(&mut self, holds: bool) {
        self.gained += u64::from(holds && !self.holds);
        self.holds = holds;
    }

    /// Whether offers may be made by groups that were read when the Lease had been had so often. The first time
    /// they may have been read before it.
    fn may(&self, read: u64) -> bool {
        self.holds && (read == self.gained || self.gained == 1)
    }
}

/// How often the Lease was had anew, and when the groups were read that are known.
#[derive(Clone)]
pub struct Reading {
    gained: watch::Sender<u64>,
    read: watch::Sender<u64>,
}

impl Reading {
    /// Nothing is held and nothing read.
    pub fn new() -> Self {
        Self { gained: watch::Sender::new(0), read: watch::Sender::new(0) }
    }

    /// Reads the groups for ever, and from the start whenever the Lease was lost and is had again. `follow` is given
    /// what it has to call after each view that it publishes.
    pub async fn anew<F: Future<Output = ()>>(&self, follow: impl Fn(Box<dyn Fn() + Send + Sync>) -> F) {
        let mut gained = self.gained.subscribe();
        loop {
            let (now, read) = (*gained.borrow_and_update(), self.read.clone());
            let published = Box::new(move || {
                read.send_replace(now);
            });
            // The first Lease changes nothing of what is being read.
            let lost = async {
                let again = gained.wait_for(|gained| *gained > now.max(1)).await.is_ok();
                if !again {
                    std::future::pending::<()>().await;
                }
            };
            select! { () = follow(published) => {}, () = lost => {} }
        }
    }

    /// A replica that cannot renew its Lease makes no new offers; it keeps its sockets and listens.
    pub async fn allow(self, hub: Arc<Hub>, mut held: watch::Receiver<Option<Held>>, readiness: Readiness) {
        let (mut offering, mut read) = (Offering::default(), self.read.subscribe());
        loop {
            offering.note(held.borrow_and_update().is_some());
            self.gained
                .send_if_modified(|gained| std::mem::replace(gained, offering.gained) != offering.gained);
            hub.suspend(!offering.may(*read.borrow_and_update()));
            if offering.holds {
                readiness.pass(Check::ReplicaLease);
            } else {
                let why = "this replica's lease is not held, so no new offers are made";
                readiness.fail(Check::ReplicaLease, why);
            }
            select! {
                changed = held.changed() => if changed.is_err() { return },
                _ = read.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn offers_follow_groups_that_were_read_since_the_lease_was_had_again() {
        let mut offering = Offering::default();
        for (holds, read, expected) in [
            (false, 0, false),
            (true, 0, true),
            (true, 1, true),
            (false, 1, false),
            (true, 0, false),
            (true, 1, false),
            (true, 2, true),
            (false, 2, false),
            (true, 2, false),
            (true, 3, true),
        ] {
            offering.note(holds);
            assert_eq!(offering.may(read), expected, "{offering:?}, read {read}");
        }
    }

    #[tokio::test]
    async fn groups_are_read_anew_when_the_lease_is_had_again() {
        let reading = Reading::new();
        let (begun, published) = (AtomicUsize::new(0), Mutex::new(None));
        let mut following = Box::pin(reading.anew(|publish| {
            begun.fetch_add(1, Ordering::Relaxed);
            *published.lock().expect("whole") = Some(publish);
            std::future::pending()
        }));
        for (gained, expected, known) in [(0, 1, 0), (1, 1, 0), (2, 2, 2), (3, 3, 3)] {
            reading.gained.send_replace(gained);
            assert!((&mut following).now_or_never().is_none());
            published.lock().expect("whole").as_ref().expect("it follows")();
            assert_eq!(begun.load(Ordering::Relaxed), expected, "gained {gained} times");
            assert_eq!(*reading.read.borrow(), known, "gained {gained} times");
        }
    }
}
