//! The file with the receivers of notifications: read at the start, and again when it or an authority that it names
//! changes. One that cannot be used is told and changes nothing: agents are served without notifications as well.

use super::follow::{Seen, follow};
use crate::notify::{Metrics, Outbox, Receiver, Receivers, Route, Trust, TrustError, parse};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What stands for the file of an authority that was not read.
static NOTHING: Vec<u8> = Vec::new();

/// The file, and where its receivers are put.
pub struct Notifications {
    file: PathBuf,
    outbox: Outbox,
    metrics: Metrics,
    seen: Seen,
}

/// The content of the file, and of the authorities that it names, as they are read.
#[derive(PartialEq, Eq, Hash)]
struct Content {
    file: Result<Vec<u8>, String>,
    authorities: Vec<Result<Vec<u8>, String>>,
}

impl Notifications {
    /// Reads the file for the first time.
    pub fn load(file: &Path, outbox: Outbox, metrics: Metrics) -> Self {
        let mut loaded = Self { file: file.to_owned(), outbox, metrics, seen: Seen::default() };
        loaded.look();
        loaded
    }

    /// Looks at the files for ever.
    pub async fn follow(mut self, every: Duration) {
        follow(every, || self.look()).await;
    }

    fn look(&mut self) {
        let Some(content) = self.seen.news(|| Some(Content::read(&self.file))) else { return };
        match content.routes(Trust::of_system) {
            Ok(routes) => {
                tracing::info!(receivers = routes.len(), "notifications file was read");
                self.outbox.take(routes);
                self.metrics.read(true);
            }
            Err(error) => {
                let file = self.file.display();
                tracing::error!(%file, error, "notifications file cannot be used: the receivers before stay, if there were any");
                self.metrics.read(false);
            }
        }
    }
}

impl Content {
    fn read(file: &Path) -> Self {
        let file = read(file);
        let named = file.as_ref().ok().and_then(|bytes| receivers(bytes).ok()).unwrap_or_default();
        let paths = named.0.iter().filter_map(|receiver| receiver.authority.as_deref());
        let authorities = paths.map(read).collect();
        Self { file, authorities }
    }

    /// The receivers, each with whom to trust. The system's authorities are read where somebody needs them: an image may
    /// have none, or some that cannot be used.
    fn routes(&self, of_system: impl FnOnce() -> Result<Trust, TrustError>) -> Result<Vec<Route>, String> {
        let Receivers(receivers) = receivers(self.file.as_ref().map_err(Clone::clone)?)?;
        let is_systems =
            |receiver: &Receiver| receiver.authority.is_none() && receiver.target.url().encrypted;
        let system = if receivers.iter().any(is_systems) { of_system() } else { Trust::of_nobody() };
        let system = system.map_err(|error| format!("the system's authorities: {error}"))?;
        // In the receivers' order.
        let mut authorities = self.authorities.iter();
        let mut routes = Vec::new();
        for receiver in receivers {
            let trust = match &receiver.authority {
                None => system.clone(),
                Some(path) => {
                    let wrong =
                        |why: &str| format!("receiver {}, caFile {}: {why}", receiver.name, path.display());
                    let pem = authorities.next().map_or(Ok(&NOTHING), Result::as_ref);
                    let pem = pem.map_err(|error| wrong(error))?;
                    Trust::of_file(pem).map_err(|error| wrong(&error.to_string()))?
                }
            };
            routes.push(Route { receiver, trust });
        }
        Ok(routes)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read it: {error}"))
}

fn receivers(bytes: &[u8]) -> Result<Receivers, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: &str = "webhook: {url: 'URL', signingKeys: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]";

    #[test]
    fn systems_authorities_are_read_only_for_a_receiver_that_needs_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, authority) = (folder.path().join("notifications.yaml"), folder.path().join("ca.pem"));
        let params = rcgen::CertificateParams::default();
        let key = rcgen::KeyPair::generate().expect("a key");
        std::fs::write(&authority, params.self_signed(&key).expect("a certificate").pem()).expect("written");
        let own = format!(", caFile: '{}'", authority.display());
        let (encrypted, plain) = ("https://example.com/", "http://127.0.0.1/");
        for (receivers, is_read) in [
            (&[(encrypted, own.as_str())][..], false),
            (&[(encrypted, own.as_str()), (encrypted, own.as_str())], false),
            (&[(plain, "")], false),
            (&[(plain, ""), (encrypted, own.as_str())], false),
            (&[(encrypted, "")], true),
            (&[(encrypted, own.as_str()), (encrypted, "")], true),
        ] {
            let lines = receivers.iter().enumerate().map(|(number, (url, authority))| {
                format!("- {{name: hook-{number}, {}{authority}}}}}\n", HOOK.replace("URL", url))
            });
            let text = format!("receivers:\n{}", lines.collect::<String>());
            std::fs::write(&file, &text).expect("written");
            let content = Content::read(&file);
            let mut reads = 0;
            let routes = content.routes(|| {
                reads += 1;
                Trust::of_system()
            });
            let routes = routes.unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!((routes.len(), reads), (receivers.len(), usize::from(is_read)), "{text}");
            let unusable = content.routes(|| Err(TrustError::NoAuthority));
            assert_eq!(unusable.is_err(), is_read, "{text}");
        }
    }
}
