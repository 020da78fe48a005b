//! Careful rollouts on real parts: two real supervisors with real Collectors, of which one is the canary. A good
//! configuration goes through its phases; each bad one hurts the canary alone, and is taken back by itself.

mod support;

use opamp_operator::api::{CollectorGroup, ConfigRevision, ConfigRollout, ConfigRolloutStatus, RolloutState};
use opamp_operator::opamp::proto::AgentRemoteConfig;
use serde_json::{Value, json};
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased};
use support::supervisor::Supervisor;
use support::tap::Tap;

/// A real supervisor with a real Collector, and what was said on its connection.
struct Agent {
    supervisor: Supervisor,
    tap: Tap,
}

impl Agent {
    async fn start(plane: &ControlPlane, operator: &Operator, name: &str) -> Self {
        let tap = Tap::start(&operator.opamp).await;
        let supervisor = Supervisor::start(plane.dir(), name, &tap.endpoint, &[("test", "real")]);
        Self { supervisor, tap }
    }

    /// The hashes that it was offered since it had had so many offers.
    fn offered_since(&self, offers: usize) -> Vec<String> {
        self.tap.offers().iter().skip(offers).map(|offer| hex::encode(content_hash(offer))).collect()
    }
}

/// The part of an offer's hash that stands for the content.
fn content_hash(offer: &AgentRemoteConfig) -> &[u8] {
    offer.config_hash.get(..32).unwrap_or_default()
}

struct Scene {
    agents: [Agent; 2],
    _operator: Operator,
    space: Space,
    _plane: ControlPlane,
}

impl Scene {
    async fn start() -> Self {
        let plane = ControlPlane::start().await;
        let space = Space::new(&plane, "real").await;
        let operator = Operator::start(&plane, "real").await;
        let agents =
            [Agent::start(&plane, &operator, "first").await, Agent::start(&plane, &operator, "second").await];
        space.apply(group("edge", "real")).await;
        space.group_has("edge", 2).await;
        Self { agents, _operator: operator, space, _plane: plane }
    }

    async fn until(&self, revision: &str, state: RolloutState) -> ConfigRolloutStatus {
        let there = |rollout: &ConfigRollout| {
            rollout.status.as_ref().is_some_and(|status| {
                status.state == state && status.target_revision.as_deref() == Some(revision)
            })
        };
        let what = format!("{state:?} with {revision}");
        self.space.until("checkout", &what, there).await.status.expect("a status")
    }

    async fn hash(&self, revision: &str) -> String {
        self.space.api::<ConfigRevision>().get(revision).await.expect("the revision").spec.hash
    }

    fn offers(&self) -> [usize; 2] {
        self.agents.each_ref().map(|agent| agent.tap.offers().len())
    }

    /// Waits until a revision has been rolled back, and asserts that one agent was offered it, and then stable again,
    /// and the other nothing at all; `before` is how many offers they had had. Returns the one that was hurt.
    async fn rolled_back(&self, revision: &str, before: [usize; 2]) -> (&Agent, ConfigRolloutStatus) {
        let status = self.until(revision, RolloutState::RolledBack).await;
        let healed = |group: &CollectorGroup| {
            let agents = group.status.as_ref().map(|status| &status.agents);
            agents.is_some_and(|agents| agents.in_sync == 2 && agents.healthy == 2)
        };
        self.space.until::<CollectorGroup>("edge", "healthy and in sync with stable", healed).await;
        assert_eq!(status.stable_revision.as_deref(), Some("checkout-1"), "the last known good is kept");
        assert_eq!(status.phases[0].count, Some(1));
        assert_eq!(status.failures.len(), 1, "{}", status.message);
        let mut offers = [0, 1].map(|index| self.agents[index].offered_since(before[index]));
        let hurt = usize::from(offers[0].is_empty());
        offers.rotate_left(hurt);
        let expected = [vec![self.hash(revision).await, self.hash("checkout-1").await], Vec::new()];
        assert_eq!(offers, expected, "only the canary is hurt, and gets stable again: {}", status.message);
        (&self.agents[hurt], status)
    }
}

/// A rollout to one agent, which soaks, and then to both.
fn manifest(files: Value, soak: &str) -> Value {
    let phases =
        json!([{"name": "canary", "agents": 1, "duration": soak}, {"name": "full", "agents": "100%"}]);
    phased("checkout", "edge", files, phases)
}

fn secret(body: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "backend", "labels": {"fleet.opamp.dev/deliver": "true"}},
        "stringData": {"collector.yaml": body},
    })
}

/// A configuration that is applied, and goes bad after a while in which the verdict was given.
fn faulty(mark: &str, mode: &str) -> String {
    let fault =
        format!("extensions: {{fault: {{after: 10s, mode: {mode}}}}}\nservice: {{extensions: [fault], ");
    collector(mark).replace("service: {", &fault)
}

#[tokio::test(flavor = "multi_thread")]
async fn good_configuration_reaches_real_collectors_and_each_bad_one_hurts_the_canary_alone() {
    let scene = Scene::start().await;
    let body = collector("good");
    scene.space.apply(secret(&body)).await;
    let files =
        json!([{"name": "collector.yaml", "secretKeyRef": {"name": "backend", "key": "collector.yaml"}}]);
    scene.space.apply(manifest(files, "2s")).await;
    let soaking = scene.until("checkout-1", RolloutState::Soaking).await;
    assert_eq!((soaking.agents.updated, scene.offers().iter().sum::<usize>()), (1, 1), "{}", soaking.message);
    let completed = scene.until("checkout-1", RolloutState::Completed).await;
    assert_eq!((completed.progress.as_str(), scene.offers()), ("2/2", [1, 1]));
    for agent in &scene.agents {
        assert!(agent.supervisor.effective().contains("good"), "{}", agent.supervisor.log());
    }

    // The Secret is rotated to something that passes our checks, and that only a Collector knows to be wrong.
    let before = scene.offers();
    scene
        .space
        .apply(secret(&body.replace("exporters: {nop: {}}", "exporters: {nop: {no_such_key: 1}}")))
        .await;
    let (hurt, rejected) = scene.rolled_back("checkout-2", before).await;
    assert_eq!(rejected.failures[0].reason, "Failed");
    assert!(rejected.failures[0].message.contains("exited unexpectedly"), "{}", rejected.message);
    let stored = hurt.supervisor.stored_offer().expect("a stored offer").config.expect("a config map");
    assert_eq!(&stored.config_map["collector.yaml"].body[..], body.as_bytes(), "the old bytes, all of them");

    // Two that are applied, and go bad in the soak: one reports an error, of the other the Collector exits.
    for (revision, mode) in [("checkout-3", "permanent_error"), ("checkout-4", "exit")] {
        let before = scene.offers();
        scene.space.apply(manifest(inline(&faulty(revision, mode)), "10m")).await;
        let soaking = scene.until(revision, RolloutState::Soaking).await;
        assert_eq!((soaking.agents.updated, soaking.agents.healthy), (1, 1), "{mode}: {}", soaking.message);
        let (hurt, failed) = scene.rolled_back(revision, before).await;
        assert_eq!(failed.failures[0].reason, "Unhealthy", "{mode}: {}", failed.message);
        assert!(hurt.supervisor.effective().contains("good"), "{mode}: {}", hurt.supervisor.log());
    }
}
