//! The alert rules: Prometheus takes them, they fire when they should, they ask for metrics that exist, and each leads to
//! a runbook.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::documented::Documented;
use support::metrics::Metric;
use support::rules::{self, RULES};
use support::tool;

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
        let name = alert["alert"].as_str().expect("a name");
        assert!(alert["for"].is_string(), "{name}: one bad sample is no alarm");
        let severities = ["critical", "warning", "info"].map(|severity| json!({"severity": severity}));
        assert!(severities.contains(&alert["labels"]), "{name}");
        let annotations = alert["annotations"].as_object().expect("annotations");
        let names: Vec<&str> = annotations.keys().map(String::as_str).collect();
        assert_eq!(names, ["description", "runbook", "summary"], "{name}");
        let description = annotations["description"].as_str().expect("text");
        assert!(description.contains("First: `kubectl "), "{name}: {description}");
        assert_eq!(annotations["runbook"], format!("docs/runbooks.md#{}", name.to_lowercase()));
        // An alert of a group says of which.
        let expression = alert["expr"].as_str().expect("an expression");
        let of_a_group = expression.contains("by (namespace, group");
        let summary = annotations["summary"].as_str().expect("text");
        assert_eq!(summary.contains("{{ $labels.namespace }}/{{ $labels.group }}"), of_a_group, "{name}");
    }
}

/// The sections of the page: heading and text.
fn runbooks() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md");
    let page = fs::read_to_string(path).expect("docs/runbooks.md");
    let sections = page.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
    sections.map(|(heading, text)| (heading.to_owned(), text.to_owned())).collect()
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let alerts: Vec<Value> = rules::alerts().into_iter().map(|alert| alert["alert"].clone()).collect();
    let runbooks = runbooks();
    let headings: Vec<&str> = runbooks.iter().map(|(heading, _)| heading.as_str()).collect();
    assert_eq!(headings, alerts, "in the same order");
    for (alert, text) in &runbooks {
        let parts = ["**Means.** ", "\n**Look.** ", "\n**Mend.** ", "\n**Silence.** "];
        let places: Vec<_> = parts.iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{alert}: {parts:?} in {text}");
        let look = &text[places[1].unwrap_or_default()..places[2].unwrap_or_default()];
        assert!(look.contains("\n```sh\nkubectl "), "{alert}: what to look at first is a command");
    }
}

#[test]
fn logs_of_several_replicas_are_searched_whole() {
    // With a selector kubectl shows the last ten lines, whatever `--since` says.
    let logs = |text: &str| {
        let lines = text.lines().filter(|line| line.contains(" logs -l ")).map(str::to_owned);
        lines.collect::<Vec<String>>()
    };
    let descriptions = rules::alerts().into_iter().filter_map(|alert| {
        let description = alert["annotations"]["description"].as_str()?;
        Some(logs(description))
    });
    let pages = runbooks().into_iter().map(|(_, text)| logs(&text));
    let commands: Vec<String> = descriptions.chain(pages).flatten().collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        assert!(command.contains(" --tail="), "{command}");
    }
}

#[test]
fn rules_ask_only_for_metrics_and_labels_that_the_page_names() {
    let documented = Documented::read();
    for alert in rules::alerts() {
        let expression = alert["expr"].as_str().expect("an expression");
        assert!(!rules::metrics_of(expression).is_empty(), "{}: it asks for nothing", alert["alert"]);
        assert_eq!(documented.complaints(expression), [""; 0], "{}: not in docs/metrics.md", alert["alert"]);
    }
}

#[test]
fn what_the_page_does_not_name_is_found_in_an_expression() {
    let metric = |kind: &str, labels: &[(&str, &[&str])]| {
        let values = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
        let labels = labels.iter().map(|(label, known)| ((*label).to_owned(), values(known)));
        Metric { kind: kind.to_owned(), labels: labels.collect(), ..Metric::default() }
    };
    let metrics = [
        (
            "opamp_a_total",
            metric("counter", &[("namespace", &[]), ("group", &[]), ("state", &["one", "two"])]),
        ),
        ("opamp_b_seconds", metric("histogram", &[("kind", &["x"])])),
        ("opamp_c", metric("gauge", &[])),
    ];
    let metrics = metrics.map(|(name, metric)| (name.to_owned(), metric)).into();
    let documented = Documented::of(&metrics);
    for (expression, expected) in [
        ("rate(opamp_a_total{state=\"one\", namespace=~\"$namespace\"}[5m])", &[][..]),
        ("opamp_a_total{state!~\"one|tw.*\",group=\"any\"} + opamp_c", &[]),
        ("sum by (le) (opamp_b_seconds_bucket{kind=\"x\"}) / opamp_b_seconds_count", &[]),
        ("opamp_c{instance=~\"a|b\"}", &[]),
        ("opamp_a", &["opamp_a"]),
        ("opamp_b_seconds", &["opamp_b_seconds"]),
        ("opamp_a_total{state=\"three\"}", &["opamp_a_total: state three"]),
        ("opamp_a_total{state=~\"one|x.*\"}", &["opamp_a_total: state x.*"]),
        ("opamp_c{group=\"x\"} or opamp_c{state=\"x\"}", &["opamp_c: group", "opamp_c: state"]),
    ] {
        assert_eq!(documented.complaints(expression), expected, "{expression}");
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
