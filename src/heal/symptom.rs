//! What is wrong with an agent right now.

use super::Case;
use crate::fleet::{Cause, ObservedAgent, Shown};
use jiff::Timestamp;

/// Whether something is wrong with an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// It is, since this time.
    Present(Timestamp),
    /// It is not, and the agent has shown that.
    Gone,
    /// Nobody can tell: it is away, or has not shown anything yet.
    Unclear,
}

/// Whether the agent has what a treatment of this cause is for.
pub fn symptom(patient: &Case<'_>, cause: Cause) -> Symptom {
    let agent = patient.agent;
    match cause {
        _ if !agent.connected => Symptom::Unclear,
        Cause::Other(_) => Symptom::Unclear,
        Cause::Drift => match patient.drifts_since {
            Some(since) => Symptom::Present(since),
            None if agent.running == patient.wanted && shows_all(agent) => Symptom::Gone,
            None => Symptom::Unclear,
        },
        Cause::Illness => match agent.healthy {
            Some(false) => Symptom::Present(agent.health_since),
            Some(true) => Symptom::Gone,
            None => Symptom::Unclear,
        },
    }
}

/// Whether what is in effect was seen, or never can be.
fn shows_all(agent: &ObservedAgent) -> bool {
    let sight = agent.sight.as_ref();
    !agent.reports_effective || sight.is_some_and(|sight| sight.shown == Shown::InSync)
}
