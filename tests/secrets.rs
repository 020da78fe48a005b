//! Secrets stay secret: what a rollout delivers out of a Secret, a token that an agent shows, and what an agent reports
//! out of its environment stand in no object but the Secret, in no Event, no metric and no line of the log, also when
//! agents fail and quote what they were given.

mod support;

use opamp_operator::api::{CollectorGroup, ConfigRollout, ProblemKind, RolloutState};
use opamp_operator::sim::{self, Access, Behaviour, Endpoint, Pace, Profile};
use serde_json::{Value, json};
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, group, rollout, until_events};
use support::supervisor::Supervisor;

/// All secrets begin with this, and nothing else has it.
const MARK: &str = "zq7x";
const TOKEN: &str = "zq7xtoken-0123456789abcdef0123456789abcdef";
const ENVIRONMENT: &str = "zq7xenvironment-0123456789";
const DELIVERED: &str = "zq7xdelivered-0123456789";
/// Put in effect behind the operator's back.
const TAMPERED: &str = "zq7xtampered-0123456789";
/// A body that is no mapping: the supervisor's words quote how it begins.
const NAKED: &str = "zq7xnaked-0123456789abcdef";
const KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nzq7xfirst+/0123456789\nzq7xsecond+/0123456789\n-----END PRIVATE KEY-----\n";

/// A Secret that may be delivered.
fn backend(name: &str, body: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"body": body},
        "metadata": {"name": name, "labels": {"fleet.opamp.dev/deliver": "true"}},
    })
}

/// A rollout of such a Secret.
fn of(name: &str, group: &str, secret: &str, format: &str) -> Value {
    let files = json!([{"name": "collector.yaml", "secretKeyRef": {"name": secret, "key": "body"}}]);
    let mut manifest = rollout(name, group, files);
    manifest["spec"]["config"]["format"] = json!(format);
    manifest
}

fn collector() -> String {
    format!(
        "receivers: {{nop: {{}}}}\nexporters: {{nop: {{}}}}\nprocessors:\n  attributes:\n    actions:\n    \
         - {{key: a, value: {DELIVERED}, action: insert}}\n    \
         - {{key: b, value: \"${{env:MARKED}}\", action: insert}}\n\
         service: {{pipelines: {{traces: {{receivers: [nop], processors: [attributes], exporters: [nop]}}}}}}\n"
    )
}

fn first_failure(rollout: &ConfigRollout) -> String {
    rollout.status.as_ref().expect("a status").failures[0].message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_stand_nowhere_but_where_they_belong() {
    let plane = ControlPlane::start().await;
    let (own, edge) = (Space::new(&plane, "own").await, Space::new(&plane, "edge").await);
    let loudest = [("RUST_LOG", "trace")];
    let operator = Operator::start_guarded_with(&plane, &own.name, &["--agent-auth=token"], &loudest).await;
    edge.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "fleet.opamp.dev/agent-token", "stringData": {"a": TOKEN},
        "metadata": {"name": "agents", "labels": {"fleet.opamp.dev/credential": "true"}},
    }))
    .await;
    let mut real = group("real", "real");
    real["spec"]["drift"] = json!({"mode": "Detect"});
    edge.apply(real).await;
    edge.apply(group("quoting", "quoting")).await;
    let server =
        json!({"endpoint": operator.websocket(), "headers": {"Authorization": format!("Bearer {TOKEN}")}});
    let environment = json!({"MARKED": ENVIRONMENT});
    let supervisor =
        Supervisor::start_in(&environment, plane.dir(), "supervisor", &server, &[("test", "real")]);
    edge.group_has("real", 1).await;

    // Delivered, and reported as in effect with what the environment holds; then edited on the agent's host.
    edge.apply(backend("good", &collector())).await;
    edge.apply(of("real", "real", "good", "Collector")).await;
    edge.rollout_is("real", RolloutState::Completed).await;
    let in_sync = |group: &CollectorGroup| {
        group.status.as_ref().is_some_and(|status| (status.agents.in_sync, status.agents.unknown) == (1, 0))
    };
    edge.until("real", "in sync", in_sync).await;
    assert!(supervisor.effective().contains(DELIVERED));
    supervisor.tamper(&supervisor.effective().replace(DELIVERED, TAMPERED));
    let drifted = |group: &CollectorGroup| {
        let problems = group.status.iter().flat_map(|status| &status.problems);
        problems.into_iter().any(|problem| problem.kind == ProblemKind::Drifted)
    };
    edge.until("real", "drifted", drifted).await;

    // Refused by a real supervisor, whose words quote how the body begins.
    edge.apply(backend("naked", NAKED)).await;
    edge.apply(of("real", "real", "naked", "Opaque")).await;
    let refused = first_failure(&edge.rollout_is("real", RolloutState::RolledBack).await);
    assert!(refused.contains("[REDACTED]..."), "{refused}");

    // Refused by an agent that quotes all of it: as it is, as programs print texts, and line by line.
    let lines: Vec<&str> = KEY.lines().collect();
    let quoting = format!("bad {KEY:?} in Bearer {NAKED}: {} {} {}...", lines[1], lines[2], &DELIVERED[..7]);
    let access = Access::default().by_headers([("authorization".to_owned(), format!("Bearer {TOKEN}"))]);
    let endpoint: Endpoint = operator.websocket().parse().expect("an endpoint");
    let agent = sim::Agent::new(Profile::new([1; 16]).with("test", "quoting"), Behaviour::Fail(quoting));
    let pace = Pace { heartbeat: Duration::from_millis(200), ..Pace::default() };
    let _agent = sim::spawn(agent, endpoint.with(access), pace);
    edge.group_has("quoting", 1).await;
    let body =
        json!({"key": KEY, "headers": {"authorization": format!("Bearer {NAKED}"), "other": DELIVERED}});
    edge.apply(backend("quoted", &body.to_string())).await;
    edge.apply(of("quoting", "quoting", "quoted", "Opaque")).await;
    let refused = first_failure(&edge.rollout_is("quoting", RolloutState::Halted).await);
    assert!(
        refused.contains("bad \"[REDACTED]\" in [REDACTED]: [REDACTED] [REDACTED] [REDACTED]..."),
        "{refused}"
    );

    // Not even sent: the operator's own words about it.
    for (name, body) in
        [("unread", format!("a: [{DELIVERED}")), ("untyped", format!("service: {DELIVERED}\n"))]
    {
        edge.apply(backend(name, &body)).await;
        edge.apply(of("quoting", "quoting", name, "Collector")).await;
        let told = edge.rollout_is("quoting", RolloutState::Invalid).await.status.expect("a status").message;
        assert!(told.starts_with("not sent: file \"collector.yaml\""), "{told}");
    }

    until_events(&edge, "real", &["RolledBack"], 1).await;
    let kinds = "collectorgroups,configrollouts,configrevisions,agentslices,events,leases,configmaps";
    let objects =
        plane.kubectl(&["get", kinds, "-A", "-o", "json", "--show-managed-fields"]).expect("objects");
    let metrics = operator.get("/metrics").await.expect("metrics").1;
    let log = operator.log();
    for (what, text, known) in [
        ("an object", &objects, "\"kind\": \"AgentSlice\""),
        ("an Event", &objects, "\"reason\": \"RolledBack\""),
        ("a metric", &metrics, "opamp_"),
        ("the log", &log, "\"level\":\"TRACE\""),
    ] {
        assert!(text.contains(known), "there is no {known}");
        let leaks: Vec<&str> = text.lines().filter(|line| line.contains(MARK)).take(5).collect();
        assert!(leaks.is_empty(), "{what} tells a secret: {leaks:#?}");
    }
}
