//! The `CustomResourceDefinition`s, generated from the types.

use super::{AgentSlice, CollectorGroup, ConfigRevision, ConfigRollout};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// All definitions, in a fixed order.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![CollectorGroup::crd(), ConfigRollout::crd(), ConfigRevision::crd(), AgentSlice::crd()]
}

/// One definition as a YAML document, without its leading `---`.
///
/// # Errors
/// Never for the definitions of [`all`]; the serialiser's error otherwise.
pub fn to_yaml(crd: &CustomResourceDefinition) -> anyhow::Result<String> {
    // By way of a JSON value, so that keys come sorted and absent fields are left out.
    Ok(serde_saphyr::to_string(&serde_json::to_value(crd)?)?)
}
