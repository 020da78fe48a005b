//! What all connections share: the agents, their sessions, and who is connected by which socket.
//!
//! Everything is behind one lock, which is held for short synchronous work only and never across an await.
//! Messages are decoded before it is taken, and sent after it was released.
//!
//! A panic while the lock is held ends the connection whose message caused it, and nobody else: the lock's
//! poison is ignored. At worst that agent's record is half updated, and its next full report mends it; refusing
//! all messages of all agents from then on would be worse.

use super::answer::Answer;
use super::metrics::Metrics;
use super::offer::Encoded;
use super::proto::AgentToServer;
use super::report;
use super::session::{Context, Sessions};
use super::watch::Baselines;
use crate::config::{ConfigFile, HashKey};
use crate::drift::{Ignore, look};
use crate::fleet::{AgentKey, InstanceUid, Link, Roster, View};
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

/// Most agents of one socket. Gateways put some hundreds on one; without a bound a single hostile peer could name
/// uids until the memory is full. A message of one more is answered with an error.
const MAX_AGENTS_PER_SOCKET: usize = 10_000;

/// The agents of this replica, and the connections that they have.
pub struct Hub {
    state: Mutex<State>,
    edges: Notify,
    /// What digests are made with. Until it is known nobody looks for drift.
    key: OnceLock<HashKey>,
    pub(super) metrics: Metrics,
}

struct State {
    roster: Roster,
    sessions: Sessions,
    baselines: Baselines,
    sockets: HashMap<u64, Attached>,
    /// Numbers the sockets of this process.
    next_socket: u64,
}

/// One open socket.
struct Attached {
    namespace: Arc<str>,
    /// The agents that have spoken on it, sorted: one, or many behind a gateway.
    agents: Vec<InstanceUid>,
    /// The agents that may be due an offer. What to offer is decided when it is sent, so however often the view
    /// changes meanwhile this holds an agent once, and is bounded by `agents`.
    due: BTreeSet<InstanceUid>,
    wake: Arc<Notify>,
}

/// An encoded answer, and whether it says that the message was bad.
pub(super) struct Reply {
    pub encoded: Encoded,
    pub is_error: bool,
}

impl Hub {
    /// A hub of these agents.
    pub fn new(roster: Roster, metrics: Metrics) -> Arc<Self> {
        let state = State {
            roster,
            sessions: Sessions::default(),
            baselines: Baselines::default(),
            sockets: HashMap::new(),
            next_socket: 1,
        };
        let (state, edges, key) = (Mutex::new(state), Notify::new(), OnceLock::new());
        Arc::new(Self { state, edges, key, metrics })
    }

    /// Takes the key that digests are made with, and looks for drift from now on.
    pub fn know(&self, key: HashKey) {
        // The first one stays: there is one key.
        drop(self.key.set(key));
    }

    /// Acts on a new view: wakes exactly the connections with agents that are due an offer.
    pub fn set_view(&self, view: Arc<View>) {
        let wakes = self.with_state(|state| state.set_view(view, Timestamp::now()));
        for wake in wakes {
            wake.notify_one();
        }
    }

    /// Stops or resumes all offers; what became due meanwhile goes out at once.
    pub fn suspend(&self, suspended: bool) {
        let wakes = self.with_state(|state| {
            let due = state.roster.suspend(suspended, Timestamp::now());
            state.wake(due)
        });
        for wake in wakes {
            wake.notify_one();
        }
    }

    /// Works with the agents, for whoever writes the slices.
    pub fn with_roster<T>(&self, work: impl FnOnce(&mut Roster) -> T) -> T {
        work(&mut self.lock().roster)
    }

    /// Resolves when the next slice may have become due earlier than it was. Meant for one waiter.
    pub async fn edges(&self) {
        self.edges.notified().await;
    }

    /// Takes in one message and answers it, in at most `limit` bytes.
    pub(super) fn receive(&self, namespace: &Arc<str>, link: Link, message: Bytes, limit: usize) -> Reply {
        let answer = match AgentToServer::decode(message.clone()) {
            Ok(decoded) => self.take_in(decoded, namespace, link),
            Err(_) => Answer::bad_request(&salvaged_uid(message), "the message is not an AgentToServer"),
        };
        self.metrics.message(link, if answer.is_error() { "bad_request" } else { "ok" });
        Reply { is_error: answer.is_error(), encoded: self.encode(answer, link, limit) }
    }

    /// Takes in a decoded message. What it says is in effect is compared afterwards and without the lock, because that
    /// takes long for a message that wants it to.
    fn take_in(&self, message: AgentToServer, namespace: &Arc<str>, link: Link) -> Answer {
        let effective = message.effective_config.clone();
        let uid = InstanceUid::from_wire(&message.instance_uid);
        let answer = self.with_state(|state| state.receive(message, namespace, link));
        let key = uid.map(|uid| AgentKey { namespace: namespace.clone(), uid });
        if let (Some(effective), Some(key)) = (effective, key) {
            let files = report::effective(effective);
            self.conclude(&files, &key, link);
            self.look_for_drift(&files, &key, link);
        }
        answer
    }

    /// Finds out whether an agent that says nothing else of its configuration runs what it is assigned.
    fn conclude(&self, effective: &[ConfigFile], key: &AgentKey, link: Link) {
        if let Some(revision) = self.with_roster(|roster| roster.compared_with(key, link))
            && let Some(desired) = &revision.desired
        {
            let covers = desired.is_covered_by(effective);
            let now = Timestamp::now();
            self.with_state(|state| state.roster.note_effective(key, revision.hash, covers, now));
        }
    }

    /// Compares what is in effect on an agent that has applied its revision.
    fn look_for_drift(&self, effective: &[ConfigFile], key: &AgentKey, link: Link) {
        if let Some(hash_key) = self.key.get()
            && let Some((revision, rules)) = self.with_roster(|roster| roster.looked_for(key, link))
            && let Some(desired) = &revision.desired
        {
            // The API server has checked their form.
            let ignore = Ignore::new(&rules.ignore).unwrap_or_default();
            let finding = look(desired, effective, &ignore, hash_key);
            let now = Timestamp::now();
            self.with_state(|state| {
                let Some(agent) = state.roster.agent(key) else { return };
                let sight = state.baselines.judge(agent, (revision.hash, rules.ignore), &finding, now);
                state.roster.note_sight(key, sight, now);
            });
        }
    }

    /// Encodes what is to be sent. An offer that would make it too long is left out (specification, "Message Size
    /// Limits"); it counts as sent, so that it is not tried again with every message.
    fn encode(&self, mut answer: Answer, link: Link, limit: usize) -> Encoded {
        let encoded = answer.encode();
        match answer.offer.take() {
            None => encoded,
            Some(_) if encoded.len() <= limit => {
                self.metrics.offer(link);
                encoded
            }
            Some(offer) => {
                tracing::error!(
                    revision = &*offer.revision.name,
                    "configuration is longer than the message limit"
                );
                self.metrics.oversized();
                answer.encode()
            }
        }
    }

    /// Attaches a new socket, for as long as the result lives. It is sent at most `limit` bytes at once.
    pub(super) fn attach(self: &Arc<Self>, namespace: Arc<str>, limit: usize) -> Attachment {
        let wake = Arc::new(Notify::new());
        let attached = Attached {
            namespace: namespace.clone(),
            agents: Vec::new(),
            due: BTreeSet::new(),
            wake: wake.clone(),
        };
        let mut state = self.lock();
        let socket = state.next_socket;
        state.next_socket += 1;
        state.sockets.insert(socket, attached);
        drop(state);
        Attachment { hub: self.clone(), namespace, socket, wake, limit }
    }

    /// Works on the state, then tells the slice writer if a slice became due.
    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.roster.next_due();
        let result = work(&mut state);
        let changed = state.roster.next_due() != before;
        drop(state);
        if changed {
            self.edges.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn receive(&mut self, message: AgentToServer, namespace: &Arc<str>, link: Link) -> Answer {
        if let (Link::Socket(socket), Some(uid)) = (link, InstanceUid::from_wire(&message.instance_uid))
            && !self.note_speaker(socket, uid)
        {
            return Answer::bad_request(uid.as_bytes(), "there are too many agents on this connection");
        }
        let context = Context {
            now: Timestamp::now(),
            namespace,
            link,
            fresh_uid: &mut || InstanceUid::new(uuid::Uuid::now_v7().into_bytes()),
            roster: &mut self.roster,
        };
        self.sessions.receive(message, context)
    }

    /// Remembers who speaks on a socket; false if it is one too many.
    fn note_speaker(&mut self, socket: u64, uid: InstanceUid) -> bool {
        let Some(attached) = self.sockets.get_mut(&socket) else { return false };
        match attached.agents.binary_search(&uid) {
            Ok(_) => true,
            Err(_) if attached.agents.len() == MAX_AGENTS_PER_SOCKET => false,
            Err(place) => {
                attached.agents.insert(place, uid);
                true
            }
        }
    }

    fn set_view(&mut self, view: Arc<View>, now: Timestamp) -> Vec<Arc<Notify>> {
        let due = self.roster.set_view(view, now);
        let Self { roster, baselines, .. } = self;
        baselines.retain(|content| roster.is_live(content));
        self.wake(due)
    }

    /// Marks agents as due an offer; returns the connections that are to be woken for it.
    fn wake(&mut self, due: Vec<AgentKey>) -> Vec<Arc<Notify>> {
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

    /// The next offer for an agent of this socket.
    fn next_push(&mut self, socket: u64, now: Timestamp) -> Option<Answer> {
        let attached = self.sockets.get_mut(&socket)?;
        while let Some(uid) = attached.due.pop_first() {
            let key = AgentKey { namespace: attached.namespace.clone(), uid };
            let here = self.roster.agent(&key).is_some_and(|agent| agent.link == Some(Link::Socket(socket)));
            if let Some(offer) = here.then(|| self.roster.take_offer(&key, now)).flatten() {
                let mut push = Answer::push(uid, offer);
                push.ask_what_is_in_effect(self.roster.agent(&key));
                return Some(push);
            }
        }
        None
    }

    fn close(&mut self, socket: u64, now: Timestamp) {
        let Some(attached) = self.sockets.remove(&socket) else { return };
        for uid in attached.agents {
            let key = AgentKey { namespace: attached.namespace.clone(), uid };
            self.roster.disconnect(&key, Link::Socket(socket), now);
            self.sessions.closed(&key, Link::Socket(socket));
        }
    }
}

/// A socket's place in the hub. Dropping it, for whatever reason, disconnects the socket's agents.
pub(super) struct Attachment {
    hub: Arc<Hub>,
    namespace: Arc<str>,
    socket: u64,
    wake: Arc<Notify>,
    limit: usize,
}

impl Attachment {
    /// Takes in a message that came on this socket.
    pub fn receive(&self, message: Bytes) -> Encoded {
        self.hub.receive(&self.namespace, self.link(), message, self.limit).encoded
    }

    /// Resolves when there may be something to push.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The next offer to push, decided now and noted as sent.
    pub fn next_push(&self) -> Option<Encoded> {
        let push = self.hub.with_state(|state| state.next_push(self.socket, Timestamp::now()))?;
        Some(self.hub.encode(push, self.link(), self.limit))
    }

    fn link(&self) -> Link {
        Link::Socket(self.socket)
    }

    /// The metrics of the hub.
    pub fn metrics(&self) -> &Metrics {
        &self.hub.metrics
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.hub.with_state(|state| state.close(self.socket, Timestamp::now()));
    }
}

/// Only the uid of a message, all else skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    instance_uid: Vec<u8>,
}

/// The uid of a message that cannot be decoded, if that much can be: some clients ignore an answer that does not
/// carry theirs.
fn salvaged_uid(message: Bytes) -> Vec<u8> {
    Envelope::decode(message).map(|envelope| envelope.instance_uid).unwrap_or_default()
}

#[cfg(test)]
mod tests;
