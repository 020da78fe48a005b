//! Where one agent of a cohort stands with the target (design, section 6).

use crate::config::ConfigHash;
use crate::fleet::{CLOCKS_APART, ObservedAgent, Verdict};
use jiff::{SignedDuration, Timestamp};

/// What standings are judged by.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The content of the target.
    pub target: ConfigHash,
    /// Offered for so long without a verdict: failed.
    pub apply_timeout: SignedDuration,
    /// An agent's heartbeat, or the interval of its polls, as it is assumed.
    pub interval: SignedDuration,
    /// Gone for so long: lost.
    pub offline_after: SignedDuration,
    /// So long the agents of a replica that died are waited for; afterwards they are offline like others.
    pub unreachable_for: SignedDuration,
    /// Refusals from before this time are forgiven.
    pub retried_at: Option<Timestamp>,
    /// The rollout has completed: it judges nobody any more.
    pub over: bool,
    /// The time.
    pub now: Timestamp,
    /// Until when every living replica is known to have watched its agents: what would have had to come later may have
    /// come, to a replica that is dead and could not tell.
    pub watched_until: Timestamp,
}

impl Rules {
    /// For how long something has not happened that somebody would have seen.
    fn watched_since(&self, time: Timestamp) -> SignedDuration {
        self.now.min(self.watched_until).duration_since(time)
    }
}

/// Where an agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not seen since its phase began: it blocks nothing, and takes its revision when it returns.
    Absent,
    /// It takes no configurations, or nobody can know what became of them, or it waits to be adopted: in no count of
    /// the gate.
    Unable,
    /// It was unhealthy before the offer, so what is wrong with it does not count against the target.
    Exempt,
    /// It was offered the target and may still answer.
    Pending,
    /// It applied the target and may still become healthy.
    Recovering,
    /// It applied the target and is healthy, or cannot say.
    Good,
    /// It failed.
    Failed(Failure),
    /// It was seen since its phase began, and is gone.
    Lost(Timestamp),
    /// It was held by a replica that died, or is told of in a newer version's format: neither good nor failed.
    Unreachable,
}

/// How an agent failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind, as it stands in a status.
    pub reason: &'static str,
    /// The agent's own words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Failure {
    /// Whether the agent itself said so.
    pub fn is_refusal(&self) -> bool {
        ["Failed", "RolledBackByAgent"].contains(&self.reason)
    }

    fn new(reason: &'static str, message: impl Into<String>, at: Timestamp) -> Self {
        Self { reason, message: message.into(), at }
    }
}

/// When an agent was let in: it is known to within a short time where many are, bit by bit.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Not before this time.
    pub first: Timestamp,
    /// Not after this time.
    pub last: Timestamp,
}

/// Judges an agent of the cohort that was let in at `admitted`.
pub fn standing(agent: &ObservedAgent, admitted: Admission, rules: &Rules) -> Standing {
    if agent.waits() {
        return Standing::Unable;
    }
    if let Some(failure) = refusal(agent, rules) {
        return Standing::Failed(failure);
    }
    if let Some(since) = agent.unreachable {
        let over = rules.now.duration_since(since) > rules.unreachable_for;
        return if over { Standing::Absent } else { Standing::Unreachable };
    }
    if agent.newer {
        return if agent.connected { Standing::Unreachable } else { Standing::Absent };
    }
    if !agent.connected {
        return away(agent, admitted, rules);
    }
    if !agent.is_eligible() {
        return Standing::Unable;
    }
    if agent.running == Some(rules.target) {
        applied(agent, admitted, rules)
    } else {
        unanswered(agent, admitted, rules)
    }
}

fn refusal(agent: &ObservedAgent, rules: &Rules) -> Option<Failure> {
    let given = agent.ledger.refusal(rules.target, rules.retried_at)?;
    Some(match &given.verdict {
        Verdict::Failed(message) => Failure::new("Failed", &**message, given.at),
        _ => Failure::new(
            "RolledBackByAgent",
            "the agent went back to another configuration by itself",
            given.at,
        ),
    })
}

fn away(agent: &ObservedAgent, admitted: Admission, rules: &Rules) -> Standing {
    if agent.since < admitted.first {
        Standing::Absent
    } else if rules.watched_since(agent.since) > rules.offline_after {
        Standing::Lost(agent.since)
    } else {
        Standing::Pending
    }
}

fn unanswered(agent: &ObservedAgent, admitted: Admission, rules: &Rules) -> Standing {
    let offered = admitted
        .last
        .max(agent.since)
        .max(agent.reachable_since)
        .max(rules.retried_at.unwrap_or(Timestamp::MIN));
    let patience =
        if agent.polling { rules.apply_timeout.max(rules.interval * 3) } else { rules.apply_timeout };
    if rules.watched_since(offered) <= patience {
        Standing::Pending
    } else if agent.exempt {
        Standing::Exempt
    } else {
        Standing::Failed(Failure::new("TimedOut", "no verdict within applyTimeout", offered))
    }
}

fn applied(agent: &ObservedAgent, admitted: Admission, rules: &Rules) -> Standing {
    let given = agent.ledger.iter().find(|given| given.hash == rules.target);
    // Replicas write times by the second.
    let admitted = Timestamp::from_second(admitted.first.as_second()).unwrap_or(admitted.first);
    let lately = admitted.saturating_sub(CLOCKS_APART).unwrap_or(Timestamp::MIN);
    // An agent that took the target a little before it was let in took it then, by a clock that is behind the leader's.
    // What came of it is told by the same clock.
    let took = given.map(|given| given.at).filter(|at| *at >= lately);
    let applied_at = took.unwrap_or_else(|| agent.since.max(admitted));
    let counts_from = applied_at.max(rules.retried_at.unwrap_or(Timestamp::MIN));
    // Of one that took it then its replica noted whether it was ill.
    let well_before = if took.is_some() { lately } else { admitted };
    if !agent.is_healthy() && agent.health_since < well_before {
        return Standing::Exempt;
    }
    if agent.exempt {
        return if agent.is_healthy() { Standing::Good } else { Standing::Exempt };
    }
    let settled = counts_from.saturating_add(rules.interval * 2).unwrap_or(Timestamp::MAX);
    // What an agent only shows may be shown before it has started anew to apply it.
    let well_from = if agent.reports_config { counts_from } else { settled };
    if let Some(failure) = faltered(agent, well_from, settled) {
        return Standing::Failed(failure);
    }
    if agent.is_healthy() {
        return Standing::Good;
    }
    // One that was not healthy yet has two heartbeats to become so: supervisors start unhealthy.
    let fell = agent.health_since > well_from;
    if fell || rules.watched_since(counts_from.max(admitted)) > rules.interval * 2 {
        Standing::Failed(Failure::new(
            "Unhealthy",
            "unhealthy with the target",
            agent.health_since.max(counts_from),
        ))
    } else {
        Standing::Recovering
    }
}

/// How the agent did not stay well, whatever it says now. A start within two heartbeats of applying the target, before
/// it has `settled`, belongs to that: supervisors start their Collectors anew to apply.
fn faltered(agent: &ObservedAgent, well_from: Timestamp, settled: Timestamp) -> Option<Failure> {
    if let Some(at) = agent.faltered.fell_ill.filter(|at| *at > well_from) {
        return Some(Failure::new("Unhealthy", "turned unhealthy with the target", at));
    }
    let at = agent.faltered.restarted.filter(|at| *at > settled)?;
    Some(Failure::new("Restarted", "was started anew with the target, and not by the operator", at))
}
