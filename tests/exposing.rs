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

/// A client, its transport, and the ways that it takes.
type Row = (Client, &'static str, &'static [(Door, By)]);

/// The table: which client, over which transport, by which ways and credentials. No certificate gets past a proxy
/// that ends TLS. The clients for Node.js and Python poll only.
const AGENTS: [Row; 4] = [
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

/// What agents of the table connect to, and show there.
struct Ways {
    /// The address of each door.
    doors: BTreeMap<Door, String>,
    /// The arguments for each credential. Certificates are signed once: a client may be reading the file.
    shown: BTreeMap<By, Vec<String>>,
    /// The authority of all doors.
    trust: String,
}

impl Ways {
    /// Starts a client of each row, and waits until it has been answered.
    async fn connect_all(&self, dir: &Path) -> BTreeMap<String, Witness> {
        let mut witnesses = BTreeMap::new();
        for (client, scheme, ways) in AGENTS {
            for (door, by) in ways {
                let name = format!("{client:?}-{scheme}-{door:?}-{by:?}");
                let endpoint = format!("{scheme}://{}/v1/opamp", self.doors[door]);
                let shown = self.shown[by].iter().map(String::as_str);
                let more: Vec<&str> = shown.chain(["--ca", &self.trust]).collect();
                let witness = Witness::start_with(client, dir, &name, &endpoint, &more, "exposed");
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
        witnesses
    }
}

fn header(token: &str) -> Vec<String> {
    ["--header", &format!("Authorization=Bearer {token}")].map(str::to_owned).to_vec()
}

fn pair((certificate, key): &(String, String)) -> Vec<String> {
    ["--cert", certificate, "--key", key].map(str::to_owned).to_vec()
}

/// How many replicas had requests of each agent that names itself, and of all others together, at a port of nginx.
fn replicas(nginx: &Nginx, port: u16) -> Vec<usize> {
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for passed in nginx.passed().into_iter().filter(|passed| passed.port == port) {
        of.entry(passed.uid.unwrap_or_default()).or_default().insert(passed.upstream);
    }
    of.into_values().map(|upstream| upstream.len()).collect()
}

/// Each client was offered this content and nothing else, and keeps its uid. One that polls now this replica, now that
/// may be offered it by each of them: the other does not know yet. All others are offered it once.
fn assert_served(witnesses: &BTreeMap<String, Witness>, hash: &str) {
    for (name, witness) in witnesses {
        let offers: Vec<String> = witness.offers().into_iter().map(|(hash, _)| hash).collect();
        let most = if name.contains("https-Spread") { 2 } else { 1 };
        assert!((1..=most).contains(&offers.len()), "{name}: {}", witness.output());
        assert!(offers.iter().all(|offered| offered == hash), "{name}: {}", witness.output());
        let renamed = witness.events().into_iter().any(|event| event["event"] == "uid");
        assert!(!renamed, "{name}: {}", witness.output());
    }
}

/// Agents behind one proxy have its address. Whoever guesses there locks nobody out whose credential is known.
async fn assert_nobody_is_locked_out(proxy: &Https, known: [&str; 2]) {
    // Each replica knows a service account's token from the first time on that it sees it.
    for (uid, token) in (1..).zip(known) {
        assert_eq!(proxy.poll(token, [uid; 16]).await, 200);
    }
    eventually("the address to be told to wait", async || {
        let status = proxy.poll("wrong", [8; 16]).await;
        assert!(matches!(status, 401 | 429), "{status}");
        (status == 429).then_some(())
    })
    .await;
    for (uid, token) in (1..).zip(known) {
        assert_eq!(proxy.poll(token, [uid; 16]).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_every_kind_come_in_by_each_credential_directly_and_through_nginx() {
    let plane = ControlPlane::start().await;
    let (own, edge) = (Space::new(&plane, "own").await, Space::new(&plane, "edge").await);
    let [ours, agents, workloads] =
        ["ours", "agents", "workloads"].map(|name| Authority::new(&plane.dir().join(name)));
    // Its name for nginx that ends TLS, its address, and the proxy's where TLS passes through.
    let (certificate, key) = ours.sign("door", &[NAME, "127.0.0.2", "127.0.0.1"]);
    let flags = [
        format!("--tls-cert={certificate}"),
        format!("--tls-key={key}"),
        format!("--client-ca={}", workloads.path("ca.crt")),
    ];
    let [one, two] = ["--identity=replica-1", "--identity=replica-2"]
        .map(|identity| [&flags.each_ref().map(String::as_str)[..], &[identity]].concat());
    let operator = Operator::start_guarded(&plane, &own.name, &one).await;
    let other = Operator::start_guarded(&plane, &own.name, &two).await;
    let upstream = [operator.opamp.as_str(), other.opamp.as_str()];
    // The token last: once it is known the authority is as well. Some clients that are refused come back much later.
    edge.apply(secret("certified", "fleet.opamp.dev/agent-ca", "ca.crt", &agents.pem)).await;
    edge.apply(secret("plant", "fleet.opamp.dev/agent-token", "a", TOKEN)).await;
    let account = account_token(&edge).await;
    for replica in upstream {
        let direct = Https::new(replica, &ours.pem);
        eventually("the token to be known", async || {
            (direct.poll(TOKEN, [9; 16]).await == 200).then_some(())
        })
        .await;
    }

    let [sticky, spreading, passing] = [free_port(), free_port(), free_port()];
    let http = [ended(sticky, upstream, &ours), spread(&ended(spreading, upstream, &ours))];
    let stream = passed_through(passing, upstream);
    let nginx = Nginx::start(plane.dir(), "nginx", &http, &stream, &[sticky, spreading, passing]).await;
    let at = |port| format!("127.0.0.1:{port}");
    let workload = workloads.sign_spiffe("agent", "spiffe://example.org/ns/edge/sa/agent");
    let ways = Ways {
        doors: BTreeMap::from([
            (Door::Operator, operator.opamp.clone()),
            (Door::Sticky, at(sticky)),
            (Door::Spread, at(spreading)),
            (Door::Passed, at(passing)),
        ]),
        shown: BTreeMap::from([
            (By::Token, header(TOKEN)),
            (By::Account, header(&account)),
            (By::Certificate, pair(&agents.sign("agent", &["agent-1"]))),
            (By::Spiffe, pair(&workload)),
        ]),
        trust: ours.path("ca.crt"),
    };
    let witnesses = ways.connect_all(plane.dir()).await;

    let all = i64::try_from(witnesses.len()).expect("a few");
    edge.apply(group("all", "exposed")).await;
    edge.group_has("all", all).await;
    edge.apply(rollout("r", "all", inline(&collector("one")))).await;
    let done = edge.rollout_is("r", RolloutState::Completed).await;
    assert_eq!(done.status.map(|status| status.progress), Some(format!("{all}/{all}")));
    assert_served(&witnesses, &edge.api::<ConfigRevision>().get("r-1").await.expect("a revision").spec.hash);
    assert_eq!(replicas(&nginx, sticky), [1, 1], "agents that name themselves, and others");
    eventually("both replicas to have requests of agents that name themselves, and of others", async || {
        (replicas(&nginx, spreading) == [2, 2]).then_some(())
    })
    .await;

    let proxy = Https::new(&at(sticky), &ours.pem);
    // More than proxies let through by default.
    assert_eq!(proxy.poll_showing(TOKEN, [9; 16], &vec![b'#'; 2 << 20]).await, 200);
    assert_nobody_is_locked_out(&proxy, [TOKEN, &account]).await;
    for log in [operator.log(), other.log()] {
        assert!(!log.contains(TOKEN) && !log.contains(&account));
    }
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
    let usual = Duration::from_mins(1);
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
