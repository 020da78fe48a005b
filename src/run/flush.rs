//! Writes this replica's slices when they are due, and keeps its Lease, which says that they are written.

use super::leases;
use crate::api::REPLICA_LABEL;
use crate::cluster::{Held, Keeper, LastWrite, Promise, REPLICA_LEASE_PREFIX, SliceWriter, keep};
use crate::opamp::Hub;
use crate::settings::Settings;
use crate::telemetry::{ControlMetrics, Lease, LeaseMetrics, Metrics, SliceContents, Write};
use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The two tasks, until [`Keepers::finish`].
pub struct Keepers {
    flusher: Flusher,
    flushing: JoinHandle<SliceWriter>,
    renewing: JoinHandle<Keeper>,
    stop: watch::Sender<bool>,
}

/// What slices are written with.
#[derive(Clone)]
struct Flusher {
    hub: Arc<Hub>,
    /// Between two writes.
    pause: Duration,
    metrics: ControlMetrics,
}

/// Starts both tasks.
pub fn spawn(
    client: Client,
    settings: &Settings,
    hub: Arc<Hub>,
    writer: SliceWriter,
    metrics: &Metrics,
    held: watch::Sender<Option<Held>>,
) -> Keepers {
    let timings = &settings.timings;
    let stop = watch::Sender::new(false);
    let name = format!("{REPLICA_LEASE_PREFIX}{}", settings.identity);
    let leases = Api::namespaced(client, &settings.namespace);
    let keeper = Keeper::new(leases, &name, &settings.identity, timings.lease_duration)
        .label(REPLICA_LABEL, &settings.identity);
    let written = writer.last_write();
    let flusher = Flusher { hub: hub.clone(), pause: timings.slice_pause, metrics: metrics.control.clone() };
    Keepers {
        flushing: tokio::spawn(flush_until(flusher.clone(), writer, stop.subscribe())),
        renewing: tokio::spawn(renew_until(
            hub,
            written,
            keeper,
            timings.lease_renewal,
            held,
            metrics.leases.clone(),
            stop.subscribe(),
        )),
        flusher,
        stop,
    }
}

impl Keepers {
    /// Writes everything that is due some day, now, and gives the Lease back.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let (Ok(mut writer), Ok(keeper)) = (self.flushing.await, self.renewing.await) else { return };
        self.flusher.flush(&mut writer, Timestamp::MAX).await;
        if let Err(error) = keeper.release().await {
            tracing::warn!(%error, "cannot give the lease back");
        }
    }
}

async fn flush_until(
    flusher: Flusher,
    mut writer: SliceWriter,
    mut stop: watch::Receiver<bool>,
) -> SliceWriter {
    loop {
        let due = flusher.hub.with_roster(|roster| roster.next_due());
        tokio::select! {
            () = wait_until(due) => flusher.flush(&mut writer, Timestamp::now()).await,
            () = flusher.hub.edges() => {}
            () = stopped(&mut stop) => return writer,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn wait_until(due: Option<Timestamp>) {
    match due {
        Some(due) => {
            let left = due.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(left).unwrap_or(Duration::ZERO)).await;
        }
        None => std::future::pending().await,
    }
}

impl Flusher {
    /// Writes the slices that are due, not faster than the API server is promised.
    async fn flush(&self, writer: &mut SliceWriter, until: Timestamp) {
        for content in self.hub.with_roster(|roster| roster.take_due(until)) {
            let written = writer.write(&content).await;
            self.metrics.slices_written(SliceContents::Agents, what_became(&written));
            self.hub.with_roster(|roster| match &written {
                Ok(()) => roster.written(&content.id, Timestamp::now()),
                Err(_) => roster.write_failed(&content.id, Timestamp::now()),
            });
            if let Err(error) = written {
                tracing::warn!(namespace = %content.id.namespace, slice = content.id.number, %error, "cannot write slice");
            }
            tokio::time::sleep(self.pause).await;
        }
    }
}

fn what_became(written: &kube::Result<()>) -> Write {
    match written {
        Ok(()) => Write::Ok,
        Err(kube::Error::Api(status)) if status.code == 409 => Write::Conflict,
        Err(_) => Write::Error,
    }
}

/// Says once of a namespace that this replica is behind there, and that it is no more.
fn tell(before: &BTreeSet<Arc<str>>, behind: &BTreeSet<Arc<str>>) {
    for namespace in behind.difference(before) {
        tracing::warn!(%namespace, "slices are not written in time: agents of this namespace are offered nothing");
    }
    for namespace in before.difference(behind) {
        tracing::info!(%namespace, "slices are written in time again");
    }
}

async fn renew_until(
    hub: Arc<Hub>,
    written: LastWrite,
    mut keeper: Keeper,
    renewal: Duration,
    held: watch::Sender<Option<Held>>,
    metrics: LeaseMetrics,
    mut stop: watch::Receiver<bool>,
) -> Keeper {
    // A renewal says that the slices are written, so it names the last of them, and the namespaces in which one is overdue.
    // What agents answer there cannot be told: they are offered nothing meanwhile.
    let mut told = BTreeSet::new();
    let promise = || {
        let late = Timestamp::now() - crate::fleet::signed(renewal);
        let behind = hub.with_roster(|roster| roster.behind(late));
        tell(&told, &behind);
        told.clone_from(&behind);
        hub.withhold(behind.clone());
        // Read last, so that it is of no slice before those that are not behind any more.
        Promise::except(behind, written.version())
    };
    tokio::select! {
        // Nobody else asks for it, so there is nothing to be told of.
        () = keep(&mut keeper, renewal, &held, promise, futures::stream::pending()) => {}
        () = leases::tell(&metrics, Lease::Replica, held.subscribe()) => {}
        () = stopped(&mut stop) => {}
    }
    metrics.not_held(Lease::Replica);
    keeper
}
