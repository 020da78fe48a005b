//! The agents that are to use another token: whose turn it is, and what they are told.

use super::Roster;
use super::offers::on_socket;
use crate::config::ConfigHash;
use crate::fleet::moving::{Moving, Part, Progress, wire_hash};
use crate::fleet::{AgentKey, Link, PrincipalMark, SettingsReport, Successor, TokenName, Tokens};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

impl Roster {
    /// Takes in which tokens there are, and which are to be used. What was said of others is forgotten: who refused
    /// them may be told of them again, should they come back.
    pub fn set_tokens(&mut self, tokens: Tokens) {
        self.tokens = tokens;
        for known in self.agents.values_mut() {
            let agent = &mut known.agent;
            if agent.successor(&self.tokens).is_none_or(|to| agent.moving(to).is_none()) {
                agent.forget_move();
            }
        }
    }

    /// How many agents that are connected use each token; also those that nobody uses.
    pub fn agents_by_token(&self) -> BTreeMap<(Arc<str>, TokenName), usize> {
        let mut by_principal: HashMap<_, (&AgentKey, &TokenName, usize)> = HashMap::new();
        for (key, known) in self.agents.iter().filter(|(_, known)| known.agent.connected()) {
            // Agents of one token share their principal, and there are few: names are compared once for each.
            if let (Some(principal), Some(token)) = (&known.agent.principal, known.agent.token()) {
                by_principal.entry(Arc::as_ptr(principal)).or_insert((key, token, 0)).2 += 1;
            }
        }
        let mut counts: BTreeMap<_, _> = self.tokens.known.iter().map(|known| (known.clone(), 0)).collect();
        for (key, token, count) in by_principal.into_values() {
            *counts.entry((key.namespace.clone(), token.clone())).or_default() += count;
        }
        counts
    }

    /// Chooses the agents that are told next; returns those on sockets that are still to be.
    pub(super) fn choose_moves(&mut self, now: Timestamp) -> Vec<AgentKey> {
        if self.pause.everywhere || self.tokens.successors.is_empty() {
            return Vec::new();
        }
        let mut places: HashMap<PrincipalMark, usize> =
            self.progress(now).into_iter().map(|(mark, progress)| (mark, progress.places())).collect();
        let mut due = Vec::new();
        for (key, known) in &mut self.agents {
            let agent = &mut known.agent;
            let told = |to: &&Successor| agent.may_be_told(to) && !self.pause.holds_in(&key.namespace);
            let Some(to) = agent.successor(&self.tokens).filter(told) else { continue };
            let Some(left) = agent.bound().and_then(|mark| places.get_mut(&mark)) else { continue };
            if agent.moving(to).is_none() && *left > 0 {
                *left -= 1;
                agent.choose(to);
            }
            if on_socket(agent) && agent.moving(to).is_some_and(Moving::is_chosen) {
                due.push(key.clone());
            }
        }
        due
    }

    /// Counts the agents of each Secret with a token to move to. Whoever was chosen and cannot be told any more gives
    /// its place away.
    fn progress(&mut self, now: Timestamp) -> HashMap<PrincipalMark, Progress> {
        let mut all: HashMap<PrincipalMark, Progress> = HashMap::new();
        for known in self.agents.values_mut() {
            let agent = &mut known.agent;
            let Some((to, mark)) = agent.successor(&self.tokens).zip(agent.bound()) else { continue };
            let progress = all.entry(mark).or_default();
            progress.connected += usize::from(agent.connected());
            progress.arrived += usize::from(agent.connected() && agent.uses(to));
            match agent.moving(to) {
                Some(moving) if moving.is_chosen() && !agent.may_be_told(to) => agent.forget_move(),
                Some(moving) => progress.on_their_way += usize::from(moving.is_on_its_way(now)),
                None => {}
            }
        }
        all
    }

    /// The token that an agent is to be told of now and the hash under which it is, noted as told.
    pub fn take_move(&mut self, key: &AgentKey, now: Timestamp) -> Option<(ConfigHash, &Successor)> {
        let telemetry = self.agent(key).and_then(|agent| self.telemetry_of(key, agent));
        let agent = &mut self.agents.get_mut(key).filter(|_| !self.pause.holds_in(&key.namespace))?.agent;
        let to = agent.successor(&self.tokens)?;
        let hash = wire_hash(Part::Connection, Some(to.hash), telemetry);
        agent.take_move(to, now).then_some((hash, to))
    }

    /// An agent has spoken over this link.
    pub(super) fn note_move(&mut self, key: &AgentKey, report: Option<SettingsReport>, link: Link) {
        let telemetry = self.agent(key).and_then(|agent| self.telemetry_of(key, agent));
        let Some(known) = self.agents.get_mut(key) else { return };
        let to = known.agent.successor(&self.tokens);
        let hash = to.map(|to| wire_hash(Part::Connection, Some(to.hash), telemetry));
        let refused =
            report.is_some_and(|report| report.failed && report.hash.is_some() && report.hash == hash);
        known.agent.note_move(to, refused, link);
    }
}
