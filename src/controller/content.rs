//! From a rollout's spec and the objects that it refers to, to files that may be sent: pure.

use super::sources::Fetched;
use crate::api::{
    ConfigFormat, ConfigSpec, DELIVER_LABEL, FileSource, FileSpec, KeyRef, MAX_CONFIG_BYTES, Reason,
};
use crate::config::{self, ConfigFile};
use crate::rollout::Content;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

/// A file with its body, and where that came from. No `Debug`: it is the configuration.
pub struct ResolvedFile {
    /// The file.
    pub file: ConfigFile,
    /// Where its body came from.
    pub source: FileSource,
    /// The object and key, unless it is inline.
    pub reference: Option<KeyRef>,
}

/// Resolves all files of a rollout, in bytewise order of name, and checks what they say together.
///
/// # Errors
/// With the content that the rollout's step is to be told instead of a revision.
pub fn resolve(spec: &ConfigSpec, fetched: &Fetched) -> Result<Vec<ResolvedFile>, Content> {
    let mut files =
        spec.files.iter().map(|file| resolve_file(file, fetched)).collect::<Result<Vec<_>, _>>()?;
    files.sort_by(|a, b| a.file.name.as_bytes().cmp(b.file.name.as_bytes()));
    check_size(&files)?;
    if spec.format == ConfigFormat::Collector {
        let bodies: Vec<ConfigFile> = files.iter().map(|resolved| resolved.file.clone()).collect();
        config::check(&bodies).map_err(|error| Content::Invalid(Reason::InvalidConfig, error.to_string()))?;
    }
    Ok(files)
}

fn check_size(files: &[ResolvedFile]) -> Result<(), Content> {
    let bytes: usize = files.iter().map(|resolved| resolved.file.body.len()).sum();
    if bytes <= MAX_CONFIG_BYTES {
        return Ok(());
    }
    let text =
        format!("all files together have {bytes} bytes, more than the {MAX_CONFIG_BYTES} that are allowed");
    Err(Content::Invalid(Reason::ConfigTooLarge, text))
}

fn resolve_file(spec: &FileSpec, fetched: &Fetched) -> Result<ResolvedFile, Content> {
    let (source, reference, body) = if let Some(inline) = &spec.inline {
        (FileSource::Inline, None, inline.0.clone().into_bytes())
    } else if let Some(key) = &spec.config_map_key_ref {
        (FileSource::ConfigMap, Some(key.clone()), from_config_map(key, fetched, &spec.name)?)
    } else if let Some(key) = &spec.secret_key_ref {
        (FileSource::Secret, Some(key.clone()), from_secret(key, fetched)?)
    } else {
        let text = format!("file {:?} has none of inline, configMapKeyRef and secretKeyRef", spec.name);
        return Err(Content::Invalid(Reason::InvalidConfig, text));
    };
    let file = ConfigFile::new(spec.name.clone(), spec.content_type.clone(), body);
    Ok(ResolvedFile { file, source, reference })
}

fn from_config_map(key: &KeyRef, fetched: &Fetched, file: &str) -> Result<Vec<u8>, Content> {
    let found = fetched.config_maps.get(&key.name).and_then(Option::as_ref);
    let map = found.ok_or_else(|| Content::Missing(format!("ConfigMap {}", key.name)))?;
    let body = config_map_body(map, &key.key)
        .ok_or_else(|| Content::Missing(format!("key {:?} of ConfigMap {}", key.key, key.name)))?;
    if std::str::from_utf8(&body).is_err() {
        let text = format!("file {file:?}: key {:?} of ConfigMap {} is not text", key.key, key.name);
        return Err(Content::Invalid(Reason::InvalidConfig, text));
    }
    Ok(body)
}

fn config_map_body(map: &ConfigMap, key: &str) -> Option<Vec<u8>> {
    let text = map.data.as_ref().and_then(|data| data.get(key)).map(|text| text.clone().into_bytes());
    text.or_else(|| map.binary_data.as_ref()?.get(key).map(|ByteString(bytes)| bytes.clone()))
}

fn from_secret(key: &KeyRef, fetched: &Fetched) -> Result<Vec<u8>, Content> {
    let found = fetched.secrets.get(&key.name).and_then(Option::as_ref);
    let secret = found.ok_or_else(|| Content::Missing(format!("Secret {}", key.name)))?;
    if !is_shared(secret) {
        let text =
            format!("Secret {} may not be delivered to agents: label it {DELIVER_LABEL}: \"true\"", key.name);
        return Err(Content::Invalid(Reason::SecretNotShared, text));
    }
    let body = secret.data.as_ref().and_then(|data| data.get(&key.key));
    let ByteString(bytes) =
        body.ok_or_else(|| Content::Missing(format!("key {:?} of Secret {}", key.key, key.name)))?;
    Ok(bytes.clone())
}

/// Whoever may create a rollout must not read every Secret through an agent (design, section 3).
fn is_shared(secret: &Secret) -> bool {
    secret
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(DELIVER_LABEL))
        .is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests;
