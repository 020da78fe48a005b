//! Elects the leader, and leads while elected.

use super::leases;
use crate::cluster::{Held, Keeper, LEADER_LEASE, Observatory, Promise, keep};
use crate::config::HashKey;
use crate::controller::{self, LeaderConfig};
use crate::notify::Outbox;
use crate::settings::Settings;
use crate::telemetry::{Lease, Metrics};
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
    outbox: &Outbox,
) {
    let timings = settings.timings;
    let held = watch::Sender::new(None);
    // Whoever waits learns of each renewal, and when the Lease is given back.
    let news = keeper.news();
    let election = keep(keeper, timings.lease_renewal, &held, || Some(Promise::default()), news);
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
                rollout_metrics: metrics.rollouts.clone(),
                control_metrics: metrics.control.clone(),
                outbox: outbox.clone(),
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
            let elected_at = transitions(*lost.borrow_and_update());
            tokio::select! {
                ended = controller::lead(config) => if let Err(error) = ended {
                    tracing::warn!(%error, "cannot take office");
                    tokio::time::sleep(timings.retry).await;
                },
                () = watching => {}
                () = lost_by(&mut lost, elected_at) => tracing::warn!("the leader's lease is lost"),
            }
            metrics.leading.set(0);
        }
    };
    let told = leases::tell(&metrics.leases, Lease::Leader, held.subscribe());
    tokio::join!(election, work, told);
}

fn transitions(held: Option<Held>) -> Option<i64> {
    held.map(|held| held.transitions)
}

/// Resolves when the Lease is lost, also if it was taken back meanwhile: somebody else may have led in between, and
/// whoever leads after that takes office anew.
async fn lost_by(held: &mut watch::Receiver<Option<Held>>, elected_at: Option<i64>) {
    drop(held.wait_for(|held| transitions(*held) != elected_at || held.is_none()).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test]
    async fn lease_is_lost_when_it_runs_out_and_when_it_changed_hands_and_back_and_not_when_it_is_renewed() {
        let held = |transitions, seconds| {
            Some(Held { transitions, until: Instant::now() + Duration::from_secs(seconds) })
        };
        for (later, expected) in [(held(3, 20), None), (None, Some(())), (held(5, 20), Some(()))] {
            let sender = watch::Sender::new(held(3, 15));
            let mut receiver = sender.subscribe();
            let elected_at = transitions(*receiver.borrow_and_update());
            sender.send_replace(later);
            assert_eq!(lost_by(&mut receiver, elected_at).now_or_never(), expected, "{later:?}");
        }
    }
}
