//! What all connections share: the agents, their sessions, and who is connected by which socket.
//!
//! Everything is behind one lock, which is held for short synchronous work only and never across an await.
//! Messages are decoded before it is taken, and sent after it was released.
//!
//! A panic while the lock is held ends the connection whose message caused it, and nobody else: the lock's
//! poison is ignored. At worst that agent's record is half updated, and its next full report mends it; refusing
//! all messages of all agents from then on would be worse.

use super::answer::{Answer, Reception};
use super::framing::HEADER;
use super::limits::Limits;
use super::metrics::Metrics;
use super::offer::Encoded;
use super::proto::AgentToServer;
use super::{message_kind, report, wire};
use crate::config::HashKey;
use crate::fleet::{Link, Principal, Roster, Tokens, View};
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use state::State;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

mod effective;
mod state;

/// The agents of this replica, and the connections that they have.
pub struct Hub {
    state: Mutex<State>,
    edges: Notify,
    /// What digests are made with. Until it is known nobody looks for drift.
    key: OnceLock<HashKey>,
    /// What agents may take; those of production until the door says otherwise.
    limits: OnceLock<Limits>,
    pub(super) metrics: Metrics,
}

/// An encoded answer, and what it says of the message.
pub(super) struct Reply {
    pub encoded: Encoded,
    pub reception: Reception,
}

impl Hub {
    /// A hub of these agents.
    pub fn new(roster: Roster, metrics: Metrics) -> Arc<Self> {
        let (state, edges, key) = (Mutex::new(State::new(roster)), Notify::new(), OnceLock::new());
        Arc::new(Self { state, edges, key, limits: OnceLock::new(), metrics })
    }

    /// Takes the limits of the door that the agents come through.
    pub(super) fn limit(&self, limits: &Limits) {
        // The first ones stay: there is one door.
        drop(self.limits.set(limits.clone()));
    }

    fn limits(&self) -> &Limits {
        self.limits.get_or_init(Limits::default)
    }

    /// Takes in which tokens there are and which of them are to be used. Agents are told as time passes.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.with_roster(|roster| roster.set_tokens(tokens));
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

    /// Stops all offers in these namespaces, and resumes them where they were stopped so and are no more.
    pub fn withhold(&self, behind: BTreeSet<Arc<str>>) {
        let wakes = self.with_state(|state| {
            let due = state.roster.withhold(behind, Timestamp::now());
            state.wake(due)
        });
        for wake in wakes {
            wake.notify_one();
        }
    }

    /// Lets time pass; returns how many agents are connected. Wakes the connections with agents whose turn it is to be
    /// asked or told something.
    pub fn expire(&self, now: Timestamp) -> usize {
        let (wakes, connected, ungrouped, by_token) = self.with_state(|state| {
            let turns = state.roster.expire(now);
            let roster = &state.roster;
            let (connected, ungrouped) = (roster.connected(), roster.ungrouped());
            let by_token = roster.agents_by_token();
            (state.wake(turns), connected, ungrouped, by_token)
        });
        self.metrics.by_token(&by_token);
        self.metrics.ungrouped(ungrouped);
        for wake in wakes {
            wake.notify_one();
        }
        connected
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
    pub(super) fn receive(
        &self,
        principal: &Arc<Principal>,
        link: Link,
        message: Bytes,
        limit: usize,
    ) -> Reply {
        let (kind, answer) = self.decode_and_take_in(principal, link, message);
        let reception = answer.reception();
        self.metrics.message(link, kind, reception.result());
        if answer.missed {
            self.metrics.missed();
        }
        Reply { reception, encoded: self.encode(answer, link, limit) }
    }

    /// What a message carries, and its answer.
    fn decode_and_take_in(
        &self,
        principal: &Arc<Principal>,
        link: Link,
        message: Bytes,
    ) -> (&'static str, Answer) {
        if wire::has_too_many_fields(&message) {
            self.metrics.message_refused("too_many_fields");
            return unreadable(message, "the message has too many fields");
        }
        let Ok(mut decoded) = AgentToServer::decode(message.clone()) else {
            return unreadable(message, "the message is not an AgentToServer");
        };
        if report::cut_attributes(&mut decoded, self.limits().max_attributes) {
            self.metrics.message_refused("too_many_attributes");
        }
        (message_kind::kind(&decoded), self.take_in(decoded, principal, link))
    }

    /// Encodes what is to be sent. What would make it too long is left out (specification, "Message Size
    /// Limits"); it counts as sent, so that it is not tried again with every message.
    fn encode(&self, mut answer: Answer, link: Link, limit: usize) -> Encoded {
        let mut encoded = answer.encode();
        if answer.message.connection_settings.is_some() {
            let fits = encoded.len() <= limit;
            self.metrics.settings(fits);
            if !fits {
                tracing::error!("connection settings are longer than the message limit");
                answer.message.connection_settings = None;
                encoded = answer.encode();
            }
        }
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

    /// Attaches a new socket, for as long as the result lives. It is sent at most `limit` bytes at once, of which the
    /// header takes one (specification, "WebSocket Message Size Limits").
    pub(super) fn attach(self: &Arc<Self>, principal: Arc<Principal>, limit: usize) -> Attachment {
        let limit = limit.saturating_sub(size_of_val(&HEADER));
        let wake = Arc::new(Notify::new());
        let socket = self.lock().attach(principal.namespace.clone(), wake.clone());
        Attachment { hub: self.clone(), principal, socket, wake, limit }
    }

    /// Works on the state, then tells the slice writer if a slice became due.
    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.roster.next_due();
        let result = work(&mut state);
        let changed = state.roster.next_due() != before;
        let (heard, overflows) = (state.roster.take_heard(), state.baselines.take_overflows());
        drop(state);
        self.metrics.heard(heard);
        self.metrics.overflows.baselines(overflows);
        if changed {
            self.edges.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket's place in the hub. Dropping it, for whatever reason, disconnects the socket's agents.
pub(super) struct Attachment {
    hub: Arc<Hub>,
    principal: Arc<Principal>,
    socket: u64,
    wake: Arc<Notify>,
    limit: usize,
}

impl Attachment {
    /// Takes in a message that came on this socket.
    pub fn receive(&self, message: Bytes) -> Encoded {
        self.hub.receive(&self.principal, self.link(), message, self.limit).encoded
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

/// What to say to a message of which only the uid can be read, if that.
fn unreadable(message: Bytes, why: &str) -> (&'static str, Answer) {
    (message_kind::UNREADABLE, Answer::bad_request(&salvaged_uid(message), why))
}

/// The uid of a message that cannot be decoded, if that much can be: some clients ignore an answer that does not
/// carry theirs.
fn salvaged_uid(message: Bytes) -> Vec<u8> {
    Envelope::decode(message).map(|envelope| envelope.instance_uid).unwrap_or_default()
}

#[cfg(test)]
mod tests;
