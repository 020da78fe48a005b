//! A server under test, with fleets that it serves.

use super::within;
use opamp_operator::api::AttributeSelector;
use opamp_operator::config::{ConfigFile, ConfigHash, Desired};
use opamp_operator::fleet::{
    Agent, AgentKey, Delays, GroupView, InstanceUid, Payload, Revision, Roster, View,
};
use opamp_operator::opamp::credentials::{Anybody, Credentials};
use opamp_operator::opamp::tls::Identity;
use opamp_operator::opamp::{Hub, Limits, Metrics, PATH, encode_files, serve};
use opamp_operator::sim::{self, Behaviour, Endpoint, Pace, Profile, Simulated};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// The namespace of all agents.
pub const NAMESPACE: &str = "default";

/// A server on a port of its own.
pub struct Server {
    pub address: SocketAddr,
    pub hub: Arc<Hub>,
    registry: Registry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// A server that assigns nothing yet.
    pub async fn start(limits: Limits) -> Self {
        Self::guarded(limits, Arc::new(Anybody::new(NAMESPACE))).await
    }

    /// A server that asks these credentials.
    pub async fn guarded(limits: Limits, credentials: Arc<dyn Credentials>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"), limits, credentials, None)
    }

    /// The same, over TLS.
    pub async fn behind_tls(
        limits: Limits,
        credentials: Arc<dyn Credentials>,
        identity: watch::Receiver<Arc<Identity>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, limits, credentials, Some(identity))
    }

    /// A server in the place of one that has stopped.
    pub async fn at(address: SocketAddr) -> Self {
        Self::on(
            TcpListener::bind(address).await.expect("the port"),
            Limits::default(),
            Arc::new(Anybody::new(NAMESPACE)),
            None,
        )
    }

    fn on(
        listener: TcpListener,
        limits: Limits,
        credentials: Arc<dyn Credentials>,
        identity: Option<watch::Receiver<Arc<Identity>>>,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let delays = Delays {
            urgent: Duration::from_secs(1),
            slow: Duration::from_secs(10),
            assumed_interval: Duration::from_secs(30),
        };
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let hub = Hub::new(Roster::new("replica", delays), metrics);
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let task = tokio::spawn(serve(listener, hub.clone(), credentials, identity, limits, shutdown));
        Self { address, hub, registry, stop, task }
    }

    /// A server with the limits of production.
    pub async fn new() -> Self {
        Self::start(Limits::default()).await
    }

    /// The endpoint for agents of this transport: `ws` or `http`.
    pub fn endpoint(&self, scheme: &str) -> Endpoint {
        format!("{scheme}://{}{PATH}", self.address).parse().expect("an endpoint")
    }

    /// Starts a simulated agent.
    pub fn agent(&self, scheme: &str, profile: Profile, behaviour: Behaviour) -> Simulated {
        sim::spawn(sim::Agent::new(profile, behaviour), self.endpoint(scheme), pace())
    }

    /// Assigns a revision to each agent, by the selector of its group. The revision before becomes stable.
    pub fn assign(&self, groups: impl IntoIterator<Item = GroupView>) {
        self.hub.set_view(Arc::new(View::new(groups.into_iter().map(|group| (NAMESPACE.into(), group)))));
    }

    /// What the server knows of an agent.
    pub fn known(&self, uid: [u8; 16]) -> Option<Agent> {
        let key = AgentKey { namespace: NAMESPACE.into(), uid: InstanceUid::new(uid) };
        self.hub.with_roster(|roster| roster.agent(&key).cloned())
    }

    /// Waits until the server knows something of an agent. Every change of it is an edge or comes with a message
    /// that has already been answered, so looking again often enough is all that is left.
    pub async fn until(&self, what: &str, uid: [u8; 16], condition: impl Fn(&Agent) -> bool) -> Agent {
        within(what, async {
            loop {
                if let Some(agent) = self.known(uid).filter(|agent| condition(agent)) {
                    return agent;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// The value of a metric, with its labels as they are written. Whatever can be counted is there from the start.
    pub fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
    }

    /// Tells the server to stop; it is done when the result resolves.
    pub fn stop(self) -> JoinHandle<()> {
        let _ = self.stop.send(());
        self.task
    }
}

/// The times of agents in tests: quick, but for heartbeats, which would hide what is not pushed.
pub fn pace() -> Pace {
    Pace {
        heartbeat: Duration::from_hours(1),
        apply_delay: Duration::from_millis(1),
        first_backoff: Duration::from_millis(10),
        last_backoff: Duration::from_millis(100),
        ..Pace::default()
    }
}

/// A uid that ends in this number.
pub fn uid(number: u8) -> [u8; 16] {
    let mut uid = [0x10; 16];
    uid[15] = number;
    uid
}

/// The files of a revision, some of which no text editor made.
pub fn files(revision: u8) -> Vec<ConfigFile> {
    vec![
        ConfigFile::new("collector.yaml", "text/yaml", format!("revision: {revision}\n").into_bytes()),
        ConfigFile::new("", "", [0xff, 0x00, revision, b'\r', b'\n']),
    ]
}

/// A revision with [`files`].
pub fn revision(number: u8) -> Arc<Revision> {
    revision_of(number, &files(number))
}

/// A revision with these files.
pub fn revision_of(number: u8, files: &[ConfigFile]) -> Arc<Revision> {
    let hash = ConfigHash::from_bytes([number; 32]);
    let payload = Payload { files: encode_files(files).expect("files"), ..Payload::default() };
    Arc::new(Revision {
        name: format!("r-{number}").into(),
        hash,
        payload,
        desired: Desired::collector(files),
        needs: None,
        secrets: Box::default(),
    })
}

/// A group of all agents, all of which are to run `target`, else `stable`.
pub fn group(target: Option<Arc<Revision>>, stable: Option<Arc<Revision>>) -> GroupView {
    GroupView::of_all("all", target, stable)
}

/// A group of the agents with this attribute.
pub fn group_of(name: &str, key: &str, value: &str, target: Arc<Revision>) -> GroupView {
    let match_labels = [(key.to_owned(), value.to_owned())].into();
    let selector = AttributeSelector { match_labels, ..AttributeSelector::default() };
    GroupView { name: name.into(), selector, ..group(Some(target), None) }
}
