//! What one peer may take of the server: sizes, numbers and times.

use std::num::NonZeroU32;
use std::time::Duration;

/// For how many seconds' worth of connections a burst may be. When a replica comes back its agents do so within a few
/// seconds, and those that are refused wait for half a minute.
const BURST_SECONDS: u32 = 10;
/// How many of the longest messages there is always memory for. One that grows may take up to twice its length, and one
/// that comes compressed is there in both forms.
const LONGEST_MESSAGES: usize = 4;

/// The limits of the agents' door. All times are those of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in either direction, in bytes, after decompression. The specification recommends 64 MiB.
    pub max_message_bytes: usize,
    /// Most connections at a time, of both transports together. One idle agent was measured at
    /// less than 15 KB, so the default needs 300 MB at most; a peer above it is told to come back later.
    pub max_connections: usize,
    /// Most of them on which agents of one namespace speak, so that those of one tenant leave places for the others'. It
    /// does not count where nobody has to prove who he is. The default leaves a tenth of all.
    pub max_connections_per_namespace: usize,
    /// Most connections that are accepted in a second; ten times as many may come at once after a pause. A handshake of
    /// TLS takes most of the CPU time of a new connection, and agents that come back all at once would wait for theirs until they give
    /// up, and then do so again. The default serves 10,000 agents that return together, and as many that poll every 30
    /// seconds on connections of their own three times over.
    pub max_connection_rate: NonZeroU32,
    /// How much memory all connections together may take for messages that have not come as a whole, beside 16 KiB of
    /// each; at least enough for four of the longest. The default is that for the default length, and holds the full
    /// reports of 5,000 agents at the same moment.
    pub message_memory_bytes: usize,
    /// Most agents that are known, connected or not. One that says as much of itself as it may takes 20 KB, most of it
    /// for attributes, and others a fraction of that. More than there are connections, because one connection may serve many, and because those that are gone are
    /// remembered for a day.
    pub max_agents: usize,
    /// Most of them that belong to one holder of a credential, so that whoever makes agents up does not take the places
    /// of all others. It does not count where nobody has to prove who he is.
    pub max_agents_per_credential: usize,
    /// Most attributes of one agent; the rest is dropped. Collectors have 10 to 30.
    pub max_attributes: usize,
    /// A WebSocket that was silent for so long is sent a ping. Shorter than the idle timeouts of usual balancers.
    pub ping_interval: Duration,
    /// A WebSocket that was silent for so long, pings and all, is closed. More than two ping intervals, so that
    /// one lost ping closes nothing.
    pub idle_deadline: Duration,
    /// How long a peer may take to read one message; one that is slower is closed, because what it does not read
    /// is kept in memory.
    pub write_timeout: Duration,
    /// How long a peer may take to send its first message after the upgrade, and any message from its first byte to its
    /// last.
    pub message_timeout: Duration,
    /// How long a peer may take for the handshake of TLS, and then to send the head of a request; also how long a
    /// connection of plain HTTP is kept between two requests.
    pub header_read_timeout: Duration,
    /// How long a peer may take to answer a Close frame.
    pub close_timeout: Duration,
    /// Most refused attempts of one address within [`Limits::refused_attempts_window`]; then nobody is asked for it.
    /// A host of agents that all have a wrong token makes about one a second.
    pub max_refused_attempts: u32,
    /// How long refused attempts are held against their address.
    pub refused_attempts_window: Duration,
    /// How often the credential of an open WebSocket is checked again.
    pub recheck_interval: Duration,
    /// How much later than the one before each WebSocket is closed whose credential is gone.
    pub revocation_spacing: Duration,
    /// For how long the ends of connections are spread when the door closes. Their agents come back to other replicas
    /// as they are closed; 20,000 in the default make 2000 a second.
    pub drain_period: Duration,
    /// Longest time between two ends then: few connections are closed in less than the period.
    pub drain_pause: Duration,
    /// How long a WebSocket may be open at most. Each is closed at a moment of its own in the last quarter of this.
    pub max_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 << 20,
            max_connections: 20_000,
            max_connections_per_namespace: 18_000,
            max_connection_rate: NonZeroU32::MIN.saturating_add(999),
            message_memory_bytes: 256 << 20,
            max_agents: 50_000,
            max_agents_per_credential: 20_000,
            max_attributes: 128,
            ping_interval: Duration::from_secs(30),
            idle_deadline: Duration::from_secs(75),
            write_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            header_read_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            max_refused_attempts: 60,
            refused_attempts_window: Duration::from_mins(1),
            recheck_interval: Duration::from_mins(10),
            revocation_spacing: Duration::from_millis(50),
            drain_period: Duration::from_secs(10),
            drain_pause: Duration::from_millis(50),
            max_age: Duration::from_hours(24),
        }
    }
}

impl Limits {
    /// How many connections may come at once.
    pub(super) fn burst(&self) -> u32 {
        self.max_connection_rate.get().saturating_mul(BURST_SECONDS)
    }

    /// How much memory there is for messages that have not come as a whole.
    pub(super) fn message_memory(&self) -> usize {
        self.message_memory_bytes.max(self.max_message_bytes.saturating_mul(LONGEST_MESSAGES))
    }
}
