//! Behind a real nginx, with the configurations of docs/exposing.md: both transports, one replica for an agent or any,
//! TLS ended or passed through; and independent clients with each kind of credential, by those ways and directly.

#[path = "opamp_endpoint/server.rs"]
#[allow(dead_code, reason = "the endpoint's tests use all of it")]
mod server;
mod support;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use opamp_operator::api::{ConfigRevision, RolloutState};
use opamp_operator::cluster::AUDIENCE;
use opamp_operator::opamp::Limits;
use opamp_operator::opamp::credentials::Anybody;
use opamp_operator::opamp::tls::Identity;
use opamp_operator::sim::{self, Access, Behaviour, Endpoint, Pace, Profile, Simulated};
use serde_json::{Value, json};
use server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::authority::Authority;
use support::control_plane::ControlPlane;
use support::https::Https;
use support::nginx::Nginx;
use support::operator::Operator;
use support::pages::{block, replaced};
use support::process::free_port;
use support::resources::{Space, collector, group, inline, rollout};
use support::witness::{Client, Witness};
use support::{eventually, within};
use tokio::sync::watch;

const TOKEN: &str = "plant-0123456789abcdef0123456789abcdef";
/// The name that the pages show for the agents' port.
const NAME: &str = "opamp.example.org";
/// The first lines of the pages' configurations.
const ENDED: &str = "# /etc/nginx/conf.d/opamp.conf";
const PASSED: &str = "# /etc/nginx/modules-enabled/opamp.conf";
/// What keeps the polls of an agent at one replica.
const STICKY: &str = "    hash $opamp_agent consistent;\n";

/// The page's configuration that ends TLS, listening here, in front of these operators.
fn ended(port: u16, upstream: [&str; 2], authority: &Authority) -> String {
    let (own, key) = authority.sign("proxy", &["127.0.0.1"]);
    replaced(
        &block("exposing.md", ENDED),
        &[
            ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
            ("10.0.0.11:4320", upstream[0]),
            ("10.0.0.12:4320", upstream[1]),
            ("/etc/nginx/opamp/tls.crt", &own),
            ("/etc/nginx/opamp/tls.key", &key),
            ("/etc/nginx/opamp/ca.crt", &authority.path("ca.crt")),
        ],
    )
}

/// The page's configuration that passes TLS through.
fn passed_through(port: u16, upstream: [&str; 2]) -> String {
    replaced(
        &block("exposing.md", PASSED),
        &[
            ("listen 4320", &format!("listen 127.0.0.1:{port}")),
            ("10.0.0.11:4320", upstream[0]),
            ("10.0.0.12:4320", upstream[1]),
        ],
    )
}

/// The same configuration without what keeps an agent at one replica; its names must not be those of the other.
fn spread(ended: &str) -> String {
    let names =
        [(STICKY, ""), ("opamp_", "any_"), ("upstream opamp", "upstream any"), ("://opamp;", "://any;")];
    replaced(ended, &names)
}

fn secret(name: &str, kind: &str, key: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {"fleet.opamp.dev/credential": "true"}},
        "type": kind, "stringData": {key: value},
    })
}

/// A token of the service account `agent`, which is made for it.
async fn account_token(space: &Space) -> String {
    let accounts: Api<ServiceAccount> = space.api();
    let account = serde_json::from_value(json!({"metadata": {"name": "agent"}})).expect("an account");
    accounts.create(&PostParams::default(), &account).await.expect("created");
    let spec = TokenRequestSpec {
        audiences: Some(vec![AUDIENCE.to_owned()]),
        expiration_seconds: Some(600),
        ..TokenRequestSpec::default()
    };
    let wanted = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = accounts.create_token_request("agent", &PostParams::default(), &wanted).await;
    made.expect("a token").status.and_then(|status| status.token).expect("a token")
}

/// Where agents of the table connect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Door {
    /// The operator itself.
    Operator,
    /// nginx ends TLS, and keeps polls at one replica.
    Sticky,
    /// nginx ends TLS, and gives each request to the next replica.
    Spread,
    /// nginx passes TLS through.
    Passed,
}

/// How they are let in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum By {
    Token,
    Account,
    /// A certificate of an authority in a Secret.
    Certificate,
    /// A certificate with a SPIFFE ID, of the authority of `--client-ca`.
    Spiffe,
}

/// The table: which client, over which transport, by which ways and credentials. No certificate gets past a proxy
/// that ends TLS. The clients for Node.js and Python poll only.
const AGENTS: [(Client, &str, &[(Door, By)]); 4] = [
    (
        Client::Go,
        "wss",
        &[
            (Door::Operator, By::Token),
            (Door::Operator, By::Account),
            (Door::Operator, By::Certificate),
            (Door::Operator, By::Spiffe),
            (Door::Sticky, By::Token),
            (Door::Spread, By::Account),
            (Door::Passed, By::Certificate),
        ],
    ),
    (
        Client::Go,
        "https",
        &[
            (Door::Operator, By::Token),
            (Door::Operator, By::Account),
            (Door::Operator, By::Certificate),
            (Door::Operator, By::Spiffe),
            (Door::Sticky, By::Account),
            (Door::Spread, By::Token),
            (Door::Passed, By::Spiffe),
        ],
    ),
    (
        Client::Node,
        "https",
        &[
            (Door::Operator, By::Token),
            (Door::Operator, By::Account),
            (Door::Operator, By::Certificate),
            (Door::Sticky, By::Token),
            (Door::Passed, By::Spiffe),
        ],
    ),
    (
        Client::Python,
        "https",
        &[
            (Door::Operator, By::Token),
            (Door::Operator, By::Account),
            (Door::Operator, By::Certificate),
            (Door::Spread, By::Token),
            (Door::Passed, By::Spiffe),
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_every_kind_come_in_by_each_credential_directly_and_through_nginx() {
    let plane = ControlPlane::start().await;
    let (own, edge) = (Space::new(&plane, "own").await, Space::new(&plane, "edge").await);
    let ours = Authority::new(&plane.dir().join("ours"));
    let (agents, workloads) =
        (Authority::new(&plane.dir().join("agents")), Authority::new(&plane.dir().join("workloads")));
    let (certificate, key) = ours.sign("door", &[NAME, "127.0.0.1", "127.0.0.2"]);
    let flags = [
        format!("--tls-cert={certificate}"),
        format!("--tls-key={key}"),
        format!("--client-ca={}", workloads.path("ca.crt")),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let operator = Operator::start_guarded(&plane, &own.name, &flags).await;
    let other = [&flags[..], &["--identity=replica-2"]].concat();
    let other = Operator::start_guarded(&plane, &own.name, &other).await;
    edge.apply(secret("plant", "fleet.opamp.dev/agent-token", "a", TOKEN)).await;
    edge.apply(secret("certified", "fleet.opamp.dev/agent-ca", "ca.crt", &agents.pem)).await;
    let account = account_token(&edge).await;

    let [sticky, spreading, passing] = [free_port(), free_port(), free_port()];
    let upstream = [operator.opamp.as_str(), other.opamp.as_str()];
    let http = [ended(sticky, upstream, &ours), spread(&ended(spreading, upstream, &ours))];
    let stream = passed_through(passing, upstream);
    let nginx = Nginx::start(plane.dir(), "nginx", &http, &stream, &[sticky, spreading, passing]).await;

    let trust = ours.path("ca.crt");
    // Signed once: a client may be reading the file.
    let certified = agents.sign("agent", &["agent-1"]);
    let workload = workloads.sign_spiffe("agent", "spiffe://example.org/ns/edge/sa/agent");
    let shown = |by| -> Vec<String> {
        let header = |token: &str| vec!["--header".to_owned(), format!("Authorization=Bearer {token}")];
        let pair = |(certificate, key): &(String, String)| {
            vec!["--cert".to_owned(), certificate.clone(), "--key".to_owned(), key.clone()]
        };
        match by {
            By::Token => header(TOKEN),
            By::Account => header(&account),
            By::Certificate => pair(&certified),
            By::Spiffe => pair(&workload),
        }
    };
    let address = |door| match door {
        Door::Operator => operator.opamp.clone(),
        Door::Sticky => format!("127.0.0.1:{sticky}"),
        Door::Spread => format!("127.0.0.1:{spreading}"),
        Door::Passed => format!("127.0.0.1:{passing}"),
    };
    // Nobody is refused because the Secrets have not been read yet: some clients would come back much later.
    let direct = Https::new(&operator.opamp, &ours.pem);
    eventually("the token to be known", async || (direct.poll(TOKEN, [9; 16]).await == 200).then_some(()))
        .await;
    let mut witnesses = BTreeMap::new();
    for (client, scheme, ways) in AGENTS {
        for &(door, by) in ways {
            let name = format!("{client:?}-{scheme}-{door:?}-{by:?}");
            let endpoint = format!("{scheme}://{}/v1/opamp", address(door));
            let mut more = shown(by);
            more.extend(["--ca".to_owned(), trust.clone()]);
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let witness = Witness::start_with(client, plane.dir(), &name, &endpoint, &more, "exposed");
            witnesses.insert(name, witness);
        }
    }
    for (name, witness) in &witnesses {
        eventually(format!("{name} to connect"), async || {
            let connected = witness.events().iter().any(|event| event["event"] == "connected");
            assert!(connected || !witness.has_failed(), "{name}: {}", witness.output());
            connected.then_some(())
        })
        .await;
    }
    let all = i64::try_from(witnesses.len()).expect("a few");
    edge.apply(group("all", "exposed")).await;
    edge.group_has("all", all).await;

    edge.apply(rollout("r", "all", inline(&collector("one")))).await;
    let done = edge.rollout_is("r", RolloutState::Completed).await;
    assert_eq!(done.status.map(|status| status.progress), Some(format!("{all}/{all}")));
    let hash = edge.api::<ConfigRevision>().get("r-1").await.expect("the revision").spec.hash;
    for (name, witness) in &witnesses {
        let offers: Vec<String> = witness.offers().into_iter().map(|(hash, _)| hash).collect();
        assert_eq!(offers, [hash.as_str()], "{name} was offered it once: {}", witness.output());
        let renamed = witness.events().into_iter().any(|event| event["event"] == "uid");
        assert!(!renamed, "{name} keeps its uid: {}", witness.output());
    }
    assert!(!operator.log().contains(TOKEN) && !operator.log().contains(&account));

    // One replica for each agent that polls through the one, both through the other.
    let replicas = |port: u16| {
        let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for passed in nginx.passed().into_iter().filter(|passed| passed.port == port) {
            of.entry(passed.uid.unwrap_or_default()).or_default().insert(passed.upstream);
        }
        of.into_values().map(|upstream| upstream.len()).collect::<Vec<_>>()
    };
    assert_eq!(replicas(sticky), [1, 1], "without a name, and the client that sends it");
    assert_eq!(replicas(spreading), [2, 2]);

    // Agents behind one proxy have its address. Whoever guesses there locks nobody out.
    let through = Https::new(&format!("127.0.0.1:{sticky}"), &ours.pem);
    for attempt in 1..=60 {
        assert_eq!(through.poll("wrong", [8; 16]).await, 401, "attempt {attempt}");
    }
    eventually("the address to be told to wait", async || {
        (through.poll("wrong", [8; 16]).await == 429).then_some(())
    })
    .await;
    assert_eq!(through.poll(TOKEN, [9; 16]).await, 200);
    assert_eq!(through.poll(&account, [7; 16]).await, 200, "it was accepted before");
    drop(other);
}

/// A server that pings sockets that were silent for so long, over TLS.
async fn pinging(ping_interval: Duration, authority: &Authority) -> Server {
    let read = |path| std::fs::read(path).expect("a file");
    let (certificate, key) = authority.sign("door", &[NAME]);
    let identity = Identity::new(&read(certificate), &read(key), true).expect("an identity");
    let (_, identity) = watch::channel(Arc::new(identity));
    let limits = Limits { ping_interval, ..Limits::default() };
    Server::behind_tls(limits, Arc::new(Anybody::new(server::NAMESPACE)), identity).await
}

/// An agent with nothing to say, behind an nginx of its own that waits for two seconds where the page has sixty.
async fn silent(dir: &Path, name: &str, server: &Server, authority: &Authority) -> (Nginx, Simulated) {
    let (port, address) = (free_port(), server.address.to_string());
    let proxy = ended(port, [&address, &address], authority);
    let proxy = replaced(&proxy, &[("proxy_read_timeout 60s", "proxy_read_timeout 2s")]);
    let nginx = Nginx::start(dir, name, &[proxy], "", &[port]).await;
    let access = Access::default().over_tls(authority.pem.as_bytes(), None).expect("an authority");
    let endpoint: Endpoint = format!("wss://127.0.0.1:{port}/v1/opamp").parse().expect("an endpoint");
    let agent = sim::Agent::new(Profile::new([1; 16]), Behaviour::Apply);
    (
        nginx,
        sim::spawn(
            agent,
            endpoint.with(access),
            Pace { first_backoff: Duration::from_millis(10), ..server::pace() },
        ),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_keep_a_silent_socket_open_that_a_proxy_would_close() {
    let usual = Duration::from_secs(60);
    let (ping, scale) = (Limits::default().ping_interval, 30);
    assert!(ping * 2 <= usual);
    let dir = tempfile::Builder::new().prefix("fleet-").tempdir_in("/tmp").expect("a folder");
    let authority = Authority::new(&dir.path().join("tls"));
    let (quiet, quick) = (pinging(usual, &authority).await, pinging(ping / scale, &authority).await);
    let (_one, mut cut) = silent(dir.path(), "cut", &quiet, &authority).await;
    let (_two, mut kept) = silent(dir.path(), "kept", &quick, &authority).await;
    within("the pinged agent", kept.until(|journal| journal.connected)).await;
    let connected = kept.journal().connections;
    // Each connection of the other takes as long as the proxy waits.
    within("the proxy to cut the other off twice", cut.until(|journal| journal.connections >= 3)).await;
    let journal = kept.journal();
    assert!(journal.connected);
    assert_eq!((connected, journal.connections), (1, 1));
}
