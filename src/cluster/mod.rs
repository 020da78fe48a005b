//! The Kubernetes edge: client, watches, leases, slices, revisions, status patches, Events.
//!
//! Kubernetes is the only channel between replicas, and the only store (design, section 4). Every function here
//! moves data between objects and the types of [`crate::fleet`]; what to do with them is decided elsewhere.

mod credentials;
mod events;
mod exceptions;
mod hash_key;
mod lease;
mod liveness;
mod observe;
mod origins;
mod patch;
mod policies;
mod preflight;
mod promise;
mod refused;
mod registry;
mod requests;
mod reviews;
mod revisions;
mod slices;
mod telemetry;
mod view;
mod watching;
mod whole;

pub use credentials::{AgentAuthority, AgentSecrets, OfferedToken, follow_agent_secrets};
pub use events::Announcer;
pub use exceptions::write_exceptions;
pub use hash_key::{HASH_KEY_SECRET, HashKeyProblem, load_or_create as load_hash_key};
pub use lease::{Held, Keeper, Observed, Step, evaluate, keep};
pub use liveness::Liveness;
pub use observe::{Changes, Observatory};
pub use patch::{Written, merge_diff, write_status};
pub use policies::{STAMPS_POLICY, stamped_since};
pub use preflight::{OWN_RIGHTS, RIGHTS, Right, StartError, connect, preflight};
pub use promise::Promise;
pub use registry::delete_lease;
pub use reviews::{AUDIENCE, Rejected, Reviewer};
pub use revisions::{LoadError, RevisionBody, files_secret_name, load as load_revision};
pub use slices::{LastWrite, SliceWriter, delete_slice};
pub use telemetry::{TelemetryError, load_telemetry, telemetry_secrets};
pub use view::{Encode, follow_groups};
pub use watching::{pauses, watching};
pub use whole::Whole;

/// Name of the Lease that makes its holder the leader.
pub const LEADER_LEASE: &str = "opamp-operator-leader";
/// Prefix of each replica's own Lease.
pub const REPLICA_LEASE_PREFIX: &str = "opamp-operator-replica-";
/// How this operator calls itself as a field manager and as the reporter of Events.
pub const MANAGER: &str = "opamp-operator";
