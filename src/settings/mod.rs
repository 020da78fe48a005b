//! Flags and environment of `opamp-operator`, checked, and the times that the design fixes.

use crate::telemetry::LogFormat;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::time::Duration;

/// Manages fleets of OpenTelemetry Collectors through OpAMP.
///
/// People apply a CollectorGroup (who) and a ConfigRollout (what); this program gives every connected agent its
/// configuration and writes what became of it back onto the resources.
#[derive(Debug, Parser)]
#[command(name = "opamp-operator", version, about, long_about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves agents, and leads while it holds the Lease.
    Run(Box<RunArgs>),
    /// Prints the custom resource definitions as YAML: `opamp-operator crds | kubectl apply --server-side -f -`.
    Crds,
}

/// Flags of `opamp-operator run`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The cluster is found as kubectl finds it: KUBECONFIG, ~/.kube/config, or the service account of the pod.\n\
    Try it: opamp-operator run --agent-auth none --identity me --namespace default"
)]
pub struct RunArgs {
    /// Where agents connect, by WebSocket or plain HTTP, on path /v1/opamp. Port 0 takes a free one.
    #[arg(long, env = "OPAMP_OPERATOR_OPAMP_LISTEN", default_value = "0.0.0.0:4320", value_name = "ADDRESS")]
    pub opamp_listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are served. Port 0 takes a free one.
    #[arg(long, env = "OPAMP_OPERATOR_ADMIN_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
    /// Name of this replica, unlike all others'; the pod's name. Default: POD_NAME.
    #[arg(long, env = "OPAMP_OPERATOR_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// The operator's own namespace, for Leases and the hash key. Default: POD_NAMESPACE.
    #[arg(long, env = "OPAMP_OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// How agents prove who they are. Only `none` works yet, and it must be asked for: whoever reaches the port
    /// is served then.
    #[arg(long, env = "OPAMP_OPERATOR_AGENT_AUTH", value_name = "none")]
    pub agent_auth: Option<String>,
    /// The namespace of all agents while they do not prove who they are.
    #[arg(long, env = "OPAMP_OPERATOR_AGENT_NAMESPACE", default_value = "default", value_name = "NAMESPACE")]
    pub agent_namespace: String,
    /// Largest message of an agent, after decompression, in bytes.
    #[arg(long, env = "OPAMP_OPERATOR_MAX_MESSAGE_BYTES", default_value_t = 64 * 1024 * 1024, value_name = "BYTES")]
    pub max_message_bytes: usize,
    /// Most connections at a time; above it, agents are told to come back later.
    #[arg(long, env = "OPAMP_OPERATOR_MAX_CONNECTIONS", default_value_t = 20_000, value_name = "COUNT")]
    pub max_connections: usize,
    /// How log lines are written.
    #[arg(long, env = "OPAMP_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Divides all times that the design fixes, so that tests run the same rules faster.
    #[arg(long, env = "OPAMP_OPERATOR_TIME_SCALE", default_value_t = 1, hide = true, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub time_scale: u32,
}

/// What is wrong with the flags.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nobody said how agents prove who they are.
    #[error(
        "--agent-auth is not given, and agents are refused by default: only `--agent-auth none` works yet, and serves whoever reaches the port"
    )]
    NoAgentAuth,
    /// A way that does not work yet.
    #[error("--agent-auth {0} does not work yet: only `none` does")]
    UnknownAgentAuth(String),
    /// Nobody said who this replica is.
    #[error("--identity is not given, and POD_NAME is not set: name this replica")]
    NoIdentity,
    /// The identity cannot be part of an object's name.
    #[error(
        "--identity {0:?} cannot be used: it has 1 to 63 lower-case letters, digits and '-', and starts and ends with a letter or digit"
    )]
    BadIdentity(String),
    /// Nobody said where the operator lives.
    #[error(
        "--namespace is not given, and POD_NAMESPACE is not set: say where Leases and the hash key belong"
    )]
    NoNamespace,
}

/// What `run` needs, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where agents connect.
    pub opamp_listen: SocketAddr,
    /// Where probes and metrics are served.
    pub admin_listen: SocketAddr,
    /// This replica's name.
    pub identity: String,
    /// The operator's own namespace.
    pub namespace: String,
    /// The namespace of all agents.
    pub agent_namespace: String,
    /// Largest message of an agent, in bytes.
    pub max_message_bytes: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// The times.
    pub timings: Timings,
}

impl Settings {
    /// Checks the flags; `environment` looks a variable up.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(args: &RunArgs, environment: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        match args.agent_auth.as_deref() {
            Some("none") => {}
            Some(other) => return Err(SettingsError::UnknownAgentAuth(other.to_owned())),
            None => return Err(SettingsError::NoAgentAuth),
        }
        let identity =
            args.identity.clone().or_else(|| environment("POD_NAME")).ok_or(SettingsError::NoIdentity)?;
        if !is_label(&identity) {
            return Err(SettingsError::BadIdentity(identity));
        }
        let namespace = args.namespace.clone().or_else(|| environment("POD_NAMESPACE"));
        Ok(Self {
            opamp_listen: args.opamp_listen,
            admin_listen: args.admin_listen,
            identity,
            namespace: namespace.ok_or(SettingsError::NoNamespace)?,
            agent_namespace: args.agent_namespace.clone(),
            max_message_bytes: args.max_message_bytes,
            max_connections: args.max_connections,
            timings: Timings::default().scaled(args.time_scale),
        })
    }
}

/// Whether a text may stand in names and labels of objects (RFC 1123 label).
fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Every time that the design fixes. Users' own fields are never among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long a Lease lasts after its renewal.
    pub lease_duration: Duration,
    /// How often Leases are renewed.
    pub lease_renewal: Duration,
    /// How long a verdict or a change of health may wait before it is written.
    pub flush_urgent: Duration,
    /// How long any other edge may wait.
    pub flush_slow: Duration,
    /// The assumed interval of an agent that polls.
    pub assumed_interval: Duration,
    /// How long a rollout waits for the agents of a replica that died.
    pub unreachable: Duration,
    /// How long the agents of each step of an adoption but the last must stay healthy: those of the default phases.
    pub adoption_soaks: [Duration; 3],
    /// Shortest time between two status writes that change no state.
    pub status_interval: Duration,
    /// How often silence is looked for.
    pub recheck: Duration,
    /// How long a failed reconcile, or a missing hash key, waits before it is tried again.
    pub retry: Duration,
    /// Shortest time between two slice writes: at most 20 a second.
    pub slice_pause: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            lease_renewal: Duration::from_secs(5),
            flush_urgent: Duration::from_secs(1),
            flush_slow: Duration::from_secs(10),
            assumed_interval: Duration::from_secs(30),
            unreachable: Duration::from_mins(3),
            adoption_soaks: [5, 5, 3].map(Duration::from_mins),
            status_interval: Duration::from_secs(1),
            recheck: Duration::from_secs(1),
            retry: Duration::from_secs(5),
            slice_pause: Duration::from_millis(50),
        }
    }
}

impl Timings {
    /// All times divided by `scale`.
    #[must_use]
    pub fn scaled(self, scale: u32) -> Self {
        Self {
            lease_duration: self.lease_duration / scale,
            lease_renewal: self.lease_renewal / scale,
            flush_urgent: self.flush_urgent / scale,
            flush_slow: self.flush_slow / scale,
            assumed_interval: self.assumed_interval / scale,
            unreachable: self.unreachable / scale,
            adoption_soaks: self.adoption_soaks.map(|soak| soak / scale),
            status_interval: self.status_interval / scale,
            recheck: self.recheck / scale,
            retry: self.retry / scale,
            slice_pause: self.slice_pause / scale,
        }
    }
}

#[cfg(test)]
mod tests;
