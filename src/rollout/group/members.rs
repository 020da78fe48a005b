//! A group's agents, counted, and what a person should look at among them.

use super::super::crowd::length;
use super::{GroupInput, stage};
use crate::api::{AgentCounts, Problem, ProblemKind, Stage};
use crate::config::ConfigHash;
use crate::fleet::{
    Cause, Drift, Given, MAX_MESSAGE_BYTES, ObservedAgent, Order, Sides, ToRun, Treatment, Verdict, clean,
    signed,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// Most problems that stand in a status, whatever the fleet's size.
const MAX_PROBLEMS: usize = 10;

/// The agents of a group, beside what they are to run.
pub struct Members<'a> {
    input: &'a GroupInput<'a>,
    list: Vec<Member<'a>>,
}

/// One of them.
struct Member<'a> {
    agent: &'a ObservedAgent,
    treatment: Option<&'a Treatment>,
    assigned: Option<ConfigHash>,
    wanted: Option<ConfigHash>,
    /// How it is seen to drift.
    drift: Option<Drift<'a>>,
}

impl<'a> Members<'a> {
    /// All of them.
    pub fn new(input: &'a GroupInput<'a>) -> Self {
        let member = |agent: &&'a ObservedAgent| {
            let treatment = input.treatments.get(&agent.uid);
            let ToRun { assigned, wanted, .. } = input.live.to_run(agent, treatment);
            Member { agent, treatment, assigned, wanted, drift: agent.drift_from(wanted) }
        };
        Self { input, list: input.members.iter().map(member).collect() }
    }

    /// How many agents can be given one of the revisions.
    pub fn able(&self) -> i64 {
        let lacks = |member: &Member<'_>| member.agent.lacks(self.input.live.target_needs);
        self.tally(|member| member.agent.is_eligible() && !(lacks(member) && member.wanted.is_none()))
    }

    /// How many agents the rollback is over without.
    pub fn left(&self) -> i64 {
        self.tally(|member| self.is_left(member.agent))
    }

    /// How many adoptees wait that there is something for.
    pub fn waiting(&self) -> i64 {
        self.tally(|member| member.agent.connected && member.agent.waits() && member.assigned.is_some())
    }

    /// The numbers of the status.
    pub fn count(&self) -> AgentCounts {
        AgentCounts {
            matched: length(self.list.len()),
            connected: self.tally(|member| member.agent.connected),
            healthy: self
                .tally(|member| member.agent.connected && member.agent.is_healthy() && !member.agent.newer),
            in_sync: self.tally(Member::in_sync),
            drifted: self.tally(Member::drifts),
            unknown: self.tally(|member| member.in_sync() && member.agent.is_unseen()),
            failed: self.tally(|member| self.refusal(member.agent).is_some()),
            quarantined: self.tally(|member| member.quarantined().is_some()),
            offline: self.tally(|member| self.offline_since(member.agent).is_some()),
        }
    }

    fn tally(&self, is_counted: impl Fn(&Member<'a>) -> bool) -> i64 {
        length(self.list.iter().filter(|member| is_counted(member)).count())
    }

    fn refusal(&self, agent: &'a ObservedAgent) -> Option<&'a Given> {
        agent.ledger.refusal(self.input.live.sides.target?, self.input.live.sides.retried_at)
    }

    fn offline_since(&self, agent: &ObservedAgent) -> Option<Timestamp> {
        let GroupInput { offline_after, now, .. } = *self.input;
        agent.away_since().filter(|since| now.duration_since(*since) > signed(offline_after))
    }

    /// The rollback is over without this agent: nobody is to run the target any more.
    fn is_left(&self, agent: &ObservedAgent) -> bool {
        let Sides { target, stable, .. } = self.input.live.sides;
        let over = stage(self.input.rollout) == Some(Stage::RolledBack);
        over && agent.connected && target.is_some() && agent.running == target && target != stable
    }

    /// The worst first, then the longest-standing, so that the list does not flutter.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.list.iter().filter_map(|member| self.problem(member)).collect();
        problems.extend(self.incompatible());
        problems.sort_by(|a, b| (a.kind, a.since.0, &a.agent).cmp(&(b.kind, b.since.0, &b.agent)));
        problems.truncate(MAX_PROBLEMS);
        problems
    }

    fn problem(&self, member: &Member<'a>) -> Option<Problem> {
        let agent = member.agent;
        if self.is_left(agent) {
            return Some(problem(agent, ProblemKind::NotRolledBack, self.why_left(agent), agent.since));
        }
        let (kind, message, since) = self.trouble(member)?;
        Some(problem(agent, kind, message, since))
    }

    fn trouble(&self, member: &Member<'a>) -> Option<(ProblemKind, String, Timestamp)> {
        let Member { agent, treatment, .. } = *member;
        if let Some((treatment, since)) = member.quarantined() {
            return Some((ProblemKind::Quarantined, member.why_quarantined(treatment), since));
        }
        if let Some(given) = self.refusal(agent) {
            let nothing = member.wanted.is_none() && self.input.live.sides.stable.is_some();
            let kind = if nothing { ProblemKind::NothingToOffer } else { ProblemKind::Failed };
            return Some((kind, words(given), given.at));
        }
        if let Some(missed) = self.input.restarts.get(&agent.uid).and_then(|restart| restart.missed) {
            let message = "has not come back healthy after the restart that was asked for";
            return Some((ProblemKind::NotRestarted, message.to_owned(), missed));
        }
        if agent.connected && !agent.is_healthy() {
            let tried = treatment.filter(|treatment| treatment.cause == Cause::Illness).and_then(|t| t.last);
            let message = tried.map_or_else(String::new, |last| tried_by(last.order).to_owned());
            return Some((ProblemKind::Unhealthy, message, agent.health_since));
        }
        if let Some((message, since)) = member.how_it_drifts(self.input.max_attempts) {
            return Some((ProblemKind::Drifted, message, since));
        }
        if let Some(sent_back) = treatment.filter(|treatment| treatment.sent_back) {
            let message =
                "ill with the target, so it has the stable revision by itself; a retry offers it the target";
            return Some((ProblemKind::SentBack, message.to_owned(), sent_back.began));
        }
        Some((ProblemKind::Offline, String::new(), self.offline_since(agent)?))
    }

    /// Agents that were built without a component of the target, once for each distinct lack.
    fn incompatible(&self) -> Vec<Problem> {
        let needs = self.input.live.target_needs;
        let mut builds: BTreeMap<String, (&ObservedAgent, usize)> = BTreeMap::new();
        let agents = self.list.iter().map(|member| member.agent);
        for agent in agents.filter(|agent| agent.connected && agent.lacks(needs)) {
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
        let refused = self.input.live.sides.stable.and_then(|stable| agent.ledger.refusal(stable, None));
        refused.map_or_else(|| "gives no answer to the stable revision".to_owned(), words)
    }
}

impl<'a> Member<'a> {
    fn in_sync(&self) -> bool {
        self.agent.connected && self.wanted.is_some() && self.agent.running == self.wanted && !self.drifts()
    }

    /// An agent that is put right drifts until it has been seen to be right.
    fn drifts(&self) -> bool {
        self.drift.is_some() || self.corrected().is_some_and(Treatment::is_active)
    }

    /// Its treatment, if that is for drift and has not brought it right yet.
    fn corrected(&self) -> Option<&'a Treatment> {
        let is_for_drift =
            |treatment: &&Treatment| treatment.cause == Cause::Drift && treatment.well.is_none();
        self.treatment.filter(is_for_drift).filter(|_| self.agent.connected)
    }

    /// In what way, where, and since when.
    fn how_it_drifts(&self, max_attempts: i64) -> Option<(String, Timestamp)> {
        let corrected = self.corrected().filter(|_| self.drifts());
        let active = corrected.filter(|treatment| treatment.is_active());
        let attempt = active.map(|treatment| format!("correction {} of {max_attempts}", treatment.orders));
        let began = corrected.map(|treatment| treatment.began);
        let told: Vec<String> =
            self.drift.map(|drift| drift.to_string()).into_iter().chain(attempt).collect();
        Some((told.join("; "), began.or(self.drift.map(|drift| drift.since))?))
    }

    fn quarantined(&self) -> Option<(&'a Treatment, Timestamp)> {
        let treatment = self.treatment?;
        Some((treatment, treatment.quarantined?))
    }

    fn why_quarantined(&self, treatment: &Treatment) -> String {
        let orders = treatment.orders;
        match (treatment.cause, treatment.last) {
            (Cause::Drift, _) => {
                let place = self.drift.map(|drift| format!("{drift}; ")).unwrap_or_default();
                format!("{place}{orders} corrections did not last")
            }
            (Cause::Illness, None) => {
                "stays unhealthy, and takes neither a restart nor a configuration".to_owned()
            }
            (Cause::Illness, Some(last)) => {
                format!("stays unhealthy; {orders} attempts, the last: {}", tried_by(last.order))
            }
            (Cause::Other(_), _) => format!("{orders} attempts of a newer version of the operator"),
        }
    }
}

fn tried_by(order: Order) -> &'static str {
    match order {
        Order::Restart => "started anew",
        Order::Offer => "offered its revision anew",
        Order::Stable => "offered the stable revision",
        Order::Other(_) => "something that a newer version of the operator does",
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
