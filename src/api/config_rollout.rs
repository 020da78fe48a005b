//! ConfigRollout: what a group of agents is to run.

use super::rules::leader_term_rule;
use super::{AttributeSelector, Body, CurrentPhase, PhaseStatus, Strategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the agents of a group are to run.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleet.opamp.dev",
    version = "v1alpha1",
    kind = "ConfigRollout",
    plural = "configrollouts",
    doc = "Brings a configuration to the agents of a CollectorGroup and tells what became of it.",
    shortname = "cro",
    namespaced,
    category = "fleet",
    status = "ConfigRolloutStatus",
    derive = "PartialEq",
    annotation("fleet.opamp.dev/schema", "8"),
    validation = Rule::new("size(self.metadata.name) <= 52")
        .message("metadata.name has at most 52 characters, because revisions are named after it: choose a shorter one"),
    validation = leader_term_rule(),
    printcolumn = r#"{"name":"Group", "type":"string", "jsonPath":".spec.groupName"}"#,
    printcolumn = r#"{"name":"State", "type":"string", "jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Phase", "type":"string", "jsonPath":".status.currentPhase.display"}"#,
    printcolumn = r#"{"name":"Updated", "type":"string", "jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"Failed", "type":"integer", "jsonPath":".status.agents.failed"}"#,
    printcolumn = r#"{"name":"Revision", "type":"string", "jsonPath":".status.targetRevision"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Stable", "type":"string", "jsonPath":".status.stableRevision", "priority":1}"#,
    printcolumn = r#"{"name":"Message", "type":"string", "jsonPath":".status.message", "priority":1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigRolloutSpec {
    /// Name of the CollectorGroup in the same namespace. Cannot be changed.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("groupName cannot be changed: create another rollout"))]
    pub group_name: String,
    /// The configuration.
    pub config: ConfigSpec,
    /// How carefully it is brought to the group.
    #[serde(default)]
    pub strategy: Strategy,
    /// Stops the rollout where it is: it reaches no further agent and no soak time passes. Agents that return
    /// still get the revision of their side, and too many failures still end it.
    #[serde(default)]
    pub paused: bool,
    /// How many revisions are kept beside those that are target, stable or still run by an agent. Older ones are
    /// deleted.
    #[serde(default = "default_history")]
    #[schemars(range(min = 1, max = 100))]
    pub revision_history_limit: i32,
}

/// The default of [`ConfigRolloutSpec::revision_history_limit`].
fn default_history() -> i32 {
    10
}

/// The configuration that agents are to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpec {
    /// What the files are. `Collector`: a Collector configuration, checked before it is sent. `Opaque`:
    /// anything else, sent as it is; for overlays on agents' own files, and for other agents.
    #[serde(default)]
    pub format: ConfigFormat,
    /// The files of the OpAMP config map. A supervisor merges them in order of name, the empty name last.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub files: Vec<FileSpec>,
}

/// What the files of a configuration are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigFormat {
    /// A Collector configuration: checked before it is sent.
    #[default]
    Collector,
    /// Anything else: sent as it is. For overlays on agents' own files, and for other agents.
    Opaque,
    /// A format that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// One file: a name and exactly one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.inline) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0) + (has(self.secretKeyRef) ? 1 : 0) == 1")
        .message("a file has exactly one of inline, configMapKeyRef and secretKeyRef")
)]
pub struct FileSpec {
    /// The key in the OpAMP config map, unique in the rollout. Most agents take any name, the empty one
    /// included; the OpenTelemetry Operator's bridge wants `NAMESPACE/NAME`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// MIME type, for example `text/yaml`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub content_type: String,
    /// The body, delivered byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 262_144))]
    pub inline: Option<Body>,
    /// A key of a ConfigMap in the same namespace. When its content changes, that is a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret in the same namespace that carries the label `fleet.opamp.dev/deliver: "true"`. When
    /// its content changes, that is a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A key of an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What became of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigRolloutStatus {
    /// The generation of the spec that this status tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the rollout stands. `Pending`: not started, something is missing. `Progressing`: agents are
    /// taking the target. `Soaking`: the phase's agents must stay healthy for a while. `AwaitingApproval`: a
    /// person must let the next phase begin. `Paused`: it stands still, or new content waits as a dry
    /// run. `Completed`: all phases have passed.
    /// `RollingBack`: too many agents failed or a person aborted, and the cohort is getting the stable revision
    /// again. `RolledBack`: it has it. `Halted`: it failed with nothing to go back to. `Invalid`: the
    /// configuration is not sent, because agents could not run it.
    #[serde(default)]
    pub state: RolloutState,
    /// A sentence for people: where it stands and what it waits for.
    #[serde(default)]
    pub message: String,
    /// Name of the revision that is being rolled out, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_revision: Option<String>,
    /// Name of the last known good revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// The step that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_phase: Option<CurrentPhase>,
    /// The steps as they were when the attempt began, each with what became of it. In a dry run after the attempt
    /// has ended: the steps as they would be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub phases: Vec<PhaseStatus>,
    /// The agents that are to run the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohort: Option<Cohort>,
    /// The requests that were seen; that says nothing of their success, an Event does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Handled>,
    /// How many agents there are, and what they said.
    #[serde(default)]
    pub agents: RolloutAgentCounts,
    /// Agents that run the target, of those that are reachable: `10/98`.
    #[serde(default)]
    pub progress: String,
    /// Agents that failed with the target, with what they said; ten entries at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<FailureEntry>,
    /// The revision that an `undo` went back to, while it takes the place of `spec.config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pinned>,
    /// The term of the leader that wrote this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_term: Option<i64>,
    /// Conditions Ready, Reconciling, Stalled, Paused and `RolledBack`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a rollout stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum RolloutState {
    /// Not started: something is missing, and `message` says what.
    #[default]
    Pending,
    /// Agents are taking the target.
    Progressing,
    /// The phase's agents run the target; they must stay healthy for a while.
    Soaking,
    /// A person must let the next phase begin.
    AwaitingApproval,
    /// It stands still, by `spec.paused` or because too many agents failed and `onFailure` is `Pause`; or new content
    /// waits as a dry run.
    Paused,
    /// Too many agents failed, or a person aborted: the cohort is getting the stable revision again.
    RollingBack,
    /// All phases have passed; the target is the stable revision now.
    Completed,
    /// The cohort has the stable revision again.
    RolledBack,
    /// Too many agents failed, or a person aborted, and there is no stable revision to go back to.
    Halted,
    /// The configuration is not sent, because agents could not run it.
    Invalid,
    /// A state that a newer version writes. Never written: whoever reads it leaves the object to that version.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// The agents of a group that are to run the target: the union of the terms. Within an attempt it only grows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cohort {
    /// Counts the attempts, each with another seed.
    pub attempt: i64,
    /// Orders the agents in this attempt, 16 lower-case hex digits.
    pub seed: String,
    /// An agent is in the cohort if it is in any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub terms: Vec<Term>,
    /// Where the attempt stands, whatever `state` shows: new content that cannot be sent changes nothing of it.
    /// `Running`: it goes through its phases. `Held`: too many agents failed, and `onFailure` is `Pause`.
    /// `RollingBack`: the cohort is getting the stable revision again. `RolledBack`: it has it, or had its time.
    /// `Halted`: it ended with nothing to go back to. `Completed`: all phases have passed.
    #[serde(default)]
    pub stage: Stage,
    /// The number of agents that `failureThreshold` is a share of. It never falls within an attempt.
    #[serde(default)]
    pub base: i64,
    /// Why the attempt ended, if it did not complete.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ended: String,
    /// When the attempt entered its stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Refusals from before this time are forgiven, by a `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Time>,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stage {
    /// It goes through its phases.
    #[default]
    Running,
    /// Too many agents failed, and `onFailure` is `Pause`.
    Held,
    /// The cohort is getting the stable revision again.
    RollingBack,
    /// The cohort has the stable revision again, or had its time.
    RolledBack,
    /// It ended with nothing to go back to.
    Halted,
    /// All phases have passed.
    Completed,
    /// A stage that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// Requests that were seen: the values of the annotations `fleet.opamp.dev/promote`, `abort`, `retry` and
/// `undo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// The last seen `promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote: Option<String>,
    /// The last seen `abort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<String>,
    /// The last seen `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
    /// The last seen `undo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// What an undo holds in place, until the content of `spec.config` or of an object that it refers to changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// Name of the revision that is rolled out, or was, in place of `spec.config`.
    pub revision: String,
    /// What `spec.config` is meanwhile: a revision's name, or why it is none.
    pub instead: String,
}

/// Part of a cohort: the agents that `selector` matches and whose rank is at most `boundary`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// The phase that added this term.
    pub phase: String,
    /// Only agents with these attributes; absent: all of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<AttributeSelector>,
    /// The highest rank that is in, 16 lower-case hex digits.
    pub boundary: String,
    /// When its agents were let in, where `maxInFlight` lets them in bit by bit; absent: when the phase began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// How many agents a rollout has, and what they said of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutAgentCounts {
    /// Agents of the group.
    #[serde(default)]
    pub total: i64,
    /// Agents that are connected, take configurations and say what became of them.
    #[serde(default)]
    pub eligible: i64,
    /// Eligible agents that are in the cohort.
    #[serde(default)]
    pub targeted: i64,
    /// Targeted agents that report the target as applied.
    #[serde(default)]
    pub updated: i64,
    /// Updated agents that are healthy, or do not report health.
    #[serde(default)]
    pub healthy: i64,
    /// Agents of the cohort that failed: refused the target, gave no verdict in time, fell ill or
    /// were started anew with it, or were lost.
    #[serde(default)]
    pub failed: i64,
    /// Targeted agents without a verdict.
    #[serde(default)]
    pub pending: i64,
    /// Agents that are not connected. They take their revision when they return.
    #[serde(default)]
    pub offline: i64,
    /// Connected agents that do not take configurations, or were built without a component of the target. They are not
    /// offered it.
    #[serde(default)]
    pub incompatible: i64,
    /// Connected agents that came with another group's revision and are not admitted yet. They keep what they run.
    #[serde(default)]
    pub adoptees: i64,
    /// Connected agents that take configurations, and neither say what became of them nor show what is in effect.
    /// They are in no count of the gate: a phase of only such agents needs `approval: Manual`.
    #[serde(default)]
    pub unverified: i64,
    /// In a dry run: eligible agents that run the new content already, so that nothing would change for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<i64>,
}

/// An agent that failed with the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureEntry {
    /// The agent's instance uid.
    pub agent: String,
    /// The host that the agent runs on, as it says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// `Failed`, `RolledBackByAgent`, `TimedOut`, `Unhealthy`, `Restarted` or `Lost`.
    pub reason: String,
    /// What the agent says of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it said so.
    pub at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// People's scripts and Argo CD's health check read them.
    #[test]
    fn states_keep_their_names() {
        let states = [
            (RolloutState::Pending, "Pending"),
            (RolloutState::Progressing, "Progressing"),
            (RolloutState::Completed, "Completed"),
            (RolloutState::Invalid, "Invalid"),
        ];
        for (state, name) in states {
            assert_eq!(serde_json::to_value(state).expect("JSON"), name);
            assert_eq!(serde_json::from_value::<RolloutState>(json!(name)).expect(name), state);
        }
    }

    /// A newer replica may write them while this one still runs.
    #[test]
    fn state_of_a_newer_version_is_read_and_no_user_can_write_it() {
        let read: ConfigRolloutStatus =
            serde_json::from_value(json!({"state": "Rehearsing"})).expect("a status");
        assert_eq!(read.state, RolloutState::Unknown);
        let read: crate::api::RevisionState = serde_json::from_value(json!("Expired")).expect("a state");
        assert_eq!(read, crate::api::RevisionState::Unknown);
        for schema in [schemars::schema_for!(RolloutState), schemars::schema_for!(crate::api::RevisionState)]
        {
            let text = serde_json::to_string(&schema).expect("JSON");
            assert!(text.contains("Pending") || text.contains("Proven"), "{text}");
            assert!(!text.contains("Unknown"), "{text}");
        }
    }

    #[test]
    fn empty_status_reads_as_pending() {
        let read: ConfigRolloutStatus = serde_json::from_value(json!({})).expect("a status");
        assert_eq!(read, ConfigRolloutStatus::default());
        assert_eq!(read.state, RolloutState::Pending);
    }

    #[test]
    fn format_left_out_is_a_collector_configuration() {
        let read: ConfigSpec = serde_json::from_value(json!({"files": []})).expect("a configuration");
        assert_eq!(read.format, ConfigFormat::Collector);
    }
}
