//! Slices of several namespaces, written to an API server that leaves writes without an answer.

use super::*;
use crate::fleet::fixtures::{SOCKET, full, uid};
use crate::fleet::{AgentKey, Delays, GroupView, Roster, SliceId, View};
use crate::opamp;
use http_body_util::BodyExt;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;

const PAUSE: Duration = Duration::from_millis(50);
const AT_LAST: Duration = Duration::from_mins(1);

/// An API server that has no slices and takes each one, after a time.
#[derive(Clone)]
struct Server {
    start: Instant,
    takes: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// How many writes of a namespace get no answer.
    silent: BTreeMap<String, usize>,
    /// The namespaces of which every write is refused.
    refused: Vec<String>,
    /// Each write with its millisecond, as `namespace/number`.
    written: Vec<(u128, String)>,
    /// How many writes of each namespace are under way.
    under_way: BTreeMap<String, usize>,
    most_of_one: usize,
    most_of_all: usize,
}

/// A write that is under way, until it is answered or given up.
struct UnderWay(Server, String);

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.state().under_way.get_mut(&self.1).expect("it has begun") -= 1;
    }
}

impl Server {
    fn new(takes: Duration) -> Self {
        Self { start: Instant::now(), takes, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silent(self, namespace: &str, times: usize) -> Self {
        self.state().silent.insert(namespace.to_owned(), times);
        self
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        };
        Client::new(tower::service_fn(answer), "ns")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        if parts.method == Method::GET {
            return refusal("NotFound", 404);
        }
        let path: Vec<&str> = parts.uri.path().split('/').collect();
        let namespace = path[path.iter().position(|part| *part == "namespaces").expect("one") + 1].to_owned();
        let (under_way, is_silent, is_refused) = self.begin(&namespace, parts.uri.path(), &body);
        if is_silent {
            std::future::pending::<()>().await;
        }
        sleep(self.takes).await;
        drop(under_way);
        if is_refused {
            return refusal("Forbidden", 403);
        }
        let done = br#"{"kind": "Status", "apiVersion": "v1", "status": "Success"}"#;
        Response::new(Body::from(if body.starts_with(b"{\"apiVersion") {
            body.to_vec()
        } else {
            done.to_vec()
        }))
    }

    fn begin(&self, namespace: &str, path: &str, body: &[u8]) -> (UnderWay, bool, bool) {
        let mut state = self.state();
        // A slice that is new has its name in its body.
        let told = format!("{path}{}", String::from_utf8_lossy(body));
        let number = told
            .split("replica-")
            .nth(1)
            .expect("a name")
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .expect("a number");
        state.written.push((self.start.elapsed().as_millis(), format!("{namespace}/{number}")));
        *state.under_way.entry(namespace.to_owned()).or_default() += 1;
        state.most_of_one = state.most_of_one.max(state.under_way[namespace]);
        state.most_of_all = state.most_of_all.max(state.under_way.values().sum());
        let is_silent = state.silent.get_mut(namespace).is_some_and(|left| {
            let is_silent = *left > 0;
            *left = left.saturating_sub(1);
            is_silent
        });
        let is_refused = state.refused.iter().any(|refused| refused == namespace);
        (UnderWay(self.clone(), namespace.to_owned()), is_silent, is_refused)
    }

    /// The writes so far, of which no two of a namespace were under way at once.
    fn written(&self) -> Vec<(u128, String)> {
        assert!(self.state().most_of_one <= 1);
        self.state().written.clone()
    }
}

fn refusal(reason: &str, code: u16) -> Response<Body> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
    });
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = hyper::StatusCode::from_u16(code).expect("a code");
    response
}

/// A hub with slices that are to be written, so long after something happened to them.
fn hub(slices: &[(&str, u32)], delay: Duration) -> Arc<Hub> {
    let delays = Delays { urgent: delay, slow: delay, assumed_interval: delay };
    let mut roster = Roster::new("replica", delays);
    for (namespace, number) in slices {
        let id = SliceId { namespace: (*namespace).into(), number: *number };
        roster.write_failed(&id, Timestamp::now());
    }
    Hub::new(roster, opamp::Metrics::default())
}

/// Writes them to the server until the sender says that it is the end.
fn start(server: &Server, hub: &Arc<Hub>) -> (JoinHandle<()>, watch::Sender<bool>) {
    let flusher = Flusher { hub: hub.clone(), pause: PAUSE, metrics: ControlMetrics::default() };
    let stop = watch::Sender::new(false);
    let writer = SliceWriter::new(server.client(), "replica");
    (tokio::spawn(flusher.run(writer, stop.subscribe())), stop)
}

/// What is written to the server of slices that are due at once.
async fn written(server: &Server, slices: &[(&str, u32)]) -> Vec<(u128, String)> {
    let running = start(server, &hub(slices, Duration::ZERO));
    sleep(AT_LAST).await;
    drop(running);
    server.written()
}

fn named(writes: &[(u128, &str)]) -> Vec<(u128, String)> {
    writes.iter().map(|(at, name)| (*at, (*name).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn namespace_without_answers_holds_up_no_other_and_is_tried_again() {
    let server = Server::new(Duration::from_millis(1)).silent("b", 2);
    let written = written(&server, &[("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1)]).await;
    let others = [(0, "a/0"), (50, "b/0"), (100, "c/0"), (150, "a/1"), (200, "c/1")];
    let again = [(10_050, "b/1"), (20_050, "b/0"), (20_100, "b/1")];
    assert_eq!(written, named(&[&others[..], &again].concat()));
}

#[tokio::test(start_paused = true)]
async fn writes_of_a_namespace_follow_one_another_and_all_keep_the_pace() {
    let server = Server::new(Duration::from_millis(120));
    let written = written(&server, &[("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)]).await;
    let expected = [(0, "a/0"), (50, "b/0"), (100, "c/0"), (150, "a/1"), (200, "b/1"), (270, "a/2")];
    assert_eq!(written, named(&expected));
}

#[tokio::test(start_paused = true)]
async fn no_more_namespaces_than_the_bound_are_written_to_at_once_and_each_has_its_turn() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
    let server =
        names.iter().fold(Server::new(Duration::ZERO), |server, name| server.silent(name, usize::MAX));
    let mut slices: Vec<(&str, u32)> = names.iter().map(|name| (&**name, 0)).collect();
    slices.push(("well", 0));
    let written = written(&server, &slices).await;
    assert_eq!(server.state().most_of_all, AT_ONCE);
    let first = (0..AT_ONCE).map(|n| (50 * n as u128, format!("n{n:02}/0")));
    let then = (AT_ONCE..20).map(|n| (10_000 + 50 * (n - AT_ONCE) as u128, format!("n{n:02}/0")));
    let expected: Vec<_> = first.chain(then).chain([(10_200, "well/0".to_owned())]).collect();
    assert_eq!(written[..expected.len()], expected);
}

/// What is heard from agents of another namespace meanwhile.
#[tokio::test(start_paused = true)]
async fn edge_is_written_at_once_though_another_namespace_waits_for_its_answer() {
    let server = Server::new(Duration::ZERO).silent("b", 1);
    let hub = hub(&[("b", 0), ("b", 1)], Duration::ZERO);
    let key = AgentKey { namespace: "a".into(), uid: uid(1) };
    hub.with_roster(|roster| roster.receive(&key, full(), SOCKET, Timestamp::now()));
    let (_running, _stop) = start(&server, &hub);
    sleep(Duration::from_secs(5)).await;
    let grouped = View::new([("a".into(), GroupView::of_all("g", None, None))]);
    hub.set_view(Arc::new(grouped));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.written(), named(&[(0, "a/0"), (50, "b/0"), (5_000, "a/0")]));
}

#[tokio::test(start_paused = true)]
async fn everything_is_written_once_at_the_end_and_nobody_waits_for_a_namespace_without_answers() {
    let server = Server::new(Duration::ZERO).silent("a", 1);
    server.state().refused.push("b".to_owned());
    let slices = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1)];
    let (running, stop) = start(&server, &hub(&slices, Duration::from_hours(1)));
    sleep(Duration::from_secs(7)).await;
    assert_eq!(server.written(), []);
    stop.send_replace(true);
    running.await.expect("it ends");
    let others = [(7_000, "a/0"), (7_050, "b/0"), (7_100, "c/0"), (7_150, "b/1"), (7_200, "c/1")];
    assert_eq!(server.written(), named(&[&others[..], &[(17_000, "a/1")]].concat()));
    assert_eq!(server.start.elapsed(), Duration::from_secs(17));
}

#[tokio::test(start_paused = true)]
async fn write_that_was_under_way_at_the_end_is_waited_for() {
    let server = Server::new(Duration::from_millis(300));
    let (running, stop) = start(&server, &hub(&[("a", 0), ("a", 1)], Duration::ZERO));
    sleep(Duration::from_millis(100)).await;
    stop.send_replace(true);
    running.await.expect("it ends");
    assert_eq!(server.written(), named(&[(0, "a/0"), (300, "a/1")]));
    assert_eq!(server.start.elapsed(), Duration::from_millis(600));
}
