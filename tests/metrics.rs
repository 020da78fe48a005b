//! What `/metrics` serves, and what `docs/metrics.md` says of it, compared both ways.

mod support;

use opamp_operator::api::{CollectorGroup, ConfigRollout, RolloutState};
use opamp_operator::sim::Behaviour;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::authority::Authority;
use support::control_plane::ControlPlane;
use support::fleet::Fleet;
use support::metrics::{Metrics, as_prometheus_text, documented, served};
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased, rollout};
use support::{eventually, tool};

const HEARTBEAT: Duration = Duration::from_millis(100);
const TOKEN: &str = "first-0123456789abcdef0123456789abcdef";

/// Two replicas: one that leads and lets everybody in, and one behind TLS with every kind of credential.
struct Scene {
    // Agents end before the operators do.
    fleet: Fleet,
    leader: Operator,
    guarded: Operator,
    space: Space,
    _plane: ControlPlane,
}

impl Scene {
    /// With three agents of a group, and one of none; a rollout has completed.
    async fn new(name: &str) -> Self {
        let plane = ControlPlane::start().await;
        let space = Space::new(&plane, name).await;
        let leader = Operator::start_as(&plane, name, "replica-1").await;
        leader.until_metrics(&["opamp_operator_leading 1"]).await;
        let authority = Authority::new(&plane.dir().join("tls"));
        let (certificate, key) = authority.sign("door", &["127.0.0.2"]);
        let flags = [
            "--identity=replica-2".to_owned(),
            format!("--tls-cert={certificate}"),
            format!("--tls-key={key}"),
            format!("--client-ca={}", authority.path("ca.crt")),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let guarded = Operator::start_guarded(&plane, name, &flags).await;
        let labels = json!({"fleet.opamp.dev/credential": "true"});
        for (name, kind, key, value) in
            [("tokens", "agent-token", "a", TOKEN), ("authority", "agent-ca", "ca.crt", &authority.pem)]
        {
            let kind = format!("fleet.opamp.dev/{kind}");
            space
                .apply(json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
                    "metadata": {"name": name, "labels": labels}, "stringData": {key: value}}))
                .await;
        }
        let mut fleet = Fleet::new(&leader.websocket(), name, 1, HEARTBEAT);
        fleet.join(3, &Behaviour::Apply);
        let mut scene = Self { fleet, leader, guarded, space, _plane: plane };
        scene.roll_out().await;
        scene
    }

    async fn roll_out(&mut self) {
        self.space.apply(group("g", &self.space.name)).await;
        self.space.group_has("g", 3).await;
        self.space.apply(rollout("r", "g", inline(&collector("1")))).await;
        self.space.rollout_is("r", RolloutState::Completed).await;
    }

    async fn pages(&self) -> [String; 2] {
        let page = async |operator: &Operator| operator.get("/metrics").await.expect("metrics").1;
        [page(&self.leader).await, page(&self.guarded).await]
    }

    /// Waits until both replicas together serve all metrics that are documented, and returns what each serves.
    async fn until_complete(&self) -> [String; 2] {
        let wanted: BTreeSet<String> = documented().into_keys().collect();
        let mut missing = BTreeSet::new();
        let complete = tokio::time::timeout(support::PATIENCE, async {
            let mut ticks = tokio::time::interval(HEARTBEAT);
            loop {
                ticks.tick().await;
                let pages = self.pages().await;
                let names = served(&[&pages[0], &pages[1]]).into_keys().collect();
                missing = wanted.difference(&names).cloned().collect();
                if missing.is_empty() {
                    return pages;
                }
            }
        })
        .await;
        complete.unwrap_or_else(|_| panic!("documented and not served: {missing:?}"))
    }
}

/// What of two lists of metrics is not the same, in lines.
fn differences(documented: &Metrics, served: &Metrics) -> Vec<String> {
    let names: BTreeSet<&String> = documented.keys().chain(served.keys()).collect();
    let different = names.into_iter().filter_map(|name| match (documented.get(name), served.get(name)) {
        (None, _) => Some(format!("{name} is served and not documented")),
        (_, None) => Some(format!("{name} is documented and not served")),
        (Some(page), Some(program)) => {
            let page = (&page.kind, page.in_seconds, &page.labels);
            let program = (&program.kind, program.in_seconds, &program.labels);
            (page != program).then(|| format!("{name}: the page has {page:?}, the program {program:?}"))
        }
    });
    different.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_server_have_the_same_metrics_with_the_same_types_units_labels_and_values() {
    let scene = Scene::new("page").await;
    let texts = scene.until_complete().await;
    let page = documented();
    let different = differences(&page, &served(&[&texts[0], &texts[1]]));
    assert!(different.is_empty(), "{}", different.join("\n"));

    // What only the leader has something to say of, others do not say at all; but for counts, which stand at 0.
    let others = served(&[&texts[1]]);
    let gauges = page.iter().filter(|(_, metric)| metric.of_leader && metric.kind == "gauge");
    let told: Vec<&String> = gauges.map(|(name, _)| name).filter(|name| others.contains_key(*name)).collect();
    assert!(told.is_empty(), "{told:?} of a replica that does not lead");

    let mut promtool = Command::new(tool("promtool"));
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for text in texts {
        let mut checking = promtool.spawn().expect("promtool runs");
        let mut input = checking.stdin.take().expect("its input");
        input.write_all(as_prometheus_text(&text).as_bytes()).expect("it reads");
        drop(input);
        let output = checking.wait_with_output().expect("it ends");
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && printed.is_empty(), "promtool check metrics: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_a_rollout_and_no_more_of_a_group_that_is_gone() {
    let scene = Scene::new("told").await;
    let of_group = |name: &str, labels: &str, value: i64| {
        format!("{name}{{namespace=\"told\",group=\"g\"{labels}}} {value}")
    };
    let lines = [
        of_group("opamp_agents", ",state=\"in_sync\"", 3),
        of_group("opamp_rollouts", ",state=\"Completed\"", 1),
        of_group("opamp_rollouts", ",state=\"Pending\"", 0),
        of_group("opamp_stalled_rollouts", ",reason=\"ConnectivityLost\"", 0),
        of_group("opamp_held_rollouts", "", 0),
        of_group("opamp_rollout_agents", ",state=\"updated\"", 3),
        "opamp_rollout_attempts_total{result=\"completed\"} 1".to_owned(),
        "opamp_rollout_time_to_applied_seconds_count{share=\"50\"} 1".to_owned(),
        "opamp_rollout_time_to_applied_seconds_count{share=\"100\"} 1".to_owned(),
        "opamp_rollout_phase_duration_seconds_count{outcome=\"passed\"} 1".to_owned(),
        "opamp_rollout_phase_duration_seconds_count{outcome=\"failed\"} 0".to_owned(),
        "opamp_verdicts_total{verdict=\"applied\"} 3".to_owned(),
        "opamp_offers_total{transport=\"websocket\"} 3".to_owned(),
        "opamp_lease_held{lease=\"leader\"} 1".to_owned(),
        "opamp_lease_held{lease=\"replica\"} 1".to_owned(),
        "opamp_lease_transitions_total{lease=\"leader\",to=\"held\"} 1".to_owned(),
        "opamp_ungrouped_agents 0".to_owned(),
        "opamp_websocket_connection_duration_seconds_count 0".to_owned(),
    ];
    scene.leader.until_metrics(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    scene
        .guarded
        .until_metrics(&["opamp_lease_held{lease=\"leader\"} 0", "opamp_lease_held{lease=\"replica\"} 1"])
        .await;
    let [text, _] = scene.pages().await;
    let count = |series: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} in {text}")).parse::<u64>().expect("a number")
    };
    for series in [
        "opamp_reconciles_total{kind=\"ConfigRollout\",result=\"ok\"}",
        "opamp_reconcile_duration_seconds_count{kind=\"CollectorGroup\"}",
        "opamp_status_writes_total{kind=\"CollectorGroup\",result=\"ok\"}",
        "opamp_status_writes_total{kind=\"ConfigRollout\",result=\"ok\"}",
        "opamp_slice_writes_total{content=\"agents\",result=\"ok\"}",
        "opamp_api_requests_total{method=\"PATCH\",result=\"ok\"}",
        "opamp_messages_total{transport=\"websocket\",kind=\"description\",result=\"ok\"}",
        "opamp_messages_total{transport=\"websocket\",kind=\"config_status\",result=\"ok\"}",
        "opamp_messages_total{transport=\"websocket\",kind=\"heartbeat\",result=\"ok\"}",
    ] {
        assert!(count(series) > 0, "{series} in {text}");
    }

    scene.space.delete::<ConfigRollout>("r").await;
    scene.space.delete::<CollectorGroup>("g").await;
    eventually("nothing to be told of the group", async || {
        let [text, _] = scene.pages().await;
        (!text.contains("group=\"g\"")).then_some(())
    })
    .await;
    // Its agents are nobody's now.
    scene.leader.until_metrics(&["opamp_ungrouped_agents 3"]).await;
    drop(scene.fleet);
    scene
        .leader
        .until_metrics(&[
            "opamp_websocket_active_connections 0",
            "opamp_websocket_connection_duration_seconds_count 3",
        ])
        .await;
}

/// Two rollouts of which an agent has failed: too many for one, which is to pause then; a person has paused the other.
#[tokio::test(flavor = "multi_thread")]
async fn rollout_that_failures_have_stopped_is_told_from_one_that_a_person_has_paused() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "held").await;
    let operator = Operator::start(&plane, "held").await;
    let mut fleets = Vec::new();
    for (key, name, tolerated, paused) in [(1, "stopped", 0, false), (2, "paused", 1, true)] {
        let mut fleet = Fleet::new(&operator.websocket(), name, key, HEARTBEAT);
        fleet.join(1, &Behaviour::Fail("no such exporter".to_owned()));
        fleet.join(1, &Behaviour::Apply);
        fleets.push(fleet);
        space.apply(group(name, name)).await;
        space.group_has(name, 2).await;
        let phases = json!([
            {"name": "first", "agents": "100%", "duration": "1h"},
            {"name": "full", "agents": "100%"},
        ]);
        let mut manifest = phased(name, name, inline(&collector(name)), phases);
        manifest["spec"]["strategy"]["failureThreshold"] = json!(tolerated);
        manifest["spec"]["strategy"]["onFailure"] = json!("Pause");
        space.apply(manifest.clone()).await;
        let has_failed =
            |rollout: &ConfigRollout| rollout.status.as_ref().is_some_and(|status| status.agents.failed == 1);
        space.until(name, "told of the failure", has_failed).await;
        manifest["spec"]["paused"] = json!(paused);
        space.apply(manifest).await;
        space.rollout_is(name, RolloutState::Paused).await;
    }
    let of_group = |name: &str, group: &str, labels: &str, value: u8| {
        format!("{name}{{namespace=\"held\",group=\"{group}\"{labels}}} {value}")
    };
    let lines = [("stopped", 1), ("paused", 0)].map(|(group, held)| {
        [
            of_group("opamp_rollouts", group, ",state=\"Paused\"", 1),
            of_group("opamp_rollout_agents", group, ",state=\"failed\"", 1),
            of_group("opamp_held_rollouts", group, "", held),
        ]
    });
    operator.until_metrics(&lines.iter().flatten().map(String::as_str).collect::<Vec<_>>()).await;
}
