//! Whether a run has shown anything: what it has to have seen before its oracle's silence means something. Pure functions
//! of logs and states.

use super::oracle::{Happening, History, Log};
use super::plan::{Content, Plan, THRESHOLD};
use jiff::Timestamp;
use opamp_operator::api::Term;
use std::collections::BTreeSet;

/// What of a run is too little to have judged anything by. Every agent was sent to another replica at `moved_at`.
pub fn too_little(
    plan: &Plan,
    logs: &[Log],
    target: &str,
    history: &History,
    moved_at: Timestamp,
) -> Vec<String> {
    let back = plan.content == Content::Bad;
    let many = |holds: &dyn Fn(&Log) -> bool| logs.iter().filter(|log| holds(log)).count();
    let refused = match plan.content {
        Content::Good => 0,
        Content::Tolerable => plan.refusers.len(),
        Content::Bad => THRESHOLD + 1,
    };
    let sockets = many(&|log| !log.polls);
    let statuses = || history.rollouts.iter().filter_map(|rollout| rollout.status.as_ref());
    let groups = history.groups.iter().filter_map(|group| group.status.as_ref());
    let of_target = statuses().filter(|status| status.target_revision.as_deref() == Some("r-2"));
    let cohorts: BTreeSet<Vec<&str>> = of_target
        .filter_map(|status| status.cohort.as_ref())
        .map(|cohort| boundaries(&cohort.terms))
        .collect();
    let counts = [
        (
            "agents that were offered the target",
            many(&|log| log.was_offered(target)),
            if back { refused } else { plan.agents },
        ),
        ("agents that refused it", many(&|log| log.refused(target)), refused),
        (
            "agents that connected after they were sent elsewhere",
            many(&|log| connected_since(log, moved_at)),
            sockets,
        ),
        ("cohorts of the attempt", cohorts.len(), if back { 1 } else { 2 }),
        (
            "states of the rollout with a term",
            statuses().filter(|status| status.leader_term.is_some()).count(),
            2,
        ),
        ("states of the group with a term", groups.filter(|status| status.leader_term.is_some()).count(), 2),
    ];
    let short = counts.into_iter().filter(|(_, seen, least)| seen < least);
    short.map(|(what, seen, least)| format!("too little was seen: {what}: {seen}, and not {least}")).collect()
}

/// Whether an agent that keeps a connection has made one since.
fn connected_since(log: &Log, since: Timestamp) -> bool {
    let connected = |entry: &super::oracle::Entry| entry.what == Happening::Connected && entry.at >= since;
    !log.polls && log.entries.iter().any(connected)
}

fn boundaries(terms: &[Term]) -> Vec<&str> {
    terms.iter().map(|term| term.boundary.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Entry;
    use opamp_operator::api::{
        Cohort, CollectorGroup, CollectorGroupSpec, CollectorGroupStatus, ConfigRollout, ConfigRolloutStatus,
    };
    use serde_json::json;

    const TARGET: &str = "aaaaaaaaaaaaaaaa";
    const AGENTS: usize = 20;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn plan(content: Content) -> Plan {
        let mut plan = Plan::new(0, AGENTS);
        plan.content = content;
        plan.refusers = match content {
            Content::Good => Vec::new(),
            Content::Tolerable => (0..4).collect(),
            Content::Bad => (0..10).collect(),
        };
        plan
    }

    /// Agents of which the first few refuse the target, and of which all connect anew at second 50.
    fn logs(refusing: usize) -> Vec<Log> {
        let said = |agent| {
            if agent < refusing {
                Happening::Failed(TARGET.into())
            } else {
                Happening::Applied(TARGET.into())
            }
        };
        let log = |agent| {
            let happenings = [
                (1, Happening::Connected),
                (10, Happening::Offered(TARGET.into())),
                (11, said(agent)),
                (50, Happening::Connected),
            ];
            let entries = happenings.into_iter().map(|(second, what)| Entry { at: at(second), what });
            Log { agent, polls: Plan::polls(agent), entries: entries.collect(), ..Log::default() }
        };
        (0..AGENTS).map(log).collect()
    }

    /// A history in which the attempt had this many cohorts, one after the other.
    fn history(cohorts: usize, term: Option<i64>) -> History {
        let rollout = |terms: usize| {
            let term_of = |index| Term { boundary: format!("{index:016x}"), ..Term::default() };
            let cohort = Cohort { terms: (0..terms).map(term_of).collect(), ..Cohort::default() };
            let status = ConfigRolloutStatus {
                target_revision: Some("r-2".into()),
                leader_term: term,
                cohort: Some(cohort),
                ..ConfigRolloutStatus::default()
            };
            let manifest = json!({
                "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "ConfigRollout", "metadata": {"name": "r"},
                "spec": {"groupName": "g", "config": {"files": [{"name": "a", "inline": "x"}]}},
            });
            ConfigRollout { status: Some(status), ..serde_json::from_value(manifest).expect("a rollout") }
        };
        let group = || {
            let status = CollectorGroupStatus { leader_term: term, ..CollectorGroupStatus::default() };
            CollectorGroup { status: Some(status), ..CollectorGroup::new("g", CollectorGroupSpec::default()) }
        };
        let rollouts = (1..=cohorts).chain([cohorts]).map(rollout).collect();
        History { rollouts, groups: vec![group(), group()] }
    }

    fn seen(content: Content, logs: &[Log], history: &History) -> Vec<String> {
        too_little(&plan(content), logs, TARGET, history, at(40))
    }

    #[test]
    fn run_that_saw_all_that_it_judged_is_enough() {
        for (content, refusing, cohorts) in [
            (Content::Good, 0, 3),
            (Content::Good, 0, 2),
            (Content::Tolerable, 4, 2),
            (Content::Bad, THRESHOLD + 1, 1),
        ] {
            assert_eq!(seen(content, &logs(refusing), &history(cohorts, Some(1))), [""; 0], "{content:?}");
        }
    }

    #[test]
    fn run_that_saw_nothing_of_something_is_too_little() {
        let all = history(3, Some(1));
        for (content, logs, history, missed) in [
            (Content::Good, Vec::new(), &all, "agents that were offered the target: 0, and not 20"),
            (
                Content::Good,
                logs(0)[1..].to_vec(),
                &all,
                "agents that were offered the target: 19, and not 20",
            ),
            (Content::Tolerable, logs(3), &all, "agents that refused it: 3, and not 4"),
            (Content::Bad, logs(THRESHOLD), &all, "agents that refused it: 6, and not 7"),
            (Content::Good, logs(0), &history(1, Some(1)), "cohorts of the attempt: 1, and not 2"),
            (Content::Bad, logs(9), &history(0, Some(1)), "states of the rollout with a term: 1, and not 2"),
            (Content::Good, logs(0), &history(3, None), "states of the group with a term: 0, and not 2"),
        ] {
            let told = seen(content, &logs, history);
            assert!(told.iter().any(|told| told.ends_with(missed)), "{missed}: {told:?}");
        }
        let mut stayed = logs(0);
        stayed[0].entries.pop();
        let told = seen(Content::Good, &stayed, &all);
        assert_eq!(
            told,
            ["too little was seen: agents that connected after they were sent elsewhere: 15, and not 16"]
        );
    }
}
