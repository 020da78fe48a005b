//! Restarts that a person asks for: a group's `handled` and `restart` in its status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The last value of each request to a group that was seen, by the name of its annotation. A value acts once, also if
/// it is still there later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupHandled {
    /// The last seen `restart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
}

/// How far a restart of a group's agents has come that was asked for by annotation `fleet.opamp.dev/restart`.
///
/// The agents have their turns in an order that is drawn anew for each request. At most a tenth of the group's agents,
/// and at least one, are started anew or put right at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// The value of the annotation.
    pub token: String,
    /// When it was seen. Agents that came, or were started, later are left alone.
    pub requested_at: Time,
    /// Orders the agents, 16 lower-case hex digits.
    pub seed: String,
    /// The highest rank that has had its turn, 16 lower-case hex digits; absent: none has.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boundary: String,
    /// Where it stands. `Running`: agents are under way, or have their turn still to come. `Completed`: every agent has
    /// had its turn. `Stopped`: more than a tenth of the agents did not come back healthy in time, so the others are
    /// left alone.
    pub state: RestartState,
    /// What the next agent's turn waits for, or why the restart has stopped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How many agents it is for.
    #[serde(default)]
    pub agents: i64,
    /// How many of them have been given the command.
    #[serde(default)]
    pub ordered: i64,
    /// How many of those came back, or have left the group.
    #[serde(default)]
    pub restarted: i64,
    /// How many of those did not come back healthy within the rollout's `applyTimeout`, and have not since.
    #[serde(default)]
    pub failed: i64,
    /// When it completed or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// Where a restart stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartState {
    /// Agents are under way, or have their turn still to come.
    Running,
    /// Every agent has had its turn.
    Completed,
    /// Too many agents did not come back.
    Stopped,
    /// A state that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}
