//! The conditions of a rollout: the table of the design's section 2.

use crate::api::{ConditionType, Conditions, Reason, RolloutState};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// What a step comes to, as the status and its conditions tell it.
pub struct Outcome {
    /// The rollout's state.
    pub state: RolloutState,
    /// Why it is in this state.
    pub reason: Reason,
    /// Whether it cannot go on without help, although its state would.
    pub stalled: bool,
    /// The sentence for people.
    pub message: String,
}

impl Outcome {
    /// One that goes on, or ends, as its state says.
    pub fn new(state: RolloutState, reason: Reason, message: impl Into<String>) -> Self {
        Self { state, reason, stalled: false, message: message.into() }
    }

    /// The same, but it cannot go on without help.
    pub fn stalled(self) -> Self {
        Self { stalled: true, ..self }
    }
}

/// Writes the conditions. `Ready` is the summary that kstatus and Argo CD read.
pub fn conditions(
    prior: Vec<Condition>,
    generation: i64,
    now: Timestamp,
    outcome: &Outcome,
) -> Vec<Condition> {
    let mut list = Conditions::new(prior, Some(generation), now);
    let Outcome { state, reason, stalled, ref message } = *outcome;
    list.set(ConditionType::Ready, state == RolloutState::Completed && !stalled, reason, message);
    match shape(state, stalled) {
        Shape::Working => {
            list.set(ConditionType::Reconciling, true, reason, message);
            list.clear(ConditionType::Stalled);
        }
        Shape::Standing => {
            list.set(ConditionType::Reconciling, false, reason, message);
            list.clear(ConditionType::Stalled);
        }
        Shape::Done => {
            list.clear(ConditionType::Reconciling);
            list.clear(ConditionType::Stalled);
        }
        Shape::Failed => {
            list.clear(ConditionType::Reconciling);
            list.set(ConditionType::Stalled, true, reason, message);
        }
        Shape::Stuck => {
            list.set(ConditionType::Reconciling, false, reason, message);
            list.set(ConditionType::Stalled, true, reason, message);
        }
    }
    for (kind, holds) in [
        (ConditionType::Paused, state == RolloutState::Paused),
        (ConditionType::RolledBack, state == RolloutState::RolledBack),
    ] {
        if holds {
            list.set(kind, true, reason, message);
        } else {
            list.clear(kind);
        }
    }
    list.into_list()
}

/// A row of the table.
enum Shape {
    Working,
    Standing,
    Done,
    Failed,
    Stuck,
}

fn shape(state: RolloutState, stalled: bool) -> Shape {
    use RolloutState as State;
    match state {
        _ if stalled => Shape::Stuck,
        State::Pending
        | State::Progressing
        | State::Soaking
        | State::RollingBack
        // Nothing is decided on it.
        | State::Unknown => Shape::Working,
        State::AwaitingApproval | State::Paused => Shape::Standing,
        State::Completed => Shape::Done,
        State::RolledBack | State::Halted | State::Invalid => Shape::Failed,
    }
}
