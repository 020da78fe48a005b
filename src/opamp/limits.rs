//! What one peer may take of the server: sizes, numbers and times.

use std::time::Duration;

/// The limits of the agents' door. All times are those of one connection.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest message in either direction, in bytes, after decompression. The specification recommends 64 MiB.
    pub max_message_bytes: usize,
    /// Most connections at a time, of both transports together. One idle agent takes less than 10 KB, so the
    /// default needs 200 MB at most; a peer above it is told to come back later.
    pub max_connections: usize,
    /// A WebSocket that was silent for so long is sent a ping. Shorter than the idle timeouts of usual balancers.
    pub ping_interval: Duration,
    /// A WebSocket that was silent for so long, pings and all, is closed. More than two ping intervals, so that
    /// one lost ping closes nothing.
    pub idle_deadline: Duration,
    /// How long a peer may take to read one message; one that is slower is closed, because what it does not read
    /// is kept in memory.
    pub write_timeout: Duration,
    /// How long a peer may take to send its first message after the upgrade, or one body over plain HTTP.
    pub first_message_timeout: Duration,
    /// How long a peer may take to send the head of a request; also how long a connection of plain HTTP is kept
    /// between two requests.
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
    /// How long a WebSocket may be open at most. Each is closed at a moment of its own in the last quarter of this.
    pub max_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 << 20,
            max_connections: 20_000,
            ping_interval: Duration::from_secs(30),
            idle_deadline: Duration::from_secs(75),
            write_timeout: Duration::from_secs(10),
            first_message_timeout: Duration::from_secs(30),
            header_read_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            max_refused_attempts: 60,
            refused_attempts_window: Duration::from_mins(1),
            recheck_interval: Duration::from_mins(10),
            revocation_spacing: Duration::from_millis(50),
            max_age: Duration::from_hours(24),
        }
    }
}
