//! One simulated agent for a test, which writes down what it received.

use super::agent::Agent;
use super::endpoint::Endpoint;
use super::observer::{Event, Observer};
use super::runner::{Pace, run};
use crate::opamp::proto::{AgentRemoteConfig, RemoteConfigStatuses, ServerToAgentFlags};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
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
    /// Messages of the server.
    pub messages: usize,
    /// Configurations in the order in which they came.
    pub offers: Vec<Offer>,
    /// How often the full state was asked for.
    pub full_states: usize,
    /// The error responses' texts.
    pub errors: Vec<String>,
    /// The uids that the agent was given.
    pub uids: Vec<[u8; 16]>,
    /// What the agent says of its configuration: the hash, and what became of it.
    pub config: (Vec<u8>, RemoteConfigStatuses),
}

/// A simulated agent that runs. Dropping it ends it without a goodbye.
pub struct Simulated {
    journal: watch::Receiver<Journal>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Starts an agent that keeps a journal.
pub fn spawn(agent: Agent, endpoint: Endpoint, pace: Pace) -> Simulated {
    let (stop, stopped) = watch::channel(false);
    let (writer, journal) = watch::channel(Journal::default());
    let task = tokio::spawn(run(agent, Arc::new(endpoint), pace, Arc::new(Writer(writer)), stopped));
    Simulated { journal, stop, task }
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

struct Writer(watch::Sender<Journal>);

impl Observer for Writer {
    fn observe(&self, agent: &Agent, event: &Event<'_>) {
        self.0.send_modify(|journal| journal.write(agent, event));
    }
}

impl Journal {
    fn write(&mut self, agent: &Agent, event: &Event<'_>) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.connections += 1;
            }
            Event::Disconnected => self.connected = false,
            Event::Failed(_) => {}
            Event::Reported(_) => {
                let config = agent.config();
                self.config = (config.last_remote_config_hash.clone(), config.status());
            }
            Event::Received(message) => {
                self.messages += 1;
                self.offers.extend(message.remote_config.as_ref().map(Offer::new));
                self.errors.extend(message.error_response.as_ref().map(|error| error.error_message.clone()));
                self.full_states +=
                    usize::from(message.flags & ServerToAgentFlags::ReportFullState as u64 != 0);
                let new = message.agent_identification.as_ref();
                self.uids.extend(new.and_then(|new| <[u8; 16]>::try_from(&new.new_instance_uid[..]).ok()));
            }
        }
    }
}

impl Offer {
    fn new(offer: &AgentRemoteConfig) -> Self {
        let map = offer.config.iter().flat_map(|config| &config.config_map);
        let files = map.map(|(name, object)| (name.clone(), object.body.clone())).collect();
        Self { hash: offer.config_hash.clone(), files }
    }
}
