//! Counts what a group's agents said of a revision.

use crate::api::{FailureEntry, RolloutAgentCounts};
use crate::config::ConfigHash;
use crate::fleet::{Attributes, Cohort, ObservedAgent, Verdict};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Most failures that stand in a status, whatever the fleet's size.
const MAX_FAILURES: usize = 10;

/// Counts a group's agents against the target of a rollout; without a target nobody is targeted.
pub fn count(
    agents: &[ObservedAgent],
    target: Option<ConfigHash>,
    cohort: Option<&Cohort>,
) -> (RolloutAgentCounts, Vec<FailureEntry>) {
    let mut counts = RolloutAgentCounts { total: length(agents.len()), ..Default::default() };
    let mut failures = Vec::new();
    for agent in agents {
        count_presence(&mut counts, agent);
        let Some(target) = target else { continue };
        if let Some(failure) = failure(agent, target) {
            counts.failed += 1;
            failures.push(failure);
        }
        let in_cohort = cohort.is_some_and(|cohort| cohort.contains(agent.uid, &Attributes::default()));
        if agent.is_eligible() && in_cohort {
            count_verdict(&mut counts, agent, target);
        }
    }
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.at.0));
    failures.truncate(MAX_FAILURES);
    (counts, failures)
}

fn count_presence(counts: &mut RolloutAgentCounts, agent: &ObservedAgent) {
    if !agent.connected {
        counts.offline += 1;
    } else if !agent.accepts_config {
        counts.incompatible += 1;
    } else if agent.reports_config {
        counts.eligible += 1;
    } else {
        counts.unverified += 1;
    }
}

fn count_verdict(counts: &mut RolloutAgentCounts, agent: &ObservedAgent, target: ConfigHash) {
    counts.targeted += 1;
    if agent.ledger.refuses(target) {
        return;
    }
    if agent.running != Some(target) {
        counts.pending += 1;
        return;
    }
    counts.updated += 1;
    counts.healthy += i64::from(agent.is_healthy());
}

fn failure(agent: &ObservedAgent, target: ConfigHash) -> Option<FailureEntry> {
    let given = agent.ledger.iter().find(|given| given.hash == target && given.verdict.is_refusal())?;
    let (reason, message) = match &given.verdict {
        Verdict::Failed(message) => ("Failed", message.to_string()),
        _ => ("RolledBackByAgent", String::new()),
    };
    Some(FailureEntry {
        agent: agent.uid.to_string(),
        host: agent.host.clone(),
        reason: reason.to_owned(),
        message,
        at: Time(given.at),
    })
}

/// A number of agents as the API writes it.
pub fn length(agents: usize) -> i64 {
    i64::try_from(agents).unwrap_or(i64::MAX)
}
