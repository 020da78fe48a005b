//! The Secrets with agents' credentials: follows them, and reads them into tables. Of a token only its SHA-256 is kept,
//! unless agents are to be offered it.

use super::Announcer;
use super::refused::{RefusedOffer, tell_refused_offers};
use super::watching::{pauses, watching};
use crate::api::{
    ATTRIBUTE_LABEL_PREFIX, AUTHORITY_SECRET, CREDENTIAL_LABEL, OFFER_ANNOTATION, TOKEN_SECRET,
};
use crate::fleet::{Attributes, Principal, TokenName};
use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::watch;

/// Shortest token, in bytes: 32 hex digits are 128 bits that nobody guesses.
const MIN_TOKEN_BYTES: usize = 32;
/// Why an offer is refused whose data key holds no good token.
const NO_TOKEN: &str =
    "annotation fleet.opamp.dev/offer names none of the Secret's tokens, so agents are offered nothing";
/// Why an offer is refused whose token counts as another one.
const NOT_ITS_OWN: &str = "annotation fleet.opamp.dev/offer names a token that an older Secret or another data key has \
                           too, so agents are offered nothing";
/// The data key of the certificates in a Secret with a certificate authority.
const AUTHORITY_KEY: &str = "ca.crt";

/// A Secret's namespace and name.
type Key = (String, String);

/// What all Secrets with credentials come to.
#[derive(Clone, Default)]
pub struct AgentSecrets {
    /// Who holds each token, by the token's SHA-256.
    pub tokens: HashMap<[u8; 32], Arc<Principal>>,
    /// The tokens that agents are to be offered in place of theirs.
    pub offers: Vec<OfferedToken>,
    /// The offers that Secrets ask for and that cannot be made.
    refused: Vec<RefusedOffer>,
    /// The certificate authorities.
    pub authorities: Vec<AgentAuthority>,
}

/// A token for the agents of its Secret. No `Debug`: it is the token.
#[derive(Clone, PartialEq, Eq)]
pub struct OfferedToken {
    /// Who speaks by it.
    pub holder: Arc<Principal>,
    /// The token.
    pub text: Box<str>,
}

/// A certificate authority for the agents of one namespace.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentAuthority {
    /// The namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
    /// Its certificates.
    pub pem: Vec<u8>,
    /// The attributes that it gives all its agents.
    pub verified: Attributes,
}

/// Follows the Secrets for ever, and calls `publish` whenever something in them changed. The first call comes once all
/// have been listed. Tells of the offers that cannot be made.
pub async fn follow_agent_secrets(client: Client, announcer: Announcer, publish: impl Fn(AgentSecrets)) {
    let (refused, news) = watch::channel(Vec::new());
    let following = follow(client, |secrets| {
        refused
            .send_if_modified(|known| std::mem::replace(known, secrets.refused.clone()) != secrets.refused);
        publish(secrets);
    });
    tokio::join!(following, tell_refused_offers(&announcer, news));
}

async fn follow(client: Client, publish: impl Fn(AgentSecrets)) {
    let labelled = watching().labels(&format!("{CREDENTIAL_LABEL}=true"));
    let mut events = pin!(watcher(Api::<Secret>::all(client), labelled).backoff(pauses()));
    let mut follower = Follower::default();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if follower.apply(event) {
                    publish(follower.secrets());
                }
            }
            Ok(None) => return,
            Err(error) => tracing::warn!(%error, "cannot watch the secrets with agents' credentials"),
        }
    }
}

/// The Secrets as they were read.
#[derive(Default)]
struct Follower {
    known: BTreeMap<Key, Credential>,
    listing: Option<BTreeMap<Key, Credential>>,
    listed: bool,
    /// What is wrong with them, so that it is logged once.
    flaws: BTreeSet<String>,
}

/// One Secret, without what must stay secret.
struct Credential {
    created: Timestamp,
    content: Content,
    flaws: Vec<String>,
}

enum Content {
    Tokens { tokens: Vec<([u8; 32], Arc<Principal>)>, offered: Option<Asked> },
    Authority(AgentAuthority),
    Nothing,
}

/// The token that a Secret's annotation names, and what is told where it cannot be offered.
type Asked = (Option<OfferedToken>, RefusedOffer);

impl Follower {
    /// Takes in one event; true if something may have changed.
    fn apply(&mut self, event: watcher::Event<Secret>) -> bool {
        match event {
            watcher::Event::Init => self.listing = Some(BTreeMap::new()),
            watcher::Event::InitApply(secret) => {
                self.listing.get_or_insert_default().insert(key(&secret), read(&secret));
            }
            watcher::Event::InitDone => {
                self.known = self.listing.take().unwrap_or_default();
                self.listed = true;
                return true;
            }
            watcher::Event::Apply(secret) => {
                self.known.insert(key(&secret), read(&secret));
                return self.listed;
            }
            watcher::Event::Delete(secret) => {
                return self.known.remove(&key(&secret)).is_some() && self.listed;
            }
        }
        false
    }

    fn secrets(&mut self) -> AgentSecrets {
        let (secrets, flaws) = gather(&self.known);
        for flaw in flaws.difference(&self.flaws) {
            tracing::warn!("{flaw}");
        }
        self.flaws = flaws;
        secrets
    }
}

/// All tables, and what is wrong. A token that stands in two Secrets belongs to the older: whoever has learnt a token
/// cannot take its agents over to another namespace.
fn gather(known: &BTreeMap<Key, Credential>) -> (AgentSecrets, BTreeSet<String>) {
    let mut secrets = AgentSecrets::default();
    let mut flaws = BTreeSet::new();
    let mut by_age: Vec<_> = known.iter().collect();
    by_age.sort_by_key(|(key, credential)| (credential.created, *key));
    for (_, credential) in by_age {
        flaws.extend(credential.flaws.iter().cloned());
        match &credential.content {
            Content::Nothing => {}
            Content::Authority(authority) => secrets.authorities.push(authority.clone()),
            Content::Tokens { tokens, offered } => {
                for (digest, holder) in tokens {
                    let first = secrets.tokens.entry(*digest).or_insert_with(|| holder.clone());
                    flaws.extend(overshadowed(holder, first));
                }
                let counts = |offered: &OfferedToken| {
                    digest(offered.text.as_bytes())
                        .is_ok_and(|digest| secrets.tokens.get(&digest) == Some(&offered.holder))
                };
                match offered {
                    Some((Some(offered), _)) if counts(offered) => secrets.offers.push(offered.clone()),
                    Some((_, refused)) => secrets.refused.push(refused.clone()),
                    None => {}
                }
            }
        }
    }
    (secrets, flaws)
}

/// What is wrong with a token whose text has another holder.
fn overshadowed(holder: &Principal, first: &Principal) -> Option<String> {
    let (own, other) = (holder.token.as_ref()?, first.token.as_ref()?);
    let name = format!("agent token {:?} of Secret {}/{}", own.key, holder.namespace, own.secret);
    if holder.mark() != first.mark() {
        return Some(format!("{name} is not accepted: an older Secret has it too"));
    }
    (own != other).then(|| format!("{name} counts as {:?}, which is the same", other.key))
}

fn key(secret: &Secret) -> Key {
    (secret.namespace().unwrap_or_default(), secret.name_any())
}

fn read(secret: &Secret) -> Credential {
    let mut flaws = Vec::new();
    let content = match secret.type_.as_deref() {
        Some(TOKEN_SECRET) => read_tokens(secret, &mut flaws),
        Some(AUTHORITY_SECRET) => read_authority(secret, &mut flaws),
        _ => {
            let (namespace, name) = key(secret);
            flaws.push(format!(
                "Secret {namespace}/{name} has label {CREDENTIAL_LABEL}, but neither type {TOKEN_SECRET} nor \
                 {AUTHORITY_SECRET}"
            ));
            Content::Nothing
        }
    };
    let created = secret.creation_timestamp().map_or(Timestamp::MAX, |time| time.0);
    Credential { created, content, flaws }
}

/// The holder is the Secret and not the data key, so that a token can be replaced.
fn read_tokens(secret: &Secret, flaws: &mut Vec<String>) -> Content {
    let (namespace, name) = key(secret);
    let principal = Principal::new(&namespace, &format!("{namespace}/{name}"), verified(secret));
    let mut tokens = Vec::new();
    for (data_key, value) in secret.data.iter().flatten() {
        let token = TokenName { secret: name.as_str().into(), key: data_key.as_str().into() };
        match digest(&value.0) {
            Ok(digest) => tokens.push((digest, principal.by(token).into())),
            Err(why) => flaws.push(format!(
                "agent token {data_key:?} of Secret {namespace}/{name} is not accepted: {why}"
            )),
        }
    }
    let asked = secret.annotations().get(OFFER_ANNOTATION).map(|data_key| {
        let offered = offered(secret, data_key, &tokens);
        let why = if offered.is_some() { NOT_ITS_OWN } else { NO_TOKEN };
        (offered, RefusedOffer::new(secret, data_key, why))
    });
    // That another one has the token is told of the token.
    let is_none = |asked: &&Asked| asked.0.is_none();
    flaws.extend(asked.iter().filter(is_none).map(|(_, refused)| refused.flaw()));
    Content::Tokens { tokens, offered: asked }
}

/// The token that the agents of a Secret are to be offered.
fn offered(secret: &Secret, data_key: &str, tokens: &[([u8; 32], Arc<Principal>)]) -> Option<OfferedToken> {
    let named = |holder: &Principal| holder.token.as_ref().is_some_and(|token| *token.key == *data_key);
    let (_, holder) = tokens.iter().find(|(_, holder)| named(holder))?;
    let value = &secret.data.as_ref()?.get(data_key)?.0;
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    Some(OfferedToken { holder: holder.clone(), text: text.into() })
}

fn read_authority(secret: &Secret, flaws: &mut Vec<String>) -> Content {
    let (namespace, name) = key(secret);
    let Some(pem) = secret.data.as_ref().and_then(|data| data.get(AUTHORITY_KEY)) else {
        flaws.push(format!(
            "Secret {namespace}/{name} has no data key {AUTHORITY_KEY:?}, so no certificate is accepted by it"
        ));
        return Content::Nothing;
    };
    Content::Authority(AgentAuthority { namespace, name, pem: pem.0.clone(), verified: verified(secret) })
}

/// The attributes that a Secret's labels give.
fn verified(secret: &Secret) -> Attributes {
    let attribute = |(label, value): (&String, &String)| {
        Some((label.strip_prefix(ATTRIBUTE_LABEL_PREFIX)?.to_owned(), value.clone()))
    };
    Attributes::new(secret.labels().iter().filter_map(attribute), [])
}

/// What stands for a token. A line end at its end is an editor's.
fn digest(token: &[u8]) -> Result<[u8; 32], String> {
    let token = token.trim_ascii();
    if token.len() < MIN_TOKEN_BYTES {
        return Err(format!("it has {} characters, and {MIN_TOKEN_BYTES} are the least", token.len()));
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err("it has characters that cannot stand in a header".to_owned());
    }
    Ok(Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    /// A Secret of this age with these data.
    fn secret(name: &str, kind: &str, age: i64, data: &[(&str, &str)]) -> Secret {
        let created = Timestamp::from_second(1_700_000_000 - age).expect("a time").to_string();
        let data: BTreeMap<_, _> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), k8s_openapi::ByteString(value.as_bytes().to_vec())))
            .collect();
        let labels = json!({CREDENTIAL_LABEL: "true", "attr.fleet.opamp.dev/zone": name});
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": name, "labels": labels, "creationTimestamp": created},
            "type": kind, "data": data,
        }))
        .expect("a secret")
    }

    fn gathered(secrets: &[Secret]) -> (AgentSecrets, Vec<String>) {
        let known = secrets.iter().map(|secret| (key(secret), read(secret))).collect();
        let (secrets, flaws) = gather(&known);
        (secrets, flaws.into_iter().collect())
    }

    fn holder(secrets: &AgentSecrets, token: &str) -> Option<String> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        secrets.tokens.get(&digest).map(|principal| principal.identity.to_string())
    }

    #[test]
    fn each_data_key_is_a_token_of_one_holder_with_the_attributes_of_the_labels() {
        let other = LONG.replace('0', "x");
        let (secrets, flaws) =
            gathered(&[secret("edge", TOKEN_SECRET, 0, &[("a", LONG), ("b", &format!("{other}\n"))])]);
        assert_eq!(flaws, Vec::<String>::new());
        assert_eq!(
            [LONG, &other].map(|token| holder(&secrets, token)),
            [const { Some("ns/edge") }; 2].map(|name| name.map(str::to_owned))
        );
        let principal = secrets.tokens.values().next().expect("a holder");
        assert_eq!((&*principal.namespace, principal.verified.get("zone")), ("ns", Some("edge")));
    }

    #[test]
    fn token_that_is_short_or_no_header_is_refused_by_name_and_never_by_value() {
        for (value, why) in [
            (&LONG[1..], "31 characters"),
            ("", "0 characters"),
            (&format!("{LONG} {LONG}"), "cannot stand in a header"),
            (&format!("{LONG}ü"), "cannot stand in a header"),
        ] {
            let (secrets, flaws) = gathered(&[secret("edge", TOKEN_SECRET, 0, &[("bad", value)])]);
            assert!(secrets.tokens.is_empty(), "{value}");
            let [flaw] = &flaws[..] else { panic!("{flaws:?}") };
            assert!(flaw.contains("\"bad\" of Secret ns/edge") && flaw.contains(why), "{flaw}");
            assert!(value.is_empty() || !flaw.contains(value), "{flaw}");
        }
    }

    #[test]
    fn token_in_two_secrets_belongs_to_the_older_one() {
        let secrets =
            [secret("new", TOKEN_SECRET, 1, &[("a", LONG)]), secret("old", TOKEN_SECRET, 2, &[("b", LONG)])];
        let (gathered, flaws) = gathered(&secrets);
        assert_eq!(holder(&gathered, LONG).as_deref(), Some("ns/old"));
        assert!(flaws.len() == 1 && flaws[0].contains("\"a\" of Secret ns/new"), "{flaws:?}");
    }

    fn offering(data: &[(&str, &str)], data_key: &str) -> (AgentSecrets, Vec<String>) {
        let mut offering = secret("edge", TOKEN_SECRET, 0, data);
        offering.annotations_mut().insert(OFFER_ANNOTATION.to_owned(), data_key.to_owned());
        gathered(&[offering])
    }

    #[test]
    fn token_that_the_annotation_names_is_kept_for_offering_and_no_other() {
        let other = LONG.replace('0', "x");
        let (secrets, flaws) = offering(&[("a", LONG), ("b", &format!("{other}\n"))], "b");
        assert!(flaws.is_empty() && secrets.refused.is_empty(), "{flaws:?}");
        let offers: Vec<_> = secrets.offers.iter().map(|offered| (&*offered.text, &offered.holder)).collect();
        let [(text, holder)] = offers[..] else { panic!("{} offers", offers.len()) };
        assert_eq!(text, other);
        assert_eq!((&*holder.identity, &*holder.token.as_ref().expect("a token").key), ("ns/edge", "b"));
    }

    #[test]
    fn annotation_that_names_no_token_is_told_of_and_the_tokens_count_all_the_same() {
        for (data, named, told) in [
            (&[("a", LONG)][..], "b", 1),
            (&[("a", LONG), ("b", "short")], "b", 2),
            (&[("a", LONG)], "", 1),
            // The same text twice: nobody could tell that an agent has moved.
            (&[("a", LONG), ("b", LONG)], "b", 1),
        ] {
            let (secrets, flaws) = offering(data, named);
            assert!(secrets.offers.is_empty(), "{named:?}");
            assert_eq!(secrets.refused.len(), 1, "{named:?}");
            assert_eq!(holder(&secrets, LONG).as_deref(), Some("ns/edge"));
            assert_eq!(flaws.len(), told, "{flaws:?}");
            assert!(flaws.iter().all(|flaw| !flaw.contains(LONG)), "{flaws:?}");
        }
    }

    #[test]
    fn token_of_an_older_secret_is_not_offered() {
        let mut copy = secret("copy", TOKEN_SECRET, 0, &[("b", LONG)]);
        copy.annotations_mut().insert(OFFER_ANNOTATION.to_owned(), "b".to_owned());
        let (secrets, flaws) = gathered(&[copy, secret("old", TOKEN_SECRET, 1, &[("a", LONG)])]);
        assert!(secrets.offers.is_empty() && secrets.refused.len() == 1);
        assert!(
            flaws.len() == 1 && flaws[0].contains("\"b\" of Secret ns/copy is not accepted"),
            "{flaws:?}"
        );
    }

    #[test]
    fn authority_needs_its_data_key_and_other_types_are_nothing() {
        let (secrets, flaws) = gathered(&[
            secret("ca", AUTHORITY_SECRET, 0, &[("ca.crt", "PEM")]),
            secret("empty", AUTHORITY_SECRET, 0, &[("tls.crt", "PEM")]),
            secret("other", "Opaque", 0, &[("a", LONG)]),
        ]);
        let names: Vec<_> = secrets.authorities.iter().map(|ca| (ca.name.as_str(), &ca.pem[..])).collect();
        assert_eq!(names, [("ca", &b"PEM"[..])]);
        assert!(secrets.tokens.is_empty());
        assert_eq!(flaws.len(), 2, "{flaws:?}");
    }

    #[test]
    fn nothing_is_published_before_all_are_listed_and_a_new_list_replaces_the_old() {
        let mut follower = Follower::default();
        let one = secret("one", TOKEN_SECRET, 0, &[("a", LONG)]);
        assert!(!follower.apply(watcher::Event::Init));
        assert!(!follower.apply(watcher::Event::InitApply(one.clone())));
        assert!(follower.apply(watcher::Event::InitDone));
        assert_eq!(follower.secrets().tokens.len(), 1);
        assert!(follower.apply(watcher::Event::Delete(one.clone())));
        assert_eq!(follower.secrets().tokens.len(), 0);
        assert!(follower.apply(watcher::Event::Apply(one)));
        assert_eq!(follower.secrets().tokens.len(), 1);
        assert!(!follower.apply(watcher::Event::Init) && follower.apply(watcher::Event::InitDone));
        assert_eq!(follower.secrets().tokens.len(), 0);
    }
}
