//! Something to see on the dashboard: agents of every kind, rollouts in many states, drift, and two replicas.

use super::support::authority::Authority;
use super::support::control_plane::ControlPlane;
use super::support::eventually;
use super::support::fleet::{Fleet, Kind};
use super::support::https::Https;
use super::support::operator::Operator;
use super::support::prometheus::Prometheus;
use super::support::resources::{Space, collector, group, inline, phased, rollout};
use super::support::rules;
use kube::api::{Patch, PatchParams};
use opamp_operator::api::{CollectorGroup, CollectorGroupStatus, RolloutState};
use opamp_operator::sim::{Behaviour, Cure, Habits};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Short, so that agents hear of everything soon.
const HEARTBEAT: Duration = Duration::from_millis(200);
const TOKEN: &str = "5f0c6c0d7e1f4a3b9a8d2e4c6b1a0f9e5d7c3b2a1908f7e6d5c4b3a291807f6e";

/// All that runs, in the order in which it ends.
pub struct Scene {
    /// What has looked on from the start.
    pub prometheus: Prometheus,
    /// Where all of it is.
    pub space: Space,
    fleets: Vec<Fleet>,
    replicas: [Operator; 2],
    /// The cluster.
    pub plane: ControlPlane,
}

impl Scene {
    /// Starts all of it, and makes happen what a dashboard is for.
    pub async fn play(name: &str) -> Self {
        let plane = ControlPlane::start().await;
        let space = Space::new(&plane, name).await;
        let authority = Authority::new(&plane.dir().join("authority"));
        credentials(&space, &authority).await;
        let (certificate, key) = authority.sign("server", &["127.0.0.2"]);
        let flags = [
            "--identity=replica-2".to_owned(),
            "--agent-auth=token,mtls".to_owned(),
            format!("--tls-cert={certificate}"),
            format!("--tls-key={key}"),
            format!("--client-ca={}", authority.path("ca.crt")),
        ];
        let first = Operator::start_as(&plane, name, "replica-1").await;
        first.until_metrics(&["opamp_operator_leading 1"]).await;
        let second = Operator::start_guarded(&plane, name, &flags.each_ref().map(String::as_str)).await;
        let watching = configuration(&[&first.admin, &second.admin]);
        let prometheus = Prometheus::start(plane.dir(), &watching).await;
        // A rate needs to know what was before the first event.
        eventually("both replicas to be scraped", async || {
            (prometheus.values("count(opamp_operator_leading)").await == ["2"]).then_some(())
        })
        .await;
        let endpoint = first.websocket();
        let polling = Fleet::new(&first.http(), "polling", 1, HEARTBEAT);
        let replicas = [first, second];
        let mut scene = Self { prometheus, space, fleets: Vec::new(), replicas, plane };

        let fleet = |name: &str, key| Fleet::new(&endpoint, name, key, HEARTBEAT);
        let (edge, polling, drifting, ill, ()) = tokio::join!(
            scene.rolls_back(fleet("edge", 2)),
            scene.waits(polling),
            scene.drifts(fleet("drifting", 3)),
            scene.is_healed(fleet("ill", 4)),
            scene.refuses(&authority),
        );
        scene.fleets = vec![edge, polling, drifting, ill];
        scene
    }

    /// One of four agents refuses the second configuration; another rollout finds the group taken.
    async fn rolls_back(&self, mut fleet: Fleet) -> Fleet {
        fleet.join_as(3, &Kind::showing_effective());
        fleet.join(1, &Behaviour::Refuse("no such exporter".to_owned()));
        self.begin("edge", &json!({}), 4).await;
        let phases = || json!([{"name": "half", "agents": "50%"}, {"name": "full", "agents": "100%"}]);
        let manifest = |mark: &str| {
            let mut manifest = phased("edge", "edge", inline(&collector(mark)), phases());
            manifest["spec"]["strategy"]["failureThreshold"] = json!(0);
            manifest
        };
        self.space.apply(manifest("first")).await;
        self.space.rollout_is("edge", RolloutState::Completed).await;
        self.space.apply(manifest("second")).await;
        self.space.rollout_is("edge", RolloutState::RolledBack).await;
        self.space.apply(rollout("late", "edge", inline(&collector("late")))).await;
        self.space.rollout_is("late", RolloutState::Pending).await;
        // They leave with a good-bye, and come back.
        fleet.start_anew(&BTreeSet::from([0]), &Behaviour::Apply).await;
        fleet
    }

    /// Its rollout stands before an approval.
    async fn waits(&self, mut fleet: Fleet) -> Fleet {
        fleet.join(1, &Behaviour::Apply);
        self.begin("polling", &json!({}), 1).await;
        let phases = json!([
            {"name": "canary", "agents": 1, "approval": "Manual"},
            {"name": "full", "agents": "100%"},
        ]);
        self.space.apply(phased("polling", "polling", inline(&collector("x")), phases)).await;
        self.space.rollout_is("polling", RolloutState::AwaitingApproval).await;
        fleet
    }

    /// Of two agents that are tampered with, one is put right and the other comes to an end in quarantine.
    async fn drifts(&self, mut fleet: Fleet) -> Fleet {
        fleet.join_as(1, &Kind::showing_effective());
        let reverting = Habits { reverts: true, ..Habits::default() };
        fleet.join_as(1, &Kind::showing_effective().with(reverting));
        let correction = json!({"maxAttempts": 2, "initialBackoff": "1s", "maxBackoff": "2s"});
        self.begin("drifting", &json!({"drift": {"correction": correction}}), 2).await;
        self.completes("drifting").await;
        let in_sync = |status: &CollectorGroupStatus| status.agents.in_sync == 2;
        self.until("drifting", "in sync", in_sync).await;
        fleet.tamper(0, &collector("tampered"));
        fleet.tamper(1, &collector("tampered"));
        let ended =
            |status: &CollectorGroupStatus| (status.agents.quarantined, status.agents.in_sync) == (1, 1);
        self.until("drifting", "quarantined", ended).await;
        fleet
    }

    /// An agent falls ill, and a restart cures it; then a person has it started anew.
    async fn is_healed(&self, mut fleet: Fleet) -> Fleet {
        let curable = Habits { cure: Cure::Restart, ..Habits::default() };
        fleet.join_as(1, &Kind::showing_effective().with(curable).accepting_restarts());
        self.begin("ill", &json!({"health": {"unhealthyAfter": "1s"}}), 1).await;
        self.completes("ill").await;
        fleet.fall_ill(0);
        self.until("ill", "ill", |status| status.agents.healthy == 0).await;
        self.until("ill", "well", |status| status.agents.healthy == 1).await;
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"fleet.opamp.dev/restart": "one"}}}));
        let groups = self.space.api::<CollectorGroup>();
        groups.patch("ill", &PatchParams::default(), &patch).await.expect("annotated");
        let restarted = |status: &CollectorGroupStatus| {
            status.restart.as_ref().is_some_and(|restart| restart.restarted == 1)
        };
        self.until("ill", "started anew", restarted).await;
        fleet
    }

    /// Agents that come by a token, of which one is not known, and one that speaks no HTTP.
    async fn refuses(&self, authority: &Authority) {
        let [first, second] = &self.replicas;
        let guarded = Https::new(&second.opamp, &authority.pem);
        eventually("a token to be known", async || (guarded.poll(TOKEN, [9; 16]).await == 200).then_some(()))
            .await;
        assert_eq!(guarded.poll(&TOKEN.replace('5', "6"), [8; 16]).await, 401);
        let mut stranger = TcpStream::connect(&first.opamp).await.expect("a connection");
        stranger.write_all(b"this is no HTTP\r\n\r\n").await.expect("written");
        let _ = stranger.read_to_end(&mut Vec::new()).await;
    }

    async fn begin(&self, name: &str, more: &Value, agents: i64) {
        let mut manifest = group(name, name);
        for (key, value) in more.as_object().expect("fields") {
            manifest["spec"][key] = value.clone();
        }
        self.space.apply(manifest).await;
        self.space.group_has(name, agents).await;
    }

    async fn completes(&self, name: &str) {
        self.space.apply(rollout(name, name, inline(&collector(name)))).await;
        self.space.rollout_is(name, RolloutState::Completed).await;
    }

    async fn until(&self, name: &str, what: &str, wanted: impl Fn(&CollectorGroupStatus) -> bool) {
        let wanted = |group: &CollectorGroup| group.status.as_ref().is_some_and(&wanted);
        self.space.until(name, what, wanted).await;
    }
}

/// A token of agents, and an authority of their certificates.
async fn credentials(space: &Space, authority: &Authority) {
    let secret = |name: &str, kind: &str, key: &str, value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": format!("fleet.opamp.dev/{kind}"),
            "metadata": {"name": name, "labels": {"fleet.opamp.dev/credential": "true"}},
            "stringData": {key: value},
        })
    };
    space.apply(secret("plant", "agent-token", "first", TOKEN)).await;
    space.apply(secret("authority", "agent-ca", "ca.crt", &authority.pem)).await;
}

/// Scrapes these replicas and goes through the project's rules, once a second.
fn configuration(replicas: &[&str]) -> String {
    let rules = rules::folder().join(rules::RULES);
    json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{
            "job_name": "opamp-operator", "honor_labels": true,
            "static_configs": [{"targets": replicas}],
        }],
    })
    .to_string()
}
