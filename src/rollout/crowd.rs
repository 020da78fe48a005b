//! A group's agents as one content meets them: some cannot run it.

use crate::config::Inventory;
use crate::fleet::ObservedAgent;
use std::collections::BTreeMap;

/// The agents of a group, and what the content needs that they are to take.
#[derive(Clone, Copy)]
pub struct Crowd<'a> {
    /// The agents.
    pub agents: &'a [ObservedAgent],
    /// The component types in the content, if they are known.
    pub needs: Option<&'a Inventory>,
}

impl<'a> Crowd<'a> {
    /// Each agent.
    pub fn iter(&self) -> std::slice::Iter<'a, ObservedAgent> {
        self.agents.iter()
    }

    /// The agent can be offered the content, and will say what became of it.
    pub fn is_eligible(&self, agent: &ObservedAgent) -> bool {
        agent.is_eligible() && !self.lacks(agent)
    }

    /// The agent can be offered the content, and nobody will know what became of it.
    pub fn is_unverified(&self, agent: &ObservedAgent) -> bool {
        agent.is_unverified() && !self.lacks(agent)
    }

    /// The agent is known not to have a component of the content.
    pub fn lacks(&self, agent: &ObservedAgent) -> bool {
        let both = self.needs.zip(agent.build.as_deref());
        both.is_some_and(|(needs, built)| !needs.is_within(built))
    }

    /// What connected agents lack, each with how many agents lack it: `receiver kafka`. One entry for each distinct
    /// set, whatever the fleet's size.
    pub fn missing(&self) -> BTreeMap<String, usize> {
        let mut missing = BTreeMap::new();
        for agent in self.iter().filter(|agent| agent.connected && self.lacks(agent)) {
            *missing.entry(agent.missing(self.needs).join(", ")).or_default() += 1;
        }
        missing
    }
}
