//! Conditional writes of a status that leave fields alone which this version does not know.

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The object has the new status.
    Yes,
    /// It had it already.
    Unchanged,
    /// The object has changed since it was read: decide again.
    Conflict,
    /// A leader with a higher term has written: step down.
    Deposed,
}

/// Writes what differs between two statuses of an object, if the object is still the one that was read.
///
/// # Errors
/// When the API server does not take the write for another reason than those of [`Written`].
pub async fn write_status<K, S>(api: &Api<K>, object: &K, old: &S, new: &S) -> anyhow::Result<Written>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    S: Serialize,
{
    let Some(changes) = merge_diff(&serde_json::to_value(old)?, &serde_json::to_value(new)?) else {
        return Ok(Written::Unchanged);
    };
    let body = json!({"metadata": {"resourceVersion": object.resource_version()}, "status": changes});
    match api.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(body)).await {
        Ok(_) => Ok(Written::Yes),
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(Written::Conflict),
        Err(kube::Error::Api(status))
            if status.code == 422 && status.message.contains("leaderTerm never falls") =>
        {
            Ok(Written::Deposed)
        }
        Err(error) => Err(error.into()),
    }
}

/// The JSON merge patch (RFC 7396) that turns one value into another; nothing if they are equal. Members of the
/// object that neither value names stay as they are.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut changes: Map<String, Value> =
        old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in new {
        if let Some(change) = merge_diff(old.get(key).unwrap_or(&Value::Null), value) {
            changes.insert(key.clone(), change);
        }
    }
    Some(Value::Object(changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_diff_names_what_changed_and_what_went() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "gone": [1], "same": "x"});
        let new = json!({"a": 2, "b": {"c": 1, "d": 3}, "same": "x", "new": {"e": null, "f": 1}});
        assert_eq!(
            merge_diff(&old, &new),
            Some(json!({"a": 2, "b": {"d": 3}, "gone": null, "new": {"e": null, "f": 1}}))
        );
    }

    #[test]
    fn merge_diff_of_equal_values_is_nothing() {
        assert_eq!(merge_diff(&json!({"a": [1, {"b": 2}]}), &json!({"a": [1, {"b": 2}]})), None);
    }

    #[test]
    fn merge_diff_replaces_lists_whole() {
        assert_eq!(merge_diff(&json!({"a": [1, 2]}), &json!({"a": [1]})), Some(json!({"a": [1]})));
    }
}
