//! The listener: accepts connections, within the limits, and sends each request where it belongs.
//!
//! Both transports are on one path. A request with the content type of protobuf is a message over plain HTTP,
//! any other opens a WebSocket (specification, "Plain HTTP Transport").

use super::credentials::{Authorization, Chain, Credentials, Gate, Pass, Place, Shown};
use super::drain::Drain;
use super::http::{self, Response};
use super::hub::Hub;
use super::limits::Limits;
use super::memory::Memory;
use super::pace::Pace;
use super::stop::{Stop, Stopper};
use super::tls::Identity;
use super::websocket::{Connection, accept_key, is_upgrade};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use patience::Patience;
use responses::{busy, neither, refused, switching, unproven};
use std::convert::Infallible;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

mod patience;
mod responses;

/// The path of both transports.
pub const PATH: &str = "/v1/opamp";

/// Longest head of a request, in bytes. Heads with a token are 1 to 2 KB; hyper allows no bound below 8 KiB.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How many connections above a limit are told so at a time, and how many in a second: with TLS each takes a handshake.
/// More are dropped without a word, so that a storm of connections costs little.
const MAX_REFUSALS: usize = 64;
const MAX_REFUSAL_RATE: u32 = 100;
/// How long accepting pauses when the process has no more sockets; without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves agents until `shutdown` resolves: then it accepts nobody any more, ends every connection at a moment of its
/// own, WebSockets with a Close frame, and returns when all have ended or had their time. Nothing is taken from a peer that the credentials do
/// not know. With an `identity` all connections are TLS, and each sees the latest.
pub async fn serve(
    listener: TcpListener,
    hub: Arc<Hub>,
    credentials: Arc<dyn Credentials>,
    identity: Option<watch::Receiver<Arc<Identity>>>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut changes = credentials.changes();
    let gate = Arc::new(Gate::new(credentials, &limits, hub.metrics.clone()));
    let memory = Memory::new(limits.message_memory());
    let mut rates = Rates::new(&limits);
    hub.limit(&limits);
    let door = Arc::new(Door { hub, gate, identity, limits: Arc::new(limits), memory, places, refusals });
    let (stopper, stop) = Stopper::new();
    let mut shutdown = pin!(shutdown);
    loop {
        select! {
            biased;
            () = &mut shutdown => break,
            Ok(()) = changes.changed() => stopper.look_again(),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => door.admit(stream, peer.ip(), &stop, &mut rates),
                Err(error) => {
                    tracing::warn!(%error, "agent connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    door.drain(&stopper, &mut changes).await;
}

/// How often the door does what.
struct Rates {
    connections: Pace,
    refusals: Pace,
}

impl Rates {
    fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        let told = NonZeroU32::MIN.saturating_add(MAX_REFUSAL_RATE - 1);
        Self {
            connections: Pace::new(limits.max_connection_rate, limits.burst(), now),
            refusals: Pace::new(told, told.get(), now),
        }
    }
}

struct Door {
    hub: Arc<Hub>,
    gate: Arc<Gate>,
    identity: Option<watch::Receiver<Arc<Identity>>>,
    limits: Arc<Limits>,
    /// For messages that have not come as a whole.
    memory: Memory,
    /// One permit for each connection.
    places: Arc<Semaphore>,
    /// One permit for each connection that is being refused.
    refusals: Arc<Semaphore>,
}

impl Door {
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: IpAddr, stop: &Stop, rates: &mut Rates) {
        // Messages are small and each is written at once; waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        let now = Instant::now();
        let reason = match self.places.clone().try_acquire_owned() {
            Ok(place) if rates.connections.takes(now) => {
                tokio::spawn(self.clone().connection(stream, peer, stop.clone(), place));
                return;
            }
            Ok(_) => "too_fast",
            Err(_) => "too_many",
        };
        self.hub.metrics.refused(reason);
        if let Ok(place) = self.refusals.clone().try_acquire_owned()
            && rates.refusals.takes(now)
        {
            tokio::spawn(self.clone().refuse(stream, place));
        } else {
            self.hub.metrics.overflows.refusal();
        }
    }

    /// One connection: plain HTTP, which may turn into a WebSocket. The first part is boxed, so that its larger
    /// state is freed before the long second one.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        stop: Stop,
        _: OwnedSemaphorePermit,
    ) {
        let Some((upgraded, pass)) = Box::pin(self.clone().greet(stream, peer, stop.clone())).await else {
            return;
        };
        let attachment = self.hub.attach(pass.principal().clone(), self.limits.max_message_bytes);
        let (limits, share) = (self.limits.clone(), self.memory.share());
        drop(self);
        Connection::new(TokioIo::new(upgraded), attachment, pass, limits, share).serve(stop).await;
    }

    /// Everything before a WebSocket is open.
    async fn greet(self: Arc<Self>, stream: TcpStream, peer: IpAddr, stop: Stop) -> Option<(Upgraded, Pass)> {
        let Some(identity) = self.identity() else { return self.http(stream, peer, None, stop).await };
        let handshake = timeout(self.limits.header_read_timeout, identity.greet(stream)).await;
        let Ok(Ok((stream, chain))) = handshake else {
            self.hub.metrics.refused("tls");
            return None;
        };
        self.http(stream, peer, chain, stop).await
    }

    /// What the door shows of itself right now.
    fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.as_ref().map(|identity| identity.borrow().clone())
    }

    /// Serves HTTP until the peer ends it, or upgrades.
    async fn http(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: IpAddr,
        chain: Option<Chain>,
        mut stop: Stop,
    ) -> Option<(Upgraded, Pass)> {
        let upgrade: Mutex<Option<(OnUpgrade, Pass)>> = Mutex::new(None);
        let patience = Patience::new(self.limits.header_read_timeout);
        let (came, ending) = (AtomicBool::new(false), AtomicBool::new(false));
        let held = Mutex::new(None);
        let service = service_fn(|request| async {
            patience.stop();
            came.store(true, Ordering::Relaxed);
            let (mut response, on_upgrade) = self.respond(request, peer, chain.clone(), &held).await;
            if on_upgrade.is_none() && ending.load(Ordering::Relaxed) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            } else if on_upgrade.is_some() {
                *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = on_upgrade;
            }
            patience.start(self.limits.write_timeout + self.limits.header_read_timeout);
            Ok::<_, Infallible>(response)
        });
        // A poll that comes before the end is answered, and told to be the last.
        let ended_by_order = async {
            let end = stop.requested().await;
            ending.store(true, Ordering::Relaxed);
            sleep_until(end).await;
        };
        let mut connection =
            pin!(self.builder().serve_connection(TokioIo::new(stream), service).with_upgrades());
        let ended = select! {
            biased;
            () = ended_by_order => {
                connection.as_mut().graceful_shutdown();
                timeout(self.limits.write_timeout, connection).await.ok()?.map_err(|_| None)
            }
            ended = &mut connection => ended.map_err(|error| why(&error, came.load(Ordering::Relaxed))),
            () = patience.ended() => Err(Some(if came.load(Ordering::Relaxed) { "slow" } else { "no_request" })),
        };
        if let Err(Some(reason)) = ended {
            self.hub.metrics.refused(reason);
        }
        ended.ok()?;
        let (on_upgrade, pass) = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((on_upgrade.await.ok()?, pass))
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.limits.header_read_timeout);
        builder.max_buf_size(MAX_HEAD_BYTES);
        builder
    }

    /// Answers a request. Who asks is found out before anything else of it is looked at.
    async fn respond(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
        certificates: Option<Chain>,
        held: &Mutex<Option<Place>>,
    ) -> (Response, Option<(OnUpgrade, Pass)>) {
        if request.uri().path() != PATH {
            return (http::status(StatusCode::NOT_FOUND), None);
        }
        let shown = Shown { authorization: Authorization::of(request.headers()), certificates };
        let principal = match self.gate.admit(&shown, peer).await {
            Ok(principal) => principal,
            Err(refusal) => return (unproven(refusal), None),
        };
        if !self.gate.seat(&principal, &mut held.lock().unwrap_or_else(PoisonError::into_inner)) {
            return (busy(), None);
        }
        if http::is_protobuf(request.headers()) {
            return (
                http::exchange(&self.hub, &principal, &self.limits, self.memory.share(), request).await,
                None,
            );
        }
        match accept_key(&request) {
            Ok(key) => {
                let place = held.lock().unwrap_or_else(PoisonError::into_inner).take();
                let pass = Pass::new(self.gate.clone(), shown, principal, place);
                (switching(&key), Some((hyper::upgrade::on(&mut request), pass)))
            }
            Err(_) if !is_upgrade(request.headers()) => (neither(request.method()), None),
            Err(refusal) => (refused(refusal), None),
        }
    }

    /// Tells a peer that there are too many.
    async fn refuse(self: Arc<Self>, stream: TcpStream, _: OwnedSemaphorePermit) {
        let service = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(busy()) });
        let mut builder = self.builder();
        builder.keep_alive(false);
        let refusing = async {
            match self.identity() {
                None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                Some(identity) => {
                    let Ok((stream, _)) = identity.greet(stream).await else { return };
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                }
            }
        };
        let _ = timeout(self.limits.header_read_timeout + self.limits.write_timeout, refusing).await;
    }

    /// Ends all connections, one after the other, and waits until they have ended, for as long as the last may take.
    async fn drain(&self, stopper: &Stopper, changes: &mut watch::Receiver<u64>) {
        let (limits, places) = (&self.limits, &self.places);
        let connections = limits.max_connections - places.available_permits();
        tracing::info!(connections, "draining");
        stopper.drain(Drain::new(Instant::now(), limits.drain_period, connections, limits.drain_pause));
        let all = u32::try_from(limits.max_connections).unwrap_or(u32::MAX);
        let patience = limits.drain_period + limits.write_timeout + limits.close_timeout;
        // A credential that is taken away now ends its sockets before their turn.
        let looking = async {
            while changes.changed().await.is_ok() {
                stopper.look_again();
            }
            std::future::pending::<()>().await;
        };
        select! {
            ended = timeout(patience, places.acquire_many(all)) => if ended.is_err() {
                tracing::warn!("agent connections did not end in time");
            },
            () = looking => {}
        }
    }
}

/// Why a connection on which no request came was of no use; nothing if that is nobody's fault, as when the peer goes.
fn why(error: &hyper::Error, came: bool) -> Option<&'static str> {
    if came {
        None
    } else if error.is_timeout() {
        Some("no_request")
    } else {
        error.is_parse().then_some("not_http")
    }
}
