//! A group's agents, counted, and what a person should look at among them.

use super::super::tally::length;
use crate::api::{AgentCounts, Problem, ProblemKind};
use crate::config::ConfigHash;
use crate::fleet::{
    Cause, Given, Live, MAX_MESSAGE_BYTES, ObservedAgent, Order, Sides, Treatment, Treatments, Verdict,
    clean, signed,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most problems that stand in a status, whatever the fleet's size.
const MAX_PROBLEMS: usize = 10;

/// The agents of a group, beside what they are to run.
pub struct Members<'a> {
    pub live: &'a Live<'a>,
    /// The rollback is over: nobody is to run the target any more.
    pub rolled_back: bool,
    pub treatments: &'a Treatments,
    pub max_attempts: i64,
    pub offline_after: Duration,
    pub now: Timestamp,
    pub agents: &'a [&'a ObservedAgent],
}

impl Members<'_> {
    /// How many agents can be given one of the revisions.
    pub fn able(&self) -> usize {
        let is_able = |agent: &&&ObservedAgent| {
            agent.is_eligible() && !(agent.lacks(self.live.target_needs) && self.wanted(agent).is_none())
        };
        self.agents.iter().filter(is_able).count()
    }

    /// How many agents the rollback is over without.
    pub fn left(&self) -> usize {
        self.agents.iter().filter(|agent| self.is_left(agent)).count()
    }

    /// How many adoptees wait that there is something for.
    pub fn waiting(&self) -> usize {
        let may_come =
            |agent: &&&ObservedAgent| agent.connected && agent.waits() && self.live.assigned(agent).is_some();
        self.agents.iter().filter(may_come).count()
    }

    /// The numbers of the status.
    pub fn count(&self) -> AgentCounts {
        let tally = |wanted: &dyn Fn(&ObservedAgent) -> bool| {
            length(self.agents.iter().filter(|agent| wanted(agent)).count())
        };
        AgentCounts {
            matched: length(self.agents.len()),
            connected: tally(&|agent| agent.connected),
            healthy: tally(&|agent| agent.connected && agent.is_healthy()),
            in_sync: tally(&|agent| agent.connected && self.in_sync(agent)),
            drifted: tally(&|agent| self.drift(agent).is_some()),
            unknown: tally(&|agent| agent.connected && self.in_sync(agent) && agent.is_unseen()),
            failed: tally(&|agent| self.refusal(agent).is_some()),
            quarantined: tally(&|agent| self.quarantined(agent).is_some()),
            offline: tally(&|agent| self.offline_since(agent).is_some()),
        }
    }

    fn treatment(&self, agent: &ObservedAgent) -> Option<&Treatment> {
        self.treatments.get(&agent.uid)
    }

    fn wanted(&self, agent: &ObservedAgent) -> Option<ConfigHash> {
        self.live.wanted(agent, self.treatment(agent))
    }

    fn in_sync(&self, agent: &ObservedAgent) -> bool {
        let wanted = self.wanted(agent);
        wanted.is_some() && agent.running == wanted && self.drift(agent).is_none()
    }

    /// In what way, where, and since when. An agent that is put right drifts until it has been seen to be right.
    fn drift(&self, agent: &ObservedAgent) -> Option<(String, Timestamp)> {
        let wanted = self.wanted(agent);
        let seen = self.live.drift(agent, wanted).map(|(.., since)| (self.live.place(agent, wanted), since));
        let treated =
            self.treatment(agent).filter(|treatment| treatment.cause == Cause::Drift && agent.connected);
        match treated {
            Some(treatment) if treatment.is_active() => {
                let attempt = format!("correction {} of {}", treatment.orders, self.max_attempts);
                let told: Vec<String> = seen.map(|(place, _)| place).into_iter().chain([attempt]).collect();
                Some((told.join("; "), treatment.began))
            }
            Some(treatment) if treatment.quarantined.is_some() => {
                seen.map(|(place, _)| (place, treatment.began))
            }
            _ => seen,
        }
    }

    fn quarantined(&self, agent: &ObservedAgent) -> Option<(&Treatment, Timestamp)> {
        let treatment = self.treatment(agent)?;
        Some((treatment, treatment.quarantined?))
    }

    fn refusal<'b>(&self, agent: &'b ObservedAgent) -> Option<&'b Given> {
        agent.ledger.refusal(self.live.sides.target?, self.live.sides.retried_at)
    }

    fn offline_since(&self, agent: &ObservedAgent) -> Option<Timestamp> {
        agent.away_since().filter(|since| self.now.duration_since(*since) > signed(self.offline_after))
    }

    /// The rollback is over without this agent.
    fn is_left(&self, agent: &ObservedAgent) -> bool {
        let Sides { target, stable, .. } = self.live.sides;
        self.rolled_back && agent.connected && target.is_some() && agent.running == target && target != stable
    }

    /// The worst first, then the longest-standing, so that the list does not flutter.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.agents.iter().filter_map(|agent| self.problem(agent)).collect();
        problems.extend(self.incompatible());
        problems.sort_by(|a, b| (a.kind, a.since.0, &a.agent).cmp(&(b.kind, b.since.0, &b.agent)));
        problems.truncate(MAX_PROBLEMS);
        problems
    }

    fn problem(&self, agent: &ObservedAgent) -> Option<Problem> {
        if self.is_left(agent) {
            return Some(problem(agent, ProblemKind::NotRolledBack, self.why_left(agent), agent.since));
        }
        let (kind, message, since) = self.trouble(agent)?;
        Some(problem(agent, kind, message, since))
    }

    fn trouble(&self, agent: &ObservedAgent) -> Option<(ProblemKind, String, Timestamp)> {
        if let Some((treatment, since)) = self.quarantined(agent) {
            return Some((ProblemKind::Quarantined, self.why_quarantined(agent, treatment), since));
        }
        if let Some(given) = self.refusal(agent) {
            let nothing = self.wanted(agent).is_none() && self.live.sides.stable.is_some();
            let kind = if nothing { ProblemKind::NothingToOffer } else { ProblemKind::Failed };
            return Some((kind, words(given), given.at));
        }
        let treatment = self.treatment(agent);
        if agent.connected && !agent.is_healthy() {
            let tried = treatment.filter(|treatment| treatment.cause == Cause::Illness).and_then(|t| t.last);
            let message = tried.map_or_else(String::new, |last| tried_by(last.order).to_owned());
            return Some((ProblemKind::Unhealthy, message, agent.health_since));
        }
        if let Some((message, since)) = self.drift(agent) {
            return Some((ProblemKind::Drifted, message, since));
        }
        if let Some(sent_back) = treatment.filter(|treatment| treatment.sent_back) {
            let message =
                "ill with the target, so it has the stable revision by itself; a retry offers it the target";
            return Some((ProblemKind::SentBack, message.to_owned(), sent_back.began));
        }
        Some((ProblemKind::Offline, String::new(), self.offline_since(agent)?))
    }

    fn why_quarantined(&self, agent: &ObservedAgent, treatment: &Treatment) -> String {
        let orders = treatment.orders;
        match (treatment.cause, treatment.last) {
            (Cause::Drift, _) => {
                let place = self.live.place(agent, self.wanted(agent));
                let place = if place.is_empty() { place } else { format!("{place}; ") };
                format!("{place}{orders} corrections did not last")
            }
            (Cause::Illness, None) => {
                "stays unhealthy, and takes neither a restart nor a configuration".to_owned()
            }
            (Cause::Illness, Some(last)) => {
                format!("stays unhealthy; {orders} attempts, the last: {}", tried_by(last.order))
            }
        }
    }

    /// Agents that were built without a component of the target, once for each distinct lack.
    fn incompatible(&self) -> Vec<Problem> {
        let needs = self.live.target_needs;
        let mut builds: BTreeMap<String, (&ObservedAgent, usize)> = BTreeMap::new();
        for agent in self.agents.iter().filter(|agent| agent.connected && agent.lacks(needs)) {
            let missing = agent.missing(needs).join(", ");
            let (first, count) = builds.entry(missing).or_insert((agent, 0));
            *count += 1;
            *first = if agent.since < first.since { agent } else { first };
        }
        let tell = |(missing, (first, count)): (String, (&ObservedAgent, usize))| {
            let message =
                format!("{count} agents of this build lack {missing}, so they are not offered the target");
            problem(first, ProblemKind::Incompatible, clean(&message, MAX_MESSAGE_BYTES), first.since)
        };
        builds.into_iter().map(tell).collect()
    }

    /// What an agent said of the revision that it is to go back to.
    fn why_left(&self, agent: &ObservedAgent) -> String {
        let refused = self.live.sides.stable.and_then(|stable| agent.ledger.refusal(stable, None));
        refused.map_or_else(|| "gives no answer to the stable revision".to_owned(), words)
    }
}

fn tried_by(order: Order) -> &'static str {
    match order {
        Order::Restart => "started anew",
        Order::Offer => "offered its revision anew",
        Order::Stable => "offered the stable revision",
    }
}

fn words(given: &Given) -> String {
    match &given.verdict {
        Verdict::Failed(message) => message.to_string(),
        _ => "went back to another configuration by itself".to_owned(),
    }
}

fn problem(agent: &ObservedAgent, kind: ProblemKind, message: String, since: Timestamp) -> Problem {
    Problem { agent: agent.uid.to_string(), host: agent.host.clone(), kind, message, since: Time(since) }
}
