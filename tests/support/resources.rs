//! Writes and awaits this project's resources.

use super::control_plane::ControlPlane;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, Resource, ResourceExt};
use opamp_operator::api::{CollectorGroup, ConfigRollout, RolloutState};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// A namespace of a test's own.
pub struct Space {
    /// The client.
    pub client: Client,
    /// The namespace's name.
    pub name: String,
}

impl Space {
    /// Makes one.
    ///
    /// # Panics
    /// When the API server does not take it.
    pub async fn new(plane: &ControlPlane, name: &str) -> Self {
        Self::create(plane.client.clone(), name).await
    }

    /// Makes one with this client.
    ///
    /// # Panics
    /// When the API server does not take it.
    pub async fn create(client: Client, name: &str) -> Self {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
        namespaces.create(&PostParams::default(), &namespace).await.expect("created");
        Self { client, name: name.to_owned() }
    }

    /// The API of a kind in this namespace.
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Applies a manifest, as `kubectl apply --server-side` does.
    ///
    /// # Panics
    /// When the API server does not take it.
    pub async fn apply(&self, manifest: Value) {
        let shown = manifest.clone();
        self.try_apply(manifest).await.unwrap_or_else(|error| panic!("{error}: {shown}"));
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// With what the API server says.
    pub async fn try_apply(&self, manifest: Value) -> Result<(), kube::Error> {
        let object: kube::api::DynamicObject = serde_json::from_value(manifest).expect("an object");
        let types = object.types.clone().expect("a kind");
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let kind = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let resource = kube::core::ApiResource::from_gvk(&kind);
        let api: Api<kube::api::DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.name, &resource);
        let apply = PatchParams::apply("test-author").force();
        api.patch(&object.name_any(), &apply, &Patch::Apply(&object)).await.map(drop)
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When it is not there.
    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    /// Waits until an object is as wanted, and returns it.
    ///
    /// # Panics
    /// When that takes too long; with the object as it stands.
    pub async fn until<K>(&self, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let waiting = await_condition(self.api::<K>(), name, Wanted(wanted));
        let Ok(found) = tokio::time::timeout(super::PATIENCE, waiting).await else {
            panic!("waited for {name} to be {what}; it is {:?}", self.api::<K>().get_opt(name).await);
        };
        found.expect("watched").expect("the object is there")
    }

    /// Waits until a rollout has a state.
    pub async fn rollout_is(&self, name: &str, state: RolloutState) -> ConfigRollout {
        let in_state = |rollout: &ConfigRollout| {
            rollout.status.as_ref().is_some_and(|status| {
                status.state == state && status.observed_generation == rollout.metadata.generation
            })
        };
        self.until(name, &format!("{state:?}"), in_state).await
    }

    /// Waits until a group has so many connected agents.
    pub async fn group_has(&self, name: &str, connected: i64) -> CollectorGroup {
        let counted = |group: &CollectorGroup| {
            group.status.as_ref().is_some_and(|status| status.agents.connected == connected)
        };
        self.until(name, &format!("of {connected} connected agents"), counted).await
    }
}

struct Wanted<F>(F);

impl<K, F: Fn(&K) -> bool> Condition<K> for Wanted<F> {
    fn matches_object(&self, object: Option<&K>) -> bool {
        object.is_some_and(&self.0)
    }
}

/// The Events of an object, oldest first: reason and note.
///
/// # Panics
/// When the API server does not answer.
pub async fn events_of(space: &Space, object: &str) -> Vec<(String, String)> {
    let of = ListParams::default();
    let mut events = space.api::<Event>().list(&of).await.expect("events").items;
    events.retain(|event| event.regarding.as_ref().and_then(|of| of.name.as_deref()) == Some(object));
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    let text = |text: Option<String>| text.unwrap_or_default();
    events.into_iter().map(|event| (text(event.reason), text(event.note))).collect()
}

/// Waits until an object has so many Events of each reason: they follow what is written.
pub async fn until_events(
    space: &Space,
    object: &str,
    reasons: &[&str],
    times: usize,
) -> Vec<(String, String)> {
    super::eventually(format!("{times} Events of each of {reasons:?} on {object}"), async || {
        let events = events_of(space, object).await;
        let count = |reason: &&str| events.iter().filter(|(found, _)| found == reason).count();
        reasons.iter().all(|reason| count(reason) == times).then_some(events)
    })
    .await
}

/// A group of the agents whose attribute `test` has this value.
pub fn group(name: &str, test: &str) -> Value {
    json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "CollectorGroup", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"test": test}}},
    })
}

/// A rollout of files as a manifest has them, to everybody at once.
pub fn rollout(name: &str, group: &str, files: Value) -> Value {
    phased(name, group, files, json!([{"name": "full", "agents": "100%"}]))
}

/// A rollout of files as a manifest has them, in phases.
#[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
pub fn phased(name: &str, group: &str, files: Value, phases: Value) -> Value {
    json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "ConfigRollout", "metadata": {"name": name},
        "spec": {"groupName": group, "config": {"files": files}, "strategy": {"phases": phases}},
    })
}

/// One inline file.
pub fn inline(body: &str) -> Value {
    json!([{"name": "collector.yaml", "contentType": "text/yaml", "inline": body}])
}

/// A small configuration that every Collector of the tests runs; `mark` makes contents differ.
pub fn collector(mark: &str) -> String {
    format!(
        "receivers: {{nop: {{}}}}\nexporters: {{nop: {{}}}}\n\
         processors: {{attributes: {{actions: [{{key: mark, value: \"{mark}\", action: insert}}]}}}}\n\
         service: {{pipelines: {{traces: {{receivers: [nop], processors: [attributes], exporters: [nop]}}}}}}\n"
    )
}
