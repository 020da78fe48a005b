//! What a door tells all its connections: to stop, or to look at their credentials again.

use tokio::sync::watch;

/// Gives orders; being dropped is the order to stop.
pub struct Stopper(watch::Sender<Said>);

/// Hears them.
#[derive(Clone)]
pub struct Stop(watch::Receiver<Said>);

/// An order to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End.
    Stop,
    /// The credentials have changed.
    LookAgain,
}

#[derive(Clone, Copy, Default)]
struct Said {
    stop: bool,
}

impl Stopper {
    /// A stopper, and what hears it.
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(Said::default());
        (Self(sender), Stop(receiver))
    }

    /// Orders all to stop, those included that begin to listen later.
    pub fn stop(&self) {
        self.0.send_modify(|said| said.stop = true);
    }

    /// Orders all to look at their credentials again.
    pub fn look_again(&self) {
        self.0.send_modify(|_| ());
    }
}

impl Stop {
    /// Resolves once the order to stop was given.
    pub async fn requested(&mut self) {
        // An error means that nobody can give the order any more, which is one.
        let _ = self.0.wait_for(|said| said.stop).await;
    }

    /// The next order. A connection that was opened after the credentials changed may hear of it all the same.
    pub async fn next(&mut self) -> Order {
        let gone = self.0.changed().await.is_err();
        if gone || self.0.borrow_and_update().stop { Order::Stop } else { Order::LookAgain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn each_order_is_heard_and_that_to_stop_by_those_that_come_later_too() {
        let (stopper, mut early) = Stopper::new();
        let template = early.clone();
        assert_eq!(early.next().now_or_never(), None);
        stopper.look_again();
        assert_eq!(early.next().now_or_never(), Some(Order::LookAgain));
        assert_eq!(early.next().now_or_never(), None);
        assert_eq!(early.requested().now_or_never(), None);
        stopper.stop();
        for mut hears in [early, template] {
            assert_eq!(hears.clone().next().now_or_never(), Some(Order::Stop));
            assert_eq!(hears.requested().now_or_never(), Some(()));
        }
    }
}
