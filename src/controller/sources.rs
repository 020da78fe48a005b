//! Reads the `ConfigMap`s and Secrets that a rollout refers to.

use crate::api::ConfigSpec;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::Api;
use std::collections::{BTreeMap, BTreeSet};

/// The referenced objects by name; `None` for one that does not exist.
#[derive(Default)]
pub struct Fetched {
    /// `ConfigMap`s.
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Option<Secret>>,
}

/// The names of the `ConfigMap`s that a configuration refers to.
pub fn config_map_names(spec: &ConfigSpec) -> BTreeSet<&str> {
    spec.files.iter().filter_map(|file| Some(file.config_map_key_ref.as_ref()?.name.as_str())).collect()
}

/// The names of the Secrets that a configuration refers to.
pub fn secret_names(spec: &ConfigSpec) -> BTreeSet<&str> {
    spec.files.iter().filter_map(|file| Some(file.secret_key_ref.as_ref()?.name.as_str())).collect()
}

/// Reads what a configuration refers to.
///
/// # Errors
/// When the API server does not answer; an object that does not exist is no error.
pub async fn fetch(client: &Client, namespace: &str, spec: &ConfigSpec) -> kube::Result<Fetched> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut fetched = Fetched::default();
    for name in config_map_names(spec) {
        fetched.config_maps.insert(name.to_owned(), config_maps.get_opt(name).await?);
    }
    for name in secret_names(spec) {
        fetched.secrets.insert(name.to_owned(), secrets.get_opt(name).await?);
    }
    Ok(fetched)
}
