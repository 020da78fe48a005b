//! The files with the door's certificate, its key, and the authority of agents' certificates: read at the start, and
//! again when they change.

use super::RunError;
use super::credentials::Keyring;
use super::follow::{Seen, follow};
use crate::opamp::credentials::{Authority, Owner};
use crate::opamp::tls::{Expiries, Identity, Metrics};
use crate::settings::TlsFiles;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The files, and what was made of them.
pub struct Certificates {
    files: TlsFiles,
    /// Whether peers are asked for certificates of their own.
    mutual: bool,
    keyring: Option<Arc<Keyring>>,
    identity: watch::Sender<Arc<Identity>>,
    seen: Seen,
    metrics: Metrics,
}

/// The content of the files.
#[derive(PartialEq, Eq, Hash)]
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Option<Vec<u8>>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// With the file and what is wrong with it.
    pub fn load(
        files: &TlsFiles,
        mutual: bool,
        keyring: Option<Arc<Keyring>>,
        metrics: Metrics,
    ) -> Result<Self, RunError> {
        let content = Content::read(files)?;
        let (identity, authority) = content.check(files, mutual)?;
        metrics.files_expire(expiries(&identity, authority.as_ref()));
        if let Some(keyring) = &keyring {
            keyring.take_file(authority);
        }
        let mut seen = Seen::default();
        seen.note(&content);
        Ok(Self {
            files: files.clone(),
            mutual,
            keyring,
            identity: watch::Sender::new(identity.into()),
            seen,
            metrics,
        })
    }

    /// What the door shows, now and later.
    pub fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        self.identity.subscribe()
    }

    /// Looks at the files for ever. A new set is taken as a whole or not at all: sessions go on either way, and new
    /// ones see the last set that was good.
    pub async fn follow(mut self, every: Duration) {
        follow(every, || self.look()).await;
    }

    fn look(&mut self) {
        let Some(content) = self.seen.news(|| Content::read(&self.files).ok()) else { return };
        match content.check(&self.files, self.mutual) {
            Ok((identity, authority)) => {
                self.metrics.files_expire(expiries(&identity, authority.as_ref()));
                self.identity.send_replace(identity.into());
                if let Some(keyring) = &self.keyring {
                    keyring.take_file(authority);
                }
                tracing::info!("certificate files were reloaded");
                self.metrics.reloaded("ok");
            }
            Err(error) => {
                tracing::error!(%error, "changed certificate files are not taken: the ones before stay in use");
                self.metrics.reloaded("refused");
            }
        }
    }
}

fn expiries(identity: &Identity, authority: Option<&Authority>) -> Expiries {
    Expiries { server: identity.expires(), client_authority: authority.and_then(Authority::expires) }
}

impl Content {
    fn read(files: &TlsFiles) -> Result<Self, RunError> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| RunError::Tls { path: path.to_owned(), cause: error.to_string() })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            authority: files.client_authority.as_deref().map(read).transpose()?,
        })
    }

    fn check(&self, files: &TlsFiles, mutual: bool) -> Result<(Identity, Option<Authority>), RunError> {
        let identity = Identity::new(&self.certificate, &self.key, mutual)
            .map_err(|error| RunError::Tls { path: files.certificate.clone(), cause: error.to_string() })?;
        let authority = match (&self.authority, &files.client_authority) {
            (Some(pem), Some(path)) => Some(
                Authority::new(pem, Owner::Spiffe)
                    .map_err(|error| RunError::Tls { path: path.clone(), cause: error.to_string() })?,
            ),
            _ => None,
        };
        Ok((identity, authority))
    }
}
