//! Where a group's agents send what they have to say of themselves: a group's `telemetry`.

use super::KeyRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the group's agents send their own telemetry: what they measure and log of themselves, not what they collect.
/// Agents that report such telemetry are told; a supervisor puts it into its Collector's configuration and starts the
/// Collector anew. So a change goes to at most a tenth of the group's agents at a time, and at least one. A signal that
/// is left out is left as it is, by agents that keep to the protocol; a supervisor switches it off when it is told of
/// others. Taking all of it away tells nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.metrics) || has(self.logs) || has(self.traces)")
        .message("telemetry has at least one of metrics, logs and traces")
)]
pub struct TelemetrySpec {
    /// Where metrics go, for example `https://otlp.example.org:4318/v1/metrics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<TelemetryTarget>,
    /// Where logs go, for example `https://otlp.example.org:4318/v1/logs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<TelemetryTarget>,
    /// Where traces go, for example `https://otlp.example.org:4318/v1/traces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<TelemetryTarget>,
}

/// A receiver of OTLP over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TelemetryTarget {
    /// The receiver's URL, http or https, with its path.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''")
            .message("an endpoint is a URL that begins with http:// or https://"),
        validation = Rule::new("!self.matches('^[a-z]+://[^/]*@') && !self.matches('[[:space:]#]')")
            .message("an endpoint has no user, no password, no fragment and no space: headersSecretRef is for credentials")
    )]
    pub endpoint: String,
    /// A key of a Secret in the same namespace that carries the label `fleet.opamp.dev/deliver: "true"`. It has the
    /// headers to send, one `Name: value` a line. When it changes, agents are told anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_secret_ref: Option<KeyRef>,
}

/// How far a group's agents have been told where to send their own telemetry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TelemetryStatus {
    /// Stands for all that agents are told, headers included; 64 lower-case hex digits. It orders the agents as well.
    pub hash: String,
    /// The highest rank that is told, 16 lower-case hex digits.
    pub boundary: String,
    /// When the first agents were told.
    pub began: Time,
    /// When the last were.
    pub since: Time,
}
