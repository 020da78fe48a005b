//! What new content would do, counted before anything is done.

use super::crowd::{Crowd, length};
use super::phases;
use super::tally::tally;
use crate::api::{Cohort, ConfigRolloutStatus, Phase, PhaseStatus, RolloutAgentCounts, Stage, Strategy};
use crate::config::ConfigHash;
use crate::fleet::{ObservedAgent, Seed};
use std::collections::BTreeMap;

/// Most distinct lacks that are told.
const MAX_MISSING: usize = 5;

/// What new content would do.
pub struct Plan {
    /// The steps, each with how many agents it would let in that no earlier one has.
    phases: Vec<PhaseStatus>,
    /// The group's agents.
    counts: RolloutAgentCounts,
    /// What agents lack for the content, each with how many lack it.
    missing: BTreeMap<String, usize>,
}

impl Plan {
    /// Counts what content with this hash would do. Which agents a phase takes depends on the seed of an attempt
    /// that has none yet, so an order stands in that is always the same: the numbers do not flutter.
    pub fn new(strategy: &Strategy, content: Option<ConfigHash>, crowd: &Crowd<'_>) -> Self {
        let runs_it = |agent: &&ObservedAgent| crowd.is_eligible(agent) && agent.running == content;
        let unchanged = content.map(|_| length(crowd.iter().filter(runs_it).count()));
        let counts = RolloutAgentCounts { unchanged, ..tally(crowd, None, None).counts };
        Self { phases: foresee(&strategy.phases, crowd), counts, missing: crowd.missing() }
    }

    /// Writes the plan beside what an attempt has to say. One that goes on keeps its own steps, and those of the
    /// same name tell what is planned; else the plan's steps stand there, with what became of those of the same name.
    pub fn write(&self, status: &mut ConfigRolloutStatus) {
        if status.cohort.is_none() {
            status.agents = self.counts.clone();
        }
        status.agents.unchanged = self.counts.unchanged;
        if keeps_its_steps(status) {
            for step in &mut status.phases {
                step.planned = find(&self.phases, &step.phase.name).and_then(|planned| planned.planned);
            }
        } else {
            let mut phases = self.phases.clone();
            for planned in &mut phases {
                let Some(before) = find(&status.phases, &planned.phase.name) else { continue };
                planned.count = before.count;
                planned.started_at.clone_from(&before.started_at);
                planned.outcome = before.outcome;
            }
            status.phases = phases;
        }
    }

    /// The plan in words.
    pub fn describe(&self) -> String {
        let known =
            self.phases.iter().map_while(|step| Some(format!("{} {}", step.phase.name, step.planned?)));
        let unknown = self.phases.iter().find(|step| step.planned.is_none()).map(|step| {
            let name = &step.phase.name;
            format!("unknown from {name} on, until every replica has told which agents its selector matches")
        });
        let unchanged = match self.counts.unchanged {
            Some(number) => format!(", {number} of them run it already"),
            None => String::new(),
        };
        let steps = known.chain(unknown).collect::<Vec<_>>().join(", ");
        let lacks = self.missing.iter().take(MAX_MISSING);
        let lacks: Vec<String> = lacks.map(|(what, count)| format!("; {count} lack {what}")).collect();
        format!(
            "agents that each phase would let in: {steps}; {} in all{unchanged}{}{}",
            self.counts.eligible,
            super::message::apart(&self.counts),
            lacks.concat()
        )
    }
}

/// Takes a plan off a status.
pub fn forget(status: &mut ConfigRolloutStatus) {
    status.agents.unchanged = None;
    status.phases.iter_mut().for_each(|step| step.planned = None);
}

/// Whether an attempt is under way, or may be gone on with.
fn keeps_its_steps(status: &ConfigRolloutStatus) -> bool {
    let stage = status.cohort.as_ref().map(|cohort| cohort.stage);
    !matches!(stage, None | Some(Stage::Completed | Stage::RolledBack))
}

fn find<'a>(phases: &'a [PhaseStatus], name: &str) -> Option<&'a PhaseStatus> {
    phases.iter().find(|step| step.phase.name == name)
}

/// Lets agents in phase by phase, on paper.
fn foresee(phases: &[Phase], crowd: &Crowd<'_>) -> Vec<PhaseStatus> {
    let mut paper = ConfigRolloutStatus {
        phases: phases::plan(phases),
        cohort: Some(Cohort { seed: Seed::new(0).to_string(), ..Cohort::default() }),
        ..Default::default()
    };
    for index in 0..paper.phases.len() {
        // After a ring of which nothing is known, what is left for the others is unknown as well.
        let Some(added) = phases::on_paper(&mut paper, index, crowd) else { break };
        if let Some(step) = paper.phases.get_mut(index) {
            step.planned = Some(length(added));
        }
    }
    paper.phases
}
