//! A real Collector that stays unhealthy is started anew by the command that its supervisor takes, then offered its
//! configuration anew, and then left alone. One that is well is started anew when a person asks for it.

mod support;

use kube::api::{Patch, PatchParams};
use opamp_operator::api::{
    CollectorGroup, CollectorGroupStatus, ConfigRevision, ProblemKind, RestartState, RolloutState,
};
use serde_json::json;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout, until_events};
use support::supervisor::Supervisor;
use support::tap::Tap;

/// A configuration with which a Collector is well for some seconds after each start.
fn falls_ill() -> String {
    let fault = "extensions: {fault: {after: 8s, mode: permanent_error}}\nservice: {extensions: [fault], ";
    collector("ill").replace("service: {", fault)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_collector_that_stays_unhealthy_is_started_anew_then_offered_anew_then_quarantined() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "healing").await;
    let operator = Operator::start(&plane, "healing").await;
    let tap = Tap::start(&operator.opamp).await;
    let _supervisor = Supervisor::start(plane.dir(), "supervisor", &tap.endpoint, &[("test", "healing")]);
    let mut edge = group("edge", "healing");
    // Its illness comes back later than the longest pause after it was seen to be well, and still counts.
    edge["spec"]["drift"] = json!({"correction": {"initialBackoff": "1s", "maxBackoff": "1m"}});
    edge["spec"]["health"] = json!({"unhealthyAfter": "1s"});
    space.apply(edge).await;
    space.group_has("edge", 1).await;
    space.apply(rollout("r", "edge", inline(&falls_ill()))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    let hash = space.api::<ConfigRevision>().get("r-1").await.expect("the revision").spec.hash;

    let status = |group: &CollectorGroup| group.status.clone().unwrap_or_default();
    let quarantined = |status: &CollectorGroupStatus| {
        status.problems.iter().find(|problem| problem.kind == ProblemKind::Quarantined).cloned()
    };
    let left_alone = space.until("edge", "quarantined", |group| quarantined(&status(group)).is_some()).await;
    let problem = quarantined(&status(&left_alone)).expect("a problem");
    assert_eq!(problem.message, "stays unhealthy; 2 attempts, the last: offered its revision anew");
    let offers: Vec<String> = tap.offers().iter().map(|offer| hex::encode(&offer.config_hash)).collect();
    assert_eq!(offers, [hash.clone(), format!("{hash}01")]);

    // An extension that has reported a permanent error is well again only in a Collector that was started anew.
    operator
        .until_metrics(&[
            "opamp_heals_total{step=\"restart\",result=\"recovered\"} 1",
            "opamp_heals_total{step=\"offer\",result=\"recovered\"} 1",
            "opamp_quarantined_agents{namespace=\"healing\",group=\"edge\"} 1",
        ])
        .await;
    let events = until_events(&space, "edge", &["AgentsQuarantined"], 1).await;
    let told: Vec<&str> = events.iter().map(|(reason, _)| reason.as_str()).collect();
    let healing = ["Healing", "Healed", "Healing", "Healed", "Quarantined", "AgentsQuarantined"];
    assert_eq!(told, healing, "{events:?}");
}

/// Nothing is wrong with it: a person asks for the restart.
#[tokio::test(flavor = "multi_thread")]
async fn real_collector_is_started_anew_when_a_person_asks_for_it_and_is_seen_to_come_back() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "restarting").await;
    let operator = Operator::start(&plane, "restarting").await;
    let tap = Tap::start(&operator.opamp).await;
    let _supervisor = Supervisor::start(plane.dir(), "supervisor", &tap.endpoint, &[("test", "restarting")]);
    space.apply(group("edge", "restarting")).await;
    space.group_has("edge", 1).await;
    space.apply(rollout("r", "edge", inline(&collector("well")))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    let (offers, starts) = (tap.offers().len(), tap.starts().len());

    let patch = Patch::Merge(json!({"metadata": {"annotations": {"fleet.opamp.dev/restart": "now"}}}));
    let groups = space.api::<CollectorGroup>();
    groups.patch("edge", &PatchParams::default(), &patch).await.expect("annotated");
    let restart = |group: &CollectorGroup| group.status.as_ref().and_then(|status| status.restart.clone());
    let over = |group: &CollectorGroup| restart(group).is_some_and(|it| it.state != RestartState::Running);
    let done = restart(&space.until("edge", "restarted", over).await).expect("a restart");
    assert_eq!((done.state, done.ordered, done.restarted), (RestartState::Completed, 1, 1), "{done:?}");
    assert_eq!((tap.commands(), tap.offers().len()), (1, offers));
    assert_eq!(tap.starts().len(), starts + 1, "{:?}", tap.starts());
    let in_sync = |group: &CollectorGroup| {
        group.status.as_ref().is_some_and(|status| (status.agents.healthy, status.agents.in_sync) == (1, 1))
    };
    space.until("edge", "well and in sync", in_sync).await;
}
