//! A real supervisor that does not say what becomes of a configuration: it is judged by what it reports as effective.

mod support;

use opamp_operator::api::{CollectorGroup, RolloutState};
use serde_json::json;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout};
use support::supervisor::Supervisor;

#[tokio::test(flavor = "multi_thread")]
async fn supervisor_that_cannot_answer_is_judged_by_what_it_shows() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "mute").await;
    let operator = Operator::start(&plane, "mute").await;
    let supervisor =
        Supervisor::start_mute(plane.dir(), "supervisor", &operator.websocket(), &[("test", "mute")]);
    space.apply(group("edge", "mute")).await;
    space.group_has("edge", 1).await;
    let apply = async |body: &str| {
        let mut manifest = rollout("r", "edge", inline(body));
        manifest["spec"]["strategy"]["applyTimeout"] = json!("15s");
        space.apply(manifest).await;
    };

    for mark in ["one", "two"] {
        apply(&collector(mark)).await;
        let completed = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status");
        assert_eq!((completed.agents.eligible, completed.agents.updated), (1, 1), "{}", completed.message);
        assert!(supervisor.effective().contains(mark));
    }

    // Its Collector does not start with this, so it never shows it.
    apply(&collector("three").replace("exporters: {nop: {}}", "exporters: {nop: {no_such_key: 1}}")).await;
    let back = space.rollout_is("r", RolloutState::RolledBack).await.status.expect("a status");
    assert_eq!(back.stable_revision.as_deref(), Some("r-2"), "{}", back.message);
    assert_eq!(back.failures[0].reason, "TimedOut", "{}", back.message);
    let in_sync = |group: &CollectorGroup| {
        let status = group.status.as_ref();
        status.is_some_and(|status| status.agents.in_sync == 1 && status.agents.healthy == 1)
    };
    space.until("edge", "back in sync with stable", in_sync).await;
    assert!(supervisor.effective().contains("two"));
}
