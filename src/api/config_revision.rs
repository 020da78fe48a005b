//! ConfigRevision: one distinct content, kept so that it can be delivered and rolled back to byte-exact.

use super::{Body, ConfigFormat, KeyRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The content, and where it came from.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleet.opamp.dev",
    version = "v1alpha1",
    kind = "ConfigRevision",
    plural = "configrevisions",
    doc = "One distinct content of a ConfigRollout, kept so that it can be delivered and gone back to. \
        Written by the operator, never changed afterwards, named ROLLOUT-NUMBER.",
    shortname = "crev",
    namespaced,
    category = "fleet",
    status = "ConfigRevisionStatus",
    derive = "PartialEq",
    annotation("fleet.opamp.dev/schema", "8"),
    validation = Rule::new("self.spec == oldSelf.spec")
        .message("a ConfigRevision is immutable: change the ConfigRollout's spec.config, and a new revision is made")
        .field_path(".spec"),
    printcolumn = r#"{"name":"Rollout", "type":"string", "jsonPath":".spec.rollout"}"#,
    printcolumn = r#"{"name":"Hash", "type":"string", "jsonPath":".spec.hash"}"#,
    printcolumn = r#"{"name":"Author", "type":"string", "jsonPath":".spec.author"}"#,
    printcolumn = r#"{"name":"State", "type":"string", "jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigRevisionSpec {
    /// Name of the rollout that this content came from.
    pub rollout: String,
    /// Counts the revisions of a rollout's name upwards.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// HMAC-SHA256 over all files, 64 lower-case hex digits. Agents report it back; equal content has an equal
    /// hash. It is keyed, so it tells nothing about a secret.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub hash: String,
    /// What the files are, as the rollout said when the content was first seen. `Collector`: a Collector
    /// configuration, which may be compared with what agents report, and padded with an empty section when it is
    /// offered once more. `Opaque`: anything else, never looked into.
    #[serde(default = "opaque")]
    pub format: ConfigFormat,
    /// The component types that the files define, by section; agents that say what they were built with are not offered
    /// what they lack. Absent: not looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<BTreeMap<String, Vec<String>>>,
    /// The files in bytewise order of name.
    pub files: Vec<RevisionFile>,
    /// Who changed the content: the user that the API server stamped on the rollout (`policies/`), else the field
    /// manager's name, marked `(unverified)`; or `configmap/NAME` or `secret/NAME` where a referenced object changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When the content was first seen.
    pub created_at: Time,
}

/// The default of [`ConfigRevisionSpec::format`]: nothing is known of the files.
fn opaque() -> ConfigFormat {
    ConfigFormat::Opaque
}

/// One file of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionFile {
    /// The file's name, the key in the OpAMP config map.
    pub name: String,
    /// MIME type as the rollout gives it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    /// Length of the body in bytes.
    pub size: i64,
    /// Where the body came from. `Inline`: the rollout itself. `ConfigMap` and `Secret`: a key of one.
    pub source: FileSource,
    /// The object and key that the body was read from; absent for `Inline`.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<KeyRef>,
    /// The body, for `Inline` and ConfigMap. A body from a Secret is kept in the Secret `REVISION-files` under
    /// the file's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
}

/// Where a file's body came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FileSource {
    /// Written in the rollout.
    Inline,
    /// A key of a ConfigMap.
    ConfigMap,
    /// A key of a Secret.
    Secret,
    /// A source that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// What became of a revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigRevisionStatus {
    /// Where the revision stands. `Candidate`: not proven yet. `Proven`: a rollout completed with it, so it
    /// may be gone back to. `Rejected`: a rollout of it failed, and it waits for a `retry`. `Superseded`: replaced by other content before it was proven.
    pub state: RevisionState,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the revision was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Time>,
}

/// Where a revision stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevisionState {
    /// Not proven yet.
    #[default]
    Candidate,
    /// A rollout completed with it: it may be gone back to.
    Proven,
    /// A rollout of it ended before it completed. It is not tried again without a `retry`.
    Rejected,
    /// Replaced by other content before it was proven.
    Superseded,
    /// A state that a newer version writes. Never written: whoever reads it leaves the object to that version.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}
