//! Who is let in, against a real API server: tokens from Secrets, tokens of service accounts, certificates; and real
//! agents that prove who they are over TLS, configured as docs/security.md shows.

#[path = "opamp_endpoint/raw.rs"]
#[allow(dead_code, reason = "the endpoint's tests use all of it")]
mod raw;
mod support;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use opamp_operator::api::CollectorGroup;
use opamp_operator::cluster::AUDIENCE;
use opamp_operator::opamp::proto::{AgentDescription, AgentToServer, AnyValue, KeyValue, any_value};
use raw::{Answer, Socket, bare, full, post, request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use support::authority::Authority;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::pages::{block, replaced};
use support::process::{Ending, Guarded};
use support::resources::{Space, group};
use support::supervisor::Supervisor;
use support::{eventually, tool, within};

const FIRST: &str = "first-0123456789abcdef0123456789abcdef";
const SECOND: &str = "second-0123456789abcdef0123456789abcdef";
const SHORT: &str = "short-0123456789";

fn secret(name: &str, kind: &str, data: &[(&str, &str)]) -> Value {
    let data: BTreeMap<&str, &str> = data.iter().copied().collect();
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {
            "fleet.opamp.dev/credential": "true", "attr.fleet.opamp.dev/zone": name,
        }},
        "type": kind, "stringData": data,
    })
}

fn tokens(name: &str, data: &[(&str, &str)]) -> Value {
    secret(name, "fleet.opamp.dev/agent-token", data)
}

/// A group of the agents whose credential gives them this zone.
fn zone(name: &str) -> Value {
    json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "CollectorGroup", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"zone": name}}, "requireVerified": ["zone"]},
    })
}

/// The full state of an agent that says it is of this zone.
fn claiming(uid: [u8; 16], zone: &str) -> AgentToServer {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(zone.to_owned())) });
    let pair = KeyValue { key: "zone".to_owned(), value };
    let described = AgentDescription { identifying_attributes: vec![pair], ..Default::default() };
    AgentToServer { agent_description: Some(described), ..full(uid, 0) }
}

async fn poll(server: SocketAddr, token: &str, message: &AgentToServer) -> Answer {
    let mut polled = post(message);
    if !token.is_empty() {
        polled.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    }
    request(server, polled).await
}

/// Waits until a poll with this token is answered so.
async fn until_answered(server: SocketAddr, token: &str, uid: [u8; 16], status: u16) -> Answer {
    eventually(format!("status {status}"), async || {
        Some(poll(server, token, &full(uid, 0)).await).filter(|answer| answer.status == status)
    })
    .await
}

fn address(operator: &Operator) -> SocketAddr {
    operator.opamp.parse().expect("an address")
}

fn gives_new_uid(answer: &Answer) -> bool {
    answer.message().agent_identification.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_secrets_open_the_door_until_they_are_taken_away() {
    let plane = ControlPlane::start().await;
    let own = Space::new(&plane, "own").await;
    let (edge, other) = (Space::new(&plane, "edge").await, Space::new(&plane, "other").await);
    let mut operator = Operator::start_guarded(&plane, &own.name, &[]).await;
    let server = address(&operator);
    // Nobody is told that a token is wrong before the Secrets are known.
    until_answered(server, FIRST, [1; 16], 401).await;
    assert_eq!(poll(server, "", &full([1; 16], 0)).await.status, 401);

    edge.apply(tokens("plant", &[("a", FIRST), ("b", SECOND), ("bad", SHORT)])).await;
    edge.apply(zone("plant")).await;
    edge.apply(zone("office")).await;
    until_answered(server, FIRST, [9; 16], 200).await;
    assert_eq!(poll(server, SHORT, &full([1; 16], 0)).await.status, 401);

    // The credential gives the namespace and the zone, whatever the agent says.
    let mut socket = Socket::open_with(server, &format!("Bearer {FIRST}")).await;
    assert!(socket.ask(&claiming([1; 16], "office")).await.error_response.is_none());
    let of_zone = |group: &CollectorGroup| group.status.as_ref().map(|status| status.agents.connected);
    edge.until::<CollectorGroup>("plant", "with both agents", |group| of_zone(group) == Some(2)).await;
    let office = edge.until::<CollectorGroup>("office", "known", |group| of_zone(group).is_some()).await;
    assert_eq!(of_zone(&office), Some(0));

    // The uid is the Secret's: another key of it may take over, another Secret may not, also after a restart.
    edge.apply(tokens("office", &[("a", &FIRST.replace("first", "third"))])).await;
    let third = FIRST.replace("first", "third");
    let stranger = until_answered(server, &third, [1; 16], 200).await;
    assert!(gives_new_uid(&stranger));
    assert!(!gives_new_uid(&poll(server, SECOND, &full([9; 16], 1)).await));
    // The same text elsewhere is not accepted there: it would be a way to take agents over.
    other.apply(tokens("copy", &[("a", SECOND)])).await;
    eventually("the copy to be told of", async || {
        operator.log().contains("\\\"a\\\" of Secret other/copy is not accepted").then_some(())
    })
    .await;
    assert!(!gives_new_uid(&poll(server, SECOND, &full([9; 16], 2)).await));

    // A data key is removed: its sockets are closed and its polls refused, those of the other key go on.
    let mut second = Socket::open_with(server, &format!("Bearer {SECOND}")).await;
    second.ask(&full([2; 16], 0)).await;
    let secrets: Api<Secret> = edge.api();
    secrets.delete("plant", &DeleteParams::default()).await.expect("deleted");
    assert_eq!((socket.closed().await, second.closed().await), (Some(1008), Some(1008)));
    assert_eq!(poll(server, FIRST, &full([9; 16], 3)).await.status, 401);
    edge.apply(tokens("plant", &[("b", SECOND)])).await;
    // The copy is the older one by now.
    until_answered(server, SECOND, [7; 16], 200).await;
    other.delete::<Secret>("copy").await;
    eventually("the token to be the Secret's of namespace edge again", async || {
        (!gives_new_uid(&poll(server, SECOND, &full([9; 16], 4)).await)).then_some(())
    })
    .await;
    assert_eq!(poll(server, FIRST, &full([9; 16], 5)).await.status, 401);
    edge.until::<CollectorGroup>("plant", "with one agent", |group| of_zone(group) >= Some(1)).await;

    let log = operator.log();
    operator.end();
    let restarted = Operator::start_guarded(&plane, &own.name, &[]).await;
    let server = address(&restarted);
    until_answered(server, &third, [0xaa; 16], 200).await;
    assert!(gives_new_uid(&poll(server, &third, &full([9; 16], 0)).await));
    assert!(!gives_new_uid(&poll(server, SECOND, &full([9; 16], 6)).await));

    let told = log.contains("\\\"bad\\\" of Secret edge/plant is not accepted: it has 16 characters");
    assert!(told, "the short token is told of: {log}");
    for text in [FIRST, SECOND, SHORT, &third] {
        assert!(!log.contains(text) && !restarted.log().contains(text), "a token is in the log");
    }
}

/// Service accounts with these names.
async fn accounts(space: &Space, names: &[&str]) -> Api<ServiceAccount> {
    let accounts: Api<ServiceAccount> = space.api();
    for name in names {
        let account = json!({"metadata": {"name": name}});
        let account = serde_json::from_value(account).expect("an account");
        accounts.create(&PostParams::default(), &account).await.expect("created");
    }
    accounts
}

/// A token of an account, for this audience.
async fn token_for(accounts: &Api<ServiceAccount>, account: &str, audience: &str) -> String {
    let spec = TokenRequestSpec {
        audiences: Some(vec![audience.to_owned()]),
        expiration_seconds: Some(600),
        ..TokenRequestSpec::default()
    };
    let wanted = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = accounts.create_token_request(account, &PostParams::default(), &wanted).await;
    made.expect("a token").status.and_then(|status| status.token).expect("a token")
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_a_service_account_opens_the_door_if_it_was_made_for_it() {
    let plane = ControlPlane::start().await;
    let (own, edge) = (Space::new(&plane, "own").await, Space::new(&plane, "edge").await);
    let accounts = accounts(&edge, &["agent", "other"]).await;
    let token = async |account: &str, audience: &str| token_for(&accounts, account, audience).await;
    let operator = Operator::start_guarded(&plane, &own.name, &["--agent-auth=serviceaccount"]).await;
    let server = address(&operator);
    let good = token("agent", AUDIENCE).await;
    edge.apply(json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "CollectorGroup", "metadata": {"name": "all"}, "spec": {},
    }))
    .await;
    assert_eq!(poll(server, &good, &full([1; 16], 0)).await.status, 200);
    assert!(
        !gives_new_uid(&poll(server, &token("agent", AUDIENCE).await, &full([1; 16], 1)).await),
        "rotated"
    );
    assert!(gives_new_uid(&poll(server, &token("other", AUDIENCE).await, &full([1; 16], 2)).await));
    let mut socket = Socket::open_with(server, &format!("Bearer {good}")).await;
    assert!(socket.ask(&bare([1; 16], 3)).await.error_response.is_none());
    edge.group_has("all", 1).await;
    // For the API server itself, forged, and from a Secret though only accounts are let in.
    let foreign = token("agent", "https://kubernetes.default.svc").await;
    let (head, signature) = good.rsplit_once('.').expect("a signature");
    let reversed: String = signature.chars().rev().collect();
    edge.apply(tokens("plant", &[("a", FIRST)])).await;
    for bad in [foreign.as_str(), &format!("{head}.{reversed}"), FIRST] {
        assert_eq!(poll(server, bad, &full([3; 16], 0)).await.status, 401);
    }
    assert!(![&good, &foreign].into_iter().any(|token| operator.log().contains(token.as_str())));
}

/// The value of a metric, if it is not 0.
async fn metric(operator: &Operator, name: &str) -> Option<u64> {
    let text = operator.get("/metrics").await?.1;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.parse().ok().filter(|value| *value > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_agents_prove_who_they_are_over_tls_as_the_page_shows() {
    let plane = ControlPlane::start().await;
    let (own, edge) = (Space::new(&plane, "own").await, Space::new(&plane, "edge").await);
    let authority = Authority::new(&plane.dir().join("tls"));
    let (certificate, key) = authority.sign("door", &["127.0.0.2"]);
    let flags = [format!("--tls-cert={certificate}"), format!("--tls-key={key}")];
    let operator = Operator::start_guarded(&plane, &own.name, &[&flags[0], &flags[1]]).await;
    edge.apply(tokens("plant", &[("a", FIRST)])).await;
    edge.apply(secret("certified", "fleet.opamp.dev/agent-ca", &[("ca.crt", &authority.pem)])).await;
    edge.apply(zone("plant")).await;
    edge.apply(zone("certified")).await;

    let (client, client_key) = authority.sign("agent", &["agent-1"]);
    let (trust, file) = (authority.path("ca.crt"), authority.path("token"));
    let places = [("opamp.example.org:4320", &*operator.opamp), ("/etc/opamp/ca.crt", &*trust)];
    let shown = |what: &str, more: &[(&str, &str)]| {
        let shown = block("security.md", &format!("# not a resource: {what}"));
        replaced(&shown, &[&places, more].concat())
    };
    let server = |what: &str, more: &[(&str, &str)]| {
        let shown = shown(&format!("supervisor.yaml with {what}"), more);
        let shown: Value = serde_saphyr::from_str(&shown).expect("YAML");
        shown["server"].clone()
    };
    let token = "5f0c6c0d7e1f4a3b9a8d2e4c6b1a0f9e5d7c3b2a1908f7e6d5c4b3a291807f6e";
    let by_token = server("a token", &[(token, FIRST)]);
    // The whole file of the example; tests/examples.rs compares it with the page.
    let (storage, collector) = (plane.dir().join("by-certificate"), tool("otelcol"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (kept, program) = (text(&storage), text(&collector));
    let files = [
        ("/etc/opamp/agent.crt", &*client),
        ("/etc/opamp/agent.key", &*client_key),
        ("/var/lib/otelcol/supervisor", &*kept),
        ("/usr/local/bin/otelcol", &*program),
    ];
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/edge/hosts/supervisor-mtls.yaml");
    let example = std::fs::read_to_string(example).expect("supervisor-mtls.yaml");
    let by_certificate = replaced(&example, &[&places, &files[..]].concat());
    let mounted = ("/var/run/secrets/opamp/token", &*file);
    let by_account = server("a service account's token", &[mounted]);
    let script = replaced(&block("security.md", "#!/bin/sh"), &[mounted, ("sleep 10", "sleep 0.2")]);
    let accounts = accounts(&edge, &["agent"]).await;
    std::fs::write(&file, token_for(&accounts, "agent", AUDIENCE).await).expect("written");
    let _first = Supervisor::start_with(plane.dir(), "by-token", &by_token, &[]);
    let _second = Supervisor::start_from(&by_certificate, &[], plane.dir(), "by-certificate", storage);
    let third = Supervisor::start_by(&script, plane.dir(), "by-account", &by_account, &[("test", "account")]);
    let alone = plane.dir().join("alone.yaml");
    std::fs::write(&alone, shown("a Collector without a supervisor", &[(token, FIRST)])).expect("written");
    let alone = format!("--config={}", alone.display());
    // Else every Collector wants port 8888.
    let args = [alone.as_str(), "--set=service::telemetry::metrics::level=none"];
    let _fourth = Guarded::spawn(&tool("otelcol"), &args, &plane.dir().join("alone.log"), Ending::Interrupt);
    edge.apply(group("account", "account")).await;
    edge.group_has("plant", 2).await;
    edge.group_has("certified", 1).await;
    edge.group_has("account", 1).await;

    // Another token of the account: the supervisor is started anew, and comes back with it.
    let connections = |log: &str| log.matches("Connected to the server").count();
    let before = connections(&third.log());
    std::fs::write(&file, token_for(&accounts, "agent", AUDIENCE).await).expect("written");
    eventually("the supervisor to come back", async || (connections(&third.log()) > before).then_some(()))
        .await;
    edge.group_has("account", 1).await;

    // Another certificate is taken and no session ends; a key that is not the certificate's is not taken.
    let sockets = "opamp_websocket_active_connections";
    let closed = "opamp_websocket_closed_total{reason=\"revoked\"}";
    authority.sign("door", &["127.0.0.2"]);
    let reloads = async |result: &str| {
        let name = format!("opamp_certificate_reloads_total{{result=\"{result}\"}}");
        eventually(format!("files that are {result}"), async || metric(&operator, &name).await).await
    };
    reloads("ok").await;
    authority.write("door", &std::fs::read_to_string(&client).expect("a file"), "no key");
    reloads("refused").await;
    assert!(operator.log().contains("changed certificate files are not taken"), "{}", operator.log());
    assert_eq!(metric(&operator, sockets).await, Some(4));

    // Without its authority the certificate is nobody's.
    edge.delete::<Secret>("certified").await;
    eventually("the socket to be closed", async || metric(&operator, closed).await).await;
    edge.group_has("certified", 0).await;
    edge.group_has("plant", 2).await;
    assert!(!operator.log().contains(FIRST));
}
