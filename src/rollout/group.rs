//! A group's status: its assignment, its counts, and what a person should look at.

use super::adoption::{self, Adopted};
use crate::api::{
    AdoptionStatus, AgentCounts, AssignmentStatus, CollectorGroupStatus, ConditionType, Conditions,
    ConfigRolloutStatus, GroupHandled, Reason, RestartState, RestartStatus, Stage,
};
use crate::fleet::{Live, ObservedAgent, Restarts, Treatments, signed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use members::Members;
use std::time::Duration;

mod members;
mod news;

pub use news::group_news;

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
    /// What its agents are to run; how far adoptees are admitted is still as it was.
    pub assignment: &'a AssignmentStatus,
    /// The same, ready to be asked for each agent.
    pub live: &'a Live<'a>,
    /// All agents of the namespace, as all replicas see them.
    pub agents: &'a [ObservedAgent],
    /// Those of the group.
    pub members: &'a [&'a ObservedAgent],
    /// Those of them that are put right.
    pub treatments: &'a Treatments,
    /// Those that are started anew, because a person asked for that.
    pub restarts: &'a Restarts,
    /// How far that has come.
    pub restart: Option<&'a RestartStatus>,
    /// The requests that were seen.
    pub handled: Option<&'a GroupHandled>,
    /// After so many attempts an agent is quarantined.
    pub max_attempts: i64,
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
    let assignment = AssignmentStatus { adoption: adoption(input), ..input.assignment.clone() };
    let members = Members::new(input);
    let agents = members.count();
    let overlaps = input.agents.iter().filter(|agent| overlaps(agent, input.name)).count();
    let facts = Facts { able: members.able(), overlaps, left: members.left(), waiting: members.waiting() };
    let conditions = conditions(input, &assignment, &agents, &facts);
    CollectorGroupStatus {
        observed_generation: Some(input.generation),
        revision: revision(&assignment).cloned(),
        stable_revision: assignment.stable.clone(),
        assignment: Some(assignment),
        leader_term: input.prior.leader_term,
        handled: input.handled.cloned(),
        restart: input.restart.cloned(),
        problems: members.problems(),
        agents,
        conditions,
    }
}

/// What the group is on: the target as soon as somebody is to have it, else what everybody is to run.
fn revision(assignment: &AssignmentStatus) -> Option<&String> {
    let given = assignment.target.as_ref().filter(|_| !assignment.terms.is_empty());
    given.or(assignment.stable.as_ref()).or(assignment.target.as_ref())
}

/// How far agents are admitted that came with another group's revision. Other content, or a change of the group,
/// begins anew.
fn adoption(input: &GroupInput<'_>) -> Option<AdoptionStatus> {
    let (prior, next) = (input.prior.assignment.as_ref(), input.assignment);
    let adoption = prior.and_then(|prior| prior.adoption.as_ref());
    let adoptees = input.members.iter().filter(|agent| agent.adoptee.is_some());
    let adoptees: Vec<Adopted<'_>> = adoptees.map(|agent| (*agent, input.live.assigned(agent))).collect();
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

/// When the next of a group's agents will have been away for too long, of those that have not been yet.
pub fn next_offline(agents: &[&ObservedAgent], offline_after: Duration, now: Timestamp) -> Option<Timestamp> {
    let away = agents.iter().filter_map(|agent| agent.away_since());
    // It is offline when it has been away for longer.
    let after = signed(offline_after).saturating_add(SignedDuration::from_millis(1));
    away.filter_map(|since| since.checked_add(after).ok()).filter(|offline| *offline > now).min()
}

/// Whether an agent belongs to the group with this name.
pub fn in_group(agent: &ObservedAgent, name: &str) -> bool {
    agent.group.as_deref() == Some(name)
}

fn overlaps(agent: &ObservedAgent, name: &str) -> bool {
    agent.overlapping.is_some() && (in_group(agent, name) || agent.overlapping.as_deref() == Some(name))
}

fn stage(rollout: Option<&ConfigRolloutStatus>) -> Option<Stage> {
    rollout.and_then(|status| status.cohort.as_ref()).map(|cohort| cohort.stage)
}

/// Numbers that conditions tell.
struct Facts {
    /// Agents that can take a configuration.
    able: i64,
    /// Agents that another group matches too.
    overlaps: usize,
    /// Agents that a rollback did not reach.
    left: i64,
    /// Agents that came with another group's revision and are not admitted.
    waiting: i64,
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
    } else if agents.quarantined > 0 {
        let message = format!(
            "{} agents are left alone, because nothing that was tried has lasted; problems lists them; annotation \
             fleet.opamp.dev/retry of the rollout tries again",
            agents.quarantined
        );
        list.set(ConditionType::Degraded, true, Reason::AgentsQuarantined, &message);
    } else if let Some(restart) = input.restart.filter(|restart| restart.state == RestartState::Stopped) {
        let message =
            format!("restart {} has stopped: {}; ask for another one", restart.token, restart.message);
        list.set(ConditionType::Degraded, true, Reason::RestartStopped, &message);
    } else {
        list.clear(ConditionType::Degraded);
    }
    if agents.drifted > 0 {
        let message = format!(
            "{} agents do not run their assigned revision, though they had the time; problems tells in what way and \
             where",
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
