//! One post over HTTP/1.1: a connection of its own, through a proxy or not, no redirects, and a limit on the time for all
//! of it. Nothing of the answer but its status and `Retry-After` is read. Errors name neither address nor content.

use super::proxies::{Proxy, Way};
use crate::notify::message::Message;
use crate::notify::retry::Outcome;
use crate::notify::url::Url;
use http_body_util::{Empty, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a post may take, from the lookup of the name to the head of the answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Who posts.
const AGENT: &str = concat!("opamp-operator/", env!("CARGO_PKG_VERSION"));

/// By whom a receiver's certificate must be signed.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

/// Authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is no PEM, or has no certificate.
    #[error("no certificate of an authority can be read from it")]
    NoAuthority,
    /// TLS cannot be set up.
    #[error("it cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Trust {
    /// The system's authorities: those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or the usual places. Without any,
    /// no receiver is trusted.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn of_system() -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        Self::new(roots)
    }

    /// No authorities: for receivers without TLS.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn of_nobody() -> Result<Self, TrustError> {
        Self::new(RootCertStore::empty())
    }

    /// These authorities and no others, in PEM.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn of_file(pem: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(pem) {
            roots.add(authority.map_err(|_| TrustError::NoAuthority)?)?;
        }
        if roots.is_empty() {
            return Err(TrustError::NoAuthority);
        }
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, TrustError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// Posts a message by this way.
pub async fn post(url: &Url, way: &Way, trust: &Trust, message: Message) -> Outcome {
    match tokio::time::timeout(PATIENCE, try_post(url, way, trust, message)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(why)) => Outcome::without_answer(why),
        Err(_) => Outcome::without_answer(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn try_post(url: &Url, way: &Way, trust: &Trust, message: Message) -> Result<Outcome, String> {
    match way {
        Way::Direct => {
            let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
            let stream = stream.map_err(|error| format!("cannot connect: {}", error.kind()))?;
            if url.encrypted {
                encrypted(stream, url, trust, message).await
            } else {
                exchange(stream, url, message).await
            }
        }
        Way::Through(proxy) => encrypted(tunnel(proxy, url).await?, url, trust, message).await,
        Way::Unusable => {
            Err("the proxy of the environment is of no use: write HTTPS_PROXY=http://HOST:PORT".to_owned())
        }
    }
}

/// The way through a proxy: bytes from and to the receiver.
async fn tunnel(proxy: &Proxy, url: &Url) -> Result<TokioIo<Upgraded>, String> {
    let stream = TcpStream::connect((proxy.host.as_str(), proxy.port)).await;
    let stream = stream.map_err(|error| format!("cannot connect to the proxy: {}", error.kind()))?;
    let address = url.address();
    let mut request =
        Request::connect(address.as_str()).header(HOST, address.as_str()).header(USER_AGENT, AGENT);
    if let Some(credentials) = &proxy.credentials {
        request = request.header(PROXY_AUTHORIZATION, credentials);
    }
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|_| "its URL does not fit into a request to the proxy".to_owned())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| "the proxy speaks no HTTP".to_owned())?;
    let connection = connection.with_upgrades();
    let opened = async {
        let closed = |_| "the proxy closed the connection".to_owned();
        let answer = sender.send_request(request).await.map_err(closed)?;
        match answer.status() {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err("the proxy wants a user and a password (status 407), or others".to_owned())
            }
            status if status.is_success() => hyper::upgrade::on(answer).await.map_err(closed),
            status => Err(format!("the proxy does not let it through: status {}", status.as_u16())),
        }
    };
    tokio::pin!(connection, opened);
    // The connection is driven here. It ends when it becomes the tunnel.
    let opened = tokio::select! {
        opened = &mut opened => opened,
        _ = &mut connection => opened.await,
    };
    opened.map(TokioIo::new)
}

async fn encrypted<S>(stream: S, url: &Url, trust: &Trust, message: Message) -> Result<Outcome, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let name = ServerName::try_from(url.host.clone()).map_err(|_| "its host is no name".to_owned())?;
    let stream = TlsConnector::from(trust.0.clone()).connect(name, stream).await;
    exchange(stream.map_err(|error| tls(&error))?, url, message).await
}

/// What is wrong with a handshake, in words that do not name the host.
fn tls(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "its certificate is not accepted: check its name, its dates, and caFile".to_owned()
        }
        Some(_) => "no TLS handshake: is it a port for HTTPS?".to_owned(),
        None => format!("no TLS handshake: {}", error.kind()),
    }
}

async fn exchange<S>(stream: S, url: &Url, message: Message) -> Result<Outcome, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url.path.as_str())
        .header(HOST, url.authority.as_str())
        .header(USER_AGENT, AGENT);
    for (name, value) in message.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(message.body)));
    let request = request.map_err(|_| "its URL does not fit into a request".to_owned())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| "no HTTP".to_owned())?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    // The connection is driven here, so that it ends with the post. It may end right after the answer.
    let answer = tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    };
    let answer = answer.map_err(|_| "the connection was closed before an answer".to_owned())?;
    Ok(Outcome::of_answer(answer.status().as_u16(), retry_after(answer.headers()), Timestamp::now()))
}

fn retry_after(headers: &HeaderMap) -> Option<&str> {
    headers.get(RETRY_AFTER)?.to_str().ok()
}
