//! The custom resources of `fleet.opamp.dev/v1alpha1`: types, defaults, validation rules, conditions.
//!
//! Notation, the same for all kinds: durations are text (`90s`), references end in `Name` or `Ref`, enum values
//! are `CamelCase`, times are RFC 3339. The doc comments of the fields are what `kubectl explain` prints, so they
//! speak to the person who writes the manifest. The module knows no client: it is the vocabulary of all others.

mod agent_slice;
mod collector_group;
mod conditions;
mod config_revision;
mod config_rollout;
mod crds;
mod duration;
mod names;
mod newer;
mod restart;
mod rules;
mod selector;
mod share;
mod strategy;
mod telemetry;
mod upkeep;

pub use agent_slice::{
    AgentEntry, AgentSlice, AgentSliceSpec, BuildEntry, DoneEntry, EntryFlags, RestartEntry,
    SLICE_FORMAT_VERSION, SightEntry, TreatmentEntry, VerdictEntry,
};
pub use collector_group::{
    AdoptionStatus, AgentCounts, AssignmentStatus, CollectorGroup, CollectorGroupSpec, CollectorGroupStatus,
    Problem, ProblemKind,
};
pub use conditions::{ConditionStatus, Conditions, Reason, Type as ConditionType};
pub use config_revision::{
    ConfigRevision, ConfigRevisionSpec, ConfigRevisionStatus, FileSource, RevisionFile, RevisionState,
};
pub use config_rollout::{
    ConfigFormat, ConfigRollout, ConfigRolloutSpec, ConfigRolloutStatus, ConfigSpec, FailureEntry, FileSpec,
    KeyRef, RolloutAgentCounts, RolloutState,
};
pub use crds::{all as crds, to_yaml as crds_to_yaml};
pub use duration::Duration;
pub use names::*;
pub use restart::{GroupHandled, RestartState, RestartStatus};
pub use selector::{AttributeSelector, Operator, Requirement};
pub use share::Share;
pub use strategy::{Approval, CurrentPhase, OnFailure, Phase, PhaseOutcome, PhaseStatus, Strategy};
pub use telemetry::{TelemetrySpec, TelemetryStatus, TelemetryTarget};
pub use upkeep::{CorrectionSpec, DriftMode, DriftSpec, HealthSpec, OnUnhealthy};

/// A rollout's cohort, written by the leader and acted on by every replica (design, section 5).
pub use config_rollout::{Cohort, Handled, Pinned, Stage, Term};

/// Text that may hold a secret: serialises as itself, but its `Debug` tells the length only, because the kinds
/// that carry configuration bodies are logged by the Kubernetes client library.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Body(pub String);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn body_serialises_as_itself() {
        let body: Body = serde_json::from_value(json!("a: 1\n")).expect("a body");
        assert_eq!(body.0, "a: 1\n");
        assert_eq!(serde_json::to_value(&body).expect("JSON"), "a: 1\n");
    }

    #[test]
    fn kinds_that_carry_bodies_print_their_length_only() {
        let rollout: ConfigRollout = serde_json::from_value(json!({
            "metadata": {"name": "checkout"},
            "spec": {"groupName": "edge", "config": {"files": [{"name": "a", "inline": "s3cret"}]}},
        }))
        .expect("a rollout");
        let revision: ConfigRevision = serde_json::from_value(json!({
            "metadata": {"name": "checkout-1"},
            "spec": {
                "rollout": "checkout", "number": 1, "hash": "", "createdAt": "2026-01-01T00:00:00Z",
                "files": [{"name": "a", "size": 6, "source": "Inline", "body": "s3cret"}],
            },
        }))
        .expect("a revision");
        for printed in [format!("{rollout:?}"), format!("{revision:?}"), format!("{revision:#?}")] {
            assert!(printed.contains("Body(6 bytes)"), "{printed}");
            assert!(!printed.contains("s3cret"), "{printed}");
        }
    }
}
