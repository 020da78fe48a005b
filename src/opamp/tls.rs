//! TLS: what the door shows of itself, and the proof that a peer holds the key of the certificate that it shows. Whose
//! certificate that is, the credentials tell.

use super::credentials::Chain;
use super::expiry::first_expiry;
use crate::telemetry::{Counts, Told};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The certificate of the door with its key. No `Debug`: it holds the key.
pub struct Identity {
    acceptor: TlsAcceptor,
    expires: Option<i64>,
}

/// Why a certificate and a key are no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is no PEM, or has no certificate.
    #[error("no certificate can be read")]
    NoCertificate,
    /// The file is no PEM, or has no key.
    #[error("no private key can be read")]
    NoKey,
    /// They cannot be used, or do not belong together.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(rustls::Error),
}

impl Identity {
    /// The identity in a PEM file with the certificate and those above it, and one with the key. Peers are asked for
    /// a certificate of their own, and need not have one.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn new(certificates: &[u8], key: &[u8], asks_for_certificates: bool) -> Result<Self, IdentityError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(IdentityError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::NoKey)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(IdentityError::Unusable)?;
        let builder = if asks_for_certificates {
            builder.with_client_cert_verifier(Arc::new(Possession(provider)))
        } else {
            builder.with_no_client_auth()
        };
        let expires = first_expiry(&chain);
        let mut config = builder.with_single_cert(chain, key).map_err(IdentityError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Agents connect once and stay: a session to resume is of use to nobody, and would be kept for each.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), expires })
    }

    /// When the first of its certificates expires, in seconds since 1970, if that can be read.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// The handshake, and the certificates that the peer has shown.
    pub(super) async fn greet<S>(&self, stream: S) -> std::io::Result<(TlsStream<S>, Option<Chain>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.acceptor.accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        let chain = chain.map(|chain| chain.iter().cloned().map(CertificateDer::into_owned).collect());
        Ok((stream, chain))
    }
}

/// Lets every certificate pass whose key the peer has. Which authorities count may change while a session lasts, so
/// they are asked for with each request and not in the handshake; and a peer is told by a status what is wrong.
#[derive(Debug)]
struct Possession(Arc<CryptoProvider>);

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What is told of certificates; clones tell together.
#[derive(Clone, Debug)]
pub struct Metrics {
    reloads: Counts<1>,
    files: Told<FileLabels>,
    authorities: Told<AuthorityLabels>,
}

/// When the certificates in the files expire, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expiries {
    /// That which is served.
    pub server: Option<i64>,
    /// The first of those by which agents' certificates are verified.
    pub client_authority: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct FileLabels {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct AuthorityLabels {
    namespace: String,
    secret: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let reloads = Counts::new([("result", &["ok", "refused"])]);
        Self { reloads, files: Told::default(), authorities: Told::default() }
    }
}

impl Metrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Changed certificate files, by whether they were taken";
        self.reloads.register(registry, "opamp_certificate_reloads", help);
        let help = "When the certificates in the files expire, in seconds since 1970";
        self.files.register_seconds(registry, "opamp_certificate_expiry_timestamp", help);
        let help = "When the first certificate in a Secret with an authority expires, in seconds since 1970";
        self.authorities.register_seconds(registry, "opamp_agent_ca_expiry_timestamp", help);
    }

    /// Counts a changed set of files: `ok`, or `refused`.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.inc([result]);
    }

    /// Tells when the certificates in the files expire.
    pub fn files_expire(&self, expiries: Expiries) {
        let told = [("server", expiries.server), ("client_ca", expiries.client_authority)];
        let known = told.into_iter().filter_map(|(certificate, at)| Some((FileLabels { certificate }, at?)));
        self.files.tell(known);
    }

    /// Tells when the authorities in these Secrets expire, by namespace and name, and of no others.
    pub fn authorities_expire(&self, secrets: impl IntoIterator<Item = (String, String, i64)>) {
        let labelled = |(namespace, secret, at)| (AuthorityLabels { namespace, secret }, at);
        self.authorities.tell(secrets.into_iter().map(labelled));
    }
}
