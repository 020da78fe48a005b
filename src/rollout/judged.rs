//! Whose answer an attempt waits for or whose soak is not over: such agents are not to be disturbed by anybody else.

use crate::api::{ConfigRolloutStatus, PhaseOutcome, Stage, Term};
use crate::fleet::{Cohort, ObservedAgent};

/// The agents that an attempt watches.
#[derive(Default)]
pub struct Judged {
    /// All agents, because all go back.
    all: bool,
    /// The cohort of an attempt that is under way.
    cohort: Option<Cohort>,
    /// Those of it whose phase has passed.
    passed: Option<Cohort>,
}

impl Judged {
    /// The agents that the attempt in this status watches; none if it is over.
    pub fn new(status: Option<&ConfigRolloutStatus>) -> Self {
        let Some((status, cohort)) = status.and_then(|status| Some((status, status.cohort.as_ref()?))) else {
            return Self::default();
        };
        let has_passed = |term: &&Term| {
            let mut phases = status.phases.iter().filter(|phase| phase.outcome == PhaseOutcome::Passed);
            phases.any(|phase| phase.phase.name == term.phase)
        };
        let passed: Vec<Term> = cohort.terms.iter().filter(has_passed).cloned().collect();
        match cohort.stage {
            Stage::Running | Stage::Held => {
                Self { all: false, cohort: Cohort::of(cohort), passed: Cohort::read(&cohort.seed, &passed) }
            }
            // Nobody knows who is waited for.
            Stage::RollingBack | Stage::Unknown => Self { all: true, ..Self::default() },
            Stage::Completed | Stage::RolledBack | Stage::Halted => Self::default(),
        }
    }

    /// Whether this agent is among them.
    pub fn has(&self, agent: &ObservedAgent) -> bool {
        self.all || is_in(self.cohort.as_ref(), agent) && !is_in(self.passed.as_ref(), agent)
    }

    /// Whether the attempt under way has reached this agent, passed or not: until it is over it may still count how the
    /// agent does.
    pub fn has_reached(&self, agent: &ObservedAgent) -> bool {
        self.all || is_in(self.cohort.as_ref(), agent)
    }
}

fn is_in(cohort: Option<&Cohort>, agent: &ObservedAgent) -> bool {
    cohort.is_some_and(|cohort| cohort.contains(agent.uid, |ring| agent.is_in(ring)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{self, PhaseStatus};
    use crate::fleet::fixtures::{at, seen, uid};
    use crate::fleet::{Rank, Seed};
    use serde_json::json;

    const SEED: Seed = Seed::new(7);

    /// The first of two phases has passed; the boundary between them is the rank of this agent.
    fn status(stage: Stage, boundary: Rank) -> ConfigRolloutStatus {
        let phase = |name: &str, outcome: &str| {
            let phase = json!({"name": name, "agents": "100%", "outcome": outcome});
            serde_json::from_value::<PhaseStatus>(phase).expect("a phase")
        };
        let term = |name: &str, boundary: Rank| Term {
            phase: name.into(),
            boundary: boundary.to_string(),
            ..Term::default()
        };
        ConfigRolloutStatus {
            phases: vec![phase("canary", "Passed"), phase("full", "Running")],
            cohort: Some(api::Cohort {
                seed: SEED.to_string(),
                terms: vec![term("canary", boundary), term("full", Rank::ALL)],
                stage,
                ..api::Cohort::default()
            }),
            ..ConfigRolloutStatus::default()
        }
    }

    #[test]
    fn agents_are_judged_until_their_phase_has_passed_and_all_are_during_a_rollback() {
        let agents = [1, 2].map(|n| seen(uid(n), at(0)));
        let ranks = agents.each_ref().map(|agent| SEED.rank(agent.uid));
        let (first, second) = if ranks[0] < ranks[1] { (0, 1) } else { (1, 0) };
        for (stage, expected) in [
            (Stage::Running, (false, true)),
            (Stage::Held, (false, true)),
            (Stage::RollingBack, (true, true)),
            (Stage::RolledBack, (false, false)),
            (Stage::Completed, (false, false)),
            (Stage::Halted, (false, false)),
        ] {
            let judged = Judged::new(Some(&status(stage, ranks[first])));
            assert_eq!((judged.has(&agents[first]), judged.has(&agents[second])), expected, "{stage:?}");
        }
        let running = Judged::new(Some(&status(Stage::Running, ranks[first])));
        assert_eq!(agents.each_ref().map(|agent| running.has_reached(agent)), [true, true]);
        let completed = Judged::new(Some(&status(Stage::Completed, ranks[first])));
        assert_eq!(agents.each_ref().map(|agent| completed.has_reached(agent)), [false, false]);
        assert!(!Judged::new(None).has(&agents[0]));
        assert!(!Judged::new(Some(&ConfigRolloutStatus::default())).has(&agents[0]));
    }
}
