//! The definitions in `crds/` are the ones that the types make, and say what people need to know.

#[path = "resources/columns.rs"]
mod columns;

use columns::{KINDS, existing, schema};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use opamp_operator::api;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

const HEADER: &str = "# Made from the types in src/api by `make crds`; do not edit.\n";

/// With `UPDATE=1` it writes the files instead of comparing them.
#[test]
fn crds_equal_the_types() {
    equal_the_types("crds");
}

/// A chart has only what is in its folder.
#[test]
fn crds_of_the_chart_equal_the_types() {
    equal_the_types("charts/opamp-operator/files/crds");
}

fn equal_the_types(place: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    let made = made();
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::create_dir_all(&folder).expect("a folder");
        for name in committed(&folder).keys().filter(|name| !made.contains_key(*name)) {
            fs::remove_file(folder.join(name)).expect("removed");
        }
        for (name, text) in made {
            fs::write(folder.join(name), text).expect("written");
        }
        return;
    }
    let committed = committed(&folder);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&made), "run `make crds` and commit the result");
    for (name, text) in made {
        let equal = committed[&name] == text;
        assert!(equal, "{place}/{name} is not what src/api makes: run `make crds` and commit the result");
    }
}

/// File names and texts, from the types.
fn made() -> BTreeMap<String, String> {
    let file = |crd: &CustomResourceDefinition| {
        let yaml = api::crds_to_yaml(crd).expect("YAML");
        (format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural), format!("{HEADER}---\n{yaml}"))
    };
    api::crds().iter().map(file).collect()
}

/// File names and texts, as they lie in the folder.
fn committed(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).expect("the folder is there: run `make crds`");
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("text");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    entries.map(|entry| read(entry.expect("an entry"))).collect()
}

#[test]
fn every_field_is_described_for_people() {
    let mut wrong = Vec::new();
    let mut described = 0;
    for crd in api::crds() {
        let kind = &crd.spec.names.kind;
        each_description(kind, &schema(&crd), &mut |path, description| {
            described += 1;
            wrong.extend(fault(description).map(|fault| format!("{path}: {fault}: {description:?}")));
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(described > 150, "only {described} fields were looked at");
}

/// Calls `visit` with the path and the description of a schema and of each field in it.
fn each_description(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &str)) {
    visit(path, schema["description"].as_str().unwrap_or_default());
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        each_description(&format!("{path}.{name}"), field, visit);
    }
    // What a list or a map holds needs a description only if it has fields.
    for inner in ["items", "additionalProperties"] {
        if schema[inner].get("properties").is_some() {
            each_description(&format!("{path}[]"), &schema[inner], visit);
        }
    }
}

/// What keeps a description from helping the person who reads `kubectl explain`.
fn fault(description: &str) -> Option<&'static str> {
    let ends = description.ends_with(['.', ')', '`']);
    match description {
        "" => Some("no description"),
        text if text.starts_with("Auto-generated") => Some("says nothing"),
        text if text.contains("[`") || text.contains("`]") || text.contains("::") => {
            Some("a link into the code")
        }
        _ if !ends => Some("no sentence"),
        _ => None,
    }
}

#[test]
fn every_value_of_an_enumeration_is_explained() {
    let mut wrong = Vec::new();
    for crd in api::crds() {
        each_enumeration(&crd.spec.names.kind, &schema(&crd), &mut |path, schema| {
            let description = schema["description"].as_str().unwrap_or_default();
            let values = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let silent: Vec<&str> = values.filter(|value| !description.contains(*value)).collect();
            if !silent.is_empty() {
                wrong.push(format!("{path} does not say what {silent:?} mean"));
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Calls `visit` with the path and the schema of each field that has a fixed set of values.
fn each_enumeration(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    if schema.get("enum").is_some() {
        visit(path, schema);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        each_enumeration(&format!("{path}.{name}"), field, visit);
    }
    if schema["items"].is_object() {
        each_enumeration(&format!("{path}[]"), &schema["items"], visit);
    }
}

#[test]
fn kinds_are_named_as_designed() {
    let schema_version = api::SCHEMA_VERSION.to_string();
    let short = BTreeMap::from(KINDS.map(|(plural, short, _)| (plural, short)));
    for crd in api::crds() {
        let names = &crd.spec.names;
        let plural = names.plural.as_str();
        assert_eq!(crd.spec.group, api::GROUP, "{plural}");
        assert_eq!(crd.spec.versions.len(), 1, "{plural}");
        assert_eq!(crd.spec.versions[0].name, api::VERSION, "{plural}");
        assert_eq!(crd.spec.scope, "Namespaced", "{plural}");
        assert_eq!(names.categories.as_deref(), Some(&["fleet".to_owned()][..]), "{plural}");
        let expected = short.get(plural).map(|short| vec![(*short).to_owned()]);
        assert_eq!(names.short_names, expected, "{plural}");
        let annotations = crd.metadata.annotations.as_ref().expect("annotations");
        assert_eq!(annotations.get(api::SCHEMA_ANNOTATION), Some(&schema_version), "{plural}");
        // Slices alone have no status: they are nothing else, and are replaced whole.
        let subresources = crd.spec.versions[0].subresources.as_ref();
        let status = subresources.is_some_and(|subresources| subresources.status.is_some());
        assert_eq!(status, plural != "agentslices", "{plural}");
    }
}

#[test]
fn columns_are_the_designed_ones_whose_fields_exist() {
    let crds = api::crds();
    for (plural, _, designed) in KINDS {
        let crd = crds.iter().find(|crd| crd.spec.names.plural == plural).expect(plural);
        let columns = crd.spec.versions[0].additional_printer_columns.iter().flatten();
        let printed: Vec<_> = columns
            .map(|column| (column.name.as_str(), column.json_path.as_str(), column.priority == Some(1)))
            .collect();
        let expected: Vec<_> =
            existing(crd, designed).iter().map(|column| (column.name, column.path, column.wide)).collect();
        assert_eq!(printed, expected, "{plural}");
    }
}

/// The rules are text, so the compiler does not see that they repeat a constant.
#[test]
fn limits_in_rules_are_the_constants() {
    let crds = api::crds();
    let rollout = crds.iter().find(|crd| crd.spec.names.kind == "ConfigRollout").map(schema).expect("a kind");
    let rule = &rollout["x-kubernetes-validations"][0]["rule"];
    assert_eq!(rule, &format!("size(self.metadata.name) <= {}", api::MAX_ROLLOUT_NAME));
    let files = &rollout["properties"]["spec"]["properties"]["config"]["properties"]["files"];
    assert_eq!(files["items"]["properties"]["inline"]["maxLength"], api::MAX_CONFIG_BYTES);
}
