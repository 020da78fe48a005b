//! What people may do with the roles of Kubernetes, to which the chart adds, and with those that it brings: real
//! requests of users in the namespaces of `examples/tenants`.

use super::rights::install;
use super::support::control_plane::ControlPlane;
use super::support::eventually;
use super::support::resources::{Space, group, inline, rollout};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

const FLEET: &str = "fleet.opamp.dev/v1alpha1";
const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// Those who have a role in a namespace, as the groups of their users end.
const PEOPLE: [&str; 5] = ["viewers", "developers", "leads", "approvers", "operators"];

/// What each of them may do in the own namespace. A deed on a kind is the same for all of it.
const MAY: &str = "\
deed                           viewers developers leads approvers operators
CollectorGroup read            yes     yes        yes   -         yes
CollectorGroup create          -       yes        yes   -         -
CollectorGroup change          -       yes        yes   -         yes
CollectorGroup write status    -       -          -     -         -
CollectorGroup delete          -       yes        yes   -         -
CollectorGroup delete all      -       yes        yes   -         -
CollectorGroup restart         -       -          yes   -         yes
ConfigRollout read             yes     yes        yes   yes       yes
ConfigRollout create           -       yes        yes   -         -
ConfigRollout change           -       yes        yes   yes       yes
ConfigRollout write status     -       -          -     -         -
ConfigRollout delete           -       yes        yes   -         -
ConfigRollout delete all       -       yes        yes   -         -
ConfigRollout promote          -       -          yes   yes       -
ConfigRollout abort            -       -          yes   -         yes
ConfigRollout retry            -       -          yes   -         yes
ConfigRollout undo             -       -          yes   -         yes
ConfigRevision read            yes     yes        yes   -         -
ConfigRevision create          -       -          -     -         -
ConfigRevision change          -       -          -     -         -
ConfigRevision write status    -       -          -     -         -
ConfigRevision delete          -       -          -     -         -
ConfigRevision delete all      -       -          -     -         -
AgentSlice read                yes     yes        yes   -         -
AgentSlice create              -       -          -     -         -
AgentSlice change              -       -          -     -         -
AgentSlice write status        -       -          -     -         -
AgentSlice delete              -       -          -     -         -
AgentSlice delete all          -       -          -     -         -
Secret read                    -       yes        yes   -         -
Secret create                  -       yes        yes   -         -
Role create                    -       -          yes   -         -
";

#[tokio::test(flavor = "multi_thread")]
async fn people_may_do_what_their_role_says_in_their_own_namespace_and_nothing_in_another() {
    let plane = ControlPlane::start_empty().await.with_controllers();
    install(&plane).await;
    let example = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tenants").join(file);
        std::fs::read_to_string(path).expect(file)
    };
    for manifest in objects(&example("tenants.yaml")) {
        whole(&plane, &manifest);
    }
    for team in ["team-a", "team-b"] {
        let space = Space { client: plane.client.clone(), name: team.to_owned() };
        for (role, people) in [
            ("view", "viewers"),
            ("opamp-operator-approvers", "approvers"),
            ("opamp-operator-operators", "operators"),
        ] {
            space.apply(binding(team, role, people)).await;
        }
        // What the operator would write.
        for manifest in [made("ConfigRevision", "one"), made("AgentSlice", "one")] {
            space.apply(manifest).await;
        }
        for people in PEOPLE {
            let verb = if people == "leads" { "operate" } else { "list" };
            has_rights(&plane, team, people, verb).await;
        }
        // Developers apply what the example shows, as its README says.
        let own = Space { client: someone(&plane, team, "developers").await, name: team.to_owned() };
        for manifest in objects(&example(&format!("{team}.yaml"))) {
            own.apply(manifest).await;
        }
    }

    let (mut may, mut elsewhere) = (Vec::new(), Vec::new());
    for people in PEOPLE {
        let client = someone(&plane, "team-a", people).await;
        may.push(deeds(&client, "team-a").await);
        elsewhere.push(deeds(&client, "team-b").await);
        for namespace in ["opamp-operator", "kube-system"] {
            assert!(!list(&client, "v1", "Secret", Some(namespace)).await, "{people} in {namespace}");
        }
        for kind in ["CollectorGroup", "ConfigRollout", "ConfigRevision", "AgentSlice"] {
            assert!(!list(&client, FLEET, kind, None).await, "{people} see each {kind} of the cluster");
        }
    }
    let shown = table(&may);
    assert_eq!(shown, MAY, "in the own namespace:\n{shown}");
    let shown = table(&elsewhere);
    assert!(!shown.contains("yes"), "in the other's namespace:\n{shown}");
}

/// A user of a team who has the role of these people, and no other.
async fn someone(plane: &ControlPlane, team: &str, people: &str) -> Client {
    let group = format!("{team}-{people}");
    plane.client_as(&format!("{team}-someone"), &[&group, "system:authenticated"]).await
}

/// Waits until people have what was added to their role.
async fn has_rights(plane: &ControlPlane, team: &str, people: &str, verb: &str) {
    let asked = json!({"spec": {"user": "someone", "groups": [format!("{team}-{people}")], "resourceAttributes": {
        "group": "fleet.opamp.dev", "resource": "configrollouts", "namespace": team, "verb": verb,
    }}});
    let review: SubjectAccessReview = serde_json::from_value(asked).expect("a review");
    let reviews: Api<SubjectAccessReview> = Api::all(plane.client.clone());
    eventually(format!("{team}-{people} to have rights"), async || {
        let answer = reviews.create(&PostParams::default(), &review).await.ok()?;
        answer.status?.allowed.then_some(())
    })
    .await;
}

/// What somebody may do in a namespace, deed by deed; nothing that is tried is kept.
async fn deeds(client: &Client, namespace: &str) -> Vec<(String, bool)> {
    let mut done = Vec::new();
    for kind in ["CollectorGroup", "ConfigRollout", "ConfigRevision", "AgentSlice"] {
        let api = api(client, FLEET, kind, Some(namespace));
        let name = if ["CollectorGroup", "ConfigRollout"].contains(&kind) { "collectors" } else { "one" };
        let mut note = |deed: &str, allowed| done.push((format!("{kind} {deed}"), allowed));
        note("read", read(&api, name).await);
        note("create", create(&api, &made(kind, "another")).await);
        note("change", patch(&api, name, None, change(kind)).await);
        note("write status", patch(&api, name, Some("status"), json!({"status": {"message": "x"}})).await);
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        note("delete", allowed(api.delete(name, &dry).await));
        note("delete all", allowed(api.delete_collection(&dry, &ListParams::default()).await));
        let requests = match kind {
            "CollectorGroup" => &["restart"][..],
            "ConfigRollout" => &["promote", "abort", "retry", "undo"],
            _ => &[],
        };
        for request in requests {
            let asked =
                json!({"metadata": {"annotations": {format!("fleet.opamp.dev/{request}"): "token-1"}}});
            note(request, patch(&api, name, None, asked).await);
        }
    }
    // Whoever makes such a Secret lets agents in, and whoever reads it has their token.
    done.push(("Secret read".to_owned(), list(client, "v1", "Secret", Some(namespace)).await));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "agents", "labels": {"fleet.opamp.dev/credential": "true"}},
        "type": "fleet.opamp.dev/agent-token",
    });
    let secrets = api(client, "v1", "Secret", Some(namespace));
    done.push(("Secret create".to_owned(), create(&secrets, &secret).await));
    // Nobody can give what he has not.
    let verbs = ["get", "patch", "approve", "operate"];
    let rules = json!([{"apiGroups": ["fleet.opamp.dev"], "resources": ["configrollouts"], "verbs": verbs}]);
    let role = json!({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "on-call"}, "rules": rules});
    let kind = api(client, RBAC, "Role", Some(namespace));
    done.push(("Role create".to_owned(), create(&kind, &role).await));
    done
}

fn table(people: &[Vec<(String, bool)>]) -> String {
    let mut text = format!("{:31}{}\n", "deed", PEOPLE.join(" "));
    for (row, (deed, _)) in people[0].iter().enumerate() {
        let mut line = format!("{deed:31}");
        for (column, deeds) in people.iter().enumerate() {
            let shown = if deeds[row].1 { "yes" } else { "-" };
            write!(line, "{shown:width$}", width = PEOPLE[column].len() + 1).expect("written");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn api(client: &Client, version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Whether the API server lets somebody do it. It asks that before it looks whether the object is there.
#[track_caller]
fn allowed<T>(result: Result<T, kube::Error>) -> bool {
    match result {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 403 => false,
        Err(error) => panic!("{error}"),
    }
}

/// Gets, lists and watches, or does none of it.
async fn read(api: &Api<DynamicObject>, name: &str) -> bool {
    let got = allowed(api.get(name).await);
    let listed = allowed(api.list(&ListParams::default()).await);
    let watched = allowed(api.watch(&WatchParams::default().timeout(1), "0").await);
    assert_eq!((got, got), (listed, watched), "{name}");
    got
}

async fn list(client: &Client, version: &str, kind: &str, namespace: Option<&str>) -> bool {
    allowed(api(client, version, kind, namespace).list(&ListParams::default()).await)
}

async fn create(api: &Api<DynamicObject>, manifest: &Value) -> bool {
    let object = serde_json::from_value(manifest.clone()).expect("an object");
    allowed(api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await)
}

async fn patch(api: &Api<DynamicObject>, name: &str, part: Option<&str>, change: Value) -> bool {
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let change = Patch::Merge(change);
    match part {
        None => allowed(api.patch(name, &params, &change).await),
        Some(part) => allowed(api.patch_subresource(part, name, &params, &change).await),
    }
}

/// Applies an object of any namespace, or of none, as the administrator.
fn whole(plane: &ControlPlane, manifest: &Value) {
    let file = plane.dir().join("object.json");
    std::fs::write(&file, manifest.to_string()).expect("written");
    let file = file.to_str().expect("a path in UTF-8");
    plane.kubectl(&["apply", "--server-side", "-f", file]).expect("applied");
}

fn objects(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|text| serde_saphyr::from_str(text).expect("YAML")).collect()
}

fn binding(team: &str, role: &str, people: &str) -> Value {
    let (api, group) = ("rbac.authorization.k8s.io", format!("{team}-{people}"));
    json!({
        "apiVersion": RBAC, "kind": "RoleBinding", "metadata": {"name": people},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": api, "kind": "Group", "name": group}],
    })
}

/// An object of a kind that the API server takes.
fn made(kind: &str, name: &str) -> Value {
    let spec = match kind {
        "CollectorGroup" => return group(name, "yes"),
        "ConfigRollout" => return rollout(name, "collectors", inline("a: 1")),
        "ConfigRevision" => json!({
            "rollout": "r", "number": 1, "hash": "0".repeat(64), "createdAt": "2026-01-01T00:00:00Z",
            "files": [{"name": "a", "size": 5, "source": "Inline", "body": "a: 1\n"}],
        }),
        _ => json!({"formatVersion": 1, "replica": "a"}),
    };
    json!({"apiVersion": FLEET, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A change of the spec, where it can be changed.
fn change(kind: &str) -> Value {
    match kind {
        "CollectorGroup" => json!({"spec": {"priority": 7}}),
        "ConfigRollout" => json!({"spec": {"paused": true}}),
        _ => json!({"metadata": {"labels": {"touched": "yes"}}}),
    }
}
