//! A real Collector that was built without a component of the configuration: it tells so, and is not offered it.

mod support;

use opamp_operator::api::{AgentSlice, CollectorGroup, ConfigRollout, ProblemKind, RolloutState};
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout};
use support::supervisor::Supervisor;
use support::witness::{Client, Witness};

#[tokio::test(flavor = "multi_thread")]
async fn collector_without_a_component_is_counted_listed_and_not_offered_the_revision() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "builds").await;
    let operator = Operator::start(&plane, "builds").await;
    let supervisor =
        Supervisor::start(plane.dir(), "supervisor", &operator.websocket(), &[("test", "builds")]);
    space.apply(group("edge", "builds")).await;
    space.group_has("edge", 1).await;
    space.apply(rollout("r", "edge", inline(&collector("one")))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    let receivers = eventually("the components of the Collector's build", async || {
        let slices = space.api::<AgentSlice>().list(&kube::api::ListParams::default()).await.ok()?;
        let mut builds = slices.items.iter().flat_map(|slice| &slice.spec.builds);
        builds.find_map(|build| build.components.get("receivers").cloned())
    })
    .await;
    assert!(receivers.split(' ').any(|receiver| receiver == "nop"), "{receivers}");

    let kafka = collector("two").replace("receivers: {nop: {}}", "receivers: {nop: {}, kafka: {}}");
    assert!(kafka.contains("kafka"), "{kafka}");
    space.apply(rollout("r", "edge", inline(&kafka))).await;
    let waits = |rollout: &ConfigRollout| {
        let status = rollout.status.as_ref();
        status.is_some_and(|status| {
            status.state == RolloutState::Pending && status.message.contains("1 incompatible")
        })
    };
    space.until("r", "waiting for an agent that can run it", waits).await;
    assert!(supervisor.effective().contains("one"), "it keeps what it runs");

    // Beside an agent that says nothing of its build the attempt begins, and this one is listed.
    let other = Witness::start(Client::Go, plane.dir(), "other", &operator.websocket(), "apply", "builds");
    let listed = |group: &CollectorGroup| {
        let problems = group.status.iter().flat_map(|status| &status.problems);
        problems.into_iter().any(|problem| {
            problem.kind == ProblemKind::Incompatible && problem.message.contains("receiver kafka")
        })
    };
    space.until("edge", "listing the build", listed).await;
    drop(other);
    assert!(supervisor.effective().contains("one"), "it was never offered the other");
}
