//! The protocol's rules for one agent: sequence numbers, full state, identity (specification, "Status
//! Reporting" and "Agent Status Compression"). Pure: no clock, no socket.
//!
//! What an agent *is* stands in the [`Roster`]; here is only what the exchange of messages needs beside it.

use super::answer::Answer;
use super::proto::{AgentToServer, AgentToServerFlags};
use super::report::{capabilities, report};
use crate::config::Form;
use crate::fleet::{
    AgentKey, Capabilities, ConfigReport, InstanceUid, Link, Message, Missed, Outcome, Place, Principal,
    Report, Roster,
};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// Sessions are swept of forgotten agents when their number has doubled since, and never below this, so that a
/// message costs the same on average however many agents there are.
const SWEEP_FROM: usize = 1024;

/// What an agent is told that asks for a certificate. An error is what the specification demands for a request that is
/// not granted (section "Agent-initiated CSR Flow").
const NO_CERTIFICATES: &str = "this server issues no connection settings on request, and no certificates";

/// What surrounds a message.
pub struct Context<'a> {
    /// When the message came.
    pub now: Timestamp,
    /// Whose credential the connection has.
    pub principal: &'a Arc<Principal>,
    /// How it came.
    pub link: Link,
    /// Makes a uid that nobody has.
    pub fresh_uid: &'a mut dyn FnMut() -> InstanceUid,
    /// The agents.
    pub roster: &'a mut Roster,
}

/// The sessions of all agents of this replica.
#[derive(Default)]
pub struct Sessions {
    by_agent: HashMap<AgentKey, Session>,
    sweep_at: usize,
}

/// What is remembered of the exchange with one agent.
#[derive(Default)]
struct Session {
    /// The last sequence number. Kept over reconnects, because real clients go on counting.
    sequence: Option<u64>,
    /// The full state was asked for and has not come, so the next description comes with everything else that
    /// there is.
    asked: bool,
    /// Open links that lost this uid to a newer one. Who speaks on one of them is another agent with the same
    /// uid. All are kept: with one only, three agents of one uid would take it from each other for ever.
    superseded: Vec<Link>,
}

impl Sessions {
    /// Takes in a message and answers it.
    pub fn receive(&mut self, message: AgentToServer, mut context: Context<'_>) -> Answer {
        let Some(uid) = InstanceUid::from_wire(&message.instance_uid) else {
            return Answer::bad_request(&message.instance_uid, "the instance_uid does not have 16 bytes");
        };
        if message.connection_settings_request.is_some() {
            // Taken for lost: the number that is missing then brings whatever else the message said.
            return Answer::bad_request(uid.as_bytes(), NO_CERTIFICATES);
        }
        let key = AgentKey { namespace: context.principal.namespace.clone(), uid };
        let holder =
            context.roster.agent(&key).and_then(|agent| agent.link).filter(|link| *link != context.link);
        let anothers = context.roster.agent(&key).is_some_and(|agent| !agent.belongs_to(context.principal));
        if anothers || context.roster.is_anothers(&key, context.principal) {
            return answer_duplicate(&message, uid, &mut context);
        }
        let session = self.by_agent.entry(key.clone()).or_default();
        if holder.is_some() && session.superseded.contains(&context.link) {
            return answer_duplicate(&message, uid, &mut context);
        }
        if message.flags & AgentToServerFlags::RequestInstanceUid as u64 != 0 {
            return self.rename(&key, holder.is_none(), &mut context);
        }
        session.bind(context.link, holder);
        let answer = session.take_in(message, &key, &mut context);
        self.sweep(context.roster);
        answer
    }

    /// Gives the agent the uid that it asks for, and drops what is known under the temporary one, unless that
    /// belongs to somebody else.
    fn rename(&mut self, key: &AgentKey, own: bool, context: &mut Context<'_>) -> Answer {
        if own {
            self.by_agent.remove(key);
            context.roster.forget(key, context.now);
        }
        Answer::rename(key.uid, (context.fresh_uid)())
    }

    /// A link ended; the agent that had superseded it has no rival there any more.
    pub fn closed(&mut self, key: &AgentKey, link: Link) {
        if let Some(session) = self.by_agent.get_mut(key) {
            session.superseded.retain(|other| *other != link);
        }
    }

    fn sweep(&mut self, roster: &Roster) {
        if self.by_agent.len() < self.sweep_at.max(SWEEP_FROM) {
            return;
        }
        self.by_agent.retain(|key, _| roster.agent(key).is_some());
        self.by_agent.shrink_to(self.by_agent.len() * 2);
        self.sweep_at = self.by_agent.len() * 2;
    }
}

impl Session {
    /// The newer link takes the uid over: most often the agent has reconnected before the old link was seen to
    /// have ended.
    fn bind(&mut self, link: Link, holder: Option<Link>) {
        self.superseded.retain(|other| *other != link);
        self.superseded.extend(holder);
    }

    fn take_in(&mut self, message: AgentToServer, key: &AgentKey, context: &mut Context<'_>) -> Answer {
        let (number, empty) = (message.sequence_num, is_empty(&message));
        let place = Place::of(self.sequence, number, empty);
        let restarts = place.restarts(number);
        let full = self.is_full(&message, restarts);
        let disconnects = message.agent_disconnect.is_some();
        let polls = context.link == Link::Polling;
        let missed = place.missed(self.sequence.is_some(), restarts && full && number <= 1);
        let seen = context.roster.agent(key).map(|agent| agent.last_seen);
        let heard = Message {
            place,
            missed,
            restarts,
            full,
            empty,
            tells_health: has_health(&message),
            polls,
            asked: self.asked,
            last_here: seen.map(|seen| context.now.duration_since(seen)),
        };
        if place != Place::Heartbeat {
            self.sequence = Some(number);
        }
        let stale = place == Place::Behind && !full;
        let mut report =
            if stale { Report { number, ..Report::default() } } else { self.report(message, full, restarts) };
        report.principal = Some(context.principal.clone());
        report.missed = missed;
        context.roster.receive(key, report, context.link, context.now);
        let complete = context.roster.agent(key).is_some_and(|agent| agent.complete);
        self.asked = !complete || heard.shows_loss() || self.asked && !full;
        let mut answer = self.answer(key, disconnects, context);
        answer.missed = polls && missed != Missed::Nothing;
        answer
    }

    fn answer(&self, key: &AgentKey, disconnects: bool, context: &mut Context<'_>) -> Answer {
        let mut answer = Answer::plain(key.uid);
        if disconnects {
            context.roster.disconnect(key, context.link, context.now);
            return answer;
        }
        // It is pushed where that can be done, with all else behind it; here all else waits for the next poll.
        if context.link == Link::Polling && context.roster.take_restart(key, context.now) {
            return Answer::restart(key.uid);
        }
        if self.asked {
            answer.ask_full_state();
        }
        if context.roster.ask_for_components(key, context.now) {
            answer.ask_components();
        }
        answer.add_errands(key, context.roster, context.now);
        answer
    }

    /// Whether the message has the agent's full state. An agent that reconnects to another replica may send its
    /// changed description and nothing else, which looks much like it.
    fn is_full(&self, message: &AgentToServer, restarts: bool) -> bool {
        let starts = restarts && message.sequence_num <= 1;
        let whole = capabilities(message.capabilities).is_some_and(|capabilities| {
            let silent = !capabilities.has(Capabilities::REPORTS_REMOTE_CONFIG);
            starts || silent || message.remote_config_status.is_some()
        });
        message.agent_description.is_some() && (whole || self.asked)
    }

    /// A full state without a word on a configuration says that the agent has none, for example because it lost
    /// its storage; then what it reported before must not keep it from being offered one.
    fn report(&self, message: AgentToServer, full: bool, restarts: bool) -> Report {
        let mut report = report(message, full);
        if full && (restarts || self.asked) {
            report.config.get_or_insert(ConfigReport {
                hash: None,
                form: Form::Plain,
                outcome: Outcome::Unset,
            });
        }
        report
    }
}

/// A uid is another agent's: two with one uid are alive, and this one's link was superseded, or it belongs to another
/// principal. This one gets another uid, and nothing that it says is put down to the other. If it only says goodbye it
/// may have been the same agent, on its old connection.
fn answer_duplicate(message: &AgentToServer, uid: InstanceUid, context: &mut Context<'_>) -> Answer {
    if message.agent_disconnect.is_some() {
        return Answer::plain(uid);
    }
    Answer::rename(uid, (context.fresh_uid)())
}

/// Whether a message tells of the agent's health, if the agent can.
fn has_health(message: &AgentToServer) -> bool {
    let reports = Capabilities(message.capabilities).has(Capabilities::REPORTS_HEALTH);
    !reports || message.health.is_some()
}

/// Whether a message says nothing but who sent it, perhaps with a number and its capabilities.
fn is_empty(message: &AgentToServer) -> bool {
    let bare = AgentToServer {
        instance_uid: message.instance_uid.clone(),
        sequence_num: message.sequence_num,
        capabilities: message.capabilities,
        ..Default::default()
    };
    *message == bare
}

#[cfg(test)]
mod tests;
