//! Tells people of transitions and requests: by Events, and by notifications.

use super::context::Leader;
use super::stamps::asked_by;
use crate::api::{CollectorGroup, CollectorGroupStatus, ConfigRollout, ConfigRolloutStatus, Reason};
use crate::cluster::{Written, stamped_since};
use crate::notify::{Notice, Origin, group_farewell, group_notices, rollout_farewell, rollout_notices};
use crate::rollout::{Asked, news};
use jiff::Timestamp;
use kube::{Resource, ResourceExt};

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

/// Has notifications of a rollout's change sent, if this write has made it.
pub fn notify_of_rollout(
    leader: &Leader,
    written: Written,
    rollout: &ConfigRollout,
    prior: &ConfigRolloutStatus,
    next: &ConfigRolloutStatus,
) {
    let group = &rollout.spec.group_name;
    leader.outbox.tell(of_write(written, rollout, |origin| rollout_notices(origin, group, prior, next)));
}

/// The same of a group's.
pub fn notify_of_group(
    leader: &Leader,
    written: Written,
    group: &CollectorGroup,
    prior: &CollectorGroupStatus,
    next: &CollectorGroupStatus,
) {
    leader.outbox.tell(of_write(written, group, |origin| group_notices(origin, prior, next)));
}

/// What is to be told when this rollout is deleted as it is.
pub fn of_deleted_rollout(rollout: &ConfigRollout) -> Option<Notice> {
    rollout_farewell(&origin(rollout), &rollout.spec.group_name, rollout.status.as_ref()?)
}

/// The same of a group.
pub fn of_deleted_group(group: &CollectorGroup) -> Option<Notice> {
    group_farewell(&origin(group), group.status.as_ref()?)
}

/// What there is to tell of a write. A change that was not written here is told by whoever writes it.
fn of_write<K: Resource>(
    written: Written,
    object: &K,
    notices: impl FnOnce(&Origin) -> Vec<Notice>,
) -> Vec<Notice> {
    if written != Written::Yes {
        return Vec::new();
    }
    notices(&origin(object))
}

fn origin<K: Resource>(object: &K) -> Origin {
    let meta = object.meta();
    Origin {
        namespace: object.namespace().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        time: Timestamp::now(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Kind;

    /// After a write that failed, the next look at the object decides anew, or another leader does.
    #[test]
    fn change_is_notified_by_whoever_wrote_it_and_by_nobody_else() {
        let manifest = serde_json::json!({
            "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "CollectorGroup",
            "metadata": {"name": "edge", "namespace": "shop", "uid": "0a", "resourceVersion": "41"}, "spec": {},
        });
        let group: CollectorGroup = serde_json::from_value(manifest).expect("a group");
        let mut next = CollectorGroupStatus::default();
        next.agents.quarantined = 1;
        let told = |written| {
            of_write(written, &group, |origin| {
                assert_eq!((origin.namespace.as_str(), origin.name.as_str()), ("shop", "edge"));
                assert_eq!((origin.uid.as_str(), origin.version.as_str()), ("0a", "41"));
                group_notices(origin, &CollectorGroupStatus::default(), &next)
            })
        };
        let kinds: Vec<Kind> = told(Written::Yes).iter().map(|notice| notice.kind).collect();
        assert_eq!(kinds, [Kind::AgentsQuarantined]);
        for failed in [Written::Unchanged, Written::Conflict, Written::Deposed] {
            assert_eq!(told(failed), [], "{failed:?}");
        }
    }
}
