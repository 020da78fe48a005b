//! TLS: what the door shows of itself, and the proof that a peer holds the key of the certificate that it shows. Whose
//! certificate that is, the credentials tell.

use super::credentials::Chain;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family};
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
pub struct Identity(TlsAcceptor);

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
        let mut config = builder.with_single_cert(chain, key).map_err(IdentityError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Agents connect once and stay: a session to resume is of use to nobody, and would be kept for each.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The handshake, and the certificates that the peer has shown.
    pub(super) async fn greet<S>(&self, stream: S) -> std::io::Result<(TlsStream<S>, Option<Chain>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.0.accept(stream).await?;
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

/// Counts reloads of the certificate files; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Family<ReloadLabels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

impl Metrics {
    /// Puts the metric into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Changed certificate files, by whether they were taken";
        registry.register("opamp_certificate_reloads", help, self.0.clone());
    }

    /// Counts a changed set of files: `ok`, or `refused`.
    pub fn reloaded(&self, result: &'static str) {
        self.0.get_or_create(&ReloadLabels { result }).inc();
    }
}
