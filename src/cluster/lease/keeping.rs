//! A replica that keeps a Lease or waits for one, with an API server of one object and time that stands still.

use super::super::promise::Promise;
use super::{Held, Keeper, keep};
use futures::{Stream, StreamExt};
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use kube::client::Body;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const DURATION: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(5);

/// An API server that knows one Lease.
#[derive(Clone)]
struct Server(Arc<Mutex<Stored>>);

struct Stored {
    lease: Option<Lease>,
    version: u64,
    /// How long an answer is under way.
    slow: Duration,
    is_away: bool,
    changes: Vec<mpsc::UnboundedSender<Option<Lease>>>,
}

impl Server {
    fn start() -> Self {
        let stored =
            Stored { lease: None, version: 0, slow: Duration::ZERO, is_away: false, changes: Vec::new() };
        Self(Arc::new(Mutex::new(stored)))
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().expect("no test panics with it")
    }

    fn keeper(&self, identity: &str) -> Keeper {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let api = Api::namespaced(Client::new(service, "ns"), "ns");
        Keeper::new(api, "leader", identity, DURATION)
    }

    /// The Lease as it is now and whenever it changes.
    fn news(&self) -> impl Stream<Item = Option<Lease>> + Unpin + use<> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut stored = self.stored();
        let _ = sender.send(stored.lease.clone());
        stored.changes.push(sender);
        futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
            .boxed()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let method = request.method().clone();
        let sent = request.into_body().collect_bytes().await.expect("a body");
        if self.stored().is_away {
            std::future::pending::<()>().await;
        }
        let slow = self.stored().slow;
        sleep(slow).await;
        let answer = self.stored().take(&method, &sent);
        match answer {
            Ok(lease) => Response::new(serde_json::to_vec(&lease).expect("JSON").into()),
            Err(code) => {
                let reason = if code == StatusCode::NOT_FOUND { "NotFound" } else { "Conflict" };
                let status =
                    serde_json::json!({"status": "Failure", "reason": reason, "code": code.as_u16()});
                let mut response = Response::new(Body::from(status.to_string().into_bytes()));
                *response.status_mut() = code;
                response
            }
        }
    }

    fn holder(&self) -> String {
        let lease = self.stored().lease.clone();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }
}

impl Stored {
    fn take(&mut self, method: &Method, sent: &[u8]) -> Result<Lease, StatusCode> {
        if method == Method::GET {
            return self.lease.clone().ok_or(StatusCode::NOT_FOUND);
        }
        let mut lease: Lease = serde_json::from_slice(sent).expect("a lease");
        let version = self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if lease.metadata.resource_version != version {
            return Err(StatusCode::CONFLICT);
        }
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        self.changes.retain(|told| told.send(Some(lease.clone())).is_ok());
        Ok(lease)
    }
}

/// Everything can be promised.
#[expect(clippy::unnecessary_wraps, reason = "not always can something be promised")]
fn whole() -> Option<Promise> {
    Some(Promise::default())
}

/// Runs a replica, and says since when it leads; nothing if it does not within two minutes.
async fn leads_after(
    keeper: &mut Keeper,
    news: impl Stream<Item = Option<Lease>> + Unpin,
) -> Option<Duration> {
    let (start, held) = (Instant::now(), watch::Sender::new(None));
    let mut told = held.subscribe();
    let led = async { told.wait_for(Option::is_some).await.is_ok().then(|| start.elapsed()) };
    tokio::select! {
        () = keep(keeper, RENEWAL, &held, whole, news) => None,
        led = led => led,
        () = sleep(Duration::from_mins(2)) => None,
    }
}

/// Keeps the Lease for so long, and is gone then without a word.
async fn leads_for(keeper: &mut Keeper, time: Duration) {
    let held = watch::Sender::new(None);
    let _ = tokio::time::timeout(time, keep(keeper, RENEWAL, &held, whole, futures::stream::pending())).await;
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_leader_that_died_is_taken_when_it_runs_out_and_not_later() {
    for died_after in [1, 4, 6, 9, 11] {
        let server = Server::start();
        let (mut first, mut second) = (server.keeper("first"), server.keeper("second"));
        let start = Instant::now();
        let news = server.news();
        let waits = async {
            // The other one starts later, and its looks fall between the renewals.
            sleep(SECOND * 2).await;
            leads_after(&mut second, news).await.map(|_| start.elapsed())
        };
        let ((), leads) = futures::join!(leads_for(&mut first, SECOND * died_after), waits);
        let renewed = RENEWAL * (died_after / 5);
        assert_eq!(leads, Some(renewed.max(SECOND * 2) + DURATION), "the leader died after {died_after} s");
        assert_eq!(server.holder(), "second");
    }
}

#[tokio::test(start_paused = true)]
async fn lease_that_is_given_back_is_taken_at_once() {
    let server = Server::start();
    let (mut first, mut second) = (server.keeper("first"), server.keeper("second"));
    leads_for(&mut first, SECOND * 7).await;
    let start = Instant::now();
    let stops = async {
        sleep(SECOND * 3 / 2).await;
        first.release().await.expect("given back");
    };
    let ((), leads) = futures::join!(stops, leads_after(&mut second, server.news()));
    assert_eq!(leads, Some(SECOND * 3 / 2), "after {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lease_is_taken_though_nobody_tells_of_it() {
    let server = Server::start();
    let (mut first, mut second) = (server.keeper("first"), server.keeper("second"));
    leads_for(&mut first, SECOND * 7).await;
    assert_eq!(leads_after(&mut second, futures::stream::pending()).await, Some(DURATION));
    first.release().await.expect("nothing to give back");
    assert_eq!(server.holder(), "second", "only its own");
}

/// The waiting replica's first look is answered late, and shows a renewal that was made while the answer was under way.
#[tokio::test(start_paused = true)]
async fn lease_is_counted_from_when_it_was_seen_and_not_from_when_it_was_asked_for() {
    let server = Server::start();
    let (mut first, mut second) = (server.keeper("first"), server.keeper("second"));
    first.turn(&Promise::default()).await.expect("taken");
    let held = async {
        sleep(SECOND * 3).await;
        server.stored().slow = Duration::ZERO;
        first.turn(&Promise::default()).await.expect("renewed").expect("held")
    };
    server.stored().slow = SECOND * 4;
    let start = Instant::now();
    let (held, leads) = futures::join!(held, leads_after(&mut second, futures::stream::pending()));
    assert_eq!(leads, Some(SECOND * 4 + DURATION));
    let taken = start + leads.unwrap_or_default();
    assert!(held.until <= taken, "both led for {:?}", held.until - taken);
}

#[tokio::test(start_paused = true)]
async fn lease_that_cannot_be_renewed_is_not_relied_on_after_nine_tenths_and_is_taken_back_soon() {
    let server = Server::start();
    let mut keeper = server.keeper("first");
    let held = watch::Sender::new(None);
    let mut told = held.subscribe();
    let start = Instant::now();
    let script = async {
        told.wait_for(Option::is_some).await.expect("it runs");
        server.stored().is_away = true;
        told.wait_for(Option::is_none).await.expect("it runs");
        assert_eq!(start.elapsed(), DURATION / 10 * 9);
        server.stored().is_away = false;
        told.wait_for(Option::is_some).await.expect("it runs");
        // The turn that was under way waits for its time, and the next follows a second later.
        assert!(start.elapsed() <= DURATION / 10 * 9 + RENEWAL + SECOND, "{:?}", start.elapsed());
    };
    tokio::select! {
        () = keep(&mut keeper, RENEWAL, &held, whole, futures::stream::pending()) => {}
        () = script => {}
        () = sleep(SECOND * 600) => panic!("it hangs"),
    }
}

#[tokio::test(start_paused = true)]
async fn lease_is_not_renewed_while_nothing_can_be_promised_and_carries_what_is() {
    let server = Server::start();
    let mut keeper = server.keeper("first");
    let held: watch::Sender<Option<Held>> = watch::Sender::new(None);
    let promised = Arc::new(Mutex::new(None));
    let promise = {
        let promised = promised.clone();
        move || promised.lock().expect("whole").clone()
    };
    let stands = || server.stored().lease.as_ref().map(Promise::of);
    let script = async {
        sleep(SECOND * 60).await;
        assert_eq!(server.holder(), "");
        for namespaces in [&["a", "b"][..], &["b"], &[]] {
            let next = Promise::except(namespaces.iter().map(|name| Arc::from(*name)).collect(), 0);
            promised.lock().expect("whole").clone_from(&next);
            sleep(RENEWAL + SECOND).await;
            assert_eq!((&*server.holder(), stands()), ("first", next), "with the next renewal");
        }
    };
    tokio::select! {
        () = keep(&mut keeper, RENEWAL, &held, promise, futures::stream::pending()) => {}
        () = script => {}
    }
}
