//! What stands between one replica and the API server: a proxy over plain HTTP that passes everything on, until it is
//! told to do something else.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;

/// What the proxy does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// Passes everything on.
    #[default]
    Clear,
    /// Ends all connections, and refuses new ones.
    Cut,
    /// Passes nothing on, and holds it back: as a network that drops packets. What was held back arrives later.
    Silent,
    /// Passes each event of a watch on twice.
    Duplicates,
    /// Passes each event of a watch on after this time.
    Delays(Duration),
    /// Answers every second write with 409, and does not pass it on.
    Conflicts,
    /// Answers every second request with 429, and does not pass it on.
    Throttling,
    /// Answers every second request with 500, and does not pass it on.
    Errors,
    /// Passes every second write on, and answers it with 500.
    LostAnswers,
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A running proxy.
pub struct Proxy {
    /// Where the replica connects.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    tls: TlsConnector,
    weather: watch::Sender<Weather>,
    /// Requests to which the weather could do something.
    seen: AtomicUsize,
    /// How often it did, under each weather since it turned.
    struck: AtomicUsize,
}

impl Proxy {
    /// Starts one before the API server, which this authority vouches for.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(server: SocketAddr, authority: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            server,
            tls: connector(authority),
            weather: watch::Sender::default(),
            seen: AtomicUsize::default(),
            struck: AtomicUsize::default(),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Self { url, shared, task }
    }

    /// Does this from now on.
    pub fn turn(&self, weather: Weather) {
        self.shared.struck.store(0, Ordering::Relaxed);
        self.shared.weather.send_replace(weather);
    }

    /// How many requests, connections or events were struck since the weather last turned.
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn connector(authority: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).expect("a file") {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        if *shared.weather.borrow() == Weather::Cut {
            shared.strike();
            continue;
        }
        let _ = stream.set_nodelay(true);
        connections.spawn(serve(stream, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection, until it ends or is cut.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    let upstream: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>> = Arc::default();
    let service = service_fn(|request| answer(request, shared.clone(), upstream.clone()));
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => shared.strike(),
    }
}

impl Shared {
    fn strike(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is a request's turn to be struck: every second one's is.
    fn takes_turn(&self) -> bool {
        self.seen.fetch_add(1, Ordering::Relaxed) % 2 == 1
    }

    /// Waits while nothing is passed on.
    async fn passes(&self) {
        let mut weather = self.weather.subscribe();
        if *weather.borrow() == Weather::Silent {
            self.strike();
        }
        let _ = weather.wait_for(|weather| *weather != Weather::Silent).await;
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.server.ip()), stream).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    upstream: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>,
) -> io::Result<Response<Body>> {
    shared.passes().await;
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let weather = *shared.weather.borrow();
    let concerned = match weather {
        Weather::Conflicts | Weather::LostAnswers => writes,
        Weather::Throttling | Weather::Errors => true,
        _ => false,
    };
    let struck = concerned && shared.takes_turn();
    let refusal = match weather {
        Weather::Conflicts => Some((StatusCode::CONFLICT, "Conflict")),
        Weather::Throttling => Some((StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")),
        Weather::Errors | Weather::LostAnswers => Some((StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        _ => None,
    };
    if struck {
        shared.strike();
    }
    if struck && weather != Weather::LostAnswers {
        return Ok(refused(refusal.expect("a refusal")));
    }
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let response = pass_on(request, &shared, &upstream).await?;
    if struck {
        response.into_body().collect().await.map_err(io::Error::other)?;
        return Ok(refused(refusal.expect("a refusal")));
    }
    shared.passes().await;
    Ok(response.map(|body| if watches { events(body, shared) } else { plain(body, shared) }))
}

async fn pass_on(
    request: Request<Incoming>,
    shared: &Shared,
    upstream: &Mutex<Option<SendRequest<Full<Bytes>>>>,
) -> io::Result<Response<Incoming>> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    head.headers.remove(ACCEPT_ENCODING);
    head.headers.insert(HOST, shared.server.to_string().parse().map_err(io::Error::other)?);
    let mut kept = upstream.lock().await;
    let mut sender = match kept.take() {
        Some(sender) if sender.is_ready() => sender,
        _ => shared.connect().await?,
    };
    let request = Request::from_parts(head, Full::new(body));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    *kept = Some(sender);
    Ok(response)
}

/// An answer of the proxy's own, as the API server words them.
fn refused((code, reason): (StatusCode, &str)) -> Response<Body> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the weather is bad", "reason": reason, "code": code.as_u16(),
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(io::Error::other).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a type"));
    if code == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, "1".parse().expect("a number"));
    }
    response
}

/// A body as it comes, held back while nothing is passed on.
fn plain(body: Incoming, shared: Arc<Shared>) -> Body {
    let frames = body.into_data_stream().map_err(io::Error::other).and_then(move |data| {
        let shared = shared.clone();
        async move {
            shared.passes().await;
            Ok(Frame::data(data))
        }
    });
    StreamBody::new(frames.boxed()).boxed_unsync()
}

/// The events of a watch, one a line, each as often and as late as the weather wants it.
fn events(body: Incoming, shared: Arc<Shared>) -> Body {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reading = tokio::spawn(read_events(body, shared.clone(), sender));
    let state = (receiver, shared, Reading(reading));
    let frames = futures::stream::unfold(state, |(mut receiver, shared, reading)| async move {
        let (at, line): (Instant, io::Result<Bytes>) = receiver.recv().await?;
        sleep_until(at).await;
        shared.passes().await;
        Some((line.map(Frame::data), (receiver, shared, reading)))
    });
    StreamBody::new(frames.boxed()).boxed_unsync()
}

/// Ends with the body that it is read for.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read_events(
    body: Incoming,
    shared: Arc<Shared>,
    sender: mpsc::UnboundedSender<(Instant, io::Result<Bytes>)>,
) {
    let mut body = body.into_data_stream();
    let mut rest = Vec::new();
    while let Some(data) = body.next().await {
        match data {
            Ok(data) => rest.extend_from_slice(&data),
            Err(error) => {
                let _ = sender.send((Instant::now(), Err(io::Error::other(error))));
                return;
            }
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = Bytes::from(rest.drain(..=end).collect::<Vec<_>>());
            let weather = *shared.weather.borrow();
            let (times, late) = match weather {
                Weather::Duplicates => (2, Duration::ZERO),
                Weather::Delays(late) => (1, late),
                _ => (1, Duration::ZERO),
            };
            if times > 1 || !late.is_zero() {
                shared.strike();
            }
            for _ in 0..times {
                let _ = sender.send((Instant::now() + late, Ok(line.clone())));
            }
        }
    }
}
