//! The oracle sees what is wrong, and nothing in what is right.

use super::*;
use opamp_operator::api::{AgentCounts, Cohort as CohortStatus, PhaseStatus, RolloutAgentCounts};
use serde_json::json;

const TARGET: &str = "aaaaaaaaaaaaaaaa";
const STABLE: &str = "bbbbbbbbbbbbbbbb";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// An agent to which this happened, each at its second.
fn log(happenings: &[(i64, Happening)]) -> Log {
    let entries = happenings.iter().map(|(second, what)| Entry { at: at(*second), what: what.clone() });
    Log { agent: 1, uid: [1; 16], polls: false, roams: false, entries: entries.collect() }
}

fn offered(content: &str) -> Happening {
    Happening::Offered(content.to_owned())
}

fn applied(content: &str) -> Happening {
    Happening::Applied(content.to_owned())
}

fn failed(content: &str) -> Happening {
    Happening::Failed(content.to_owned())
}

/// A status whose only phase began at second 10 and lets everybody in up to this boundary.
fn status(boundary: &str) -> ConfigRolloutStatus {
    let phase: PhaseStatus = serde_json::from_value(json!({
        "name": "full", "agents": "100%", "startedAt": "1970-01-01T00:00:10Z", "outcome": "Running",
    }))
    .expect("a phase");
    let term = Term { phase: "full".into(), boundary: boundary.into(), ..Term::default() };
    let cohort =
        CohortStatus { attempt: 1, seed: "000000000000002a".into(), terms: vec![term], ..Default::default() };
    ConfigRolloutStatus { phases: vec![phase], cohort: Some(cohort), ..ConfigRolloutStatus::default() }
}

#[test]
fn target_is_for_the_cohort_alone_and_not_before_its_phase() {
    let got = [log(&[(10, offered(TARGET))])];
    assert_eq!(outside_the_cohort(&got, TARGET, &status("ffffffffffffffff")), [""; 0]);
    assert_eq!(outside_the_cohort(&got, STABLE, &status("0000000000000000")), [""; 0]);
    let never = outside_the_cohort(&got, TARGET, &status("0000000000000000"));
    assert!(never[0].contains("was never in the cohort"), "{never:?}");
    let early = [log(&[(9, offered(TARGET)), (10, offered(TARGET))])];
    let early = outside_the_cohort(&early, TARGET, &status("ffffffffffffffff"));
    assert!(early[0].contains("is in the cohort since"), "{early:?}");
}

#[test]
fn same_content_twice_needs_a_reason() {
    let twice = |between: &[Happening], polls: bool, seconds: i64| {
        let middle = between.iter().map(|what| (1, what.clone()));
        let all: Vec<_> =
            [(0, offered(TARGET))].into_iter().chain(middle).chain([(seconds, offered(TARGET))]).collect();
        offered_twice(&[Log { polls, ..log(&all) }]).len()
    };
    for (wrong, between, polls, seconds) in [
        (1, &[][..], false, 2),
        (1, &[applied(TARGET)], false, 20),
        (1, &[Happening::Disconnected], false, 2),
        (1, &[], true, 2),
        (1, &[applied(TARGET)], true, 20),
        (0, &[], true, 10),
        (0, &[Happening::Connected], false, 2),
        (0, &[Happening::Moved], true, 2),
        (0, &[offered(STABLE)], false, 2),
    ] {
        assert_eq!(twice(between, polls, seconds), wrong, "{between:?}, polls: {polls}, after {seconds} s");
    }
}

#[test]
fn what_was_known_to_be_refused_excuses_no_offer() {
    for (wrong, happenings) in [
        (0, &[(1, failed(TARGET)), (2, Happening::Disconnected), (9, offered(TARGET))][..]),
        (1, &[(1, failed(TARGET)), (2, Happening::Disconnected), (10, offered(TARGET))]),
        (1, &[(1, failed(TARGET)), (9, offered(TARGET)), (30, offered(TARGET))]),
        (0, &[(1, failed(TARGET)), (30, offered(STABLE))]),
        (0, &[(1, applied(TARGET)), (30, offered(TARGET))]),
        (0, &[(12, failed(TARGET)), (30, offered(TARGET))]),
    ] {
        assert_eq!(offered_although_known(&[log(happenings)], at(10)).len(), wrong, "{happenings:?}");
    }
}

#[test]
fn agent_that_polls_everywhere_gets_the_same_once_from_each_replica() {
    let times = |times: i64| {
        let seen: Vec<_> = (0..times).map(|second| (second, offered(TARGET))).collect();
        offered_twice(&[Log { polls: true, roams: true, ..log(&seen) }]).len()
    };
    assert_eq!((times(3), times(4)), (0, 1));
}

#[test]
fn refusal_holds_wherever_the_agent_goes_unless_nobody_could_be_told() {
    let again = |left: i64, disturbances: &[Disturbance]| {
        let seen = [
            (0, offered(TARGET)),
            (1, failed(TARGET)),
            (left, Happening::Disconnected),
            (left, Happening::Connected),
            (left + 60, offered(TARGET)),
        ];
        offered_after_a_refusal(&[log(&seen)], disturbances).len()
    };
    let disturbed = |from, until| Disturbance { from: at(from), until: at(until) };
    assert_eq!(again(2, &[]), 0, "it left at once");
    assert_eq!(again(30, &[]), 1, "there was time enough");
    assert_eq!(again(30, &[disturbed(2, 25)]), 0, "nobody could be told");
    assert_eq!(again(30, &[disturbed(20, 25)]), 1, "before that there was time enough");
    assert_eq!(again(60, &[disturbed(2, 25)]), 1, "after that there was time enough");
    let stayed = [log(&[(0, offered(TARGET)), (1, failed(TARGET)), (2, offered(TARGET))])];
    assert_eq!(offered_after_a_refusal(&stayed, &[disturbed(0, 3)]).len(), 1, "its replica knew");
    assert_eq!(may_be_lost(&stayed, TARGET, &[]), 0);
    let lost = [log(&[(1, failed(TARGET)), (2, Happening::Disconnected)])];
    assert_eq!(may_be_lost(&lost, TARGET, &[]), 1);
}

fn rollout(status: ConfigRolloutStatus) -> ConfigRollout {
    let manifest = json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "ConfigRollout", "metadata": {"name": "r"},
        "spec": {"groupName": "g", "config": {"files": [{"name": "a", "inline": "x"}]}},
    });
    ConfigRollout { status: Some(status), ..serde_json::from_value(manifest).expect("a rollout") }
}

#[test]
fn terms_never_fall_cohorts_never_shrink_and_statuses_are_small() {
    let of = |states: Vec<ConfigRolloutStatus>| {
        let history = History { rollouts: states.into_iter().map(rollout).collect(), groups: Vec::new() };
        history.wrong(&[log(&[])])
    };
    let term = |term| ConfigRolloutStatus { leader_term: Some(term), ..status("ffffffffffffffff") };
    assert_eq!(of(vec![term(1), term(1), term(2)]), [""; 0]);
    assert_eq!(of(vec![term(1), term(3), term(2)]), ["the rollout's leaderTerm fell from 3 to 2"]);
    assert_eq!(of(vec![status("0000000000000000"), status("ffffffffffffffff")]), [""; 0]);
    let shrunk = of(vec![status("ffffffffffffffff"), status("0000000000000000")]);
    assert_eq!(shrunk, ["1 agents left the cohort of attempt 1"]);
    let large = of(vec![ConfigRolloutStatus { message: "x".repeat(9000), ..status("ffffffffffffffff") }]);
    assert!(large[0].contains("bytes"), "{large:?}");
}

#[test]
fn counts_are_compared_one_by_one() {
    let truth = Truth { agents: 10, updated: 8, refused: 2, may_be_lost: 0, state: RolloutState::Completed };
    let good = ConfigRolloutStatus {
        state: RolloutState::Completed,
        agents: RolloutAgentCounts { total: 10, eligible: 10, updated: 8, failed: 2, ..Default::default() },
        ..ConfigRolloutStatus::default()
    };
    let agents =
        AgentCounts { matched: 10, connected: 10, healthy: 10, in_sync: 8, failed: 2, ..Default::default() };
    let group = CollectorGroupStatus { agents, ..CollectorGroupStatus::default() };
    assert_eq!(untrue(&good, &group, &truth), [""; 0]);
    let mut wrong = good.clone();
    wrong.agents.updated = 7;
    wrong.state = RolloutState::RolledBack;
    assert_eq!(untrue(&wrong, &group, &truth).len(), 2);
    let mut short = group.clone();
    (short.agents.connected, short.agents.failed) = (9, 1);
    assert_eq!(untrue(&good, &short, &truth).len(), 2);
    let lost = Truth { may_be_lost: 1, ..truth };
    assert_eq!(untrue(&good, &short, &lost), ["the group's connected is 9 and should be 10"]);
}
