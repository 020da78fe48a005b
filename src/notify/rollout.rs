//! What to tell of a rollout: a function of its status before a write and after it, so that each change is told once.

use super::notice::{Detail, Kind, MAX_NAMED, Named, Notice, Origin, RolloutCounts, RolloutDetail, Severity};
use crate::api::{ConditionType, ConfigRolloutStatus, Reason, RolloutState, Stage};

#[cfg(test)]
mod tests;

/// What there is to tell of the change from one status of a rollout for `group` to the next; nothing where nothing has
/// passed. Phases are not told one by one: Events do that.
pub fn rollout_notices(
    origin: &Origin,
    group: &str,
    before: &ConfigRolloutStatus,
    after: &ConfigRolloutStatus,
) -> Vec<Notice> {
    let detail = detail(group, after);
    let notice = |kind| {
        let (severity, reason) = (severity(kind, after), reason(after));
        Notice::new(origin, kind, severity, &reason, Detail::Rollout(detail.clone()))
            .saying(message(kind, group, before, after))
    };
    kinds(before, after).into_iter().map(notice).collect()
}

/// What there is to tell of a rollout for `group` that was deleted with this status: people may be waiting for its end, and
/// nothing else will tell them. One that was complete, or never began, has nobody waiting.
pub fn rollout_farewell(origin: &Origin, group: &str, last: &ConfigRolloutStatus) -> Option<Notice> {
    if !is_open(last) || lacks_group(last) {
        return None;
    }
    let (kind, reason) = (Kind::RolloutAbandoned, Reason::RolloutDeleted.as_str());
    let message = format!("it was deleted, and agents keep what they run; {}", standing(last));
    Some(
        Notice::new(origin, kind, Severity::Info, reason, Detail::Rollout(detail(group, last)))
            .saying(message),
    )
}

/// Whether somebody may be waiting for the end of what was told of a rollout.
fn is_open(status: &ConfigRolloutStatus) -> bool {
    stalled(status).is_some() || stage(status).is_some_and(|stage| stage != Stage::Completed)
}

/// Whether the rollout's group is not there: then nothing becomes of it, and all that was open was told to be over.
fn lacks_group(status: &ConfigRolloutStatus) -> bool {
    reason(status) == Reason::GroupNotFound.as_str()
}

fn kinds(before: &ConfigRolloutStatus, after: &ConfigRolloutStatus) -> Vec<Kind> {
    if lacks_group(after) {
        let ends = is_open(before) && !lacks_group(before);
        return if ends { vec![Kind::RolloutAbandoned] } else { Vec::new() };
    }
    let mut told = Vec::new();
    let same_attempt = attempt(before) == attempt(after);
    if !same_attempt && attempt(after).is_some() {
        told.push(Kind::RolloutStarted);
    }
    // Once its group is there again, what has failed is told again.
    let is_known = |stage: &Stage| same_attempt && !(lacks_group(before) && has_failed(*stage));
    let was = stage(before).filter(is_known);
    if was != stage(after) {
        told.extend(match stage(after) {
            Some(Stage::Completed) => vec![Kind::RolloutCompleted],
            Some(Stage::Held | Stage::Halted | Stage::RollingBack) => vec![Kind::RolloutFailed],
            Some(Stage::RolledBack) if was == Some(Stage::RollingBack) => vec![Kind::RolloutRolledBack],
            // There was nobody to wait for.
            Some(Stage::RolledBack) => vec![Kind::RolloutFailed, Kind::RolloutRolledBack],
            Some(Stage::Running) if was.is_some_and(has_failed) => vec![Kind::RolloutResumed],
            Some(Stage::Running | Stage::Unknown) | None => vec![],
        });
    }
    if let Some(phase) = approval(after)
        && (!same_attempt || approval(before) != Some(phase))
    {
        told.push(Kind::RolloutAwaitingApproval);
    }
    match (stalled(before), stalled(after)) {
        (was, Some(is)) if was != Some(is) => told.push(Kind::RolloutStalled),
        // What has failed is no better for that, and what has completed is told.
        (Some(_), None)
            if !stage(after).is_some_and(has_failed) && !told.contains(&Kind::RolloutCompleted) =>
        {
            told.push(Kind::RolloutResumed);
        }
        _ => {}
    }
    told
}

fn attempt(status: &ConfigRolloutStatus) -> Option<i64> {
    status.cohort.as_ref().map(|cohort| cohort.attempt)
}

fn stage(status: &ConfigRolloutStatus) -> Option<Stage> {
    status.cohort.as_ref().map(|cohort| cohort.stage)
}

fn has_failed(stage: Stage) -> bool {
    matches!(stage, Stage::Held | Stage::Halted | Stage::RollingBack | Stage::RolledBack)
}

/// The phase that waits for approval.
fn approval(status: &ConfigRolloutStatus) -> Option<i64> {
    let phase = status.current_phase.as_ref().map(|phase| phase.index);
    phase.filter(|_| status.state == RolloutState::AwaitingApproval)
}

/// Why a rollout is stalled; an attempt that has failed is told as that.
fn stalled(status: &ConfigRolloutStatus) -> Option<&str> {
    if matches!(status.state, RolloutState::RolledBack | RolloutState::Halted) {
        return None;
    }
    let is_stalled = |type_: &str, value: &str| type_ == ConditionType::Stalled.as_str() && value == "True";
    let found = status.conditions.iter().find(|c| is_stalled(&c.type_, &c.status));
    found.map(|condition| condition.reason.as_str())
}

fn reason(status: &ConfigRolloutStatus) -> String {
    let ready = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str());
    ready.map(|condition| condition.reason.clone()).unwrap_or_default()
}

fn severity(kind: Kind, after: &ConfigRolloutStatus) -> Severity {
    match kind {
        Kind::RolloutFailed | Kind::RolloutRolledBack if reason(after) == Reason::Aborted.as_str() => {
            Severity::Warning
        }
        // With nothing to go back to, the agents keep what fails.
        Kind::RolloutFailed if stage(after) == Some(Stage::Halted) => Severity::Critical,
        Kind::RolloutFailed | Kind::RolloutRolledBack => Severity::Error,
        Kind::RolloutStalled => Severity::Warning,
        _ => Severity::Info,
    }
}

fn message(kind: Kind, group: &str, before: &ConfigRolloutStatus, after: &ConfigRolloutStatus) -> String {
    let target = after.target_revision.as_deref().unwrap_or("no revision");
    let why = after.cohort.as_ref().map(|cohort| cohort.ended.as_str()).unwrap_or_default();
    match kind {
        Kind::RolloutStarted => {
            let phases = match after.phases.len() {
                1 => "1 phase".to_owned(),
                phases => format!("{phases} phases"),
            };
            let stable = after.stable_revision.as_deref().filter(|stable| *stable != target);
            let stable = stable.map_or_else(String::new, |stable| format!("; stable is {stable}"));
            format!("{target} goes to {} agents of group {group} in {phases}{stable}", after.agents.eligible)
        }
        Kind::RolloutFailed => {
            let stable = after.stable_revision.as_deref().unwrap_or_default();
            match stage(after) {
                Some(Stage::Held) => format!("{target} is stopped: {why}; retry or abort"),
                Some(Stage::Halted) => format!("{target} is halted, with nothing to go back to: {why}"),
                _ => format!("{target} is rolled back to {stable}: {why}"),
            }
        }
        Kind::RolloutResumed => {
            let was =
                stalled(before).map_or_else(String::new, |reason| format!(" (it was stalled: {reason})"));
            format!("{}{was}", after.message)
        }
        Kind::RolloutAbandoned => {
            format!("its group {group} was deleted, and agents keep what they run; {}", standing(before))
        }
        _ => format!("{target}: {}", after.message),
    }
}

fn standing(status: &ConfigRolloutStatus) -> String {
    format!("the rollout was {:?}: {}", status.state, status.message)
}

fn detail(group: &str, status: &ConfigRolloutStatus) -> RolloutDetail {
    let agents = &status.agents;
    // The first ones stand last.
    let failures = status.failures.iter().rev().take(MAX_NAMED).map(|failure| Named {
        agent: failure.agent.clone(),
        host: failure.host.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
    });
    RolloutDetail {
        group: group.to_owned(),
        state: format!("{:?}", status.state),
        attempt: attempt(status),
        phase: status.current_phase.as_ref().map(|phase| phase.display.clone()),
        target_revision: status.target_revision.clone(),
        stable_revision: status.stable_revision.clone(),
        agents: RolloutCounts {
            total: agents.total,
            targeted: agents.targeted,
            updated: agents.updated,
            healthy: agents.healthy,
            failed: agents.failed,
        },
        failures: failures.collect(),
    }
}
