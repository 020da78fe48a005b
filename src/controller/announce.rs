//! Tells people of transitions and requests, by Events.

use super::context::Leader;
use super::stamps::asked_by;
use crate::api::{ConfigRollout, ConfigRolloutStatus, Reason};
use crate::cluster::stamped_since;
use crate::rollout::{Asked, Request, news};
use jiff::Timestamp;

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

/// Tells of each request whether it was carried out and who asked for it, and why not.
pub async fn answer(leader: &Leader, rollout: &ConfigRollout, notices: &[Asked]) {
    if notices.is_empty() {
        return;
    }
    // An Event is news: it is not held back because nobody can say whether the stamps count.
    let since = stamped_since(&leader.client).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read whether requests are stamped");
        None
    });
    for notice in notices {
        let (warning, reason, note) = match notice {
            Ok(request) => (false, Reason::RequestHandled, carried_out(rollout, request, since)),
            Err(why) => (true, Reason::RequestRefused, why.clone()),
        };
        leader.announcer.tell(rollout, warning, reason, &note).await;
    }
}

fn carried_out(rollout: &ConfigRollout, request: &Request, stamped_since: Option<Timestamp>) -> String {
    match asked_by(rollout, request.name(), stamped_since) {
        Some(user) => format!("{}; asked for by {user}", request.done()),
        None => request.done(),
    }
}
