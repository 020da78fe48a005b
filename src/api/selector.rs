//! Selectors over agents' attributes, with the semantics of Kubernetes label selectors.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Selects agents by their attributes, identifying and non-identifying together. All parts must hold; an empty
/// selector matches every agent of the namespace.
///
/// Attributes compare as text: strings as they are, booleans and integers in decimal form, other kinds never
/// match. An identifying attribute wins over a non-identifying one of the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttributeSelector {
    /// Attributes that must have exactly these values, for example
    /// `deployment.environment.name: production`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on attributes that must all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)")
        .message("In and NotIn want at least one of values, Exists and DoesNotExist want none")
)]
pub struct Requirement {
    /// The attribute's key, for example `os.type`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// How the attribute relates to `values`. `In`: it is there and has one of them. `NotIn`: it is absent,
    /// or has none of them. `Exists`: it is there. `DoesNotExist`: it is absent.
    pub operator: Operator,
    /// The values to compare with: at least one for `In` and `NotIn`, none for `Exists` and `DoesNotExist`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub values: Vec<String>,
}

/// The relation of a [`Requirement`], as in label selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The attribute is there and has one of the values.
    In,
    /// The attribute is absent, or has none of the values.
    NotIn,
    /// The attribute is there, whatever its value.
    Exists,
    /// The attribute is absent.
    DoesNotExist,
    /// An operator that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}
