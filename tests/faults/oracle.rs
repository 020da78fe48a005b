//! What must hold whatever dies: pure functions of what each agent saw and of the states that the objects had. Each
//! returns what is wrong, in words.

use super::calm::{Disturbance, undisturbed};
use super::plan::REPLICAS;
use jiff::{SignedDuration, Timestamp};
use opamp_operator::api::{
    CollectorGroup, CollectorGroupStatus, ConfigRollout, ConfigRolloutStatus, RolloutState, Term,
};
use opamp_operator::fleet::{Cohort, InstanceUid};
use serde_json::Value;
use std::collections::BTreeMap;

/// How long the leader and the replicas may take, on a busy machine, to tell all replicas of a refusal. The operator
/// promises 1 s until it is written, and as long again until the others know.
const TOLD_AFTER: SignedDuration = SignedDuration::from_secs(3);
/// The shortest pause before an offer is repeated to an agent that polls and has not answered, and a little less.
const REPEATED_AFTER: SignedDuration = SignedDuration::from_millis(9_500);
/// The longest status, in bytes.
const MAX_STATUS_BYTES: usize = 8 << 10;

/// Something that an agent saw, said or went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The server has answered on a new connection.
    Connected,
    /// The connection ended.
    Disconnected,
    /// What it connects to leads to another replica from now on.
    Moved,
    /// It was offered this content.
    Offered(String),
    /// It said that it has applied this content.
    Applied(String),
    /// It said that this content failed.
    Failed(String),
}

/// When it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The time.
    pub at: Timestamp,
    /// What happened.
    pub what: Happening,
}

/// All that happened to an agent, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Its number.
    pub agent: usize,
    /// Its uid.
    pub uid: [u8; 16],
    /// Whether it polls.
    pub polls: bool,
    /// Whether each of its polls goes to another replica than the one before.
    pub roams: bool,
    /// What happened.
    pub entries: Vec<Entry>,
}

impl Log {
    /// What it runs, by its own last word.
    pub fn runs(&self) -> Option<&str> {
        self.entries.iter().rev().find_map(|entry| match &entry.what {
            Happening::Applied(content) => Some(content.as_str()),
            _ => None,
        })
    }

    /// Whether it was ever offered this content.
    pub fn was_offered(&self, content: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(&entry.what, Happening::Offered(offered) if offered == content))
    }

    /// Whether it ever said that this content failed.
    pub fn refused(&self, content: &str) -> bool {
        self.entries.iter().any(|entry| matches!(&entry.what, Happening::Failed(failed) if failed == content))
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        let last = self.entries.iter().rev().find_map(|entry| match entry.what {
            Happening::Connected => Some(true),
            Happening::Disconnected => Some(false),
            _ => None,
        });
        last == Some(true)
    }

    /// The offers, with the entries that came before each.
    fn offers(&self) -> impl Iterator<Item = (Timestamp, &str, &[Entry])> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.what {
            Happening::Offered(content) => Some((entry.at, content.as_str(), &self.entries[..index])),
            _ => None,
        })
    }
}

/// Agents that got the target before the rollout's cohort had them. `status` is the last of the attempt: its terms only
/// grow, and each phase says when it began, which is written before anybody is offered anything.
pub fn outside_the_cohort(logs: &[Log], target: &str, status: &ConfigRolloutStatus) -> Vec<String> {
    let Some(cohort) = &status.cohort else { return vec!["the rollout has no cohort".to_owned()] };
    let began = |term: &Term| {
        let phase = status.phases.iter().find(|phase| phase.phase.name == term.phase);
        phase.and_then(|phase| phase.started_at.as_ref()).map_or(Timestamp::MAX, |time| time.0)
    };
    let terms: Vec<(Option<Cohort>, Timestamp)> = cohort
        .terms
        .iter()
        .map(|term| (Cohort::read(&cohort.seed, std::slice::from_ref(term)), began(term)))
        .collect();
    let mut wrong = Vec::new();
    for log in logs {
        let uid = InstanceUid::new(log.uid);
        let has = |term: &Option<Cohort>| term.as_ref().is_some_and(|term| term.contains(uid, |_| true));
        let admitted = terms.iter().filter(|(term, _)| has(term)).map(|(_, began)| *began).min();
        let first = log.offers().find(|(_, content, _)| *content == target).map(|(at, ..)| at);
        match (first, admitted) {
            (Some(at), None) => {
                wrong.push(format!("agent {} got the target at {at} and was never in the cohort", log.agent));
            }
            (Some(at), Some(admitted)) if at < admitted => {
                wrong.push(format!(
                    "agent {} got the target at {at}, and is in the cohort since {admitted}",
                    log.agent
                ));
            }
            _ => {}
        }
    }
    wrong
}

/// Agents that were offered the same content twice in a row without a reason. Reasons are another connection, or another
/// replica behind the same one, that it was offered something else since, and that an agent that polls has not answered
/// for long.
pub fn offered_twice(logs: &[Log]) -> Vec<String> {
    let mut wrong = Vec::new();
    for log in logs {
        for (at, content, before) in log.offers() {
            let is_offer = |entry: &Entry| matches!(entry.what, Happening::Offered(_));
            let Some(last) = before.iter().rposition(is_offer) else { continue };
            if before[last].what != Happening::Offered(content.to_owned()) {
                continue;
            }
            let since = &before[last..];
            let elsewhere = |entry: &Entry| matches!(entry.what, Happening::Connected | Happening::Moved);
            let moved =
                since.iter().any(elsewhere) || log.roams && times_in_a_row(before, content) < REPLICAS;
            let applied = |entry: &Entry| matches!(&entry.what, Happening::Applied(said) if said == content);
            let answered = since.iter().any(applied);
            let late = log.polls && !answered && at.duration_since(before[last].at) >= REPEATED_AFTER;
            if !moved && !late {
                let answered = if answered { "it had applied it" } else { "it had not answered" };
                let first = before[last].at;
                wrong.push(format!(
                    "agent {} was offered {} at {first} and again at {at} by the same replica; {answered}",
                    log.agent,
                    short(content)
                ));
            }
        }
    }
    wrong
}

/// How often an agent was offered a content last, without another one or another connection between.
fn times_in_a_row(before: &[Entry], content: &str) -> usize {
    let since = before.iter().rev().take_while(|entry| match &entry.what {
        Happening::Offered(offered) => offered == content,
        Happening::Connected | Happening::Moved => false,
        _ => true,
    });
    since.filter(|entry| matches!(entry.what, Happening::Offered(_))).count()
}

/// Agents that were offered what they had refused before. It is excused if the agent left the replica that it had told
/// before that could tell the others.
pub fn offered_after_a_refusal(logs: &[Log], disturbances: &[Disturbance]) -> Vec<String> {
    let mut wrong = Vec::new();
    for log in logs {
        for (at, content, before) in log.offers() {
            let refusal =
                |entry: &Entry| matches!(&entry.what, Happening::Failed(failed) if failed == content);
            let Some(refused) = before.iter().rposition(refusal) else { continue };
            let left = before[refused..].iter().find(|entry| {
                matches!(entry.what, Happening::Connected | Happening::Disconnected | Happening::Moved)
            });
            let told = before[refused].at;
            let left = if log.roams { Some(at) } else { left.map(|left| left.at) };
            let calm = left.map(|left| undisturbed(told, left, disturbances));
            if calm.is_none_or(|calm| calm > TOLD_AFTER) {
                let left = left.map_or("never left".to_owned(), |left| format!("left at {left}"));
                wrong.push(format!(
                    "agent {} refused {} at {told}, {left}, and was offered it again at {at}",
                    log.agent,
                    short(content)
                ));
            }
        }
    }
    wrong
}

/// Agents that were offered, from a moment on by which the operator had shown that it knows of their refusals, what they
/// had refused before it. Nothing excuses that.
pub fn offered_although_known(logs: &[Log], since: Timestamp) -> Vec<String> {
    let mut wrong = Vec::new();
    for log in logs {
        for (at, content, before) in log.offers().filter(|(at, ..)| *at >= since) {
            let refusal = |entry: &&Entry| {
                entry.at < since && matches!(&entry.what, Happening::Failed(failed) if failed == content)
            };
            if let Some(refused) = before.iter().find(refusal) {
                wrong.push(format!(
                    "agent {} refused {} at {}, which was known by {since}, and was offered it again at {at}",
                    log.agent,
                    short(content),
                    refused.at
                ));
            }
        }
    }
    wrong
}

/// How many refusals of a content may have been lost: those of agents that left before they could be told.
pub fn may_be_lost(logs: &[Log], content: &str, disturbances: &[Disturbance]) -> usize {
    let may_be_lost = |log: &&Log| {
        let refusal = |entry: &Entry| matches!(&entry.what, Happening::Failed(failed) if failed == content);
        let Some(refused) = log.entries.iter().rposition(refusal) else { return false };
        let left = log.entries[refused..].iter().find(|entry| {
            matches!(entry.what, Happening::Connected | Happening::Disconnected | Happening::Moved)
        });
        left.is_some_and(|left| undisturbed(log.entries[refused].at, left.at, disturbances) <= TOLD_AFTER)
    };
    logs.iter().filter(may_be_lost).count()
}

/// The states that a rollout and its group had, oldest first, as far as they were seen.
#[derive(Default)]
pub struct History {
    /// The rollout's.
    pub rollouts: Vec<ConfigRollout>,
    /// The group's.
    pub groups: Vec<CollectorGroup>,
}

impl History {
    /// Terms that fell, cohorts that lost agents within an attempt, and statuses that are too large.
    pub fn wrong(&self, logs: &[Log]) -> Vec<String> {
        let rollouts = self.rollouts.iter().filter_map(|rollout| rollout.status.as_ref());
        let groups = self.groups.iter().filter_map(|group| group.status.as_ref());
        let mut wrong = falls("rollout", rollouts.clone().map(|status| status.leader_term));
        wrong.extend(falls("group", groups.clone().map(|status| status.leader_term)));
        wrong.extend(sizes("rollout", rollouts.clone().map(serde_json::to_value)));
        wrong.extend(sizes("group", groups.map(serde_json::to_value)));
        wrong.extend(shrinks(rollouts, logs));
        wrong
    }

    /// The last state of the attempt with this revision.
    pub fn last_of(&self, revision: &str) -> Option<&ConfigRolloutStatus> {
        let statuses = self.rollouts.iter().rev().filter_map(|rollout| rollout.status.as_ref());
        statuses.into_iter().find(|status| status.target_revision.as_deref() == Some(revision))
    }
}

fn falls(kind: &str, terms: impl Iterator<Item = Option<i64>>) -> Vec<String> {
    let terms: Vec<i64> = terms.map(Option::unwrap_or_default).collect();
    let fall = |pair: &&[i64]| pair[1] < pair[0];
    terms
        .windows(2)
        .filter(fall)
        .map(|pair| format!("the {kind}'s leaderTerm fell from {} to {}", pair[0], pair[1]))
        .collect()
}

fn sizes(kind: &str, statuses: impl Iterator<Item = serde_json::Result<Value>>) -> Vec<String> {
    let length = |status: serde_json::Result<Value>| status.map_or(0, |status| status.to_string().len());
    let longest = statuses.map(length).max().unwrap_or_default();
    let over = (longest > MAX_STATUS_BYTES).then(|| format!("the {kind}'s status had {longest} bytes"));
    over.into_iter().collect()
}

/// Agents that were in the cohort of an attempt, and later were not.
fn shrinks<'a>(statuses: impl Iterator<Item = &'a ConfigRolloutStatus>, logs: &[Log]) -> Vec<String> {
    let mut attempts: BTreeMap<i64, (Vec<Term>, Vec<usize>)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for cohort in statuses.filter_map(|status| status.cohort.as_ref()) {
        let known = attempts.entry(cohort.attempt).or_default();
        if known.0 == cohort.terms {
            continue;
        }
        let read = Cohort::of(cohort);
        let is_in = |log: &&Log| {
            read.as_ref().is_some_and(|cohort| cohort.contains(InstanceUid::new(log.uid), |_| true))
        };
        let inside: Vec<usize> = logs.iter().filter(is_in).map(|log| log.agent).collect();
        let lost = known.1.iter().filter(|agent| !inside.contains(agent)).count();
        if lost > 0 {
            wrong.push(format!("{lost} agents left the cohort of attempt {}", cohort.attempt));
        }
        *known = (cohort.terms.clone(), inside);
    }
    wrong
}

/// What the counts must come to once all is quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// How many agents there are, all of them connected.
    pub agents: usize,
    /// How many run the target.
    pub updated: usize,
    /// How many refused it.
    pub refused: usize,
    /// How many of those the operator may never have heard of.
    pub may_be_lost: usize,
    /// How the rollout ends.
    pub state: RolloutState,
}

/// Where the counts of the statuses are not the truth.
pub fn untrue(rollout: &ConfigRolloutStatus, group: &CollectorGroupStatus, truth: &Truth) -> Vec<String> {
    let number = |count: usize| i64::try_from(count).expect("few agents");
    let all = number(truth.agents);
    let (of_rollout, of_group) = (&rollout.agents, &group.agents);
    // Once the target is stable there is nothing left for who refused it.
    let in_sync =
        if truth.state == RolloutState::Completed { truth.agents - truth.refused } else { truth.agents };
    let exact = [
        ("the rollout's total", of_rollout.total, all),
        ("the rollout's eligible", of_rollout.eligible, all),
        ("the rollout's updated", of_rollout.updated, number(truth.updated)),
        ("the rollout's pending", of_rollout.pending, 0),
        ("the rollout's offline", of_rollout.offline, 0),
        ("the group's matched", of_group.matched, all),
        ("the group's connected", of_group.connected, all),
        ("the group's healthy", of_group.healthy, all),
        ("the group's inSync", of_group.in_sync, number(in_sync)),
        ("the group's drifted", of_group.drifted, 0),
        ("the group's quarantined", of_group.quarantined, 0),
        ("the group's offline", of_group.offline, 0),
    ];
    let mut wrong: Vec<String> = exact
        .into_iter()
        .filter(|(_, told, true_count)| told != true_count)
        .map(|(what, told, true_count)| format!("{what} is {told} and should be {true_count}"))
        .collect();
    if rollout.state != truth.state {
        wrong.push(format!(
            "the rollout is {:?} and should be {:?}: {}",
            rollout.state, truth.state, rollout.message
        ));
    }
    let heard = number(truth.refused.saturating_sub(truth.may_be_lost))..=number(truth.refused);
    if !heard.contains(&of_group.failed) {
        wrong.push(format!("the group's failed is {} and should be {heard:?}", of_group.failed));
    }
    if truth.state == RolloutState::Completed && !heard.contains(&of_rollout.failed) {
        wrong.push(format!("the rollout's failed is {} and should be {heard:?}", of_rollout.failed));
    }
    wrong
}

/// The beginning of a hash: enough for a person.
fn short(content: &str) -> &str {
    content.get(..8).unwrap_or(content)
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
