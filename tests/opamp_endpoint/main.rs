//! The agents' door on a real socket: both transports, hostile peers, pushes, shutdown.
//!
//! Well-behaved agents are those of `sim`; `raw` has peers that do what no agent should. Nothing sleeps: what is
//! waited for is observed, within [`PATIENCE`].

mod drain;
mod exchange;
mod fleetsim;
mod gate;
mod http;
mod identity;
mod limits;
mod offers;
mod peer;
mod raw;
mod server;
mod settings;
mod slow;
mod state;
mod tls;
mod websocket;

use std::time::Duration;
use tokio::time::timeout;

/// How long anything that is waited for may take on a busy machine. Far longer than it does take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.unwrap_or_else(|late| panic!("{what}: {late}"))
}
