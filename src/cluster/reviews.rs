//! Tokens of service accounts: asks the API server whose they are, and remembers what it said for a while.

use crate::fleet::{Attributes, Principal};
use crate::telemetry::Overflows;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// For whom tokens must have been made: a token for the API server, or for anybody else, opens nothing here.
pub const AUDIENCE: &str = "opamp.fleet.opamp.dev";
/// How the user name of a service account begins.
const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Most tokens that are remembered, at about 150 bytes each. One for each connected agent is enough.
const MAX_REMEMBERED: usize = 20_000;
/// Most questions at the same time; whoever comes while there are more has to come back. The API server answers in
/// milliseconds, so this is thousands a second.
const MAX_QUESTIONS: usize = 16;
/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reviews tokens.
pub struct Reviewer {
    client: Client,
    remembered: Mutex<Remembered>,
    questions: Semaphore,
    overflows: Overflows,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is not a valid token for this audience.
    Invalid,
    /// Nobody could be asked.
    Unanswered,
}

impl Reviewer {
    /// Asks by this client; an answer counts for at most `keep`.
    pub fn new(client: Client, keep: Duration, overflows: Overflows) -> Self {
        let remembered = Remembered { keep: crate::fleet::signed(keep), by_digest: HashMap::new() };
        let (remembered, questions) = (Mutex::new(remembered), Semaphore::new(MAX_QUESTIONS));
        Self { client, remembered, questions, overflows }
    }

    /// Whose token has this digest, if that was asked a short time ago.
    pub fn remembers(&self, digest: &[u8; 32]) -> Option<Arc<Principal>> {
        self.with_remembered(|remembered| remembered.get(digest, Timestamp::now()))
    }

    /// Asks whose a token is, and remembers it.
    ///
    /// # Errors
    /// When it is nobody's, or nobody can tell.
    pub async fn review(&self, digest: &[u8; 32], token: &str) -> Result<Arc<Principal>, Rejected> {
        let expires = expiry(token, Timestamp::now()).ok_or(Rejected::Invalid)?;
        let Ok(_place) = self.questions.try_acquire() else {
            self.overflows.token_review();
            return Err(Rejected::Unanswered);
        };
        let status = match timeout(PATIENCE, self.ask(token)).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot ask the API server for a token of an agent");
                return Err(Rejected::Unanswered);
            }
            Err(_) => return Err(Rejected::Unanswered),
        };
        let principal = Arc::new(account(&status).ok_or(Rejected::Invalid)?);
        let now = Timestamp::now();
        if self.with_remembered(|remembered| remembered.put(*digest, principal.clone(), expires, now)) {
            self.overflows.known_tokens();
        }
        Ok(principal)
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, kube::Error> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        Ok(reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default())
    }

    fn with_remembered<T>(&self, work: impl FnOnce(&mut Remembered) -> T) -> T {
        work(&mut self.remembered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the API server said of tokens, each until it is to be asked again.
struct Remembered {
    keep: SignedDuration,
    by_digest: HashMap<[u8; 32], (Timestamp, Arc<Principal>)>,
}

impl Remembered {
    fn get(&self, digest: &[u8; 32], now: Timestamp) -> Option<Arc<Principal>> {
        let (until, principal) = self.by_digest.get(digest)?;
        (now < *until).then(|| principal.clone())
    }

    /// Remembers one; true if all others had to be forgotten for it.
    fn put(
        &mut self,
        digest: [u8; 32],
        principal: Arc<Principal>,
        expires: Timestamp,
        now: Timestamp,
    ) -> bool {
        if self.by_digest.len() >= MAX_REMEMBERED {
            self.by_digest.retain(|_, (until, _)| now < *until);
        }
        let full = self.by_digest.len() >= MAX_REMEMBERED;
        if full {
            // None of them has to be right: whoever is not remembered is asked for again.
            self.by_digest.clear();
        }
        let until = now.checked_add(self.keep).unwrap_or(expires).min(expires);
        self.by_digest.insert(digest, (until, principal));
        full
    }
}

/// Whose token was reviewed; nothing unless it is a service account's, and was made for [`AUDIENCE`].
fn account(status: &TokenReviewStatus) -> Option<Principal> {
    let meant = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
    let user = status.user.as_ref().filter(|_| meant && status.authenticated == Some(true))?;
    let identity = user.username.as_deref()?;
    let (namespace, name) = identity.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty())
        .then(|| Principal::new(namespace, identity, Attributes::default()))
}

/// When a token expires by its own words; nothing if it says that it is none of ours, or no longer. Nobody is asked
/// for such a token. What it says counts only once the API server has said that it is genuine.
fn expiry(token: &str, now: Timestamp) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        aud: Audiences,
        exp: i64,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audiences {
        One(String),
        Many(Vec<String>),
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let meant = match claims.aud {
        Audiences::One(audience) => audience == AUDIENCE,
        Audiences::Many(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
    };
    Timestamp::from_second(claims.exp).ok().filter(|expires| meant && now < *expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn nobody_is_asked_for_a_token_that_is_not_meant_for_us_or_has_expired() {
        for (claims, expected) in [
            (json!({"aud": [AUDIENCE, "other"], "exp": 20}), Some(at(20))),
            (json!({"aud": AUDIENCE, "exp": 20}), Some(at(20))),
            (json!({"aud": ["other"], "exp": 20}), None),
            (json!({"aud": [AUDIENCE], "exp": 10}), None),
            (json!({"aud": [AUDIENCE]}), None),
            (json!("text"), None),
        ] {
            assert_eq!(expiry(&token(&claims), at(10)), expected, "{claims}");
        }
        assert_eq!(expiry("a.b.c", at(10)), None);
    }

    #[test]
    fn only_a_service_account_that_is_authenticated_for_our_audience_is_somebody() {
        let good = json!({
            "authenticated": true, "audiences": [AUDIENCE], "user": {"username": "system:serviceaccount:ns:name"},
        });
        let said = |changed: Value| {
            let mut status = good.clone();
            let fields = changed.as_object().expect("fields").clone();
            status.as_object_mut().expect("fields").extend(fields);
            account(&serde_json::from_value(status).expect("a status"))
        };
        let principal = said(json!({})).expect("somebody");
        assert_eq!((&*principal.namespace, &*principal.identity), ("ns", "system:serviceaccount:ns:name"));
        for changed in [
            json!({"authenticated": false}),
            json!({"audiences": []}),
            json!({"audiences": ["https://kubernetes.default.svc"]}),
            json!({"user": {"username": "alice"}}),
            json!({"user": {"username": "system:serviceaccount:ns:"}}),
            json!({"user": null}),
        ] {
            assert_eq!(said(changed.clone()), None, "{changed}");
        }
    }

    #[test]
    fn answer_counts_until_the_token_expires_and_five_minutes_at_most() {
        let keep = SignedDuration::from_secs(300);
        let mut remembered = Remembered { keep, by_digest: HashMap::new() };
        let principal = Arc::new(Principal::anybody("ns"));
        remembered.put([1; 32], principal.clone(), at(100), at(0));
        remembered.put([2; 32], principal, at(1000), at(0));
        for (digest, second, expected) in [
            ([1; 32], 99, true),
            ([1; 32], 100, false),
            ([2; 32], 299, true),
            ([2; 32], 300, false),
            ([3; 32], 0, false),
        ] {
            assert_eq!(
                remembered.get(&digest, at(second)).is_some(),
                expected,
                "{} after {second} s",
                digest[0]
            );
        }
    }

    #[test]
    fn number_of_answers_is_bounded() {
        let mut remembered = Remembered { keep: SignedDuration::from_secs(300), by_digest: HashMap::new() };
        let principal = Arc::new(Principal::anybody("ns"));
        let digest = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        for number in 0..=MAX_REMEMBERED {
            remembered.put(digest(number), principal.clone(), at(1000), at(0));
        }
        assert!(remembered.by_digest.len() <= MAX_REMEMBERED);
        assert!(remembered.get(&digest(MAX_REMEMBERED), at(1)).is_some(), "the newest is there");
    }
}
