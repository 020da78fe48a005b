//! A version that does not exist yet: its schema, what it writes into objects, and a replica of it.

use super::support::control_plane::ControlPlane;
use super::support::eventually;
use super::support::resources::Space;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Resource, ResourceExt};
use opamp_operator::api::{self, AgentSlice, CollectorGroup, ConfigRevision, REPLICA_LABEL};
use opamp_operator::fleet::{Cohort, InstanceUid};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The field that the later version has in every object of a status and of a slice.
pub const FIELD: &str = "fromLater";
/// The value that it has in every enumeration of a status.
pub const VALUE: &str = "Later";

/// Replaces the definitions by those of the later version.
pub async fn apply_schema(plane: &ControlPlane) {
    let crds: Api<CustomResourceDefinition> = Api::all(plane.client.clone());
    for crd in api::crds() {
        let mut later = serde_json::to_value(&crd).expect("JSON");
        let number = (api::SCHEMA_VERSION + 1).to_string();
        later["metadata"]["annotations"][api::SCHEMA_ANNOTATION] = json!(number);
        let part = if crd.spec.names.plural == "agentslices" { "spec" } else { "status" };
        let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}");
        grow(later.pointer_mut(&path).expect("a schema"));
        let apply = PatchParams::apply("tests").force();
        crds.patch(&crd.name_any(), &apply, &Patch::Apply(&later)).await.expect("applied");
    }
}

fn grow(schema: &mut Value) {
    if let Some(values) = schema["enum"].as_array_mut() {
        values.push(json!(VALUE));
    }
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        fields.values_mut().for_each(grow);
        fields.insert(FIELD.to_owned(), json!({"type": "string"}));
    }
    if schema["items"].is_object() {
        grow(&mut schema["items"]);
    }
}

/// What the later version writes into each object of a value: its own field, with the object's place.
pub fn fill(path: &str, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter_mut().filter(|(key, _)| *key != "matchLabels" && *key != "c") {
                fill(&format!("{path}/{key}"), value);
            }
            members.insert(FIELD.to_owned(), json!(path));
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter_mut().enumerate() {
                fill(&format!("{path}/{index}"), entry);
            }
        }
        _ => {}
    }
}

/// An object as it stands.
pub async fn whole<K>(space: &Space, name: &str) -> Value
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    serde_json::to_value(api_of::<K>(space).get(name).await.expect("an object")).expect("JSON")
}

/// Makes an object as a version left it, with its status.
pub async fn leave<K>(space: &Space, object: &Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let name = object["metadata"]["name"].as_str().expect("a name");
    space.apply(object.clone()).await;
    if object["status"].is_object() {
        let patch = Patch::Merge(json!({"status": object["status"]}));
        let written = api_of::<K>(space).patch_status(name, &PatchParams::default(), &patch).await;
        written.unwrap_or_else(|error| panic!("{name}: {error}"));
        let stands = whole::<K>(space, name).await;
        assert_eq!(stands["status"], object["status"], "{name} stands as it was left");
    }
}

/// Lets the later version write part of an object, and waits until it stands there.
pub async fn write<K>(space: &Space, name: &str, part: &str, change: impl Fn(&mut Value))
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    eventually(format!("{name} to be written by the later version"), async || {
        let mut object = whole::<K>(space, name).await;
        change(&mut object[part]);
        let version = &object["metadata"]["resourceVersion"];
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, part: object[part]}));
        let (api, params) = (api_of::<K>(space), PatchParams::default());
        if part == "status" {
            api.patch_status(name, &params, &patch).await.ok().map(drop)
        } else {
            api.patch(name, &params, &patch).await.ok().map(drop)
        }
    })
    .await;
}

fn api_of<K>(space: &Space) -> Api<DynamicObject>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced_with(space.client.clone(), &space.name, &ApiResource::erase::<K>(&()))
}

/// A replica of the later version: it holds its Lease, and its agents do what their group's assignment says.
pub struct Replica {
    tasks: Vec<JoinHandle<()>>,
}

/// Bits that each of its agents has: connected, says that it is healthy, takes configurations, says what becomes of
/// them, and one that nobody knows yet.
const FLAGS: u32 = 31 | 1 << 20;

impl Replica {
    /// Starts one with so many agents in a group, which writes slices in this format.
    pub fn start(space: &Space, group: &str, agents: u8, format: u32) -> Self {
        let lease = tokio::spawn(hold_lease(space.api()));
        let serve = Serving {
            space: (space.client.clone(), space.name.clone()),
            group: group.to_owned(),
            agents,
            format,
        };
        Self { tasks: vec![lease, tokio::spawn(serve.run())] }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn hold_lease(leases: Api<Lease>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let now = jiff::Timestamp::now();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "opamp-operator-replica-later-1", "labels": {REPLICA_LABEL: "later-1"}},
            "spec": {"holderIdentity": "later-1", "leaseDurationSeconds": 15,
                "renewTime": format!("{now:.6}"), "acquireTime": "2026-01-01T00:00:00.000000Z"},
        });
        let apply = PatchParams::apply("later-1").force();
        // What fails once is done again at the next turn.
        drop(leases.patch("opamp-operator-replica-later-1", &apply, &Patch::Apply(&lease)).await);
    }
}

struct Serving {
    space: (kube::Client, String),
    group: String,
    agents: u8,
    format: u32,
}

impl Serving {
    async fn run(self) {
        let space = Space { client: self.space.0.clone(), name: self.space.1.clone() };
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let mut applied: BTreeMap<u8, (String, i64)> = BTreeMap::new();
        let mut written = Value::Null;
        loop {
            ticks.tick().await;
            if self.take(&space, &mut applied).await.is_none() {
                continue;
            }
            let spec = self.spec(&applied);
            if spec != written && put(&space, &spec).await {
                written = spec;
            }
        }
    }

    /// Each agent applies what it is assigned, at once.
    async fn take(&self, space: &Space, applied: &mut BTreeMap<u8, (String, i64)>) -> Option<()> {
        let group = space.api::<CollectorGroup>().get(&self.group).await.ok()?;
        let Some(assignment) = group.status.and_then(|status| status.assignment) else { return Some(()) };
        let cohort = Cohort::read(&assignment.seed, &assignment.terms);
        for number in 0..self.agents {
            let uid = InstanceUid::from_hex(&uid(number)).expect("a uid");
            let inside = cohort.as_ref().is_some_and(|cohort| cohort.contains(uid, |_| false));
            let side = if inside { &assignment.target } else { &assignment.stable };
            let Some(name) = side else { continue };
            let hash = space.api::<ConfigRevision>().get(name).await.ok()?.spec.hash;
            if applied.get(&number).is_none_or(|(known, _)| *known != hash) {
                applied.insert(number, (hash, jiff::Timestamp::now().as_second()));
            }
        }
        Some(())
    }

    fn spec(&self, applied: &BTreeMap<u8, (String, i64)>) -> Value {
        let mut hashes: Vec<&String> = applied.values().map(|(hash, _)| hash).collect();
        hashes.sort();
        hashes.dedup();
        let entry = |number: u8| {
            let mut entry = json!({"u": uid(number), "g": 0, "f": FLAGS, "t": 1_767_225_600, FIELD: "new"});
            if let Some((hash, at)) = applied.get(&number) {
                let index = hashes.iter().position(|known| *known == hash);
                entry["r"] = json!(index);
                entry["v"] =
                    json!([{"r": index, "c": 99, "t": at}, {"r": index, "c": 1, "t": at, FIELD: "new"}]);
            }
            // In another format the same keys may say something else.
            if self.format > api::SLICE_FORMAT_VERSION {
                entry["r"] = json!(77);
                entry["v"] = json!([{"r": 0, "c": 2, "t": 1}]);
            }
            entry
        };
        let entries: Vec<Value> = (0..self.agents).map(entry).collect();
        json!({
            "formatVersion": self.format, "replica": "later-1", "groups": [self.group],
            "revisions": hashes, "agents": entries, FIELD: "new",
        })
    }
}

/// The uid of one of the replica's agents.
fn uid(number: u8) -> String {
    format!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeee{number:02x}")
}

async fn put(space: &Space, spec: &Value) -> bool {
    let slice = json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "AgentSlice",
        "metadata": {"name": "later-1-0", "labels": {REPLICA_LABEL: "later-1"}}, "spec": spec,
    });
    let apply = PatchParams::apply("later-1").force();
    api_of::<AgentSlice>(space).patch("later-1-0", &apply, &Patch::Apply(&slice)).await.is_ok()
}
