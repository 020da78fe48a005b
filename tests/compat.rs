//! Versions beside each other: this version's schema beside those that were released, and objects that earlier versions
//! wrote. `docs/adr/0019-versions-beside-each-other.md` has the rules.

#[path = "compat/compare.rs"]
mod compare;
#[path = "compat/objects.rs"]
mod objects;

use compare::{breaks, number_fault};
use opamp_operator::api;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where each release keeps its definitions, in a folder of its version's name: `make release-crds` writes it.
fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/released")
}

/// The versions that were released, oldest first, each with its definitions by kind.
fn releases() -> Vec<(String, BTreeMap<String, Value>)> {
    let folders = fs::read_dir(released()).expect("releases").map(|entry| entry.expect("an entry").path());
    let read = |folder: PathBuf| {
        let files = fs::read_dir(&folder).expect("a release").map(|entry| entry.expect("an entry").path());
        let crd = |path: PathBuf| -> Value {
            let text = fs::read_to_string(&path).expect("text");
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let name = folder.file_name().expect("a version").to_string_lossy().into_owned();
        (name, files.map(crd).map(|crd| (kind(&crd), crd)).collect())
    };
    let mut found: Vec<(String, BTreeMap<String, Value>)> = folders.map(read).collect();
    let order =
        |version: &str| -> Vec<u64> { version.split('.').filter_map(|part| part.parse().ok()).collect() };
    found.sort_by_key(|(version, _)| order(version));
    found
}

fn current() -> BTreeMap<String, Value> {
    let crds = api::crds().into_iter().map(|crd| serde_json::to_value(crd).expect("JSON"));
    crds.map(|crd| (kind(&crd), crd)).collect()
}

fn kind(crd: &Value) -> String {
    crd["spec"]["names"]["kind"].as_str().expect("a kind").to_owned()
}

fn number(crd: &Value) -> u64 {
    let text = crd["metadata"]["annotations"][api::SCHEMA_ANNOTATION].as_str().expect("a number");
    text.parse().expect("a number")
}

#[test]
fn schema_breaks_no_object_and_no_program_of_a_released_version() {
    let (current, releases) = (current(), releases());
    assert!(!releases.is_empty(), "the first version is there");
    let mut found = Vec::new();
    for (version, crds) in &releases {
        assert_eq!(crds.len(), 4, "{version} has all kinds");
        for (kind, old) in crds {
            match current.get(kind) {
                Some(new) => {
                    found.extend(breaks(old, new).into_iter().map(|text| format!("{version}: {text}")));
                }
                None => found.push(format!("{version}: {kind} is gone")),
            }
        }
    }
    assert!(found.is_empty(), "{}\nsee docs/adr/0019-versions-beside-each-other.md", found.join("\n"));
}

#[test]
fn schema_has_a_higher_number_once_it_has_changed_since_the_last_release() {
    let (current, releases) = (current(), releases());
    let (version, last) = releases.last().expect("a release");
    let faults = last.iter().filter_map(|(kind, old)| {
        let new = current.get(kind)?;
        number_fault((number(old), old), (number(new), new))
    });
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "since {version}:\n{}", faults.join("\n"));
}

/// A small definition, with one field of each sort.
fn small() -> Value {
    json!({
        "spec": {
            "group": "fleet.opamp.dev", "scope": "Namespaced",
            "names": {"kind": "Thing", "listKind": "ThingList", "plural": "things", "singular": "thing",
                "shortNames": ["th"], "categories": ["fleet"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "State", "type": "string", "jsonPath": ".status.state"}],
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                    "spec": {"type": "object", "required": ["name"], "description": "What is wanted.", "properties": {
                        "name": {"type": "string", "maxLength": 9, "minLength": 1, "pattern": "^a"},
                        "mode": {"type": "string", "enum": ["On", "Off"], "default": "On"},
                        "count": {"type": "integer", "minimum": 1, "maximum": 10, "format": "int32"},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "steps": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                                "required": ["name"], "properties": {"name": {"type": "string"}}}},
                        "selector": {"type": "object", "properties": {
                            "matchExpressions": {"type": "array", "items": {"type": "string"}}}},
                        "rules": {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''", "message": "m"}]},
                        "free": {"type": "string"}}}}}},
            }],
        },
    })
}

/// Where the spec's fields are.
const FIELDS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";

/// The small definition with another value at a place; null takes it away.
fn with(place: &str, value: Value) -> Value {
    let mut crd = small();
    let (object, key) = place.rsplit_once('/').expect("a path");
    let object = crd.pointer_mut(object).unwrap_or_else(|| panic!("{place}"));
    match object {
        Value::Array(entries) => match key.parse::<usize>() {
            Ok(index) if value.is_null() => drop(entries.remove(index)),
            _ => entries.push(value),
        },
        Value::Object(members) if value.is_null() => drop(members.remove(key).expect(place)),
        object => object[key] = value,
    }
    crd
}

#[test]
fn each_kind_of_break_is_told_by_its_place_and_in_words() {
    let rule = json!({"rule": "self != 'x'", "message": "m"});
    for (place, value, expected) in [
        ("/spec/scope", json!("Cluster"), r#"Thing: scope changed from "Namespaced" to "Cluster""#),
        ("/spec/names/plural", json!("thingies"), r#"Thing: plural changed from "things" to "thingies""#),
        ("/spec/names/kind", json!("Other"), r#"Thing: kind changed from "Thing" to "Other""#),
        ("/spec/names/shortNames/0", json!(null), r#"Thing: "th" is gone from shortNames"#),
        ("/spec/names/categories/0", json!(null), r#"Thing: "fleet" is gone from categories"#),
        ("/spec/versions/0/name", json!("v2"), r#"Thing: version "v1" is gone"#),
        ("/spec/versions/0/served", json!(false), "Thing: served changed from true to false"),
        (
            "/spec/versions/0/subresources",
            json!(null),
            r#"Thing: subresources changed from {"status":{}} to null"#,
        ),
        ("/spec/versions/0/additionalPrinterColumns/0", json!(null), r#"Thing: column "State" is gone"#),
        (
            "/spec/versions/0/additionalPrinterColumns/0/priority",
            json!(1),
            r#"Thing: priority of column "State" changed from null to 1"#,
        ),
        ("FIELDS/free", json!(null), "Thing.spec.free: the field is gone"),
        ("FIELDS/free/type", json!("integer"), r#"Thing.spec.free: type changed from "string" to "integer""#),
        ("FIELDS/free/nullable", json!(true), "Thing.spec.free: nullable changed from null to true"),
        ("FIELDS/free/maxLength", json!(5), "Thing.spec.free: maxLength 5 is new"),
        ("FIELDS/free/pattern", json!("^b"), r#"Thing.spec.free: pattern changed from null to "^b""#),
        (
            "FIELDS/free/enum",
            json!(["a"]),
            "Thing.spec.free: any value could stand here, and now only some can",
        ),
        ("FIELDS/free/default", json!("a"), r#"Thing.spec.free: default changed from null to "a""#),
        ("FIELDS/free/anyOf", json!([]), "Thing.spec.free: anyOf changed from null to []"),
        (
            "FIELDS/count/format",
            json!("int64"),
            r#"Thing.spec.count: format changed from "int32" to "int64""#,
        ),
        ("FIELDS/name/maxLength", json!(8), "Thing.spec.name: maxLength is tightened from 9 to 8"),
        ("FIELDS/name/minLength", json!(2), "Thing.spec.name: minLength is tightened from 1 to 2"),
        ("FIELDS/count/minimum", json!(2), "Thing.spec.count: minimum is tightened from 1 to 2"),
        ("FIELDS/count/maximum", json!(9), "Thing.spec.count: maximum is tightened from 10 to 9"),
        ("FIELDS/steps/maxItems", json!(9), "Thing.spec.steps: maxItems is tightened from 10 to 9"),
        ("FIELDS/name/pattern", json!("^b"), r#"Thing.spec.name: pattern changed from "^a" to "^b""#),
        ("FIELDS/mode/enum/0", json!(null), r#"Thing.spec.mode: value "On" is gone"#),
        ("FIELDS/mode/default", json!("Off"), r#"Thing.spec.mode: default changed from "On" to "Off""#),
        ("FIELDS/mode/default", json!(null), r#"Thing.spec.mode: default changed from "On" to null"#),
        (
            "FIELDS/steps/x-kubernetes-list-type",
            json!("atomic"),
            r#"Thing.spec.steps: x-kubernetes-list-type changed from "map" to "atomic""#,
        ),
        (
            "FIELDS/steps/x-kubernetes-list-map-keys",
            json!(["id"]),
            r#"Thing.spec.steps: x-kubernetes-list-map-keys changed from ["name"] to ["id"]"#,
        ),
        ("FIELDS/steps/items/properties/name", json!(null), "Thing.spec.steps[].name: the field is gone"),
        (
            "FIELDS/labels/additionalProperties/type",
            json!("integer"),
            r#"Thing.spec.labels{}: type changed from "string" to "integer""#,
        ),
        (
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec/required/-",
            json!("free"),
            r#"Thing.spec: "free" is required now: objects that exist may lack it"#,
        ),
        (
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec/required",
            json!(null),
            r#"Thing.spec: "name" is no longer required: earlier programs cannot read objects without it"#,
        ),
        (
            "FIELDS/rules/x-kubernetes-validations/-",
            rule.clone(),
            "Thing.spec.rules: a new rule that objects which exist may break: self != 'x'",
        ),
        (
            "FIELDS/free/x-kubernetes-validations",
            json!([rule]),
            "Thing.spec.free: a new rule that objects which exist may break: self != 'x'",
        ),
        (
            "FIELDS/selector/properties/matchVersions",
            json!({"type": "string"}),
            "Thing.spec.selector: matchVersions narrows a selector, which earlier programs do not see: add an operator",
        ),
    ] {
        let place = place.replace("FIELDS", FIELDS);
        assert_eq!(breaks(&small(), &with(&place, value)), [expected], "{place}");
    }
}

#[test]
fn additions_pass() {
    assert!(breaks(&small(), &small()).is_empty());
    let ratcheting =
        json!({"rule": "oldSelf.hasValue() || self != 'x'", "optionalOldSelf": true, "message": "m"});
    for (place, value) in [
        ("FIELDS/more", json!({"type": "string", "enum": ["A"], "default": "A", "maxLength": 3})),
        ("FIELDS/steps/items/properties/more", json!({"type": "integer"})),
        ("FIELDS/mode/enum/-", json!("Auto")),
        ("FIELDS/mode/enum", json!(null)),
        ("FIELDS/name/maxLength", json!(10)),
        ("FIELDS/name/maxLength", json!(null)),
        ("FIELDS/count/minimum", json!(0)),
        ("FIELDS/name/pattern", json!(null)),
        ("FIELDS/name/description", json!("Its name.")),
        ("FIELDS/rules/x-kubernetes-validations", json!(null)),
        ("FIELDS/rules/x-kubernetes-validations/0/message", json!("other words")),
        ("FIELDS/free/x-kubernetes-validations", json!([ratcheting])),
        ("/spec/names/shortNames/-", json!("tg")),
        ("/spec/versions/0/additionalPrinterColumns/-", json!({"name": "Age"})),
        ("/spec/versions/-", json!({"name": "v2"})),
    ] {
        let place = place.replace("FIELDS", FIELDS);
        assert_eq!(breaks(&small(), &with(&place, value)), Vec::<String>::new(), "{place}");
    }
}

#[test]
fn number_of_the_schema_rises_with_every_change_that_is_not_only_told_to_people() {
    let told = with(&format!("{FIELDS}/name/description"), json!("Its name."));
    let grown = with(&format!("{FIELDS}/more"), json!({"type": "string"}));
    let fault = |new: &Value, number| number_fault((6, &small()), (number, new));
    assert_eq!(fault(&small(), 6), None);
    assert_eq!(fault(&told, 6), None);
    assert_eq!(fault(&grown, 7), None);
    let unraised = "Thing: the schema has changed and its number is 6 still: raise SCHEMA_VERSION";
    assert_eq!(fault(&grown, 6).as_deref(), Some(unraised));
    assert_eq!(fault(&small(), 5).as_deref(), Some("Thing: the schema's number fell from 6 to 5"));
    let described = with(&format!("{FIELDS}/description"), json!({"type": "string"}));
    assert!(fault(&described, 6).is_some(), "a field of that name is a field");
}
