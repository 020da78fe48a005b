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
pub struct Stop {
    said: watch::Receiver<Said>,
    /// When this connection ends: its place is taken once.
    end: Option<Instant>,
    /// The credentials that it has been told to look at.
    credentials: u32,
}

/// An order to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End at this moment, and go on until then.
    EndAt(Instant),
    /// The credentials have changed.
    LookAgain,
}

#[derive(Clone, Default)]
struct Said {
    end: Option<Arc<Places>>,
    /// How often the credentials have changed.
    credentials: u32,
}

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
        let (sender, said) = watch::channel(Said::default());
        (Self(sender), Stop { said, end: None, credentials: 0 })
    }

    /// Orders all to end, each in its turn, those included that begin to listen later.
    pub fn drain(&self, drain: Drain) {
        let places = Arc::new(Places { drain, next: AtomicU32::new(0) });
        self.0.send_modify(|said| said.end = Some(places));
    }

    /// Orders all to look at their credentials again, also while they wait for their turn to end.
    pub fn look_again(&self) {
        self.0.send_modify(|said| said.credentials = said.credentials.wrapping_add(1));
    }
}

impl Stop {
    /// Resolves once the order to end was given, to the moment of this connection.
    pub async fn requested(&mut self) -> Instant {
        loop {
            if let Some(end) = self.end.or_else(|| self.take_place()) {
                return end;
            }
            // An error means that nobody can give the order any more, which is one.
            if self.said.changed().await.is_err() {
                return Instant::now();
            }
        }
    }

    /// The next order. A connection that was opened after the credentials changed may hear of it all the same.
    pub async fn next(&mut self) -> Order {
        loop {
            if self.end.is_none()
                && let Some(end) = self.take_place()
            {
                return Order::EndAt(end);
            }
            let credentials = self.said.borrow_and_update().credentials;
            if credentials != self.credentials {
                self.credentials = credentials;
                return Order::LookAgain;
            }
            if self.said.changed().await.is_err() {
                return Order::EndAt(Instant::now());
            }
        }
    }

    fn take_place(&mut self) -> Option<Instant> {
        let places = self.said.borrow_and_update().end.clone();
        self.end = places.map(|places| places.take());
        self.end
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
        assert_eq!(early.requested().now_or_never(), Some(start), "and has one moment");
        stopper.look_again();
        assert_eq!(early.next().now_or_never(), Some(Order::LookAgain), "while it waits for its turn");
        assert_eq!(early.next().now_or_never(), None);
        drop(stopper);
        assert_eq!(early.next().now_or_never(), Some(Order::EndAt(start)), "nobody is left to wait for");
    }
}
