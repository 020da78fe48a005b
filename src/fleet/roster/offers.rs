//! What agents are sent, and who is to be woken for it.

use super::Roster;
use super::groups::{adopt, group_of, reconsider, regroup};
use crate::fleet::{Agent, AgentKey, Edge, Link, Offer, View};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Roster {
    /// What to send to an agent now, if anything. Changes nothing.
    pub fn due_offer(&self, key: &AgentKey, now: Timestamp) -> Option<Offer> {
        self.due_to(key, self.agent(key)?, now)
    }

    fn due_to(&self, key: &AgentKey, agent: &Agent, now: Timestamp) -> Option<Offer> {
        let group = group_of(&self.view, key, agent).filter(|_| !self.pause.holds_in(&key.namespace))?;
        agent.due_offer(group, now)
    }

    /// What to send to an agent now, noted as sent.
    pub fn take_offer(&mut self, key: &AgentKey, now: Timestamp) -> Option<Offer> {
        let known = self.agents.get_mut(key)?;
        let group =
            group_of(&self.view, key, &known.agent).filter(|_| !self.pause.holds_in(&key.namespace))?;
        let (offer, edge) = known.agent.take_offer(group, now)?;
        let edge = edge.max(reconsider(&mut known.agent, key, &self.view, self.silence, now));
        self.slices.mark(known.slice_in(&key.namespace), edge, now);
        Some(offer)
    }

    fn is_to_restart(&self, key: &AgentKey, agent: &Agent) -> bool {
        let group = group_of(&self.view, key, agent).filter(|_| !self.pause.holds_in(&key.namespace));
        group.is_some_and(|group| agent.is_to_restart(group))
    }

    /// Whether an agent is to be commanded now to start anew, noted as sent.
    pub fn take_restart(&mut self, key: &AgentKey, now: Timestamp) -> bool {
        let Some(known) = self.agents.get_mut(key) else { return false };
        let group = group_of(&self.view, key, &known.agent).filter(|_| !self.pause.holds_in(&key.namespace));
        let restarts = group.is_some_and(|group| known.agent.take_restart(group, now));
        if restarts {
            self.slices.mark(known.slice_in(&key.namespace), Edge::Urgent, now);
        }
        restarts
    }

    /// Acts on a new view: finds each agent's group again, and returns the agents on sockets that are due an
    /// offer or a command. Agents that poll get theirs with the next poll.
    pub fn set_view(&mut self, view: Arc<View>, now: Timestamp) -> Vec<AgentKey> {
        let before = std::mem::replace(&mut self.view, view);
        self.informed = true;
        self.forget_impostors(now);
        for (key, known) in &mut self.agents {
            let mut edge = regroup(&mut known.agent, &key.namespace, &self.view, now);
            let rings = |view| group_of(view, key, &known.agent).map(|group| &group.assignment.rings);
            // A phase waits for what is known of its ring.
            if rings(&self.view).is_some_and(|now| !now.is_empty() && rings(&before) != Some(now)) {
                edge = Edge::Urgent;
            }
            edge = edge.max(adopt(&mut known.agent, key, &self.view, now));
            let drift = |view| group_of(view, key, &known.agent).map(|group| &group.drift);
            let other_rules = drift(&before).zip(drift(&self.view));
            let other_rules = other_rules.is_some_and(|(before, now)| !before.sees_the_same_as(now));
            if other_rules && known.agent.forget_sight() {
                edge = edge.max(Edge::Slow);
            }
            edge = edge.max(known.agent.treat(self.view.treatment(key), now));
            known.agent.note_restart(self.view.restart_of(key));
            edge = edge.max(known.agent.learn(self.view.refused(key)));
            edge = edge.max(reconsider(&mut known.agent, key, &self.view, self.silence, now));
            self.slices.mark(known.slice_in(&key.namespace), edge, now);
        }
        self.due_on_sockets(now)
    }

    /// Stops or resumes all offers. While they are stopped this replica may have been taken for dead, and its slices
    /// for outlived: they are all written again. Returns the agents on sockets that are due one now.
    pub fn suspend(&mut self, suspended: bool, now: Timestamp) -> Vec<AgentKey> {
        if self.pause.everywhere && !suspended {
            self.slices.mark_all(Edge::Slow, now);
        }
        self.pause.everywhere = suspended;
        self.due_on_sockets(now)
    }

    /// Stops all offers in these namespaces, and resumes them in all others where they were stopped so. Returns the
    /// agents on sockets that are due one now. Nobody takes this replica for dead meanwhile, so its slices stay.
    pub fn withhold(&mut self, behind: BTreeSet<Arc<str>>, now: Timestamp) -> Vec<AgentKey> {
        let before = std::mem::replace(&mut self.pause.behind, behind);
        if before.is_subset(&self.pause.behind) { Vec::new() } else { self.due_on_sockets(now) }
    }

    fn due_on_sockets(&self, now: Timestamp) -> Vec<AgentKey> {
        let due = |key: &AgentKey, agent: &Agent| {
            on_socket(agent)
                && (self.due_to(key, agent, now).is_some()
                    || self.is_to_restart(key, agent)
                    || self.is_to_be_told(key, agent))
        };
        let known = self.agents.iter().filter(|(key, known)| due(key, &known.agent));
        known.map(|(key, _)| key.clone()).collect()
    }
}

/// Whether something can be pushed to the agent.
pub(super) fn on_socket(agent: &Agent) -> bool {
    matches!(agent.link, Some(Link::Socket(_)))
}
