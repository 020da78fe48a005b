//! Writes this replica's slices when they are due. A namespace whose writes fail or hang holds up no other one.

use crate::cluster::SliceWriter;
use crate::fleet::SliceContent;
use crate::opamp::Hub;
use crate::telemetry::{ControlMetrics, SliceContents, Write};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Most writes under way at once, each to a namespace of its own. With so many the promised pace is kept though each
/// takes 0.8 s, and they hold 1 MB and little of what the API server gives one client. Where more namespaces than this
/// hang at the same time, others wait for one of them: that is the trouble of the cluster and not of a tenant.
const AT_ONCE: usize = 16;

/// What slices are written with.
pub struct Flusher {
    /// Whose slices.
    pub hub: Arc<Hub>,
    /// Between the beginnings of two writes, whatever their namespaces: the pace that the API server is promised.
    pub pause: Duration,
    /// Where writes are counted.
    pub metrics: ControlMetrics,
}

impl Flusher {
    /// Writes slices when they are due. When it is stopped it writes at once what is due some day, and ends: what fails
    /// then is not tried again.
    pub async fn run(self, writer: SliceWriter, mut stop: watch::Receiver<bool>) {
        let mut under_way = FuturesUnordered::new();
        let mut turn = Instant::now();
        let mut end = None;
        loop {
            let due = self.next_due(end);
            if end.is_some() && due.is_none() && under_way.is_empty() {
                return;
            }
            tokio::select! {
                () = wait_until(due, turn), if under_way.len() < AT_ONCE => {
                    let now = end.unwrap_or_else(Timestamp::now);
                    let next = self.hub.with_roster(|roster| roster.take_next(now));
                    under_way.extend(next.map(|content| self.write(&writer, content)));
                    turn = Instant::now() + self.pause;
                }
                Some(()) = under_way.next() => {}
                () = self.hub.edges() => {}
                () = stopped(&mut stop), if end.is_none() => end = Some(self.hasten()),
            }
        }
    }

    /// When the next slice is due, unless that is after the end.
    fn next_due(&self, end: Option<Timestamp>) -> Option<Timestamp> {
        let due = self.hub.with_roster(|roster| roster.next_due());
        due.filter(|due| end.is_none_or(|end| *due <= end))
    }

    /// Has everything be due at once; returns by when that is.
    fn hasten(&self) -> Timestamp {
        let now = Timestamp::now();
        self.hub.with_roster(|roster| roster.hasten(now));
        now
    }

    async fn write(&self, writer: &SliceWriter, content: SliceContent) {
        let written = writer.write(&content).await;
        self.metrics.slices_written(SliceContents::Agents, what_became(&written));
        self.hub.with_roster(|roster| match &written {
            Ok(()) => roster.written(&content.id, Timestamp::now()),
            Err(_) => roster.write_failed(&content.id, Timestamp::now()),
        });
        if let Err(error) = written {
            tracing::warn!(namespace = %content.id.namespace, slice = content.id.number, %error, "cannot write slice");
        }
    }
}

/// Resolves when the tasks are to end.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn wait_until(due: Option<Timestamp>, turn: Instant) {
    let Some(due) = due else { return std::future::pending().await };
    let left = due.duration_since(Timestamp::now());
    sleep(Duration::try_from(left).unwrap_or(Duration::ZERO)).await;
    sleep_until(turn).await;
}

fn what_became(written: &kube::Result<()>) -> Write {
    match written {
        Ok(()) => Write::Ok,
        Err(kube::Error::Api(status)) if status.code == 409 => Write::Conflict,
        Err(_) => Write::Error,
    }
}

#[cfg(test)]
mod tests;
