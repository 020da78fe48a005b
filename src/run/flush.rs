//! The task that writes this replica's slices, and the one that keeps its Lease, which says that they are written.

use super::leases;
use super::slices::{Flusher, stopped};
use crate::api::REPLICA_LABEL;
use crate::cluster::{Held, Keeper, LastWrite, Promise, REPLICA_LEASE_PREFIX, SliceWriter, keep};
use crate::opamp::Hub;
use crate::settings::Settings;
use crate::telemetry::{Lease, LeaseMetrics, Metrics};
use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The two tasks, until [`Keepers::finish`].
pub struct Keepers {
    flushing: JoinHandle<()>,
    renewing: JoinHandle<Keeper>,
    stop: watch::Sender<bool>,
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
        flushing: tokio::spawn(flusher.run(writer, stop.subscribe())),
        renewing: tokio::spawn(renew_until(
            hub,
            written,
            keeper,
            timings.lease_renewal,
            held,
            metrics.leases.clone(),
            stop.subscribe(),
        )),
        stop,
    }
}

impl Keepers {
    /// Writes everything that is due some day, for at most this long, and gives the Lease back: also where a write hangs,
    /// so that nobody waits for the Lease of a replica that is gone.
    pub async fn finish(self, within: Duration) {
        self.stop.send_replace(true);
        let (written, renewed) = tokio::join!(timeout(within, self.flushing), self.renewing);
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!("not everything was written before the end");
        }
        let Ok(keeper) = renewed else { return };
        if let Err(error) = keeper.release().await {
            tracing::warn!(%error, "cannot give the lease back");
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use hyper::{Method, Request, Response};
    use k8s_openapi::api::coordination::v1::Lease as Object;
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::sync::Mutex;

    /// Else others wait for the Lease of a replica that is gone, for the sake of one namespace.
    #[tokio::test(start_paused = true)]
    async fn lease_is_given_back_though_a_write_gets_no_answer() {
        let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
        let lease: Arc<Mutex<Value>> = Arc::new(Mutex::new(lease));
        let stored = lease.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let stored = stored.clone();
            async move {
                let is_write = request.method() == Method::PUT;
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let mut stored = stored.lock().expect("no panic");
                if is_write {
                    *stored = serde_json::from_slice(&body).expect("a lease");
                }
                Ok::<_, Infallible>(Response::new(Body::from(stored.to_string().into_bytes())))
            }
        });
        let api: Api<Object> = Api::namespaced(Client::new(service, "ns"), "ns");
        let keeper = Keeper::new(api, "l", "me", Duration::from_secs(15));
        let keepers = Keepers {
            flushing: tokio::spawn(std::future::pending()),
            renewing: tokio::spawn(async { keeper }),
            stop: watch::Sender::new(false),
        };
        let start = tokio::time::Instant::now();
        keepers.finish(Duration::from_secs(8)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(8));
        assert_eq!(lease.lock().expect("no panic")["spec"].get("holderIdentity"), None);
    }
}
