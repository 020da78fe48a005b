//! Simulated agents, for rehearsals, tests and benchmarks (`fleetsim`).
//!
//! [`Agent`] is what an agent says and does, as a pure state machine: a message in, messages out. [`run`] gives it
//! a connection, over WebSocket or plain HTTP, and tells an [`Observer`] what happens. The agents speak the
//! protocol as `opamp-go` clients do, and behave as supervisors do.

mod access;
mod agent;
mod endpoint;
mod files;
mod fleet;
mod habits;
mod http;
mod journal;
mod link;
mod observer;
mod profile;
mod refused;
mod runner;
mod websocket;

pub use access::{Access, AccessError};
pub use agent::Agent;
pub use endpoint::{Endpoint, EndpointError, Transport};
pub use fleet::{Fleet, Share, ShareError, run_fleet};
pub use habits::{Behaviour, Cure, Habits, Takes};
pub use journal::{Journal, Offer, Simulated, spawn, spawn_observed};
pub use observer::{Counts, Event, Observer, Tally};
pub use profile::{CAPABILITIES, Profile};
pub use refused::Refused;
pub use runner::{Pace, run};
