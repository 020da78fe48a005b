//! Events on objects, for people who read `kubectl describe`.

use crate::api::Reason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// Longest note of an Event, in bytes (Kubernetes: 1024).
const MAX_NOTE_BYTES: usize = 1024;

/// Publishes Events in this operator's name.
#[derive(Clone)]
pub struct Announcer {
    client: Client,
    reporter: Reporter,
}

impl Announcer {
    /// An announcer for the replica with this identity.
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: super::MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self { client, reporter }
    }

    /// Publishes one Event. It is told in the log if that fails: an Event is news, not state.
    pub async fn tell<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        warning: bool,
        reason: Reason,
        note: &str,
    ) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.as_str().to_owned(),
            note: Some(crate::fleet::clean(note, MAX_NOTE_BYTES)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let reference: ObjectReference = object.object_ref(&());
        // A recorder that is kept takes two Events of the same reason for one, and drops the second one's note.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &reference).await {
            tracing::warn!(reason = event.reason, %error, "cannot publish event");
        }
    }
}
