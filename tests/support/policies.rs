//! The operator's own account, and the admission policies of `policies/`.

use super::control_plane::{ControlPlane, kubectl};
use super::eventually;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use opamp_operator::cluster::{OWN_RIGHTS, RIGHTS, Right};
use serde_json::{Value, json};
use std::path::Path;

/// The user that operators run as; the policies' parameter names it.
pub const OPERATOR: &str = "system:serviceaccount:opamp-operator:opamp-operator";
/// A user who may write everything as far as RBAC goes, and whom the policies stop.
const PROBE: &str = "policy-probe";

/// Applies the operator's account with just the rights that it asks for at its start, and the policies.
///
/// # Panics
/// When the API server does not take them.
pub fn apply(kubeconfig: &Path, dir: &Path) {
    let file = dir.join("accounts.json");
    std::fs::write(&file, accounts().to_string()).expect("written");
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let args = ["apply", "--server-side", "-f", file.to_str().expect("a path in UTF-8"), "-f", policies];
    kubectl(kubeconfig, &args).unwrap_or_else(|error| panic!("{error}"));
}

fn accounts() -> Value {
    let rule = |right: &Right| json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": right.verbs});
    // Its own namespace is another one in each test.
    let operator: Vec<Value> = RIGHTS.iter().chain(OWN_RIGHTS).map(rule).collect();
    let kinds = ["configrollouts", "configrevisions", "agentslices"];
    let probe = json!([{"apiGroups": ["fleet.opamp.dev"], "resources": kinds, "verbs": ["create"]}]);
    let mut items = vec![json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "opamp-operator"},
    })];
    for (name, user, rules) in [("opamp-operator", OPERATOR, json!(operator)), (PROBE, PROBE, probe)] {
        let version = "rbac.authorization.k8s.io/v1";
        items.push(json!({
            "apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules,
        }));
        items.push(json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Waits until each policy acts: a policy is there a moment before it is asked.
///
/// # Panics
/// When that takes too long.
pub async fn are_in_force(plane: &ControlPlane) {
    let probe = plane.client_as(PROBE, &[]).await;
    let mut rollout = super::resources::rollout("probe", "probe", super::resources::inline("a: 1"));
    rollout["metadata"]["annotations"] = json!({"fleet.opamp.dev/changed-by": "nobody"});
    eventually("rollouts to be stamped", async || {
        let created = would_create(&plane.client, &rollout).await.ok()?;
        (created.metadata.annotations?["fleet.opamp.dev/changed-by"] != "nobody").then_some(())
    })
    .await;
    rollout["metadata"]["annotations"] = json!({"fleet.opamp.dev/promote": "x"});
    let slice = json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "AgentSlice", "metadata": {"name": "probe"},
        "spec": {"formatVersion": 1, "replica": "probe"},
    });
    for (object, words) in [(rollout, "ask for the verb approve"), (slice, "only the operator writes")] {
        eventually(format!("a policy to say {words:?}"), async || {
            would_create(&probe, &object).await.err().filter(|said| said.contains(words))
        })
        .await;
    }
}

async fn would_create(client: &Client, manifest: &Value) -> Result<DynamicObject, String> {
    let kind = manifest["kind"].as_str().expect("a kind");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("fleet.opamp.dev", "v1alpha1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let object = serde_json::from_value(manifest.clone()).expect("an object");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry_run, &object).await.map_err(|error| error.to_string())
}
