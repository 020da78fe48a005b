//! Flags for what agents may take of the operator, and their checks.

use super::SettingsError;
use crate::api;
use clap::Args;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A configuration has at most 256 KiB, and has to fit with what goes around it.
const MESSAGE_BYTES: RangeInclusive<usize> = 512 << 10..=1 << 30;
const COUNT: RangeInclusive<usize> = 1..=1_000_000;
/// What `fleet` keeps of one agent at most.
const ATTRIBUTES: RangeInclusive<usize> = 1..=1000;
const HANDSHAKE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);
/// With less, agents would be asked for a sign of life every second or two, and a moment's trouble would close them all.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(1);
/// Kubernetes gives hours if it is told to, and nobody wants to wait for longer.
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// Longest time between two pings: usual balancers close what is silent for a minute.
const LONGEST_PING_INTERVAL: Duration = Duration::from_secs(30);

/// Flags for limits. Above each of them agents are told to come back later, unless it says otherwise; a metric counts how
/// often.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits of the agents' port")]
pub struct LimitArgs {
    /// Largest message in either direction, after decompression, in bytes: 524288 (512 KiB) to 1073741824 (1 GiB). A
    /// longer one is refused; a configuration that would make one is not sent. Memory for four of them is set aside for
    /// messages that are on their way, and 256 MiB at least.
    #[arg(long, env = "OPAMP_OPERATOR_MAX_MESSAGE_BYTES", default_value_t = 64 << 20, value_name = "BYTES")]
    pub max_message_bytes: usize,
    /// Most connections at a time, WebSocket and plain HTTP together. Plan 15 KB of memory for each that is not
    /// encrypted, the agent's state included.
    #[arg(long, env = "OPAMP_OPERATOR_MAX_CONNECTIONS", default_value_t = 20_000, value_name = "COUNT")]
    pub max_connections: usize,
    /// Most connections of agents of one namespace, whatever credentials it has: a tenant's share. 0: nine tenths of
    /// --max-connections, so that no tenant takes all. It does not count with --agent-auth none.
    #[arg(
        long,
        env = "OPAMP_OPERATOR_MAX_CONNECTIONS_PER_NAMESPACE",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub max_connections_per_namespace: usize,
    /// Most new connections in a second; ten times as many may come at once after a pause. With TLS each
    /// costs a handshake.
    #[arg(long, env = "OPAMP_OPERATOR_MAX_CONNECTION_RATE", default_value_t = 1000, value_name = "COUNT")]
    pub max_connection_rate: u32,
    /// How long an agent may take for the handshake of TLS, and then to send its request, 1s to 5m. Connections of
    /// plain HTTP are kept for as long between two requests.
    #[arg(long, env = "OPAMP_OPERATOR_HANDSHAKE_TIMEOUT", default_value = "10s", value_name = "DURATION")]
    pub handshake_timeout: api::Duration,
    /// How long a WebSocket may be silent before it is closed, 5s to 1h. Pings are sent after two fifths of it, and
    /// after 30 seconds at the latest, so a balancer in front has to tolerate a silence of that length.
    #[arg(long, env = "OPAMP_OPERATOR_IDLE_TIMEOUT", default_value = "75s", value_name = "DURATION")]
    pub idle_timeout: api::Duration,
    /// For how long the ends of connections are spread when the operator is told to stop, 0s to 1h; few take less. It
    /// needs up to 16 seconds more to end the last of them and to write what is left, so give the pod a
    /// terminationGracePeriodSeconds that is 20 above this. The default fits into that of Kubernetes, which is 30.
    #[arg(long, env = "OPAMP_OPERATOR_DRAIN_PERIOD", default_value = "10s", value_name = "DURATION")]
    pub drain_period: api::Duration,
    /// Most agents that this replica knows, those included that are gone and not yet forgotten. Above it, new ones are
    /// refused; those that are known go on.
    #[arg(long, env = "OPAMP_OPERATOR_MAX_AGENTS", default_value_t = 50_000, value_name = "COUNT")]
    pub max_agents: usize,
    /// Most of them with one credential: one Secret, service account or certificate's name. Set it a little above your
    /// largest fleet: whoever gets hold of one credential can make agents up, and takes no more places than this.
    #[arg(
        long,
        env = "OPAMP_OPERATOR_MAX_AGENTS_PER_CREDENTIAL",
        default_value_t = 20_000,
        value_name = "COUNT"
    )]
    pub max_agents_per_credential: usize,
    /// Most attributes that are kept of an agent, 1 to 1000, the identifying ones first; the rest is dropped, and no
    /// selector matches it.
    #[arg(long, env = "OPAMP_OPERATOR_MAX_ATTRIBUTES", default_value_t = 128, value_name = "COUNT")]
    pub max_attributes: usize,
}

/// The limits, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorLimits {
    /// Largest message, in bytes.
    pub max_message_bytes: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most of one namespace.
    pub max_connections_per_namespace: usize,
    /// Most new ones in a second.
    pub max_connection_rate: NonZeroU32,
    /// How long the handshake of TLS may take, and then the head of a request.
    pub handshake_timeout: Duration,
    /// How long a WebSocket may be silent.
    pub idle_timeout: Duration,
    /// After how long a silence it is sent a ping.
    pub ping_interval: Duration,
    /// For how long the ends of connections are spread at the end.
    pub drain_period: Duration,
    /// Most agents.
    pub max_agents: usize,
    /// Most of them with one credential.
    pub max_agents_per_credential: usize,
    /// Most attributes of one.
    pub max_attributes: usize,
}

impl DoorLimits {
    pub(super) fn of(args: &LimitArgs) -> Result<Self, SettingsError> {
        let idle_timeout = time("--idle-timeout", &args.idle_timeout, &IDLE)?;
        let max_connections = count("--max-connections", args.max_connections, &COUNT)?;
        let rate = count("--max-connection-rate", args.max_connection_rate as usize, &COUNT)?;
        Ok(Self {
            max_message_bytes: count("--max-message-bytes", args.max_message_bytes, &MESSAGE_BYTES)?,
            max_connections,
            max_connections_per_namespace: match args.max_connections_per_namespace {
                0 => max_connections - max_connections / 10,
                given => count("--max-connections-per-namespace", given, &COUNT)?,
            },
            max_connection_rate: u32::try_from(rate)
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::MIN),
            handshake_timeout: time("--handshake-timeout", &args.handshake_timeout, &HANDSHAKE)?,
            idle_timeout,
            // Two pings, and some time for the answer to the second, so that one lost ping closes nothing.
            ping_interval: (idle_timeout * 2 / 5).min(LONGEST_PING_INTERVAL),
            drain_period: time("--drain-period", &args.drain_period, &DRAIN)?,
            max_agents: count("--max-agents", args.max_agents, &COUNT)?,
            max_agents_per_credential: count(
                "--max-agents-per-credential",
                args.max_agents_per_credential,
                &COUNT,
            )?,
            max_attributes: count("--max-attributes", args.max_attributes, &ATTRIBUTES)?,
        })
    }
}

fn count(flag: &'static str, given: usize, range: &RangeInclusive<usize>) -> Result<usize, SettingsError> {
    if range.contains(&given) {
        return Ok(given);
    }
    let (least, most) = (range.start().to_string(), range.end().to_string());
    Err(SettingsError::OutOfRange { flag, given: given.to_string(), least, most })
}

fn time(
    flag: &'static str,
    given: &api::Duration,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, SettingsError> {
    if range.contains(&given.get()) {
        return Ok(given.get());
    }
    let text = |time: &Duration| format!("{}s", time.as_secs());
    let (least, most) = (text(range.start()), text(range.end()));
    Err(SettingsError::OutOfRange { flag, given: given.to_string(), least, most })
}
