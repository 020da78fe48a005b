//! Elects the leader, and leads while elected.

use crate::cluster::{Held, Keeper, LEADER_LEASE, Observatory, keep};
use crate::config::HashKey;
use crate::controller::{self, LeaderConfig};
use crate::settings::Settings;
use crate::telemetry::Metrics;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;

/// The leader's Lease, as this replica asks for it.
pub fn keeper(client: Client, settings: &Settings) -> Keeper {
    let leases = Api::namespaced(client, &settings.namespace);
    Keeper::new(leases, LEADER_LEASE, &settings.identity, settings.timings.lease_duration)
}

/// Asks for the leader's Lease for ever, and runs the controllers while it is held.
pub async fn lead_when_elected(
    client: Client,
    settings: &Settings,
    keeper: &mut Keeper,
    key: HashKey,
    metrics: &Metrics,
) {
    let timings = settings.timings;
    let held = watch::Sender::new(None);
    let election = keep(keeper, timings.lease_renewal, &held, || true);
    let mut elected = held.subscribe();
    let work = async {
        while elected.wait_for(Option::is_some).await.map(drop).is_ok() {
            metrics.leading.set(1);
            let observatory = Observatory::default();
            let watching = observatory.follow(client.clone(), &settings.namespace, timings.recheck);
            let config = LeaderConfig {
                client: client.clone(),
                observatory: observatory.clone(),
                fleet_metrics: metrics.fleet.clone(),
                identity: settings.identity.clone(),
                key: key.clone(),
                held: held.subscribe(),
                status_interval: timings.status_interval,
                assumed_interval: timings.assumed_interval,
                unreachable_for: timings.unreachable,
                adoption_soaks: timings.adoption_soaks,
                telemetry_settle: timings.telemetry_settle,
                retry: timings.retry,
            };
            let mut lost = held.subscribe();
            tokio::select! {
                ended = controller::lead(config) => if let Err(error) = ended {
                    tracing::warn!(%error, "cannot take office");
                    tokio::time::sleep(timings.retry).await;
                },
                () = watching => {}
                () = lost_by(&mut lost) => tracing::warn!("the leader's lease is lost"),
            }
            metrics.leading.set(0);
        }
    };
    tokio::join!(election, work);
}

async fn lost_by(held: &mut watch::Receiver<Option<Held>>) {
    drop(held.wait_for(Option::is_none).await);
}
