//! How many agents each holder of a credential has, so that one of them cannot take the places of all.

use super::Roster;
use crate::fleet::{Agent, AgentKey, Principal, PrincipalMark};
use std::collections::HashMap;
use std::sync::Arc;

/// Counts of agents; none for agents that are bound to nobody.
#[derive(Default)]
pub(super) struct Holders(HashMap<(Arc<str>, PrincipalMark), usize>);

impl Holders {
    /// An agent of this namespace came to be bound to somebody else than before.
    pub fn moved(&mut self, namespace: &Arc<str>, from: Option<PrincipalMark>, to: Option<PrincipalMark>) {
        if from == to {
            return;
        }
        if let Some(to) = to {
            *self.0.entry((namespace.clone(), to)).or_default() += 1;
        }
        if let Some(from) = from.map(|from| (namespace.clone(), from))
            && let Some(count) = self.0.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&from);
            }
        }
    }
}

impl Roster {
    /// How many agents are known, connected or not.
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether no agent is known.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// How many agents a principal has; 0 if it binds none.
    pub fn held_by(&self, principal: &Principal) -> usize {
        let holder = principal.mark().map(|mark| (principal.namespace.clone(), mark));
        holder.and_then(|holder| self.holders.0.get(&holder).copied()).unwrap_or_default()
    }

    /// An agent was taken away.
    pub(super) fn released(&mut self, key: &AgentKey, agent: &Agent) {
        self.holders.moved(&key.namespace, agent.bound(), None);
    }
}
