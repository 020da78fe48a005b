//! Events on objects, for people who read `kubectl describe`.

use crate::api::Reason;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as Stored;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use sha2::{Digest, Sha256};

/// Longest note of an Event, in bytes (Kubernetes: 1024).
const MAX_NOTE_BYTES: usize = 1024;
/// Longest part of an Event's name that is its object's: 17 characters follow, and 253 are the most.
const MAX_NAME_BYTES: usize = 200;

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

    /// Publishes a warning about `value` that several replicas find: its name stands for the value, so the API server
    /// takes it from the first, and once for as long as it keeps Events.
    pub async fn warn_once(&self, object: &ObjectReference, reason: Reason, note: &str, value: &str) {
        let event = Stored {
            metadata: ObjectMeta {
                name: Some(name_for(object, reason, value)),
                namespace: object.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(crate::fleet::clean(note, MAX_NOTE_BYTES)),
            reason: Some(reason.as_str().to_owned()),
            regarding: Some(object.clone()),
            reporting_controller: Some(self.reporter.controller.clone()),
            reporting_instance: self.reporter.instance.clone(),
            type_: Some("Warning".to_owned()),
            ..Stored::default()
        };
        let events: Api<Stored> =
            Api::namespaced(self.client.clone(), object.namespace.as_deref().unwrap_or_default());
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => tracing::warn!(reason = reason.as_str(), %error, "cannot publish event"),
        }
    }
}

/// The name of the Event about a value of an object. What is hashed tells nothing of the value.
fn name_for(object: &ObjectReference, reason: Reason, value: &str) -> String {
    let uid = object.uid.as_deref().unwrap_or_default();
    let digest = Sha256::digest(format!("{uid}/{}/{value}", reason.as_str()));
    let name = crate::fleet::clean(object.name.as_deref().unwrap_or_default(), MAX_NAME_BYTES);
    format!("{}.{}", name.trim_end_matches(['.', '-']), hex::encode(&digest[..8]))
}
