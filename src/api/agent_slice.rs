//! AgentSlice: what one replica knows of up to 250 of its agents, written on edges only.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the entries' format that this program writes.
pub const SLICE_FORMAT_VERSION: u32 = 1;

/// Up to 250 agents of one replica, and the tables that their entries refer to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fleet.opamp.dev",
    version = "v1alpha1",
    kind = "AgentSlice",
    plural = "agentslices",
    doc = "Agents' state as one replica of the operator sees it. Written and read by the operator only; the \
        schema is internal and may change between versions.",
    namespaced,
    category = "fleet",
    derive = "Default",
    derive = "PartialEq",
    annotation("fleet.opamp.dev/schema", "8"),
    printcolumn = r#"{"name":"Replica", "type":"string", "jsonPath":".spec.replica"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AgentSliceSpec {
    /// Version of the entries' format. Of a later one than it knows a reader takes what all of them say in the same way:
    /// `groups`, and `u`, `g`, `t` and bit 1 of `f` of each agent.
    pub format_version: u32,
    /// Identity of the replica that writes this slice; in slices of exceptions, which the leader writes, empty.
    #[serde(default)]
    pub replica: String,
    /// Table of group names; entries refer to it by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Table of the holders of credentials that agents are bound to: 16 lower-case hex digits that stand for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// Table of agent versions (`service.version`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// Table of the builds of these agents: what they were built with, as far as it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildEntry>,
    /// Table of the rings (phases with a selector) that each entry was compared with, by key: 16 lower-case hex
    /// digits that stand for the selector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rings: Vec<String>,
    /// Table of content hashes, 64 lower-case hex digits each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<String>,
    /// Table of messages that agents gave with their verdicts, bounded and cleaned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// Table of places in configurations, bounded and cleaned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 250))]
    pub agents: Vec<AgentEntry>,
}

/// What agents were built with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildEntry {
    /// Stands for the hash that these agents report of their components: 16 lower-case hex digits.
    #[serde(rename = "k")]
    pub key: String,
    /// The component types of each section, separated by spaces: `receivers` to `otlp hostmetrics`.
    #[serde(rename = "c", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, String>,
}

/// One agent. Keys are short because ten thousand of these travel at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentEntry {
    /// Instance uid, 32 lower-case hex digits.
    #[serde(rename = "u")]
    pub uid: String,
    /// Host name, at most 64 bytes.
    #[serde(rename = "h", default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Index in `principals` of the holder whose agent it is; absent: anybody's. In slices of exceptions: whose it is where
    /// another holder's agent has come with the same uid, which is given another one.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<u32>,
    /// When the agent became that holder's, in seconds before `t`.
    #[serde(rename = "j", default, skip_serializing_if = "is_zero")]
    pub bound_before: i64,
    /// Index of the agent's group in `groups`; absent: in no group.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Index of another group that matches as well and lost, in `groups`.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub overlapping: Option<u32>,
    /// Index of what the agent was built with in `builds`; absent: it is not known.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub build: Option<u32>,
    /// Indexes in `rings` of those that the agent is in.
    #[serde(rename = "q", default, skip_serializing_if = "Vec::is_empty")]
    pub rings: Vec<u32>,
    /// Bits: 1 connected, 2 reports its health, 4 healthy, 8 takes configurations, 16 says what became of them, 32 was
    /// unhealthy when it was last offered something, 64 polls, 128 shows which configuration is in effect, 256 waits to
    /// be adopted, 512 takes the command to start anew, 1024 only visits: another replica has it, or nobody, and of this
    /// entry only the verdicts count, and when it was seen.
    #[serde(rename = "f")]
    pub flags: u32,
    /// Index of the agent's version in `versions`.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Index in `revisions` of the content that the agent reports as applied.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// What was seen of its effective configuration, compared with `r`; absent: nobody has looked.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub sight: Option<SightEntry>,
    /// The last order of the leader that was carried out, of those in slices of exceptions.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub done: Option<DoneEntry>,
    /// How the leader puts the agent right; in slices of exceptions only.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub treatment: Option<TreatmentEntry>,
    /// The restart that the leader has ordered because a person asked for it; in slices of exceptions only.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartEntry>,
    /// The agent's verdicts.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<VerdictEntry>,
    /// When the agent connected or, if it is not connected, when it was last seen; seconds since 1970.
    #[serde(rename = "t")]
    pub since: i64,
    /// When the agent's process was started, by its own clock, in seconds after `t`.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// When the agent came with another group's revision, in seconds after `t`; absent: it did not.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub adoptee: Option<i64>,
    /// When the replica last learned something of an agent that polls, or when that came back to it from others, in
    /// seconds after `t`. Of several replicas that are polled in turn, the one that learned something last is believed.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub news_after: i64,
    /// The agent's own number of the message that told that (`sequence_num`). Times are by the second, and the agent may
    /// have said more to another replica within the same one.
    #[serde(rename = "i", default, skip_serializing_if = "is_zero")]
    pub news_number: i64,
    /// When the agent's health last changed, in seconds after `t`.
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub health_after: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What was seen of an agent's effective configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SightEntry {
    /// `0` as it should be, `1` stale, `2` failed, `3` silent, `4` modified, `5` foreign, `6` changed. Any other: nobody
    /// can tell.
    #[serde(rename = "c")]
    pub code: u32,
    /// Index in `paths` of where it drifts.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<u32>,
    /// Since when, in seconds after the agent's `t`.
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub since: i64,
    /// Stands for what it reported when it had applied `r`: 16 lower-case hex digits.
    #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
    pub baseline: String,
}

/// An order of the leader that a replica has carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoneEntry {
    /// When the order was given, in seconds since 1970: an agent is given one in a second at most.
    #[serde(rename = "o")]
    pub order: i64,
    /// When it was carried out, in seconds after the order.
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub after: i64,
}

/// How the leader puts an agent right that drifts or stays unhealthy. The entry's `r` is the content that the agent is
/// to run, its `t` when this began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreatmentEntry {
    /// Why: `1` it drifts, `2` it is unhealthy. Others are unknown, and nothing is done.
    #[serde(rename = "c")]
    pub cause: u32,
    /// How many orders were given.
    #[serde(rename = "n", default)]
    pub orders: u32,
    /// The last order: `1` offer the content anew, `2` start the agent anew, `3` offer the stable revision instead.
    /// Others are unknown, and nothing is done.
    #[serde(rename = "o", default)]
    pub order: u32,
    /// When that was given, in seconds after the entry's `t`.
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    pub given: i64,
    /// When it was carried out, in seconds after it was given; absent: it is still to be.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub done: Option<i64>,
    /// The agent has the stable revision for itself alone, instead of the content that it is assigned.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub sent_back: bool,
    /// Since when the agent is well again, in seconds after the entry's `t`; absent: it is not.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub well: Option<i64>,
    /// Since when the agent is quarantined, in seconds after the entry's `t`; absent: it is not.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<i64>,
}

/// A restart that a person asked for, ordered for one agent. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestartEntry {
    /// When it was asked for.
    #[serde(rename = "a")]
    pub asked: i64,
    /// When it was ordered for this agent.
    #[serde(rename = "g")]
    pub given: i64,
    /// When the agent's process had been started by then, by its own clock; absent: it does not say.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// When it was carried out; absent: it is still to be.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub done: Option<i64>,
    /// Since when the agent is missed; absent: it is not.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<i64>,
}

/// What an agent said of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictEntry {
    /// Index in `revisions`.
    #[serde(rename = "r")]
    pub revision: u32,
    /// `1` applied, `2` failed, `3` rolled back by the agent. Of what it runs now: `4` it fell ill with it, `5` it was
    /// started anew. `6`: it was unhealthy when it was offered this, and was offered nothing else since. Others are unknown
    /// and are skipped.
    #[serde(rename = "c")]
    pub code: u32,
    /// Index in `messages`.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub message: Option<u32>,
    /// When, in seconds since 1970.
    #[serde(rename = "t")]
    pub at: i64,
}

/// Bits of [`AgentEntry::flags`]. Unknown bits are kept out of every decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFlags(pub u32);

impl EntryFlags {
    /// A replica holds a live connection, or saw a poll in time.
    pub const CONNECTED: Self = Self(1);
    /// The agent reports its health (capability `ReportsHealth`).
    pub const REPORTS_HEALTH: Self = Self(1 << 1);
    /// The last reported health is healthy.
    pub const HEALTHY: Self = Self(1 << 2);
    /// The agent takes configurations (capability `AcceptsRemoteConfig`).
    pub const ACCEPTS_CONFIG: Self = Self(1 << 3);
    /// The agent says what became of a configuration (capability `ReportsRemoteConfig`).
    pub const REPORTS_CONFIG: Self = Self(1 << 4);
    /// The agent was unhealthy when it was offered what it was offered last.
    pub const EXEMPT: Self = Self(1 << 5);
    /// The agent is attached by HTTP polls.
    pub const POLLING: Self = Self(1 << 6);
    /// The agent came with another group's revision, and keeps it until it is admitted.
    pub const WAITS: Self = Self(1 << 8);
    /// The agent takes the command to start anew (capability `AcceptsRestartCommand`).
    pub const ACCEPTS_RESTART: Self = Self(1 << 9);
    /// The agent was heard here, and this replica does not have it, or does not know all of it: only its verdicts count, and
    /// when it was seen.
    pub const VISITS: Self = Self(1 << 10);
    /// The agent shows which configuration is in effect (capability `ReportsEffectiveConfig`).
    pub const REPORTS_EFFECTIVE: Self = Self(1 << 7);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This with `other` added if `condition` holds.
    #[must_use]
    pub fn with(self, other: Self, condition: bool) -> Self {
        if condition { Self(self.0 | other.0) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: [EntryFlags; 5] = [
        EntryFlags::CONNECTED,
        EntryFlags::REPORTS_HEALTH,
        EntryFlags::HEALTHY,
        EntryFlags::ACCEPTS_CONFIG,
        EntryFlags::REPORTS_CONFIG,
    ];

    /// Replicas of neighbouring versions read each other's slices.
    #[test]
    fn flags_keep_their_bits() {
        assert_eq!(ALL.map(|flag| flag.0), [1, 2, 4, 8, 16]);
    }

    #[test]
    fn flags_contain_what_was_added_and_nothing_else() {
        let both = EntryFlags::default().with(EntryFlags::CONNECTED, true).with(EntryFlags::HEALTHY, true);
        assert_eq!(both.0, 5);
        assert_eq!(ALL.map(|flag| both.contains(flag)), [true, false, true, false, false]);
        assert!(both.contains(both) && both.contains(EntryFlags::default()));
        assert!(!EntryFlags::HEALTHY.contains(both), "one bit of two is not both");
    }

    #[test]
    fn flag_is_not_added_when_its_condition_does_not_hold() {
        let connected = EntryFlags::CONNECTED;
        assert_eq!(connected.with(EntryFlags::HEALTHY, false), connected);
        assert_eq!(connected.with(EntryFlags::CONNECTED, false), connected, "nor is it taken away");
    }

    #[test]
    fn entry_without_verdicts_is_written_without_empty_fields() {
        let entry = AgentEntry { uid: "0a".into(), flags: 1, since: 7, ..AgentEntry::default() };
        let written = serde_json::to_value(&entry).expect("JSON");
        assert_eq!(written, json!({"u": "0a", "f": 1, "t": 7}));
        assert_eq!(serde_json::from_value::<AgentEntry>(written).expect("an entry"), entry);
    }
}
