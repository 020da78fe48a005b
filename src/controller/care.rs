//! Treats single agents of a group: decides, publishes the orders, and tells of what came of them.

use super::context::{Error, Leader};
use crate::api::CollectorGroup;
use crate::cluster::{Written, write_exceptions};
use crate::fleet::{Cause, Live, ObservedAgent, Treatments, pack_exceptions, unpack_exceptions};
use crate::heal::{Happened, News, Rules, Step, step, tell};
use crate::rollout::Judged;
use crate::telemetry::Attempt;
use jiff::Timestamp;
use kube::ResourceExt;
use std::time::Duration;

/// What stands after a step.
pub struct Care {
    /// Who is treated, as replicas see it by now.
    pub treatments: Treatments,
    /// When to look again, though nothing changes until then.
    pub wake: Option<Timestamp>,
    /// Something was decided, and could not be written yet: it is decided again after this time.
    pub undone: Option<Duration>,
}

/// Brings the treatments of a group's agents on.
///
/// # Errors
/// When the API server does not take the orders; it is tried again.
pub async fn treat(
    leader: &Leader,
    group: &CollectorGroup,
    agents: &[&ObservedAgent],
    live: &Live<'_>,
    judged: &Judged,
) -> Result<Care, Error> {
    let (namespace, name) = (group.namespace().unwrap_or_default(), group.name_any());
    let known = leader.observatory.exceptions(&namespace, &name);
    let prior: Treatments = known.iter().flat_map(|slice| unpack_exceptions(&slice.spec)).collect();
    let rules = Rules::new(&group.spec, live.sides.retried_at, Timestamp::now());
    let Step { treatments, news, wake } = step(&prior, agents, live, |agent| judged.has(agent), &rules);
    if treatments == prior {
        return Ok(Care { treatments, wake, undone: None });
    }
    let later = |undone| Ok(Care { treatments: prior.clone(), wake: None, undone: Some(undone) });
    let id = format!("exceptions/{}", group.uid().unwrap_or_default());
    if let Some(wait) = leader.hold_back(&id, false) {
        return later(wait);
    }
    if !leader.may_write() {
        return later(leader.retry);
    }
    match write_exceptions(&leader.client, group, &known, pack_exceptions(&name, &treatments)).await? {
        Written::Yes | Written::Unchanged => {}
        Written::Conflict | Written::Deposed => return later(leader.status_interval),
    }
    count(leader, &news);
    for told in tell(&news) {
        leader.announcer.tell(group, told.warning, told.reason, &told.note).await;
    }
    Ok(Care { treatments, wake, undone: None })
}

fn count(leader: &Leader, news: &[News]) {
    for News { what, .. } in news {
        let (cause, order, attempt) = match what {
            Happened::Helped(cause, order) => (cause, order, Attempt::Helped),
            Happened::Failed(cause, order) => (cause, order, Attempt::Failed),
            Happened::Unverified(cause, order) => (cause, order, Attempt::Unverified),
            Happened::Ordered(..) | Happened::Quarantined(_) | Happened::Released(_) => continue,
        };
        match cause {
            Cause::Drift => leader.fleet_metrics.corrected(attempt),
            Cause::Illness => leader.fleet_metrics.healed(order.into(), attempt),
        }
    }
}
