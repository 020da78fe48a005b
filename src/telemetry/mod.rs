//! Logs and the metrics registry. Log messages are short constant text with the data in fields.

mod control;
mod fleet;
mod leases;
mod overflows;
mod rollouts;
mod series;

pub use control::{ControlMetrics, SliceContents, Write};
pub use fleet::{Attempt, FleetMetrics, GroupCounts};
pub use leases::{Lease, LeaseMetrics};
pub use overflows::Overflows;
pub use rollouts::{AttemptEnd, RolloutCounts, RolloutMetrics};
pub use series::{Counts, Durations, Label, Told};

use clap::ValueEnum;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts logging to standard error. `RUST_LOG` chooses what is logged; without it, `info` and above.
pub fn init_logs(format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call in the same process (tests) changes nothing.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}

/// The metrics of this process. No label grows with the fleet.
pub struct Metrics {
    registry: Registry,
    /// 1 while this replica leads.
    pub leading: Gauge,
    /// Agents that are connected to this replica.
    pub connected_agents: Gauge,
    /// Namespaces in which slices of this replica are overdue.
    pub slices_behind: Gauge,
    /// What the leader tells of the whole fleet.
    pub fleet: FleetMetrics,
    /// What it tells of rollouts.
    pub rollouts: RolloutMetrics,
    /// What this replica does with the API server.
    pub control: ControlMetrics,
    /// This replica's Leases.
    pub leases: LeaseMetrics,
}

impl Metrics {
    /// The operator's own metrics; `register` adds those of other modules.
    pub fn new(register: impl FnOnce(&mut Registry)) -> Arc<Self> {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("opamp_operator_build", "The program that serves", build);
        let (leading, connected_agents) = (Gauge::default(), Gauge::default());
        registry.register("opamp_operator_leading", "1 while this replica leads", leading.clone());
        registry.register(
            "opamp_connected_agents",
            "Agents that are connected to this replica",
            connected_agents.clone(),
        );
        let slices_behind = Gauge::default();
        let help = "Namespaces in which slices of this replica's agents are overdue";
        registry.register("opamp_slices_behind_namespaces", help, slices_behind.clone());
        let fleet = FleetMetrics::default();
        fleet.register(&mut registry);
        let (rollouts, control) = (RolloutMetrics::default(), ControlMetrics::default());
        rollouts.register(&mut registry);
        control.register(&mut registry);
        let leases = LeaseMetrics::default();
        leases.register(&mut registry);
        register(&mut registry);
        Arc::new(Self {
            registry,
            leading,
            connected_agents,
            slices_behind,
            fleet,
            rollouts,
            control,
            leases,
        })
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
