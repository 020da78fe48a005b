//! Reads a revision's files back, byte for byte, from the `ConfigRevision` and its Secret.

use crate::api::{ConfigFormat, ConfigRevision, FileSource, REVISION_FILES_SUFFIX, RevisionFile};
use crate::config::{ConfigFile, ConfigHash, Inventory};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

/// A revision with all its bodies. No `Debug`: it is the configuration.
pub struct RevisionBody {
    /// The hash of its content.
    pub hash: ConfigHash,
    /// What the files are.
    pub format: ConfigFormat,
    /// The component types in it, if they are known.
    pub needs: Option<Inventory>,
    /// Its files.
    pub files: Vec<ConfigFile>,
    /// The indexes of the files whose bodies come from Secrets.
    pub secret: Vec<usize>,
}

/// Why a revision cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The API server did not answer as wanted; the revision may have been deleted.
    #[error("cannot read the revision or its Secret")]
    Api(#[from] kube::Error),
    /// The object's hash is not a hash.
    #[error("the revision's hash cannot be read")]
    Hash,
    /// A body is neither in the revision nor in its Secret.
    #[error("the body of file {0:?} is neither in the revision nor in its Secret")]
    Body(String),
}

/// Name of the Secret that keeps the bodies of a revision's files which come from Secrets.
pub fn files_secret_name(revision: &str) -> String {
    format!("{revision}{REVISION_FILES_SUFFIX}")
}

/// Reads a revision with all its bodies.
///
/// # Errors
/// See [`LoadError`].
pub async fn load(client: &Client, namespace: &str, name: &str) -> Result<RevisionBody, LoadError> {
    let revision = Api::<ConfigRevision>::namespaced(client.clone(), namespace).get(name).await?;
    let from_secret = |file: &RevisionFile| file.source == FileSource::Secret;
    let secret = if revision.spec.files.iter().any(from_secret) {
        Some(Api::<Secret>::namespaced(client.clone(), namespace).get(&files_secret_name(name)).await?)
    } else {
        None
    };
    let files = revision.spec.files.iter().enumerate();
    Ok(RevisionBody {
        hash: revision.spec.hash.parse().map_err(|_| LoadError::Hash)?,
        needs: revision.spec.components.clone().map(Inventory::new),
        format: revision.spec.format,
        secret: files.clone().filter(|(_, file)| from_secret(file)).map(|(index, _)| index).collect(),
        files: files.map(|(index, file)| read(index, file, secret.as_ref())).collect::<Result<_, _>>()?,
    })
}

fn read(index: usize, file: &RevisionFile, secret: Option<&Secret>) -> Result<ConfigFile, LoadError> {
    let kept = || secret?.data.as_ref()?.get(&index.to_string()).map(|bytes| bytes.0.clone());
    let body = match file.source {
        FileSource::Secret => kept(),
        // A newer version keeps it elsewhere: without it nothing is offered.
        FileSource::Unknown => None,
        FileSource::Inline | FileSource::ConfigMap => {
            file.body.as_ref().map(|body| body.0.clone().into_bytes())
        }
    };
    let body = body.ok_or_else(|| LoadError::Body(file.name.clone()))?;
    Ok(ConfigFile::new(file.name.clone(), file.content_type.clone(), body))
}
