//! Treats single agents of a group: decides, publishes the orders and what agents refused, and tells of what came of
//! them.

use super::context::{Error, Leader};
use crate::api::{CollectorGroup, RestartStatus};
use crate::cluster::{Written, write_exceptions};
use crate::fleet::{
    Cause, Excepted, Live, Memory, ObservedAgent, Restarts, Treatment, Treatments, bindings,
    has_newer_format, most_at_once, pack_exceptions, signed, unpack_exceptions,
};
use crate::heal::{Happened, News, Rules, Step, Terms, restart, step, tell, tell_missed};
use crate::rollout::Judged;
use crate::telemetry::{Attempt, SliceContents, Write};
use jiff::Timestamp;
use kube::ResourceExt;
use std::time::Duration;

/// What stands after a step.
pub struct Care {
    /// Who is treated, as replicas see it by now.
    pub treatments: Treatments,
    /// Who is started anew because a person asked for that, likewise.
    pub restarts: Restarts,
    /// How far that has come.
    pub restart: Option<RestartStatus>,
    /// When to look again, though nothing changes until then.
    pub wake: Option<Timestamp>,
    /// Something was decided, and could not be written yet: it is decided again after this time.
    pub undone: Option<Duration>,
}

impl Care {
    /// What stands now, with nothing to be done about it before something changes.
    fn of(told: Excepted, restart: Option<RestartStatus>) -> Self {
        let Excepted { treatments, restarts, .. } = told;
        Self { treatments, restarts, restart, wake: None, undone: None }
    }

    /// How many of these agents it disturbs.
    pub fn disturbed(&self, agents: &[&ObservedAgent]) -> usize {
        let is_disturbed = |agent: &&&ObservedAgent| {
            let treated = self.treatments.get(&agent.uid).is_some_and(Treatment::is_active);
            let restarted = self.restarts.get(&agent.uid).is_some_and(|restart| restart.missed.is_none());
            agent.connected && treated || restarted
        };
        agents.iter().filter(is_disturbed).count()
    }
}

/// Brings the treatments of a group's agents on, and their restarts, and has every replica know what they refused and,
/// where there is need, whose they are; an agent is missed after `patience`.
///
/// # Errors
/// When the API server does not take the orders; it is tried again.
pub async fn treat(
    leader: &Leader,
    group: &CollectorGroup,
    agents: &[&ObservedAgent],
    live: &Live<'_>,
    memory: &Memory,
    judged: &Judged,
    patience: Duration,
) -> Result<Care, Error> {
    let (namespace, name) = (group.namespace().unwrap_or_default(), group.name_any());
    let known = leader.observatory.exceptions(&namespace, &name);
    let prior = unpack_exceptions(known.iter().map(|slice| &slice.spec));
    let asked = group.status.as_ref().and_then(|status| status.restart.as_ref());
    let is_left = group.spec.has_newer_care() || known.iter().any(|slice| has_newer_format(&slice.spec));
    if leader.left.begins(&format!("care/{}", group.uid().unwrap_or_default()), is_left) {
        tracing::warn!(
            namespace,
            name,
            "single agents are left to a newer version: it says what is not known here"
        );
    }
    if is_left {
        return Ok(Care::of(prior, asked.cloned()));
    }
    let now = Timestamp::now();
    let telling_until = telling_until(group, leader.telemetry_settle).filter(|until| now < *until);
    let told = telling_until.map_or(0, |_| most_at_once(agents.len()));
    let rules = Rules::new(&group.spec, live.sides.retried_at, told, now);
    let Step { treatments, news, wake } =
        step(&prior.treatments, &prior.restarts, agents, live, |agent| judged.has(agent), &rules);
    let terms = Terms { patience, offline_after: group.spec.offline_after.get(), told, now };
    let is_busy = |agent: &ObservedAgent| agent.adoptee.is_some() || judged.has_reached(agent);
    let round = restart(asked, &prior.restarts, agents, &treatments, is_busy, &terms);
    let wake = [wake, round.wake, telling_until].into_iter().flatten().min();
    let refusals = memory.refusals(&prior.refusals, agents);
    let bindings = bindings(&prior.bindings, agents);
    let next = Excepted { treatments, restarts: round.restarts, refusals, bindings };
    if next == prior {
        return Ok(Care { wake, ..Care::of(next, round.status) });
    }
    let later = |undone| Ok(Care { undone: Some(undone), ..Care::of(prior.clone(), asked.cloned()) });
    let id = format!("exceptions/{}", group.uid().unwrap_or_default());
    if let Some(wait) = leader.hold_back(&id, false) {
        return later(wait);
    }
    if !leader.may_write() {
        return later(leader.retry);
    }
    let wanted = pack_exceptions(&name, &next);
    let written = write_exceptions(&leader.client, group, &known, wanted).await;
    count_write(leader, &written);
    match written? {
        Written::Yes | Written::Unchanged => {}
        Written::Conflict | Written::Deposed => return later(leader.status_interval),
    }
    count(leader, &news);
    for told in tell(&news).into_iter().chain(tell_missed(&round.missed)) {
        leader.announcer.tell(group, told.warning, told.reason, &told.note).await;
    }
    Ok(Care { wake, ..Care::of(next, round.status) })
}

/// Until when the agents that were told last where to send their own telemetry may be starting anew.
fn telling_until(group: &CollectorGroup, settle: Duration) -> Option<Timestamp> {
    let told = group.status.as_ref()?.assignment.as_ref()?.telemetry.as_ref()?;
    told.since.0.checked_add(signed(settle)).ok()
}

fn count_write(leader: &Leader, written: &kube::Result<Written>) {
    let write = match written {
        Ok(Written::Yes) => Write::Ok,
        Ok(Written::Unchanged) => return,
        Ok(Written::Conflict | Written::Deposed) => Write::Conflict,
        Err(_) => Write::Error,
    };
    leader.control_metrics.slices_written(SliceContents::Exceptions, write);
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
            Cause::Other(_) => {}
        }
    }
}
