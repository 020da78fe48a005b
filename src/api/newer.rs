//! What a newer version says that this one does not know: in a rolling update the two run together, and the older one
//! leaves such an object to the newer.

use super::{
    Approval, AttributeSelector, CollectorGroupSpec, ConfigFormat, ConfigRollout, ConfigRolloutSpec,
    ConfigRolloutStatus, DriftMode, OnFailure, OnUnhealthy, Operator, Phase, PhaseOutcome, RestartState,
    RestartStatus, RolloutState, Stage,
};

impl AttributeSelector {
    /// Whether it compares in a way that is not known here: nobody can tell whom it selects.
    pub fn is_newer(&self) -> bool {
        self.match_expressions.iter().any(|requirement| requirement.operator == Operator::Unknown)
    }
}

impl Phase {
    fn is_newer(&self) -> bool {
        self.approval == Approval::Unknown || self.selector.as_ref().is_some_and(AttributeSelector::is_newer)
    }
}

impl ConfigRolloutSpec {
    fn is_newer(&self) -> bool {
        self.config.format == ConfigFormat::Unknown
            || self.strategy.on_failure == OnFailure::Unknown
            || self.strategy.phases.iter().any(Phase::is_newer)
    }
}

impl ConfigRolloutStatus {
    /// Whether the next step depends on something in it that is not known here. What became of phases that are over is
    /// only told.
    pub fn is_newer(&self) -> bool {
        let current = self.current_phase.as_ref().and_then(|current| usize::try_from(current.index).ok());
        let outcome = current.and_then(|index| self.phases.get(index)).map(|phase| phase.outcome);
        self.state == RolloutState::Unknown
            || outcome == Some(PhaseOutcome::Unknown)
            || self.phases.iter().any(|phase| phase.phase.is_newer())
            || self.cohort.as_ref().is_some_and(|cohort| {
                let mut selectors = cohort.terms.iter().filter_map(|term| term.selector.as_ref());
                cohort.stage == Stage::Unknown || selectors.any(AttributeSelector::is_newer)
            })
    }
}

impl ConfigRollout {
    /// Whether something decides in it that is not known here. Then nothing is decided on it, its group's assignment
    /// stands, and it holds its group as before.
    pub fn is_newer(&self) -> bool {
        self.spec.is_newer() || self.status.as_ref().is_some_and(ConfigRolloutStatus::is_newer)
    }
}

impl CollectorGroupSpec {
    /// Whether it asks for something to be done to single agents that is not known here: then nothing is.
    pub fn has_newer_care(&self) -> bool {
        self.drift.mode == DriftMode::Unknown || self.health.on_unhealthy == OnUnhealthy::Unknown
    }
}

impl RestartStatus {
    /// Whether it stands in a way that is not known here.
    pub fn is_newer(&self) -> bool {
        self.state == RestartState::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CollectorGroup;
    use serde_json::{Value, json};

    /// A rollout in its second phase, whose last one has a ring.
    fn rollout() -> Value {
        let ring = json!({"matchExpressions": [{"key": "ring", "operator": "In", "values": ["edge"]}]});
        let phases = json!([
            {"name": "canary", "agents": 1, "approval": "Manual", "outcome": "Passed"},
            {"name": "edge", "agents": "100%", "selector": ring, "outcome": "Running"},
            {"name": "full", "agents": "100%", "outcome": "Waiting"},
        ]);
        json!({
            "metadata": {"name": "r"},
            "spec": {"groupName": "g", "config": {"files": []},
                "strategy": {"phases": [{"name": "edge", "agents": "100%", "selector": ring}]}},
            "status": {
                "state": "Progressing", "phases": phases,
                "currentPhase": {"index": 1, "name": "edge", "display": "2/3 edge",
                    "startedAt": "2026-01-01T00:00:00Z", "progressAt": "2026-01-01T00:00:00Z"},
                "cohort": {"attempt": 1, "seed": "0000000000000001", "stage": "Running",
                    "terms": [{"phase": "edge", "boundary": "ffffffffffffffff", "selector": ring}]},
            },
        })
    }

    /// A manifest with another value at this place.
    fn with(mut manifest: Value, place: &str, value: &str) -> Value {
        let (object, key) = place.rsplit_once('/').expect("a path");
        manifest.pointer_mut(object).expect(object)[key] = value.into();
        manifest
    }

    /// What an older version does with each value that it does not know.
    #[test]
    fn rollout_is_left_alone_where_an_unknown_value_decides_and_only_there() {
        let read = |manifest| serde_json::from_value::<ConfigRollout>(manifest).expect("a rollout");
        assert!(!read(rollout()).is_newer());
        for (place, left) in [
            ("/spec/config/format", true),
            ("/spec/strategy/onFailure", true),
            ("/spec/strategy/phases/0/approval", true),
            ("/spec/strategy/phases/0/selector/matchExpressions/0/operator", true),
            ("/status/state", true),
            ("/status/cohort/stage", true),
            ("/status/cohort/terms/0/selector/matchExpressions/0/operator", true),
            ("/status/phases/0/outcome", false),
            ("/status/phases/1/outcome", true),
            ("/status/phases/2/outcome", false),
            ("/status/phases/2/approval", true),
            ("/status/phases/1/selector/matchExpressions/0/operator", true),
        ] {
            assert_eq!(read(with(rollout(), place, "Rehearsed")).is_newer(), left, "{place}");
        }
    }

    #[test]
    fn group_is_read_whatever_it_wants_done_and_says_what_is_not_known_of_it() {
        let group = json!({
            "metadata": {"name": "g"},
            "spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "drift": {}, "health": {}},
            "status": {"restart": {
                "token": "t", "requestedAt": "2026-01-01T00:00:00Z", "seed": "0000000000000001", "state": "Running"}},
        });
        let read = |manifest| {
            let group = serde_json::from_value::<CollectorGroup>(manifest).expect("a group");
            let restart = group.status.and_then(|status| status.restart).expect("a restart");
            (group.spec.selector.is_newer(), group.spec.has_newer_care(), restart.is_newer())
        };
        assert_eq!(read(group.clone()), (false, false, false));
        for (place, expected) in [
            ("/spec/selector/matchExpressions/0/operator", (true, false, false)),
            ("/spec/drift/mode", (false, true, false)),
            ("/spec/health/onUnhealthy", (false, true, false)),
            ("/status/restart/state", (false, false, true)),
        ] {
            assert_eq!(read(with(group.clone(), place, "Rehearsed")), expected, "{place}");
        }
    }
}
