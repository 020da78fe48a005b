//! Writes down every state of the rollout and its group that it sees, straight from the API server, and when that did not
//! answer in time.

use super::calm::{Disturbance, stalls};
use super::oracle::History;
use jiff::Timestamp;
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
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    history: History,
    /// When it was answered.
    answers: Vec<Timestamp>,
}

impl Recorder {
    /// Begins.
    pub fn start(client: &Client, namespace: &str, rollout: &'static str, group: &'static str) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let rollouts: Api<ConfigRollout> = Api::namespaced(client.clone(), namespace);
        let groups: Api<CollectorGroup> = Api::namespaced(client.clone(), namespace);
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            loop {
                ticks.tick().await;
                let both = async { tokio::try_join!(rollouts.get_opt(rollout), groups.get_opt(group)) };
                // While the API server is away there is nothing to see.
                let Ok(Ok((rollout, group))) = timeout(PATIENCE, both).await else { continue };
                let Seen { history, answers } = &mut *kept.lock().unwrap_or_else(PoisonError::into_inner);
                answers.push(Timestamp::now());
                note(&mut history.rollouts, rollout);
                note(&mut history.groups, group);
            }
        });
        Self { seen, task }
    }

    /// Looks something up in what was seen.
    pub fn with<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner).history)
    }

    /// When the API server, or all of this machine, was too slow for the operator to keep its promises.
    pub fn slow(&self) -> Vec<Disturbance> {
        stalls(&self.seen.lock().unwrap_or_else(PoisonError::into_inner).answers, Timestamp::now())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note<K: ResourceExt>(states: &mut Vec<K>, state: Option<K>) {
    let Some(state) = state else { return };
    if states.last().is_none_or(|last| last.resource_version() != state.resource_version()) {
        states.push(state);
    }
}
