//! The columns that `kubectl get` prints, as the design has them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; kubectl prints it in capitals.
    pub name: &'static str,
    /// Where its value stands in the object.
    pub path: &'static str,
    /// Whether only `-o wide` prints it.
    pub wide: bool,
}

const fn column(name: &'static str, path: &'static str) -> Column {
    Column { name, path, wide: false }
}

const fn wide(name: &'static str, path: &'static str) -> Column {
    Column { name, path, wide: true }
}

/// For each kind that people read: its plural, its short name, its columns after NAME.
pub const KINDS: [(&str, &str, &[Column]); 3] = [
    (
        "collectorgroups",
        "cg",
        &[
            column("Matched", ".status.agents.matched"),
            column("Connected", ".status.agents.connected"),
            column("Healthy", ".status.agents.healthy"),
            column("In-Sync", ".status.agents.inSync"),
            column("Drifted", ".status.agents.drifted"),
            column("Revision", ".status.revision"),
            column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            column("Age", ".metadata.creationTimestamp"),
        ],
    ),
    (
        "configrollouts",
        "cro",
        &[
            column("Group", ".spec.groupName"),
            column("State", ".status.state"),
            column("Phase", ".status.currentPhase.display"),
            column("Updated", ".status.progress"),
            column("Failed", ".status.agents.failed"),
            column("Revision", ".status.targetRevision"),
            column("Age", ".metadata.creationTimestamp"),
            wide("Stable", ".status.stableRevision"),
            wide("Message", ".status.message"),
        ],
    ),
    (
        "configrevisions",
        "crev",
        &[
            column("Rollout", ".spec.rollout"),
            column("Hash", ".spec.hash"),
            column("Author", ".spec.author"),
            column("State", ".status.state"),
            column("Age", ".metadata.creationTimestamp"),
        ],
    ),
];

/// Those columns whose fields the kind has: a column belongs to the change that adds its field.
pub fn existing(crd: &CustomResourceDefinition, columns: &[Column]) -> Vec<Column> {
    let schema = schema(crd);
    columns.iter().copied().filter(|column| has(&schema, column.path)).collect()
}

/// The schema of a kind as JSON.
pub fn schema(crd: &CustomResourceDefinition) -> Value {
    let schema = crd.spec.versions[0].schema.as_ref().expect("a schema");
    serde_json::to_value(schema.open_api_v3_schema.as_ref().expect("a schema")).expect("JSON")
}

fn has(schema: &Value, path: &str) -> bool {
    if path.starts_with(".metadata.") {
        return true;
    }
    let mut names = path.split('[').next().unwrap_or_default().trim_start_matches('.').split('.');
    names.try_fold(schema, |schema, name| schema["properties"].get(name)).is_some()
}
