//! The resources on a real API server: what it accepts, what it refuses and with which words, what kubectl prints,
//! and that every manifest that we show is one.

#[path = "resources/columns.rs"]
mod columns;
#[path = "resources/documents.rs"]
mod documents;
#[path = "resources/refusals.rs"]
mod refusals;
mod support;

use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use opamp_operator::api::{CollectorGroup, ConfigRollout, GROUP, VERSION};
use serde_json::{Value, json};
use std::path::Path;
use support::control_plane::{self, ControlPlane};
use support::resources::{Space, collector, group, inline, rollout};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_refused_with_what_is_wrong_and_what_to_do() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "refused").await;
    let mut wrong = Vec::new();
    for (what, manifest, words) in refusals::all() {
        match would_create(&space, &manifest).await {
            Ok(_) => wrong.push(format!("{what}: accepted")),
            Err(said) if words.iter().all(|word| said.contains(word)) => {}
            Err(said) => wrong.push(format!("{what}: wanted {words:?}, got {said}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn good_manifests_are_accepted_and_filled_in() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "good").await;

    let mut empty = group("all", "any");
    empty["spec"] = json!({});
    let correction = json!({"maxAttempts": 5, "initialBackoff": "10s", "maxBackoff": "5m"});
    let filled = json!({
        "selector": {}, "priority": 0, "offlineAfter": "90s", "forgetAfter": "24h",
        "drift": {"mode": "Correct", "scanInterval": "5m", "correction": correction},
        "health": {"unhealthyAfter": "2m", "onUnhealthy": "Heal"},
    });
    assert_eq!(create(&space, &empty).await.expect("a group of everything")["spec"], filled);

    // Attribute keys are no label keys: any text is one, and so is any value.
    let selector = json!({
        "matchLabels": {"deployment.environment.name": "production", "a/b/c.d": "x y/z", "Ünï": "", "os.type": "linux"},
        "matchExpressions": [
            {"key": "k8s.io/a/b", "operator": "In", "values": ["", "two words"]},
            {"key": "host.name", "operator": "NotIn", "values": ["a"]},
            {"key": "service.name", "operator": "Exists"},
            {"key": "x", "operator": "DoesNotExist", "values": []},
        ],
    });
    let mut selecting = group("selecting", "any");
    let correction = json!({"maxAttempts": 100, "initialBackoff": "1s", "maxBackoff": "1h"});
    selecting["spec"] = json!({
        "selector": selector, "priority": -1000, "offlineAfter": "1m30s", "forgetAfter": "9999999h",
        "drift": {"mode": "Off", "scanInterval": "0s", "ignore": ["exporters::*::headers"], "correction": correction},
        "health": {"unhealthyAfter": "500ms", "onUnhealthy": "Report"},
    });
    assert_eq!(create(&space, &selecting).await.expect("a selector")["spec"], selecting["spec"]);

    // The empty name, the one that the OpenTelemetry Operator's bridge wants, and a source of each kind; applied
    // as well as created, because the name is the key by which files are merged.
    let files = json!([
        {"name": "", "inline": collector("one")},
        {"name": "observability/gateway", "contentType": "text/yaml", "inline": ""},
        {"name": "a", "configMapKeyRef": {"name": "exporters", "key": "exporters.yaml"}},
        {"name": "b", "inline": null, "secretKeyRef": {"name": "backend", "key": "collector.yaml"}},
    ]);
    let named = rollout(&"n".repeat(52), "all", files);
    let created = create(&space, &named).await.expect("a rollout");
    assert_eq!(created["spec"]["config"]["format"], "Collector");
    assert_eq!(created["spec"]["config"]["files"].as_array().map(Vec::len), Some(4));
    space.apply(named).await;

    let largest = "x".repeat(256 * 1024);
    create(&space, &rollout("largest", "all", inline(&largest))).await.expect("256 KiB in a file");
    let many: Vec<Value> =
        (0..32).map(|index| json!({"name": format!("{index}"), "inline": "a: 1"})).collect();
    create(&space, &rollout("many", "all", json!(many))).await.expect("32 files");

    // What is accepted can be read: an object that cannot is left alone, and its owner is not told.
    let all = ListParams::default();
    assert_eq!(space.api::<CollectorGroup>().list(&all).await.expect("groups").items.len(), 2);
    assert_eq!(space.api::<ConfigRollout>().list(&all).await.expect("rollouts").items.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_would_break_a_promise_are_refused() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "changes").await;
    space.apply(rollout("checkout", "edge", inline(&collector("one")))).await;
    space.apply(group("edge", "any")).await;
    space.apply(revision("checkout-1")).await;

    let said =
        change(&space, "ConfigRollout", "checkout", None, json!({"spec": {"groupName": "other"}})).await;
    assert_refused(said, &["spec.groupName", "groupName cannot be changed: create another rollout"]);
    let other = json!({"spec": {"config": {"files": inline(&collector("two"))}}});
    change(&space, "ConfigRollout", "checkout", None, other).await.expect("another content");

    for spec in [json!({"hash": "1".repeat(64)}), json!({"author": null}), json!({"files": []})] {
        let said = change(&space, "ConfigRevision", "checkout-1", None, json!({"spec": spec})).await;
        assert_refused(
            said,
            &["spec", "a ConfigRevision is immutable: change the ConfigRollout's spec.config"],
        );
    }
    let label = json!({"metadata": {"labels": {"fleet.opamp.dev/proven": "true"}}});
    change(&space, "ConfigRevision", "checkout-1", None, label).await.expect("a label");
    let proven = json!({"status": {"state": "Proven"}});
    change(&space, "ConfigRevision", "checkout-1", Some("status"), proven).await.expect("a status");

    for (kind, name) in [("ConfigRollout", "checkout"), ("CollectorGroup", "edge")] {
        let write =
            async |status: Value| change(&space, kind, name, Some("status"), json!({"status": status})).await;
        write(json!({"observedGeneration": 1})).await.expect("a status without a term");
        write(json!({"leaderTerm": 7})).await.expect("a first term");
        write(json!({"leaderTerm": 7, "observedGeneration": 2})).await.expect("the same term");
        write(json!({"leaderTerm": 8})).await.expect("the next term");
        for late in [json!({"leaderTerm": 7}), json!({"leaderTerm": null}), Value::Null] {
            let words = ["status.leaderTerm", "leaderTerm never falls", "a leader that has been replaced"];
            assert_refused(write(late.clone()).await, &words);
        }
        let spec = json!({"metadata": {"annotations": {"a": "b"}}});
        change(&space, kind, name, None, spec).await.expect("an annotation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_and_lists_every_kind() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "listed").await;
    let kubectl = |args: &[&str]| {
        let cache = format!("--cache-dir={}", plane.dir().join("kubectl").display());
        plane.kubectl(&[&[cache.as_str(), "-n", "listed"], args].concat()).expect("kubectl")
    };
    for (path, text) in [
        ("configrollout.spec.config.files", "The files of the OpAMP config map. A supervisor merges them"),
        ("configrollout.spec.config.files", "The key in the OpAMP config map, unique in the rollout."),
        ("cg", "A group of OpenTelemetry Collectors"),
        ("cro", "Brings a configuration to the agents"),
        ("crev.status.state", "ENUM: Candidate Proven"),
    ] {
        let explained = words(&kubectl(&["explain", path]));
        assert!(explained.contains(text), "{path}: {explained}");
    }

    space.apply(group("edge", "any")).await;
    space.apply(rollout("checkout", "edge", inline(&collector("one")))).await;
    space.apply(revision("checkout-1")).await;
    let crds = opamp_operator::api::crds();
    for (plural, short, designed) in columns::KINDS {
        let crd = crds.iter().find(|crd| crd.spec.names.plural == plural).expect(plural);
        let columns = columns::existing(crd, designed);
        for (wide, format) in [(false, ""), (true, "wide")] {
            let printed = columns.iter().filter(|column| wide || !column.wide).map(|column| column.name);
            let header = ["NAME"].into_iter().chain(printed).collect::<Vec<_>>().join(" ").to_uppercase();
            let listed = kubectl(&["get", short, "-o", format]);
            assert_eq!(words(listed.lines().next().unwrap_or_default()), header, "{listed}");
        }
    }
    for kinds in ["cg,cro,crev", "fleet", "collectorgroups,configrollouts,configrevisions"] {
        let listed = kubectl(&["get", kinds, "-o", "name"]);
        let mut names: Vec<&str> = listed.lines().collect();
        names.sort_unstable();
        let expected = [
            "collectorgroup.fleet.opamp.dev/edge",
            "configrevision.fleet.opamp.dev/checkout-1",
            "configrollout.fleet.opamp.dev/checkout",
        ];
        assert_eq!(names, expected, "{kinds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_yaml_in_docs_and_examples_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = documents::find(root);
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap_or_default();
    let blocks = found.manifests.len() + found.others;
    assert!(blocks > 0 || !readme.contains("```yaml"), "no YAML block was found, though README.md has some");

    let plane = control_plane::shared().await;
    let mut names: Vec<&str> =
        found.manifests.iter().flat_map(|shown| documents::namespaces(&shown.text)).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().filter(|name| !EXISTING.contains(name)) {
        space(&plane, name).await;
    }
    know_gateways(&plane);
    let mut wrong = Vec::new();
    for shown in &found.manifests {
        let file = plane.dir().join("shown.yaml");
        std::fs::write(&file, &shown.text).expect("written");
        if let Err(said) = dry_run(&plane, &file) {
            wrong.push(format!("{}: {said}", shown.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tells a control plane of the Gateway API's kinds, which docs/exposing.md shows.
fn know_gateways(plane: &ControlPlane) {
    let definitions = support::tool("gateway-api-crds.yaml");
    let definitions = definitions.to_str().expect("UTF-8");
    plane.kubectl(&["apply", "--server-side", "-f", definitions]).expect("applied");
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", definitions];
    plane.kubectl(&established).expect("established");
}

#[tokio::test(flavor = "multi_thread")]
async fn crds_can_be_applied_from_their_folder() {
    let plane = control_plane::shared().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let said = dry_run(&plane, &folder).expect("accepted");
    assert_eq!(said.lines().count(), opamp_operator::api::crds().len(), "{said}");
}

/// A namespace, with a client of this test's own: a client ends with the runtime that made it.
async fn space(plane: &ControlPlane, name: &str) -> Space {
    Space::create(control_plane::client(&plane.kubeconfig).await, name).await
}

/// Namespaces that every cluster has, and the one that comes with the policies' parameters.
const EXISTING: [&str; 5] = ["default", "kube-system", "kube-public", "kube-node-lease", "opamp-operator"];

/// Applies a file or a folder as people do, without keeping it; unknown fields are refused.
fn dry_run(plane: &ControlPlane, path: &Path) -> Result<String, String> {
    let path = path.to_str().expect("a path in UTF-8");
    plane.kubectl(&["apply", "--server-side", "--dry-run=server", "-f", path])
}

/// Creates an object, and returns what the API server made of it, or what it said.
async fn create(space: &Space, manifest: &Value) -> Result<Value, String> {
    post(space, manifest, &PostParams::default()).await
}

/// Asks only.
async fn would_create(space: &Space, manifest: &Value) -> Result<Value, String> {
    post(space, manifest, &PostParams { dry_run: true, ..PostParams::default() }).await
}

async fn post(space: &Space, manifest: &Value, params: &PostParams) -> Result<Value, String> {
    let kind = manifest["kind"].as_str().expect("a kind");
    let object: DynamicObject = serde_json::from_value(manifest.clone()).expect("an object");
    api(space, kind).create(params, &object).await.map(|object| object.data).map_err(said)
}

/// Changes an object or a subresource of it by a merge patch.
async fn change(
    space: &Space,
    kind: &str,
    name: &str,
    subresource: Option<&str>,
    patch: Value,
) -> Result<(), String> {
    let (api, patch, params) = (api(space, kind), Patch::Merge(patch), PatchParams::default());
    let changed = match subresource {
        Some(subresource) => api.patch_subresource(subresource, name, &params, &patch).await,
        None => api.patch(name, &params, &patch).await,
    };
    changed.map(drop).map_err(said)
}

/// What kubectl would print.
fn said(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        error => error.to_string(),
    }
}

fn api(space: &Space, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind));
    Api::namespaced_with(space.client.clone(), &space.name, &resource)
}

#[track_caller]
fn assert_refused(result: Result<(), String>, words: &[&str]) {
    let said = result.expect_err("this is refused");
    assert!(words.iter().all(|word| said.contains(word)), "wanted {words:?}, got {said}");
}

/// A revision as the operator writes them.
fn revision(name: &str) -> Value {
    json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "ConfigRevision", "metadata": {"name": name},
        "spec": {
            "rollout": "checkout", "number": 1, "hash": "0".repeat(64), "author": "alice (unverified)",
            "files": [{"name": "a", "size": 5, "source": "Inline", "body": "a: 1\n"}],
            "createdAt": "2026-01-01T00:00:00Z",
        },
    })
}

/// The words of a text, with one space between them: kubectl wraps and indents.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
