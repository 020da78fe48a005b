//! Writes down every state of the rollout and its group that it sees, straight from the API server.

use super::oracle::History;
use kube::api::Api;
use kube::{Client, ResourceExt};
use opamp_operator::api::{CollectorGroup, ConfigRollout};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(100);
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks until it is dropped.
pub struct Recorder {
    history: Arc<Mutex<History>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Begins.
    pub fn start(client: &Client, namespace: &str, rollout: &'static str, group: &'static str) -> Self {
        let history: Arc<Mutex<History>> = Arc::default();
        let rollouts: Api<ConfigRollout> = Api::namespaced(client.clone(), namespace);
        let groups: Api<CollectorGroup> = Api::namespaced(client.clone(), namespace);
        let kept = history.clone();
        let task = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            loop {
                ticks.tick().await;
                let both = async { tokio::join!(rollouts.get(rollout), groups.get(group)) };
                // While the API server is away there is nothing to see.
                let Ok((rollout, group)) = timeout(PATIENCE, both).await else { continue };
                let mut history = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if let Ok(rollout) = rollout {
                    note(&mut history.rollouts, rollout);
                }
                if let Ok(group) = group {
                    note(&mut history.groups, group);
                }
            }
        });
        Self { history, task }
    }

    /// Looks something up in what was seen.
    pub fn with<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note<K: ResourceExt>(states: &mut Vec<K>, state: K) {
    if states.last().is_none_or(|last| last.resource_version() != state.resource_version()) {
        states.push(state);
    }
}
