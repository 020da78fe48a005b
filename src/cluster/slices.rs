//! Writes this replica's slices: whole objects, only when they are due.

use crate::api::{AgentSlice, AgentSliceSpec, REPLICA_LABEL};
use crate::fleet::{SliceContent, SliceId};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::core::response::{Status, StatusDetails};
use kube::{Client, ResourceExt};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How long a write may take: as long as an admission webhook by default. Others of its namespace wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The resource version of the slice that was written last. A handle.
#[derive(Clone, Default)]
pub struct LastWrite(Arc<AtomicU64>);

impl LastWrite {
    /// The version; zero if nothing was written.
    pub fn version(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn note(&self, version: &str) {
        self.0.fetch_max(version.parse().unwrap_or_default(), Ordering::SeqCst);
    }
}

/// The one writer of this replica's slices.
pub struct SliceWriter {
    client: Client,
    replica: String,
    /// Which version of each slice this replica wrote or found last.
    versions: Mutex<HashMap<SliceId, String>>,
    last: LastWrite,
}

impl SliceWriter {
    /// A writer for the replica with this identity.
    pub fn new(client: Client, replica: &str) -> Self {
        Self { client, replica: replica.to_owned(), versions: Mutex::default(), last: LastWrite::default() }
    }

    /// What was written last, also by an earlier run of this replica that left it.
    pub fn last_write(&self) -> LastWrite {
        self.last.clone()
    }

    /// The slices that an earlier run of this replica left.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn read_own(&self) -> kube::Result<Vec<(SliceId, AgentSliceSpec)>> {
        let all: Api<AgentSlice> = Api::all(self.client.clone());
        let mine = ListParams::default().labels(&format!("{REPLICA_LABEL}={}", self.replica));
        let mut found = Vec::new();
        for slice in all.list(&mine).await?.items {
            let number =
                slice.name_any().strip_prefix(&format!("{}-", self.replica)).and_then(|n| n.parse().ok());
            let (Some(number), Some(namespace)) = (number, slice.namespace()) else { continue };
            let id = SliceId { namespace: namespace.into(), number };
            self.note(&id, slice.resource_version());
            found.push((id, slice.spec));
        }
        Ok(found)
    }

    /// Writes or deletes one slice. Where its namespace is gone there is nobody to be told. Writes of several slices may go
    /// on at the same time, but not several of one slice.
    ///
    /// # Errors
    /// When the API server does not take it, or not within ten seconds; the slice is still due then.
    pub async fn write(&self, content: &SliceContent) -> kube::Result<()> {
        let late = |_| Err(kube::Error::Service("no answer in time".into()));
        timeout(PATIENCE, self.try_to_write(content)).await.unwrap_or_else(late)
    }

    async fn try_to_write(&self, content: &SliceContent) -> kube::Result<()> {
        let api: Api<AgentSlice> = Api::namespaced(self.client.clone(), &content.id.namespace);
        let name = format!("{}-{}", self.replica, content.id.number);
        // Forgotten until the write is known to have worked: whatever stands there is found out with the next one.
        let known = self.versions().remove(&content.id);
        let Some(spec) = &content.spec else { return delete(&api, &name).await };
        match self.put(&api, &name, known, spec).await {
            Err(kube::Error::Api(status)) if is_of_no_namespace(&status) => Ok(()),
            written => written.map(|version| self.note(&content.id, version)),
        }
    }

    /// A slice stands in this version.
    fn note(&self, id: &SliceId, version: Option<String>) {
        if let Some(version) = version {
            self.last.note(&version);
            self.versions().insert(id.clone(), version);
        }
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<SliceId, String>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put(
        &self,
        api: &Api<AgentSlice>,
        name: &str,
        known: Option<String>,
        spec: &AgentSliceSpec,
    ) -> kube::Result<Option<String>> {
        let version = match known {
            Some(version) => Some(version),
            None => api.get_metadata_opt(name).await?.and_then(|found| found.resource_version()),
        };
        let slice = self.slice(name, version.clone(), spec);
        let written = if version.is_some() {
            api.replace(name, &PostParams::default(), &slice).await?
        } else {
            api.create(&PostParams::default(), &slice).await?
        };
        Ok(written.resource_version())
    }

    fn slice(&self, name: &str, resource_version: Option<String>, spec: &AgentSliceSpec) -> AgentSlice {
        let labels = [(REPLICA_LABEL.to_owned(), self.replica.clone())].into();
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            resource_version,
            ..Default::default()
        };
        AgentSlice { metadata, spec: spec.clone() }
    }
}

/// Deletes a slice of a dead replica, unless it has changed since it was read; true if it is gone.
///
/// # Errors
/// When the API server does not take it for another reason.
pub async fn delete_slice(client: &Client, slice: &AgentSlice) -> kube::Result<bool> {
    let api: Api<AgentSlice> = Api::namespaced(client.clone(), &slice.namespace().unwrap_or_default());
    super::exceptions::delete(&api, slice).await
}

/// Whether a write was refused because its namespace does not exist.
fn is_of_no_namespace(status: &Status) -> bool {
    let is_namespace = |details: &StatusDetails| details.kind == "namespaces";
    status.code == 404 && status.details.as_ref().is_some_and(is_namespace)
}

async fn delete(api: &Api<AgentSlice>, name: &str) -> kube::Result<()> {
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{Method, Request, Response};
    use kube::client::Body;
    use std::convert::Infallible;

    /// A writer whose API server has no slices, and answers writes with a refusal because of this kind of object.
    fn refused(kind: &'static str) -> SliceWriter {
        let service = tower::service_fn(move |request: Request<Body>| async move {
            let kind = if request.method() == Method::GET { "agentslices" } else { kind };
            let status = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                "details": {"name": "x", "kind": kind},
            });
            let mut response = Response::new(Body::from(status.to_string().into_bytes()));
            *response.status_mut() = hyper::StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(response)
        });
        SliceWriter::new(Client::new(service, "ns"), "replica")
    }

    #[tokio::test(start_paused = true)]
    async fn write_without_an_answer_is_given_up_and_the_next_one_is_tried() {
        let mut asked = 0;
        let service = tower::service_fn(move |_: Request<Body>| {
            asked += 1;
            let answered = asked > 1;
            async move {
                if !answered {
                    std::future::pending::<()>().await;
                }
                let done = br#"{"kind": "Status", "apiVersion": "v1", "status": "Success"}"#;
                Ok::<_, Infallible>(Response::new(Body::from(done.to_vec())))
            }
        });
        let writer = SliceWriter::new(Client::new(service, "ns"), "replica");
        let gone = SliceContent { id: SliceId { namespace: "ns".into(), number: 0 }, spec: None };
        let start = tokio::time::Instant::now();
        let error = writer.write(&gone).await.expect_err("no answer").to_string();
        assert_eq!((start.elapsed(), &*error), (PATIENCE, "ServiceError: no answer in time"));
        assert!(writer.write(&gone).await.is_ok());
    }

    /// Its agents stay known for a day, and would keep their replica behind for so long.
    #[tokio::test]
    async fn slice_of_a_namespace_that_is_gone_counts_as_written() {
        let content = SliceContent {
            id: SliceId { namespace: "gone".into(), number: 0 },
            spec: Some(AgentSliceSpec::default()),
        };
        assert!(refused("namespaces").write(&content).await.is_ok());
        assert!(refused("agentslices").write(&content).await.is_err(), "the CRD is gone");
    }
}
