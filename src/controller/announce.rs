//! Tells people of transitions and requests, by Events.

use super::context::Leader;
use super::stamps::asked_by;
use crate::api::{ConfigRollout, ConfigRolloutStatus, Reason};
use crate::cluster::stamped_since;
use crate::rollout::{Asked, news};
use kube::Resource;

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

/// Tells of each request to a rollout whether it was carried out and who asked for it, and why not.
pub async fn answer(leader: &Leader, rollout: &ConfigRollout, notices: &[Asked]) {
    let notice = |asked: &Asked| match asked {
        Ok(request) => Ok((request.name(), request.done())),
        Err(why) => Err(why.clone()),
    };
    answer_all(leader, rollout, notices.iter().map(notice).collect()).await;
}

/// The same of requests to any object: each with its name and what was done, or why nothing was.
pub async fn answer_all<K: Resource<DynamicType = ()>>(
    leader: &Leader,
    object: &K,
    notices: Vec<Result<(&str, String), String>>,
) {
    if notices.is_empty() {
        return;
    }
    // An Event is news: it is not held back because nobody can say whether the stamps count.
    let since = stamped_since::<K>(&leader.client).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read whether requests are stamped");
        None
    });
    for notice in notices {
        let (warning, reason, note) = match notice {
            Ok((request, done)) => {
                let by = asked_by(object, request, since);
                let note = by.map_or_else(|| done.clone(), |user| format!("{done}; asked for by {user}"));
                (false, Reason::RequestHandled, note)
            }
            Err(why) => (true, Reason::RequestRefused, why),
        };
        leader.announcer.tell(object, warning, reason, &note).await;
    }
}
