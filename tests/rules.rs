//! The alert rules: Prometheus takes them, they fire when they should, and they ask for metrics that exist.

mod support;

use opamp_operator::telemetry::{GroupCounts, Metrics};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use support::rules::{self, RULES};
use support::tool;

/// The metrics that rules may ask for.
const EXPORTED: [&str; 6] = [
    "opamp_agents",
    "opamp_config_drifted_agents",
    "opamp_drift_corrections_total",
    "opamp_heals_total",
    "opamp_operator_leading",
    "opamp_quarantined_agents",
];

/// Runs promtool in the folder of the rules, and returns what it printed.
fn promtool(args: &[&str]) -> String {
    let output = Command::new(tool("promtool")).args(args).current_dir(rules::folder()).output();
    let output = output.expect("promtool runs");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {args:?}: {printed}");
    printed
}

#[test]
fn prometheus_takes_every_rule_without_a_complaint() {
    let printed = promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES]);
    let expected = format!("SUCCESS: {} rules found", rules::alerts().len());
    assert!(printed.contains(&expected), "wanted {expected:?}, got {printed}");
}

#[test]
fn alerts_fire_exactly_when_they_should() {
    let tests = rules::tests();
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    promtool(&[&["test", "rules"], &tests[..]].concat());
}

#[test]
fn every_alert_is_seen_to_fire_and_to_keep_quiet() {
    let files: Vec<Value> = rules::tests().iter().map(|file| rules::read(file)).collect();
    for file in &files {
        assert_eq!(file["rule_files"], json!([format!("../{RULES}")]));
    }
    let cases = files.iter().flat_map(|file| file["tests"].as_array().expect("tests"));
    let checks: Vec<_> = cases.flat_map(|case| case["alert_rule_test"].as_array().expect("checks")).collect();
    for alert in rules::alerts() {
        for quiet in [true, false] {
            let seen = checks.iter().any(|check| {
                let expected = check["exp_alerts"].as_array().expect("alerts");
                check["alertname"] == alert["alert"] && expected.is_empty() == quiet
            });
            assert!(
                seen,
                "{}: no test in which it {}",
                alert["alert"],
                if quiet { "is quiet" } else { "fires" }
            );
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do_first() {
    for alert in rules::alerts() {
        let name = &alert["alert"];
        assert!(alert["for"].is_string(), "{name}: one bad sample is no alarm");
        assert_eq!(alert["labels"], json!({"severity": "warning"}), "{name}");
        let annotations = alert["annotations"].as_object().expect("annotations");
        let names: Vec<&str> = annotations.keys().map(String::as_str).collect();
        assert_eq!(names, ["description", "summary"], "{name}: there is no page to link to");
        let description = annotations["description"].as_str().expect("text");
        for part in ["First: `kubectl ", "describe collectorgroup ", "problems"] {
            assert!(description.contains(part), "{name}: {part}");
        }
    }
}

#[test]
fn rules_ask_only_for_metrics_that_are_exported() {
    let exported = BTreeSet::from(EXPORTED.map(str::to_owned));
    let unknown: Vec<String> = rules::metrics().difference(&exported).cloned().collect();
    assert!(unknown.is_empty(), "no such metric: {unknown:?}");
    for alert in rules::alerts() {
        let expression = alert["expr"].as_str().expect("an expression");
        assert!(!rules::metrics_of(expression).is_empty(), "{}: it asks for nothing", alert["alert"]);
    }
}

#[test]
fn program_serves_the_metrics_and_labels_that_rules_ask_for() {
    let metrics = Metrics::new(|_| ());
    let states = &[("connected", 7)][..];
    let counts = GroupCounts { namespace: "shop", group: "checkout", states, drifted: 6, quarantined: 1 };
    metrics.fleet.tell([counts]);
    let served = metrics.render();
    let names = served.lines().filter(|line| !line.starts_with('#'));
    let names: BTreeSet<&str> = names.filter_map(|line| line.split(['{', ' ']).next()).collect();
    assert!(EXPORTED.iter().all(|name| names.contains(name)), "{EXPORTED:?} in {served}");
    for series in [
        r#"opamp_config_drifted_agents{namespace="shop",group="checkout"} 6"#,
        r#"opamp_quarantined_agents{namespace="shop",group="checkout"} 1"#,
        // From the start: increase() needs the zero before the first.
        r#"opamp_drift_corrections_total{result="corrected"} 0"#,
        r#"opamp_drift_corrections_total{result="failed"} 0"#,
        r#"opamp_heals_total{step="restart",result="recovered"} 0"#,
        r#"opamp_heals_total{step="stable",result="failed"} 0"#,
    ] {
        assert!(served.lines().any(|line| line == series), "{series} in {served}");
    }
}

#[test]
fn metrics_of_an_expression_are_told_from_all_else_in_it() {
    for (expression, expected) in [
        ("up", &["up"][..]),
        ("max by (namespace, group) (last_over_time(a_b[3m])) > 5", &["a_b"]),
        ("sum(increase(a_total{x=\"failed\", y='b'}[15m])) / sum(b_total) > 0.7", &["a_total", "b_total"]),
        ("sum without (c) (a) and on (d) e * on(f) group_left(g) h", &["a", "e", "h"]),
        ("a unless b or c offset 5m > bool 1e3", &["a", "b", "c"]),
        ("a # b\n + job:c:sum", &["a", "job:c:sum"]),
        ("vector(1)", &[]),
    ] {
        let found = rules::metrics_of(expression);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{expression}");
    }
}
