//! Tells in metrics whether this replica holds its Leases.

use crate::cluster::Held;
use crate::telemetry::{Lease, LeaseMetrics};
use tokio::sync::watch;

/// Tells of each renewal and each loss, for as long as it is polled.
pub async fn tell(metrics: &LeaseMetrics, lease: Lease, mut held: watch::Receiver<Option<Held>>) {
    loop {
        match *held.borrow_and_update() {
            Some(held) => metrics.held(lease, held.transitions),
            None => metrics.not_held(lease),
        }
        if held.changed().await.is_err() {
            return;
        }
    }
}
