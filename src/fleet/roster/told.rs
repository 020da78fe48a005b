//! The agents that are told where to send their own telemetry.

use super::Roster;
use super::groups::group_of;
use crate::config::ConfigHash;
use crate::fleet::moving::{Part, wire_hash};
use crate::fleet::{Agent, AgentKey, Capabilities, SettingsReport};
use bytes::Bytes;

/// What an agent is told of its own telemetry. No `Debug`: headers are in the payload.
pub struct ToldTelemetry {
    /// What all settings of the agent stand for.
    pub hash: ConfigHash,
    /// The settings of all signals as they go over the wire.
    pub payload: Bytes,
    /// What the agent is able to do: it is told of the signals that it reports.
    pub capabilities: Capabilities,
}

impl Roster {
    /// What an agent is to be told of its own telemetry now, noted as told.
    pub fn take_telemetry(&mut self, key: &AgentKey) -> Option<ToldTelemetry> {
        let known = self.agents.get_mut(key)?;
        let agent = &mut known.agent;
        let group = group_of(&self.view, key, agent).filter(|_| !self.pause.holds_in(&key.namespace))?;
        let due = agent.due_telemetry(group)?;
        let token = agent.successor(&self.tokens).map(|to| to.hash);
        let told = ToldTelemetry {
            hash: wire_hash(Part::Telemetry, token, Some(due.hash)),
            payload: due.payload.clone(),
            capabilities: agent.capabilities,
        };
        agent.note_told(due.hash);
        Some(told)
    }

    /// Whether an agent is to be told.
    pub(super) fn is_to_be_told(&self, key: &AgentKey, agent: &Agent) -> bool {
        let group = group_of(&self.view, key, agent).filter(|_| !self.pause.holds_in(&key.namespace));
        group.is_some_and(|group| agent.due_telemetry(group).is_some())
    }

    /// An agent says what became of settings.
    pub(super) fn note_telemetry(&mut self, key: &AgentKey, report: SettingsReport) {
        let Some(known) = self.agents.get_mut(key) else { return };
        let agent = &mut known.agent;
        let telemetry = group_of(&self.view, key, agent).and_then(|group| group.telemetry.as_ref());
        let Some(hash) = telemetry.map(|telemetry| telemetry.hash) else { return };
        let token = agent.successor(&self.tokens).map(|to| to.hash);
        agent.note_telemetry(wire_hash(Part::Telemetry, token, Some(hash)), hash, report);
    }

    /// What stands for an agent's telemetry, as far as it is to be told of any.
    pub(super) fn telemetry_of(&self, key: &AgentKey, agent: &Agent) -> Option<ConfigHash> {
        let telemetry = group_of(&self.view, key, agent)?.telemetry.as_ref()?;
        agent.reports_own_telemetry().then_some(telemetry.hash)
    }
}
