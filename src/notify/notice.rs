//! One thing to tell: what has happened to which object, and what there is to say of it.

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Most agents that a notice names.
pub const MAX_NAMED: usize = 3;

/// What has happened.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::EnumIter,
)]
pub enum Kind {
    /// An attempt has begun.
    RolloutStarted,
    /// A phase has passed its checks, and a person must let the next one begin.
    RolloutAwaitingApproval,
    /// All phases have passed.
    RolloutCompleted,
    /// Too many agents failed, or a person aborted.
    RolloutFailed,
    /// The agents have the stable revision again.
    RolloutRolledBack,
    /// The rollout cannot go on without help.
    RolloutStalled,
    /// A rollout that was stalled or stopped goes on.
    RolloutResumed,
    /// The rollout or its group was deleted before the rollout was complete, or while it was stalled.
    RolloutAbandoned,
    /// Agents are left alone, because nothing that was tried has lasted.
    AgentsQuarantined,
    /// No agent of the group is left alone any more.
    AgentsReleased,
}

/// What a notice means for an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It opens one, or adds to it.
    Trouble,
    /// It ends one.
    Relief,
    /// Neither.
    Course,
}

impl Kind {
    /// The name, as it stands in the file.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The name within the type of a CloudEvent.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::RolloutStarted => "rollout.started",
            Self::RolloutAwaitingApproval => "rollout.awaitingapproval",
            Self::RolloutCompleted => "rollout.completed",
            Self::RolloutFailed => "rollout.failed",
            Self::RolloutRolledBack => "rollout.rolledback",
            Self::RolloutStalled => "rollout.stalled",
            Self::RolloutResumed => "rollout.resumed",
            Self::RolloutAbandoned => "rollout.abandoned",
            Self::AgentsQuarantined => "agents.quarantined",
            Self::AgentsReleased => "agents.released",
        }
    }

    /// What it means for an incident.
    pub fn turn(self) -> Turn {
        match self {
            Self::RolloutStarted | Self::RolloutAwaitingApproval => Turn::Course,
            Self::RolloutFailed
            | Self::RolloutRolledBack
            | Self::RolloutStalled
            | Self::AgentsQuarantined => Turn::Trouble,
            Self::RolloutCompleted | Self::RolloutResumed | Self::RolloutAbandoned | Self::AgentsReleased => {
                Turn::Relief
            }
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::RolloutStarted => "has started",
            Self::RolloutAwaitingApproval => "waits for approval",
            Self::RolloutCompleted => "is complete",
            Self::RolloutFailed => "has failed",
            Self::RolloutRolledBack => "is rolled back",
            Self::RolloutStalled => "is stalled",
            Self::RolloutResumed => "goes on",
            Self::RolloutAbandoned => "is abandoned",
            Self::AgentsQuarantined => "has quarantined agents",
            Self::AgentsReleased => "has no quarantined agents any more",
        }
    }
}

/// How bad it is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::EnumIter,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Severity {
    /// For information.
    Info,
    /// Somebody should look.
    Warning,
    /// Something has failed, and was contained.
    Error,
    /// Something has failed, and was not.
    Critical,
}

impl Severity {
    /// The name, as PagerDuty has it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The object of which is told, and the write that made it news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version of it that was read before the write. A write is taken from each version once.
    pub version: String,
    /// When it was written.
    pub time: Timestamp,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The same for the same change of the same object, whoever tells it and however often.
    pub id: String,
    /// What has happened.
    pub kind: Kind,
    /// When.
    pub time: Timestamp,
    /// The namespace of the object.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// The reason, one of those that conditions have.
    pub reason: String,
    /// The sentence for people. Agents' own words may be in it: they are untrusted.
    pub message: String,
    /// What else there is to say.
    pub detail: Detail,
}

/// What else there is to say, by the kind of object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Detail {
    /// Of a rollout.
    Rollout(RolloutDetail),
    /// Of a group.
    Group(GroupDetail),
}

/// What else there is to say of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutDetail {
    /// The name of its group.
    pub group: String,
    /// Its state.
    pub state: String,
    /// Which attempt it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i64>,
    /// The phase under way, as it is printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The revision that is rolled out, or was last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_revision: Option<String>,
    /// The last known good revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// How many agents there are.
    pub agents: RolloutCounts,
    /// The first of the agents that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Named>,
}

/// A rollout's agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RolloutCounts {
    /// Those of the group.
    pub total: i64,
    /// Those that are to run the target.
    pub targeted: i64,
    /// Those of them that have applied it.
    pub updated: i64,
    /// Those of these that are healthy.
    pub healthy: i64,
    /// Those that failed.
    pub failed: i64,
}

/// What else there is to say of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDetail {
    /// How many agents there are.
    pub agents: GroupCounts,
    /// The first of the agents that are quarantined.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Named>,
}

/// A group's agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupCounts {
    /// Those that the selector matches.
    pub matched: i64,
    /// Those that are connected.
    pub connected: i64,
    /// Those that are quarantined.
    pub quarantined: i64,
}

/// An agent, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its instance uid.
    pub agent: String,
    /// The host that it says it runs on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What is wrong, in a word.
    pub reason: String,
    /// What it says itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Notice {
    /// One of this kind, of the object and the write that `origin` names.
    pub(super) fn new(origin: &Origin, kind: Kind, severity: Severity, reason: &str, detail: Detail) -> Self {
        let mut digest = Sha256::new();
        for part in [&origin.uid, &origin.version, kind.as_str()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self {
            id: format!("msg_{}", hex::encode(&digest.finalize()[..16])),
            kind,
            time: origin.time,
            namespace: origin.namespace.clone(),
            name: origin.name.clone(),
            severity,
            reason: reason.to_owned(),
            message: String::new(),
            detail,
        }
    }

    /// The same with this sentence.
    pub(super) fn saying(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// The kind of the object, as manifests have it.
    pub fn object_kind(&self) -> &'static str {
        match self.detail {
            Detail::Rollout(_) => "ConfigRollout",
            Detail::Group(_) => "CollectorGroup",
        }
    }

    /// The object's path: `namespaces/NAMESPACE/configrollouts/NAME`.
    pub fn subject(&self) -> String {
        let kinds = match self.detail {
            Detail::Rollout(_) => "configrollouts",
            Detail::Group(_) => "collectorgroups",
        };
        format!("namespaces/{}/{kinds}/{}", self.namespace, self.name)
    }

    /// A few words: what has happened to which object.
    pub fn title(&self) -> String {
        let what = match self.detail {
            Detail::Rollout(_) => "Rollout",
            Detail::Group(_) => "Group",
        };
        format!("{what} {}/{} {}", self.namespace, self.name, self.kind.says())
    }
}
