//! Restarts of a group's agents that a person asks for, on a real API server, with simulated agents.

mod support;

use kube::api::{Patch, PatchParams};
use opamp_operator::api::{CollectorGroup, ProblemKind, RestartState, RestartStatus, RolloutState};
use opamp_operator::sim::{Behaviour, Habits};
use serde_json::json;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::fleet::{Fleet, Kind};
use support::operator::Operator;
use support::resources::{Space, collector, events_of, group, inline, rollout, until_events};

/// Short, so that agents hear of everything soon.
const HEARTBEAT: Duration = Duration::from_millis(100);

async fn ask(space: &Space, token: &str) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"fleet.opamp.dev/restart": token}}}));
    let groups = space.api::<CollectorGroup>();
    groups.patch("g", &PatchParams::default(), &patch).await.expect("annotated");
}

/// Waits until the restart with this token is as wanted.
async fn until(
    space: &Space,
    token: &str,
    what: &str,
    wanted: impl Fn(&RestartStatus) -> bool,
) -> CollectorGroup {
    let wanted = |group: &CollectorGroup| {
        let restart = group.status.as_ref().and_then(|status| status.restart.as_ref());
        restart.is_some_and(|restart| restart.token == token && wanted(restart))
    };
    space.until("g", &format!("{what} with {token}"), wanted).await
}

fn restart_of(group: &CollectorGroup) -> RestartStatus {
    group.status.clone().and_then(|status| status.restart).expect("a restart")
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_started_anew_once_for_each_request_also_over_a_restart_of_the_operator() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "asked").await;
    let mut operator = Operator::start(&plane, "asked").await;
    let mut fleet = Fleet::new(&operator.websocket(), "asked", 1, HEARTBEAT);
    fleet.join_as(12, &Kind::new(&Behaviour::Apply).accepting_restarts());
    fleet.join(1, &Behaviour::Apply);
    let mut manifest = group("g", "asked");
    manifest["metadata"]["annotations"] = json!({"fleet.opamp.dev/restart": "restored"});
    space.apply(manifest).await;
    space.group_has("g", 13).await;
    let refused = until_events(&space, "g", &["RequestRefused"], 1).await;
    assert!(refused[0].1.ends_with("restored was there from the start"), "{refused:?}");

    ask(&space, "first").await;
    let done = until(&space, "first", "done", |restart| restart.state == RestartState::Completed).await;
    let status = restart_of(&done);
    assert_eq!((status.agents, status.ordered, status.restarted, status.failed), (12, 12, 12, 0));
    let handled = done.status.and_then(|status| status.handled).expect("requests");
    assert_eq!(handled.restart.as_deref(), Some("first"));
    let expected: Vec<usize> = std::iter::repeat_n(1, 12).chain([0]).collect();
    assert_eq!((fleet.restarts(), fleet.ignored_commands()), (expected, vec![0; 13]));
    let told = until_events(&space, "g", &["RequestHandled", "RestartCompleted"], 1).await;
    let notes: Vec<&str> = told.iter().map(|(_, note)| note.as_str()).collect();
    assert!(notes.iter().any(|note| note.starts_with("restart first of 12 agents has begun")), "{notes:?}");
    assert!(notes.contains(&"restart first: 12 of 12 agents came back, 0 did not"), "{notes:?}");
    let counted =
        ["opamp_restarts_total{result=\"restarted\"} 12", "opamp_restarts_total{result=\"failed\"} 0"];
    operator.until_metrics(&counted).await;

    // The operator ends in the middle of the second one. One agent comes after it was asked for.
    ask(&space, "second").await;
    until(&space, "second", "under way", |restart| restart.ordered >= 3).await;
    operator.kill();
    let connected = fleet.connections();
    let _operator = Operator::start_on(&plane, "asked", &operator.opamp).await;
    fleet.return_after(&connected).await;
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    fleet.join_as(1, &Kind::new(&Behaviour::Apply).accepting_restarts().started_at(now));
    let done = until(&space, "second", "done", |restart| restart.state == RestartState::Completed).await;
    let expected: Vec<usize> = std::iter::repeat_n(2, 12).chain([0, 0]).collect();
    assert_eq!(fleet.restarts(), expected, "{:?}", restart_of(&done));
    assert_eq!(restart_of(&done).failed, 0);

    ask(&space, "not a token").await;
    let refused = until_events(&space, "g", &["RequestRefused"], 2).await;
    assert!(refused.iter().any(|(_, note)| note.contains("\"not a token\" is not 1 to 63")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_that_agents_do_not_come_back_from_stops() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "frail").await;
    let operator = Operator::start(&plane, "frail").await;
    let mut fleet = Fleet::new(&operator.websocket(), "frail", 1, HEARTBEAT);
    let frail = Habits { frail: true, ..Habits::default() };
    fleet.join_as(10, &Kind::new(&Behaviour::Apply).accepting_restarts().with(frail));
    let mut manifest = group("g", "frail");
    manifest["spec"]["health"] = json!({"onUnhealthy": "Report"});
    space.apply(manifest).await;
    space.group_has("g", 10).await;
    let mut content = rollout("r", "g", inline(&collector("frail")));
    content["spec"]["strategy"]["applyTimeout"] = json!("2s");
    space.apply(content).await;
    space.rollout_is("r", RolloutState::Completed).await;

    ask(&space, "once").await;
    let one = |group: &CollectorGroup| {
        let problems = group.status.as_ref().map(|status| &status.problems[..]).unwrap_or_default();
        problems.iter().any(|problem| problem.kind == ProblemKind::NotRestarted)
    };
    space.until("g", "without one agent", one).await;
    let stopped = until(&space, "once", "stopped", |restart| restart.state == RestartState::Stopped).await;
    let status = restart_of(&stopped);
    assert_eq!((status.agents, status.ordered, status.restarted, status.failed), (10, 2, 0, 2));
    assert_eq!(
        fleet.restarts().iter().sum::<usize>(),
        2,
        "one of ten is tolerated, and the second one stops it"
    );
    let degraded = |group: &CollectorGroup| {
        let conditions = group.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == "Degraded" && condition.reason == "RestartStopped")
    };
    space.until("g", "degraded", degraded).await;
    until_events(&space, "g", &["NotRestarted"], 2).await;
    until_events(&space, "g", &["RestartStopped"], 1).await;
    fleet.hear(20).await;
    assert_eq!(fleet.restarts().iter().sum::<usize>(), 2, "{:?}", events_of(&space, "g").await);
}
