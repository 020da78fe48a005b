//! Writes this replica's slices when they are due, and keeps its Lease, which says that they are written.

use crate::api::REPLICA_LABEL;
use crate::cluster::{Held, Keeper, REPLICA_LEASE_PREFIX, SliceWriter, keep};
use crate::opamp::Hub;
use crate::settings::Settings;
use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The two tasks, until [`Keepers::finish`].
pub struct Keepers {
    hub: Arc<Hub>,
    /// Between two writes.
    pause: Duration,
    flushing: JoinHandle<SliceWriter>,
    renewing: JoinHandle<Keeper>,
    stop: watch::Sender<bool>,
}

/// Starts both tasks.
pub fn spawn(
    client: Client,
    settings: &Settings,
    hub: Arc<Hub>,
    writer: SliceWriter,
    held: watch::Sender<Option<Held>>,
) -> Keepers {
    let timings = &settings.timings;
    let stop = watch::Sender::new(false);
    let name = format!("{REPLICA_LEASE_PREFIX}{}", settings.identity);
    let leases = Api::namespaced(client, &settings.namespace);
    let keeper = Keeper::new(leases, &name, &settings.identity, timings.lease_duration)
        .label(REPLICA_LABEL, &settings.identity);
    Keepers {
        flushing: tokio::spawn(flush_until(hub.clone(), writer, timings.slice_pause, stop.subscribe())),
        renewing: tokio::spawn(renew_until(
            hub.clone(),
            keeper,
            timings.lease_renewal,
            held,
            stop.subscribe(),
        )),
        hub,
        pause: timings.slice_pause,
        stop,
    }
}

impl Keepers {
    /// Writes everything that is due some day, now, and gives the Lease back.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let (Ok(mut writer), Ok(keeper)) = (self.flushing.await, self.renewing.await) else { return };
        flush(&self.hub, &mut writer, self.pause, Timestamp::MAX).await;
        if let Err(error) = keeper.release().await {
            tracing::warn!(%error, "cannot give the lease back");
        }
    }
}

async fn flush_until(
    hub: Arc<Hub>,
    mut writer: SliceWriter,
    pause: Duration,
    mut stop: watch::Receiver<bool>,
) -> SliceWriter {
    loop {
        let due = hub.with_roster(|roster| roster.next_due());
        tokio::select! {
            () = wait_until(due) => flush(&hub, &mut writer, pause, Timestamp::now()).await,
            () = hub.edges() => {}
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

/// Writes the slices that are due, not faster than the API server is promised.
async fn flush(hub: &Hub, writer: &mut SliceWriter, pause: Duration, until: Timestamp) {
    for content in hub.with_roster(|roster| roster.take_due(until)) {
        let written = writer.write(&content).await;
        hub.with_roster(|roster| match &written {
            Ok(()) => roster.written(&content.id, Timestamp::now()),
            Err(_) => roster.write_failed(&content.id, Timestamp::now()),
        });
        if let Err(error) = written {
            tracing::warn!(namespace = %content.id.namespace, slice = content.id.number, %error, "cannot write slice");
        }
        tokio::time::sleep(pause).await;
    }
}

async fn renew_until(
    hub: Arc<Hub>,
    mut keeper: Keeper,
    renewal: Duration,
    held: watch::Sender<Option<Held>>,
    mut stop: watch::Receiver<bool>,
) -> Keeper {
    // A renewal says that the slices are written, so one that is overdue holds it up.
    let flushed = || {
        let late = Timestamp::now() - crate::fleet::signed(renewal);
        hub.with_roster(|roster| roster.next_due()).is_none_or(|due| due > late)
    };
    tokio::select! {
        // Nobody else asks for it, so there is nothing to be told of.
        () = keep(&mut keeper, renewal, &held, flushed, futures::stream::pending()) => {}
        () = stopped(&mut stop) => {}
    }
    keeper
}
