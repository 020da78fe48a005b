//! Conditional writes of a status that leave alone what this version does not know.

use super::Whole;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;

/// What tells the entries of a list apart: an agent's in a slice, a step, a condition, an agent's failure or problem, a
/// term. Entries without any of them are themselves or nothing.
const NAMES: [&str; 6] = ["u", "name", "type", "agent", "kind", "phase"];

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
pub async fn write_status<K, S>(api: &Api<K>, object: &Whole<K>, old: &S, new: &S) -> anyhow::Result<Written>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: Serialize,
{
    let wanted = overlay(object.raw_status(), &serde_json::to_value(old)?, &serde_json::to_value(new)?);
    let Some(changes) = merge_diff(object.raw_status(), &wanted) else { return Ok(Written::Unchanged) };
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

/// What stands there with the changes of a decision: `new` in place of `old`, which is what was understood of `raw`.
/// Whatever was not understood stays, in objects and in entries of lists, as long as what it belongs to does.
pub fn overlay(raw: &Value, old: &Value, new: &Value) -> Value {
    match (raw, old, new) {
        _ if old == new => raw.clone(),
        (Value::Object(raw), Value::Object(old), Value::Object(new)) => {
            let unknown = raw.iter().filter(|(key, _)| !old.contains_key(*key) && !new.contains_key(*key));
            let unknown = unknown.map(|(key, value)| (key.clone(), value.clone()));
            let known = new.iter().filter_map(|(key, value)| {
                let laid = match (raw.get(key), old.get(key)) {
                    (Some(raw), Some(old)) => overlay(raw, old, value),
                    // A default that nobody has written.
                    (None, Some(old)) if old == value => return None,
                    _ => value.clone(),
                };
                Some((key.clone(), laid))
            });
            Value::Object(unknown.chain(known).collect())
        }
        (Value::Array(raw), Value::Array(old), Value::Array(new)) if raw.len() == old.len() => {
            Value::Array(overlay_entries(raw, old, new))
        }
        _ => new.clone(),
    }
}

/// Each entry takes over what was not understood of the one that it was: an equal one, else the first of the same name.
fn overlay_entries(raw: &[Value], old: &[Value], new: &[Value]) -> Vec<Value> {
    let mut left: Vec<usize> = (0..old.len()).collect();
    let mut take = |is_it: &dyn Fn(&Value) -> bool| {
        let place = left.iter().position(|&index| is_it(&old[index]))?;
        Some(left.remove(place))
    };
    let mut origins: Vec<Option<usize>> = new.iter().map(|entry| take(&|was| was == entry)).collect();
    for (origin, entry) in origins.iter_mut().zip(new).filter(|(origin, _)| origin.is_none()) {
        *origin = take(&|was| is_same(was, entry));
    }
    let lay = |(origin, entry): (Option<usize>, &Value)| {
        origin.map_or_else(|| entry.clone(), |index| overlay(&raw[index], &old[index], entry))
    };
    origins.into_iter().zip(new).map(lay).collect()
}

/// Whether two entries of a list are of the same thing.
fn is_same(one: &Value, other: &Value) -> bool {
    let names = |entry: &Value| NAMES.map(|key| entry.get(key).cloned());
    names(one) == names(other) && names(one).iter().any(Option::is_some)
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

    /// What an older version understands of a status: it does not read `x`, and takes values that it does not know for
    /// `Unknown`.
    fn understood(raw: &Value) -> Value {
        match raw {
            Value::Object(members) => {
                let known = members.iter().filter(|(key, _)| *key != "x");
                Value::Object(known.map(|(key, value)| (key.clone(), understood(value))).collect())
            }
            Value::Array(entries) => entries.iter().map(understood).collect(),
            Value::String(text) if text == "Newer" => json!("Unknown"),
            other => other.clone(),
        }
    }

    #[test]
    fn overlay_keeps_what_was_not_understood_wherever_it_stands() {
        let kept = json!({"name": "a", "x": {"y": [1]}});
        for (what, raw, change, expected) in [
            ("beside a change", json!({"a": 1, "x": 7}), json!({"a": 2}), json!({"a": 2, "x": 7})),
            (
                "in a nested object",
                json!({"o": {"a": 1, "x": 7}, "p": {"x": 8}}),
                json!({"o": {"a": 2}, "p": {}}),
                json!({"o": {"a": 2, "x": 7}, "p": {"x": 8}}),
            ),
            ("gone with its object", json!({"o": {"a": 1, "x": 7}}), json!({}), json!({})),
            (
                "in an entry that changes",
                json!([{"name": "a", "n": 1, "x": 7}, {"name": "b", "x": 8}]),
                json!([{"name": "a", "n": 2}, {"name": "b"}]),
                json!([{"name": "a", "n": 2, "x": 7}, {"name": "b", "x": 8}]),
            ),
            (
                "in entries that move, one is new and one goes",
                json!([{"name": "gone", "x": 6}, kept, {"name": "b", "n": 1, "x": 8}]),
                json!([{"name": "b", "n": 2}, {"name": "new"}, {"name": "a"}]),
                json!([{"name": "b", "n": 2, "x": 8}, {"name": "new"}, kept]),
            ),
            (
                "equal entries before those of the same name",
                json!([{"phase": "p", "n": 1, "x": 1}, {"phase": "p", "n": 2, "x": 2}]),
                json!([{"phase": "p", "n": 2}, {"phase": "p", "n": 3}]),
                json!([{"phase": "p", "n": 2, "x": 2}, {"phase": "p", "n": 3, "x": 1}]),
            ),
            (
                "of the same agent, and of another kind",
                json!([{"agent": "1", "kind": "Drifted", "x": 1}]),
                json!([{"agent": "1", "kind": "Failed"}]),
                json!([{"agent": "1", "kind": "Failed"}]),
            ),
            ("entries without a name", json!([{"n": 1, "x": 1}]), json!([{"n": 2}]), json!([{"n": 2}])),
            ("a list of texts", json!(["a", "b"]), json!(["b"]), json!(["b"])),
            (
                "a value that is not known",
                json!([{"name": "a", "outcome": "Newer", "n": 1}]),
                json!([{"name": "a", "outcome": "Unknown", "n": 2}]),
                json!([{"name": "a", "outcome": "Newer", "n": 2}]),
            ),
            (
                "a value that is not known, and is decided",
                json!({"state": "Newer"}),
                json!({"state": "Pending"}),
                json!({"state": "Pending"}),
            ),
        ] {
            assert_eq!(overlay(&raw, &understood(&raw), &change), expected, "{what}");
            let same = understood(&raw);
            assert_eq!(overlay(&raw, &same, &same), raw, "{what}: nothing is decided");
        }
    }

    #[test]
    fn defaults_that_nobody_wrote_are_not_written() {
        let (raw, old, new) = (json!({"a": 1}), json!({"a": 1, "b": 0}), json!({"a": 2, "b": 0}));
        assert_eq!(overlay(&raw, &old, &new), json!({"a": 2}));
        assert_eq!(
            overlay(&json!(null), &json!({"b": 0}), &json!({"b": 0, "c": 1})),
            json!({"b": 0, "c": 1})
        );
    }
}
