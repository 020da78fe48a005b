//! Standard conditions: their types and reasons, and the one way to change a list of them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The types of condition that this operator owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
pub enum Type {
    /// The object is as its spec says; computed from the others (kstatus).
    Ready,
    /// Work is under way (kstatus).
    Reconciling,
    /// Work cannot go on without help (kstatus).
    Stalled,
    /// The rollout stands still.
    Paused,
    /// The rollout failed, and its agents have the stable revision again.
    RolledBack,
    /// The group serves, but not as it should.
    Degraded,
    /// Agents do not run their assigned revision, though they had the time.
    Drifted,
    /// Agents of this group are matched by another group too.
    Overlapping,
    /// Agents know where to send their own telemetry.
    TelemetryOffered,
}

impl Type {
    /// The type's text in manifests.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
}

impl ConditionStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Why a condition has its value; also the reason of the Events that tell of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
pub enum Reason {
    /// The rollout waits for its group to be created.
    GroupNotFound,
    /// A referenced ConfigMap, Secret or key does not exist yet.
    SourceNotFound,
    /// No agent of the group is connected and able to take a configuration.
    NoReachableAgents,
    /// Agents are taking the target revision.
    Progressing,
    /// All phases have passed.
    Completed,
    /// The phase's agents must stay healthy for a while.
    Soaking,
    /// A person must let the next phase begin.
    AwaitingApproval,
    /// A phase has begun, or goes on after a retry.
    PhaseStarted,
    /// A phase's agents have stayed healthy for as long as they had to, or a person has promoted it.
    PhasePassed,
    /// A phase was left out, because it adds no agent.
    PhaseSkipped,
    /// The attempt ended in this phase.
    PhaseFailed,
    /// The cohort has the stable revision again.
    RolledBack,
    /// An undo holds no longer, because the content has changed.
    Unpinned,
    /// The rollout stands still because `spec.paused` says so.
    Paused,
    /// New content is planned and not started, because annotation `fleet.opamp.dev/dry-run` says so.
    DryRun,
    /// More agents failed than `failureThreshold` allows.
    TooManyFailures,
    /// A person ended the attempt.
    Aborted,
    /// The phase has made no progress for `progressDeadline`.
    ProgressDeadlineExceeded,
    /// As many agents outside the cohort are gone as in it: the network, not the revision.
    ConnectivityLost,
    /// The content was rejected before.
    RevisionRejected,
    /// A request was carried out.
    RequestHandled,
    /// A request could not be carried out.
    RequestRefused,
    /// The configuration would not start a Collector.
    InvalidConfig,
    /// The phases cannot be gone through.
    InvalidPhases,
    /// A referenced Secret does not carry the label that shares it.
    SecretNotShared,
    /// All bodies together are too large.
    ConfigTooLarge,
    /// An older rollout holds the group.
    GroupTaken,
    /// Agents that came with another group's revision are being admitted.
    Adopting,
    /// Too many of the agents that were admitted failed.
    AdoptionStopped,
    /// The group has no agents.
    NoAgents,
    /// The group has no configuration to give.
    NoConfiguration,
    /// Every connected agent runs its assigned revision, healthy.
    AllInSync,
    /// Connected agents do not all run their assigned revision, healthy.
    AgentsNotInSync,
    /// A rollback has ended, and agents still run what was rolled back.
    RollbackIncomplete,
    /// The rollout was deleted before it completed; the assignment stands still.
    RolloutDeleted,
    /// Agents are matched by several groups.
    AgentsInSeveralGroups,
    /// Agents do not run their assigned revision, though they had the time.
    AgentsDrifted,
    /// No agent drifts any more.
    NoDrift,
    /// Agents are left alone, because nothing that was tried has lasted.
    AgentsQuarantined,
    /// An agent did not come back healthy after the restart that was asked for.
    NotRestarted,
    /// Every agent has had its turn in the restart that was asked for.
    RestartCompleted,
    /// Too many agents did not come back healthy after the restart that was asked for; the others are left alone.
    RestartStopped,
    /// The group serves as it should again.
    NotDegraded,
    /// A Secret with headers for agents' own telemetry has something else than headers.
    InvalidHeaders,
    /// All agents were told where to send their own telemetry.
    AllTold,
    /// Agents are being told where to send their own telemetry.
    TellingAgents,
    /// An agent that drifts is offered its revision anew.
    Correcting,
    /// An agent that drifted runs its revision again.
    Corrected,
    /// Something is done to an agent that stays unhealthy.
    Healing,
    /// An agent that was unhealthy is healthy again.
    Healed,
    /// An agent that is ill with the target is offered the stable revision by itself.
    SentBack,
    /// An agent is left alone, because nothing that was tried has lasted.
    Quarantined,
    /// An agent is no longer left alone.
    Released,
}

impl Reason {
    /// The reason's text: the variant's name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The reason with this text, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Changes a list of conditions so that `lastTransitionTime` moves only with the value.
pub struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts from the conditions that stand in a status.
    pub fn new(list: Vec<Condition>, generation: Option<i64>, now: Timestamp) -> Self {
        Self { list, generation, now }
    }

    /// Sets one condition.
    pub fn set(&mut self, kind: Type, status: impl Into<ConditionStatus>, reason: Reason, message: &str) {
        let status = status.into().as_str();
        let old = self.list.iter().find(|c| c.type_ == kind.as_str());
        let since =
            old.filter(|c| c.status == status).map_or(Time(self.now), |c| c.last_transition_time.clone());
        let new = Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: message.to_owned(),
            observed_generation: self.generation,
            last_transition_time: since,
        };
        match self.list.iter_mut().find(|c| c.type_ == kind.as_str()) {
            Some(slot) => *slot = new,
            None => self.list.push(new),
        }
    }

    /// Takes a condition away: absent is a value too (design, section 2).
    pub fn clear(&mut self, kind: Type) {
        self.list.retain(|c| c.type_ != kind.as_str());
    }

    /// The finished list, in a stable order.
    pub fn into_list(mut self) -> Vec<Condition> {
        self.list.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn set_ready(list: Vec<Condition>, second: i64, ready: bool, message: &str) -> Vec<Condition> {
        let mut conditions = Conditions::new(list, Some(1), at(second));
        conditions.set(Type::Ready, ready, Reason::Progressing, message);
        conditions.into_list()
    }

    #[test]
    fn transition_time_stays_while_only_the_message_changes() {
        let list = set_ready(set_ready(vec![], 1, false, "one"), 2, false, "two");
        assert_eq!(list[0].last_transition_time, Time(at(1)));
        assert_eq!(list[0].message, "two");
    }

    #[test]
    fn transition_time_moves_when_the_value_changes() {
        let list = set_ready(set_ready(vec![], 1, false, "one"), 2, true, "one");
        assert_eq!(list[0].last_transition_time, Time(at(2)));
        assert_eq!(list[0].status, "True");
    }

    #[test]
    fn cleared_condition_is_absent() {
        let mut conditions = Conditions::new(set_ready(vec![], 1, true, ""), None, at(2));
        conditions.clear(Type::Ready);
        assert!(conditions.into_list().is_empty());
    }
}
