//! How long the door waits for a peer that speaks HTTP: for its request, and for it to have read the answer.
//!
//! Reading a body has a limit of its own. All else has this one, in which nothing counts but whole requests: a peer that
//! sends or reads a byte now and then gains nothing by it.

use std::time::Duration;
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The patience with one connection.
pub struct Patience {
    /// When it ends; never while a request is being answered.
    end: watch::Sender<Option<Instant>>,
}

impl Patience {
    /// Patience that lasts so long, for the first request.
    pub fn new(time: Duration) -> Self {
        Self { end: watch::Sender::new(Some(Instant::now() + time)) }
    }

    /// A request has come.
    pub fn stop(&self) {
        self.end.send_replace(None);
    }

    /// The answer is made: there is so much time to read it, and to send the next request.
    pub fn start(&self, time: Duration) {
        self.end.send_replace(Some(Instant::now() + time));
    }

    /// Resolves when it has ended.
    pub async fn ended(&self) {
        let mut end = self.end.subscribe();
        loop {
            let until = *end.borrow_and_update();
            let lasts = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            select! {
                biased;
                _ = end.changed() => {}
                () = lasts => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn patience_ends_unless_a_request_is_being_answered() {
        let second = Duration::from_secs(1);
        let patience = Patience::new(10 * second);
        let mut ended = pin!(patience.ended());
        advance(9 * second).await;
        assert!(ended.as_mut().now_or_never().is_none());
        patience.stop();
        advance(100 * second).await;
        assert!(ended.as_mut().now_or_never().is_none());
        patience.start(5 * second);
        advance(4 * second).await;
        assert!(ended.as_mut().now_or_never().is_none());
        advance(2 * second).await;
        assert!(ended.now_or_never().is_some());
    }
}
