use super::super::assignment;
use super::*;
use crate::api::{self, ProblemKind, RolloutState, Stage, Term};
use crate::config::{ConfigHash, Inventory};
use crate::fleet::fixtures::seen;
use crate::fleet::{Admission, Adoptee, DriftClass, InstanceUid, Ledger, Rank, Shown, Sight, Verdict};

mod treated;

fn hash(n: u8) -> ConfigHash {
    ConfigHash::from_bytes([n; 32])
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A healthy agent of group `g` that runs this revision.
fn agent(number: u8, running: Option<u8>) -> ObservedAgent {
    let mut ledger = Ledger::default();
    if let Some(n) = running {
        ledger.note(hash(n), Verdict::Applied, at(10));
    }
    ObservedAgent {
        host: format!("host-{number}"),
        running: running.map(hash),
        ledger,
        ..seen(InstanceUid::new([number; 16]), at(1))
    }
}

/// A rollout that brings `r-2` to everybody, with `r-1` proven.
fn rollout(stage: Stage) -> ConfigRolloutStatus {
    let everybody = Term { phase: "full".into(), boundary: Rank::ALL.to_string(), ..Default::default() };
    ConfigRolloutStatus {
        state: RolloutState::Progressing,
        target_revision: Some("r-2".into()),
        stable_revision: Some("r-1".into()),
        cohort: Some(api::Cohort {
            attempt: 1,
            seed: "0000000000000001".into(),
            terms: vec![everybody],
            stage,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn status(agents: &[ObservedAgent], rollout: Option<&ConfigRolloutStatus>) -> CollectorGroupStatus {
    status_after(&CollectorGroupStatus::default(), agents, rollout)
}

fn status_after(
    prior: &CollectorGroupStatus,
    agents: &[ObservedAgent],
    rollout: Option<&ConfigRolloutStatus>,
) -> CollectorGroupStatus {
    status_with(&Treatments::new(), prior, agents, rollout)
}

fn status_with(
    treatments: &Treatments,
    prior: &CollectorGroupStatus,
    agents: &[ObservedAgent],
    rollout: Option<&ConfigRolloutStatus>,
) -> CollectorGroupStatus {
    status_of(treatments, &Restarts::new(), prior, agents, rollout)
}

fn status_of(
    treatments: &Treatments,
    restarts: &Restarts,
    prior: &CollectorGroupStatus,
    agents: &[ObservedAgent],
    rollout: Option<&ConfigRolloutStatus>,
) -> CollectorGroupStatus {
    let revisions = [("r-1".to_owned(), hash(1)), ("r-2".to_owned(), hash(2))].into();
    let kafka = Inventory::new([("receivers", vec!["kafka".to_owned()])]);
    let needs = [("r-2".to_owned(), kafka)].into();
    let assignment = assignment(prior.assignment.as_ref(), 3, rollout, None);
    let members: Vec<&ObservedAgent> = agents.iter().filter(|agent| in_group(agent, "g")).collect();
    group_status(&GroupInput {
        name: "g",
        generation: 3,
        prior,
        rollout,
        assignment: &assignment,
        live: &Live::new(&assignment, &revisions, &needs),
        agents,
        members: &members,
        treatments,
        restarts,
        restart: prior.restart.as_ref(),
        handled: prior.handled.as_ref(),
        max_attempts: 5,
        offline_after: Duration::from_secs(90),
        adoption_soaks: &[Duration::from_mins(5)],
        watched_until: Some(at(100)),
        entropy: 7,
        now: at(100),
    })
}

fn condition<'a>(status: &'a CollectorGroupStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&condition.status, &condition.reason))
}

#[test]
fn counts_are_of_the_groups_own_agents_and_of_the_revision_that_each_is_assigned() {
    let mut gone = agent(3, Some(2));
    gone.connected = false;
    let mut ill = agent(4, Some(2));
    ill.healthy = Some(false);
    let mut refused = agent(5, Some(1));
    refused.ledger.note(hash(2), Verdict::failed("no"), at(20));
    let stranger = ObservedAgent { group: Some("other".into()), ..agent(6, Some(2)) };
    let agents = [agent(1, Some(2)), agent(2, Some(1)), gone, ill, refused, stranger];
    let counts = status(&agents, Some(&rollout(Stage::Running))).agents;
    assert_eq!((counts.matched, counts.connected, counts.healthy), (5, 4, 3));
    assert_eq!(
        (counts.in_sync, counts.failed),
        (3, 1),
        "the one that refused the target is in sync with stable"
    );
}

#[test]
fn group_is_ready_when_every_agent_that_can_runs_its_revision_healthy() {
    let running = rollout(Stage::Running);
    let reporter = ObservedAgent { accepts_config: false, ..agent(2, None) };
    let ill = ObservedAgent { healthy: Some(false), ..agent(1, Some(2)) };
    for (agents, expected) in [
        (vec![agent(1, Some(2)), reporter], ("True", "AllInSync")),
        (vec![agent(1, Some(1))], ("False", "AgentsNotInSync")),
        (vec![ill], ("False", "AgentsNotInSync")),
        (vec![], ("True", "NoAgents")),
    ] {
        let status = status(&agents, Some(&running));
        assert_eq!(condition(&status, "Ready"), Some(expected), "{agents:?}");
        assert_eq!(condition(&status, "Reconciling").is_some(), expected.0 == "False");
    }
    assert_eq!(condition(&status(&[agent(1, None)], None), "Ready"), Some(("True", "NoConfiguration")));
}

#[test]
fn assignment_stands_still_without_a_rollout_and_that_is_told() {
    let before = status(&[agent(1, Some(1))], Some(&rollout(Stage::Running)));
    let after = status_after(&before, &[agent(1, Some(1))], None);
    assert_eq!(after.assignment, before.assignment);
    assert_eq!(condition(&after, "Degraded"), Some(("True", "RolloutDeleted")));
    let completed = ConfigRolloutStatus { stable_revision: Some("r-2".into()), ..rollout(Stage::Completed) };
    let done = status(&[agent(1, Some(2))], Some(&completed));
    assert_eq!(condition(&status_after(&done, &[], None), "Degraded"), None, "it had completed");
}

#[test]
fn time_to_answer_is_the_rollouts_and_stays_when_that_is_gone() {
    let (minute, hour): (api::Duration, api::Duration) =
        ("1m".parse().expect("one"), "1h".parse().expect("one"));
    let going = rollout(Stage::Running);
    let first = assignment(None, 1, Some(&going), Some(&minute));
    assert_eq!(first.apply_timeout, Some(minute.clone()));
    assert_eq!(assignment(Some(&first), 1, None, None).apply_timeout, Some(minute));
    let pending = ConfigRolloutStatus::default();
    assert_eq!(assignment(Some(&first), 1, Some(&pending), Some(&hour)).apply_timeout, Some(hour));
}

#[test]
fn assignment_is_of_the_groups_generation_even_when_nothing_else_changes() {
    let before = status(&[], Some(&rollout(Stage::Running)));
    let unstarted = ConfigRolloutStatus::default();
    let after = status_after(&before, &[], Some(&unstarted)).assignment.expect("an assignment");
    assert_eq!((after.generation, after.target.as_deref()), (3, Some("r-2")));
}

#[test]
fn rollback_empties_the_cohort_and_asks_everybody_once() {
    let assignment = |stage| status(&[], Some(&rollout(stage))).assignment.expect("an assignment");
    let back = assignment(Stage::RollingBack);
    assert!(back.terms.is_empty() && back.rolling_back);
    let after = assignment(Stage::RolledBack);
    assert!(after.terms.is_empty() && !after.rolling_back);
    let halted = assignment(Stage::Halted);
    assert!(halted.terms.is_empty() && !halted.rolling_back, "nobody else is to get it");
    for stage in [Stage::Running, Stage::Held, Stage::Completed] {
        let going = assignment(stage);
        assert!(!going.terms.is_empty() && !going.rolling_back, "{stage:?}");
    }
}

/// A group does not say that its agents run what was taken away from them.
#[test]
fn revision_of_a_group_is_the_target_while_somebody_is_to_have_it_and_else_stable() {
    let of = |rollout: &ConfigRolloutStatus| status(&[], Some(rollout)).revision;
    for (stage, expected) in [
        (Stage::Running, "r-2"),
        (Stage::Held, "r-2"),
        (Stage::Completed, "r-2"),
        (Stage::RollingBack, "r-1"),
        (Stage::RolledBack, "r-1"),
        (Stage::Halted, "r-1"),
    ] {
        let rollout = rollout(stage);
        assert_eq!(of(&rollout).as_deref(), Some(expected), "{stage:?}");
        let first = ConfigRolloutStatus { stable_revision: None, ..rollout };
        assert_eq!(of(&first).as_deref(), Some("r-2"), "{stage:?}: there is nothing else");
    }
    assert_eq!(status(&[], None).revision, None);
}

#[test]
fn problems_name_the_worst_first_and_are_bounded() {
    let mut both = agent(1, None);
    both.ledger.note(hash(1), Verdict::failed("no"), at(20));
    both.ledger.note(hash(2), Verdict::failed("no"), at(30));
    let mut one = agent(2, Some(1));
    one.ledger.note(hash(2), Verdict::RolledBackByAgent, at(5));
    let ill = ObservedAgent { healthy: Some(false), ..agent(3, Some(2)) };
    let gone = ObservedAgent { connected: false, host: "host-4".into(), ..ill.clone() };
    let problems = status(&[gone, ill, one, both], Some(&rollout(Stage::Running))).problems;
    let kinds: Vec<(ProblemKind, &str)> = problems.iter().map(|p| (p.kind, p.host.as_str())).collect();
    assert_eq!(
        kinds,
        [
            (ProblemKind::NothingToOffer, "host-1"),
            (ProblemKind::Failed, "host-2"),
            (ProblemKind::Unhealthy, "host-3"),
            (ProblemKind::Offline, "host-4"),
        ]
    );
    let many: Vec<ObservedAgent> =
        (0..50).map(|n| ObservedAgent { healthy: Some(false), ..agent(n, Some(2)) }).collect();
    let all = status(&many, Some(&rollout(Stage::Running))).problems;
    assert_eq!(
        all.iter().map(|problem| &*problem.host).collect::<Vec<_>>(),
        (0..10).map(|n| format!("host-{n}")).collect::<Vec<_>>()
    );

    let mut gone = agent(60, None);
    gone.connected = false;
    let with_another_kind = status(&[many, vec![gone]].concat(), Some(&rollout(Stage::Running))).problems;
    assert_eq!(with_another_kind[..9], all[..9]);
    assert_eq!((with_another_kind.len(), with_another_kind[9].kind), (10, ProblemKind::Offline));
}

#[test]
fn agent_is_offline_when_it_has_been_away_for_longer_than_its_group_allows() {
    let away = |since| ObservedAgent { connected: false, since: at(since), ..agent(1, Some(2)) };
    let held_by_dead = |died| ObservedAgent { unreachable: Some(at(died)), ..away(1) };
    for (agent, offline) in [
        (away(10), None),
        (away(9), Some(at(9))),
        (held_by_dead(10), None),
        (held_by_dead(9), Some(at(9))),
        (agent(1, Some(2)), None),
    ] {
        let status = status(&[agent], Some(&rollout(Stage::Running)));
        let told: Vec<_> = status.problems.iter().map(|problem| (problem.kind, problem.since.0)).collect();
        assert_eq!(told, Vec::from_iter(offline.map(|since| (ProblemKind::Offline, since))));
        assert_eq!(status.agents.offline, i64::from(offline.is_some()));
    }
}

#[test]
fn overlap_is_told_by_the_group_that_wins_and_by_the_one_that_loses() {
    let wins = ObservedAgent { overlapping: Some("other".into()), ..agent(1, Some(2)) };
    let loses =
        ObservedAgent { group: Some("other".into()), overlapping: Some("g".into()), ..agent(1, Some(2)) };
    for overlapping in [wins, loses] {
        let status = status(&[overlapping], Some(&rollout(Stage::Running)));
        assert_eq!(condition(&status, "Overlapping"), Some(("True", "AgentsInSeveralGroups")));
    }
    assert_eq!(condition(&status(&[agent(1, Some(2))], None), "Overlapping"), None);
}

#[test]
fn agents_that_a_rollback_has_not_reached_are_told_until_they_are_back() {
    let mut refuses = agent(2, Some(2));
    refuses.ledger.note(hash(1), Verdict::failed("no way back"), at(30));
    let silent = agent(3, Some(2));
    let gone = ObservedAgent { connected: false, since: at(20), ..agent(4, Some(2)) };
    let agents = [agent(1, Some(1)), refuses, silent, gone];
    for stage in [Stage::Running, Stage::RollingBack] {
        assert_eq!(condition(&status(&agents, Some(&rollout(stage))), "Degraded"), None, "{stage:?}");
    }
    let over = status(&agents, Some(&rollout(Stage::RolledBack)));
    assert_eq!(condition(&over, "Degraded"), Some(("True", "RollbackIncomplete")));
    let message = &over.conditions.iter().find(|c| c.type_ == "Degraded").expect("a condition").message;
    assert_eq!(message, "2 agents still run r-2 after its rollback; problems lists them");
    let told: Vec<_> = over.problems.iter().map(|p| (p.kind, p.host.as_str(), p.message.as_str())).collect();
    assert_eq!(
        told,
        [
            (ProblemKind::NotRolledBack, "host-2", "no way back"),
            (ProblemKind::NotRolledBack, "host-3", "gives no answer to the stable revision"),
        ]
    );
    let back =
        status_after(&over, &[agent(1, Some(1)), agent(2, Some(1))], Some(&rollout(Stage::RolledBack)));
    assert_eq!((condition(&back, "Degraded"), back.problems.len()), (None, 0));
}

#[test]
fn rollback_to_the_same_content_leaves_nobody_behind() {
    let same = ConfigRolloutStatus { stable_revision: Some("r-2".into()), ..rollout(Stage::RolledBack) };
    assert_eq!(condition(&status(&[agent(1, Some(2))], Some(&same)), "Degraded"), None);
}

/// Agents that came with another group's revision, and wait.
fn waiting(numbers: std::ops::Range<u8>) -> Vec<ObservedAgent> {
    let adoptee = Some(Adoptee { since: 50, waits: true });
    numbers.map(|n| ObservedAgent { adoptee, ..agent(n, Some(9)) }).collect()
}

#[test]
fn agents_of_other_groups_are_admitted_in_steps_and_the_group_is_not_ready_meanwhile() {
    let settled = status(&[], Some(&rollout(Stage::Completed)));
    let next = status_after(&settled, &waiting(0..100), Some(&rollout(Stage::Completed)));
    let adoption =
        next.assignment.as_ref().and_then(|assignment| assignment.adoption.as_ref()).expect("begun");
    assert_eq!((adoption.step, adoption.base), (0, 2), "2% of 100");
    assert_eq!(condition(&next, "Ready"), Some(("False", "Adopting")));
    assert_eq!(condition(&next, "Reconciling"), Some(("True", "Adopting")));
}

#[test]
fn adoption_begins_anew_with_other_content_and_when_the_group_changes() {
    let settled = status(&[], Some(&rollout(Stage::Completed)));
    let adopting = status_after(&settled, &waiting(0..100), Some(&rollout(Stage::Completed)));
    let mut older = adopting.clone();
    older.assignment.as_mut().expect("one").generation = 2;
    let mut other = adopting.clone();
    other.assignment.as_mut().expect("one").target = Some("r-1".into());
    for (name, prior, goes_on) in
        [("nothing", adopting, true), ("group", older, false), ("content", other, false)]
    {
        let next = status_after(&prior, &waiting(0..100), Some(&rollout(Stage::Completed)));
        let adoption = next.assignment.and_then(|assignment| assignment.adoption);
        assert_eq!(adoption.is_some(), goes_on, "{name} changed");
    }
}

#[test]
fn adoption_that_stopped_degrades_the_group() {
    let settled = status(&[], Some(&rollout(Stage::Completed)));
    let mut agents = waiting(0..100);
    let begun = status_after(&settled, &agents, Some(&rollout(Stage::Completed)));
    for agent in &mut agents {
        agent.ledger.note(hash(2), Verdict::failed("no"), at(101));
    }
    let next = status_after(&begun, &agents, Some(&rollout(Stage::Completed)));
    assert_eq!(condition(&next, "Degraded"), Some(("True", "AdoptionStopped")));
}

#[test]
fn first_rollout_of_a_group_reaches_agents_of_other_groups_by_its_own_phases() {
    let admits = |status: &CollectorGroupStatus, agent: &ObservedAgent| {
        let adoption = status.assignment.as_ref().and_then(|assignment| assignment.adoption.as_ref());
        let admission = adoption.and_then(Admission::read);
        let came = at(agent.adoptee.expect("an adoptee").since);
        admission.is_some_and(|admission| admission.admits(agent.uid, came))
    };
    let (mut first, late) = (waiting(0..3), waiting(3..4).remove(0));
    let before = status_after(&CollectorGroupStatus::default(), &first, None);
    assert!(first.iter().all(|agent| admits(&before, agent)), "or no rollout could ever begin");
    let late = ObservedAgent { adoptee: Some(Adoptee { since: 70, waits: true }), ..late };
    first.push(late.clone());
    let running = ConfigRolloutStatus { stable_revision: None, ..rollout(Stage::Running) };
    let during = status_after(&before, &first, Some(&running));
    assert!(first[..3].iter().all(|agent| admits(&during, agent)));
    assert!(!admits(&during, &late), "it came while the attempt was under way");
    let after = status_after(&during, &first, Some(&rollout(Stage::Completed)));
    assert_eq!(after.assignment.and_then(|assignment| assignment.adoption), None, "then it begins in steps");
}

#[test]
fn agents_that_lack_a_component_of_the_target_are_listed_once_for_each_build_and_keep_stable() {
    let build = |receiver: &str| {
        let built = Inventory::new([("receivers", vec![receiver.to_owned()])]);
        Some(std::sync::Arc::new(built))
    };
    let agents: Vec<ObservedAgent> = (1..=5)
        .map(|n| ObservedAgent { build: build(if n == 5 { "kafka" } else { "otlp" }), ..agent(n, Some(1)) })
        .collect();
    let status = status(&agents, Some(&rollout(Stage::Running)));
    assert_eq!(status.agents.in_sync, 4, "they are to run stable, and do");
    let told: Vec<_> =
        status.problems.iter().map(|problem| (problem.kind, problem.message.as_str())).collect();
    let words = "4 agents of this build lack receiver kafka, so they are not offered the target";
    assert_eq!(told, [(ProblemKind::Incompatible, words)]);
}

#[test]
fn agents_that_drift_are_counted_and_listed_with_class_and_path_and_since_when() {
    let sighted = |number: u8, running: u8, shown| {
        let sight = Sight { shown, ..Sight::blank(hash(running), at(50)) };
        ObservedAgent { sight: Some(sight), ..agent(number, Some(running)) }
    };
    let modified = || Shown::Drifted(DriftClass::Modified, "exporters::otlp::endpoint".into());
    let drifting = [
        sighted(1, 2, Shown::InSync),
        sighted(2, 2, Shown::Unknown),
        agent(3, Some(2)),
        sighted(4, 2, modified()),
        sighted(5, 2, Shown::Drifted(DriftClass::Changed, "".into())),
        // What it drifts from is not what it is to run.
        sighted(6, 1, modified()),
        ObservedAgent { connected: false, since: at(20), ..sighted(7, 2, modified()) },
    ];
    let rollout = rollout(Stage::Running);
    let status = status(&drifting, Some(&rollout));
    let counts = &status.agents;
    assert_eq!((counts.connected, counts.in_sync, counts.drifted, counts.unknown), (6, 3, 2, 2));
    let problems: Vec<_> =
        status.problems.iter().map(|p| (p.kind, &*p.host, &*p.message, p.since.0)).collect();
    assert_eq!(
        problems,
        [
            (ProblemKind::Drifted, "host-4", "Modified at exporters::otlp::endpoint", at(50)),
            (ProblemKind::Drifted, "host-5", "Changed", at(50)),
        ]
    );
    assert_eq!(condition(&status, "Drifted"), Some(("True", "AgentsDrifted")));
    assert_eq!(condition(&status, "Ready"), Some(("False", "AgentsNotInSync")));

    let healed = status_after(&status, &drifting[..3], Some(&rollout));
    assert_eq!((healed.agents.drifted, condition(&healed, "Drifted")), (0, None));
    assert_eq!(condition(&healed, "Ready"), Some(("True", "AllInSync")));
}
