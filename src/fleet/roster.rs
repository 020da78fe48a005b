//! The agents that one replica serves, the groups that they fall into, and the slices that tell of them.

use super::builds::Builds;
use super::heard::Heard;
use super::pack::pack;
use super::slices::Slices;
use super::unpack::unpack;
use super::{Agent, AgentKey, Delays, Edge, Link, Principal, Report, SliceContent, SliceId, Tokens, View};
use crate::api::AgentSliceSpec;
use groups::{adopt, group_of, mask_secrets, reconsider, regroup};
use jiff::Timestamp;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

mod builds;
mod effective;
mod groups;
mod holders;
mod moves;
mod offers;
mod time;
mod told;

pub use told::ToldTelemetry;

/// The agents of this replica.
pub struct Roster {
    replica: String,
    /// Silence of an agent that polls which means disconnected, unless its group allows more.
    silence: Duration,
    view: Arc<View>,
    /// Whether there has been a view yet. Before that no group's times are known.
    informed: bool,
    /// Where no offers are made for now.
    pause: Pause,
    agents: HashMap<AgentKey, Known>,
    /// The tokens of agents.
    tokens: Tokens,
    builds: Builds,
    holders: holders::Holders,
    slices: Slices,
    /// What agents said of revisions since the count was last taken.
    heard: Heard,
}

/// An agent, and the number of the slice that tells of it.
struct Known {
    /// Boxed, because up to half of the table's places are empty, and all are moved when it grows.
    agent: Box<Agent>,
    slice: u32,
}

impl Roster {
    /// An empty roster of the replica with this identity.
    pub fn new(replica: &str, delays: Delays) -> Self {
        Self {
            replica: replica.to_owned(),
            silence: delays.assumed_interval.saturating_mul(3),
            view: Arc::default(),
            informed: false,
            pause: Pause::default(),
            agents: HashMap::new(),
            tokens: Tokens::default(),
            builds: Builds::default(),
            holders: holders::Holders::default(),
            slices: Slices::new(delays),
            heard: Heard::default(),
        }
    }

    /// Takes back what an earlier run of this replica wrote: verdicts outlive a restart. The agents count as
    /// disconnected until they return.
    pub fn restore(&mut self, id: &SliceId, spec: &AgentSliceSpec, now: Timestamp) {
        for read in unpack(spec) {
            let key = AgentKey { namespace: id.namespace.clone(), uid: read.uid };
            match self.agents.entry(key) {
                // It stood in two slices, because the run ended between the writes of its move.
                Entry::Occupied(known) => {
                    let agent = &mut known.into_mut().agent;
                    agent.ledger.merge(&read.ledger);
                    agent.note_done(read.done);
                }
                Entry::Vacant(place) => {
                    let build = read.build.clone().and_then(|(build, components)| {
                        self.builds.learn(&id.namespace, build, (*components).clone());
                        self.builds.get(&id.namespace, build)
                    });
                    self.slices.put(id.clone(), read.uid);
                    let mut agent = Agent::restored(read, now);
                    agent.build = build;
                    self.holders.moved(&id.namespace, None, agent.bound());
                    place.insert(Known { agent: agent.into(), slice: id.number });
                }
            }
        }
        self.slices.mark(id.clone(), Edge::Slow, now);
    }

    /// Takes in a message of an agent, which is new or known.
    pub fn receive(&mut self, key: &AgentKey, mut report: Report, link: Link, now: Timestamp) {
        let known = self.agents.entry(key.clone()).or_insert_with(|| {
            let mut agent = Agent::new(key.uid, now);
            agent.treat(self.view.treatment(key), now);
            agent.note_restart(self.view.restart_of(key));
            agent.learn(self.view.refused(key));
            Known { agent: agent.into(), slice: self.slices.place(&key.namespace, key.uid) }
        });
        // Nothing else moves an agent between groups, and selectors are not asked with every heartbeat.
        let may_move = report.full || report.description.is_some();
        let tells_of_config = report.config.is_some();
        let group = (report.config.is_some() || report.description.is_some())
            .then(|| group_of(&self.view, key, &known.agent))
            .flatten();
        if let Some(config) = &mut report.config {
            mask_secrets(config, &self.view, &key.namespace, group);
        }
        let (build, settings) = (report.build.take(), report.settings.take().map(|settings| *settings));
        let shows_all = report.full && report.shows;
        if !known.agent.connected()
            && let Some(group) = group_of(&self.view, key, &known.agent)
        {
            known.agent.returns(group.offline_after, now);
        }
        let bound = known.agent.bound();
        let before = tells_of_config.then(|| known.agent.ledger.clone());
        let mut edge = known.agent.receive(report, link, group, now);
        if let Some(before) = before {
            self.heard.note(&before, &known.agent.ledger);
        }
        self.holders.moved(&key.namespace, bound, known.agent.bound());
        if may_move {
            edge = edge.max(regroup(&mut known.agent, &key.namespace, &self.view, now));
        }
        if may_move || tells_of_config {
            edge = edge.max(adopt(&mut known.agent, key, &self.view, now));
        }
        if shows_all && let Some(group) = group_of(&self.view, key, &known.agent) {
            known.agent.note_shown(group, now);
        }
        edge = edge.max(reconsider(&mut known.agent, key, &self.view, self.silence, now));
        self.slices.mark(known.slice_in(&key.namespace), edge, now);
        if let Some(settings) = settings {
            self.note_telemetry(key, settings);
        }
        self.note_move(key, settings, link);
        if let Some(build) = build {
            self.note_build(key, build, now);
        }
    }

    /// An agent's link ended. Nothing happens if the agent is attached by another link by now.
    pub fn disconnect(&mut self, key: &AgentKey, link: Link, now: Timestamp) {
        let Some(known) = self.agents.get_mut(key) else { return };
        if known.agent.detach(link, now) {
            let edge = reconsider(&mut known.agent, key, &self.view, self.silence, now);
            self.slices.mark(known.slice_in(&key.namespace), edge.max(Edge::Slow), now);
        }
    }

    /// Forgets an agent: it is gone for long, or its uid was replaced before it became anything.
    pub fn forget(&mut self, key: &AgentKey, now: Timestamp) {
        if let Some(known) = self.agents.remove(key) {
            self.released(key, &known.agent);
            let id = known.slice_in(&key.namespace);
            self.slices.remove(&id, key.uid);
            self.slices.mark(id, Edge::Slow, now);
        }
    }

    /// Whether the leader says that an agent is somebody else's than this holder's.
    pub fn is_anothers(&self, key: &AgentKey, principal: &Principal) -> bool {
        !principal.may_speak_for(self.view.binding(key))
    }

    /// Forgets agents that came here with the uids of other holders' agents, which others know for longer.
    fn forget_impostors(&mut self, now: Timestamp) {
        let is_anothers = |(key, known): &(&AgentKey, &Known)| {
            let owner = known.agent.bound().and_then(|mark| Some((mark, self.view.binding(key)?)));
            owner.is_some_and(|(mark, owner)| mark != owner)
        };
        let impostors = self.agents.iter().filter(is_anothers).map(|(key, _)| key.clone());
        for key in impostors.collect::<Vec<_>>() {
            self.forget(&key, now);
        }
    }

    /// An agent by key.
    pub fn agent(&self, key: &AgentKey) -> Option<&Agent> {
        self.agents.get(key).map(|known| &*known.agent)
    }

    /// How many agents are connected.
    pub fn connected(&self) -> usize {
        self.agents.values().filter(|known| known.agent.connected()).count()
    }

    /// How many agents are connected and in no group: they are offered nothing.
    pub fn ungrouped(&self) -> usize {
        self.agents.values().filter(|known| known.agent.connected() && known.agent.group.is_none()).count()
    }

    /// What agents said of revisions since this was last asked.
    pub fn take_heard(&mut self) -> Heard {
        std::mem::take(&mut self.heard)
    }

    /// When the next slice is due of the namespaces of which none is being written.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.slices.next_due()
    }

    /// Has every slice that is due some day be due by `now`.
    pub fn hasten(&mut self, now: Timestamp) {
        self.slices.hasten(now);
    }

    /// The namespaces in which a slice was due by `time` and is not written.
    pub fn behind(&self, time: Timestamp) -> BTreeSet<Arc<str>> {
        self.slices.behind(time)
    }

    /// The slice to be written next of those that are due at `now`. No other one of its namespace is taken before
    /// [`Roster::written`] or [`Roster::write_failed`] tells what became of it.
    pub fn take_next(&mut self, now: Timestamp) -> Option<SliceContent> {
        self.slices.take_next(now, |id, members| {
            let key = |uid| AgentKey { namespace: id.namespace.clone(), uid };
            let agents = members.iter().filter_map(|uid| self.agents.get(&key(*uid)));
            let agents: Vec<&Agent> = agents.map(|known| &*known.agent).collect();
            let groups: BTreeSet<&str> = agents.iter().filter_map(|agent| agent.group.as_deref()).collect();
            pack(&self.replica, agents, &self.view.rings(&id.namespace, groups))
        })
    }

    /// A slice was written as it was last taken.
    pub fn written(&mut self, id: &SliceId, now: Timestamp) {
        self.slices.written(id, now);
    }

    /// Puts slices together that have few agents left.
    fn compact(&mut self, now: Timestamp) {
        for moved in self.slices.compact(now) {
            for uid in moved.agents {
                let key = AgentKey { namespace: moved.namespace.clone(), uid };
                if let Some(known) = self.agents.get_mut(&key) {
                    known.slice = moved.into;
                }
            }
        }
    }

    /// A slice could not be written: it is due again.
    pub fn write_failed(&mut self, id: &SliceId, now: Timestamp) {
        self.slices.write_failed(id, now);
    }
}

impl Known {
    fn slice_in(&self, namespace: &Arc<str>) -> SliceId {
        SliceId { namespace: namespace.clone(), number: self.slice }
    }
}

/// Where no offers are made for now.
#[derive(Default)]
struct Pause {
    /// Everywhere: this replica does not have its Lease.
    everywhere: bool,
    /// In these namespaces: what their agents answer cannot be written.
    behind: BTreeSet<Arc<str>>,
}

impl Pause {
    fn holds_in(&self, namespace: &str) -> bool {
        self.everywhere || self.behind.contains(namespace)
    }
}

#[cfg(test)]
mod tests;
