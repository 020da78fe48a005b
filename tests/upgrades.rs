//! Neighbouring versions on a real API server: an operator whose objects a later version has written too, and beside a
//! replica of one. `docs/adr/0019-versions-beside-each-other.md` has the rules.

mod support;

#[path = "upgrades/later.rs"]
mod later;

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use later::{FIELD, VALUE, fill, whole};
use opamp_operator::api::{
    AgentSlice, CONTENT_LABEL, CollectorGroup, ConfigRevision, ConfigRollout, EXCEPTIONS, RolloutState,
};
use opamp_operator::sim::Behaviour;
use serde_json::{Value, json};
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::eventually;
use support::fleet::Fleet;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased, rollout};

const HEARTBEAT: Duration = Duration::from_millis(100);

/// Two phases for the edge, of which a person ends the second, and one for everybody.
fn three_phases(content: &str) -> Value {
    let edge = json!({"matchLabels": {"ring": "edge"}});
    let phases = json!([
        {"name": "early", "agents": 2, "selector": edge},
        {"name": "edge", "agents": "100%", "selector": edge, "approval": "Manual"},
        {"name": "full", "agents": "100%"},
    ]);
    let mut manifest = phased("r", "all", inline(&collector(content)), phases);
    manifest["spec"]["strategy"]["failureThreshold"] = json!(3);
    manifest
}

async fn exceptions(space: &Space, agents: usize) -> AgentSlice {
    eventually(format!("{agents} agents in a slice of exceptions"), async || {
        let those = ListParams::default().labels(&format!("{CONTENT_LABEL}={EXCEPTIONS}"));
        let found = space.api::<AgentSlice>().list(&those).await.expect("slices").items;
        found.into_iter().find(|slice| slice.spec.agents.len() == agents)
    })
    .await
}

/// The entry of a list whose field has this value.
fn entry<'a>(list: &'a Value, key: &str, value: &Value) -> &'a Value {
    let found = list.as_array().into_iter().flatten().find(|entry| entry[key] == *value);
    found.unwrap_or_else(|| panic!("no {key} {value} in {list}"))
}

/// What the first version left when it ended: nothing of it is refused by the API server, nothing cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn operator_takes_over_what_a_released_version_left() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "left").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compat/objects/0.1.0");
    let of = |kind: &str| -> Vec<Value> {
        let files = std::fs::read_dir(folder).expect("objects").map(|entry| entry.expect("an entry").path());
        let read = |path| std::fs::read_to_string(path).expect("text");
        let objects = files.map(|path| serde_saphyr::from_str::<Value>(&read(path)).expect("YAML"));
        objects.filter(|object| object["kind"] == kind).collect()
    };
    for object in of("AgentSlice") {
        later::leave::<AgentSlice>(&space, &object).await;
    }
    for (group, rollout, revision) in of("CollectorGroup")
        .iter()
        .zip(&of("ConfigRollout"))
        .zip(&of("ConfigRevision"))
        .map(|((a, b), c)| (a, b, c))
    {
        later::leave::<CollectorGroup>(&space, group).await;
        later::leave::<ConfigRollout>(&space, rollout).await;
        later::leave::<ConfigRevision>(&space, revision).await;
    }
    let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "opamp-operator-hash-key"},
        "data": {"key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}});
    space.apply(key).await;
    let operator = Operator::start(&plane, "left").await;
    let taken = |term: Option<i64>| term.is_some_and(|term| term > 7);
    space
        .until("production", "taken over", |group: &CollectorGroup| {
            taken(group.status.as_ref().and_then(|status| status.leader_term))
        })
        .await;
    let rollout = space
        .until("checkout", "taken over", |rollout: &ConfigRollout| {
            taken(rollout.status.as_ref().and_then(|status| status.leader_term))
        })
        .await;
    let status = rollout.status.expect("a status");
    assert_eq!(status.stable_revision.as_deref(), Some("checkout-2"), "{status:?}");
    for complaint in [
        "cannot read resource",
        "cannot read agent slice",
        "cannot read collector group",
        "cannot read slice of exceptions",
        "reconcile failed",
        "left to a newer version",
    ] {
        assert!(!operator.log().contains(complaint), "{}", operator.log());
    }
}

/// The later version's leader wrote every object in mid-rollout, and this one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn rollout_goes_on_and_keeps_all_that_a_later_version_wrote() {
    let plane = ControlPlane::start().await;
    later::apply_schema(&plane).await;
    let space = Space::new(&plane, "kept").await;
    let operator = Operator::start(&plane, "kept").await;
    let mut fleet = Fleet::new(&operator.websocket(), "all", 1, HEARTBEAT);
    fleet.join_with(9, &Behaviour::Apply, &[("ring", "edge")]);
    fleet.join_with(1, &Behaviour::Rollback, &[("ring", "edge")]);
    fleet.join(5, &Behaviour::Apply);
    fleet.join(1, &Behaviour::Rollback);
    space.apply(group("all", "all")).await;
    space.group_has("all", 16).await;
    space.apply(rollout("r", "all", inline(&collector("one")))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    space.apply(three_phases("two")).await;
    space.rollout_is("r", RolloutState::AwaitingApproval).await;
    let slice = exceptions(&space, 1).await;
    let failed =
        |group: &CollectorGroup| group.status.as_ref().is_some_and(|status| status.problems.len() == 1);
    space.until("all", "with a problem", failed).await;

    later::write::<ConfigRollout>(&space, "r", "status", |status| {
        fill("rollout", status);
        status["phases"][0]["outcome"] = json!(VALUE);
    })
    .await;
    later::write::<CollectorGroup>(&space, "all", "status", |status| fill("group", status)).await;
    later::write::<ConfigRevision>(&space, "r-2", "status", |status| fill("revision", status)).await;
    later::write::<AgentSlice>(&space, &slice.name_any(), "spec", |spec| fill("slice", spec)).await;
    let refused = whole::<AgentSlice>(&space, &slice.name_any()).await["spec"]["agents"][0]["u"].clone();
    let agent = whole::<ConfigRollout>(&space, "r").await["status"]["failures"][0]["agent"].clone();
    let promote = json!({"metadata": {"annotations": {"fleet.opamp.dev/promote": "go"}}});
    let rollouts = space.api::<ConfigRollout>();
    rollouts.patch("r", &PatchParams::default(), &Patch::Merge(promote)).await.expect("annotated");

    space.rollout_is("r", RolloutState::Completed).await;
    let slice = exceptions(&space, 2).await;
    let status = whole::<ConfigRollout>(&space, "r").await["status"].clone();
    let marks = |value: &Value| value[FIELD].as_str().unwrap_or("nothing").to_owned();
    for (what, value) in [
        ("rollout", &status),
        ("rollout/agents", &status["agents"]),
        ("rollout/cohort", &status["cohort"]),
        ("rollout/cohort/terms/0", &status["cohort"]["terms"][0]),
        ("rollout/cohort/terms/0/selector", &status["cohort"]["terms"][0]["selector"]),
        ("rollout/phases/0", &status["phases"][0]),
        ("rollout/phases/1/selector", &status["phases"][1]["selector"]),
        ("rollout/phases/2", &status["phases"][2]),
        ("rollout/failures/0", entry(&status["failures"], "agent", &agent)),
        ("rollout/conditions/0", entry(&status["conditions"], "type", &json!("Ready"))),
    ] {
        assert_eq!(marks(value), what, "{status}");
    }
    assert_eq!(
        (&status["phases"][0]["outcome"], &status["phases"][2]["outcome"]),
        (&json!(VALUE), &json!("Passed"))
    );
    assert_eq!((&status["agents"]["updated"], &status["agents"]["failed"]), (&json!(14), &json!(2)));

    let stable =
        |group: &CollectorGroup| group.status.as_ref().is_some_and(|status| status.problems.len() == 2);
    space.until("all", "with both problems", stable).await;
    let status = whole::<CollectorGroup>(&space, "all").await["status"].clone();
    for (what, value) in [
        ("group", &status),
        ("group/agents", &status["agents"]),
        ("group/assignment", &status["assignment"]),
        ("group/assignment/terms/0", &status["assignment"]["terms"][0]),
        ("group/assignment/rings/0", &status["assignment"]["rings"][0]),
    ] {
        assert_eq!(marks(value), what, "{status}");
    }
    let proven = |revision: &ConfigRevision| {
        revision
            .status
            .as_ref()
            .is_some_and(|status| status.state == opamp_operator::api::RevisionState::Proven)
    };
    space.until("r-2", "proven", proven).await;
    assert_eq!(marks(&whole::<ConfigRevision>(&space, "r-2").await["status"]), "revision");
    let spec = whole::<AgentSlice>(&space, &slice.name_any()).await["spec"].clone();
    assert_eq!(marks(&spec), "slice");
    assert_eq!(marks(entry(&spec["agents"], "u", &refused)), "slice/agents/0");

    // In a format of the later version the slice is left to it, whatever there is to be said in it.
    let name = slice.name_any();
    later::write::<AgentSlice>(&space, &name, "spec", |spec| spec["formatVersion"] = json!(2)).await;
    let left = whole::<AgentSlice>(&space, &name).await["metadata"]["resourceVersion"].clone();
    let mut third = three_phases("three");
    third["spec"]["strategy"]["phases"] = json!([{"name": "full", "agents": "100%"}]);
    space.apply(third).await;
    let failed = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status").agents.failed;
    assert_eq!(failed, 2, "the same two go back");
    let stable = |group: &CollectorGroup| {
        group.status.as_ref().is_some_and(|status| status.stable_revision.as_deref() == Some("r-3"))
    };
    space.until("all", "of the third content", stable).await;
    assert_eq!(whole::<AgentSlice>(&space, &name).await["metadata"]["resourceVersion"], left);
    drop(fleet);
}

/// The later replica writes slices with fields, bits and codes of its own; then in another format, and back.
#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_later_replica_take_part_as_far_as_they_are_understood() {
    let plane = ControlPlane::start().await;
    later::apply_schema(&plane).await;
    let space = Space::new(&plane, "mixed").await;
    let operator = Operator::start(&plane, "mixed").await;
    let mut fleet = Fleet::new(&operator.websocket(), "all", 1, HEARTBEAT);
    fleet.join(10, &Behaviour::Apply);
    space.apply(group("all", "all")).await;
    let replica = later::Replica::start(&space, "all", 5, 1);
    space.group_has("all", 15).await;
    let phases =
        json!([{"name": "canary", "agents": "40%", "duration": "1s"}, {"name": "full", "agents": "100%"}]);
    space.apply(phased("r", "all", inline(&collector("one")), phases.clone())).await;
    let agents = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status").agents;
    assert_eq!((agents.total, agents.updated, agents.failed), (15, 15, 0), "{agents:?}");

    drop(replica);
    let replica = later::Replica::start(&space, "all", 5, 2);
    // Their group still has them, and nobody here can say what they run.
    let unread = |group: &CollectorGroup| {
        group
            .status
            .as_ref()
            .is_some_and(|status| (status.agents.connected, status.agents.in_sync) == (15, 10))
    };
    space.until("all", "of agents of which some are not understood", unread).await;
    space
        .apply(phased("r", "all", inline(&collector("two")), json!([{"name": "full", "agents": "100%"}])))
        .await;
    let waits = |rollout: &ConfigRollout| {
        rollout.status.as_ref().is_some_and(|status| {
            status.target_revision.as_deref() == Some("r-2") && status.agents.updated == 10
        })
    };
    space.until("r", "taken by all that are understood", waits).await;
    fleet.hear(20).await;
    let status = space.api::<ConfigRollout>().get("r").await.expect("a rollout").status.expect("a status");
    assert_eq!(status.state, RolloutState::Progressing, "{status:?}");
    assert_eq!((status.agents.total, status.agents.failed, status.agents.offline), (15, 0, 0), "{status:?}");

    drop(replica);
    let _replica = later::Replica::start(&space, "all", 5, 1);
    let agents = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status").agents;
    assert_eq!((agents.total, agents.updated, agents.failed), (15, 15, 0), "{agents:?}");
}
