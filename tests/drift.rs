//! Somebody edits a real Collector's configuration behind the operator's back.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opamp_operator::api::{CollectorGroup, CollectorGroupStatus, ProblemKind, RolloutState};
use serde_json::json;
use std::net::TcpListener;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, group, inline, rollout};
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

/// Starts the Collector anew with another configuration, as whoever has a shell on its host can do.
fn tamper(supervisor: &Supervisor, original: &str, changes: &[(&str, &str)]) {
    let mut edited = original.to_owned();
    for (from, to) in changes {
        assert!(edited.contains(from), "{from} in {edited}");
        edited = edited.replacen(from, to, 1);
    }
    std::fs::write(supervisor.effective_path(), edited).expect("written");
    let parent = original.lines().find_map(|line| line.trim().strip_prefix("ppid: ")).expect("a process");
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).expect("a running supervisor");
    let children = threads.map(|thread| thread.expect("a thread").path().join("children"));
    let children: String = children.map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
    for child in children.split_whitespace() {
        kill(Pid::from_raw(child.parse().expect("a process")), Signal::SIGKILL).expect("ended");
    }
}

fn status(group: &CollectorGroup) -> CollectorGroupStatus {
    group.status.clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_with_a_real_collector_is_seen_with_its_class_and_its_place() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "drift").await;
    let operator = Operator::start(&plane, "drift").await;
    let supervisor =
        Supervisor::start(plane.dir(), "supervisor", &operator.websocket(), &[("test", "drift")]);
    space.apply(group("edge", "drift")).await;
    space.group_has("edge", 1).await;
    space.apply(rollout("r", "edge", inline(CONFIGURATION))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    let seen = |group: &CollectorGroup| {
        let agents = status(group).agents;
        (agents.in_sync, agents.drifted, agents.unknown) == (1, 0, 0)
    };
    space.until("edge", "seen to be in sync", seen).await;

    let original = supervisor.effective();
    let traces = "service::pipelines::traces";
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let extension = format!("extensions:\n    health_check: {{endpoint: \"127.0.0.1:{port}\"}}\n");
    let timeout = ("timeout: 90s", "timeout: 91s");
    let removed = ("                - batch\n", "");
    let added = ("                - otlp\n", "                - otlp\n                - debug\n");
    let started = ("        - opamp\n", "        - opamp\n        - health_check\n");
    for (changes, expected) in [
        (&[removed][..], format!("Modified at {traces}::processors::batch")),
        (&[added], format!("Foreign at {traces}::exporters::debug")),
        (
            &[("extensions:\n", &extension), started],
            "Foreign at service::extensions::health_check".to_owned(),
        ),
        (&[("sizer: bytes", "wait_for_result: true")], "Changed".to_owned()),
        (&[timeout], "Modified at processors::batch::timeout".to_owned()),
    ] {
        tamper(&supervisor, &original, changes);
        let told = |group: &CollectorGroup| {
            let status = status(group);
            let problem = status.problems.iter().find(|problem| problem.kind == ProblemKind::Drifted);
            status.agents.drifted == 1 && problem.is_some_and(|problem| problem.message == expected)
        };
        space.until("edge", &format!("drifted: {expected}"), told).await;
    }
    // That place does not count any more; the agent is asked anew.
    let mut ignoring = group("edge", "drift");
    ignoring["spec"]["drift"] = json!({"ignore": ["processors::batch::timeout"]});
    space.apply(ignoring).await;
    space.until("edge", "in sync but for what is ignored", seen).await;
    tamper(&supervisor, &original, &[]);
    space.until("edge", "in sync again", seen).await;
}
