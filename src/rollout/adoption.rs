//! Adoption: agents that come with another group's revision are admitted in steps, never in one burst (design,
//! section 3), with the shares, soaks and threshold of the default phases.

use super::crowd::length;
use crate::api::{AdoptionStatus, Strategy};
use crate::config::ConfigHash;
use crate::fleet::{Admission, ObservedAgent, Rank, Seed, signed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// What an adoption is judged by.
pub struct Rules<'a> {
    /// How long the agents of each step but the last must stay healthy.
    pub soaks: &'a [Duration],
    /// Gone for so long: lost.
    pub offline_after: Duration,
    /// Until when every living replica is known to have watched its agents.
    pub watched_until: Option<Timestamp>,
    /// Entropy for the seed of a new adoption.
    pub entropy: u64,
    /// The time.
    pub now: Timestamp,
}

/// An agent of the group that came with another group's revision, and what it is assigned when it is admitted.
pub type Adopted<'a> = (&'a ObservedAgent, Option<ConfigHash>);

/// How far the adoption is to be, given how far it was; nothing if there is nobody to adopt.
pub fn adoption(
    prior: Option<&AdoptionStatus>,
    agents: &[Adopted<'_>],
    rules: &Rules<'_>,
) -> Option<AdoptionStatus> {
    let Some(prior) = prior else { return begin(agents, rules) };
    let mut next = AdoptionStatus { stopped: String::new(), ..prior.clone() };
    let tally = tally(&next, agents, rules);
    next.base = next.base.max(length(tally.judged));
    let tolerated =
        Strategy::default().failure_threshold.tolerated(usize::try_from(next.base).unwrap_or_default());
    if tally.failed > tolerated {
        next.stopped = format!("{} of the {} agents that were admitted failed", tally.failed, next.base);
        return Some(next);
    }
    if tally.pending > 0 {
        return Some(next);
    }
    if !agents.iter().any(|(agent, _)| agent.waits()) {
        return None;
    }
    let step = usize::try_from(next.step).unwrap_or_default();
    if let Some(soak) = rules.soaks.get(step) {
        let until = next.soak_until.get_or_insert_with(|| Time(rules.now + signed(*soak))).0;
        if rules.now < until || rules.watched_until.is_none_or(|watched| watched < until) {
            return Some(next);
        }
    }
    // After the last step only those are left who came later: they are adopted anew.
    raise(&next, step + 1, agents, rules.now)
}

/// How far the adoption is to be in a group that has no stable revision yet. Agents that are there before an attempt
/// begins are let in by its phases, like all others: there is nothing that they could take in a burst. Whoever comes
/// while it runs waits until it has been decided.
pub fn without_stable(
    prior: Option<&AdoptionStatus>,
    agents: &[Adopted<'_>],
    attempt_runs: bool,
    now: Timestamp,
) -> Option<AdoptionStatus> {
    let latest = agents.iter().map(|(agent, _)| came(agent)).max()?;
    if attempt_runs {
        return prior.cloned();
    }
    let began = prior.map_or(now, |prior| prior.began.0);
    Some(AdoptionStatus {
        seed: Seed::new(0).to_string(),
        boundary: Rank::ALL.to_string(),
        until: Time(latest),
        began: Time(began),
        since: Time(began),
        ..AdoptionStatus::default()
    })
}

/// Begins with those who wait. Whoever comes later waits for the next adoption: a step that has begun must not let in
/// a crowd.
fn begin(agents: &[Adopted<'_>], rules: &Rules<'_>) -> Option<AdoptionStatus> {
    let waiting: Vec<Adopted<'_>> = agents.iter().filter(|(agent, _)| agent.waits()).copied().collect();
    let fresh = AdoptionStatus {
        seed: Seed::new(rules.entropy).to_string(),
        until: Time(waiting.iter().map(|(agent, _)| came(agent)).max()?),
        began: Time(rules.now),
        ..AdoptionStatus::default()
    };
    raise(&fresh, 0, &waiting, rules.now)
}

/// The first step from `step` on that admits somebody; nothing if none does.
fn raise(
    prior: &AdoptionStatus,
    step: usize,
    agents: &[Adopted<'_>],
    now: Timestamp,
) -> Option<AdoptionStatus> {
    let seed = Seed::parse(&prior.seed)?;
    let can_take = |(agent, assigned): &&Adopted<'_>| {
        agent.connected && agent.accepts_config && agent.tells_outcome() && assigned.is_some()
    };
    let taking: Vec<&Adopted<'_>> =
        agents.iter().filter(can_take).filter(|(agent, _)| came(agent) <= prior.until.0).collect();
    let mut ranks: Vec<Rank> = taking.iter().map(|(agent, _)| seed.rank(agent.uid)).collect();
    ranks.sort_unstable();
    let phases = Strategy::default().phases;
    (step..phases.len()).find_map(|step| {
        let boundary = *ranks.get(phases[step].agents.of(ranks.len()).checked_sub(1)?)?;
        let mut next = AdoptionStatus {
            boundary: boundary.to_string(),
            step: i64::try_from(step).unwrap_or_default(),
            since: Time(now),
            soak_until: None,
            ..prior.clone()
        };
        let admission = Admission::read(&next)?;
        let admitted = || taking.iter().filter(|(agent, _)| admission.admits(agent.uid, came(agent)));
        next.base = next.base.max(length(admitted().count()));
        admitted().any(|(agent, _)| agent.waits()).then_some(next)
    })
}

fn came(agent: &ObservedAgent) -> Timestamp {
    let second = agent.adoptee.map_or(i64::MAX, |adoptee| adoptee.since);
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

/// Where the agents stand that are admitted.
#[derive(Default)]
struct Tally {
    judged: usize,
    pending: usize,
    failed: usize,
}

/// Where one of them stands.
enum Standing {
    Absent,
    Pending,
    Good,
    Failed,
}

fn tally(status: &AdoptionStatus, agents: &[Adopted<'_>], rules: &Rules<'_>) -> Tally {
    let mut tally = Tally::default();
    let Some(admission) = Admission::read(status) else { return tally };
    for (agent, assigned) in agents.iter().filter(|(agent, _)| admission.admits(agent.uid, came(agent))) {
        match standing(status, agent, *assigned, rules) {
            Standing::Absent => continue,
            Standing::Pending => tally.pending += 1,
            Standing::Good => {}
            Standing::Failed => tally.failed += 1,
        }
        tally.judged += 1;
    }
    tally
}

fn standing(
    status: &AdoptionStatus,
    agent: &ObservedAgent,
    assigned: Option<ConfigHash>,
    rules: &Rules<'_>,
) -> Standing {
    let began = Timestamp::from_second(status.began.0.as_second()).unwrap_or(status.began.0);
    let refused = agent.ledger.iter().any(|given| given.verdict.is_refusal() && given.at > began);
    let applied = assigned.is_none() || agent.running == assigned;
    let fell = applied && agent.faltered.fell_ill.is_some_and(|at| at > began);
    if refused || fell {
        return Standing::Failed;
    }
    if !agent.connected {
        let gone = rules.now.duration_since(agent.since);
        return match agent.since < began {
            true => Standing::Absent,
            false if gone > signed(rules.offline_after) => Standing::Failed,
            false => Standing::Pending,
        };
    }
    let patience: SignedDuration = signed(Strategy::default().apply_timeout.get());
    let waited = rules.now.duration_since(status.since.0.max(agent.since));
    match (applied, agent.is_healthy()) {
        (true, true) => Standing::Good,
        // It was ill before.
        (true, false) if agent.health_since < began => Standing::Absent,
        _ if waited > patience => Standing::Failed,
        _ => Standing::Pending,
    }
}

#[cfg(test)]
mod tests;
