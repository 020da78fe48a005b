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

/// What is the matter, in words, since when.
type Trouble = (ProblemKind, String, Timestamp);

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

    /// The worst first, then the longest-standing, so that the list does not flutter. However many there are of one
    /// kind, none hides another.
    pub fn problems(&self) -> Vec<Problem> {
        let order =
            |a: &Problem, b: &Problem| (a.kind, a.since.0, &a.agent).cmp(&(b.kind, b.since.0, &b.agent));
        let mut all: Vec<Problem> = self.list.iter().flat_map(|member| self.of(member)).collect();
        all.extend(self.incompatible());
        all.sort_by(order);
        let kinds: Vec<&[Problem]> = all.chunk_by(|a, b| a.kind == b.kind).collect();
        let firsts = kinds.iter().map(|kind| &kind[..1]);
        let others = kinds.iter().map(|kind| &kind[1..]);
        let mut told: Vec<Problem> = firsts.chain(others).flatten().take(MAX_PROBLEMS).cloned().collect();
        told.sort_by(order);
        told
    }

    /// Everything that is the matter with one agent: what it refused once says nothing of how it is now, and one that
    /// is ill may drift as well.
    fn of(&self, member: &Member<'a>) -> impl Iterator<Item = Problem> + use<'a> {
        let agent = member.agent;
        let state = member.quarantine().or_else(|| member.illness());
        let all =
            [self.revision(member), self.missed(agent), state, self.drift(member), self.absence(member)];
        all.into_iter().flatten().map(|(kind, message, since)| problem(agent, kind, message, since))
    }

    /// Why it is not on the revision that it should be on.
    fn revision(&self, member: &Member<'a>) -> Option<Trouble> {
        let agent = member.agent;
        if self.is_left(agent) {
            return Some((ProblemKind::NotRolledBack, self.why_left(agent), agent.since));
        }
        let given = self.refusal(agent)?;
        let nothing = member.wanted.is_none() && self.input.live.sides.stable.is_some();
        let kind = if nothing { ProblemKind::NothingToOffer } else { ProblemKind::Failed };
        Some((kind, words(given), given.at))
    }

    fn missed(&self, agent: &ObservedAgent) -> Option<Trouble> {
        let missed = self.input.restarts.get(&agent.uid)?.missed?;
        let message = "has not come back healthy after the restart that was asked for";
        Some((ProblemKind::NotRestarted, message.to_owned(), missed))
    }

    fn drift(&self, member: &Member<'a>) -> Option<Trouble> {
        // Why it is quarantined says the same.
        let told = member.quarantined().is_some_and(|(treatment, _)| treatment.cause == Cause::Drift);
        let (message, since) = member.how_it_drifts(self.input.max_attempts).filter(|_| !told)?;
        Some((ProblemKind::Drifted, message, since))
    }

    fn absence(&self, member: &Member<'a>) -> Option<Trouble> {
        Some((ProblemKind::Offline, String::new(), self.offline_since(member.agent)?))
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

    fn quarantine(&self) -> Option<Trouble> {
        let (treatment, since) = self.quarantined()?;
        Some((ProblemKind::Quarantined, self.why_quarantined(treatment), since))
    }

    /// That it is unhealthy, or why it is not on the target any more.
    fn illness(&self) -> Option<Trouble> {
        if self.agent.connected && !self.agent.is_healthy() {
            let treatment = self.treatment.filter(|treatment| treatment.cause == Cause::Illness);
            let tried = treatment.and_then(|treatment| treatment.last);
            let message = tried.map_or_else(String::new, |last| tried_by(last.order).to_owned());
            return Some((ProblemKind::Unhealthy, message, self.agent.health_since));
        }
        let sent_back = self.treatment.filter(|treatment| treatment.sent_back)?;
        let message =
            "ill with the target, so it has the stable revision by itself; a retry offers it the target";
        Some((ProblemKind::SentBack, message.to_owned(), sent_back.began))
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
