//! Tells people of transitions and requests, by Events.

use super::context::Leader;
use crate::api::{ConditionType, ConfigRollout, ConfigRolloutStatus, Reason, RolloutState};
use crate::rollout::Asked;

/// Tells of transitions, and of nothing else.
pub async fn announce(
    leader: &Leader,
    rollout: &ConfigRollout,
    prior: &ConfigRolloutStatus,
    next: &ConfigRolloutStatus,
) {
    let same = prior.state == next.state
        && prior.target_revision == next.target_revision
        && stalled(prior) == stalled(next)
        && reason(prior) == reason(next);
    if same {
        return;
    }
    let warning = next.state == RolloutState::Invalid
        || stalled(next).is_some()
        || matches!(next.state, RolloutState::RollingBack | RolloutState::RolledBack | RolloutState::Halted);
    let target = next.target_revision.as_deref().unwrap_or("no revision yet");
    let note = format!("{:?} ({target}): {}", next.state, next.message);
    leader.announcer.tell(rollout, warning, reason(next).unwrap_or(Reason::Progressing), &note).await;
}

/// Tells of each request whether it was carried out, and why not.
pub async fn answer(leader: &Leader, rollout: &ConfigRollout, notices: &[Asked]) {
    for notice in notices {
        let (warning, reason, note) = match notice {
            Ok(request) => (false, Reason::RequestHandled, request.done()),
            Err(why) => (true, Reason::RequestRefused, why.clone()),
        };
        leader.announcer.tell(rollout, warning, reason, &note).await;
    }
}

/// Why a rollout is stalled, if it is.
pub fn stalled(status: &ConfigRolloutStatus) -> Option<&str> {
    let stalled =
        status.conditions.iter().find(|c| c.type_ == ConditionType::Stalled.as_str() && c.status == "True");
    stalled.map(|condition| condition.reason.as_str())
}

fn reason(status: &ConfigRolloutStatus) -> Option<Reason> {
    let ready = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str())?;
    Reason::parse(&ready.reason)
}
