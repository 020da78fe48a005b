//! Agents are told where to send their own telemetry: a real supervisor, whose Collector then does, and the common client
//! library as a witness.

mod support;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, Patch, PatchParams};
use opamp_operator::api::{AgentSlice, CollectorGroup, ConfigRevision, RolloutState};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout};
use support::supervisor::Supervisor;
use support::tap::Tap;
use support::witness::{Client, Witness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FIRST: &str = "first-marker-4711";
const SECOND: &str = "second-marker-4712";

/// A receiver of OTLP over HTTP that keeps the heads of all requests, and takes every body.
struct Sink {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = heads.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, kept.clone()));
            }
        });
        Self { address, heads }
    }

    fn url(&self, signal: &str) -> String {
        format!("http://{}/v1/{signal}", self.address)
    }

    /// Waits for a request for a signal with this header.
    async fn has(&self, signal: &str, header: &str) {
        eventually(format!("{signal} with {header}"), async || {
            let heads = self.heads.lock().expect("not poisoned");
            let wanted = format!("post /v1/{signal} ");
            heads.iter().any(|head| head.starts_with(&wanted) && head.contains(header)).then_some(())
        })
        .await;
    }
}

/// Takes one request and closes the connection after the answer.
async fn take(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut read = Vec::new();
    let head = loop {
        stream.read_buf(&mut read).await.ok().filter(|count| *count > 0)?;
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break String::from_utf8_lossy(&read[..end]).to_lowercase();
        }
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let whole = head.len() + 4 + length.unwrap_or(0_usize);
    while read.len() < whole {
        stream.read_buf(&mut read).await.ok().filter(|count| *count > 0)?;
    }
    heads.lock().expect("not poisoned").push(head);
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.ok()
}

fn secret(labels: &Value, headers: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "backend", "labels": labels},
        "stringData": {"headers": headers},
    })
}

/// Waits until the group's condition `TelemetryOffered` has this reason and a message with these words.
async fn until_told(space: &Space, reason: &str, words: &str) {
    space
        .until::<CollectorGroup>("edge", &format!("{reason}: {words}"), |group| {
            let conditions = group.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                condition.type_ == "TelemetryOffered"
                    && condition.reason == reason
                    && condition.message.contains(words)
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_send_their_own_telemetry_where_the_group_says_with_headers_that_nobody_else_sees() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "telemetry").await;
    let operator = Operator::start(&plane, "telemetry").await;
    let (sink, tap) = (Sink::start().await, Tap::start(&operator.opamp).await);
    let supervisor = Supervisor::launch(
        plane.dir(),
        "supervisor",
        &json!({"endpoint": tap.endpoint}),
        &[("test", "telemetry")],
        &json!({"reports_own_metrics": true, "reports_own_logs": true, "reports_own_traces": true}),
    );
    let mut edge = group("edge", "telemetry");
    edge["spec"]["drift"] = json!({"mode": "Detect", "scanInterval": "2s"});
    space.apply(edge.clone()).await;
    space.group_has("edge", 1).await;
    space.apply(rollout("checkout", "edge", inline(&collector("one")))).await;
    space.rollout_is("checkout", RolloutState::Completed).await;
    let in_sync = |group: &CollectorGroup| {
        group.status.as_ref().is_some_and(|status| {
            (status.agents.in_sync, status.agents.unknown, status.agents.drifted) == (1, 0, 0)
        })
    };
    space.until::<CollectorGroup>("edge", "in sync, as far as can be seen", in_sync).await;

    // What is wrong with the headers is told, and nobody is told of a part of it.
    let headers = json!({"name": "backend", "key": "headers"});
    edge["spec"]["telemetry"] = json!({
        "metrics": {"endpoint": sink.url("metrics"), "headersSecretRef": headers},
        "logs": {"endpoint": sink.url("logs"), "headersSecretRef": headers},
        "traces": {"endpoint": sink.url("traces")},
    });
    space.apply(edge.clone()).await;
    until_told(&space, "SourceNotFound", "Secret backend is missing").await;
    space.apply(secret(&json!({}), "x")).await;
    until_told(&space, "SecretNotShared", "label it fleet.opamp.dev/deliver").await;
    let shared = json!({"fleet.opamp.dev/deliver": "true"});
    space.apply(secret(&shared, FIRST)).await;
    until_told(&space, "InvalidHeaders", "line 1 is not of the form").await;
    assert!(!supervisor.effective().contains(&sink.address));

    // The supervisor's Collector sends where it is told, and does not drift by that.
    space.apply(secret(&shared, &format!("api-key: {FIRST}\n"))).await;
    until_told(&space, "AllTold", "").await;
    sink.has("logs", &format!("api-key: {FIRST}")).await;
    eventually("metrics in its configuration", async || {
        let effective = supervisor.effective();
        ["metrics", "logs", "traces"].iter().all(|signal| effective.contains(&sink.url(signal))).then_some(())
    })
    .await;
    eventually("the Collector to report it", async || {
        let maps = tap.effective();
        let body = String::from_utf8_lossy(&maps.last()?.config_map.get("")?.body).into_owned();
        (body.contains(&sink.url("metrics")) && body.contains("reports_health")).then_some(())
    })
    .await;
    space.until::<CollectorGroup>("edge", "in sync all the same", in_sync).await;

    // Another agent comes and is told; a change reaches one agent, and the other when that is well.
    let witness = Witness::start_with(
        Client::Go,
        plane.dir(),
        "witness",
        &operator.websocket(),
        &["--mode", "apply", "--telemetry"],
        "telemetry",
    );
    let told = |times: usize, marker: &str| {
        let told = witness.named("telemetry_settings");
        let mut classes: Vec<String> = Vec::new();
        for settings in told.iter().skip(told.len().saturating_sub(3)) {
            let class = settings["class"].as_str().unwrap_or_default();
            assert_eq!(settings["endpoint"], sink.url(class));
            if settings["headers"] == json!({"api-key": marker}) {
                classes.push(class.to_owned());
            }
        }
        classes.sort();
        (told.len() == times && classes == ["logs", "metrics"]).then_some(())
    };
    eventually("the witness to be told", async || told(3, FIRST)).await;
    space.group_has("edge", 2).await;
    let secrets: Api<Secret> = space.api();
    let patch = json!({"stringData": {"headers": format!("api-key: {SECOND}")}});
    secrets.patch("backend", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    until_told(&space, "TellingAgents", "1 of 2 connected agents are told").await;
    until_told(&space, "AllTold", "").await;
    sink.has("logs", &format!("api-key: {SECOND}")).await;
    eventually("the witness to be told of the change", async || told(6, SECOND)).await;
    space
        .until::<CollectorGroup>("edge", "without drift", |group| {
            group
                .status
                .as_ref()
                .is_some_and(|status| status.agents.drifted == 0 && status.agents.healthy == 2)
        })
        .await;

    assert_kept_secret(&operator, &space).await;
}

/// Nothing that is written has a header.
async fn assert_kept_secret(operator: &Operator, space: &Space) {
    let everything = ListParams::default();
    let mut written = vec![operator.log()];
    for group in space.api::<CollectorGroup>().list(&everything).await.expect("listed") {
        written.push(serde_json::to_string(&group).expect("JSON"));
    }
    for revision in space.api::<ConfigRevision>().list(&everything).await.expect("listed") {
        written.push(serde_json::to_string(&revision).expect("JSON"));
    }
    for slice in space.api::<AgentSlice>().list(&everything).await.expect("listed") {
        written.push(serde_json::to_string(&slice).expect("JSON"));
    }
    assert!(written.len() >= 4, "there is something to look at");
    for text in &written {
        assert!(!text.contains(FIRST) && !text.contains(SECOND), "a header is in {text}");
    }
}
