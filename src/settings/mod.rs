//! Flags and environment of `opamp-operator`, checked, and the times that the design fixes.

use crate::api::is_label;
use crate::telemetry::LogFormat;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

mod limits;

pub use limits::{DoorLimits, LimitArgs};

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
    /// How agents may prove who they are, separated by commas: by a token from a Secret, the token of a
    /// service account, or a certificate. `none` must be asked for, and alone: whoever reaches the port is served then.
    #[arg(long, env = "OPAMP_OPERATOR_AGENT_AUTH", value_enum, value_delimiter = ',', value_name = "WAYS",
          default_values_t = [AuthWay::Token, AuthWay::ServiceAccount, AuthWay::Mtls])]
    pub agent_auth: Vec<AuthWay>,
    /// The namespace of all agents with `--agent-auth none`. Otherwise an agent is of the namespace of its credential.
    #[arg(long, env = "OPAMP_OPERATOR_AGENT_NAMESPACE", default_value = "default", value_name = "NAMESPACE")]
    pub agent_namespace: String,
    /// PEM file with the certificate of the agents' port, and those above it. Without it the port is not encrypted,
    /// and no certificate of an agent counts. This file, the key and the authority are read again when they change.
    #[arg(long, env = "OPAMP_OPERATOR_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(long, env = "OPAMP_OPERATOR_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// PEM file with authorities of agents' certificates, whose SPIFFE ID `spiffe://DOMAIN/ns/NAMESPACE/…` names the
    /// agent's namespace. Others are in Secrets of type fleet.opamp.dev/agent-ca.
    #[arg(long, env = "OPAMP_OPERATOR_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// The URL, wss or https and with its path, by which agents reach this operator. With it, agents can be offered
    /// another token: the one that annotation fleet.opamp.dev/offer of their Secret names.
    #[arg(long, env = "OPAMP_OPERATOR_PUBLIC_ENDPOINT", value_name = "URL")]
    pub public_endpoint: Option<String>,
    /// PEM file with the authorities by which agents check that endpoint, if those of their systems do not. Read again
    /// when it changes.
    #[arg(long, env = "OPAMP_OPERATOR_PUBLIC_CA", value_name = "FILE")]
    pub public_ca: Option<PathBuf>,
    /// YAML file with the receivers of notifications in Slack, PagerDuty or by webhook: docs/notifications.md. Read again
    /// when it changes; one that cannot be used keeps nothing from running.
    #[arg(long, env = "OPAMP_OPERATOR_NOTIFICATIONS_FILE", value_name = "FILE")]
    pub notifications_file: Option<PathBuf>,
    /// How log lines are written.
    #[arg(long, env = "OPAMP_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Divides all times that the design fixes, so that tests run the same rules faster.
    #[arg(long, env = "OPAMP_OPERATOR_TIME_SCALE", default_value_t = 1, hide = true, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub time_scale: u32,
    /// What agents may take of the operator. Last, because its heading in the help would stand over all that follows.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// A value of `--agent-auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthWay {
    /// A token from a Secret of type fleet.opamp.dev/agent-token.
    Token,
    /// The token of a service account, made for the audience opamp.fleet.opamp.dev.
    #[value(name = "serviceaccount")]
    ServiceAccount,
    /// A certificate.
    Mtls,
    /// Nobody has to prove anything.
    None,
}

/// How agents prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentAuth {
    /// They do not.
    None,
    /// By any of these.
    AnyOf {
        /// Tokens from Secrets.
        tokens: bool,
        /// Tokens of service accounts.
        service_accounts: bool,
        /// Certificates.
        certificates: bool,
    },
}

impl AgentAuth {
    fn of(ways: &[AuthWay]) -> Result<Self, SettingsError> {
        let has = |way| ways.contains(&way);
        let any = Self::AnyOf {
            tokens: has(AuthWay::Token),
            service_accounts: has(AuthWay::ServiceAccount),
            certificates: has(AuthWay::Mtls),
        };
        match (has(AuthWay::None), any.bearers() || any.certificates()) {
            (false, _) => Ok(any),
            (true, false) => Ok(Self::None),
            (true, true) => Err(SettingsError::NotOnlyNone),
        }
    }

    /// Whether tokens from Secrets count.
    pub fn tokens(self) -> bool {
        matches!(self, Self::AnyOf { tokens: true, .. })
    }

    /// Whether tokens of service accounts count.
    pub fn service_accounts(self) -> bool {
        matches!(self, Self::AnyOf { service_accounts: true, .. })
    }

    /// Whether any token counts.
    pub fn bearers(self) -> bool {
        self.tokens() || self.service_accounts()
    }

    /// Whether certificates count.
    pub fn certificates(self) -> bool {
        matches!(self, Self::AnyOf { certificates: true, .. })
    }
}

/// The files of `--tls-cert`, `--tls-key` and `--client-ca`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the agents' port.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of agents' certificates.
    pub client_authority: Option<PathBuf>,
}

impl TlsFiles {
    fn of(args: &RunArgs) -> Result<Option<Self>, SettingsError> {
        match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(Self {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authority: args.client_ca.clone(),
            })),
            (None, None) if args.client_ca.is_some() => Err(SettingsError::AuthorityWithoutTls),
            (None, None) => Ok(None),
            _ => Err(SettingsError::HalfAnIdentity),
        }
    }
}

/// `--public-endpoint` and `--public-ca`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicEndpoint {
    /// The URL.
    pub url: String,
    /// The authorities by which agents check it.
    pub authority: Option<PathBuf>,
}

impl PublicEndpoint {
    fn of(args: &RunArgs) -> Result<Option<Self>, SettingsError> {
        let Some(url) = &args.public_endpoint else {
            let idle = args.public_ca.is_some();
            return if idle { Err(SettingsError::AuthorityWithoutEndpoint) } else { Ok(None) };
        };
        let wrong = |why| Err(SettingsError::BadEndpoint(why));
        // What stands in it is not repeated: it may be a password.
        let Ok(uri) = url.parse::<hyper::Uri>() else { return wrong("it is no URL") };
        match uri.scheme_str() {
            Some("wss" | "https") => {}
            Some("ws" | "http") => return wrong("agents are sent tokens, so it must be wss or https"),
            _ => return wrong("it must begin with wss:// or https://"),
        }
        if uri.host().is_none_or(str::is_empty) {
            return wrong("it has no host");
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return wrong("no user belongs into it");
        }
        if uri.path() == "/" {
            return wrong("it has no path, and agents connect to /v1/opamp");
        }
        Ok(Some(Self { url: url.clone(), authority: args.public_ca.clone() }))
    }
}

/// What is wrong with the flags.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Agents would have to prove who they are, and not have to.
    #[error("--agent-auth none cannot be combined with other ways: it lets everybody in")]
    NotOnlyNone,
    /// A certificate without its key, or the other way round.
    #[error("--tls-cert and --tls-key are given together or not at all")]
    HalfAnIdentity,
    /// Certificates are to be checked that nobody can show.
    #[error("--client-ca needs --tls-cert and --tls-key: without TLS no agent can show a certificate")]
    AuthorityWithoutTls,
    /// A limit with which the operator would be of no use, or none at all.
    #[error("{flag} {given} is out of range: it takes {least} to {most}")]
    OutOfRange {
        /// Which one.
        flag: &'static str,
        /// What was asked for.
        given: String,
        /// The least that it takes.
        least: String,
        /// The most.
        most: String,
    },
    /// Agents are to check an endpoint by it that they are not told of.
    #[error("--public-ca needs --public-endpoint")]
    AuthorityWithoutEndpoint,
    /// Agents cannot be sent there.
    #[error("--public-endpoint cannot be used: {0}")]
    BadEndpoint(&'static str),
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
    /// How agents prove who they are.
    pub agent_auth: AgentAuth,
    /// The namespace of agents that do not have to.
    pub agent_namespace: String,
    /// The files for TLS; without them the agents' port is plain.
    pub tls: Option<TlsFiles>,
    /// What agents may take of the operator.
    pub limits: DoorLimits,
    /// Where agents are sent that are offered another token; without it none is.
    pub public_endpoint: Option<PublicEndpoint>,
    /// Who is told what becomes of rollouts; without it nobody is.
    pub notifications_file: Option<PathBuf>,
    /// The times.
    pub timings: Timings,
}

impl Settings {
    /// Checks the flags; `environment` looks a variable up.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(args: &RunArgs, environment: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let agent_auth = AgentAuth::of(&args.agent_auth)?;
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
            agent_auth,
            agent_namespace: args.agent_namespace.clone(),
            tls: TlsFiles::of(args)?,
            limits: DoorLimits::of(&args.limits)?,
            public_endpoint: PublicEndpoint::of(args)?,
            notifications_file: args.notifications_file.clone(),
            timings: Timings::default().scaled(args.time_scale),
        })
    }
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
    /// How often the credential of an open WebSocket is checked again.
    pub credential_check: Duration,
    /// How long the API server's word on a token counts at most.
    pub review_memory: Duration,
    /// Between two WebSockets that are closed because their credential is gone: 5 seconds per hundred.
    pub revocation_spacing: Duration,
    /// How long a WebSocket may be open at most.
    pub session_age: Duration,
    /// How often the certificate files are looked at.
    pub certificate_check: Duration,
    /// How long agents must be well that were told where to send their own telemetry, before the next are.
    pub telemetry_settle: Duration,
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
            credential_check: Duration::from_mins(10),
            review_memory: Duration::from_mins(5),
            revocation_spacing: Duration::from_millis(50),
            session_age: Duration::from_hours(24),
            certificate_check: Duration::from_secs(5),
            telemetry_settle: Duration::from_secs(30),
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
            credential_check: self.credential_check / scale,
            review_memory: self.review_memory / scale,
            revocation_spacing: self.revocation_spacing / scale,
            session_age: self.session_age / scale,
            certificate_check: self.certificate_check / scale,
            telemetry_settle: self.telemetry_settle / scale,
        }
    }
}

#[cfg(test)]
mod tests;
