//! Joins everything: the only place that spawns tasks and connects them.

mod admin;
mod certificates;
mod credentials;
mod files;
mod flush;
mod follow;
mod leadership;
mod leases;
mod limits;
mod notifications;
mod offers;
mod readiness;
mod rotation;
mod slices;

use crate::api::ConfigFormat;
use crate::cluster::{self, AgentSecrets, Announcer, Held, RevisionBody, SliceWriter, StartError};
use crate::config::{self, Desired};
use crate::fleet::{self, Delays, Payload, Revision, Roster, View};
use crate::notify::{self, Outbox, Proxies};
use crate::opamp::credentials::Credentials;
use crate::opamp::tls::{self, Identity};
use crate::opamp::{self, Hub};
use crate::settings::{Settings, Timings};
use crate::telemetry::{Lease, Metrics, Overflows};
use certificates::Certificates;
use credentials::Keyring;
use jiff::Timestamp;
use kube::Client;
use notifications::Notifications;
use offers::Reading;
use readiness::{Check, Readiness};
use rotation::{Registered, Rotation};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long the doors may take to close after the drain's period, which is the moment of the last connection: longer
/// than a peer may take to answer its Close frame. One that does not even read is left alone then.
const CLOSING: Duration = Duration::from_secs(6);
/// How long the last writes may take after that. What 10,000 agents leave behind is 40 slices, which take 2 s.
const LAST_WRITES: Duration = Duration::from_secs(8);
/// How long it may take to give the Lease back, whatever was written.
/// All four together fit into the 30 s that Kubernetes gives by default.
const LAST_RELEASE: Duration = Duration::from_secs(2);
/// How long notifications that wait may take at the end, while connections and writes do.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(5);

/// Why the program ends: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {door}: {cause}")]
    Listen {
        /// `opamp` or `admin`.
        door: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A file for TLS cannot be used.
    #[error("cannot use {path} for TLS: {cause}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The cluster is not as it must be.
    #[error(transparent)]
    Start(#[from] StartError),
    /// This replica's own slices cannot be read.
    #[error("cannot read this replica's agent slices: {0}")]
    OwnSlices(kube::Error),
}

/// Serves until `shutdown` resolves. Then it gives the leader's Lease back, so that another replica leads at once, ends
/// the agents' connections one after the other, writes what is due, and gives its own Lease back.
///
/// # Errors
/// When the program cannot start; once it runs, it goes on.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    files::take(settings.limits.max_connections);
    let opamp_listener = listen("opamp", settings.opamp_listen).await?;
    let admin_listener = listen("admin", settings.admin_listen).await?;
    let (opamp_metrics, tls_metrics) = (opamp::Metrics::default(), tls::Metrics::default());
    let notify_metrics = notify::Metrics::default();
    let metrics = Metrics::new(|registry| {
        opamp_metrics.register(registry);
        tls_metrics.register(registry);
        notify_metrics.register(registry);
    });
    let client = cluster::connect(metrics.control.clone()).await?;
    cluster::preflight(&client, &settings.namespace).await?;
    let entrance = Entrance::new(&settings, &client, opamp_metrics.overflows(), tls_metrics)?;
    let rotation = Arc::new(Rotation::new(&settings)?);
    let writer = SliceWriter::new(client.clone(), &settings.identity);
    let roster = restored_roster(&settings, &writer).await?;
    let parts = Parts {
        hub: Hub::new(roster, opamp_metrics),
        readiness: Readiness::default(),
        closing: watch::Sender::new(false),
        replica_lease: watch::Sender::new(None),
        key: watch::Sender::new(None),
        reading: Reading::new(),
        client,
        metrics,
        settings,
        rotation,
        outbox: Outbox::new(notify_metrics.clone(), Proxies::of(|name| std::env::var(name).ok())),
    };
    let couriers = parts.spawn_couriers(notify_metrics);
    let mut tasks = JoinSet::new();
    parts.spawn_door(&mut tasks, opamp_listener, &entrance);
    tasks.spawn(parts.lead());
    let tickers = parts.spawn_tickers(admin_listener, entrance);
    let keepers = parts.spawn_keepers(writer);
    shutdown.await;
    tracing::info!("shutting down");
    parts.readiness.fail(Check::Draining, "this replica was told to stop");
    parts.closing.send_replace(true);
    let delivered = tokio::time::timeout(LAST_NOTIFICATIONS, parts.outbox.emptied());
    let closed = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(parts.settings.limits.drain_period + CLOSING, closed).await.is_err() {
        tracing::warn!("not every connection was closed before the end");
    }
    drop(tickers);
    let finished = tokio::time::timeout(LAST_WRITES + LAST_RELEASE, keepers.finish(LAST_WRITES));
    let (finished, delivered) = tokio::join!(finished, delivered);
    if finished.is_err() {
        tracing::warn!("the lease was not given back before the end");
    }
    if delivered.is_err() {
        tracing::warn!("not every notification was delivered before the end");
    }
    drop(couriers);
    Ok(())
}

async fn listen(door: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    let error = |cause| RunError::Listen { door, address, cause };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    tracing::info!(door, %address, "listening");
    Ok(listener)
}

/// The roster with what an earlier run of this replica wrote: verdicts outlive a restart.
async fn restored_roster(settings: &Settings, writer: &SliceWriter) -> Result<Roster, RunError> {
    let timings = &settings.timings;
    let delays = Delays {
        urgent: timings.flush_urgent,
        slow: timings.flush_slow,
        assumed_interval: timings.assumed_interval,
    };
    let mut roster = Roster::new(&settings.identity, delays);
    for (id, spec) in writer.read_own().await.map_err(RunError::OwnSlices)? {
        roster.restore(&id, &spec, Timestamp::now());
    }
    Ok(roster)
}

/// What the tasks share.
struct Parts {
    settings: Settings,
    client: Client,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    /// Which tokens agents are to use.
    rotation: Arc<Rotation>,
    /// Becomes true when the program ends.
    closing: watch::Sender<bool>,
    /// Whether this replica holds its own Lease: without it, no new offers.
    replica_lease: watch::Sender<Option<Held>>,
    /// The key of the content hashes, once it is there.
    key: watch::Sender<Option<config::HashKey>>,
    /// Since when the groups have been read.
    reading: Reading,
    /// Where notifications are put.
    outbox: Outbox,
}

impl Parts {
    fn timings(&self) -> Timings {
        self.settings.timings
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closing = self.closing.subscribe();
        async move { drop(closing.wait_for(|closing| *closing).await) }
    }

    /// The agents' listener; it ends by itself when the program does.
    fn spawn_door(&self, tasks: &mut JoinSet<()>, listener: TcpListener, entrance: &Entrance) {
        let limits = limits::limits(&self.settings.limits, &self.settings.timings);
        let (credentials, identity) = (entrance.credentials.clone(), entrance.identity());
        tasks.spawn(opamp::serve(listener, self.hub.clone(), credentials, identity, limits, self.closed()));
    }

    /// Leads when it may, until the program ends. The leader's Lease is given back then, so that another replica need
    /// not wait for it to run out.
    fn lead(&self) -> impl Future<Output = ()> + Send + 'static {
        let (client, settings, metrics) = (self.client.clone(), self.settings.clone(), self.metrics.clone());
        let (mut key, closed, outbox) = (self.key.subscribe(), self.closed(), self.outbox.clone());
        async move {
            let mut keeper = leadership::keeper(client.clone(), &settings);
            let leading = async {
                let key = key.wait_for(Option::is_some).await.ok().and_then(|key| key.clone());
                let Some(key) = key else { return };
                leadership::lead_when_elected(client, &settings, &mut keeper, key, &metrics, &outbox).await;
            };
            tokio::select! { () = leading => {}, () = closed => {} }
            metrics.leading.set(0);
            metrics.leases.not_held(Lease::Leader);
            if let Err(error) = keeper.release().await {
                tracing::warn!(%error, "cannot give the leader's lease back");
            }
        }
    }

    fn follower(&self) -> Follower {
        Follower {
            client: self.client.clone(),
            settings: self.settings.clone(),
            hub: self.hub.clone(),
            readiness: self.readiness.clone(),
            rotation: self.rotation.clone(),
            key: self.key.clone(),
            reading: self.reading.clone(),
        }
    }

    /// What goes on for ever, and is ended at once when the agents' door is closed: agents that wait for their turn to
    /// end are served as ever.
    fn spawn_tickers(&self, admin: TcpListener, entrance: Entrance) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(admin::serve(admin, self.readiness.clone(), self.metrics.clone()));
        tasks.spawn(follow(self.follower()));
        if let Some(keyring) = entrance.keyring {
            let rotation = self.rotation.clone();
            // The door knows a token before any agent is told of it.
            let take = move |secrets: AgentSecrets| {
                let registered = Registered::of(&secrets);
                keyring.take_secrets(secrets);
                rotation.take(registered);
            };
            let announcer = Announcer::new(self.client.clone(), &self.settings.identity);
            tasks.spawn(cluster::follow_agent_secrets(self.client.clone(), announcer, take));
        }
        if let Some(certificates) = entrance.certificates {
            tasks.spawn(certificates.follow(self.timings().certificate_check));
        }
        let held = self.replica_lease.subscribe();
        tasks.spawn(self.reading.clone().allow(self.hub.clone(), held, self.readiness.clone()));
        let Timings { recheck, lease_renewal, .. } = self.timings();
        tasks.spawn(expire(self.hub.clone(), self.metrics.clone(), recheck, lease_renewal));
        tasks
    }

    /// What delivers notifications and follows their file: ended last, because the leader's last writes are told too.
    fn spawn_couriers(&self, metrics: notify::Metrics) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if let Some(file) = &self.settings.notifications_file {
            let file = Notifications::load(file, self.outbox.clone(), metrics);
            tasks.spawn(file.follow(self.timings().certificate_check));
            let outbox = self.outbox.clone();
            tasks.spawn(async move { outbox.serve().await });
        }
        tasks
    }

    /// What writes this replica's slices and keeps its Lease: ended last.
    fn spawn_keepers(&self, writer: SliceWriter) -> flush::Keepers {
        flush::spawn(
            self.client.clone(),
            &self.settings,
            self.hub.clone(),
            writer,
            &self.metrics,
            self.replica_lease.clone(),
        )
    }
}

/// What the agents' door lets peers in by, and what it shows of itself.
struct Entrance {
    credentials: Arc<dyn Credentials>,
    keyring: Option<Arc<Keyring>>,
    certificates: Option<Certificates>,
}

impl Entrance {
    fn new(
        settings: &Settings,
        client: &Client,
        overflows: &Overflows,
        metrics: tls::Metrics,
    ) -> Result<Self, RunError> {
        let (credentials, keyring) = credentials::credentials(settings, client, overflows, &metrics);
        let asks = settings.agent_auth.certificates();
        let load = |files| Certificates::load(files, asks, keyring.clone(), metrics);
        let certificates = settings.tls.as_ref().map(load).transpose()?;
        if certificates.is_none() {
            tracing::warn!("without --tls-cert the agents' port is not encrypted, and no certificate counts");
        }
        Ok(Self { credentials, keyring, certificates })
    }

    fn identity(&self) -> Option<watch::Receiver<Arc<Identity>>> {
        self.certificates.as_ref().map(Certificates::identity)
    }
}

/// Waits for the hash key, then follows groups and moves agents to other tokens, for ever.
async fn follow(parts: Follower) {
    let Follower { client, settings, hub, readiness, rotation, key, reading } = parts;
    let found = hash_key(&client, &settings, &readiness).await;
    readiness.pass(Check::HashKey);
    hub.know(found.clone());
    key.send_replace(Some(found.clone()));
    let groups = reading.anew(|published| {
        let (hub, readiness) = (&hub, &readiness);
        let publish = move |view: View| {
            hub.set_view(Arc::new(view));
            readiness.pass(Check::Groups);
            published();
        };
        cluster::follow_groups(client.clone(), found.clone(), ENCODE, publish)
    });
    let rotating = rotation.follow(hub.clone(), found.clone());
    tokio::join!(groups, rotating);
}

/// What [`follow`] works with.
struct Follower {
    client: Client,
    settings: Settings,
    hub: Arc<Hub>,
    readiness: Readiness,
    rotation: Arc<Rotation>,
    key: watch::Sender<Option<config::HashKey>>,
    reading: Reading,
}

/// The key of the content hashes, awaited: without it nothing is offered.
async fn hash_key(client: &Client, settings: &Settings, readiness: &Readiness) -> config::HashKey {
    loop {
        let mut entropy = [0; 32];
        let problem = match getrandom::fill(&mut entropy) {
            Err(error) => error.to_string(),
            Ok(()) => match cluster::load_hash_key(client, &settings.namespace, entropy).await {
                Ok(key) => return key,
                Err(error) => error.to_string(),
            },
        };
        tracing::error!(error = problem, "no hash key, so nothing is offered");
        readiness.fail(Check::HashKey, &problem);
        tokio::time::sleep(settings.timings.retry).await;
    }
}

/// What goes over the wire.
const ENCODE: cluster::Encode = cluster::Encode { revision: encode, telemetry: opamp::encode_telemetry };

/// A revision as it is offered.
fn encode(name: &str, body: &RevisionBody) -> Option<Revision> {
    let secret = body.secret.iter().filter_map(|index| body.files.get(*index));
    let (padding, desired) = match body.format {
        ConfigFormat::Collector => (config::padding(&body.files), Desired::collector(&body.files)),
        // What a newer version calls otherwise is not looked into either.
        ConfigFormat::Opaque | ConfigFormat::Unknown => (None, Some(Desired::opaque(&body.files))),
    };
    Some(Revision {
        name: name.into(),
        hash: body.hash,
        payload: Payload {
            files: opamp::encode_files(&body.files)?,
            padding: padding.and_then(|file| opamp::encode_files(&[file])).unwrap_or_default(),
        },
        desired,
        needs: body.needs.clone(),
        secrets: secret.flat_map(config::secret_texts).collect(),
    })
}

/// Lets time take effect, and tells what has come of it. Slices are overdue that have been due for as
/// long as from one renewal of the Lease to the next.
async fn expire(hub: Arc<Hub>, metrics: Arc<Metrics>, every: Duration, renewal: Duration) {
    let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        let connected = hub.expire(Timestamp::now());
        metrics.connected_agents.set(gauge(connected));
        let late = Timestamp::now() - fleet::signed(renewal);
        metrics.slices_behind.set(gauge(hub.with_roster(|roster| roster.behind(late)).len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, ConfigHash};

    fn encoded(format: ConfigFormat, body: &str) -> Revision {
        let files = vec![ConfigFile::new("a", "", body.as_bytes())];
        let hash = ConfigHash::from_bytes([7; 32]);
        encode("r-1", &RevisionBody { hash, format, needs: None, files, secret: Vec::new() }).expect("a file")
    }

    #[test]
    fn only_a_collector_configuration_is_padded_and_looked_into() {
        let effective = [ConfigFile::new("", "", &b"{receivers: {nop: {x: 1}, otlp: }}"[..])];
        for (format, padded, covered) in
            [(ConfigFormat::Collector, true, true), (ConfigFormat::Opaque, false, false)]
        {
            let revision = encoded(format, "receivers: {nop: {x: 1}}");
            assert_eq!(!revision.payload.padding.is_empty(), padded, "{format:?}");
            let desired = revision.desired.expect("something is desired");
            assert_eq!(desired.is_covered_by(&effective), covered, "{format:?}");
        }
    }

    #[test]
    fn drain_and_what_follows_fit_into_the_grace_period_of_kubernetes() {
        let drain = opamp::Limits::default().drain_period;
        assert!(
            drain + CLOSING + LAST_WRITES + LAST_RELEASE < Duration::from_secs(30),
            "with a margin for the process itself"
        );
    }
}
