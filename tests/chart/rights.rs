//! The operator under the chart's account, and the API server's own record of what it asked for: nothing that it
//! may not, and each right that it has.

use super::helm::{NAMESPACE, manifests, template};
use super::replica::{agent, alone, run};
use super::support::control_plane::{self, AUDIT_LOG, ControlPlane};
use super::support::eventually;
use super::support::operator::Operator;
use super::support::resources::{Space, collector, group, inline, rollout, until_events};
use super::support::switch::Switch;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use opamp_operator::api::{
    AgentSlice, CONTENT_LABEL, CollectorGroup, ConfigRevision, EXCEPTIONS, REPLICA_LABEL, RolloutState,
};
use opamp_operator::cluster::{AUDIENCE, OWN_RIGHTS, RIGHTS};
use opamp_operator::sim::{Behaviour, Simulated};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const ACCOUNT: &str = "system:serviceaccount:opamp-operator:opamp-operator";
const TOKEN: &str = "plant-0123456789abcdef0123456789abcdef";
/// Everything that a request can be recorded with, but no bodies.
const RECORD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
                      rules: [{level: Metadata, userGroups: ['system:serviceaccounts:opamp-operator']}]\n";
/// What every user may ask of themselves, and the program asks at its start.
const OF_EVERYBODY: &str = "create selfsubjectaccessreviews";

#[tokio::test(flavor = "multi_thread")]
async fn operator_works_under_exactly_the_rights_of_the_chart() {
    let plane = ControlPlane::start_recorded(RECORD).await;
    let one = install(&plane).await;
    let edge = Space::new(&plane, "edge").await;
    let mut first = run(&plane, &one, "opamp-operator-1").await;
    first.until_metrics(&["opamp_operator_leading 1"]).await;

    let switch = Switch::start(&first.opamp).await;
    let mut agents = let_in(&plane, &edge, &switch).await;
    contents_reach_agents_and_old_ones_are_deleted(&edge).await;
    agents.extend(agents_of_another_group_are_adopted(&edge, &switch).await);

    // The leader dies; another one takes over, takes its agents, and clears up after it.
    let two = manifests(&rendered(2));
    let second = run(&plane, &two, "opamp-operator-2").await;
    switch.turn(None);
    first.kill();
    second.until_metrics(&["opamp_operator_leading 1"]).await;
    switch.turn(Some(&second.opamp));
    let all = i64::try_from(agents.len()).expect("few");
    edge.group_has("taker", all).await;
    eventually("the dead replica's slices to be gone", async || {
        slices(&edge, REPLICA_LABEL, "opamp-operator-1").await.is_empty().then_some(())
    })
    .await;
    let leases: Api<Lease> = Api::namespaced(plane.client.clone(), NAMESPACE);
    eventually("its Lease to be gone", async || {
        leases
            .get_opt("opamp-operator-replica-opamp-operator-1")
            .await
            .expect("an answer")
            .is_none()
            .then_some(())
    })
    .await;
    let failed = |operator: &Operator| operator.log().to_lowercase().contains("forbidden");
    assert!(!failed(&first) && !failed(&second), "{}{}", first.log(), second.log());
    drop(agents);
    drop((first, second));

    let asked = Asked::read(&plane.dir().join(AUDIT_LOG));
    assert_eq!(asked.refused, BTreeSet::new(), "the API server refused these");
    let granted: BTreeSet<String> = RIGHTS
        .iter()
        .chain(OWN_RIGHTS)
        .flat_map(|right| right.verbs.iter().map(|verb| format!("{verb} {}", right.resource)))
        .collect();
    let unused: Vec<&String> = granted.difference(&asked.allowed).collect();
    assert_eq!(unused, Vec::<&String>::new(), "the chart grants these, and nobody has asked for them");
    let more: Vec<&String> =
        asked.allowed.difference(&granted).filter(|right| *right != OF_EVERYBODY).collect();
    assert_eq!(more, Vec::<&String>::new(), "other roles grant these as well");
}

fn rendered(host: u8) -> String {
    let values = alone(host);
    template(&values.iter().map(String::as_str).collect::<Vec<_>>()).expect("rendered")
}

/// Applies what the chart renders, and waits until the definitions are served; the manifests.
pub async fn install(plane: &ControlPlane) -> Vec<Value> {
    let text = rendered(1);
    let file = plane.dir().join("rendered.yaml");
    std::fs::write(&file, &text).expect("written");
    let file = file.to_str().expect("a path in UTF-8");
    plane.kubectl(&["create", "namespace", NAMESPACE]).expect("created");
    plane.kubectl(&["apply", "--server-side", "-f", file]).expect("applied");
    served(plane).await;
    manifests(&text)
}

/// Waits until the definitions are served, and rollouts are stamped with who made them.
pub async fn served(plane: &ControlPlane) {
    control_plane::crds_are_served(&plane.client).await;
    let probe = rollout("probe", "probe", inline("a: 1")).to_string();
    let file = plane.dir().join("probe.json");
    std::fs::write(&file, probe).expect("written");
    let file = file.to_str().expect("a path in UTF-8");
    eventually("a rollout to be stamped", async || {
        // For a moment after the definitions are there, the stamps wait for the schema.
        let made = plane.kubectl(&["create", "--dry-run=server", "-o", "yaml", "-f", file]).ok()?;
        made.contains("fleet.opamp.dev/changed-by: admin").then_some(())
    })
    .await;
}

async fn slices(space: &Space, label: &str, value: &str) -> Vec<AgentSlice> {
    let those = ListParams::default().labels(&format!("{label}={value}"));
    space.api::<AgentSlice>().list(&those).await.expect("slices").items
}

/// Three agents with the token of a Secret, of which one goes back from every new configuration, and one with that of
/// a service account.
async fn let_in(plane: &ControlPlane, edge: &Space, switch: &Switch) -> Vec<Simulated> {
    edge.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "plant", "labels": {"fleet.opamp.dev/credential": "true"}},
        "type": "fleet.opamp.dev/agent-token", "stringData": {"a": TOKEN},
    }))
    .await;
    plane.kubectl(&["-n", "edge", "create", "serviceaccount", "agent"]).expect("created");
    let audience = format!("--audience={AUDIENCE}");
    let token = plane.kubectl(&["-n", "edge", "create", "token", "agent", &audience]).expect("a token");
    let (here, good) = (switch.websocket(), Behaviour::Apply);
    let agents = vec![
        agent(&here, 1, "yes", TOKEN, &good),
        agent(&here, 2, "yes", TOKEN, &good),
        agent(&here, 3, "yes", TOKEN, &Behaviour::Rollback),
        agent(&here, 4, "yes", token.trim(), &good),
    ];
    edge.apply(group("giver", "yes")).await;
    edge.group_has("giver", 4).await;
    agents
}

/// Files of every kind, more revisions than are kept, and an agent that refuses them.
async fn contents_reach_agents_and_old_ones_are_deleted(edge: &Space) {
    let file = |name: &str, kind: &str| json!({"name": name, kind: {"name": "parts", "key": "a.yaml"}});
    edge.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "parts"},
        "data": {"a.yaml": "exporters: {nop/one: {}}"},
    }))
    .await;
    edge.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "parts", "labels": {"fleet.opamp.dev/deliver": "true"}},
        "stringData": {"a.yaml": "exporters: {nop/two: {}}"},
    }))
    .await;
    for mark in ["one", "two", "three", "four"] {
        let mut files = inline(&collector(mark));
        let files = files.as_array_mut().expect("files");
        files.extend([file("map", "configMapKeyRef"), file("secret", "secretKeyRef")]);
        let mut wanted = rollout("giver", "giver", json!(files));
        wanted["spec"]["strategy"]["failureThreshold"] = json!("50%");
        wanted["spec"]["revisionHistoryLimit"] = json!(1);
        edge.apply(wanted).await;
        edge.rollout_is("giver", RolloutState::Completed).await;
    }
    let revisions = edge.api::<ConfigRevision>();
    // By the chart's policy, which the operator has looked up.
    let author = revisions.get("giver-4").await.expect("a revision").spec.author;
    assert_eq!(author.as_deref(), Some("admin"));
    eventually("an old revision to be deleted", async || {
        revisions.get_opt("giver-2").await.expect("an answer").is_none().then_some(())
    })
    .await;
    eventually("all replicas to be told of the refusals", async || {
        let told = slices(edge, CONTENT_LABEL, EXCEPTIONS).await;
        told.iter().flat_map(|slice| &slice.spec.agents).any(|entry| !entry.verdicts.is_empty()).then_some(())
    })
    .await;
    until_events(edge, "giver", &["Completed"], 4).await;
}

/// A group with a stable revision takes the agents of the first one.
async fn agents_of_another_group_are_adopted(edge: &Space, switch: &Switch) -> Vec<Simulated> {
    let native = agent(&switch.websocket(), 5, "other", TOKEN, &Behaviour::Apply);
    let mut taker = group("taker", "other");
    taker["spec"]["priority"] = json!(10);
    edge.apply(taker.clone()).await;
    edge.apply(rollout("taker", "taker", inline(&collector("taker")))).await;
    edge.rollout_is("taker", RolloutState::Completed).await;
    taker["spec"]["selector"] =
        json!({"matchExpressions": [{"key": "test", "operator": "In", "values": ["yes", "other"]}]});
    edge.apply(taker).await;
    let adopting = |group: &CollectorGroup| {
        let conditions = group.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.type_ == "Ready" && c.reason == "Adopting")
    };
    edge.until("taker", "adopting", adopting).await;
    vec![native]
}

/// What the operator's account asked the API server for, as `VERB RESOURCE`.
struct Asked {
    allowed: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Asked {
    fn read(log: &Path) -> Self {
        let text = std::fs::read_to_string(log).expect("the API server's record");
        let mut asked = Self { allowed: BTreeSet::new(), refused: BTreeSet::new() };
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let object = &event["objectRef"];
            let Some(resource) = object["resource"].as_str() else { continue };
            assert_eq!(event["user"]["username"], ACCOUNT, "{event}");
            let subresource =
                object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
            let right = format!("{} {resource}{subresource}", event["verb"].as_str().expect("a verb"));
            let allowed = event["annotations"]["authorization.k8s.io/decision"] == "allow";
            if allowed {
                asked.allowed.insert(right)
            } else {
                asked.refused.insert(right)
            };
        }
        asked
    }
}
