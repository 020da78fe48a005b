//! Who changed a rollout, and who asked something of it or of a group: the user that the API server stamped, or else the field
//! manager's word, marked as unverified. Pure.

use crate::api::{CHANGED_BY_ANNOTATION, ConfigRollout, GROUP, REQUESTED_BY_SUFFIX};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;

/// Who changed the spec last. Stamps count from `stamped_since` on: an earlier one may be anybody's.
pub fn changed_by(rollout: &ConfigRollout, stamped_since: Option<Timestamp>) -> Option<String> {
    who(rollout, CHANGED_BY_ANNOTATION, &["f:spec"], stamped_since)
}

/// Who asked for `promote`, `abort`, `retry` or `undo` of a rollout, or `restart` of a group, last.
pub fn asked_by<K: ResourceExt>(
    object: &K,
    request: &str,
    stamped_since: Option<Timestamp>,
) -> Option<String> {
    let annotation = format!("{GROUP}/{request}");
    let stamp = format!("{annotation}{REQUESTED_BY_SUFFIX}");
    who(object, &stamp, &["f:metadata", "f:annotations", &format!("f:{annotation}")], stamped_since)
}

fn who<K: ResourceExt>(
    object: &K,
    stamp: &str,
    field: &[&str],
    stamped_since: Option<Timestamp>,
) -> Option<String> {
    let last = last_writer(object, field)?;
    let verified = stamped_since.zip(last.time.as_ref()).is_some_and(|(since, written)| written.0 >= since);
    match object.annotations().get(stamp).filter(|_| verified) {
        Some(user) => Some(user.clone()),
        None => Some(format!("{} (unverified)", last.manager.as_deref()?)),
    }
}

/// The field manager that wrote a field last.
fn last_writer<'a, K: ResourceExt>(object: &'a K, field: &[&str]) -> Option<&'a ManagedFieldsEntry> {
    let wrote = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        let found = fields.and_then(|fields| field.iter().try_fold(fields, |at, name| at.get(*name)));
        entry.subresource.is_none() && found.is_some()
    };
    object.managed_fields().iter().filter(wrote).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn rollout(annotations: &Value, managers: &[(&str, i64, Value, &str)]) -> ConfigRollout {
        let managers: Vec<Value> = managers
            .iter()
            .map(|(manager, second, fields, subresource)| {
                let subresource = (!subresource.is_empty()).then_some(subresource);
                json!({"manager": manager, "time": at(*second), "fieldsV1": fields, "subresource": subresource})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "r", "annotations": annotations, "managedFields": managers},
            "spec": {"groupName": "g", "config": {"files": []}},
        }))
        .expect("a rollout")
    }

    fn spec() -> Value {
        json!({"f:spec": {"f:config": {}}})
    }

    #[test]
    fn without_the_policy_it_is_the_last_manager_of_the_spec_unverified() {
        let managers = [
            ("first", 1, spec(), ""),
            ("kubectl", 2, spec(), ""),
            ("labeller", 3, json!({"f:metadata": {}}), ""),
            ("operator", 4, spec(), "status"),
        ];
        let stamped = json!({CHANGED_BY_ANNOTATION: "mallory"});
        let unverified = changed_by(&rollout(&stamped, &managers), None);
        assert_eq!(
            unverified.as_deref(),
            Some("kubectl (unverified)"),
            "the annotation alone proves nothing"
        );
        assert_eq!(changed_by(&rollout(&json!({}), &[]), None), None);
    }

    #[test]
    fn stamp_counts_from_when_the_policy_acts() {
        let stamped = rollout(&json!({CHANGED_BY_ANNOTATION: "alice"}), &[("kubectl", 5, spec(), "")]);
        for (since, expected) in [(4, "alice"), (5, "alice"), (6, "kubectl (unverified)")] {
            assert_eq!(changed_by(&stamped, Some(at(since))).as_deref(), Some(expected), "since {since}");
        }
        let unstamped = rollout(&json!({}), &[("kubectl", 5, spec(), "")]);
        assert_eq!(changed_by(&unstamped, Some(at(4))).as_deref(), Some("kubectl (unverified)"));
    }

    #[test]
    fn each_request_has_its_own_stamp() {
        let field = |name: &str| json!({"f:metadata": {"f:annotations": {format!("f:{GROUP}/{name}"): {}}}});
        let stamps = json!({
            format!("{GROUP}/promote{REQUESTED_BY_SUFFIX}"): "alice",
            format!("{GROUP}/abort{REQUESTED_BY_SUFFIX}"): "bob",
        });
        let managers = [("annotate", 5, field("promote"), ""), ("curl", 7, field("abort"), "")];
        let asked = rollout(&stamps, &managers);
        assert_eq!(asked_by(&asked, "promote", Some(at(5))).as_deref(), Some("alice"));
        assert_eq!(asked_by(&asked, "abort", Some(at(5))).as_deref(), Some("bob"));
        assert_eq!(asked_by(&asked, "promote", Some(at(6))).as_deref(), Some("annotate (unverified)"));
        assert_eq!(asked_by(&asked, "retry", Some(at(5))), None);
    }
}
