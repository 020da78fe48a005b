//! A group's status: its assignment, its counts, and what a person should look at.

use super::adoption::{self, Adopted};
use super::assignment;
use super::tally::length;
use crate::api::{
    AdoptionStatus, AgentCounts, AssignmentStatus, CollectorGroupStatus, ConditionType, Conditions,
    ConfigRolloutStatus, Problem, ProblemKind, Reason, Stage,
};
use crate::config::{ConfigHash, Inventory};
use crate::fleet::{Cohort, Given, MAX_MESSAGE_BYTES, ObservedAgent, Side, Sides, Verdict, clean, side};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most problems that stand in a status, whatever the fleet's size.
const MAX_PROBLEMS: usize = 10;

/// Everything that a group's status depends on.
pub struct GroupInput<'a> {
    /// The group's name.
    pub name: &'a str,
    /// The generation of its spec.
    pub generation: i64,
    /// The status as it stands.
    pub prior: &'a CollectorGroupStatus,
    /// The status of the rollout that holds the group.
    pub rollout: Option<&'a ConfigRolloutStatus>,
    /// The hashes of the revisions that exist, by name.
    pub revisions: &'a BTreeMap<String, ConfigHash>,
    /// The component types that the live revisions need, by name, as far as they are known.
    pub needs: &'a BTreeMap<String, Inventory>,
    /// All agents of the namespace, as all replicas see them.
    pub agents: &'a [ObservedAgent],
    /// Silence that means gone, for its agents.
    pub offline_after: Duration,
    /// How long the agents of each step of an adoption but the last must stay healthy.
    pub adoption_soaks: &'a [Duration],
    /// Until when every living replica is known to have watched its agents.
    pub watched_until: Option<Timestamp>,
    /// Entropy for the seed of a new adoption.
    pub entropy: u64,
    /// The time.
    pub now: Timestamp,
}

/// The group's status, given what is known now.
pub fn group_status(input: &GroupInput<'_>) -> CollectorGroupStatus {
    let mut assignment = assignment(input.prior.assignment.as_ref(), input.generation, input.rollout);
    let live = Live::new(&assignment, input, stage(input.rollout) == Some(Stage::RolledBack));
    let members: Vec<&ObservedAgent> =
        input.agents.iter().filter(|agent| in_group(agent, input.name)).collect();
    assignment.adoption = adoption(input, &assignment, &live, &members);
    let agents = live.count(&members);
    let overlaps = input.agents.iter().filter(|agent| overlaps(agent, input.name)).count();
    let able = members.iter().filter(|agent| live.is_able(agent)).count();
    let left = members.iter().filter(|agent| live.is_left(agent)).count();
    let may_come =
        |agent: &&&ObservedAgent| agent.connected && agent.waits() && live.assigned(agent).is_some();
    let waiting = members.iter().filter(may_come).count();
    let facts = Facts { able: length(able), overlaps, left, waiting };
    let conditions = conditions(input, &assignment, &agents, &facts);
    CollectorGroupStatus {
        observed_generation: Some(input.generation),
        stable_revision: assignment.stable.clone(),
        assignment: Some(assignment),
        leader_term: input.prior.leader_term,
        problems: live.problems(&members),
        agents,
        conditions,
    }
}

/// How far agents are admitted that came with another group's revision. Other content, or a change of the group,
/// begins anew.
fn adoption(
    input: &GroupInput<'_>,
    next: &AssignmentStatus,
    live: &Live<'_>,
    members: &[&ObservedAgent],
) -> Option<AdoptionStatus> {
    let prior = input.prior.assignment.as_ref();
    let adoption = prior.and_then(|prior| prior.adoption.as_ref());
    let adoptees = members.iter().filter(|agent| agent.adoptee.is_some());
    let adoptees: Vec<Adopted<'_>> = adoptees.map(|agent| (*agent, live.assigned(agent))).collect();
    if next.stable.is_none() {
        let runs = matches!(stage(input.rollout), Some(Stage::Running | Stage::Held));
        return adoption::without_stable(adoption, &adoptees, runs, input.now);
    }
    let essence = |of: &AssignmentStatus| (of.generation, of.target.clone(), of.stable.is_some());
    if prior.is_some_and(|prior| essence(prior) != essence(next)) {
        return None;
    }
    let rules = adoption::Rules {
        soaks: input.adoption_soaks,
        offline_after: input.offline_after,
        watched_until: input.watched_until,
        entropy: input.entropy,
        now: input.now,
    };
    adoption::adoption(adoption, &adoptees, &rules)
}

fn in_group(agent: &ObservedAgent, name: &str) -> bool {
    agent.group.as_deref() == Some(name)
}

fn overlaps(agent: &ObservedAgent, name: &str) -> bool {
    agent.overlapping.is_some() && (in_group(agent, name) || agent.overlapping.as_deref() == Some(name))
}

fn stage(rollout: Option<&ConfigRolloutStatus>) -> Option<Stage> {
    rollout.and_then(|status| status.cohort.as_ref()).map(|cohort| cohort.stage)
}

/// The two live revisions, ready to compare agents with.
struct Live<'a> {
    sides: Sides,
    /// The component types in the target.
    target_needs: Option<&'a Inventory>,
    /// The component types in the stable revision.
    stable_needs: Option<&'a Inventory>,
    cohort: Option<Cohort>,
    /// The rollback is over: nobody is to run the target any more.
    rolled_back: bool,
}

impl<'a> Live<'a> {
    fn new(assignment: &AssignmentStatus, input: &GroupInput<'a>, rolled_back: bool) -> Self {
        let hash = |name: &Option<String>| name.as_ref().and_then(|name| input.revisions.get(name)).copied();
        let needs = |name: &Option<String>| name.as_ref().and_then(|name| input.needs.get(name));
        Self {
            sides: Sides {
                target: hash(&assignment.target),
                stable: hash(&assignment.stable),
                rolling_back: assignment.rolling_back,
                retried_at: assignment.retried_at.as_ref().map(|time| time.0),
            },
            target_needs: needs(&assignment.target),
            stable_needs: needs(&assignment.stable),
            cohort: Cohort::read(&assignment.seed, &assignment.terms),
            rolled_back,
        }
    }

    fn assigned(&self, agent: &ObservedAgent) -> Option<ConfigHash> {
        let in_cohort = || {
            let inside = |cohort: &Cohort| cohort.contains(agent.uid, |ring| agent.is_in(ring));
            self.cohort.as_ref().is_some_and(inside) && !agent.lacks(self.target_needs)
        };
        match side(&self.sides, in_cohort, &agent.ledger)? {
            Side::Target => self.sides.target,
            Side::Stable => self.sides.stable.filter(|_| !agent.lacks(self.stable_needs)),
        }
    }

    /// The agent can be given one of the revisions.
    fn is_able(&self, agent: &ObservedAgent) -> bool {
        agent.is_eligible() && !(agent.lacks(self.target_needs) && self.assigned(agent).is_none())
    }

    fn runs_assigned(&self, agent: &ObservedAgent) -> bool {
        let assigned = self.assigned(agent);
        assigned.is_some() && agent.running == assigned
    }

    fn in_sync(&self, agent: &ObservedAgent) -> bool {
        self.runs_assigned(agent) && agent.drift().is_none()
    }

    fn drifts(&self, agent: &ObservedAgent) -> bool {
        agent.connected && agent.drift().is_some() && self.runs_assigned(agent)
    }

    /// The rollback is over without this agent.
    fn is_left(&self, agent: &ObservedAgent) -> bool {
        let Sides { target, stable, .. } = self.sides;
        self.rolled_back && agent.connected && target.is_some() && agent.running == target && target != stable
    }

    fn count(&self, members: &[&ObservedAgent]) -> AgentCounts {
        let tally =
            |wanted: &dyn Fn(&ObservedAgent) -> bool| length(members.iter().filter(|a| wanted(a)).count());
        AgentCounts {
            matched: length(members.len()),
            connected: tally(&|agent| agent.connected),
            healthy: tally(&|agent| agent.connected && agent.is_healthy()),
            in_sync: tally(&|agent| agent.connected && self.in_sync(agent)),
            drifted: tally(&|agent| self.drifts(agent)),
            unknown: tally(&|agent| agent.connected && self.in_sync(agent) && agent.is_unseen()),
            failed: tally(&|agent| {
                self.sides
                    .target
                    .is_some_and(|target| agent.ledger.refusal(target, self.sides.retried_at).is_some())
            }),
        }
    }

    /// The worst first, then the longest-standing, so that the list does not flutter.
    fn problems(&self, members: &[&ObservedAgent]) -> Vec<Problem> {
        let mut problems: Vec<Problem> = members.iter().filter_map(|agent| self.problem(agent)).collect();
        problems.extend(self.incompatible(members));
        problems.sort_by(|a, b| (a.kind, a.since.0, &a.agent).cmp(&(b.kind, b.since.0, &b.agent)));
        problems.truncate(MAX_PROBLEMS);
        problems
    }

    fn problem(&self, agent: &ObservedAgent) -> Option<Problem> {
        if self.is_left(agent) {
            return Some(problem(agent, ProblemKind::NotRolledBack, self.why_left(agent), agent.since));
        }
        let target = self.sides.target;
        let refusal = target.and_then(|target| agent.ledger.refusal(target, self.sides.retried_at));
        let (kind, message, since) = match refusal {
            Some(given) => {
                let kind = if self.assigned(agent).is_none() && self.sides.stable.is_some() {
                    ProblemKind::NothingToOffer
                } else {
                    ProblemKind::Failed
                };
                (kind, words(given), given.at)
            }
            None if agent.connected && !agent.is_healthy() => {
                (ProblemKind::Unhealthy, String::new(), agent.since)
            }
            None => {
                let (class, path, since) = agent.drift().filter(|_| self.drifts(agent))?;
                let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
                (ProblemKind::Drifted, format!("{class}{place}"), since)
            }
        };
        Some(problem(agent, kind, message, since))
    }

    /// Agents that were built without a component of the target, once for each distinct lack.
    fn incompatible(&self, members: &[&ObservedAgent]) -> Vec<Problem> {
        let mut builds: BTreeMap<String, (&ObservedAgent, usize)> = BTreeMap::new();
        for agent in members.iter().filter(|agent| agent.connected && agent.lacks(self.target_needs)) {
            let missing = agent.missing(self.target_needs).join(", ");
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
        let refused = self.sides.stable.and_then(|stable| agent.ledger.refusal(stable, None));
        refused.map_or_else(|| "gives no answer to the stable revision".to_owned(), words)
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

/// Numbers that conditions tell.
struct Facts {
    /// Agents that can take a configuration.
    able: i64,
    /// Agents that another group matches too.
    overlaps: usize,
    /// Agents that a rollback did not reach.
    left: usize,
    /// Agents that came with another group's revision and are not admitted.
    waiting: usize,
}

fn conditions(
    input: &GroupInput<'_>,
    assignment: &AssignmentStatus,
    agents: &AgentCounts,
    facts: &Facts,
) -> Vec<Condition> {
    let mut list = Conditions::new(input.prior.conditions.clone(), Some(input.generation), input.now);
    let (ready, reason, message) = readiness(assignment, agents, facts);
    list.set(ConditionType::Ready, ready, reason, &message);
    if ready {
        list.clear(ConditionType::Reconciling);
    } else {
        list.set(ConditionType::Reconciling, true, reason, &message);
    }
    if input.rollout.is_none() && assignment.target != assignment.stable {
        let message = "the rollout was deleted before it completed; agents keep what they run until another rollout \
                       for this group replaces it";
        list.set(ConditionType::Degraded, true, Reason::RolloutDeleted, message);
    } else if let Some(stopped) =
        assignment.adoption.as_ref().map(|adoption| &adoption.stopped).filter(|why| !why.is_empty())
    {
        let message = format!(
            "no further agents of other groups are admitted: {stopped}; roll out other content, or change the group"
        );
        list.set(ConditionType::Degraded, true, Reason::AdoptionStopped, &message);
    } else if facts.left > 0 {
        let message = format!(
            "{} agents still run {} after its rollback; problems lists them",
            facts.left,
            assignment.target.as_deref().unwrap_or_default()
        );
        list.set(ConditionType::Degraded, true, Reason::RollbackIncomplete, &message);
    } else {
        list.clear(ConditionType::Degraded);
    }
    if agents.drifted > 0 {
        let message = format!(
            "{} agents do not run what they report as applied; problems tells where they differ",
            agents.drifted
        );
        list.set(ConditionType::Drifted, true, Reason::AgentsDrifted, &message);
    } else {
        list.clear(ConditionType::Drifted);
    }
    if facts.overlaps > 0 {
        let overlaps = facts.overlaps;
        let message = format!("{overlaps} agents are matched by another group too: the higher priority wins");
        list.set(ConditionType::Overlapping, true, Reason::AgentsInSeveralGroups, &message);
    } else {
        list.clear(ConditionType::Overlapping);
    }
    list.into_list()
}

/// Ready: each connected agent that can run its assigned revision does so, healthy (design, section 2).
fn readiness(assignment: &AssignmentStatus, agents: &AgentCounts, facts: &Facts) -> (bool, Reason, String) {
    let Facts { able, waiting, .. } = *facts;
    if agents.connected == 0 {
        return (true, Reason::NoAgents, "no agent of the group is connected".to_owned());
    }
    if assignment.target.is_none() && assignment.stable.is_none() {
        return (
            true,
            Reason::NoConfiguration,
            "no rollout has given this group a configuration yet".to_owned(),
        );
    }
    if waiting > 0 {
        let message = format!(
            "{waiting} agents came with another group's revision, and keep it until they are admitted, in steps"
        );
        return (false, Reason::Adopting, message);
    }
    let done = agents.in_sync >= able && agents.healthy == agents.connected;
    let message = format!(
        "{} of {able} agents that take configurations run their assigned revision; {} of {} connected are healthy",
        agents.in_sync, agents.healthy, agents.connected
    );
    (done, if done { Reason::AllInSync } else { Reason::AgentsNotInSync }, message)
}

#[cfg(test)]
mod tests;
