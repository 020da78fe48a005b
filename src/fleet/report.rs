//! One message of an agent in the operator's own terms.

use super::{Attributes, BuildReport, Missed, Principal};
use crate::config::{ConfigHash, Form};
use std::sync::Arc;

/// The `AgentCapabilities` bits of a message, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The agent takes configurations; without it none is ever offered (specification, `AcceptsRemoteConfig`).
    pub const ACCEPTS_REMOTE_CONFIG: Self = Self(0x2);
    /// The agent reports the configuration that is in effect.
    pub const REPORTS_EFFECTIVE_CONFIG: Self = Self(0x4);
    /// The agent takes settings of its connection to the server (specification, `AcceptsOpAMPConnectionSettings`).
    pub const ACCEPTS_CONNECTION_SETTINGS: Self = Self(0x100);
    /// The agent takes the command to start anew (specification, `AcceptsRestartCommand`).
    pub const ACCEPTS_RESTART_COMMAND: Self = Self(0x400);
    /// Any of the agent's traces, metrics and logs of its own go where it is told (specification, `ReportsOwnTraces` and
    /// the like).
    pub const REPORTS_OWN_TELEMETRY: Self = Self(0x20 | 0x40 | 0x80);
    /// The agent tells what it was built with.
    pub const REPORTS_AVAILABLE_COMPONENTS: Self = Self(0x4000);
    /// The agent reports its health.
    pub const REPORTS_HEALTH: Self = Self(0x800);
    /// The agent says what became of a configuration.
    pub const REPORTS_REMOTE_CONFIG: Self = Self(0x1000);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One message of an agent in the operator's own terms. What a message leaves out is unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whose credential the agent came with.
    pub principal: Option<Arc<Principal>>,
    /// The message carries the agent's whole state, not only changes.
    pub full: bool,
    /// The agent's description.
    pub description: Option<Description>,
    /// The agent's capabilities; `None` where the message had none set, which means unchanged.
    pub capabilities: Option<Capabilities>,
    /// Whether the agent is healthy.
    pub healthy: Option<bool>,
    /// What it was built with.
    pub build: Option<BuildReport>,
    /// When its process was started, by its own clock, in seconds since 1970; told with its health.
    pub started: Option<i64>,
    /// What became of the last configuration.
    pub config: Option<ConfigReport>,
    /// What became of the last connection settings.
    pub settings: Option<Box<SettingsReport>>,
    /// The message carries what is in effect. That is looked at elsewhere.
    pub shows: bool,
    /// The agent's own number of the message; of interest if it polls.
    pub number: u64,
    /// What the agent said elsewhere since its last message here; of interest if it polls.
    pub missed: Missed,
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// All attributes.
    pub attributes: Attributes,
}

/// An agent's `RemoteConfigStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigReport {
    /// The last hash that the agent received; `None` if it received none, or one that this operator cannot have
    /// sent.
    pub hash: Option<ConfigHash>,
    /// The form of the offer that it received; an operator that was restarted has it from nowhere else.
    pub form: Form,
    /// What became of it.
    pub outcome: Outcome,
}

/// An agent's `ConnectionSettingsStatus`. Its words are dropped: they may repeat a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsReport {
    /// The last hash that the agent received, if this operator can have sent it.
    pub hash: Option<ConfigHash>,
    /// It could not take them.
    pub failed: bool,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The agent does not say.
    Unset,
    /// It is being applied.
    Applying,
    /// It runs.
    Applied,
    /// It could not be applied; the agent's words.
    Failed(String),
}

/// How an agent is attached to this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// By a WebSocket, which this number tells from all others of this process.
    Socket(u64),
    /// By HTTP polls.
    Polling,
}
