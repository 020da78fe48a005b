//! What to tell people of a step: a function of the status before it and after it, so that each change is told once.

use super::message;
use crate::api::{
    Cohort, ConditionType, ConfigRolloutStatus, PhaseOutcome, PhaseStatus, Reason, RolloutState, Stage,
};

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether somebody should look.
    pub warning: bool,
    /// What it is.
    pub reason: Reason,
    /// The sentence for people.
    pub note: String,
}

impl News {
    fn new(warning: bool, reason: Reason, note: String) -> Self {
        Self { warning, reason, note }
    }
}

/// What there is to tell of the change from one status to the next; nothing where nothing has passed.
pub fn news(prior: &ConfigRolloutStatus, next: &ConfigRolloutStatus) -> Vec<News> {
    let mut told = Vec::new();
    told.extend(unpinned(prior, next));
    let same_attempt = attempt(prior).is_some() && attempt(prior) == attempt(next);
    for (index, step) in next.phases.iter().enumerate() {
        let before = prior.phases.iter().find(|before| same_attempt && before.phase.name == step.phase.name);
        told.extend(phase(next, index, step, before.map(|before| before.outcome).unwrap_or_default()));
    }
    told.extend(soaking(prior, next, same_attempt));
    let ended = ended(prior, next, same_attempt);
    // The end of an attempt is the state's news as well, unless other content is what the state is about.
    let covered = ended.is_some() && !is_about_content(next) || is_usual(next) && !told.is_empty();
    told.extend(ended);
    if !covered {
        told.extend(state(prior, next));
    }
    told
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

fn attempt(status: &ConfigRolloutStatus) -> Option<i64> {
    status.cohort.as_ref().map(|cohort| cohort.attempt)
}

fn target(status: &ConfigRolloutStatus) -> &str {
    status.target_revision.as_deref().unwrap_or("no revision yet")
}

fn unpinned(prior: &ConfigRolloutStatus, next: &ConfigRolloutStatus) -> Option<News> {
    let pinned = prior.pinned.as_ref().filter(|_| next.pinned.is_none())?;
    let note = format!("{} is no longer pinned: the content of spec.config counts again", pinned.revision);
    Some(News::new(false, Reason::Unpinned, note))
}

/// What became of a phase.
fn phase(next: &ConfigRolloutStatus, index: usize, step: &PhaseStatus, before: PhaseOutcome) -> Option<News> {
    if before == step.outcome {
        return None;
    }
    let name = phase_name(next, index, step);
    let counts = &next.agents;
    Some(match step.outcome {
        PhaseOutcome::Waiting | PhaseOutcome::Unknown => return None,
        PhaseOutcome::Running if before == PhaseOutcome::Failed => {
            News::new(false, Reason::PhaseStarted, format!("{name} goes on, failures forgiven"))
        }
        PhaseOutcome::Running => {
            let note = format!(
                "{name} started: {} of {} agents are to run it",
                step.count.unwrap_or_default(),
                counts.eligible
            );
            News::new(false, Reason::PhaseStarted, note)
        }
        PhaseOutcome::Skipped => {
            News::new(false, Reason::PhaseSkipped, format!("{name} skipped: it adds no agent"))
        }
        PhaseOutcome::Passed => {
            let note = format!(
                "{name} passed: {} agents updated, {} healthy, {} failed{}",
                counts.updated,
                counts.healthy,
                counts.failed,
                message::first_failure(&next.failures)
            );
            News::new(false, Reason::PhasePassed, note)
        }
        PhaseOutcome::Failed => News::new(true, Reason::PhaseFailed, format!("{name} failed: {}", why(next))),
    })
}

fn phase_name(next: &ConfigRolloutStatus, index: usize, step: &PhaseStatus) -> String {
    format!("phase {} of {} ({}) of {}", index + 1, next.phases.len(), step.phase.name, target(next))
}

fn why(status: &ConfigRolloutStatus) -> &str {
    status.cohort.as_ref().map(|cohort| cohort.ended.as_str()).unwrap_or_default()
}

/// That a phase has begun to soak; its clock is set once, whoever comes and goes meanwhile.
fn soaking(prior: &ConfigRolloutStatus, next: &ConfigRolloutStatus, same_attempt: bool) -> Option<News> {
    let current = next.current_phase.as_ref()?;
    let until = current.soak_until.as_ref()?;
    let before = prior.current_phase.as_ref().filter(|before| same_attempt && before.index == current.index);
    if next.state != RolloutState::Soaking || before.is_some_and(|before| before.soak_until.is_some()) {
        return None;
    }
    let step = next.phases.get(usize::try_from(current.index).ok()?)?;
    let note = format!(
        "{} soaks until {}: {} agents updated, {} healthy, {} failed",
        phase_name(next, usize::try_from(current.index).ok()?, step),
        message::clock(until.0),
        next.agents.updated,
        next.agents.healthy,
        next.agents.failed
    );
    Some(News::new(false, Reason::Soaking, note))
}

/// That an attempt has ended, or goes back.
fn ended(prior: &ConfigRolloutStatus, next: &ConfigRolloutStatus, same_attempt: bool) -> Option<News> {
    let Cohort { stage, .. } = next.cohort.as_ref()?;
    let before = prior.cohort.as_ref().filter(|_| same_attempt).map(|cohort| cohort.stage);
    if before == Some(*stage) {
        return None;
    }
    let (target, why) = (target(next), why(next));
    let stable = next.stable_revision.as_deref().unwrap_or_default();
    let failure = if why.starts_with("aborted") { Reason::Aborted } else { Reason::TooManyFailures };
    Some(match stage {
        Stage::Running | Stage::Unknown => return None,
        Stage::Completed => {
            let note = format!(
                "{target} completed: {} of {} agents updated, {} healthy, {} failed{}",
                next.agents.updated,
                next.agents.targeted,
                next.agents.healthy,
                next.agents.failed,
                message::first_failure(&next.failures)
            );
            News::new(false, Reason::Completed, note)
        }
        Stage::Held => News::new(true, failure, format!("{target} is stopped: {why}; retry or abort")),
        Stage::Halted => {
            News::new(true, failure, format!("{target} is halted, with nothing to go back to: {why}"))
        }
        Stage::RollingBack => News::new(true, failure, format!("{target} is rolled back to {stable}: {why}")),
        Stage::RolledBack => {
            News::new(true, Reason::RolledBack, format!("{target} was rolled back to {stable}: {why}"))
        }
    })
}

/// The state tells of content that is not the target's, while an attempt may go on beside it.
fn is_about_content(status: &ConfigRolloutStatus) -> bool {
    let dry = status.state == RolloutState::Paused && reason(status) == Some(Reason::DryRun);
    dry || matches!(status.state, RolloutState::Pending | RolloutState::Invalid)
}

/// The usual course of a phase, of which the phase's own news tells.
fn is_usual(status: &ConfigRolloutStatus) -> bool {
    matches!(status.state, RolloutState::Progressing | RolloutState::Soaking) && stalled(status).is_none()
}

/// That the state, or its reason, is another one. An agent that comes or goes in a soak is no news.
fn state(prior: &ConfigRolloutStatus, next: &ConfigRolloutStatus) -> Option<News> {
    let same = prior.state == next.state
        && prior.target_revision == next.target_revision
        && stalled(prior) == stalled(next)
        && reason(prior) == reason(next);
    if same || is_usual(prior) && is_usual(next) && attempt(prior) == attempt(next) {
        return None;
    }
    let warning = next.state == RolloutState::Invalid
        || stalled(next).is_some()
        || matches!(next.state, RolloutState::RollingBack | RolloutState::RolledBack | RolloutState::Halted);
    let note = format!("{:?} ({}): {}", next.state, target(next), next.message);
    Some(News::new(warning, reason(next).unwrap_or(Reason::Progressing), note))
}
