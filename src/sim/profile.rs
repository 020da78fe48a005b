//! Who an agent is, and what it can do.

use crate::opamp::proto::AgentCapabilities;

/// The capabilities of a supervisor that takes configurations.
pub const CAPABILITIES: u64 = AgentCapabilities::ReportsStatus as u64
    | AgentCapabilities::AcceptsRemoteConfig as u64
    | AgentCapabilities::ReportsRemoteConfig as u64
    | AgentCapabilities::ReportsHealth as u64
    | AgentCapabilities::ReportsHeartbeat as u64;

/// Who an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its instance uid.
    pub uid: [u8; 16],
    /// Its `AgentCapabilities`.
    pub capabilities: u64,
    /// Its identifying attributes.
    pub identifying: Vec<(String, String)>,
    /// Its other attributes.
    pub attributes: Vec<(String, String)>,
}

impl Profile {
    /// A supervisor with this uid and no attributes of its own.
    pub fn new(uid: [u8; 16]) -> Self {
        let identifying = vec![("service.name".to_owned(), "fleetsim".to_owned())];
        Self { uid, capabilities: CAPABILITIES, identifying, attributes: Vec::new() }
    }

    /// The profile with one more attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.attributes.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The profile of an agent that also reports what is in effect.
    #[must_use]
    pub fn showing_effective(self) -> Self {
        self.able_to(AgentCapabilities::ReportsEffectiveConfig)
    }

    /// The profile of an agent that also restarts when it is told to.
    #[must_use]
    pub fn accepting_restarts(self) -> Self {
        self.able_to(AgentCapabilities::AcceptsRestartCommand)
    }

    fn able_to(mut self, capability: AgentCapabilities) -> Self {
        self.capabilities |= capability as u64;
        self
    }
}
