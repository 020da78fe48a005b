//! The chart through the real helm: what it renders, and what it refuses.

use super::support::tool;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kind by which the chart knows that a cluster can have the admission policies.
const POLICIES: &str = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";
/// Where the chart is rendered for, and under which name.
pub const NAMESPACE: &str = "opamp-operator";
/// The sets of values with which the chart is tried: `tests/chart/values/NAME.yaml`.
pub const SETS: [&str; 4] = ["defaults", "everything", "nothing", "high-availability"];
/// What has to be given.
const IMAGE: &str = "image.repository=registry.example.org/opamp-operator";

/// The chart's folder.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/opamp-operator")
}

/// The file with a set of values.
pub fn set(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/chart/values/{name}.yaml"));
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Runs helm with folders of its own, and returns what it printed.
///
/// # Errors
/// With what it printed, when it fails.
pub fn helm(args: &[&str]) -> Result<String, String> {
    let own = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(tool("helm"));
    for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(folder, own.path());
    }
    let output = command.args(args).env_remove("KUBECONFIG").output().expect("helm runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() { Ok(printed) } else { Err(format!("{printed}{said}")) }
}

/// What the chart renders for a cluster that can have everything, as helm prints it.
///
/// # Errors
/// With what helm says.
pub fn template(args: &[&str]) -> Result<String, String> {
    template_without_policies(&[&["--api-versions", POLICIES], args].concat())
}

/// What the chart renders for a cluster that cannot have the admission policies.
///
/// # Errors
/// With what helm says.
pub fn template_without_policies(args: &[&str]) -> Result<String, String> {
    let chart = chart();
    let chart = chart.to_str().expect("a path in UTF-8");
    let always = ["template", "opamp-operator", chart, "--namespace", NAMESPACE, "--set", IMAGE];
    helm(&[&always, args].concat())
}

/// What the chart renders with a set of values, as helm prints it.
pub fn rendered(name: &str) -> String {
    template(&["--values", &set(name)]).unwrap_or_else(|said| panic!("{name}: {said}"))
}

/// The manifests in what helm printed.
pub fn manifests(printed: &str) -> Vec<Value> {
    let texts = printed.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let read = |text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    texts.map(read).filter(|manifest: &Value| !manifest.is_null()).collect()
}

/// The manifest of this kind and name.
///
/// # Panics
/// When there is not exactly one.
pub fn find<'a>(manifests: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |found: &&Value| found["kind"] == kind && found["metadata"]["name"] == name;
    let found: Vec<&Value> = manifests.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "manifests of {kind} {name}");
    found[0]
}

/// The texts of a list.
pub fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
}

/// The only container of the rendered Deployment.
pub fn container(manifests: &[Value]) -> &Value {
    let deployment = find(manifests, "Deployment", "opamp-operator");
    &deployment["spec"]["template"]["spec"]["containers"][0]
}
