//! What a door tells all its connections: to end, each at a moment of its own, or to look at their credentials again.

use super::drain::Drain;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::watch;
use tokio::time::Instant;

/// Gives orders; being dropped is the order to end at once.
pub struct Stopper(watch::Sender<Said>);

/// Hears them.
#[derive(Clone)]
pub struct Stop(watch::Receiver<Said>);

/// An order to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End at this moment, and go on until then.
    EndAt(Instant),
    /// The credentials have changed.
    LookAgain,
}

type Said = Option<Arc<Places>>;

/// Gives each connection that asks its moment.
struct Places {
    drain: Drain,
    next: AtomicU32,
}

impl Places {
    fn take(&self) -> Instant {
        self.drain.moment(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Stopper {
    /// A stopper, and what hears it.
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), Stop(receiver))
    }

    /// Orders all to end, each in its turn, those included that begin to listen later.
    pub fn drain(&self, drain: Drain) {
        self.0.send_replace(Some(Arc::new(Places { drain, next: AtomicU32::new(0) })));
    }

    /// Orders all to look at their credentials again.
    pub fn look_again(&self) {
        self.0.send_modify(|_| ());
    }
}

impl Stop {
    /// Resolves once the order to end was given, to the moment of this connection.
    pub async fn requested(&mut self) -> Instant {
        // An error means that nobody can give the order any more, which is one.
        let said = self.0.wait_for(Option::is_some).await.ok().and_then(|said| said.clone());
        said.map_or_else(Instant::now, |places| places.take())
    }

    /// The next order. A connection that was opened after the credentials changed may hear of it all the same.
    pub async fn next(&mut self) -> Order {
        if self.0.changed().await.is_err() {
            return Order::EndAt(Instant::now());
        }
        let said = self.0.borrow_and_update().clone();
        said.map_or(Order::LookAgain, |places| Order::EndAt(places.take()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn each_order_is_heard_and_that_to_end_by_those_that_come_later_too() {
        let (stopper, mut early) = Stopper::new();
        let template = early.clone();
        assert_eq!(early.next().now_or_never(), None);
        stopper.look_again();
        assert_eq!(early.next().now_or_never(), Some(Order::LookAgain));
        assert_eq!(early.next().now_or_never(), None);
        assert_eq!(early.requested().now_or_never(), None);
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        stopper.drain(Drain::new(start, second * 10, 3, second));
        assert_eq!(early.next().now_or_never(), Some(Order::EndAt(start)));
        assert_eq!(early.next().now_or_never(), None, "each hears it once");
        assert_eq!(template.clone().next().now_or_never(), Some(Order::EndAt(start + second)));
        assert_eq!(template.clone().requested().now_or_never(), Some(start + second * 2));
        drop(stopper);
        assert_eq!(early.next().now_or_never(), Some(Order::EndAt(start)), "nobody is left to wait for");
    }
}
