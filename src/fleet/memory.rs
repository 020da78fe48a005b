//! What is still worth knowing of agents: who is forgotten, which refusals travel, and which slices of dead replicas
//! say nothing any more.

use super::observed::read;
use super::{InstanceUid, Ledger, ObservedAgent, PrincipalMark, Replica, SliceSource, merge, signed};
use crate::config::ConfigHash;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a disconnected agent that is in no group is remembered.
pub const FORGET_UNGROUPED_AFTER: Duration = Duration::from_hours(24);

/// Refusals by agent.
pub type Refusals = BTreeMap<InstanceUid, Ledger>;

/// Whose agents are, where there is need to say it.
pub type Bindings = BTreeMap<InstanceUid, PrincipalMark>;

/// What is remembered of the agents of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How long a disconnected agent is remembered.
    pub forget_after: Duration,
    /// The contents whose refusals matter: those that the group's agents may be offered.
    pub live: Vec<ConfigHash>,
    /// Refusals from before this time are forgiven.
    pub retried_at: Option<Timestamp>,
}

impl Default for Memory {
    /// Of agents in no group.
    fn default() -> Self {
        Self { forget_after: FORGET_UNGROUPED_AFTER, live: Vec::new(), retried_at: None }
    }
}

impl Memory {
    /// The refusals in a ledger that matter.
    fn refused<'a>(&self, ledger: &'a Ledger) -> impl Iterator<Item = &'a super::Given> {
        self.live.iter().filter_map(|hash| ledger.refusal(*hash, self.retried_at))
    }

    /// The refusals of a group that every replica is to know of: what its agents say in any slice, and what was told of
    /// them before, unless an agent has thought better of it. `agents` are all that the group still has.
    pub fn refusals(&self, prior: &Refusals, agents: &[&ObservedAgent]) -> Refusals {
        let of = |agent: &&ObservedAgent| {
            let mut known = agent.ledger.clone();
            if let Some(told) = prior.get(&agent.uid) {
                known.learn(told);
            }
            let mut refused = Ledger::default();
            for given in self.refused(&known) {
                refused.note(given.hash, given.verdict.without_words(), given.at);
            }
            let any = refused.iter().next().is_some();
            any.then_some((agent.uid, refused))
        };
        agents.iter().filter_map(of).collect()
    }
}

/// Whose every replica is to know the agents of a group to be: of those whose uid another holder's agent has come with,
/// now or before, for as long as they are remembered. `agents` are all that the group still has.
pub fn bindings(prior: &Bindings, agents: &[&ObservedAgent]) -> Bindings {
    let of = |agent: &&ObservedAgent| {
        let mark = agent.bound?;
        let is_told = agent.contested || prior.get(&agent.uid) == Some(&mark);
        is_told.then_some((agent.uid, mark))
    };
    agents.iter().filter_map(of).collect()
}

/// Whether an agent has been away for too long to be counted. One whose replica died was there until then.
pub fn is_forgotten(agent: &ObservedAgent, forget_after: Duration, now: Timestamp) -> bool {
    let seen = agent.unreachable.map_or(agent.since, |died| died.max(agent.since));
    !agent.connected && now.duration_since(seen) > signed(forget_after)
}

/// The slices of dead replicas of one namespace that can go, by name: each agent in them is forgotten, or stands in a
/// living replica's slice and the leader would think the same of it without this one. `memory` is that of a group.
pub fn outlived<'a>(
    slices: &[SliceSource<'a>],
    memory: impl Fn(Option<&str>) -> Memory,
    now: Timestamp,
) -> Vec<&'a str> {
    let is_alive = |source: &&SliceSource<'_>| matches!(source.replica, Replica::Alive(_));
    let dead: Vec<&SliceSource<'_>> = slices.iter().filter(|source| !is_alive(source)).collect();
    if dead.is_empty() {
        return Vec::new();
    }
    let living: BTreeMap<InstanceUid, ObservedAgent> =
        merge(slices.iter().filter(is_alive).copied(), &Bindings::new())
            .into_iter()
            .map(|agent| (agent.uid, agent))
            .collect();
    let mut memories: BTreeMap<Option<String>, Memory> = BTreeMap::new();
    let mut is_spent = |agent: &ObservedAgent| {
        let of = |group: &Option<String>| memory(group.as_deref());
        let known = memories.entry(agent.group.clone()).or_insert_with_key(of);
        if is_forgotten(agent, known.forget_after, now) {
            return true;
        }
        let Some(elsewhere) = living.get(&agent.uid) else { return false };
        // What either says is not all understood here.
        if agent.newer || elsewhere.newer {
            return false;
        }
        let own = memories.entry(elsewhere.group.clone()).or_insert_with_key(of);
        adds_nothing(agent, elsewhere, own)
    };
    let outlived = dead.into_iter().filter(|source| read(source).all(|agent| is_spent(&agent)));
    outlived.map(|source| source.name).collect()
}

/// Whether the leader thinks the same of an agent without what a dead replica knew of it.
fn adds_nothing(dead: &ObservedAgent, living: &ObservedAgent, memory: &Memory) -> bool {
    // What is known of another holder's agent is not to be lost, though that may have the uid no longer.
    if dead.bound.zip(living.bound).is_some_and(|(dead, living)| dead != living) {
        return false;
    }
    let mut both = living.clone();
    both.absorb(dead);
    let refused = |agent: &ObservedAgent| -> BTreeSet<ConfigHash> {
        memory.refused(&agent.ledger).map(|given| given.hash).collect()
    };
    let rest = |agent: &ObservedAgent| (agent.exempt, agent.faltered, agent.done, agent.unreachable);
    refused(&both) == refused(living) && rest(&both) == rest(living)
}

#[cfg(test)]
mod tests;
