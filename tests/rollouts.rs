//! Rollouts and groups on a real API server, with simulated agents: what people do, and what they do wrong.

mod support;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use opamp_operator::api::{
    AgentSlice, CollectorGroup, ConfigRevision, ConfigRollout, RevisionState, RolloutState,
};
use opamp_operator::sim::{self, Behaviour, Profile, Simulated};
use serde_json::json;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout};
use support::within;

/// A control plane, an operator, and a namespace of the test's own.
struct Scene {
    space: Space,
    operator: Operator,
    plane: ControlPlane,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let plane = ControlPlane::start().await;
        let space = Space::new(&plane, name).await;
        let operator = Operator::start(&plane, name).await;
        Self { space, operator, plane }
    }

    /// Starts an agent of the group that selects `test: yes`.
    fn agent(&self, number: u8, behaviour: Behaviour) -> Simulated {
        self.agent_with(number, behaviour, &[("test", "yes")])
    }

    fn agent_with(&self, number: u8, behaviour: Behaviour, attributes: &[(&str, &str)]) -> Simulated {
        let profile = Profile::new([number; 16]).with("host.name", &format!("host-{number}"));
        let profile = attributes.iter().fold(profile, |profile, (key, value)| profile.with(key, value));
        let pace = sim::Pace { heartbeat: Duration::from_millis(100), ..sim::Pace::default() };
        let endpoint = self.operator.websocket().parse().expect("an endpoint");
        sim::spawn(sim::Agent::new(profile, behaviour), endpoint, pace)
    }
}

/// Waits until an agent has had so many offers.
async fn offered(agent: &mut Simulated, offers: usize) -> sim::Journal {
    within(format!("{offers} offers"), agent.until(|journal| journal.offers.len() >= offers)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_agent_gets_the_exact_files_and_new_ones_and_returning_ones_too() {
    let scene = Scene::new("files").await;
    let mut agents: Vec<Simulated> = (1..=5).map(|n| scene.agent(n, Behaviour::Apply)).collect();
    let mut stranger = scene.agent_with(99, Behaviour::Apply, &[("test", "no")]);
    scene.space.apply(group("g", "yes")).await;
    scene.space.group_has("g", 5).await;
    scene
        .space
        .apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "exporters"},
            "data": {"exporters.yaml": "exporters: {nop: {}}\n"}}))
        .await;
    scene
        .space
        .apply(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "backend", "labels": {"fleet.opamp.dev/deliver": "true"}},
            "stringData": {"key.yaml": "extensions: {x: {token: swordfish-1}}\n"}}))
        .await;
    let body = "receivers: {nop: {}}\nservice: {pipelines: {traces: {receivers: [nop], exporters: [nop]}}}\n";
    let files = json!([
        {"name": "c.yaml", "inline": body},
        {"name": "a.yaml", "contentType": "text/yaml", "configMapKeyRef": {"name": "exporters", "key": "exporters.yaml"}},
        {"name": "b.yaml", "secretKeyRef": {"name": "backend", "key": "key.yaml"}},
    ]);
    scene.space.apply(rollout("r", "g", files)).await;
    let completed = scene.space.rollout_is("r", RolloutState::Completed).await.status.expect("a status");
    assert_eq!((completed.agents.updated, completed.agents.total), (5, 5));
    for agent in &mut agents {
        let journal = offered(agent, 1).await;
        let files = &journal.offers[0].files;
        assert_eq!(files["c.yaml"], body.as_bytes());
        assert_eq!(&files["a.yaml"][..], b"exporters: {nop: {}}\n");
        assert_eq!(&files["b.yaml"][..], b"extensions: {x: {token: swordfish-1}}\n");
    }

    // A Secret's value stands in the revision's Secret only.
    let revision = scene.space.api::<ConfigRevision>().get("r-1").await.expect("the revision");
    let shown = serde_json::to_string(&revision).expect("JSON");
    assert!(!shown.contains("swordfish"), "{shown}");
    let kept = scene.space.api::<Secret>().get("r-1-files").await.expect("the revision's Secret");
    assert_eq!(kept.immutable, Some(true));
    assert_eq!(kept.data.expect("data")["1"].0, b"extensions: {x: {token: swordfish-1}}\n");
    assert!(!scene.operator.log().contains("swordfish"));

    // A late agent takes it at once; a stranger never.
    let mut late = scene.agent(6, Behaviour::Apply);
    offered(&mut late, 1).await;
    scene.space.group_has("g", 6).await;
    let journal = within("the stranger", stranger.until(|journal| journal.messages > 3)).await;
    assert!(journal.offers.is_empty());

    // The counts are right, and agents that leave are told apart.
    agents.pop().expect("an agent").stop().await;
    let left = scene.space.group_has("g", 5).await.status.expect("a status");
    assert_eq!((left.agents.matched, left.agents.healthy, left.agents.in_sync), (6, 5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_secret_is_a_new_revision_and_going_back_reuses_the_old_one() {
    let scene = Scene::new("revisions").await;
    let mut agent = scene.agent(1, Behaviour::Apply);
    scene.space.apply(group("g", "yes")).await;
    scene.space.group_has("g", 1).await;
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "labels": {"fleet.opamp.dev/deliver": "true"}},
            "stringData": {"c.yaml": collector(value)}})
    };
    scene.space.apply(secret("one")).await;
    let files = json!([{"name": "c.yaml", "secretKeyRef": {"name": "s", "key": "c.yaml"}}]);
    scene.space.apply(rollout("r", "g", files)).await;
    scene.space.rollout_is("r", RolloutState::Completed).await;
    scene.space.apply(secret("two")).await;
    let at = |target: &'static str| {
        move |rollout: &ConfigRollout| {
            rollout.status.as_ref().is_some_and(|status| {
                status.state == RolloutState::Completed && status.target_revision.as_deref() == Some(target)
            })
        }
    };
    scene.space.until("r", "completed with r-2", at("r-2")).await;
    let second = scene.space.api::<ConfigRevision>().get("r-2").await.expect("r-2");
    assert_eq!(second.spec.author.as_deref(), Some("secret/s"));
    let first = scene.space.api::<ConfigRevision>().get("r-1").await.expect("r-1");
    assert_eq!(first.spec.author.as_deref(), Some("admin"));
    assert_ne!(first.spec.hash, second.spec.hash);

    scene.space.apply(secret("one")).await;
    scene.space.until("r", "completed with r-1 again", at("r-1")).await;
    let journal = offered(&mut agent, 3).await;
    let hashes: Vec<String> = journal.offers.iter().map(|offer| hex::encode(&offer.hash)).collect();
    assert_eq!(hashes, [first.spec.hash.clone(), second.spec.hash, first.spec.hash]);
    assert_eq!(journal.offers[2].files["c.yaml"], collector("one").as_bytes());
    let proven = |revision: &ConfigRevision| {
        revision.status.as_ref().is_some_and(|status| status.state == RevisionState::Proven)
    };
    scene.space.until("r-1", "proven", proven).await;
    scene.space.until("r-2", "proven", proven).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_told_and_agents_keep_what_they_run() {
    let scene = Scene::new("bad").await;
    let mut agent = scene.agent(1, Behaviour::Apply);
    scene.space.apply(group("g", "yes")).await;
    scene.space.group_has("g", 1).await;
    scene.space.apply(rollout("r", "g", inline(&collector("good")))).await;
    scene.space.rollout_is("r", RolloutState::Completed).await;

    let key = |kind: &str| json!([{"name": "c.yaml", (kind): {"name": "absent", "key": "c.yaml"}}]);
    let no_exporter = collector("x").replace("exporters: {nop: {}}", "exporters: {other: {}}");
    for (files, state, words) in [
        (inline("{ not yaml"), RolloutState::Invalid, &["collector.yaml"][..]),
        (
            inline(&no_exporter),
            RolloutState::Invalid,
            &["collector.yaml", "service::pipelines::traces", "nop"],
        ),
        (inline("receivers: {nop: {}}\n"), RolloutState::Invalid, &["pipeline"]),
        (inline(""), RolloutState::Invalid, &["pipeline"]),
        (key("configMapKeyRef"), RolloutState::Pending, &["ConfigMap absent"]),
        (key("secretKeyRef"), RolloutState::Pending, &["Secret absent"]),
    ] {
        scene.space.apply(rollout("r", "g", files)).await;
        let status = scene.space.rollout_is("r", state).await.status.expect("a status");
        for word in words {
            assert!(status.message.contains(word), "{word:?} is missing in {:?}", status.message);
        }
        assert_eq!(status.target_revision.as_deref(), Some("r-1"), "{}", status.message);
    }
    let journal = within("heartbeats", agent.until(|journal| journal.messages > 10)).await;
    assert_eq!(journal.offers.len(), 1, "nothing was sent");

    // A Secret without the label is never read to an agent; labelled, it is picked up.
    let secret = |labels: serde_json::Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "absent", "labels": labels},
            "stringData": {"c.yaml": collector("secret")}})
    };
    scene.space.apply(secret(json!({}))).await;
    let refused = scene.space.rollout_is("r", RolloutState::Invalid).await.status.expect("a status");
    assert!(refused.message.contains("fleet.opamp.dev/deliver"), "{}", refused.message);
    assert!(refused.conditions.iter().any(|c| c.type_ == "Stalled" && c.reason == "SecretNotShared"));
    scene.space.apply(secret(json!({"fleet.opamp.dev/deliver": "true"}))).await;
    scene.space.rollout_is("r", RolloutState::Completed).await;
    assert_eq!(offered(&mut agent, 2).await.offers[1].files["c.yaml"], collector("secret").as_bytes());

    // A missing ConfigMap, and then a missing key, are picked up when they appear.
    scene.space.apply(rollout("r", "g", key("configMapKeyRef"))).await;
    scene.space.rollout_is("r", RolloutState::Pending).await;
    let map = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "absent"}, "data": data});
    scene.space.apply(map(json!({"other": ""}))).await;
    let names_key = |rollout: &ConfigRollout| {
        rollout
            .status
            .as_ref()
            .is_some_and(|status| status.message.contains("key \"c.yaml\" of ConfigMap absent"))
    };
    scene.space.until("r", "waiting for the key", names_key).await;
    scene.space.apply(map(json!({"c.yaml": collector("map")}))).await;
    scene.space.rollout_is("r", RolloutState::Completed).await;
    scene.space.delete::<ConfigMap>("absent").await;
    scene.space.rollout_is("r", RolloutState::Pending).await;
    assert_eq!(agent.journal().offers.len(), 3, "a source that goes sends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_listed_survive_a_restart_and_are_not_offered_again() {
    let mut scene = Scene::new("refusals").await;
    let message = "cannot use token swordfish-1";
    let mut good = scene.agent(1, Behaviour::Apply);
    let mut bad = scene.agent(2, Behaviour::Fail(message.to_owned()));
    let mut fickle = scene.agent(3, Behaviour::Rollback);
    scene.space.apply(group("g", "yes")).await;
    scene.space.group_has("g", 3).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "labels": {"fleet.opamp.dev/deliver": "true"}},
        "stringData": {"s.yaml": "extensions: {x: {token: swordfish-1}}"}});
    scene.space.apply(secret).await;
    let files = |mark: &str| {
        json!([
            {"name": "c.yaml", "inline": collector(mark)},
            {"name": "s.yaml", "secretKeyRef": {"name": "s", "key": "s.yaml"}},
        ])
    };
    let judged = |failed: i64, updated: i64| {
        move |rollout: &ConfigRollout| {
            let agents = rollout.status.as_ref().map(|status| &status.agents);
            agents.is_some_and(|agents| agents.failed == failed && agents.updated == updated)
        }
    };
    // The fickle agent has nothing to go back to yet.
    scene.space.apply(rollout("r", "g", files("one"))).await;
    scene.space.until("r", "refused by one", judged(1, 2)).await;
    scene.space.apply(rollout("r", "g", files("two"))).await;
    let status = scene.space.until("r", "refused by two", judged(2, 1)).await.status.expect("a status");
    assert_eq!(status.target_revision.as_deref(), Some("r-2"));
    assert_eq!(status.state, RolloutState::Halted);
    let stalled =
        |c: &&Condition| c.type_ == "Stalled" && c.status == "True" && c.reason == "TooManyFailures";
    assert!(status.conditions.iter().any(|c| stalled(&c)));
    let failure =
        status.failures.iter().find(|failure| failure.host == "host-2").expect("the failure of host-2");
    assert_eq!(failure.message, "cannot use token [REDACTED]", "what was delivered from a Secret is masked");

    // A restart keeps the verdicts: nobody is offered anything twice.
    let address = scene.operator.opamp.clone();
    scene.operator.end();
    scene.operator = Operator::start_on(&scene.plane, "refusals", &address).await;
    for agent in [&mut good, &mut bad, &mut fickle] {
        let journal = within(
            "the agent's return",
            agent.until(|journal| journal.connections >= 2 && journal.connected),
        )
        .await;
        let messages = journal.messages;
        let journal = within("heartbeats", agent.until(|journal| journal.messages > messages + 5)).await;
        assert_eq!(journal.offers.len(), 2, "each revision once, restart or not");
    }
    scene.space.until("r", "counted as before", judged(2, 1)).await;

    // Deleting the rollout, and then the group, sends nothing.
    scene.space.delete::<ConfigRollout>("r").await;
    let degraded = |group: &CollectorGroup| {
        let conditions = group.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.type_ == "Degraded" && c.reason == "RolloutDeleted")
    };
    scene.space.until("g", "degraded", degraded).await;
    scene.space.delete::<CollectorGroup>("g").await;
    for agent in [&mut good, &mut bad, &mut fickle] {
        let messages = agent.journal().messages;
        let journal = within("heartbeats", agent.until(|journal| journal.messages > messages + 5)).await;
        assert_eq!(journal.offers.len(), 2, "deleting sends nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_waits_for_its_group_for_agents_and_for_an_older_rollout() {
    let scene = Scene::new("waits").await;
    scene.space.apply(rollout("first", "g", inline(&collector("one")))).await;
    let status = scene.space.rollout_is("first", RolloutState::Pending).await.status.expect("a status");
    assert!(status.message.contains("CollectorGroup g does not exist"), "{}", status.message);
    scene.space.apply(group("g", "yes")).await;
    let reason = |wanted: &'static str| {
        move |rollout: &ConfigRollout| {
            let conditions = rollout.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.reason == wanted)
        }
    };
    scene.space.until("first", "without agents", reason("NoReachableAgents")).await;
    scene.space.apply(rollout("second", "g", inline(&collector("two")))).await;
    scene.space.until("second", "behind the first", reason("GroupTaken")).await;
    let mut agent = scene.agent(1, Behaviour::Apply);
    scene.space.rollout_is("first", RolloutState::Completed).await;
    scene.space.delete::<ConfigRollout>("first").await;
    let second = scene.space.rollout_is("second", RolloutState::Completed).await.status.expect("a status");
    assert_eq!(second.target_revision.as_deref(), Some("second-1"));
    assert_eq!(offered(&mut agent, 2).await.offers.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_outlive_their_rollout_while_the_group_needs_them() {
    let plane = ControlPlane::start_with_controllers().await;
    let space = Space::new(&plane, "owners").await;
    let operator = Operator::start(&plane, "owners").await;
    let scene = Scene { space, operator, plane };
    let _agent = scene.agent(1, Behaviour::Apply);
    scene.space.apply(group("g", "yes")).await;
    scene.space.group_has("g", 1).await;
    scene.space.apply(rollout("r", "g", inline(&collector("one")))).await;
    scene.space.rollout_is("r", RolloutState::Completed).await;
    let owned = |revision: &ConfigRevision| revision.metadata.owner_references.iter().flatten().count() == 2;
    scene.space.until("r-1", "owned by rollout and group", owned).await;
    scene.space.delete::<ConfigRollout>("r").await;
    // The collector takes the owner that is gone off the list, and leaves the object.
    let left = |revision: &ConfigRevision| {
        let owners = revision.metadata.owner_references.iter().flatten();
        owners.map(|owner| owner.kind.as_str()).eq(["CollectorGroup"])
    };
    scene.space.until("r-1", "owned by the group alone", left).await;
    scene.space.delete::<CollectorGroup>("g").await;
    support::eventually("the revision to be collected", async || {
        scene.space.api::<ConfigRevision>().get_opt("r-1").await.expect("read").is_none().then_some(())
    })
    .await;
    assert!(
        !scene.space.api::<AgentSlice>().list(&ListParams::default()).await.expect("slices").items.is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_revisions_are_deleted_beyond_the_limit_and_never_those_in_use() {
    let scene = Scene::new("history").await;
    let _agent = scene.agent(1, Behaviour::Apply);
    scene.space.apply(group("g", "yes")).await;
    scene.space.group_has("g", 1).await;
    for mark in ["one", "two", "three", "four", "five"] {
        let mut manifest = rollout("r", "g", inline(&collector(mark)));
        manifest["spec"]["revisionHistoryLimit"] = json!(2);
        scene.space.apply(manifest).await;
        scene.space.rollout_is("r", RolloutState::Completed).await;
    }
    support::eventually("the oldest revisions to be gone", async || {
        let listed =
            scene.space.api::<ConfigRevision>().list(&ListParams::default()).await.expect("revisions");
        let mut names: Vec<String> =
            listed.items.into_iter().filter_map(|revision| revision.metadata.name).collect();
        names.sort();
        (names == ["r-3", "r-4", "r-5"]).then_some(())
    })
    .await;
}
