//! The agents that one replica serves, the groups that they fall into, and the slices that tell of them.

use super::builds::Builds;
use super::pack::pack;
use super::slices::Slices;
use super::text::mask;
use super::unpack::unpack;
use super::{
    Adoptee, Agent, AgentKey, BuildReport, Capabilities, ConfigReport, Delays, DriftRules, Edge, GroupView,
    Link, MAX_MESSAGE_BYTES, Offer, Outcome, Report, Revision, Sight, SliceContent, SliceId, View, signed,
};
use crate::api::AgentSliceSpec;
use crate::config::ConfigHash;
use jiff::Timestamp;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long a disconnected agent that is in no group is remembered.
const FORGET_UNGROUPED_AFTER: Duration = Duration::from_hours(24);

/// The agents of this replica.
pub struct Roster {
    replica: String,
    /// Silence of an agent that polls which means disconnected, unless its group allows more.
    silence: Duration,
    view: Arc<View>,
    /// Whether there has been a view yet. Before that no group's times are known.
    informed: bool,
    /// While this is set no offers are made.
    suspended: bool,
    agents: HashMap<AgentKey, Known>,
    builds: Builds,
    slices: Slices,
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
            suspended: false,
            agents: HashMap::new(),
            builds: Builds::default(),
            slices: Slices::new(delays),
        }
    }

    /// Takes back what an earlier run of this replica wrote: verdicts outlive a restart. The agents count as
    /// disconnected until they return.
    pub fn restore(&mut self, id: &SliceId, spec: &AgentSliceSpec, now: Timestamp) {
        for read in unpack(spec) {
            let key = AgentKey { namespace: id.namespace.clone(), uid: read.uid };
            match self.agents.entry(key) {
                // It stood in two slices, because the run ended between the writes of its move.
                Entry::Occupied(known) => known.into_mut().agent.ledger.merge(&read.ledger),
                Entry::Vacant(place) => {
                    let build = read.build.clone().and_then(|(build, components)| {
                        self.builds.learn(&id.namespace, build, (*components).clone());
                        self.builds.get(&id.namespace, build)
                    });
                    self.slices.put(id.clone(), read.uid);
                    let mut agent = Agent::restored(read, now);
                    agent.build = build;
                    place.insert(Known { agent: agent.into(), slice: id.number });
                }
            }
        }
        self.slices.mark(id.clone(), Edge::Slow, now);
    }

    /// Takes in a message of an agent, which is new or known.
    pub fn receive(&mut self, key: &AgentKey, mut report: Report, link: Link, now: Timestamp) {
        let known = self.agents.entry(key.clone()).or_insert_with(|| Known {
            agent: Agent::new(key.uid, now).into(),
            slice: self.slices.place(&key.namespace, key.uid),
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
        let build = report.build.take();
        let mut edge = known.agent.receive(report, link, group, now);
        if may_move {
            edge = edge.max(regroup(&mut known.agent, &key.namespace, &self.view, now));
        }
        if may_move || tells_of_config {
            edge = edge.max(adopt(&mut known.agent, key, &self.view, now));
        }
        self.slices.mark(known.slice_in(&key.namespace), edge, now);
        if let Some(build) = build {
            self.note_build(key, build, now);
        }
    }

    /// Takes in what an agent was built with, and what the others of its build are made of.
    fn note_build(&mut self, key: &AgentKey, report: BuildReport, now: Timestamp) {
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

    /// Takes in what was seen of an agent's effective configuration, if it still runs what that was compared with.
    pub fn note_sight(&mut self, key: &AgentKey, sight: Sight, now: Timestamp) {
        let Some(known) = self.agents.get_mut(key).filter(|known| known.agent.runs(sight.of)) else { return };
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
        let edge = known.agent.note_effective(hash, covers, group, now);
        self.slices.mark(known.slice_in(&key.namespace), edge, now);
    }

    /// An agent's link ended. Nothing happens if the agent is attached by another link by now.
    pub fn disconnect(&mut self, key: &AgentKey, link: Link, now: Timestamp) {
        let Some(known) = self.agents.get_mut(key) else { return };
        if known.agent.detach(link, now) {
            self.slices.mark(known.slice_in(&key.namespace), Edge::Slow, now);
        }
    }

    /// Forgets an agent: it is gone for long, or its uid was replaced before it became anything.
    pub fn forget(&mut self, key: &AgentKey, now: Timestamp) {
        if let Some(known) = self.agents.remove(key) {
            let id = known.slice_in(&key.namespace);
            self.slices.remove(&id, key.uid);
            self.slices.mark(id, Edge::Slow, now);
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

    /// What to send to an agent now, if anything. Changes nothing.
    pub fn due_offer(&self, key: &AgentKey, now: Timestamp) -> Option<Offer> {
        self.due_to(key, self.agent(key)?, now)
    }

    fn due_to(&self, key: &AgentKey, agent: &Agent, now: Timestamp) -> Option<Offer> {
        let group = group_of(&self.view, key, agent).filter(|_| !self.suspended)?;
        agent.due_offer(group, now)
    }

    /// What to send to an agent now, noted as sent.
    pub fn take_offer(&mut self, key: &AgentKey, now: Timestamp) -> Option<Offer> {
        let offer = self.due_offer(key, now)?;
        self.agents.get_mut(key)?.agent.note_offer(offer.hash(), offer.form, now);
        Some(offer)
    }

    /// Acts on a new view: finds each agent's group again, and returns the agents on sockets that are due an
    /// offer. Agents that poll get theirs with the next poll.
    pub fn set_view(&mut self, view: Arc<View>, now: Timestamp) -> Vec<AgentKey> {
        let before = std::mem::replace(&mut self.view, view);
        self.informed = true;
        for (key, known) in &mut self.agents {
            let mut edge = regroup(&mut known.agent, &key.namespace, &self.view, now);
            let rings = |view| group_of(view, key, &known.agent).map(|group| &group.assignment.rings);
            // A phase waits for what is known of its ring.
            if rings(&self.view).is_some_and(|now| !now.is_empty() && rings(&before) != Some(now)) {
                edge = Edge::Urgent;
            }
            edge = edge.max(adopt(&mut known.agent, key, &self.view, now));
            let drift = |view| group_of(view, key, &known.agent).map(|group| &group.drift);
            let other_rules =
                drift(&before).zip(drift(&self.view)).is_some_and(|(before, now)| before != now);
            if other_rules && known.agent.forget_sight() {
                edge = edge.max(Edge::Slow);
            }
            self.slices.mark(known.slice_in(&key.namespace), edge, now);
        }
        self.due_on_sockets(now)
    }

    /// Stops or resumes all offers; returns the agents on sockets that are due one now.
    pub fn suspend(&mut self, suspended: bool, now: Timestamp) -> Vec<AgentKey> {
        self.suspended = suspended;
        self.due_on_sockets(now)
    }

    fn due_on_sockets(&self, now: Timestamp) -> Vec<AgentKey> {
        let on_socket = |agent: &Agent| matches!(agent.link, Some(Link::Socket(_)));
        let due = |key: &AgentKey, agent: &Agent| on_socket(agent) && self.due_to(key, agent, now).is_some();
        let known = self.agents.iter().filter(|(key, known)| due(key, &known.agent));
        known.map(|(key, _)| key.clone()).collect()
    }

    /// Lets time pass: agents that poll and fell silent become disconnected, agents that are gone for long are
    /// forgotten. Both times are the group's.
    pub fn expire(&mut self, now: Timestamp) {
        if !self.informed {
            return;
        }
        let (view, silence) = (&self.view, self.silence);
        let passed = self.agents.iter().filter_map(|(key, known)| {
            let passed = passed(&known.agent, group_of(view, key, &known.agent), silence, now)?;
            Some((key.clone(), passed))
        });
        for (key, passed) in passed.collect::<Vec<_>>() {
            match passed {
                Passed::Silence => self.disconnect(&key, Link::Polling, now),
                Passed::Absence => self.forget(&key, now),
            }
        }
    }

    /// When the next slice is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.slices.next_due()
    }

    /// The slices that are due at `now`; they count as written until [`Roster::write_failed`].
    pub fn take_due(&mut self, now: Timestamp) -> Vec<SliceContent> {
        self.slices.take_due(now, |id, members| {
            let key = |uid| AgentKey { namespace: id.namespace.clone(), uid };
            let agents = members.iter().filter_map(|uid| self.agents.get(&key(*uid)));
            let agents: Vec<&Agent> = agents.map(|known| &*known.agent).collect();
            let groups: BTreeSet<&str> = agents.iter().filter_map(|agent| agent.group.as_deref()).collect();
            pack(&self.replica, agents, &self.view.rings(&id.namespace, groups))
        })
    }

    /// A slice could not be written: it is due again.
    pub fn write_failed(&mut self, id: &SliceId, now: Timestamp) {
        self.slices.mark(id.clone(), Edge::Urgent, now);
    }
}

impl Known {
    fn slice_in(&self, namespace: &Arc<str>) -> SliceId {
        SliceId { namespace: namespace.clone(), number: self.slice }
    }
}

/// What has lasted too long.
enum Passed {
    /// An agent that polls has not done so.
    Silence,
    /// A disconnected agent has not returned.
    Absence,
}

fn passed(agent: &Agent, group: Option<&GroupView>, silence: Duration, now: Timestamp) -> Option<Passed> {
    let offline_after = group.map_or(silence, |group| group.offline_after.max(silence));
    let forget_after = group.map_or(FORGET_UNGROUPED_AFTER, |group| group.forget_after);
    let (passed, limit) = match agent.link {
        Some(Link::Socket(_)) => return None,
        Some(Link::Polling) => (Passed::Silence, offline_after),
        None => (Passed::Absence, forget_after),
    };
    (now.duration_since(agent.last_seen) > signed(limit)).then_some(passed)
}

fn group_of<'a>(view: &'a View, key: &AgentKey, agent: &Agent) -> Option<&'a GroupView> {
    view.group(&key.namespace, agent.group.as_deref()?)
}

/// Agents may repeat what they were sent: the texts of Secrets in the revision that they speak of, and in those of
/// their group, are masked before anything is kept. Of a revision that is not known here, before the first view
/// for example, nobody can tell what is secret, so no words are kept, only the verdict.
fn mask_secrets(report: &mut ConfigReport, view: &View, namespace: &str, group: Option<&GroupView>) {
    let Outcome::Failed(message) = &mut report.outcome else { return };
    let Some(spoken_of) = report.hash.and_then(|hash| view.revision(namespace, hash)) else {
        message.clear();
        return;
    };
    let revisions = group.iter().flat_map(|group| group.assignment.revisions()).chain([spoken_of]);
    let secrets: Vec<&str> = revisions.flat_map(|revision| &revision.secrets).map(|text| &**text).collect();
    *message = mask(message, &secrets, MAX_MESSAGE_BYTES);
}

/// Finds the agent's group. An agent of which only an earlier run's slice is known keeps the group from there.
fn regroup(agent: &mut Agent, namespace: &str, view: &View, now: Timestamp) -> Edge {
    if !agent.complete {
        return Edge::None;
    }
    let membership = view.membership(namespace, &agent.attributes);
    let name = |group: Option<&GroupView>| group.map(|group| group.name.clone());
    let found = (name(membership.group), name(membership.overlapping));
    if (&agent.group, &agent.overlapping) == (&found.0, &found.1) {
        return Edge::None;
    }
    if agent.group != found.0 {
        agent.adoptee = None;
        agent.comes(now);
    }
    (agent.group, agent.overlapping) = found;
    Edge::Slow
}

/// Finds out whether the agent runs another group's revision, and whether it is admitted all the same.
fn adopt(agent: &mut Agent, key: &AgentKey, view: &View, now: Timestamp) -> Edge {
    if !agent.complete {
        return Edge::None;
    }
    let foreign = match (&agent.group, agent.running()) {
        (Some(group), Some(content)) => view.is_foreign(&key.namespace, content, group),
        _ => false,
    };
    let admission = group_of(view, key, agent).and_then(|group| group.assignment.admission.as_ref());
    let before = agent.adoptee;
    agent.adoptee = Adoptee::next(before, foreign, admission, key.uid, now);
    if before.is_some_and(|before| before.waits) && agent.adoptee.is_none_or(|adoptee| !adoptee.waits) {
        agent.comes(now);
    }
    if agent.adoptee == before { Edge::None } else { Edge::Slow }
}

#[cfg(test)]
mod tests;
