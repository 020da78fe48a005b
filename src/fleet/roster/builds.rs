//! What the agents were built with.

use super::Roster;
use crate::fleet::{Agent, AgentKey, BuildReport, Capabilities, Edge};
use jiff::Timestamp;

impl Roster {
    /// Takes in what an agent was built with, and what the others of its build are made of.
    pub(super) fn note_build(&mut self, key: &AgentKey, report: BuildReport, now: Timestamp) {
        let Some(known) = self.agents.get_mut(key) else { return };
        let before = known.agent.build.as_ref().map(|build| build.key);
        if before != Some(report.key) {
            known.agent.build = self.builds.get(&key.namespace, report.key);
            self.slices.mark(known.slice_in(&key.namespace), Edge::Slow, now);
        }
        let Some(components) = report.components else { return };
        if !self.builds.learn(&key.namespace, report.key, components) {
            return;
        }
        let of_build = |agent: &Agent| agent.build.as_ref().is_some_and(|build| build.key == report.key);
        for (other, known) in self.agents.iter().filter(|(_, known)| of_build(&known.agent)) {
            self.slices.mark(known.slice_in(&other.namespace), Edge::Slow, now);
        }
    }

    /// Whether an agent is to be asked now for the components that it was built with; notes that it is. One of those
    /// with the same hash is asked for all of them.
    pub fn ask_for_components(&mut self, key: &AgentKey, now: Timestamp) -> bool {
        let Some(agent) = self.agents.get(key).map(|known| &known.agent) else { return false };
        let tells = agent.capabilities.has(Capabilities::REPORTS_AVAILABLE_COMPONENTS);
        let build = agent.build.as_ref().filter(|_| tells);
        build.is_some_and(|build| self.builds.ask(&key.namespace, build, now))
    }
}
