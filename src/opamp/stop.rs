//! The order to stop, as each connection hears it.

use tokio::sync::watch;

/// Gives the order by [`Stopper::stop`], or by being dropped.
pub struct Stopper(watch::Sender<bool>);

/// Hears the order.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stopper {
    /// A stopper, and what hears it.
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stop(receiver))
    }

    /// Gives the order to all, those included that begin to listen later.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Resolves once the order was given.
    pub async fn requested(&mut self) {
        // An error means that nobody can give the order any more, which is one.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
