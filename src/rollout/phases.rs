//! Phases: who is let in, and when the next one begins.

use crate::api::{Cohort, ConfigRolloutStatus, CurrentPhase, Phase, PhaseOutcome, PhaseStatus, Share, Term};
use crate::fleet::{ObservedAgent, Rank, Seed};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Lays out a new attempt's phases, none of them begun.
pub fn plan(phases: &[Phase]) -> Vec<PhaseStatus> {
    let waiting = |phase: &Phase| PhaseStatus {
        phase: phase.clone(),
        count: None,
        started_at: None,
        outcome: PhaseOutcome::Waiting,
    };
    phases.iter().map(waiting).collect()
}

/// Begins the first phase from `index` on that lets somebody in; the ones before it are skipped. The last phase is
/// never skipped: it lets in whoever joins later. False if there is no phase left.
pub fn begin(
    status: &mut ConfigRolloutStatus,
    index: usize,
    agents: &[ObservedAgent],
    now: Timestamp,
) -> bool {
    let last = status.phases.len().saturating_sub(1);
    for index in index..status.phases.len() {
        let admitted = admit(status, index, agents);
        let Some(phase) = status.phases.get_mut(index) else { return false };
        phase.count = Some(admitted.count);
        if !admitted.grown && index != last {
            phase.outcome = PhaseOutcome::Skipped;
            continue;
        }
        phase.outcome = PhaseOutcome::Running;
        phase.started_at = Some(Time(now));
        let name = phase.phase.name.clone();
        status.current_phase = Some(CurrentPhase {
            index: i64::try_from(index).unwrap_or_default(),
            display: format!("{}/{} {name}", index + 1, status.phases.len()),
            name,
            started_at: Time(now),
            progress_at: Time(now),
            soak_until: None,
            paused_at: None,
        });
        return true;
    }
    false
}

/// What letting a phase's agents in came to.
struct Admitted {
    /// How many eligible agents are in the cohort now.
    count: i64,
    /// Whether anybody was let in who was not.
    grown: bool,
}

/// Fixes the phase's boundary: the rank of the Nth of the agents that can take the target now. Agents that join or
/// leave later never move it (design, section 5).
fn admit(status: &mut ConfigRolloutStatus, index: usize, agents: &[ObservedAgent]) -> Admitted {
    let (Some(cohort), Some(phase)) = (&mut status.cohort, status.phases.get(index)) else {
        return Admitted { count: 0, grown: false };
    };
    let Some(seed) = Seed::parse(&cohort.seed) else { return Admitted { count: 0, grown: false } };
    let mut ranks: Vec<Rank> =
        agents.iter().filter(|agent| agent.is_eligible()).map(|agent| seed.rank(agent.uid)).collect();
    ranks.sort_unstable();
    let wanted = phase.phase.agents.of(ranks.len());
    let boundary = if phase.phase.agents == Share::ALL {
        Some(Rank::ALL)
    } else {
        wanted.checked_sub(1).and_then(|last| ranks.get(last)).copied()
    };
    let before = highest(cohort);
    let within = |boundary: Option<Rank>| ranks.iter().filter(|rank| Some(**rank) <= boundary).count();
    let grown = within(boundary.max(before)) > within(before);
    if let Some(boundary) = boundary.filter(|boundary| Some(*boundary) > before) {
        let term = Term { phase: phase.phase.name.clone(), selector: None, boundary: boundary.to_string() };
        cohort.terms.push(term);
    }
    Admitted { count: super::tally::length(within(boundary.max(before))), grown }
}

/// The highest rank that is in the cohort.
fn highest(cohort: &Cohort) -> Option<Rank> {
    cohort.terms.iter().filter_map(|term| Rank::parse(&term.boundary)).max()
}

/// The phase that is under way, and its place.
pub fn current(status: &ConfigRolloutStatus) -> Option<(usize, &PhaseStatus)> {
    let index = usize::try_from(status.current_phase.as_ref()?.index).ok()?;
    Some((index, status.phases.get(index)?))
}

/// Notes what became of the phase that is under way.
pub fn end(status: &mut ConfigRolloutStatus, outcome: PhaseOutcome) {
    let Some(index) = current(status).map(|(index, _)| index) else { return };
    if let Some(phase) = status.phases.get_mut(index) {
        phase.outcome = outcome;
    }
}

/// Stops or starts the soak clock: while a rollout is paused no soak time passes.
pub fn pause(status: &mut ConfigRolloutStatus, paused: bool, now: Timestamp) {
    let Some(current) = &mut status.current_phase else { return };
    match (&current.paused_at, paused) {
        (None, true) => current.paused_at = Some(Time(now)),
        (Some(since), false) => {
            let stood = now.duration_since(since.0);
            for time in [current.soak_until.as_mut(), Some(&mut current.progress_at)].into_iter().flatten() {
                time.0 = time.0.saturating_add(stood).unwrap_or(Timestamp::MAX);
            }
            current.paused_at = None;
        }
        _ => {}
    }
}
