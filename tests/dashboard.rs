//! The dashboard: its JSON is sound, and a real Prometheus that scrapes a real operator answers each of its queries. It
//! goes through the alert rules as well, and the commands of their runbooks are run.

#[path = "dashboard/panels.rs"]
mod panels;
#[path = "dashboard/scene.rs"]
mod scene;
mod support;

use panels::{Dashboard, Panel, filled};
use scene::Scene;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::documented::Documented;
use support::{eventually, rules, tool};

/// Kinds of panels that every Grafana has.
const BUILT_IN: [&str; 5] = ["row", "stat", "timeseries", "bargauge", "table"];
/// Where all of it happens.
const NAMESPACE: &str = "fleet";
/// How far back it is looked; longer than any test takes.
const SECONDS: u64 = 900;
/// Queries that have nothing to show in the scene: panel, query and the reason.
const EMPTY: [(&str, &str, &str); 2] = [
    ("Messages that were not taken", "B", "no message is above a limit"),
    ("Offers", "B", "no configuration is too long"),
];
/// Commands of the runbooks that do not run in the scene: what they have in them, and the reason.
const NOT_RUN: [(&str, &str); 3] = [
    (" logs ", "no replica is a pod"),
    (" certificates", "there is no cert-manager"),
    (" --for=deployment/", "no replica is of a Deployment"),
];

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    let Dashboard { json, .. } = Dashboard::read();
    let panels = json["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeMap::new();
    for panel in panels {
        let place = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
        let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + width <= 24 && width > 0 && height > 0, "{panel}");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            let other = taken.insert(cell, &panel["title"]);
            assert!(other.is_none(), "{} lies on {}", panel["title"], other.unwrap_or(&Value::Null));
        }
    }
}

#[test]
fn panels_are_in_the_rows_that_people_look_for_and_say_what_they_show() {
    let Dashboard { json, panels } = Dashboard::read();
    let rows = json["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<&Value> = rows.map(|row| &row["title"]).collect();
    assert_eq!(rows, ["Fleet", "Rollouts", "Drift", "Connections", "Control plane"]);
    let titles: BTreeSet<&str> = panels.iter().map(|panel| panel.title.as_str()).collect();
    assert_eq!(titles.len(), panels.len(), "each title once");
    for Panel { title, json, targets } in &panels {
        let kind = json["type"].as_str().expect("a type");
        assert!(BUILT_IN.contains(&kind), "{title}: {kind} is a plugin");
        let described = json["description"].as_str().is_some_and(|text| text.ends_with('.'));
        assert!(described, "{title} has a sentence for its description");
        assert!(!targets.is_empty(), "{title}");
        let defaults = &json["fieldConfig"]["defaults"];
        assert!(
            defaults["thresholds"]["steps"][0]["value"].is_null(),
            "{title}: the first step has no value"
        );
        assert!(kind == "table" || defaults["unit"].is_string(), "{title} has a unit");
        let unlabelled = kind == "timeseries"
            && json["targets"]
                .as_array()
                .expect("targets")
                .iter()
                .any(|target| target["legendFormat"].as_str().is_none_or(str::is_empty));
        assert!(!unlabelled, "{title} has a legend");
    }
}

#[test]
fn whatever_asks_asks_the_data_source_that_people_choose() {
    let Dashboard { json, panels } = Dashboard::read();
    let chosen = json!({"type": "prometheus", "uid": "${datasource}"});
    for Panel { title, json, .. } in &panels {
        assert_eq!(json["datasource"], chosen, "{title}");
        let targets = json["targets"].as_array().expect("targets");
        assert!(targets.iter().all(|target| target["datasource"] == chosen), "{title}");
        let names: BTreeSet<&str> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
        assert_eq!(names.len(), targets.len(), "{title}");
    }
    let dashboard = Dashboard::read();
    assert_eq!(dashboard.variables(), ["datasource", "namespace", "group"]);
    for variable in dashboard.json["templating"]["list"].as_array().expect("variables").iter().skip(1) {
        assert_eq!(variable["datasource"], chosen);
        let choice = ["multi", "includeAll"].map(|key| variable[key] == true);
        assert_eq!((choice, &variable["allValue"]), ([true, true], &json!(".*")));
    }
    assert_eq!(json["schemaVersion"], 42);
    assert!(json["id"].is_null(), "the id is Grafana's own");
}

#[test]
fn queries_ask_only_for_metrics_and_labels_that_the_page_names() {
    let documented = Documented::read();
    for Panel { title, targets, .. } in Dashboard::read().panels {
        for target in targets {
            assert_eq!(documented.complaints(&target.expression), [""; 0], "{title}: not in docs/metrics.md");
        }
    }
}

/// A query of a panel.
struct Query {
    name: String,
    expression: String,
    instant: bool,
}

/// What a query has shown since the scene began, as far as it is a number.
async fn numbers(scene: &Scene, query: &Query) -> Vec<String> {
    let found = if query.instant {
        scene.prometheus.values(&query.expression).await
    } else {
        scene.prometheus.values_over(&query.expression, SECONDS).await
    };
    found.into_iter().filter(|value| value != "NaN").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_every_query_of_the_dashboard_and_goes_through_every_rule() {
    let scene = Box::pin(Scene::play(NAMESPACE)).await;
    every_query_has_an_answer(&scene).await;
    variables_offer_what_there_is(&scene).await;
    every_rule_is_healthy(&scene).await;
    commands_of_the_runbooks_are_understood(&scene);
}

async fn every_query_has_an_answer(scene: &Scene) {
    let namespaces = format!("({NAMESPACE}|elsewhere)");
    let variables = [
        ("$namespace", namespaces.as_str()),
        ("$group", ".*"),
        ("$__rate_interval", "10s"),
        ("$__range", "15m"),
    ];
    let (mut wanted, mut empty) = (Vec::new(), Vec::new());
    for Panel { title, targets, .. } in Dashboard::read().panels {
        for target in targets {
            let is_empty = EMPTY.iter().any(|(panel, name, _)| (*panel, *name) == (&title, &target.name));
            let query = Query {
                name: format!("{title} {}", target.name),
                expression: filled(&target.expression, &variables),
                instant: target.instant,
            };
            if is_empty { empty.push(query) } else { wanted.push(query) }
        }
    }
    assert_eq!(empty.len(), EMPTY.len(), "EMPTY names queries that are not there");
    // Prometheus may be a scrape behind.
    let answered = tokio::time::timeout(support::PATIENCE, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        while let Some(query) = wanted.last() {
            if numbers(scene, query).await.is_empty() {
                ticks.tick().await;
                wanted.rotate_right(1);
            } else {
                wanted.pop();
            }
        }
    });
    let answered = answered.await.is_ok();
    let silent: Vec<String> =
        wanted.iter().map(|query| format!("{}: {}", query.name, query.expression)).collect();
    assert!(answered, "these queries have no answer: {silent:#?}");
    for query in empty {
        let found = numbers(scene, &query).await;
        assert!(found.is_empty(), "{} has an answer after all: take it out of EMPTY: {found:?}", query.name);
    }
}

async fn variables_offer_what_there_is(scene: &Scene) {
    let offered = async |label: &str| {
        let path = format!("label/{label}/values");
        scene.prometheus.ask(&path, &[("match[]", "opamp_agents{namespace=~\".*\"}")]).await
    };
    assert_eq!(offered("namespace").await, json!([NAMESPACE]));
    assert_eq!(offered("group").await, json!(["drifting", "edge", "ill", "polling"]));
}

/// Alerts that the scene has made to wait for their time, or to fire.
const RAISED: [&str; 4] = ["AgentsQuarantined", "RolloutRolledBack", "RolloutStalled", "RolloutWaiting"];

async fn every_rule_is_healthy(scene: &Scene) {
    let told = eventually("every rule to be healthy, and alerts to be raised", async || {
        let groups = scene.prometheus.ask("rules", &[]).await;
        let groups = groups["groups"].as_array().expect("groups").clone();
        let told: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        let unwell = told.iter().find(|rule| rule["health"] == "err");
        assert!(unwell.is_none(), "{unwell:?}");
        let raised = told.iter().filter(|rule| rule["state"] != "inactive");
        let raised: BTreeSet<&str> = raised.filter_map(|rule| rule["name"].as_str()).collect();
        let all = told.iter().all(|rule| rule["health"] == "ok") && !told.is_empty();
        (all && RAISED.iter().all(|name| raised.contains(name))).then_some(told)
    })
    .await;
    assert_eq!(told.len(), rules::alerts().len());
    assert!(told.iter().all(|rule| rule["lastError"].is_null()), "{told:?}");
    // Nobody is told of what is as it should be.
    for rule in told.iter().filter(|rule| rule["state"] != "inactive") {
        for quiet in [
            "OperatorAbsent",
            "OperatorHasNoLeader",
            "ReplicaMakesNoOffers",
            "SlicesNotWritten",
            "OperatorApiErrors",
        ] {
            assert_ne!(rule["name"], quiet);
        }
    }
}

/// Each line of a block of commands, up to the first pipe, with the scene's names.
fn commands_of_the_runbooks_are_understood(scene: &Scene) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md");
    let page = std::fs::read_to_string(page).expect("docs/runbooks.md");
    let blocks = page.split("\n```sh\n").skip(1).filter_map(|block| block.split_once("\n```"));
    let lines: BTreeSet<&str> = blocks.flat_map(|(block, _)| block.lines()).collect();
    assert!(lines.len() > 20, "{lines:?}");
    let tools = format!("{}:{}", tool("kubectl").parent().expect("a folder").display(), env!("PATH"));
    for line in lines {
        if NOT_RUN.iter().any(|(part, _)| line.contains(part)) {
            continue;
        }
        let command = line.split(" | ").next().unwrap_or_default();
        let names =
            [("NAMESPACE", NAMESPACE), ("GROUP", "edge"), ("ROLLOUT", "edge"), ("SECRET", "authority")];
        let command = names.iter().fold(command.to_owned(), |text, (from, to)| text.replace(from, to));
        let command = command.replace("-n opamp-operator ", &format!("-n {NAMESPACE} "));
        let ran = Command::new("sh")
            .args(["-c", &command])
            .env("PATH", &tools)
            .env("KUBECONFIG", &scene.plane.kubeconfig)
            .output()
            .expect("a shell");
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}
