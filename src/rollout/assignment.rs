//! Derives a group's assignment from the status of the rollout that holds it.

use crate::api::{AssignmentStatus, AttributeSelector, Cohort, ConfigRolloutStatus, Duration, Stage};

/// Most rings that stand in an assignment: as many as a rollout may have phases.
const MAX_RINGS: usize = 10;

/// What the agents of a group are to run.
///
/// Without a rollout, or before the rollout has started an attempt, the assignment stands as it is: deleting a
/// rollout leaves agents with what they run, and so does an invalid or incomplete new content. A rollback empties
/// the cohort: everybody is to run stable. `apply_timeout` is the rollout's, and stays when that is gone.
pub fn assignment(
    prior: Option<&AssignmentStatus>,
    generation: i64,
    rollout: Option<&ConfigRolloutStatus>,
    apply_timeout: Option<&Duration>,
) -> AssignmentStatus {
    let standing = || {
        let mut standing = prior.cloned().unwrap_or_default();
        // A dry run before the first attempt wants to know who is in which ring.
        let planned = rollout.map(rings).unwrap_or_default();
        standing.rings.extend(planned.into_iter().filter(|ring| !knows(prior, ring)));
        standing.rings.truncate(MAX_RINGS);
        standing
    };
    let started =
        rollout.and_then(|status| Some((status, status.target_revision.as_ref()?, status.cohort.as_ref()?)));
    let next = started.map_or_else(standing, |(status, target, cohort)| AssignmentStatus {
        target: Some(target.clone()),
        stable: status.stable_revision.clone(),
        attempt: cohort.attempt,
        seed: cohort.seed.clone(),
        terms: if lets_nobody_in(cohort) { Vec::new() } else { cohort.terms.clone() },
        rings: rings(status),
        rolling_back: cohort.stage == Stage::RollingBack,
        retried_at: cohort.retried_at.clone(),
        ..AssignmentStatus::default()
    });
    let apply_timeout = apply_timeout.or(prior.and_then(|prior| prior.apply_timeout.as_ref())).cloned();
    let telemetry = prior.and_then(|prior| prior.telemetry.clone());
    AssignmentStatus { generation, apply_timeout, telemetry, ..next }
}

fn knows(assignment: Option<&AssignmentStatus>, ring: &AttributeSelector) -> bool {
    assignment.is_some_and(|assignment| assignment.rings.contains(ring))
}

/// The selectors of the attempt's phases, each once.
fn rings(status: &ConfigRolloutStatus) -> Vec<AttributeSelector> {
    let mut rings: Vec<AttributeSelector> = Vec::new();
    for selector in status.phases.iter().filter_map(|phase| phase.phase.selector.as_ref()) {
        if !rings.contains(selector) {
            rings.push(selector.clone());
        }
    }
    rings
}

/// Whether nobody is to get the target any more. A halted attempt keeps its terms in its own status, for a retry; its
/// agents keep what they run.
fn lets_nobody_in(cohort: &Cohort) -> bool {
    is_going_back(cohort) || cohort.stage == Stage::Halted
}

/// Whether an attempt's agents are to have the stable revision again.
pub fn is_going_back(cohort: &Cohort) -> bool {
    matches!(cohort.stage, Stage::RollingBack | Stage::RolledBack)
}
