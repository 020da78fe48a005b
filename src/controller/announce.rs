//! Tells people of transitions and requests, by Events.

use super::context::Leader;
use crate::api::{ConfigRollout, ConfigRolloutStatus, Reason};
use crate::rollout::{Asked, news};

/// Tells of what has passed between two statuses.
pub async fn announce(
    leader: &Leader,
    rollout: &ConfigRollout,
    prior: &ConfigRolloutStatus,
    next: &ConfigRolloutStatus,
) {
    for told in news(prior, next) {
        leader.announcer.tell(rollout, told.warning, told.reason, &told.note).await;
    }
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
