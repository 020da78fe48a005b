//! The leader's work: one file per kind, each reads, decides with a pure function, and writes.
//!
//! Only the holder of the leader's Lease runs [`lead`], and the Lease is asked for again at every write. A deposed
//! leader's late write fails on the object's `resourceVersion` or on `leaderTerm`.

mod announce;
mod care;
mod content;
mod contents;
mod context;
mod farewells;
mod group;
mod leader;
mod left;
mod lock;
mod memory;
mod metrics;
mod order;
mod revision;
mod rollout;
mod sources;
mod stamps;
mod telemetry;
mod term;

#[cfg(test)]
mod model;
#[cfg(test)]
mod month;

pub use context::LeaderConfig;
pub use leader::lead;
