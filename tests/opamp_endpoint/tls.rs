//! TLS at the door: versions, certificates of both sides, and a change of the door's own while sessions last.

use super::gate::Tokens;
use super::limits::refused_connections;
use super::raw::{Socket, bare, full, post};
use super::server::{Server, uid};
use super::within;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use opamp_operator::fleet::{Attributes, Principal};
use opamp_operator::opamp::Limits;
use opamp_operator::opamp::credentials::{Authority, Credentials, Known, Owner, Refusal, Shown};
use opamp_operator::opamp::proto::{AgentToServer, ServerToAgent};
use opamp_operator::opamp::tls::Identity;
use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority of certificates.
struct Signer {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Signer {
    fn new() -> Self {
        Self::until(4000)
    }

    /// One that is valid until the beginning of this year.
    fn until(year: i32) -> Self {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    fn identity(&self) -> Arc<Identity> {
        let Pair { certificate, key } = self.sign("door");
        Identity::new(certificate.as_bytes(), key.as_bytes(), true).expect("an identity").into()
    }
}

/// What trusts one authority at a time.
struct Trust {
    authority: Mutex<Authority>,
    changes: watch::Sender<u64>,
}

impl Trust {
    fn new(signer: &Signer) -> Arc<Self> {
        Arc::new(Self { authority: Mutex::new(authority(signer)), changes: watch::Sender::new(0) })
    }

    fn change(&self, signer: &Signer) {
        *self.authority.lock().expect("an authority") = authority(signer);
        self.changes.send_modify(|change| *change += 1);
    }
}

fn authority(signer: &Signer) -> Authority {
    let owner = Owner::Namespace("edge".to_owned(), Attributes::default());
    Authority::new(signer.pem.as_bytes(), owner).expect("an authority")
}

impl Credentials for Trust {
    fn look_up(&self, shown: &Shown) -> Known {
        let Some(chain) = &shown.certificates else { return Known::Refused(Refusal::Missing) };
        let principal = self.authority.lock().expect("an authority").principal(chain, UnixTime::now());
        principal.map_or_else(Known::Refused, |principal| Known::Granted(principal.into()))
    }

    fn ask<'a>(&'a self, _: &'a Shown) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>> {
        Box::pin(async { Err(Refusal::Unknown) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A connection of a peer that trusts `door` and shows this certificate, if any.
async fn connect(
    server: SocketAddr,
    door: &Signer,
    own: Option<&Pair>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(door.pem.as_bytes()).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    let stream = TcpStream::connect(server).await?;
    let name = ServerName::try_from("door").expect("a name");
    within("the handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Sends a message over plain HTTP in TLS.
async fn ask(stream: TlsStream<TcpStream>, message: &AgentToServer, token: &str) -> (StatusCode, Bytes) {
    let mut request = post(message);
    if !token.is_empty() {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    }
    let (head, body) = request.into_parts();
    let request = hyper::Request::from_parts(head, Full::new(Bytes::from(body)));
    within("a response", async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a client");
        let driver = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.expect("a response").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        driver.abort();
        (head.status, body)
    })
    .await
}

async fn with_token(identity: Arc<Identity>, limits: Limits) -> (watch::Sender<Arc<Identity>>, Server) {
    let tokens = Tokens::default();
    tokens.give("good", "one");
    let (identity, shown) = watch::channel(identity);
    (identity, Server::behind_tls(limits, Arc::new(tokens), shown).await)
}

#[tokio::test]
async fn both_transports_are_served_over_tls_1_2_and_1_3() {
    let door = Signer::new();
    let (_identity, server) = with_token(door.identity(), Limits::default()).await;
    for (number, version) in [(1, &TLS12), (2, &TLS13)] {
        let stream = connect(server.address, &door, None, version).await.expect("a connection");
        let (status, body) = ask(stream, &full(uid(number), 0), "good").await;
        let answer = ServerToAgent::decode(body).expect("an answer");
        assert_eq!((status, answer.instance_uid), (StatusCode::OK, uid(number).to_vec()));
        let stream = connect(server.address, &door, None, version).await.expect("a connection");
        let mut socket = Socket::over(stream, server.address, "Bearer good").await;
        assert_eq!(socket.ask(&full(uid(number + 10), 0)).await.instance_uid, uid(number + 10));
    }
    let stream = connect(server.address, &door, None, &TLS13).await.expect("a connection");
    assert_eq!(ask(stream, &full(uid(3), 0), "").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn peer_without_tls_and_one_that_never_shakes_hands_are_dropped() {
    let door = Signer::new();
    let limits = Limits { header_read_timeout: Duration::from_millis(50), ..Limits::default() };
    let (_identity, server) = with_token(door.identity(), limits).await;
    for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b""] {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        stream.write_all(sent).await.expect("sent");
        let mut rest = Vec::new();
        // The end may be a reset.
        drop(within("the end", stream.read_to_end(&mut rest)).await);
        assert!(!rest.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&rest));
    }
    within("both to be counted", async {
        while server.metric("opamp_connections_refused_total{reason=\"tls\"}") < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn door_with_another_certificate_keeps_its_sessions() {
    let (before, after) = (Signer::new(), Signer::new());
    let (identity, server) = with_token(before.identity(), Limits::default()).await;
    let stream = connect(server.address, &before, None, &TLS13).await.expect("a connection");
    let mut socket = Socket::over(stream, server.address, "Bearer good").await;
    socket.ask(&full(uid(1), 0)).await;
    identity.send_replace(after.identity());
    assert!(
        connect(server.address, &before, None, &TLS13).await.is_err(),
        "the old one is not shown any more"
    );
    connect(server.address, &after, None, &TLS13).await.expect("a connection");
    assert_eq!(socket.ask(&bare(uid(1), 1)).await.instance_uid, uid(1));
}

#[tokio::test]
async fn certificate_says_who_a_peer_is_and_a_changed_authority_closes_its_sockets() {
    let (door, ours, theirs) = (Signer::new(), Signer::new(), Signer::new());
    let trust = Trust::new(&ours);
    let (_identity, shown) = watch::channel(door.identity());
    let server = Server::behind_tls(Limits::default(), trust.clone(), shown).await;
    for (pair, version, expected) in [
        (Some(ours.sign("agent")), &TLS12, StatusCode::OK),
        (Some(ours.sign("agent")), &TLS13, StatusCode::OK),
        (Some(theirs.sign("agent")), &TLS13, StatusCode::UNAUTHORIZED),
        (None, &TLS13, StatusCode::UNAUTHORIZED),
    ] {
        let stream = connect(server.address, &door, pair.as_ref(), version).await.expect("a connection");
        assert_eq!(ask(stream, &full(uid(1), 0), "").await.0, expected);
    }
    let pair = ours.sign("agent");
    let stream = connect(server.address, &door, Some(&pair), &TLS13).await.expect("a connection");
    let mut socket = Socket::over(stream, server.address, "").await;
    assert!(socket.ask(&full(uid(1), 0)).await.agent_identification.is_none(), "the same subject");
    trust.change(&theirs);
    assert_eq!(socket.closed().await, Some(1008));
}

#[tokio::test]
async fn authority_that_has_expired_lets_nobody_in() {
    let (door, old) = (Signer::new(), Signer::until(2021));
    let (_identity, shown) = watch::channel(door.identity());
    let server = Server::behind_tls(Limits::default(), Trust::new(&old), shown).await;
    let pair = old.sign("agent");
    let stream = connect(server.address, &door, Some(&pair), &TLS13).await.expect("a connection");
    assert_eq!(ask(stream, &full(uid(1), 0), "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refused_connections(&server, "expired"), 1);
}

#[tokio::test]
async fn certificate_without_its_key_opens_nothing() {
    let (door, ours) = (Signer::new(), Signer::new());
    let (_identity, shown) = watch::channel(door.identity());
    let server = Server::behind_tls(Limits::default(), Trust::new(&ours), shown).await;
    let stolen = Pair { certificate: ours.sign("agent").certificate, key: ours.sign("other").key };
    let provider = rustls::crypto::ring::default_provider();
    let key = provider
        .key_provider
        .load_private_key(PrivateKeyDer::from_pem_slice(stolen.key.as_bytes()).expect("PEM"));
    let chain = vec![CertificateDer::from_pem_slice(stolen.certificate.as_bytes()).expect("PEM")];
    let pair = Arc::new(rustls::sign::CertifiedKey::new(chain, key.expect("a key")));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(door.pem.as_bytes()).expect("PEM")).expect("a certificate");
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&TLS12])
        .expect("a version")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let name = ServerName::try_from("door").expect("a name");
    let shaken = within("the end", TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    assert!(shaken.is_err());
}
