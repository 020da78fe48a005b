//! What agents have in effect: which of them are asked for it, and what it is compared with.

use super::Roster;
use super::groups::{group_of, reconsider};
use crate::config::ConfigHash;
use crate::fleet::{AgentKey, DriftRules, Link, Revision, Sight};
use jiff::Timestamp;
use std::sync::Arc;

impl Roster {
    /// The revision that is to be in effect on an agent that is attached by this link, and how drift from it is looked
    /// for.
    pub fn looked_for(&self, key: &AgentKey, link: Link) -> Option<(Arc<Revision>, DriftRules)> {
        let agent = self.agent(key).filter(|agent| agent.link == Some(link))?;
        let group = group_of(&self.view, key, agent)?;
        Some((agent.looked_for(group)?.clone(), group.drift.clone()))
    }

    /// Whether an agent is to be asked now what it has in effect; notes that it is.
    pub fn ask_what_is_in_effect(&mut self, key: &AgentKey, now: Timestamp) -> bool {
        let Some(known) = self.agents.get_mut(key) else { return false };
        let Some(group) = group_of(&self.view, key, &known.agent) else { return false };
        known.agent.ask_what_is_in_effect(group, now)
    }

    /// Takes in what was seen of an agent's effective configuration, and whether it shows that there is a supervisor.
    pub fn note_sight(&mut self, key: &AgentKey, sight: Sight, supervised: bool, now: Timestamp) {
        let Some(known) = self.agents.get_mut(key) else { return };
        if supervised {
            known.agent.note_supervised();
        }
        let edge = known.agent.note_sight(sight);
        self.slices.mark(known.slice_in(&key.namespace), edge, now);
    }

    /// Whether some group is assigned this content.
    pub fn is_live(&self, content: ConfigHash) -> bool {
        self.view.is_live(content)
    }

    /// The revision that is to be looked for in what an agent on this link reports as effective.
    pub fn compared_with(&self, key: &AgentKey, link: Link) -> Option<Arc<Revision>> {
        let agent = self.agent(key).filter(|agent| agent.link == Some(link))?;
        agent.compared_with(group_of(&self.view, key, agent)?).cloned()
    }

    /// Takes in whether what an agent reports as effective covers this revision.
    pub fn note_effective(&mut self, key: &AgentKey, hash: ConfigHash, covers: bool, now: Timestamp) {
        let Some(known) = self.agents.get_mut(key) else { return };
        let Some(group) = group_of(&self.view, key, &known.agent) else { return };
        let before = known.agent.ledger.clone();
        let edge = known.agent.note_effective(hash, covers, group, now);
        self.heard.note(&before, &known.agent.ledger);
        let edge = edge.max(reconsider(&mut known.agent, key, &self.view, self.silence, now));
        self.slices.mark(known.slice_in(&key.namespace), edge, now);
    }
}
