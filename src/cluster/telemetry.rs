//! Reads what a group's agents are to be told of their own telemetry: the group's spec, and Secrets with headers.

use crate::api::{DELIVER_LABEL, KeyRef, TelemetrySpec, TelemetryTarget};
use crate::fleet::{HeaderError, Telemetry, read_headers};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use std::collections::BTreeMap;

/// Why it cannot be read. It repeats nothing of a Secret's data.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The API server did not answer as wanted.
    #[error("cannot read a Secret with headers: {0}")]
    Api(#[from] kube::Error),
    /// It is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// Whoever may change a group must not read every Secret through an agent.
    #[error("Secret {0} may not be delivered to agents: label it {DELIVER_LABEL}: \"true\"")]
    NotShared(String),
    /// It is something else than headers.
    #[error("key {:?} of Secret {}: {why}", .at.key, .at.name)]
    Headers {
        /// The key.
        at: KeyRef,
        /// What is wrong with it.
        why: HeaderError,
    },
}

/// The names of the Secrets that it refers to.
pub fn telemetry_secrets(spec: &TelemetrySpec) -> impl Iterator<Item = &str> {
    targets(spec).filter_map(|target| Some(target.headers_secret_ref.as_ref()?.name.as_str()))
}

fn targets(spec: &TelemetrySpec) -> impl Iterator<Item = &TelemetryTarget> {
    [&spec.metrics, &spec.logs, &spec.traces].into_iter().flatten()
}

/// Reads it.
///
/// # Errors
/// See [`TelemetryError`].
pub async fn load_telemetry(
    client: &Client,
    namespace: &str,
    spec: &TelemetrySpec,
) -> Result<Telemetry, TelemetryError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut secrets = BTreeMap::new();
    for name in telemetry_secrets(spec) {
        if !secrets.contains_key(name) {
            secrets.insert(name, api.get_opt(name).await?);
        }
    }
    Telemetry::read(spec, |target| match &target.headers_secret_ref {
        None => Ok(Vec::new()),
        Some(key) => headers(key, secrets.get(key.name.as_str()).and_then(Option::as_ref)),
    })
}

fn headers(key: &KeyRef, secret: Option<&Secret>) -> Result<Vec<(String, String)>, TelemetryError> {
    let secret = secret.ok_or_else(|| TelemetryError::Missing(format!("Secret {}", key.name)))?;
    if secret.labels().get(DELIVER_LABEL).is_none_or(|value| value != "true") {
        return Err(TelemetryError::NotShared(key.name.clone()));
    }
    let value = secret.data.as_ref().and_then(|data| data.get(&key.key));
    let missing = || TelemetryError::Missing(format!("key {:?} of Secret {}", key.key, key.name));
    read_headers(&value.ok_or_else(missing)?.0)
        .map_err(|why| TelemetryError::Headers { at: key.clone(), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(label: &str, text: &str) -> Result<Vec<(String, String)>, String> {
        let secret = json!({
            "metadata": {"name": "backend", "labels": {DELIVER_LABEL: label}},
            "data": {"headers": k8s_openapi::ByteString(text.as_bytes().to_vec())},
        });
        let secret: Secret = serde_json::from_value(secret).expect("a secret");
        let key = KeyRef { name: "backend".to_owned(), key: "headers".to_owned() };
        headers(&key, Some(&secret)).map_err(|error| error.to_string())
    }

    #[test]
    fn headers_come_from_shared_secrets_only_and_what_is_wrong_is_told_without_them() {
        assert_eq!(told("true", "api-key: 1").expect("headers"), [("api-key".to_owned(), "1".to_owned())]);
        for (label, text, expected) in [
            ("false", "api-key: 1", "may not be delivered to agents"),
            ("true", "s3cret", "key \"headers\" of Secret backend: line 1 is not of the form"),
        ] {
            let error = told(label, text).expect_err("refused");
            assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
        }
        let key = KeyRef { name: "backend".to_owned(), key: "other".to_owned() };
        let missing = headers(&key, None).map_err(|error| error.to_string());
        assert_eq!(missing, Err("Secret backend is missing".to_owned()));
        let labels = json!({"metadata": {"labels": {DELIVER_LABEL: "true"}}});
        let empty: Secret = serde_json::from_value(labels).expect("a secret");
        let missing = headers(&key, Some(&empty)).map_err(|error| error.to_string());
        assert_eq!(missing, Err("key \"other\" of Secret backend is missing".to_owned()));
    }
}
