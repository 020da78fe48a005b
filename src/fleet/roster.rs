//! The agents that one replica serves, the groups that they fall into, and the slices that tell of them.

use super::pack::{pack, unpack};
use super::{
    Agent, AgentKey, ConfigReport, Edge, GroupView, InstanceUid, Link, Outcome, Report, Revision, View,
};
use crate::api::AgentSliceSpec;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Most agents of a slice (design, section 4).
const SLICE_CAPACITY: usize = 250;
/// How long a disconnected agent that is in no group is remembered.
const FORGET_UNGROUPED_AFTER: Duration = Duration::from_hours(24);

/// How long edges may wait before they are written. The times that a test scales down.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// For a verdict, a drift or a change of health.
    pub urgent: Duration,
    /// For any other edge.
    pub slow: Duration,
    /// Assumed interval of an agent that polls; three of them without a poll mean disconnected.
    pub assumed_interval: Duration,
}

/// A slice: its namespace and number. Its object is named `REPLICA-NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceId {
    /// The namespace of the agents in it.
    pub namespace: Arc<str>,
    /// Numbers the replica's slices of a namespace from 0.
    pub number: u32,
}

/// What a slice is to hold: nothing any more means that its object goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceContent {
    /// Which slice.
    pub id: SliceId,
    /// Its content.
    pub spec: Option<AgentSliceSpec>,
}

/// A slice's members, and by when it is to be written.
#[derive(Default)]
struct Slice {
    members: BTreeSet<InstanceUid>,
    due: Option<Timestamp>,
}

/// The agents of this replica.
pub struct Roster {
    replica: String,
    delays: Delays,
    view: Arc<View>,
    /// While this is set no offers are made.
    suspended: bool,
    agents: HashMap<AgentKey, (Agent, u32)>,
    slices: BTreeMap<SliceId, Slice>,
}

impl Roster {
    /// An empty roster of the replica with this identity.
    pub fn new(replica: &str, delays: Delays) -> Self {
        Self {
            replica: replica.to_owned(),
            delays,
            view: Arc::default(),
            suspended: false,
            agents: HashMap::new(),
            slices: BTreeMap::new(),
        }
    }

    /// Takes back what an earlier run of this replica wrote: verdicts outlive a restart. The agents count as
    /// disconnected until they return.
    pub fn restore(&mut self, id: &SliceId, spec: &AgentSliceSpec, now: Timestamp) {
        for read in unpack(spec) {
            let key = AgentKey { namespace: id.namespace.clone(), uid: read.uid };
            let mut agent = Agent::new(read.uid, now);
            agent.ledger = read.ledger;
            agent.group = read.group.map(Into::into);
            agent.overlapping = read.overlapping.map(Into::into);
            agent.restore_host(&read.entry.host);
            agent.since = Timestamp::from_second(read.entry.since).unwrap_or(now);
            agent.last_seen = agent.since;
            if self.agents.insert(key, (agent, id.number)).is_none() {
                self.slices.entry(id.clone()).or_default().members.insert(read.uid);
            }
        }
        self.mark(id, Edge::Slow, now);
    }

    /// Takes in a message of an agent, which is new or known.
    pub fn receive(&mut self, key: &AgentKey, mut report: Report, link: Link, now: Timestamp) {
        self.mask(key, &mut report);
        let number = match self.agents.get(key) {
            Some((_, number)) => *number,
            None => self.enlist(key, now),
        };
        let view = self.view.clone();
        let Some((agent, _)) = self.agents.get_mut(key) else { return };
        let edge = agent.receive(report, link, now).max(regroup(agent, &key.namespace, &view));
        self.mark(&SliceId { namespace: key.namespace.clone(), number }, edge, now);
    }

    /// Agents may repeat what they were sent: the texts of Secrets in their group's revisions are masked in what
    /// they say, before anything is kept of it.
    fn mask(&self, key: &AgentKey, report: &mut Report) {
        let Some(ConfigReport { outcome: Outcome::Failed(message), .. }) = &mut report.config else { return };
        let Some(group) = self.agent(key).and_then(|agent| self.group_of(key, agent)) else { return };
        for revision in [&group.assignment.target, &group.assignment.stable].into_iter().flatten() {
            for secret in &revision.secrets {
                *message = message.replace(&**secret, "[REDACTED]");
            }
        }
    }

    /// Puts a new agent into the first slice of its namespace that has room.
    fn enlist(&mut self, key: &AgentKey, now: Timestamp) -> u32 {
        let mut id = SliceId { namespace: key.namespace.clone(), number: 0 };
        while self.slices.get(&id).is_some_and(|slice| slice.members.len() >= SLICE_CAPACITY) {
            id.number += 1;
        }
        self.agents.insert(key.clone(), (Agent::new(key.uid, now), id.number));
        let number = id.number;
        self.slices.entry(id).or_default().members.insert(key.uid);
        number
    }

    /// An agent's link ended. Nothing happens if the agent is attached by another link by now.
    pub fn disconnect(&mut self, key: &AgentKey, link: Link, now: Timestamp) {
        let Some((agent, number)) = self.agents.get_mut(key) else { return };
        if agent.detach(link) {
            let id = SliceId { namespace: key.namespace.clone(), number: *number };
            self.mark(&id, Edge::Slow, now);
        }
    }

    /// Forgets an agent whose uid was replaced before it became anything.
    pub fn forget(&mut self, key: &AgentKey, now: Timestamp) {
        if let Some((_, number)) = self.agents.remove(key) {
            let id = SliceId { namespace: key.namespace.clone(), number };
            if let Some(slice) = self.slices.get_mut(&id) {
                slice.members.remove(&key.uid);
            }
            self.mark(&id, Edge::Slow, now);
        }
    }

    /// An agent by key.
    pub fn agent(&self, key: &AgentKey) -> Option<&Agent> {
        self.agents.get(key).map(|(agent, _)| agent)
    }

    /// How many agents are connected.
    pub fn connected(&self) -> usize {
        self.agents.values().filter(|(agent, _)| agent.connected()).count()
    }

    /// The revision to send to an agent now, if any. Changes nothing.
    pub fn due_offer(&self, key: &AgentKey, now: Timestamp) -> Option<&Arc<Revision>> {
        if self.suspended {
            return None;
        }
        let agent = self.agent(key)?;
        agent.due_offer(self.group_of(key, agent)?, now)
    }

    /// The revision to send to an agent now, noted as sent.
    pub fn take_offer(&mut self, key: &AgentKey, now: Timestamp) -> Option<Arc<Revision>> {
        let revision = self.due_offer(key, now)?.clone();
        let (agent, _) = self.agents.get_mut(key)?;
        agent.note_offer(revision.hash, now);
        Some(revision)
    }

    fn group_of(&self, key: &AgentKey, agent: &Agent) -> Option<&GroupView> {
        self.view.group(&key.namespace, agent.group.as_deref()?).map(|group| &**group)
    }

    /// Acts on a new view: finds each agent's group again, and returns the agents on sockets that are due an
    /// offer. Agents that poll get theirs with the next poll.
    pub fn set_view(&mut self, view: Arc<View>, now: Timestamp) -> Vec<AgentKey> {
        self.view = view.clone();
        let mut edges = Vec::new();
        for (key, (agent, number)) in &mut self.agents {
            if regroup(agent, &key.namespace, &view) != Edge::None {
                edges.push(SliceId { namespace: key.namespace.clone(), number: *number });
            }
        }
        for id in edges {
            self.mark(&id, Edge::Slow, now);
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
        let keys = self.agents.iter().filter(|(_, (agent, _))| on_socket(agent)).map(|(key, _)| key);
        keys.filter(|key| self.due_offer(key, now).is_some()).cloned().collect()
    }

    /// Lets time pass: agents that poll and fell silent become disconnected, agents that are gone for long are
    /// forgotten. Both times are the group's.
    pub fn expire(&mut self, now: Timestamp) {
        let mut silent = Vec::new();
        let mut gone = Vec::new();
        for (key, (agent, _)) in &self.agents {
            let group = self.group_of(key, agent);
            let silence = now.duration_since(agent.last_seen);
            let offline_after = group.map_or(Duration::ZERO, |group| group.offline_after);
            let forget_after = group.map_or(FORGET_UNGROUPED_AFTER, |group| group.forget_after);
            if agent.link == Some(Link::Polling)
                && silence > signed(offline_after.max(3 * self.delays.assumed_interval))
            {
                silent.push(key.clone());
            } else if !agent.connected() && silence > signed(forget_after) {
                gone.push(key.clone());
            }
        }
        for key in silent {
            self.disconnect(&key, Link::Polling, now);
        }
        for key in gone {
            self.forget(&key, now);
        }
    }

    fn mark(&mut self, id: &SliceId, edge: Edge, now: Timestamp) {
        let delay = match edge {
            Edge::None => return,
            Edge::Slow => self.delays.slow,
            Edge::Urgent => self.delays.urgent,
        };
        if let Some(slice) = self.slices.get_mut(id) {
            let due = now + signed(delay);
            slice.due = Some(slice.due.map_or(due, |earlier| earlier.min(due)));
        }
    }

    /// When the next slice is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.slices.values().filter_map(|slice| slice.due).min()
    }

    /// The slices that are due at `now`; they count as written until [`Roster::write_failed`].
    pub fn take_due(&mut self, now: Timestamp) -> Vec<SliceContent> {
        let due = self.slices.iter().filter(|(_, slice)| slice.due.is_some_and(|due| due <= now));
        let contents: Vec<SliceContent> = due.map(|(id, slice)| self.content(id, slice)).collect();
        for content in &contents {
            if let Some(slice) = self.slices.get_mut(&content.id) {
                slice.due = None;
            }
            if content.spec.is_none() {
                self.slices.remove(&content.id);
            }
        }
        contents
    }

    fn content(&self, id: &SliceId, slice: &Slice) -> SliceContent {
        let key = |uid| AgentKey { namespace: id.namespace.clone(), uid };
        let members = slice.members.iter().filter_map(|uid| self.agent(&key(*uid)));
        let spec = (!slice.members.is_empty()).then(|| pack(&self.replica, members));
        SliceContent { id: id.clone(), spec }
    }

    /// A slice could not be written: it is due again.
    pub fn write_failed(&mut self, id: &SliceId, now: Timestamp) {
        self.slices.entry(id.clone()).or_default();
        self.mark(id, Edge::Urgent, now);
    }
}

/// Finds the agent's group. An agent of which only an earlier run's slice is known keeps the group from there.
fn regroup(agent: &mut Agent, namespace: &str, view: &View) -> Edge {
    if !agent.complete {
        return Edge::None;
    }
    let membership = view.membership(namespace, &agent.attributes);
    let group = membership.group.map(|group| group.name.clone());
    if agent.group == group && agent.overlapping == membership.overlapping {
        return Edge::None;
    }
    agent.group = group;
    agent.overlapping = membership.overlapping;
    Edge::Slow
}

/// A length of time as `jiff` has it.
pub fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
