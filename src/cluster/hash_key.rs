//! The key of the content hashes: a Secret in the operator's namespace, created once.

use crate::api::ConfigRevision;
use crate::config::HashKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};

/// Name of the Secret.
pub const HASH_KEY_SECRET: &str = "opamp-operator-hash-key";
/// The key in its data.
const DATA_KEY: &str = "key";

/// Why there is no hash key.
#[derive(Debug, thiserror::Error)]
pub enum HashKeyProblem {
    /// Another key would give every content another hash, and every agent its configuration again.
    #[error(
        "Secret {namespace}/{HASH_KEY_SECRET} is missing although ConfigRevisions exist: restore it from a backup \
         (data key `key`, 32 bytes); to give it up, delete all ConfigRevisions and every agent is configured anew"
    )]
    Lost {
        /// Where the Secret belongs.
        namespace: String,
    },
    /// The Secret is there, and is not ours.
    #[error(
        "Secret {namespace}/{HASH_KEY_SECRET} has no data key `key` of 32 bytes: restore it from a backup"
    )]
    Damaged {
        /// Where the Secret is.
        namespace: String,
    },
    /// The API server did not answer as wanted.
    #[error("cannot read or create Secret {HASH_KEY_SECRET}")]
    Api(#[from] kube::Error),
}

/// Reads the key, or creates it if no revision depends on one yet.
///
/// # Errors
/// See [`HashKeyProblem`].
pub async fn load_or_create(
    client: &Client,
    namespace: &str,
    entropy: [u8; 32],
) -> Result<HashKey, HashKeyProblem> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(secret) = secrets.get_opt(HASH_KEY_SECRET).await? {
        return read(&secret, namespace);
    }
    let revisions: Api<ConfigRevision> = Api::all(client.clone());
    if !revisions.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
        return Err(HashKeyProblem::Lost { namespace: namespace.to_owned() });
    }
    match secrets.create(&PostParams::default(), &new_secret(entropy)).await {
        Ok(secret) => read(&secret, namespace),
        // Another replica was faster: its key counts.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            read(&secrets.get(HASH_KEY_SECRET).await?, namespace)
        }
        Err(error) => Err(error.into()),
    }
}

fn new_secret(entropy: [u8; 32]) -> Secret {
    Secret {
        metadata: ObjectMeta { name: Some(HASH_KEY_SECRET.to_owned()), ..Default::default() },
        data: Some([(DATA_KEY.to_owned(), ByteString(entropy.to_vec()))].into()),
        immutable: Some(true),
        ..Default::default()
    }
}

fn read(secret: &Secret, namespace: &str) -> Result<HashKey, HashKeyProblem> {
    let key = secret.data.as_ref().and_then(|data| data.get(DATA_KEY));
    key.and_then(|key| HashKey::try_from(key.0.as_slice()).ok())
        .ok_or_else(|| HashKeyProblem::Damaged { namespace: namespace.to_owned() })
}
