//! Counts where a group's agents stand with the target, and what the gate makes of it.

use super::crowd::{Crowd, length};
use super::phases::shared_time;
use super::standing::{Admission, Failure, Rules, Standing, standing};
use crate::api::{Cohort, FailureEntry, PhaseStatus, RolloutAgentCounts};
use crate::config::ConfigHash;
use crate::fleet::{self, ObservedAgent};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Most failures that stand in a status, whatever the fleet's size.
const MAX_FAILURES: usize = 10;

/// What the agents of a group come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// The counts as they stand in a status.
    pub counts: RolloutAgentCounts,
    /// The latest failures.
    pub failures: Vec<FailureEntry>,
    /// Agents of the cohort that are in the count of the gate.
    pub judged: usize,
    /// Agents of the cohort of which nobody can know what became of the target; in no count of the gate.
    pub unverified: usize,
    /// Agents of the cohort that applied the target and may still become healthy.
    pub recovering: usize,
    /// Agents of the cohort whose replica died.
    pub unreachable: usize,
    /// Agents of the cohort that were lost.
    pub lost: usize,
    /// As many agents outside the cohort are gone: losses are the network's, and count for nothing.
    pub inconclusive: bool,
}

/// The cohort as the gate sees it: who is in, and since when.
pub struct Members {
    cohort: fleet::Cohort,
    /// When each term let its agents in.
    terms: Vec<(fleet::Cohort, Admission)>,
}

impl Members {
    /// Reads a cohort, with the times of its phases; nothing if it cannot be read.
    pub fn read(cohort: &Cohort, phases: &[PhaseStatus], apply_timeout: SignedDuration) -> Option<Self> {
        // A step that a later plan has replaced is taken to have begun when the attempt ended.
        let ended = cohort.since.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let began = |name: &str| phases.iter().find(|phase| phase.phase.name == name)?.started_at.as_ref();
        let term = |term: &crate::api::Term| {
            let alone = fleet::Cohort::read(&cohort.seed, std::slice::from_ref(term))?;
            let first = began(&term.phase).map_or(ended, |time| time.0);
            // A term that was raised bit by bit let its last agents in that much later. It may be gone some day,
            // so nothing but the time to answer depends on it.
            let raised = term.since.as_ref().map(|since| since.0.saturating_add(shared_time(apply_timeout)));
            let last = raised.and_then(Result::ok).unwrap_or(first);
            Some((alone, Admission { first, last }))
        };
        let terms = cohort.terms.iter().filter_map(term).collect();
        Some(Self { cohort: fleet::Cohort::read(&cohort.seed, &cohort.terms)?, terms })
    }

    /// Whether an agent is in the cohort.
    pub fn contains(&self, agent: &ObservedAgent) -> bool {
        self.cohort.contains(agent.uid, |ring| agent.is_in(ring))
    }

    /// When an agent was let in: the earliest term that has it.
    fn admitted(&self, agent: &ObservedAgent) -> Option<Admission> {
        let within = self.terms.iter().filter(|(term, _)| term.contains(agent.uid, |ring| agent.is_in(ring)));
        within.map(|(_, admission)| *admission).min_by_key(|admission| admission.first)
    }
}

/// Counts a group's agents against the target.
pub fn tally(crowd: &Crowd<'_>, members: Option<&Members>, rules: Option<&Rules>) -> Tally {
    let mut tally = Tally { counts: presence(crowd), ..Tally::default() };
    let (Some(members), Some(rules)) = (members, rules) else { return tally };
    let mut lost = Vec::new();
    for agent in crowd.iter() {
        let Some(admitted) = members.admitted(agent) else { continue };
        let barred = crowd.lacks(agent) || crowd.refused_before(agent);
        let standing = if barred { Standing::Unable } else { standing(agent, admitted, rules) };
        let standing = if rules.over { afterwards(agent, standing, rules) } else { standing };
        if let Standing::Lost(at) = standing {
            lost.push((agent, at));
        }
        tally.add(crowd, agent, standing);
    }
    tally.weigh_losses(crowd.agents, members, rules, lost);
    tally.failures.sort_by(|a, b| (b.at.0, &a.agent).cmp(&(a.at.0, &b.agent)));
    tally.failures.truncate(MAX_FAILURES);
    tally
}

/// Where an agent stands once the rollout is over: only a refusal is a failure then. That it restarts, falls ill or
/// goes away is no longer the rollout's matter.
fn afterwards(agent: &ObservedAgent, standing: Standing, rules: &Rules) -> Standing {
    let ends = match &standing {
        Standing::Failed(failure) => !failure.is_refusal(),
        Standing::Lost(_) => true,
        _ => false,
    };
    match agent.connected && agent.running == Some(rules.target) {
        _ if !ends => standing,
        true if agent.is_healthy() => Standing::Good,
        true => Standing::Recovering,
        false => Standing::Absent,
    }
}

/// Counts the agents of an attempt that goes back: how many of them still run the target, and what had failed before.
pub fn returning(
    crowd: &Crowd<'_>,
    members: Option<&Members>,
    target: Option<ConfigHash>,
    before: &RolloutAgentCounts,
) -> Tally {
    let mut counts = presence(crowd);
    let cohort = || {
        let is_in = |agent: &&ObservedAgent| members.is_some_and(|members| members.contains(agent));
        crowd.iter().filter(|agent| crowd.is_eligible(agent)).filter(is_in)
    };
    counts.targeted = length(cohort().count());
    counts.updated = length(cohort().filter(|agent| target.is_some() && agent.running == target).count());
    counts.failed = before.failed;
    Tally { counts, ..Tally::default() }
}

fn presence(crowd: &Crowd<'_>) -> RolloutAgentCounts {
    let mut counts = RolloutAgentCounts { total: length(crowd.agents.len()), ..Default::default() };
    for agent in crowd.iter() {
        // A newer version knows what it is.
        if agent.newer && agent.connected {
            continue;
        }
        let count = if !agent.connected {
            &mut counts.offline
        } else if !agent.accepts_config || crowd.lacks(agent) || crowd.refused_before(agent) {
            &mut counts.incompatible
        } else if agent.waits() {
            &mut counts.adoptees
        } else if agent.is_unverified() {
            &mut counts.unverified
        } else {
            &mut counts.eligible
        };
        *count += 1;
    }
    counts
}

impl Tally {
    fn add(&mut self, crowd: &Crowd<'_>, agent: &ObservedAgent, standing: Standing) {
        let eligible = crowd.is_eligible(agent);
        self.counts.targeted += i64::from(eligible);
        let counts = &mut self.counts;
        match standing {
            Standing::Unable => {
                self.unverified += usize::from(crowd.is_unverified(agent));
                return;
            }
            Standing::Absent | Standing::Exempt => return,
            Standing::Pending => counts.pending += 1,
            Standing::Recovering => {
                counts.updated += 1;
                self.recovering += 1;
            }
            Standing::Good => {
                counts.updated += 1;
                counts.healthy += 1;
            }
            Standing::Unreachable => self.unreachable += 1,
            Standing::Lost(_) => self.lost += 1,
            Standing::Failed(failure) => {
                counts.updated += i64::from(["Unhealthy", "Restarted"].contains(&failure.reason));
                self.fail(agent, failure);
            }
        }
        self.judged += 1;
    }

    fn fail(&mut self, agent: &ObservedAgent, failure: Failure) {
        self.counts.failed += 1;
        self.failures.push(FailureEntry {
            agent: agent.uid.to_string(),
            host: agent.host.clone(),
            reason: failure.reason.to_owned(),
            message: failure.message,
            at: Time(failure.at),
        });
    }

    /// Lost agents have failed, unless at least the same share of the group's other agents is gone as well.
    fn weigh_losses(
        &mut self,
        agents: &[ObservedAgent],
        members: &Members,
        rules: &Rules,
        lost: Vec<(&ObservedAgent, Timestamp)>,
    ) {
        let Some(first) = lost.iter().map(|(_, at)| *at).min() else { return };
        let outside: Vec<&ObservedAgent> = agents.iter().filter(|agent| !members.contains(agent)).collect();
        let recent = first.saturating_sub(rules.offline_after).unwrap_or(Timestamp::MIN);
        let gone = outside.iter().filter(|agent| !agent.connected && agent.since >= recent).count();
        let inside = agents.len() - outside.len();
        // In the last phase there may be nobody to compare with: then most of several at once are the network.
        self.inconclusive = if outside.is_empty() {
            inside > 1 && 2 * lost.len() > inside
        } else {
            gone > 0 && gone * inside >= lost.len() * outside.len()
        };
        if !self.inconclusive {
            for (agent, at) in lost {
                self.fail(
                    agent,
                    Failure { reason: "Lost", message: "gone since it was offered the target".into(), at },
                );
            }
        }
    }

    /// Whether there is nobody to be judged, but agents that have the target for all that anybody can know. Only a
    /// person can decide then.
    pub fn is_blind(&self) -> bool {
        self.judged == 0 && self.unverified > 0
    }

    /// Whether every agent that can be judged has been, and at least one is good: without evidence nothing
    /// passes.
    pub fn is_settled(&self) -> bool {
        self.counts.pending == 0
            && self.recovering == 0
            && self.unreachable == 0
            && !self.inconclusive
            && self.counts.healthy > 0
    }
}
