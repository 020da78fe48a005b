//! A release on the real API server: what an upgrade changes and keeps, and what an uninstall leaves. There are no
//! nodes, so a replica of the test's own runs as the Deployment says.

use super::helm::{NAMESPACE, chart, container, helm, manifests, texts};
use super::replica::{agent, alone, run};
use super::rights::served;
use super::support::control_plane::ControlPlane;
use super::support::eventually;
use super::support::operator::Operator;
use super::support::resources::{Space, collector, group, inline, rollout};
use super::support::within;
use opamp_operator::api::RolloutState;
use opamp_operator::sim::Behaviour;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const TOKEN: &str = "plant-0123456789abcdef0123456789abcdef";
const CHART: &str = concat!("opamp-operator-", env!("CARGO_PKG_VERSION"));
const SCHEMA: &str = "fleet.opamp.dev/schema: ";
/// What people and the operator made, and what of the chart is kept: kind, namespace and name.
const KEPT: [(&str, &str, &str); 7] = [
    ("crd", "", "collectorgroups.fleet.opamp.dev"),
    ("crd", "", "configrollouts.fleet.opamp.dev"),
    ("crd", "", "configrevisions.fleet.opamp.dev"),
    ("crd", "", "agentslices.fleet.opamp.dev"),
    ("secret", NAMESPACE, "opamp-operator-hash-key"),
    ("configrollout", "edge", "r"),
    ("configrevision", "edge", "r-1"),
];

/// What goes with the release.
const GONE: [(&str, &str); 8] = [
    ("deployment", "opamp-operator"),
    ("service", "opamp-operator"),
    ("serviceaccount", "opamp-operator"),
    ("clusterrole", "opamp-operator"),
    ("clusterrolebinding", "opamp-operator"),
    ("validatingadmissionpolicybinding", "writers.fleet.opamp.dev"),
    ("mutatingadmissionpolicy", "stamps.fleet.opamp.dev"),
    ("configmap", "opamp-operator-writers"),
];

struct Release<'a> {
    plane: &'a ControlPlane,
    values: Vec<String>,
}

impl Release<'_> {
    fn helm(&self, args: &[&str]) -> Result<String, String> {
        let kubeconfig = self.plane.kubeconfig.to_str().expect("a path in UTF-8");
        helm(&[args, &["--namespace", NAMESPACE, "--kubeconfig", kubeconfig]].concat())
    }

    /// Installs or upgrades the chart in this folder with the release's values and these.
    fn apply(&self, verb: &str, chart: &Path, more: &[&str]) -> Vec<Value> {
        let chart = chart.to_str().expect("a path in UTF-8");
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        let args = [&[verb, "opamp-operator", chart, "--create-namespace"][..], &values, more].concat();
        self.helm(&args).unwrap_or_else(|said| panic!("{verb} {more:?}: {said}"));
        manifests(&self.helm(&["get", "manifest", "opamp-operator"]).expect("a manifest"))
    }

    fn get(&self, (kind, namespace, name): (&str, &str, &str)) -> Option<Value> {
        let args = ["get", kind, name, "--ignore-not-found", "-o", "json"];
        let found =
            self.plane.kubectl(&[&["--namespace", namespace][..], &args].concat()).expect("an answer");
        (!found.trim().is_empty()).then(|| serde_json::from_str(&found).expect("JSON"))
    }

    /// The objects that are to be kept, by which they can be told from others of the same name.
    fn kept(&self) -> Vec<(String, Value, Value)> {
        let of = |kept: &(&str, &str, &str)| {
            let found = self.get(*kept).unwrap_or_else(|| panic!("{kept:?} is gone"));
            let uid = found["metadata"]["uid"].as_str().expect("a uid").to_owned();
            // A rollout's status goes on; what people wrote does not.
            let content = if kept.0 == "crd" { Value::Null } else { found["spec"].clone() };
            (uid, content, found["data"].clone())
        };
        KEPT.iter().map(of).collect()
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.get((kind, NAMESPACE, name)).is_some()
    }
}

/// The chart as a later version would be: another version of itself, and of the definitions.
fn later(folder: &Path) {
    copy(&chart(), folder);
    let change = |file: &str, change: &dyn Fn(&str) -> String| {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).expect(file);
        let changed = change(&text);
        assert_ne!(text, changed, "{file}");
        fs::write(&path, changed).expect("written");
    };
    let version = format!("version: {}\n", env!("CARGO_PKG_VERSION"));
    change("Chart.yaml", &|text| text.replace(&version, "version: 99.0.0\n"));
    for name in fs::read_dir(folder.join("files/crds")).expect("a folder") {
        let file = format!("files/crds/{}", name.expect("a file").file_name().to_string_lossy());
        change(&file, &|text| text.replace(SCHEMA, &format!("example.org/later: \"yes\"\n    {SCHEMA}")));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let there = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &there);
        } else {
            fs::copy(&path, &there).expect("copied");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_and_rollback_keep_everything_and_an_uninstall_keeps_what_people_made() {
    let plane = ControlPlane::start_empty().await;
    let release = Release { plane: &plane, values: alone(5) };
    let installed = release.apply("install", &chart(), &[]);
    served(&plane).await;
    let edge = Space::new(&plane, "edge").await;
    let mut operator = run(&plane, &installed, "opamp-operator-a").await;
    edge.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "plant", "labels": {"fleet.opamp.dev/credential": "true"}},
        "type": "fleet.opamp.dev/agent-token", "stringData": {"a": TOKEN},
    }))
    .await;
    let mut agent = agent(&operator.websocket(), 1, "yes", TOKEN, &Behaviour::Apply);
    edge.apply(group("g", "yes")).await;
    edge.group_has("g", 1).await;
    edge.apply(rollout("r", "g", inline(&collector("one")))).await;
    edge.rollout_is("r", RolloutState::Completed).await;
    let before = release.kept();
    for (kind, name) in GONE {
        assert!(release.has(kind, name), "{kind} {name} is missing");
    }
    let revision = |operator: &Operator| operator.log().matches("revision created").count();
    assert_eq!(revision(&operator), 1);

    // Another version, other values.
    let folder = plane.dir().join("later");
    later(&folder);
    let values = ["--set", "replicas=3", "--set", "limits.maxAgents=77", "--set", "policies.writers={me}"];
    let upgraded = release.apply("upgrade", &folder, &values);
    assert!(release.kept() == before, "something was made anew");
    let deployment = release.get(("deployment", NAMESPACE, "opamp-operator")).expect("a deployment");
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(deployment["metadata"]["labels"]["helm.sh/chart"], "opamp-operator-99.0.0");
    let pod = &deployment["spec"]["template"];
    assert!(texts(&pod["spec"]["containers"][0]["args"]).contains(&"--max-agents=77"), "{pod}");
    assert_eq!(texts(&pod["spec"]["containers"][0]["args"]), texts(&container(&upgraded)["args"]));
    for (kind, _, name) in KEPT.into_iter().filter(|kept| kept.0 == "crd") {
        let definition = release.get((kind, "", name)).expect("a definition");
        assert_eq!(definition["metadata"]["annotations"]["example.org/later"], "yes", "{name} is upgraded");
    }
    operator.end();
    operator = run(&plane, &upgraded, "opamp-operator-b").await;
    edge.group_has("g", 1).await;
    let heard = agent.journal().messages;
    let journal = within("answers", agent.until(|journal| journal.messages > heard + 10)).await;
    assert_eq!(journal.offers.len(), 1, "nothing is offered twice");
    edge.rollout_is("r", RolloutState::Completed).await;
    assert_eq!(revision(&operator), 0);

    // Definitions that are left to others stay, and can be taken back.
    release.apply("upgrade", &folder, &["--set", "crds.install=false"]);
    assert!(release.kept() == before, "something was made anew");
    release.apply("upgrade", &folder, &[]);

    // Back to the version that was installed first, its values and its definitions.
    release.helm(&["rollback", "opamp-operator", "1"]).expect("rolled back");
    assert!(release.kept() == before, "something was made anew");
    let back = manifests(&release.helm(&["get", "manifest", "opamp-operator"]).expect("a manifest"));
    assert_eq!(texts(&container(&back)["args"]), texts(&container(&installed)["args"]));
    let deployment = release.get(("deployment", NAMESPACE, "opamp-operator")).expect("a deployment");
    assert_eq!(deployment["metadata"]["labels"]["helm.sh/chart"], CHART);
    for (kind, _, name) in KEPT.into_iter().filter(|kept| kept.0 == "crd") {
        let definition = release.get((kind, "", name)).expect("a definition");
        assert!(definition["metadata"]["annotations"]["example.org/later"].is_null(), "{name} is as it was");
    }
    operator.end();
    operator = run(&plane, &back, "opamp-operator-d").await;
    edge.rollout_is("r", RolloutState::Completed).await;
    let heard = agent.journal().messages;
    let journal = within("answers", agent.until(|journal| journal.messages > heard + 10)).await;
    assert_eq!(journal.offers.len(), 1, "nothing is offered twice");

    drop((operator, agent));
    release.helm(&["uninstall", "opamp-operator"]).expect("uninstalled");
    assert!(release.kept() == before, "something was made anew");
    for (kind, name) in GONE {
        assert!(!release.has(kind, name), "{kind} {name} is left");
    }

    // Installed again under its name, it takes over what it left; told not to keep them, it takes them with it.
    let again = release.apply("install", &chart(), &[]);
    assert!(release.kept() == before, "something was made anew");
    let operator = run(&plane, &again, "opamp-operator-c").await;
    edge.rollout_is("r", RolloutState::Completed).await;
    drop(operator);
    release.apply("upgrade", &chart(), &["--set", "crds.keep=false"]);
    release.helm(&["uninstall", "opamp-operator"]).expect("uninstalled");
    eventually("the definitions to be gone", async || {
        KEPT.iter().filter(|kept| kept.0 == "crd").all(|kept| release.get(*kept).is_none()).then_some(())
    })
    .await;
    assert!(release.has("secret", "opamp-operator-hash-key"), "a new installation has the same hashes");
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_stand_already_can_be_taken_over() {
    let plane = ControlPlane::start_empty().await;
    super::support::control_plane::apply_crds(&plane.client).await;
    let release = Release { plane: &plane, values: alone(6) };
    let chart = chart();
    let values: Vec<&str> = release.values.iter().map(String::as_str).collect();
    let install = ["install", "opamp-operator", chart.to_str().expect("UTF-8"), "--create-namespace"];
    let said = release.helm(&[&install[..], &values].concat()).expect_err("they are not the release's");
    assert!(said.contains("invalid ownership metadata"), "{said}");
    release.apply("install", &chart, &["--take-ownership", "--force-conflicts"]);
    let definition = release.get(KEPT[0]).expect("a definition");
    assert_eq!(definition["metadata"]["annotations"]["meta.helm.sh/release-name"], "opamp-operator");
}
