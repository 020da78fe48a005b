//! `opamp-operator`: manages fleets of OpenTelemetry Collectors through `OpAMP`, from Kubernetes resources.
//!
//! Read `docs/architecture.md` for the map. Dependencies point one way, and a test enforces it: [`api`] and
//! [`config`] know nothing of the rest, [`fleet`], [`rollout`] and [`drift`] decide as pure functions, [`opamp`] and
//! [`cluster`] are the edges, [`notify`] tells people elsewhere, [`controller`] reads, decides and writes, and [`run`] joins everything.

pub mod api;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod drift;
pub mod fleet;
pub mod heal;
pub mod notify;
pub mod opamp;
pub mod rollout;
pub mod run;
pub mod settings;
pub mod sim;
pub mod telemetry;
