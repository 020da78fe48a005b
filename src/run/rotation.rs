//! Joins the tokens that agents are to use from now on to the door that tells them.

use super::RunError;
use crate::cluster::{AgentSecrets, OfferedToken};
use crate::config::{ConfigFile, HashKey, content_hash};
use crate::fleet::{Successor, TokenName, Tokens};
use crate::opamp::credentials::{Authority, Owner};
use crate::opamp::{Hub, Way};
use crate::settings::{PublicEndpoint, Settings};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What the name of settings of a connection is in what their hash is made of.
const HASHED_AS: &str = "opamp";

/// The tokens of the Secrets, and the way that agents take with them.
pub struct Rotation {
    way: Option<Way>,
    /// The file that the way's authority comes from.
    file: Option<PathBuf>,
    secrets: watch::Sender<Registered>,
    check: Duration,
}

/// What of the Secrets matters here. No `Debug`: tokens are in it.
#[derive(Default)]
pub struct Registered {
    known: BTreeSet<(Arc<str>, TokenName)>,
    offers: Vec<OfferedToken>,
}

impl Registered {
    /// What matters of these.
    pub fn of(secrets: &AgentSecrets) -> Self {
        let known = secrets.tokens.values().filter_map(|holder| {
            let token = holder.token.clone()?;
            Some((holder.namespace.clone(), token))
        });
        Self { known: known.collect(), offers: secrets.offers.clone() }
    }
}

impl Rotation {
    /// The way as the flags describe it; agents are told of tokens only if there is one.
    ///
    /// # Errors
    /// When the file with the authority cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, RunError> {
        let public = settings.public_endpoint.as_ref().filter(|_| settings.agent_auth.tokens());
        let file = public.and_then(|public| public.authority.clone());
        let authority = file.as_deref().map(read).transpose()?;
        let way = public.map(|PublicEndpoint { url, .. }| Way {
            endpoint: url.clone(),
            authority,
            heartbeat: settings.timings.assumed_interval,
        });
        let check = settings.timings.certificate_check;
        Ok(Self { way, file, secrets: watch::Sender::default(), check })
    }

    /// Takes in the Secrets as they are now.
    pub fn take(&self, registered: Registered) {
        if self.way.is_none() && !registered.offers.is_empty() && self.secrets.borrow().offers.is_empty() {
            tracing::warn!("agents are to be offered tokens, but without --public-endpoint they are not");
        }
        self.secrets.send_replace(registered);
    }

    /// Tells the hub for ever. The file is looked at again as time passes; one that is not good changes nothing.
    pub async fn follow(&self, hub: Arc<Hub>, key: HashKey) {
        let mut secrets = self.secrets.subscribe();
        let mut ticks = tokio::time::interval(self.check);
        let (mut way, mut wrong) = (self.way.clone(), None);
        secrets.mark_changed();
        loop {
            let changed = tokio::select! {
                changed = secrets.changed() => changed.is_ok(),
                _ = ticks.tick(), if self.file.is_some() => {
                    way.as_mut().is_some_and(|way| self.look(way, &mut wrong))
                }
            };
            if changed {
                hub.set_tokens(tokens(&secrets.borrow_and_update(), way.as_ref(), &key));
            }
        }
    }

    /// Looks at the file again; true if the way is another one.
    fn look(&self, way: &mut Way, wrong: &mut Option<String>) -> bool {
        let authority = match self.file.as_deref().map(read) {
            None => return false,
            Some(Ok(authority)) => authority,
            Some(Err(error)) => {
                let error = error.to_string();
                if wrong.as_ref() != Some(&error) {
                    tracing::error!(%error, "changed authority of the public endpoint is not taken");
                }
                *wrong = Some(error);
                return false;
            }
        };
        *wrong = None;
        let changed = way.authority.as_ref() != Some(&authority);
        if changed {
            tracing::info!("authority of the public endpoint was reloaded");
        }
        way.authority = Some(authority);
        changed
    }
}

/// The authorities in a file. What else may stand in such files is not for agents.
fn read(path: &Path) -> Result<String, RunError> {
    let error = |cause: String| RunError::Tls { path: path.to_owned(), cause };
    let pem = std::fs::read(path).map_err(|cause| error(cause.to_string()))?;
    Authority::new(&pem, Owner::Spiffe).map_err(|cause| error(cause.to_string()))?;
    let text = String::from_utf8(pem).map_err(|_| error("it is not text".to_owned()))?;
    if text.contains("PRIVATE KEY") {
        return Err(error("a private key is in it, and agents are sent this file".to_owned()));
    }
    Ok(text)
}

fn tokens(registered: &Registered, way: Option<&Way>, key: &HashKey) -> Tokens {
    let successors = registered.offers.iter().filter_map(|offered| {
        let (mark, token) = (offered.holder.mark()?, offered.holder.token.as_ref()?);
        let payload = way?.with_token(&offered.text);
        let hash = content_hash(key, &[ConfigFile::new(HASHED_AS, "", payload.to_vec())]);
        Some((mark, Successor { key: token.key.clone(), hash, payload }))
    });
    Tokens { known: registered.known.iter().cloned().collect(), successors: successors.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Attributes, Principal};

    fn registered(text: &str) -> Registered {
        let token = TokenName { secret: "edge".into(), key: "b".into() };
        let holder = Principal::new("ns", "ns/edge", Attributes::default()).by(token.clone());
        let offered = OfferedToken { holder: holder.into(), text: text.into() };
        Registered { known: [("ns".into(), token)].into(), offers: vec![offered] }
    }

    fn way(endpoint: &str) -> Way {
        Way { endpoint: endpoint.to_owned(), authority: None, heartbeat: Duration::from_secs(30) }
    }

    #[test]
    fn hash_stands_for_all_settings_and_without_a_way_nothing_is_offered() {
        let key = HashKey::try_from(&[7; 32][..]).expect("a key");
        let hash = |text: &str, endpoint: &str| {
            let tokens = tokens(&registered(text), Some(&way(endpoint)), &key);
            let [successor] = &tokens.successors.into_values().collect::<Vec<_>>()[..] else {
                panic!("one is offered")
            };
            successor.hash
        };
        assert_eq!(hash("token", "wss://a/b"), hash("token", "wss://a/b"));
        assert_ne!(hash("token", "wss://a/b"), hash("other", "wss://a/b"));
        assert_ne!(hash("token", "wss://a/b"), hash("token", "wss://a/c"));
        let idle = tokens(&registered("token"), None, &key);
        assert!(
            idle.successors.is_empty() && idle.known.len() == 1,
            "the agents of each are counted all the same"
        );
    }

    #[test]
    fn file_with_the_authority_has_certificates_and_no_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let mixed = format!("{pem}{}", key.serialize_pem());
        for (content, wrong) in
            [(pem.as_str(), None), (&mixed, Some("private key is in it")), ("no certificate", Some(""))]
        {
            let path = dir.path().join("ca.crt");
            std::fs::write(&path, content).expect("written");
            let read = read(&path).map_err(|error| error.to_string());
            match wrong {
                None => assert_eq!(read, Ok(content.to_owned())),
                Some(wrong) => assert!(read.expect_err("refused").contains(wrong)),
            }
        }
    }
}
