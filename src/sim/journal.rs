//! One simulated agent for a test, which writes down what it received.

use super::agent::Agent;
use super::endpoint::Endpoint;
use super::habits::{Behaviour, Habits};
use super::observer::{Event, Observer};
use super::refused::Refused;
use super::runner::{Deed, Life, Pace};
use crate::opamp::proto::{
    AgentConfigMap, AgentRemoteConfig, AgentToServer, RemoteConfigStatuses, ServerToAgent, ServerToAgentFlags,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A configuration as an agent received it. No `Debug`: it may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The hash that came with it.
    pub hash: Bytes,
    /// The files by name, byte for byte.
    pub files: BTreeMap<String, Bytes>,
}

/// What has happened to one agent.
#[derive(Clone, Default)]
pub struct Journal {
    /// Whether the server has answered on the connection that is open.
    pub connected: bool,
    /// How often that came to be.
    pub connections: usize,
    /// The answers that let it not in.
    pub refusals: Vec<Refused>,
    /// Messages of the server.
    pub messages: usize,
    /// Configurations in the order in which they came.
    pub offers: Vec<Offer>,
    /// How often the full state was asked for.
    pub full_states: usize,
    /// The messages that asked for it, counted from 1.
    pub full_states_at: Vec<usize>,
    /// Restart commands that the agent obeyed.
    pub restarts: usize,
    /// Commands that it should not have been sent, because it does not accept them.
    pub ignored_commands: usize,
    /// The error responses' texts.
    pub errors: Vec<String>,
    /// The uids that the agent was given.
    pub uids: Vec<[u8; 16]>,
    /// What the agent says of its configuration: the hash, and what became of it.
    pub config: (Vec<u8>, RemoteConfigStatuses),
    /// The files that are in effect, as far as the agent keeps them.
    pub effective: BTreeMap<String, Bytes>,
    /// Whether the agent is well.
    pub healthy: bool,
}

/// A simulated agent that runs. Dropping it ends it without a goodbye.
pub struct Simulated {
    journal: watch::Receiver<Journal>,
    stop: watch::Sender<bool>,
    deeds: mpsc::UnboundedSender<Deed>,
    task: JoinHandle<()>,
}

/// Starts an agent that keeps a journal.
pub fn spawn(agent: Agent, endpoint: Endpoint, pace: Pace) -> Simulated {
    spawn_observed(agent, endpoint, pace, Arc::new(Nobody))
}

/// Starts an agent that keeps a journal, and tells an observer of each thing when it happens.
pub fn spawn_observed(
    agent: Agent,
    endpoint: Endpoint,
    pace: Pace,
    observer: Arc<dyn Observer>,
) -> Simulated {
    let (stop, stopped) = watch::channel(false);
    let (deeds, done) = mpsc::unbounded_channel();
    let mut first = Journal::default();
    first.note_state(&agent);
    let (writer, journal) = watch::channel(first);
    let life = Life::new(agent, pace, Arc::new(Writer(writer, observer)), stopped, Some(done));
    let task = tokio::spawn(life.live(Arc::new(endpoint)));
    Simulated { journal, stop, deeds, task }
}

impl Simulated {
    /// What has happened so far.
    pub fn journal(&self) -> Journal {
        self.journal.borrow().clone()
    }

    /// Waits until the journal is as the condition wants it. The caller bounds the wait.
    pub async fn until(&mut self, condition: impl FnMut(&Journal) -> bool) -> Journal {
        match self.journal.wait_for(condition).await {
            Ok(journal) => journal.clone(),
            // The agent has ended, so that nothing will ever be written again.
            Err(_) => std::future::pending().await,
        }
    }

    /// Puts another configuration in effect behind the agent's back; it is the text of a file. The agent reports that
    /// unasked, as soon as it is connected, and it lasts until it applies a configuration anew.
    pub fn tamper(&self, text: &str) {
        let text = text.to_owned();
        self.undergo(|agent| agent.tamper(text).into_iter().collect());
    }

    /// Makes the agent ill, which it reports as soon as it is connected.
    pub fn fall_ill(&self) {
        self.undergo(|agent| agent.set_healthy(false).into_iter().collect());
    }

    /// Makes the agent well, which it reports as soon as it is connected.
    pub fn recover(&self) {
        self.undergo(|agent| agent.set_healthy(true).into_iter().collect());
    }

    /// Makes the agent do something else with the next configuration.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.undergo(|agent| {
            agent.set_behaviour(behaviour);
            Vec::new()
        });
    }

    /// Gives the agent other habits.
    pub fn set_habits(&self, habits: Habits) {
        self.undergo(|agent| {
            agent.set_habits(habits);
            Vec::new()
        });
    }

    fn undergo(&self, deed: impl FnOnce(&mut Agent) -> Vec<AgentToServer> + Send + 'static) {
        // An agent that has ended feels nothing.
        let _ = self.deeds.send(Box::new(deed));
    }

    /// Lets the agent say goodbye, and returns its whole journal.
    pub async fn stop(mut self) -> Journal {
        self.stop.send_replace(true);
        let _ = (&mut self.task).await;
        self.journal()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes the journal, and tells the other observer after that.
struct Writer(watch::Sender<Journal>, Arc<dyn Observer>);

impl Observer for Writer {
    fn observe(&self, agent: &Agent, event: &Event<'_>) {
        self.0.send_modify(|journal| journal.write(agent, event));
        self.1.observe(agent, event);
    }
}

struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _: &Agent, _: &Event<'_>) {}
}

impl Journal {
    fn write(&mut self, agent: &Agent, event: &Event<'_>) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.connections += 1;
            }
            Event::Disconnected => self.connected = false,
            Event::Failed(error) => self.refusals.extend(Refused::of(error)),
            Event::Changed(_) => self.note_state(agent),
            Event::Received(message) => self.note_message(agent, message),
        }
    }

    fn note_state(&mut self, agent: &Agent) {
        let config = agent.config();
        self.config = (config.last_remote_config_hash.clone(), config.status());
        self.effective = bodies(&agent.in_effect());
        self.healthy = agent.is_healthy();
    }

    fn note_message(&mut self, agent: &Agent, message: &ServerToAgent) {
        self.messages += 1;
        if let Some(command) = &message.command {
            // Nothing else in such a message counts.
            *if agent.obeys(command) { &mut self.restarts } else { &mut self.ignored_commands } += 1;
            return;
        }
        self.offers.extend(message.remote_config.as_ref().map(Offer::new));
        self.errors.extend(message.error_response.as_ref().map(|error| error.error_message.clone()));
        if message.flags & ServerToAgentFlags::ReportFullState as u64 != 0 {
            self.full_states += 1;
            self.full_states_at.push(self.messages);
        }
        let new = message.agent_identification.as_ref();
        self.uids.extend(new.and_then(|new| <[u8; 16]>::try_from(&new.new_instance_uid[..]).ok()));
    }
}

impl Offer {
    fn new(offer: &AgentRemoteConfig) -> Self {
        let files = offer.config.as_ref().map(bodies).unwrap_or_default();
        Self { hash: offer.config_hash.clone(), files }
    }
}

fn bodies(files: &AgentConfigMap) -> BTreeMap<String, Bytes> {
    files.config_map.iter().map(|(name, file)| (name.clone(), file.body.clone())).collect()
}

#[cfg(test)]
mod tests;
