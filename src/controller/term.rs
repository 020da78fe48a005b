//! Taking office: a new leader's term, stamped on every object before its first decision.

use crate::api::{CollectorGroup, ConfigRollout};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use serde_json::json;

/// The term of a new leader: the larger of its Lease's transitions and one above the highest term that it finds.
pub fn next_term(transitions: i64, found: impl IntoIterator<Item = i64>) -> i64 {
    found.into_iter().max().map_or(1, |highest| highest + 1).max(transitions)
}

/// Finds the term and stamps it, so that whatever the leader before still writes is refused.
///
/// # Errors
/// When the API server does not answer as wanted, or another leader has taken a higher term meanwhile.
pub async fn take_office(client: &Client, transitions: i64) -> kube::Result<i64> {
    let groups: Api<DeserializeGuard<CollectorGroup>> = Api::all(client.clone());
    let rollouts: Api<DeserializeGuard<ConfigRollout>> = Api::all(client.clone());
    let groups = readable(groups.list(&ListParams::default()).await?.items);
    let rollouts = readable(rollouts.list(&ListParams::default()).await?.items);
    let of_groups = groups.iter().filter_map(|group| group.status.as_ref()?.leader_term);
    let of_rollouts = rollouts.iter().filter_map(|rollout| rollout.status.as_ref()?.leader_term);
    let term = next_term(transitions, of_groups.chain(of_rollouts));
    for group in &groups {
        stamp(client, group, term).await?;
    }
    for rollout in &rollouts {
        stamp(client, rollout, term).await?;
    }
    Ok(term)
}

/// Objects that cannot be read are left out: one must not keep the others from being led.
fn readable<K>(items: Vec<DeserializeGuard<K>>) -> Vec<K> {
    items.into_iter().filter_map(|item| item.0.ok()).collect()
}

async fn stamp<K>(client: &Client, object: &K, term: i64) -> kube::Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let patch = Patch::Merge(json!({"status": {"leaderTerm": term}}));
    match api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn term_is_above_every_term_that_is_found_and_never_below_the_leases_transitions() {
        for (transitions, found, expected) in [(0, &[][..], 1), (7, &[], 7), (2, &[5, 3], 6), (9, &[5], 9)] {
            assert_eq!(next_term(transitions, found.iter().copied()), expected, "{transitions} {found:?}");
        }
    }
}
