//! CollectorGroup: who. Selects agents of a namespace and carries the assignment that replicas act on.

use super::rules::leader_term_rule;
use super::{
    AttributeSelector, DriftSpec, Duration, GroupHandled, HealthSpec, RestartStatus, TelemetrySpec,
    TelemetryStatus, Term,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which agents are in the group, and when one of them counts as gone.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fleet.opamp.dev",
    version = "v1alpha1",
    kind = "CollectorGroup",
    plural = "collectorgroups",
    doc = "A group of OpenTelemetry Collectors (and other OpAMP agents) that are configured together: who. A \
        ConfigRollout says what they run.",
    shortname = "cg",
    namespaced,
    category = "fleet",
    status = "CollectorGroupStatus",
    derive = "PartialEq",
    annotation("fleet.opamp.dev/schema", "8"),
    validation = leader_term_rule(),
    printcolumn = r#"{"name":"Matched", "type":"integer", "jsonPath":".status.agents.matched"}"#,
    printcolumn = r#"{"name":"Connected", "type":"integer", "jsonPath":".status.agents.connected"}"#,
    printcolumn = r#"{"name":"Healthy", "type":"integer", "jsonPath":".status.agents.healthy"}"#,
    printcolumn = r#"{"name":"In-Sync", "type":"integer", "jsonPath":".status.agents.inSync"}"#,
    printcolumn = r#"{"name":"Drifted", "type":"integer", "jsonPath":".status.agents.drifted"}"#,
    printcolumn = r#"{"name":"Revision", "type":"string", "jsonPath":".status.revision"}"#,
    printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CollectorGroupSpec {
    /// Which agents of this namespace belong to the group, by their attributes. Empty: all.
    #[serde(default)]
    pub selector: AttributeSelector,
    /// Keys of the selector that match only attributes which come from the agent's credential, not those that it merely
    /// reports: an agent whose credential does not have the key is taken to have no such attribute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub require_verified: Vec<String>,
    /// Decides when several groups match an agent: the highest wins, then the older group, then the name.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// How it is looked whether agents run what they report as applied, and what is done if they do not.
    #[serde(default)]
    pub drift: DriftSpec,
    /// What is done about agents that stay unhealthy.
    #[serde(default)]
    pub health: HealthSpec,
    /// Where agents send their own telemetry: what they measure and log of themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<TelemetrySpec>,
    /// Silence that means disconnected for agents that poll. In effect the larger of this and three times the
    /// agent's interval (30s where it is not known).
    #[serde(default = "default_offline_after")]
    pub offline_after: Duration,
    /// An agent that has been disconnected for so long is dropped from the counts.
    #[serde(default = "default_forget_after")]
    pub forget_after: Duration,
}

/// The default of [`CollectorGroupSpec::offline_after`].
fn default_offline_after() -> Duration {
    Duration::constant("90s")
}

/// The default of [`CollectorGroupSpec::forget_after`].
fn default_forget_after() -> Duration {
    Duration::constant("24h")
}

impl Default for CollectorGroupSpec {
    fn default() -> Self {
        Self {
            selector: AttributeSelector::default(),
            require_verified: Vec::new(),
            priority: 0,
            drift: DriftSpec::default(),
            health: HealthSpec::default(),
            telemetry: None,
            offline_after: default_offline_after(),
            forget_after: default_forget_after(),
        }
    }
}

/// What the operator sees of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectorGroupStatus {
    /// The generation of the spec that this status tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What each agent of the group is to run. Replicas of the operator act on nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<AssignmentStatus>,
    /// The term of the leader that wrote this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_term: Option<i64>,
    /// The requests that were seen; that says nothing of their success, an Event does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<GroupHandled>,
    /// The last restart of the group's agents that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartStatus>,
    /// Name of the revision that the group's agents are to run, or are being given: the one that is rolled out, and after
    /// a rollback the last known good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Name of the last known good revision: a rollout completed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// How many agents there are, and in what state.
    #[serde(default)]
    pub agents: AgentCounts,
    /// What a person should look at, ten entries at most, the worst first; an agent has one for each thing that is the
    /// matter with it, and no kind is left out because there are many of another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub problems: Vec<Problem>,
    /// Conditions Ready, Reconciling, Degraded, Drifted, Overlapping and `TelemetryOffered`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What each agent of a group is to run: `target` if it is in the cohort and has not refused it, else `stable`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentStatus {
    /// The group's generation that this was decided for. While it is behind, nothing is offered.
    pub generation: i64,
    /// Name of the revision that is being rolled out, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Name of the last known good revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// Counts the attempts of the rollout.
    #[serde(default)]
    pub attempt: i64,
    /// Orders the agents in this attempt, 16 lower-case hex digits.
    #[serde(default)]
    pub seed: String,
    /// The cohort: an agent is in it if it is in any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<Term>,
    /// The selectors of the attempt's phases. Replicas tell of each agent which of them match it, before such a phase
    /// begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub rings: Vec<AttributeSelector>,
    /// Which agents that came with another group's revision are admitted; absent: none, and there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<AdoptionStatus>,
    /// The stable revision is offered even to agents that refused it: a rollback asks everybody once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolling_back: bool,
    /// Refusals from before this time are forgiven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Time>,
    /// An agent that was offered its revision and has not answered for so long drifts: the rollout's `applyTimeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply_timeout: Option<Duration>,
    /// Which agents are told where to send their own telemetry; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<TelemetryStatus>,
}

/// How far the admission of agents has come that came with another group's revision. They keep what they run until
/// they are admitted, in the steps of the default phases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionStatus {
    /// Orders the agents in this adoption, 16 lower-case hex digits.
    pub seed: String,
    /// The highest rank that is admitted, 16 lower-case hex digits.
    pub boundary: String,
    /// Agents that came later than this wait for the next step.
    pub until: Time,
    /// The step's place, from 0.
    pub step: i64,
    /// When the adoption began.
    pub began: Time,
    /// When the step began.
    pub since: Time,
    /// Until when its agents must stay healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_until: Option<Time>,
    /// The number of agents that the threshold is a share of.
    #[serde(default)]
    pub base: i64,
    /// Why no further agents are admitted: too many of those before failed. Other content, or a change of the group,
    /// begins anew.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stopped: String,
}

impl Default for AdoptionStatus {
    fn default() -> Self {
        let epoch = Time(jiff::Timestamp::UNIX_EPOCH);
        Self {
            seed: String::new(),
            boundary: String::new(),
            until: epoch.clone(),
            step: 0,
            began: epoch.clone(),
            since: epoch,
            soak_until: None,
            base: 0,
            stopped: String::new(),
        }
    }
}

impl AssignmentStatus {
    /// The names of the live revisions.
    pub fn revisions(&self) -> Vec<String> {
        [&self.target, &self.stable].into_iter().flatten().cloned().collect()
    }
}

/// How many agents a group has, and in what state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentCounts {
    /// Agents that the selector matches, disconnected ones included until `forgetAfter`.
    #[serde(default)]
    pub matched: i64,
    /// Agents that are connected to some replica.
    #[serde(default)]
    pub connected: i64,
    /// Connected agents that report to be healthy, or do not report health at all.
    #[serde(default)]
    pub healthy: i64,
    /// Connected agents that report their assigned revision as applied, and are not seen to drift from it.
    #[serde(default)]
    pub in_sync: i64,
    /// Connected agents that do not run their assigned revision though they had the time: something else is in effect
    /// than what they report as applied, or they do not answer. Those that are being put right are among them.
    #[serde(default)]
    pub drifted: i64,
    /// Those of `inSync` of which nobody can tell what is in effect: they do not report it, or not so that it can be
    /// compared.
    #[serde(default)]
    pub unknown: i64,
    /// Agents that refused the target revision.
    #[serde(default)]
    pub failed: i64,
    /// Agents that are left alone, because nothing that was tried has lasted.
    #[serde(default)]
    pub quarantined: i64,
    /// Agents that have been away for longer than `offlineAfter`.
    #[serde(default)]
    pub offline: i64,
}

/// One thing that a person should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The agent's instance uid.
    pub agent: String,
    /// The host that the agent runs on, as it says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What kind of problem. `NotRolledBack`: the rollback is over, and the agent still runs the revision that was
    /// rolled back. `Failed`: the agent refused the target revision. `NothingToOffer`: it refused
    /// both revisions of its group. `Quarantined`: it is left alone, because nothing that was tried has
    /// lasted. `NotRestarted`: it was started anew because a person asked for that, and did not come back healthy in
    /// time. `Unhealthy`: it reports to be unhealthy. `Drifted`: something else is in
    /// effect than its revision, or it does not answer; the message has the class and the path. `SentBack`: it was ill
    /// with the target, and has the stable revision by itself. `Offline`: it has been away for longer than
    /// `offlineAfter`. `Incompatible`: it was built without a component of the target revision; one entry stands for
    /// all agents of its build.
    pub kind: ProblemKind,
    /// What the agent says of it, or where it drifts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when.
    pub since: Time,
}

/// Kinds of [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ProblemKind {
    /// The rollback is over, and the agent still runs the revision that was rolled back.
    NotRolledBack,
    /// The agent refused both revisions of its group and is offered nothing.
    NothingToOffer,
    /// The agent is left alone, because nothing that was tried has lasted.
    Quarantined,
    /// The agent refused the target revision.
    Failed,
    /// The agent was started anew because a person asked for that, and did not come back healthy in time.
    NotRestarted,
    /// The agent reports to be unhealthy.
    Unhealthy,
    /// The agent does not run its assigned revision though it had the time.
    Drifted,
    /// The agent was ill with the target, and has the stable revision by itself.
    SentBack,
    /// The agent has been away for longer than `offlineAfter`.
    Offline,
    /// The agent was built without a component of the target revision, and so were others of its build.
    Incompatible,
    /// A kind that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two writers of one default: the API server fills in the schema's, and tests and tools use the type's.
    #[test]
    fn empty_spec_reads_as_the_default() {
        let read: CollectorGroupSpec = serde_json::from_value(json!({})).expect("a spec");
        assert_eq!(read, CollectorGroupSpec::default());
        let seconds = [&read.offline_after, &read.forget_after].map(|duration| duration.get().as_secs());
        assert_eq!(seconds, [90, 24 * 3600]);
    }

    #[test]
    fn empty_status_reads_as_the_default() {
        let read: CollectorGroupStatus = serde_json::from_value(json!({})).expect("a status");
        assert_eq!(read, CollectorGroupStatus::default());
    }

    #[test]
    fn live_revisions_are_the_target_and_the_stable_one() {
        let mut assignment = AssignmentStatus::default();
        assert!(assignment.revisions().is_empty());
        assignment.stable = Some("checkout-1".into());
        assert_eq!(assignment.revisions(), ["checkout-1"]);
        assignment.target = Some("checkout-2".into());
        assert_eq!(assignment.revisions(), ["checkout-2", "checkout-1"]);
    }
}
