//! Joins the agents' door to what the cluster knows of credentials.

use crate::cluster::{AgentSecrets, Rejected, Reviewer};
use crate::fleet::Principal;
use crate::opamp::credentials::{
    Anybody, Authority, Authorization, Credentials, Known, Owner, Refusal, Shown, Token, TokenDigest,
    first_good,
};
use crate::opamp::tls;
use crate::settings::{AgentAuth, Settings};
use crate::telemetry::Overflows;
use futures::future::BoxFuture;
use kube::Client;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// What opens the door, as the flags say; and the keyring behind it, unless it is open for all.
pub fn credentials(
    settings: &Settings,
    client: &Client,
    overflows: &Overflows,
    certificates: &tls::Metrics,
) -> (Arc<dyn Credentials>, Option<Arc<Keyring>>) {
    if settings.agent_auth == AgentAuth::None {
        tracing::warn!("--agent-auth none: whoever reaches the port is served");
        return (Arc::new(Anybody::new(&settings.agent_namespace)), None);
    }
    let keyring = Arc::new(Keyring {
        auth: settings.agent_auth,
        reviewer: Reviewer::new(client.clone(), settings.timings.review_memory, overflows.clone()),
        lists: RwLock::default(),
        changes: watch::Sender::new(0),
        certificates: certificates.clone(),
    });
    (keyring.clone(), Some(keyring))
}

/// All credentials of agents.
pub struct Keyring {
    auth: AgentAuth,
    reviewer: Reviewer,
    lists: RwLock<Lists>,
    changes: watch::Sender<u64>,
    certificates: tls::Metrics,
}

#[derive(Default)]
struct Lists {
    /// Whether the Secrets have been listed. Before that nobody can be told that a token is wrong.
    listed: bool,
    tokens: HashMap<TokenDigest, Arc<Principal>>,
    /// Those of the Secrets.
    authorities: Vec<Authority>,
    /// That of the file.
    file: Option<Authority>,
}

impl Lists {
    /// Who shows these certificates. The file is the administrator's, so it goes before the Secrets: whoever may make
    /// Secrets in one namespace must not get the agents of others by a copy of its certificates, which are no secret.
    fn certificate(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Known {
        let authorities = self.file.iter().chain(&self.authorities);
        match first_good(authorities.map(|authority| authority.principal(chain, now))) {
            Ok(principal) => Known::Granted(principal.into()),
            Err(_) if !self.listed => Known::Refused(Refusal::Unavailable),
            Err(refusal) => Known::Refused(refusal),
        }
    }
}

impl Keyring {
    /// Takes in the Secrets as they are now.
    pub fn take_secrets(&self, secrets: AgentSecrets) {
        let (mut authorities, mut expiries) = (Vec::new(), Vec::new());
        for secret in secrets.authorities {
            let (namespace, name) = (secret.namespace, secret.name);
            let owner = Owner::Namespace(namespace.clone(), secret.verified);
            match Authority::new(&secret.pem, owner) {
                Ok(authority) => {
                    expiries.extend(authority.expires().map(|at| (namespace, name, at)));
                    authorities.push(authority);
                }
                Err(error) => {
                    tracing::warn!(%namespace, name, %error, "no certificate is accepted by this agent-ca secret");
                }
            }
        }
        self.certificates.authorities_expire(expiries);
        self.change(|lists| {
            lists.listed = true;
            lists.tokens = secrets.tokens;
            lists.authorities = authorities;
        });
    }

    /// Takes the authority of a file in place of the one before.
    pub fn take_file(&self, authority: Option<Authority>) {
        self.change(|lists| lists.file = authority);
    }

    fn change(&self, work: impl FnOnce(&mut Lists)) {
        work(&mut self.lists.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|change| *change += 1);
    }

    fn lists(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up_token(&self, token: &Token) -> Known {
        if self.auth.tokens() {
            let lists = self.lists();
            if let Some(principal) = lists.tokens.get(token.digest()) {
                return Known::Granted(principal.clone());
            }
            if !lists.listed {
                return Known::Refused(Refusal::Unavailable);
            }
        }
        match token.signed() {
            Some(_) if self.auth.service_accounts() => {
                self.reviewer.remembers(token.digest()).map_or(Known::Ask, Known::Granted)
            }
            _ => Known::Refused(Refusal::Unknown),
        }
    }

    fn look_up_certificate(&self, shown: &Shown) -> Known {
        let Some(chain) = shown.certificates.as_deref().filter(|_| self.auth.certificates()) else {
            return Known::Refused(Refusal::Missing);
        };
        self.lists().certificate(chain, UnixTime::now())
    }
}

impl Credentials for Keyring {
    /// A token, if one is shown and tokens count, decides alone: a bad one is not made good by a certificate.
    fn look_up(&self, shown: &Shown) -> Known {
        match &shown.authorization {
            Authorization::Bearer(token) if self.auth.bearers() => self.look_up_token(token),
            Authorization::Other if self.auth.bearers() => Known::Refused(Refusal::Malformed),
            _ => self.look_up_certificate(shown),
        }
    }

    fn ask<'a>(&'a self, shown: &'a Shown) -> BoxFuture<'a, Result<Arc<Principal>, Refusal>> {
        Box::pin(async {
            let Authorization::Bearer(token) = &shown.authorization else { return Err(Refusal::Unknown) };
            let text = token.signed().ok_or(Refusal::Unknown)?;
            self.reviewer.review(token.digest(), text).await.map_err(|rejected| match rejected {
                Rejected::Invalid => Refusal::Unknown,
                Rejected::Unanswered => Refusal::Unavailable,
            })
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Attributes;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

    const AGENT: &str = "spiffe://example.org/ns/edge/sa/agent";

    #[test]
    fn copy_of_the_files_authority_in_a_secret_takes_no_agent_of_another_namespace() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        let mut agent = CertificateParams::default();
        agent.subject_alt_names = vec![SanType::URI(AGENT.try_into().expect("ASCII"))];
        let own = KeyPair::generate().expect("a key");
        let chain = [agent.signed_by(&own, &issuer).expect("a certificate").der().clone()];

        let authority = |owner| Authority::new(pem.as_bytes(), owner).expect("an authority");
        let copy = || authority(Owner::Namespace("thief".to_owned(), Attributes::default()));
        for (file, listed, expected) in [
            (Some(authority(Owner::Spiffe)), true, Ok("edge")),
            (Some(authority(Owner::Spiffe)), false, Ok("edge")),
            (None, true, Ok("thief")),
        ] {
            let lists = Lists { listed, authorities: vec![copy()], file, ..Lists::default() };
            let namespace = match lists.certificate(&chain, UnixTime::now()) {
                Known::Granted(principal) => Ok(principal.namespace.to_string()),
                other => Err(other),
            };
            assert_eq!(namespace.as_deref().map_err(|_| ()), expected);
        }
        let none = Lists::default().certificate(&chain, UnixTime::now());
        assert!(
            matches!(none, Known::Refused(Refusal::Unavailable)),
            "before the Secrets are known: {none:?}"
        );
    }
}
