//! Writes down every state of the rollout and its group that it sees, straight from the API server, and when that did not
//! answer in time.

use super::calm::Disturbance;
use super::oracle::History;
use jiff::{SignedDuration, Timestamp};
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
/// How far apart two answers may be. Where it takes longer, the machine does not keep up with what runs on it: a replica
/// that waits so long too for each of its writes loses its Lease, which is renewed every second.
const APART: SignedDuration = SignedDuration::from_millis(500);

/// Looks until it is dropped.
pub struct Recorder {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    history: History,
    slow: Vec<Disturbance>,
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
            let mut from = Timestamp::now();
            loop {
                ticks.tick().await;
                let both = async { tokio::join!(rollouts.get(rollout), groups.get(group)) };
                // While the API server is away there is nothing to see.
                let Ok((rollout, group)) = timeout(PATIENCE, both).await else { continue };
                let until = Timestamp::now();
                let Seen { history, slow } = &mut *kept.lock().unwrap_or_else(PoisonError::into_inner);
                if until.duration_since(from) > APART {
                    slow.push(Disturbance { from, until });
                }
                from = until;
                if let Ok(rollout) = rollout {
                    note(&mut history.rollouts, rollout);
                }
                if let Ok(group) = group {
                    note(&mut history.groups, group);
                }
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
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).slow.clone()
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
