//! What the chart renders: the project's definitions, policies and rules unchanged, exactly the operator's rights,
//! and all else as it was looked at last.

use super::helm::{
    NAMESPACE, SETS, chart, container, find, helm, manifests, rendered, set, template,
    template_without_policies, texts,
};
use super::support::policies::OPERATOR;
use super::support::rules;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use opamp_operator::api;
use opamp_operator::cluster::{OWN_RIGHTS, RIGHTS, Right};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const KEEP: &str = "helm.sh/resource-policy";

#[test]
fn helm_lints_the_chart_without_a_complaint() {
    let chart = chart();
    for name in SETS {
        let said =
            helm(&["lint", "--strict", "--quiet", chart.to_str().expect("UTF-8"), "--values", &set(name)]);
        let said = said.unwrap_or_else(|said| panic!("{name}: {said}"));
        assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{name}: {said}");
    }
}

/// The rights in the rules of a role: API group, resource and verb.
fn granted(role: &Value) -> BTreeSet<(String, String, String)> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        let keys: BTreeSet<&str> = rule.as_object().expect("a rule").keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["apiGroups", "resources", "verbs"]), "{rule}");
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let new = rights.insert((group.to_owned(), resource.to_owned(), verb.to_owned()));
                    assert!(new, "{verb} {resource} is granted twice");
                }
            }
        }
    }
    rights
}

fn asked_for(rights: &[Right]) -> BTreeSet<(String, String, String)> {
    let each = |right: &Right| {
        let Right { group, resource, verbs } = *right;
        let of_verb = |verb: &&str| (group.to_owned(), resource.to_owned(), (*verb).to_owned());
        verbs.iter().map(of_verb).collect::<Vec<_>>()
    };
    rights.iter().flat_map(each).collect()
}

#[test]
fn rights_of_the_chart_are_those_that_the_program_asks_for() {
    for name in ["defaults", "everything", "high-availability"] {
        let all = manifests(&rendered(name));
        assert_eq!(granted(find(&all, "ClusterRole", "opamp-operator")), asked_for(RIGHTS), "{name}");
        let own = find(&all, "Role", "opamp-operator");
        assert_eq!(granted(own), asked_for(OWN_RIGHTS), "{name}");
        assert_eq!(own["metadata"]["namespace"], NAMESPACE);
        let account = json!([{"kind": "ServiceAccount", "name": "opamp-operator", "namespace": NAMESPACE}]);
        for (binding, role) in [("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")] {
            let binding = find(&all, binding, "opamp-operator");
            assert_eq!(binding["subjects"], account, "{name}");
            let role =
                json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "opamp-operator"});
            assert_eq!(binding["roleRef"], role, "{name}");
        }
        // Nothing else is bound to anybody.
        let bindings =
            all.iter().filter(|found| found["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")));
        let bound = bindings.filter(|found| !found["subjects"].is_null()).count();
        assert_eq!(bound, 2, "{name}");
    }
}

#[test]
fn people_with_kubernetes_roles_may_change_rollouts_and_only_admins_make_requests() {
    let all = manifests(&rendered("defaults"));
    let of = |role: &str| {
        let found = find(&all, "ClusterRole", &format!("opamp-operator-{role}"));
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
        assert_eq!(found["metadata"]["labels"][label], "true", "{role}");
        let rights = granted(found).into_iter();
        rights.map(|(_, resource, verb)| format!("{verb} {resource}")).collect::<BTreeSet<_>>()
    };
    assert!(
        of("view").iter().all(|right| ["get ", "list ", "watch "].iter().any(|verb| right.starts_with(verb)))
    );
    assert_eq!(of("view").len(), 4 * 3);
    let edit = of("edit");
    for right in &edit {
        let kind = right.ends_with(" configrollouts") || right.ends_with(" collectorgroups");
        let request = right.contains("approve") || right.contains("operate");
        assert!(kind && !request, "{right}");
    }
    assert_eq!(edit.len(), 2 * 5);
    let requests = ["approve configrollouts", "operate collectorgroups", "operate configrollouts"];
    assert_eq!(of("admin").iter().collect::<Vec<_>>(), requests);
}

/// The objects that the project's files show, without the chart's labels.
fn of_folder(folder: &str, files: &[&str]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &&str| fs::read_to_string(root.join(folder).join(format!("{name}.yaml"))).expect(name);
    files.iter().flat_map(|name| manifests(&read(name))).collect()
}

#[test]
fn definitions_are_those_of_the_program_and_stay_if_they_are_kept() {
    for (values, kept) in [(&[][..], true), (&["--set", "crds.keep=false"][..], false)] {
        let all = manifests(&template(values).expect("rendered"));
        let definitions = all.iter().filter(|found| found["kind"] == "CustomResourceDefinition").count();
        assert_eq!(definitions, api::crds().len());
        for expected in api::crds() {
            let name = expected.name_any();
            let found = find(&all, "CustomResourceDefinition", &name).clone();
            // As the type, for which 1 and 1.0 are the same.
            let mut found: CustomResourceDefinition = serde_json::from_value(found).expect("a definition");
            assert_eq!(found.annotations_mut().remove(KEEP).as_deref(), kept.then_some("keep"), "{name}");
            found.metadata.labels = expected.metadata.labels.clone();
            assert!(found == expected, "{name} is not rendered as the program prints it");
        }
    }
    let none = template(&["--set", "crds.install=false"]).expect("rendered");
    assert!(!none.contains("CustomResourceDefinition"));
}

#[test]
fn policies_are_those_of_the_project_with_the_charts_account_as_their_parameter() {
    let all = manifests(&rendered("defaults"));
    for mut expected in of_folder("policies", &["stamps", "requests", "writers"]) {
        let (kind, name) =
            (expected["kind"].as_str().expect("a kind").to_owned(), &expected["metadata"]["name"]);
        let mut found = find(&all, &kind, name.as_str().expect("a name")).clone();
        found["metadata"]["labels"].take();
        expected["metadata"]["labels"] = Value::Null;
        assert!(found == expected, "{kind} {found} is not {expected}");
    }
    let parameter = |all: &[Value]| find(all, "ConfigMap", "opamp-operator-writers")["data"]["users"].clone();
    assert_eq!(parameter(&all), format!("{OPERATOR}\n"));
    let everything = manifests(&rendered("everything"));
    assert_eq!(parameter(&everything), format!("{OPERATOR}\nsystem:serviceaccount:backup:restore\n"));

    // Under other names everything that names another object follows.
    let other = ["--set", "fullnameOverride=fleet", "--set", "serviceAccount.name=bot", "--namespace", "ops"];
    let all = manifests(&template(&other).expect("rendered"));
    let users = &find(&all, "ConfigMap", "fleet-writers")["data"]["users"];
    assert_eq!(users, "system:serviceaccount:ops:bot\n");
    let binding = find(&all, "ValidatingAdmissionPolicyBinding", "writers.fleet.opamp.dev");
    let parameter = &binding["spec"]["paramRef"];
    assert_eq!((&parameter["name"], &parameter["namespace"]), (&json!("fleet-writers"), &json!("ops")));
    let account = json!([{"kind": "ServiceAccount", "name": "bot", "namespace": "ops"}]);
    assert_eq!(find(&all, "ClusterRoleBinding", "fleet")["subjects"], account);
    let pod = &find(&all, "Deployment", "fleet")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "bot");
}

#[test]
fn policies_are_left_out_where_the_cluster_cannot_have_them_and_people_are_told() {
    let printed = template_without_policies(&[]).expect("rendered");
    assert!(!printed.contains("AdmissionPolicy") && !printed.contains("opamp-operator-writers"));
    let chart = chart();
    let install = ["install", "opamp-operator", chart.to_str().expect("UTF-8"), "--dry-run=client"];
    let image = ["--namespace", NAMESPACE, "--set", "image.repository=x"];
    let told = |more: &[&str]| {
        let printed = helm(&[&install[..], &image, more].concat()).expect("a dry run");
        printed.split_once("\nNOTES:\n").expect("notes").1.to_owned()
    };
    let notes = told(&[]);
    for words in [
        "so the admission policies are left out",
        "rollout status deployment/opamp-operator",
        "--type=fleet.opamp.dev/agent-token",
        "ws://opamp-operator.opamp-operator.svc:4320/v1/opamp",
        "The agents' port is not encrypted",
        "opamp-operator-hash-key",
    ] {
        assert!(notes.contains(words), "{words:?} is not in {notes}");
    }
    let notes =
        told(&["--set", "agents.auth={none}", "--set", "tls.secret=x", "--set", "policies.enabled=false"]);
    assert!(notes.contains("WARNING: agents.auth is none") && notes.contains("wss://"), "{notes}");
    for words in ["left out", "not encrypted", "agent-token"] {
        assert!(!notes.contains(words), "{words:?} is in {notes}");
    }
}

#[test]
fn alert_rules_are_those_of_the_project_with_the_url_of_their_runbooks() {
    let plain = manifests(&template(&["--set", "metrics.rules.enabled=true"]).expect("rendered"));
    let expected = rules::read(rules::RULES);
    assert_eq!(find(&plain, "PrometheusRule", "opamp-operator")["spec"], expected);

    let mut rule = find(&manifests(&rendered("everything")), "PrometheusRule", "opamp-operator").clone();
    for group in rule["spec"]["groups"].as_array_mut().expect("groups") {
        for alert in group["rules"].as_array_mut().expect("alerts") {
            let annotations = alert["annotations"].as_object_mut().expect("annotations");
            let url = annotations.remove("runbook_url").expect("the URL that the values ask for");
            let page = annotations["runbook"].as_str().expect("text");
            assert_eq!(url, format!("https://git.example.org/fleet/{page}"));
        }
    }
    assert_eq!(rule["spec"], expected);
}

#[test]
fn notifications_file_is_mounted_from_its_secret_for_reading_and_a_missing_one_keeps_no_pod_from_starting() {
    let flag = "--notifications-file=/etc/opamp-operator/notifications/notifications.yaml";
    let all = manifests(&rendered("everything"));
    assert!(texts(&container(&all)["args"]).contains(&flag));
    let named = |list: &Value| {
        let found = list.as_array().into_iter().flatten().find(|entry| entry["name"] == "notifications");
        found.cloned().unwrap_or_default()
    };
    let path = "/etc/opamp-operator/notifications";
    let mount = named(&container(&all)["volumeMounts"]);
    assert_eq!(mount, json!({"name": "notifications", "mountPath": path, "readOnly": true}));
    let pod = &find(&all, "Deployment", "opamp-operator")["spec"]["template"]["spec"];
    let items = json!([{"key": "file.yaml", "path": "notifications.yaml"}]);
    let secret = json!({"secretName": "receivers", "items": items, "optional": true});
    assert_eq!(named(&pod["volumes"]), json!({"name": "notifications", "secret": secret}));
    let without = rendered("defaults");
    assert!(!without.contains("notifications"), "nobody is told unless somebody asks for it");
}

#[test]
fn dashboard_is_found_by_the_sidecar_of_grafana_and_is_the_file_byte_for_byte() {
    let file = fs::read_to_string(chart().join("files/dashboards/opamp-operator.json")).expect("a dashboard");
    let all = manifests(&rendered("everything"));
    let map = find(&all, "ConfigMap", "opamp-operator-dashboard");
    assert_eq!(map["data"], json!({"opamp-operator.json": file}));
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(map["metadata"]["labels"]["section"], "fleet");
    assert_eq!(map["metadata"]["annotations"], json!({"grafana_folder": "Fleet"}));
    let elsewhere = ["label=dashboards", "namespace=grafana", "enabled=true"];
    let elsewhere = elsewhere.map(|value| format!("metrics.dashboard.{value}"));
    let elsewhere: Vec<&str> = elsewhere.iter().flat_map(|value| ["--set", value]).collect();
    let all = manifests(&template(&elsewhere).expect("rendered"));
    let metadata = &find(&all, "ConfigMap", "opamp-operator-dashboard")["metadata"];
    assert_eq!((&metadata["namespace"], &metadata["labels"]["dashboards"]), (&json!("grafana"), &json!("1")));
    assert!(metadata["annotations"].is_null() && metadata["labels"]["grafana_dashboard"].is_null());
}

/// The parts of a text of manifests that are of the wanted kinds, whatever the version, and without the dashboard's JSON.
fn parts(printed: &str, wanted: impl Fn(&str) -> bool) -> String {
    let printed = printed.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let texts = printed.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let texts =
        texts.map(|text| text.split_inclusive("\n  opamp-operator.json: |\n").next().unwrap_or_default());
    let kind =
        |text: &str| text.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default().to_owned();
    texts.filter(|text| wanted(&kind(text))).map(str::trim_end).collect::<Vec<_>>().join("\n---\n")
}

/// What is compared with its source by tests of its own.
fn is_compared(kind: &str) -> bool {
    kind == "CustomResourceDefinition" || kind.contains("AdmissionPolicy") || kind == "PrometheusRule"
}

#[test]
fn defaults_are_as_they_were_looked_at() {
    insta::assert_snapshot!(parts(&rendered("defaults"), |kind| !is_compared(kind)));
}

#[test]
fn everything_is_as_it_was_looked_at() {
    insta::assert_snapshot!(
        parts(&rendered("everything"), |kind| !is_compared(kind) && !kind.contains("Role"))
    );
}

#[test]
fn high_availability_is_as_it_was_looked_at() {
    let kinds = ["Deployment", "PodDisruptionBudget"];
    insta::assert_snapshot!(parts(&rendered("high-availability"), |kind| kinds.contains(&kind)));
}

#[test]
fn nothing_but_a_deployment_and_its_service_has_to_be_rendered() {
    let all = manifests(&rendered("nothing"));
    let kinds: Vec<&str> = all.iter().filter_map(|found| found["kind"].as_str()).collect();
    assert_eq!(kinds, ["Service", "Deployment"]);
}
