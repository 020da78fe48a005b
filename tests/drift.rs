//! Somebody edits a real Collector's configuration behind the operator's back: it is seen, and put right.

mod support;

use opamp_operator::api::{CollectorGroup, CollectorGroupStatus, ProblemKind, RolloutState};
use serde_json::{Value, json};
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::process::free_port;
use support::resources::{Space, group, inline, rollout, until_events};
use support::supervisor::Supervisor;

const CONFIGURATION: &str = r#"
receivers: {nop: }
processors:
  batch: {timeout: 90s}
  attributes: {actions: [{key: from, value: "${env:HOME}", action: insert}]}
exporters:
  nop:
  debug: {verbosity: basic}
  otlp: {endpoint: "127.0.0.1:9", headers: {key: not-a-secret}, sending_queue: {sizer: bytes, queue_size: 100000}}
service:
  pipelines:
    traces: {receivers: [nop], processors: [attributes, batch], exporters: [nop, otlp]}
"#;

fn status(group: &CollectorGroup) -> CollectorGroupStatus {
    group.status.clone().unwrap_or_default()
}

fn is_in_sync(group: &CollectorGroup) -> bool {
    let agents = status(group).agents;
    (agents.in_sync, agents.drifted, agents.unknown) == (1, 0, 0)
}

/// What is told of the one agent's drift.
fn told(group: &CollectorGroup) -> Option<String> {
    let status = status(group);
    let problem = status.problems.iter().find(|problem| problem.kind == ProblemKind::Drifted)?;
    (status.agents.drifted == 1).then(|| problem.message.clone())
}

/// One way to tamper with a running Collector.
struct Tampering {
    configuration: String,
    /// How it is told.
    class: String,
}

/// Every way that is tried; `port` is free, `older` was in effect before.
fn tamperings(original: &str, port: u16, older: &str) -> Vec<Tampering> {
    let traces = "service::pipelines::traces";
    let extension = format!("extensions:\n    health_check: {{endpoint: \"127.0.0.1:{port}\"}}\n");
    let ways: [(&[(&str, &str)], String); 6] = [
        (&[("                - batch\n", "")], format!("Modified at {traces}::processors::batch")),
        (
            &[("                - otlp\n", "                - otlp\n                - debug\n")],
            format!("Foreign at {traces}::exporters::debug"),
        ),
        (
            &[
                ("extensions:\n", &extension),
                ("        - opamp\n", "        - opamp\n        - health_check\n"),
            ],
            "Foreign at service::extensions::health_check".to_owned(),
        ),
        (&[("sizer: bytes", "wait_for_result: true")], "Changed".to_owned()),
        (
            &[("endpoint: 127.0.0.1:9\n", "endpoint: 127.0.0.1:10\n")],
            "Modified at exporters::otlp::endpoint".to_owned(),
        ),
        (&[("timeout: 90s", "timeout: 91s")], "Modified at processors::batch::timeout".to_owned()),
    ];
    let edited = |changes: &[(&str, &str)]| {
        changes.iter().fold(original.to_owned(), |edited, (from, to)| {
            assert!(edited.contains(from), "{from} in {edited}");
            edited.replacen(from, to, 1)
        })
    };
    let restored = Tampering {
        configuration: older.to_owned(),
        class: "Modified at processors::batch::timeout".to_owned(),
    };
    let ways = ways.into_iter().map(|(changes, class)| Tampering { configuration: edited(changes), class });
    [restored].into_iter().chain(ways).collect()
}

/// A supervisor that runs the second of two revisions, and what it ran before.
struct Scene {
    _plane: ControlPlane,
    space: Space,
    operator: Operator,
    supervisor: Supervisor,
    older: String,
    original: String,
}

impl Scene {
    async fn start(name: &str, drift: Value) -> Self {
        let plane = ControlPlane::start().await;
        let space = Space::new(&plane, name).await;
        let operator = Operator::start(&plane, name).await;
        let supervisor =
            Supervisor::start(plane.dir(), "supervisor", &operator.websocket(), &[("test", name)]);
        let mut edge = group("edge", name);
        edge["spec"]["drift"] = drift;
        space.apply(edge).await;
        space.group_has("edge", 1).await;
        space.apply(rollout("r", "edge", inline(&CONFIGURATION.replace("90s", "30s")))).await;
        space.rollout_is("r", RolloutState::Completed).await;
        let older = supervisor.effective();
        space.apply(rollout("r", "edge", inline(CONFIGURATION))).await;
        space.rollout_is("r", RolloutState::Completed).await;
        space.until("edge", "seen to be in sync", is_in_sync).await;
        let original = supervisor.effective();
        Self { _plane: plane, space, operator, supervisor, older, original }
    }

    fn tamperings(&self) -> Vec<Tampering> {
        tamperings(&self.original, free_port(), &self.older)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_with_a_real_collector_is_seen_with_its_class_and_its_place() {
    let scene = Scene::start("drift", json!({"mode": "Detect"})).await;
    let Scene { space, supervisor, original, .. } = &scene;
    for Tampering { configuration, class } in scene.tamperings() {
        supervisor.tamper(&configuration);
        space.until("edge", &format!("drifted: {class}"), |group| told(group).as_ref() == Some(&class)).await;
    }
    // That place does not count any more; the agent is asked anew.
    let mut ignoring = group("edge", "drift");
    ignoring["spec"]["drift"] = json!({"mode": "Detect", "ignore": ["processors::batch::timeout"]});
    space.apply(ignoring).await;
    space.until("edge", "in sync but for what is ignored", is_in_sync).await;
    supervisor.tamper(original);
    space.until("edge", "in sync again", is_in_sync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_with_a_real_collector_is_put_right() {
    let correction = json!({"maxAttempts": 20, "initialBackoff": "5s", "maxBackoff": "5s"});
    let scene = Scene::start("mend", json!({"correction": correction})).await;
    let Scene { space, supervisor, original, operator, .. } = &scene;
    let tamperings = scene.tamperings();
    for Tampering { configuration, class } in &tamperings {
        assert_ne!(configuration, original);
        supervisor.tamper(configuration);
        let drifts =
            |group: &CollectorGroup| told(group).is_some_and(|told| told.starts_with(class.as_str()));
        space.until("edge", &format!("drifted: {class}"), drifts).await;
        space.until("edge", &format!("put right: {class}"), is_in_sync).await;
        // But for an empty section at most, which tells a correction from what the supervisor has.
        let meaning = |text: &str| text.replace("connectors: {}\n", "");
        assert_eq!(meaning(&supervisor.effective()), meaning(original), "{class}");
    }

    let mended = tamperings.len();
    let corrected = format!("opamp_drift_corrections_total{{result=\"corrected\"}} {mended}");
    operator
        .until_metrics(&[
            &corrected,
            "opamp_drift_corrections_total{result=\"failed\"} 0",
            "opamp_config_drifted_agents{namespace=\"mend\",group=\"edge\"} 0",
            "opamp_quarantined_agents{namespace=\"mend\",group=\"edge\"} 0",
            "opamp_agents{namespace=\"mend\",group=\"edge\",state=\"in_sync\"} 1",
        ])
        .await;
    let reasons = ["AgentsDrifted", "Correcting", "Corrected", "NoDrift"];
    let events = until_events(space, "edge", &reasons, mended).await;
    let first = events.iter().find(|(reason, _)| reason == "AgentsDrifted").expect("an Event");
    assert!(first.1.contains("Modified at processors::batch::timeout"), "{}", first.1);
    assert!(events.iter().all(|(_, note)| !note.contains("not-a-secret")), "{events:?}");
}
