//! The real parts for tests and the demo: a private control plane, the operator, supervised Collectors, and
//! independent OpAMP clients as witnesses. Everything listens on loopback, on free ports, keeps its files in a
//! temporary folder, and ends with the test process, however that ends.

#![allow(dead_code, reason = "each test binary uses some of it")]

pub mod authority;
pub mod control_plane;
pub mod documented;
pub mod fleet;
pub mod https;
pub mod metrics;
pub mod nginx;
pub mod operator;
pub mod pages;
pub mod policies;
pub mod process;
pub mod prometheus;
pub mod resources;
pub mod rules;
pub mod shell;
pub mod sink;
pub mod supervisor;
pub mod switch;
pub mod tap;
pub mod trio;
pub mod witness;

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// How long anything that is waited for may take, on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The path of a real part.
///
/// # Panics
/// When it is missing: a missing part fails its test, it never skips it.
pub fn tool(name: &str) -> PathBuf {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/bin")).join(name);
    assert!(path.exists(), "{} is missing: run 'make tools'", path.display());
    path
}

/// Waits for a future, and fails with what was waited for.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("waited {} s for {what}", PATIENCE.as_secs());
    };
    value
}

/// Looks again and again until `probe` finds something; for what tells nobody when it changes.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
pub async fn eventually<T>(what: impl Display, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            if let Some(found) = probe().await {
                return found;
            }
        }
    };
    within(what, looking).await
}
