//! Configurations that a real supervisor and Collector (0.149) were given, and what they reported of each: recorded by
//! `make fixtures`, see `tests/drift/record.rs`.

use super::*;
use crate::config::{Value, merge, parse, parse_files};
use serde_json::Value as Json;
use std::fs;
use std::path::PathBuf;

/// All that were recorded.
const FIXTURES: [&str; 17] = [
    "anchors",
    "attributes",
    "connectors",
    "debug",
    "durations",
    "extensions",
    "gateway",
    "headers",
    "nothing_but_nops",
    "null_sections",
    "otlp_receiver",
    "otlphttp",
    "several_files",
    "telemetry",
    "unused_parts",
    "variables",
    "words_and_numbers",
];

/// The steps that lead to a place.
type Steps = Vec<String>;

struct Fixture {
    name: &'static str,
    desired: Desired,
    /// As the supervisor merges it.
    merged: Value,
    effective: Value,
    /// What the recorded report shows.
    before: Finding,
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/drift/fixtures"))
}

fn fixture(name: &'static str) -> Fixture {
    let entries = fs::read_dir(folder().join(name).join("desired")).expect(name);
    let file = |entry: fs::DirEntry| {
        let body = fs::read(entry.path()).expect("a file");
        ConfigFile::new(entry.file_name().to_string_lossy(), "text/yaml", body)
    };
    let files: Vec<ConfigFile> = entries.map(|entry| file(entry.expect("an entry"))).collect();
    let merged = merge(parse_files(&files).unwrap_or_else(|errors| panic!("{name}: {errors:?}")));
    let desired = Desired::collector(&files).expect("YAML");
    let effective = read(name, "effective.yaml");
    let before = finding(&desired, &effective);
    Fixture { name, desired, merged: merged.value().clone(), effective, before }
}

fn finding(desired: &Desired, effective: &Value) -> Finding {
    let body = serde_json::to_vec(&json(effective)).expect("JSON");
    let files = [ConfigFile::new("", "text/yaml", body)];
    look(desired, &files, &Ignore::default(), &key()).expect("a finding")
}

fn read(name: &str, file: &str) -> Value {
    let body = fs::read(folder().join(name).join(file)).expect(file);
    parse(&body).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Fixture {
    /// The verdict on another report, for an agent that reported the recorded one before.
    fn after(&self, effective: &Value) -> String {
        let now = finding(&self.desired, effective);
        text(&now.verdict(Some(&Baseline::new(&self.before)), self.before.as_baseline()))
    }

    fn changed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut effective = self.effective.clone();
        change(&mut effective);
        self.after(&effective)
    }
}

/// A value as JSON, which is YAML.
fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::UInt(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::String(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => map.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

/// The places where both have a leaf, but for the lists of what is started.
fn common(desired: &Value, effective: &Value, steps: &mut Steps, found: &mut Vec<Steps>) {
    let inside = |step: String, desired, effective, steps: &mut Steps, found: &mut Vec<Steps>| {
        steps.push(step);
        common(desired, effective, steps, found);
        steps.pop();
    };
    match (desired, effective) {
        (Value::Map(desired), Value::Map(effective)) => {
            for (key, desired) in desired {
                if let Some(effective) = effective.get(key) {
                    inside(key.to_string(), desired, effective, steps, found);
                }
            }
        }
        (Value::List(desired), Value::List(effective)) if !steps.iter().any(|step| is_of_parts(step)) => {
            for (index, (desired, effective)) in desired.iter().zip(effective).enumerate() {
                inside(index.to_string(), desired, effective, steps, found);
            }
        }
        (Value::Map(_) | Value::List(_) | Value::Null, _) | (_, Value::Map(_) | Value::List(_)) => {}
        (desired, _) if desired.is_expansion() => {}
        _ => found.push(steps.clone()),
    }
}

fn is_of_parts(step: &str) -> bool {
    ["pipelines", "extensions"].contains(&step)
}

fn at<'a>(value: &'a mut Value, steps: &[String]) -> &'a mut Value {
    steps.iter().fold(value, |value, step| match value {
        Value::Map(map) => map.get_mut(step.as_str()).expect("a key"),
        Value::List(list) => &mut list[step.parse::<usize>().expect("an index")],
        _ => panic!("no step {step}"),
    })
}

/// Another value of the same kind.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(value) => Value::Bool(!value),
        Value::Int(value) => Value::Int(value + 1),
        Value::Float(value) => Value::Float(value + 1.0),
        Value::String(text) => Value::String(format!("{text}1").into()),
        _ => panic!("no leaf"),
    }
}

fn list<'a>(effective: &'a mut Value, pipeline: &str, role: &str) -> &'a mut Vec<Value> {
    let steps = ["service", "pipelines", pipeline, role].map(str::to_owned);
    let Value::List(list) = at(effective, &steps) else { panic!("no list") };
    list
}

fn remove(effective: &mut Value, steps: &[&str]) {
    let (last, before) = steps.split_last().expect("a step");
    let steps: Steps = before.iter().map(|step| (*step).to_owned()).collect();
    let Value::Map(map) = at(effective, &steps) else { panic!("no mapping") };
    map.remove(*last).expect("a key");
}

fn keys(value: &Value, path: &[&str]) -> Vec<String> {
    value
        .at(path)
        .and_then(Value::as_map)
        .into_iter()
        .flat_map(|map| map.keys().map(ToString::to_string))
        .collect()
}

#[test]
fn every_recorded_configuration_is_in_the_list() {
    let mut found: Vec<String> = fs::read_dir(folder())
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, FIXTURES);
}

#[test]
fn no_real_report_is_taken_for_drift() {
    for fixture in FIXTURES.map(fixture) {
        let name = fixture.name;
        let own = fixture.before.as_baseline();
        assert!(own.is_some(), "{name}: {:?}", fixture.before);
        assert_eq!(fixture.after(&fixture.effective), "InSync", "{name}");
        let first = text(&fixture.before.verdict(None, None));
        assert!(["InSync", "Unknown: Hidden"].contains(&&*first), "{name}: {first}");

        let merged = finding(&fixture.desired, &read(name, "merged.yaml"));
        assert_eq!(merged.as_baseline(), None, "{name}");
        let verdict = merged.verdict(Some(&Baseline::new(&fixture.before)), own);
        assert_eq!(verdict.class(), None, "{name}: {verdict:?}");
    }
}

#[test]
fn any_changed_leaf_of_a_real_report_is_found_at_its_place() {
    for fixture in FIXTURES.map(fixture) {
        let mut places = Vec::new();
        common(&fixture.merged, &fixture.effective, &mut Vec::new(), &mut places);
        assert!(!places.is_empty() || fixture.name == "nothing_but_nops", "{}", fixture.name);
        for steps in places {
            let expected = format!("Modified at {}", steps.join("::"));
            let found = fixture.changed(|effective| {
                let leaf = at(effective, &steps);
                *leaf = other(leaf);
            });
            assert_eq!(found, expected, "{}", fixture.name);
        }
    }
}

#[test]
fn any_leaf_that_is_gone_from_a_real_report_is_found_at_its_place() {
    for fixture in FIXTURES.map(fixture) {
        let mut places = Vec::new();
        common(&fixture.merged, &fixture.effective, &mut Vec::new(), &mut places);
        for steps in places.iter().filter(|steps| steps.iter().all(|step| step.parse::<usize>().is_err())) {
            let path: Vec<&str> = steps.iter().map(String::as_str).collect();
            let found = fixture.changed(|effective| remove(effective, &path));
            assert_eq!(found, format!("Modified at {}", steps.join("::")), "{}", fixture.name);
        }
    }
}

#[test]
fn part_that_was_added_to_a_real_report_is_found() {
    for fixture in FIXTURES.map(fixture) {
        let name = fixture.name;
        for pipeline in keys(&fixture.effective, &["service", "pipelines"]) {
            for role in ["receivers", "processors", "exporters"] {
                let found = fixture.changed(|effective| {
                    list(effective, &pipeline, role).push(Value::String("batch/added".into()));
                });
                let at = format!("service::pipelines::{pipeline}::{role}");
                // Which of the names stand for variables only the agent knows.
                let wanted = fixture.merged.at(&["service", "pipelines", &pipeline, role]);
                let varies =
                    wanted.and_then(Value::as_list).is_some_and(|list| list.iter().any(Value::is_expansion));
                let at = if varies { at } else { format!("{at}::batch/added") };
                assert_eq!(found, format!("Foreign at {at}"), "{name}");
            }
        }
        let extension = fixture.changed(|effective| {
            let Value::List(list) = at(effective, &["service".into(), "extensions".into()]) else {
                panic!("{name}")
            };
            list.push(Value::String("zpages".into()));
        });
        assert_eq!(extension, "Foreign at service::extensions::zpages", "{name}");
        let pipeline = fixture.changed(|effective| {
            let Value::Map(map) = at(effective, &["service".into(), "pipelines".into()]) else {
                panic!("{name}")
            };
            map.insert("logs/added".into(), Value::Map([].into()));
        });
        assert_eq!(pipeline, "Foreign at service::pipelines::logs/added", "{name}");
        let unused = fixture.changed(|effective| {
            let Value::Map(map) = at(effective, &["exporters".into()]) else { panic!("{name}") };
            map.insert("debug/added".into(), Value::Map([("a".into(), Value::Int(1))].into()));
        });
        assert_eq!(unused, "Changed at ", "{name}: nothing uses it, but it was not there");
    }
}

#[test]
fn part_that_was_removed_from_a_real_report_is_found() {
    for fixture in FIXTURES.map(fixture) {
        let name = fixture.name;
        for section in ["receivers", "processors", "exporters", "connectors", "extensions"] {
            for part in keys(&fixture.merged, &[section]) {
                let found = fixture.changed(|effective| remove(effective, &[section, &part]));
                assert_eq!(found, format!("Modified at {section}::{part}"), "{name}");
            }
        }
        for pipeline in keys(&fixture.merged, &["service", "pipelines"]) {
            let found = fixture.changed(|effective| remove(effective, &["service", "pipelines", &pipeline]));
            assert_eq!(found, format!("Modified at service::pipelines::{pipeline}"), "{name}");
            for role in ["receivers", "processors", "exporters"] {
                let wanted = fixture.merged.at(&["service", "pipelines", &pipeline, role]);
                let wanted = wanted.and_then(Value::as_list).into_iter().flatten();
                for part in wanted.filter(|part| !part.is_expansion()).filter_map(Value::as_str) {
                    let found = fixture.changed(|effective| {
                        list(effective, &pipeline, role).retain(|reported| reported.as_str() != Some(part));
                    });
                    let at = format!("service::pipelines::{pipeline}::{role}::{part}");
                    assert_eq!(found, format!("Modified at {at}"), "{name}");
                }
            }
        }
    }
}

#[test]
fn order_of_processors_in_a_real_report_counts() {
    let found = fixture("durations").changed(|effective| list(effective, "traces", "processors").reverse());
    assert_eq!(found, "Modified at service::pipelines::traces::processors");
}

#[test]
fn tampered_header_of_a_real_report_is_found_if_it_is_gone() {
    let found = fixture("headers").changed(|effective| {
        let steps = ["exporters", "otlp/backend", "headers"].map(str::to_owned);
        let Value::List(headers) = at(effective, &steps) else { panic!("no list") };
        headers.retain(|header| header.at(&["name"]).and_then(Value::as_str) != Some("X-Tenant"));
    });
    assert_eq!(found, "Modified at exporters::otlp/backend::headers::X-Tenant");
}

#[test]
fn supervisor_is_known_by_what_its_collector_reports() {
    for name in FIXTURES {
        let mut fixture = fixture(name);
        for file in ["effective.yaml", "merged.yaml"] {
            assert!(finding(&fixture.desired, &read(name, file)).is_supervised(), "{name}, {file}");
        }
        // The same extension without a supervisor watches no process.
        *at(&mut fixture.effective, &["extensions", "opamp", "ppid"].map(str::to_owned)) = Value::Int(0);
        assert!(!finding(&fixture.desired, &fixture.effective).is_supervised(), "{name}");
        remove(&mut fixture.effective, &["extensions"]);
        assert!(!finding(&fixture.desired, &fixture.effective).is_supervised(), "{name}");
    }
}
