//! Agents are moved from one token to another against a real API server: by the common client library, and by a real
//! supervisor.

mod support;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use opamp_operator::api::CollectorGroup;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use support::authority::Authority;
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, until_events};
use support::supervisor::Supervisor;
use support::witness::{Client, Witness};

const FIRST: &str = "first-0123456789abcdef0123456789abcdef";
const SECOND: &str = "second-0123456789abcdef0123456789abcdef";
const THIRD: &str = "third-0123456789abcdef0123456789abcdef";

/// An operator's agents' port, with a certificate that agents check.
struct Door {
    /// Where it listens.
    address: String,
    /// What vouches for it.
    authority: Authority,
}

impl Door {
    fn new(dir: &Path) -> Self {
        let authority = Authority::new(&dir.join("tls"));
        authority.sign("door", &["127.0.0.2"]);
        let free = TcpListener::bind("127.0.0.2:0").expect("a port").local_addr().expect("an address");
        let door = Self { address: free.to_string(), authority };
        door.name_authority(&door.authority);
        door
    }

    /// Tells agents that this authority vouches for the door.
    fn name_authority(&self, authority: &Authority) {
        std::fs::write(self.path("public.crt"), &authority.pem).expect("written");
    }

    fn path(&self, file: &str) -> String {
        self.authority.path(file)
    }

    fn endpoint(&self) -> String {
        format!("wss://{}/v1/opamp", self.address)
    }

    /// The operator behind it, which tells agents to come here.
    async fn open(&self, plane: &ControlPlane, namespace: &str) -> Operator {
        let flags = [
            format!("--tls-cert={}", self.path("door.crt")),
            format!("--tls-key={}", self.path("door.key")),
            format!("--public-endpoint={}", self.endpoint()),
            format!("--public-ca={}", self.path("public.crt")),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Operator::start_guarded_on(plane, namespace, &self.address, &flags, &[]).await
    }
}

/// The Secret with all tokens, whose agents are in the group `all`.
async fn prepare(space: &Space) {
    space
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "fleet.opamp.dev/agent-token",
            "metadata": {"name": "plant", "labels": {"fleet.opamp.dev/credential": "true"}},
            "stringData": {"a": FIRST, "b": SECOND, "c": THIRD},
        }))
        .await;
    space
        .apply(json!({
            "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "CollectorGroup",
            "metadata": {"name": "all"}, "spec": {},
        }))
        .await;
}

async fn patch(space: &Space, patch: Value) {
    let secrets: Api<Secret> = space.api();
    secrets.patch("plant", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
}

/// Offers this data key, as a person does.
async fn offer(space: &Space, key: &str) {
    patch(space, json!({"metadata": {"annotations": {"fleet.opamp.dev/offer": key}}})).await;
}

fn agents(space: &Space, key: &str, count: u32) -> String {
    let namespace = &space.name;
    format!("opamp_credential_agents{{namespace=\"{namespace}\",secret=\"plant\",key=\"{key}\"}} {count}")
}

fn told(count: u32) -> String {
    format!("opamp_connection_settings_total{{result=\"sent\"}} {count}")
}

async fn until(operator: &Operator, lines: &[String]) {
    operator.until_metrics(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

fn matched(group: &CollectorGroup) -> Option<i64> {
    group.status.as_ref().map(|status| status.agents.matched)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_move_to_the_token_that_their_secret_names_and_keep_their_uids() {
    let plane = ControlPlane::start().await;
    let (own, edge) = (Space::new(&plane, "own").await, Space::new(&plane, "edge").await);
    let door = Door::new(plane.dir());
    let operator = door.open(&plane, &own.name).await;
    prepare(&edge).await;
    offer(&edge, "d").await;
    let events = until_events(&edge, "plant", &["RequestRefused"], 1).await;
    assert!(events[0].1.contains("names none of the Secret's tokens"), "{events:?}");
    let (header, ca) = (format!("Authorization=Bearer {FIRST}"), door.path("ca.crt"));
    let start = |name: &str, scheme: &str, settings: &[&str]| {
        let endpoint = door.endpoint().replace("wss", scheme);
        let flags = [&["--mode", "apply", "--header", &header, "--ca", &ca], settings].concat();
        Witness::start_with(Client::Go, plane.dir(), name, &endpoint, &flags, "rotation")
    };
    let movers = [
        start("by-websocket", "wss", &["--settings", "accept"]),
        start("by-http", "https", &["--settings", "accept"]),
    ];
    let refuses = start("refuses", "wss", &["--settings", "refuse"]);
    let unable = start("unable", "wss", &[]);
    until(&operator, &[agents(&edge, "a", 4), agents(&edge, "b", 0)]).await;

    offer(&edge, "b").await;
    until(&operator, &[agents(&edge, "a", 2), agents(&edge, "b", 2), told(3)]).await;
    for (witness, count) in movers.iter().map(|mover| (mover, 1)).chain([(&refuses, 1), (&unable, 0)]) {
        let settings = witness.named("connection_settings");
        assert_eq!(settings.len(), count, "{}", witness.output());
        for told in settings {
            assert_eq!(told["endpoint"], door.endpoint());
            assert_eq!(told["headers"], json!({"Authorization": format!("Bearer {SECOND}")}));
            assert_eq!(told["ca"], door.authority.pem);
            assert_eq!(told["heartbeat"], 6, "30 seconds, in a test five times faster");
        }
    }
    edge.group_has("all", 4).await;

    // Another token, and then the one before again: the refusal stood for that one only.
    offer(&edge, "c").await;
    until(&operator, &[agents(&edge, "a", 2), agents(&edge, "b", 0), agents(&edge, "c", 2), told(6)]).await;
    assert_eq!(refuses.named("connection_settings").len(), 2);

    // A person removes the old tokens: who has moved goes on, under the same uid.
    patch(&edge, json!({"data": {"a": null, "b": null}})).await;
    until(&operator, &[agents(&edge, "c", 2)]).await;
    edge.group_has("all", 2).await;
    let all = edge.until::<CollectorGroup>("all", "with its agents", |group| matched(group).is_some()).await;
    assert_eq!(matched(&all), Some(4), "nobody was given a new uid");
    assert!(movers.iter().all(|mover| mover.named("uid").is_empty()));

    offer(&edge, "no-such-key").await;
    until_events(&edge, "plant", &["RequestRefused"], 2).await;
    until(&operator, &[agents(&edge, "c", 2), told(6)]).await;
    for text in [FIRST, SECOND, THIRD] {
        assert!(!operator.log().contains(text), "a token is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn supervisor_moves_checks_the_server_and_has_forgotten_it_all_after_a_restart() {
    let plane = ControlPlane::start().await;
    let (own, edge) = (Space::new(&plane, "own").await, Space::new(&plane, "edge").await);
    let door = Door::new(plane.dir());
    let operator = door.open(&plane, &own.name).await;
    prepare(&edge).await;
    let server = json!({
        "endpoint": door.endpoint(), "headers": {"Authorization": format!("Bearer {FIRST}")},
        "tls": {"ca_file": door.path("ca.crt")},
    });
    let start = || {
        let capabilities = json!({"accepts_opamp_connection_settings": true});
        Supervisor::launch(plane.dir(), "supervisor", &server, &[], &capabilities)
    };
    let mut supervisor = start();
    until(&operator, &[agents(&edge, "a", 1)]).await;
    offer(&edge, "b").await;
    until(&operator, &[agents(&edge, "a", 0), agents(&edge, "b", 1), told(1)]).await;

    // It keeps nothing of it: started again it comes with the token of its file, and is told again.
    drop(supervisor);
    supervisor = start();
    until(&operator, &[agents(&edge, "a", 0), agents(&edge, "b", 1), told(2)]).await;

    // It checks the server by what it is told, and goes on trying where it was sent.
    door.name_authority(&Authority::new(&plane.dir().join("other-tls")));
    eventually("the other authority to be read", async || {
        operator.log().contains("authority of the public endpoint was reloaded").then_some(())
    })
    .await;
    offer(&edge, "c").await;
    eventually("the supervisor to refuse the server", async || {
        supervisor.log().contains("certificate signed by unknown authority").then_some(())
    })
    .await;
    until(&operator, &[agents(&edge, "a", 0), agents(&edge, "b", 0), agents(&edge, "c", 0)]).await;

    // Started again it is as before, and is not told of the same again.
    drop(supervisor);
    supervisor = start();
    until(&operator, &[agents(&edge, "a", 1)]).await;
    edge.group_has("all", 1).await;
    until(&operator, &[agents(&edge, "a", 1), agents(&edge, "c", 0)]).await;
    let all = edge.until::<CollectorGroup>("all", "with its agent", |group| matched(group).is_some()).await;
    assert_eq!(matched(&all), Some(1), "it has kept its uid");
    let log = operator.log();
    assert!([FIRST, SECOND, THIRD].iter().all(|text| !log.contains(text)), "a token is in the log");
    drop(supervisor);
}
