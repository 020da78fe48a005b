//! What is behind the hub's lock: the agents, their sessions, and who speaks on which socket.

use crate::config::{ConfigHash, Ignore};
use crate::drift::{Finding, Reason};
use crate::fleet::{AgentKey, InstanceUid, Link, Principal, Roster, View};
use crate::opamp::answer::Answer;
use crate::opamp::limits::Limits;
use crate::opamp::proto::AgentToServer;
use crate::opamp::session::{Context, Sessions};
use crate::opamp::watch::Baselines;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::Notify;

/// Most agents of one socket. Gateways put some hundreds on one; without a bound a single hostile peer could name
/// uids until the memory is full. One more is told to come back.
pub const MAX_AGENTS_PER_SOCKET: usize = 10_000;

/// Why there is no place for an agent: there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// On this connection.
    #[error("there are too many agents on this connection")]
    Connection,
    /// With this credential.
    #[error("there are too many agents with this credential")]
    Credential,
    /// On this replica.
    #[error("there are too many agents")]
    Replica,
}

impl Excess {
    /// A fixed text for the metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Connection => "too_many_agents_of_connection",
            Self::Credential => "too_many_agents_of_credential",
            Self::Replica => "too_many_agents",
        }
    }
}

/// The agents and sockets of this replica.
pub struct State {
    /// The agents.
    pub roster: Roster,
    sessions: Sessions,
    /// What drift is measured by.
    pub baselines: Baselines,
    sockets: HashMap<u64, Attached>,
    /// Numbers the sockets of this process.
    next_socket: u64,
}

/// One open socket.
struct Attached {
    namespace: Arc<str>,
    /// The agents that have spoken on it, sorted: one, or many behind a gateway.
    agents: Vec<InstanceUid>,
    /// The agents that may be due an offer, a command or a question. What to send is decided when it is sent, so
    /// however often the view changes meanwhile this holds an agent once, and is bounded by `agents`.
    due: BTreeSet<InstanceUid>,
    wake: Arc<Notify>,
}

impl State {
    /// The state of these agents, without sockets.
    pub fn new(roster: Roster) -> Self {
        Self {
            roster,
            sessions: Sessions::default(),
            baselines: Baselines::default(),
            sockets: HashMap::new(),
            next_socket: 1,
        }
    }

    /// Adds a socket; returns its number.
    pub fn attach(&mut self, namespace: Arc<str>, wake: Arc<Notify>) -> u64 {
        let attached = Attached { namespace, agents: Vec::new(), due: BTreeSet::new(), wake };
        let socket = self.next_socket;
        self.next_socket += 1;
        self.sockets.insert(socket, attached);
        socket
    }

    /// Takes in a message and answers it, unless it is of an agent that there is no place for.
    pub fn receive(
        &mut self,
        message: AgentToServer,
        principal: &Arc<Principal>,
        link: Link,
        limits: &Limits,
    ) -> Result<Answer, (InstanceUid, Excess)> {
        let uid = InstanceUid::from_wire(&message.instance_uid);
        let key = uid.map(|uid| AgentKey { namespace: principal.namespace.clone(), uid });
        if let Some(key) = &key {
            self.has_room(key, principal, link, limits).map_err(|excess| (key.uid, excess))?;
        }
        let context = Context {
            now: Timestamp::now(),
            principal,
            link,
            fresh_uid: &mut || InstanceUid::new(uuid::Uuid::now_v7().into_bytes()),
            roster: &mut self.roster,
        };
        let answer = self.sessions.receive(message, context);
        if let Some(key) = &key {
            self.note_speaker(key, link);
        }
        Ok(answer)
    }

    /// Whether there is a place for an agent. Those that are known always have theirs, but not on every connection.
    fn has_room(
        &self,
        key: &AgentKey,
        principal: &Principal,
        link: Link,
        limits: &Limits,
    ) -> Result<(), Excess> {
        let speaks_here = |attached: &Attached| attached.agents.binary_search(&key.uid).is_ok();
        if let Link::Socket(socket) = link
            && let Some(attached) = self.sockets.get(&socket)
            && attached.agents.len() >= MAX_AGENTS_PER_SOCKET
            && !speaks_here(attached)
        {
            return Err(Excess::Connection);
        }
        if self.roster.agent(key).is_some() {
            Ok(())
        } else if self.roster.held_by(principal) >= limits.max_agents_per_credential {
            Err(Excess::Credential)
        } else if self.roster.len() >= limits.max_agents {
            Err(Excess::Replica)
        } else {
            Ok(())
        }
    }

    /// Remembers who speaks on a socket, if a message made it an agent's.
    fn note_speaker(&mut self, key: &AgentKey, link: Link) {
        if let Link::Socket(socket) = link
            && self.roster.agent(key).is_some_and(|agent| agent.link == Some(link))
            && let Some(attached) = self.sockets.get_mut(&socket)
            && let Err(place) = attached.agents.binary_search(&key.uid)
        {
            attached.agents.insert(place, key.uid);
        }
    }

    /// Takes in what a report of an agent on this link shows, beside this content and where it does not count. That took
    /// a while: if the agent has been offered something since, or has come over another link, it proves nothing.
    pub fn note_finding(
        &mut self,
        (key, link): (&AgentKey, Link),
        of: (ConfigHash, Ignore),
        finding: &Result<Finding, Reason>,
        now: Timestamp,
    ) {
        let looked_for = self.roster.looked_for(key, link);
        let still = looked_for.is_some_and(|(revision, rules)| (revision.hash, rules.ignore) == of);
        let Some(agent) = self.roster.agent(key).filter(|_| still) else { return };
        let sight = self.baselines.judge(agent, of, finding, now);
        let supervised = finding.as_ref().is_ok_and(Finding::is_supervised);
        self.roster.note_sight(key, sight, supervised, now);
    }

    /// Acts on a new view; returns the connections that are to be woken for it.
    pub fn set_view(&mut self, view: Arc<View>, now: Timestamp) -> Vec<Arc<Notify>> {
        let due = self.roster.set_view(view, now);
        let Self { roster, baselines, .. } = self;
        baselines.retain(|content| roster.is_live(content));
        self.wake(due)
    }

    /// Marks agents as due something; returns the connections that are to be woken for it.
    pub fn wake(&mut self, due: Vec<AgentKey>) -> Vec<Arc<Notify>> {
        let mut wakes = Vec::new();
        for key in due {
            let Some(Link::Socket(socket)) = self.roster.agent(&key).and_then(|agent| agent.link) else {
                continue;
            };
            let Some(attached) = self.sockets.get_mut(&socket) else { continue };
            if attached.due.is_empty() {
                wakes.push(attached.wake.clone());
            }
            attached.due.insert(key.uid);
        }
        wakes
    }

    /// The next message to an agent of this socket that did not ask for it.
    pub fn next_push(&mut self, socket: u64, now: Timestamp) -> Option<Answer> {
        let attached = self.sockets.get_mut(&socket)?;
        while let Some(uid) = attached.due.pop_first() {
            let key = AgentKey { namespace: attached.namespace.clone(), uid };
            let here = self.roster.agent(&key).is_some_and(|agent| agent.link == Some(Link::Socket(socket)));
            let Some(push) = here.then(|| push(&key, &mut self.roster, now)).flatten() else { continue };
            if push.is_command() {
                // What else is due goes with the next message.
                attached.due.insert(uid);
            }
            return Some(push);
        }
        None
    }

    /// Takes a socket away, and with it the connection of its agents.
    pub fn close(&mut self, socket: u64, now: Timestamp) {
        let Some(attached) = self.sockets.remove(&socket) else { return };
        for uid in attached.agents {
            let key = AgentKey { namespace: attached.namespace.clone(), uid };
            self.roster.disconnect(&key, Link::Socket(socket), now);
            self.sessions.closed(&key, Link::Socket(socket));
        }
    }
}

/// What an agent is to be sent now, unasked.
fn push(key: &AgentKey, roster: &mut Roster, now: Timestamp) -> Option<Answer> {
    if roster.take_restart(key, now) {
        return Some(Answer::restart(key.uid));
    }
    let mut push = Answer::plain(key.uid);
    push.add_errands(key, roster, now);
    push.says_something().then_some(push)
}
