//! What an agent shows to be let in, and the connection that it opens: headers, and TLS with or without a certificate.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How agents are let in. Its parts are shared, so that a fleet has them once.
#[derive(Clone, Default)]
pub struct Access {
    headers: Arc<[(String, String)]>,
    tls: Option<Arc<ClientConfig>>,
}

/// Files that cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The authorities are no PEM, or there are none.
    #[error("no certificate of an authority can be read")]
    NoAuthority,
    /// The agents' own certificate is no PEM, or its key is none.
    #[error("the agents' certificate and its key cannot be read")]
    NoPair,
    /// They do not belong together, or are not supported.
    #[error("the certificates cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Access {
    /// By these headers of each request, name and value.
    #[must_use]
    pub fn by_headers(self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { headers: headers.into_iter().collect(), ..self }
    }

    /// Over TLS with servers that these authorities vouch for, in PEM; with a certificate and its key, if the agents
    /// have one.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn over_tls(self, authorities: &[u8], pair: Option<(&[u8], &[u8])>) -> Result<Self, AccessError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities) {
            roots.add(authority.map_err(|_| AccessError::NoAuthority)?)?;
        }
        if roots.is_empty() {
            return Err(AccessError::NoAuthority);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match pair {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| AccessError::NoPair)?;
                config.with_client_auth_cert(chain.map_err(|_| AccessError::NoPair)?, key)?
            }
        };
        Ok(Self { tls: Some(Arc::new(config)), ..self })
    }

    /// The headers.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Opens a connection to `HOST:PORT`.
    pub(super) async fn connect(&self, authority: &str, over_tls: bool) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        if !over_tls {
            return Ok(Box::new(stream));
        }
        let config = self.tls.clone().ok_or_else(|| io::Error::other("no authority is trusted"))?;
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
    }
}

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Without the values of headers: they are secrets.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers().map(|(name, _)| name).collect();
        f.debug_struct("Access").field("headers", &names).field("tls", &self.tls.is_some()).finish()
    }
}
