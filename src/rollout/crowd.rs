//! A group's agents as one content meets them: some cannot run it.

use crate::config::{ConfigHash, Inventory};
use crate::fleet::ObservedAgent;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The agents of a group, and what the content needs that they are to take.
#[derive(Clone, Copy)]
pub struct Crowd<'a> {
    /// The agents.
    pub agents: &'a [ObservedAgent],
    /// The component types in the content, if they are known.
    pub needs: Option<&'a Inventory>,
    /// The content and the attempt with it, once there is one.
    pub attempt: Option<Attempted>,
}

/// An attempt, as far as it tells old refusals from new ones.
#[derive(Clone, Copy)]
pub struct Attempted {
    /// The content.
    pub hash: ConfigHash,
    /// When it began.
    pub began: Timestamp,
    /// Refusals from before this time are forgiven.
    pub retried_at: Option<Timestamp>,
}

impl<'a> Crowd<'a> {
    /// Each agent.
    pub fn iter(&self) -> std::slice::Iter<'a, ObservedAgent> {
        self.agents.iter()
    }

    /// The agent can be offered the content, and will say what became of it.
    pub fn is_eligible(&self, agent: &ObservedAgent) -> bool {
        agent.is_eligible() && !self.lacks(agent) && !self.refused_before(agent)
    }

    /// The agent can be offered the content, and nobody will know what became of it.
    pub fn is_unverified(&self, agent: &ObservedAgent) -> bool {
        agent.is_unverified() && !self.lacks(agent)
    }

    /// The agent refused the content before the attempt began, and nobody has forgiven it. It is not offered that, and
    /// says nothing of it now.
    pub fn refused_before(&self, agent: &ObservedAgent) -> bool {
        self.attempt.is_some_and(|attempt| {
            let refusal = agent.ledger.refusal(attempt.hash, attempt.retried_at);
            // Replicas write times by the second.
            refusal.is_some_and(|refusal| refusal.at.as_second() < attempt.began.as_second())
        })
    }

    /// The agent is known not to have a component of the content.
    pub fn lacks(&self, agent: &ObservedAgent) -> bool {
        agent.lacks(self.needs)
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

/// A number of agents as the API writes it.
pub fn length(agents: usize) -> i64 {
    i64::try_from(agents).unwrap_or(i64::MAX)
}
