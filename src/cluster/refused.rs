//! Offers of tokens that Secrets ask for and that cannot be made: told on the Secret, for whoever annotated it.
//!
//! Every replica follows the Secrets, and a Secret has no status to remember in what was told. So an Event's name stands
//! for the value that it is about, and of several that are asked for the API server takes one.

use super::Announcer;
use crate::api::Reason;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::Resource;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// An annotation of a Secret that cannot be acted on. No `Debug`: its value may be a token.
#[derive(Clone, PartialEq)]
pub struct RefusedOffer {
    /// The Secret.
    secret: ObjectReference,
    /// The annotation's value. It is told nobody: it may be a token, put there by mistake.
    value: String,
    /// What is wrong with it.
    why: &'static str,
}

impl RefusedOffer {
    /// The value of a Secret's annotation cannot be acted on, because of this.
    pub fn new(secret: &Secret, value: &str, why: &'static str) -> Self {
        let reference = ObjectReference { resource_version: None, ..secret.object_ref(&()) };
        Self { secret: reference, value: value.to_owned(), why }
    }

    /// What is wrong, with the Secret's name.
    pub fn flaw(&self) -> String {
        let [namespace, name] =
            [&self.secret.namespace, &self.secret.name].map(|part| part.as_deref().unwrap_or_default());
        format!("Secret {namespace}/{name}: {}", self.why)
    }

    /// Which Secret has which value.
    fn of(&self) -> (Option<String>, String) {
        (self.secret.uid.clone(), self.value.clone())
    }
}

/// Tells of each value that is refused, once for as long as it stands.
pub async fn tell_refused_offers(announcer: &Announcer, mut refused: watch::Receiver<Vec<RefusedOffer>>) {
    let mut told = BTreeSet::new();
    while refused.changed().await.is_ok() {
        let refused = refused.borrow_and_update().clone();
        told.retain(|told| refused.iter().any(|offer| offer.of() == *told));
        for offer in &refused {
            if told.insert(offer.of()) {
                announcer.warn_once(&offer.secret, Reason::RequestRefused, offer.why, &offer.value).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{Request, Response, StatusCode};
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    /// An API server that has the Events that it was sent, each name once.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<Vec<Value>>>);

    impl Server {
        fn announcer(&self, identity: &str) -> Announcer {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    let sent = request.into_body().collect_bytes().await.expect("a body");
                    let event: Value = serde_json::from_slice(&sent).expect("an event");
                    let mut stored = server.0.lock().expect("whole");
                    let is_there = |other: &Value| other["metadata"]["name"] == event["metadata"]["name"];
                    if stored.iter().any(is_there) {
                        let status = json!({"status": "Failure", "reason": "AlreadyExists", "code": 409});
                        let mut response = Response::new(Body::from(status.to_string().into_bytes()));
                        *response.status_mut() = StatusCode::CONFLICT;
                        return Ok::<_, Infallible>(response);
                    }
                    stored.push(event);
                    Ok(Response::new(Body::from(sent.to_vec())))
                }
            });
            Announcer::new(Client::new(service, "ns"), identity)
        }
    }

    fn offer(uid: &str, value: &str) -> RefusedOffer {
        let manifest =
            json!({"metadata": {"namespace": "ns", "name": "edge", "uid": uid, "resourceVersion": value}});
        let secret = serde_json::from_value(manifest).expect("a secret");
        RefusedOffer::new(&secret, value, "it is none")
    }

    #[tokio::test]
    async fn each_value_is_told_once_by_however_many_replicas_and_never_quoted() {
        let server = Server::default();
        for replica in ["a", "b"] {
            let (sender, receiver) = watch::channel(Vec::new());
            let announcer = server.announcer(replica);
            let telling = tell_refused_offers(&announcer, receiver);
            let script = async {
                for values in [&["x"][..], &["x"], &["y"], &[], &["x"]] {
                    sender.send_replace(values.iter().map(|value| offer("0a", value)).collect());
                    tokio::task::yield_now().await;
                }
                sender.send_replace(vec![offer("0a", "x"), offer("0b", "x")]);
                drop(sender);
            };
            futures::join!(telling, script);
        }
        let events = server.0.lock().expect("whole");
        let of = |event: &Value| {
            assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("RequestRefused")));
            assert_eq!(
                (&event["regarding"]["kind"], &event["note"]),
                (&json!("Secret"), &json!("it is none"))
            );
            assert_eq!(event["reportingInstance"], "a", "the first to tell");
            event["regarding"]["uid"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(events.iter().map(of).collect::<Vec<_>>(), ["0a", "0a", "0b"], "x, y, and another Secret");
    }
}
