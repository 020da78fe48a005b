//! Settings of connections: offered when it is an agent's turn, once, complete, and only to agents that take them.

use super::gate::Tokens;
use super::raw::{Answer, Socket, TAKES_CONFIG, bare, full, post, request};
use super::server::{NAMESPACE, Server, group, revision, uid};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use opamp_operator::api::TelemetryStatus;
use opamp_operator::config::ConfigHash;
use opamp_operator::fleet::{
    self, Destination, GroupView, Rank, Successor, Telemetry, TelemetryView, TokenName,
};
use opamp_operator::opamp::proto::{
    AgentToServer, ConnectionSettingsOffers, ConnectionSettingsStatus, ConnectionSettingsStatuses,
    ServerToAgent,
};
use opamp_operator::opamp::{Limits, Way, encode_telemetry};
use std::sync::Arc;
use std::time::Duration;

const TAKES_SETTINGS: u64 = TAKES_CONFIG | 0x100;
/// What the server says if it may offer settings.
const OFFERS_SETTINGS: u64 = 0x20;
const HASH: [u8; 32] = [0xa; 32];
const OTHER_HASH: [u8; 32] = [0xb; 32];

/// A server that knows two tokens of one Secret, `old` and `new`, and is to move its agents to `new`.
async fn server() -> Server {
    let tokens = Arc::new(Tokens::default());
    for token in ["old", "new"] {
        tokens.give_key(token, "default/edge", token);
    }
    let server = Server::guarded(Limits::default(), tokens).await;
    server.assign([]);
    wants_new(&server, HASH);
    server
}

/// All agents are to use `new`, with settings of this hash.
fn wants_new(server: &Server, hash: [u8; 32]) {
    let way = Way {
        endpoint: "wss://opamp.example.org/v1/opamp".to_owned(),
        authority: Some("PEM".to_owned()),
        heartbeat: Duration::from_secs(30),
    };
    let payload = way.with_token("new");
    let successor = Successor { key: "new".into(), hash: ConfigHash::from_bytes(hash), payload };
    let mark = Tokens::holder("default/edge", "new").mark().expect("a mark");
    let known = ["old", "new"].map(|key| TokenName { secret: "edge".into(), key: key.into() });
    server.hub.set_tokens(fleet::Tokens {
        known: known.into_iter().map(|token| (NAMESPACE.into(), token)).collect(),
        successors: [(mark, successor)].into(),
    });
}

/// As much time passes as it takes to choose whose turn it is.
fn tick(server: &Server) {
    server.hub.expire(Timestamp::now());
}

fn takes(message: AgentToServer) -> AgentToServer {
    AgentToServer { capabilities: TAKES_SETTINGS, ..message }
}

async fn poll(server: &Server, token: &str, message: &AgentToServer) -> ServerToAgent {
    let mut polled = post(message);
    polled.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    let answer: Answer = request(server.address, polled).await;
    answer.message()
}

async fn socket(server: &Server, token: &str) -> Socket {
    Socket::open_with(server.address, &format!("Bearer {token}")).await
}

fn refused(hash: [u8; 32]) -> ConnectionSettingsStatus {
    ConnectionSettingsStatus {
        last_connection_settings_hash: hash.to_vec(),
        status: ConnectionSettingsStatuses::Failed.into(),
        error_message: "the token is new".to_owned(),
    }
}

fn assert_complete(settings: Option<ConnectionSettingsOffers>, hash: [u8; 32]) {
    let settings = settings.expect("settings");
    assert_eq!(&settings.hash[..], &hash);
    assert!(settings.own_metrics.is_none() && settings.own_traces.is_none() && settings.own_logs.is_none());
    let settings = settings.opamp.expect("settings of the connection to the server");
    assert_eq!(settings.destination_endpoint, "wss://opamp.example.org/v1/opamp");
    let headers = settings.headers.expect("headers").headers;
    assert_eq!(
        headers.iter().map(|header| (&*header.key, &*header.value)).collect::<Vec<_>>(),
        [("Authorization", "Bearer new")]
    );
    assert_eq!(settings.heartbeat_interval_seconds, 30);
    assert_eq!(settings.tls.expect("TLS").ca_pem_contents, "PEM");
    assert_eq!(settings.certificate.expect("an authority").ca_cert, b"PEM");
}

#[tokio::test]
async fn settings_are_pushed_once_over_a_socket_and_come_once_with_an_answer() {
    let server = server().await;
    let mut socket = socket(&server, "old").await;
    let first = socket.ask(&takes(full(uid(1), 0))).await;
    assert!(first.connection_settings.is_none(), "it is not its turn yet");
    assert_eq!(first.capabilities & OFFERS_SETTINGS, OFFERS_SETTINGS);
    tick(&server);
    assert_complete(socket.next().await.connection_settings, HASH);
    for number in 1..4 {
        tick(&server);
        assert!(socket.ask(&takes(bare(uid(1), number))).await.connection_settings.is_none());
    }
    assert_eq!(server.metric("opamp_connection_settings_total{result=\"sent\"}"), 1);

    // The other one is told when the first has come.
    assert!(poll(&server, "old", &takes(full(uid(2), 0))).await.connection_settings.is_none());
    tick(&server);
    assert!(poll(&server, "old", &takes(bare(uid(2), 1))).await.connection_settings.is_none());
    assert!(
        poll(&server, "new", &takes(full(uid(1), 4))).await.agent_identification.is_none(),
        "the same uid"
    );
    tick(&server);
    assert_complete(poll(&server, "old", &takes(bare(uid(2), 2))).await.connection_settings, HASH);
    assert!(poll(&server, "old", &takes(bare(uid(2), 3))).await.connection_settings.is_none());
    tick(&server);
    let agents = |key: &str| {
        server.metric(&format!(
            "opamp_credential_agents{{namespace=\"default\",secret=\"edge\",key=\"{key}\"}}"
        ))
    };
    assert_eq!((agents("old"), agents("new")), (1, 1));
}

#[tokio::test]
async fn agent_that_takes_no_settings_or_has_the_token_is_sent_none() {
    let server = server().await;
    let mut unable = socket(&server, "old").await;
    unable.ask(&full(uid(1), 0)).await;
    let mut moved = socket(&server, "new").await;
    moved.ask(&takes(full(uid(2), 0))).await;
    tick(&server);
    assert!(unable.ask(&bare(uid(1), 1)).await.connection_settings.is_none());
    assert!(moved.ask(&takes(bare(uid(2), 1))).await.connection_settings.is_none());
    assert_eq!(server.metric("opamp_connection_settings_total{result=\"sent\"}"), 0);
}

#[tokio::test]
async fn refused_settings_are_not_repeated_and_others_are_offered() {
    let server = server().await;
    let mut socket = socket(&server, "old").await;
    let refusal = |number, hash| AgentToServer {
        connection_settings_status: Some(refused(hash)),
        ..takes(bare(uid(1), number))
    };
    socket.ask(&takes(full(uid(1), 0))).await;
    tick(&server);
    assert_complete(socket.next().await.connection_settings, HASH);
    assert!(socket.ask(&refusal(1, HASH)).await.connection_settings.is_none());
    tick(&server);
    assert!(socket.ask(&takes(bare(uid(1), 2))).await.connection_settings.is_none());
    wants_new(&server, OTHER_HASH);
    tick(&server);
    assert_complete(socket.next().await.connection_settings, OTHER_HASH);
}

#[tokio::test]
async fn configuration_goes_first_and_settings_alone() {
    let server = server().await;
    let mut socket = socket(&server, "old").await;
    socket.ask(&takes(full(uid(1), 0))).await;
    // Both become due before the socket is served.
    server.hub.with_roster(|roster| roster.expire(Timestamp::now()));
    server.assign([group(None, Some(revision(1)))]);
    let first = socket.next().await;
    assert!(first.remote_config.is_some() && first.connection_settings.is_none());
    let next = socket.ask(&takes(bare(uid(1), 1))).await;
    assert!(next.remote_config.is_none());
    assert_complete(next.connection_settings, HASH);
}

/// A group whose agents send their own metrics to this host.
fn measured(host: &str, hash: [u8; 32]) -> GroupView {
    let endpoint = format!("http://{host}/v1/metrics");
    let metrics = Some(Destination { endpoint, headers: vec![("api-key".to_owned(), "1".to_owned())] });
    let payload = encode_telemetry(&Telemetry { metrics, ..Telemetry::default() });
    let hash = ConfigHash::from_bytes(hash);
    let at = Time(Timestamp::UNIX_EPOCH);
    let status = TelemetryStatus {
        hash: hash.to_string(),
        boundary: Rank::ALL.to_string(),
        began: at.clone(),
        since: at,
    };
    let telemetry = TelemetryView::new(hash, payload, Box::default(), &status).map(Arc::new);
    GroupView { telemetry, ..group(None, None) }
}

#[tokio::test]
async fn own_telemetry_is_offered_with_the_first_answer_and_when_it_changes() {
    let server = Server::new().await;
    server.assign([measured("a", HASH)]);
    let reports = |message| AgentToServer { capabilities: TAKES_CONFIG | 0x40, ..message };
    let offered = |answer: ServerToAgent| {
        let settings = answer.connection_settings?;
        assert!(settings.opamp.is_none() && settings.own_logs.is_none() && settings.own_traces.is_none());
        Some((settings.hash.to_vec(), settings.own_metrics.expect("metrics").destination_endpoint))
    };
    let expected = |host: &str, hash: [u8; 32]| Some((hash.to_vec(), format!("http://{host}/v1/metrics")));
    let mut socket = Socket::open(server.address).await;
    assert_eq!(offered(socket.ask(&reports(full(uid(1), 0))).await), expected("a", HASH));
    let mut unable = Socket::open(server.address).await;
    assert_eq!(offered(unable.ask(&full(uid(2), 0)).await), None);
    server.assign([measured("a", HASH)]);
    assert_eq!(offered(socket.ask(&reports(bare(uid(1), 1))).await), None, "it is not repeated");
    server.assign([measured("b", OTHER_HASH)]);
    assert_eq!(offered(socket.next().await), expected("b", OTHER_HASH), "a change is pushed");
    assert_eq!(offered(socket.ask(&reports(bare(uid(1), 2))).await), None);
    assert_eq!(offered(unable.ask(&bare(uid(2), 1)).await), None);
}

#[tokio::test]
async fn server_says_that_it_offers_settings_and_never_in_an_error() {
    let server = server().await;
    let answer = poll(&server, "old", &takes(full(uid(1), 0))).await;
    assert_eq!(answer.capabilities & OFFERS_SETTINGS, OFFERS_SETTINGS);
    let wrong = AgentToServer { instance_uid: vec![1; 3], ..AgentToServer::default() };
    let error = poll(&server, "old", &wrong).await;
    assert!(error.error_response.is_some());
    assert_eq!(error.capabilities, 0);
}
