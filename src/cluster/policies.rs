//! Whether the API server stamps who changes a rollout, and who asks something of it or of a group.
//!
//! A stamp alone proves nothing: without the policy of `policies/stamps.yaml` it is an annotation that anybody may
//! write. So it is looked up when a stamp is to be believed, which is rare.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, NamedRuleWithOperations,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::Api;
use kube::{Client, Resource};

/// Name of the policy that stamps, and of its binding.
pub const STAMPS_POLICY: &str = "stamps.fleet.opamp.dev";

/// Since when the API server has stamped every write of objects of this kind; nothing if it does not, or if that may not
/// be read.
///
/// # Errors
/// When the API server does not answer.
pub async fn stamped_since<K: Resource<DynamicType = ()>>(
    client: &Client,
) -> kube::Result<Option<Timestamp>> {
    let policies: Api<MutatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<MutatingAdmissionPolicyBinding> = Api::all(client.clone());
    let Some(policy) = found(policies.get(STAMPS_POLICY).await)? else { return Ok(None) };
    let Some(binding) = found(bindings.get(STAMPS_POLICY).await)? else { return Ok(None) };
    Ok(in_force_since(&K::plural(&()), &policy, &binding))
}

/// Older API servers do not know the kind at all.
fn found<K>(read: kube::Result<K>) -> kube::Result<Option<K>> {
    match read {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 403 => Ok(None),
        other => other.map(Some),
    }
}

/// Since when a policy acts on all objects of a kind. One that leaves out some of them, or lets pass what it cannot judge,
/// would let a client write the stamp there.
fn in_force_since(
    resource: &str,
    policy: &MutatingAdmissionPolicy,
    binding: &MutatingAdmissionPolicyBinding,
) -> Option<Timestamp> {
    let spec = policy.spec.as_ref()?;
    let bound = binding.spec.as_ref()?;
    let strict = spec.failure_policy.as_deref() == Some("Fail")
        && spec.match_conditions.as_ref().is_none_or(Vec::is_empty)
        && spec.match_constraints.as_ref().is_some_and(|all| leaves_nothing_out(all, resource));
    let whole = bound.policy_name.as_deref() == Some(STAMPS_POLICY) && bound.match_resources.is_none();
    let both = made_at(policy)?.max(made_at(binding)?);
    (strict && whole).then_some(both)
}

fn leaves_nothing_out(constraints: &MatchResources, resource: &str) -> bool {
    let empty = |selector: &Option<LabelSelector>| {
        selector.as_ref().is_none_or(|selector| *selector == LabelSelector::default())
    };
    let names =
        |rule: &NamedRuleWithOperations| rule.resources.iter().flatten().any(|named| named == resource);
    constraints.resource_rules.iter().flatten().any(names)
        && empty(&constraints.namespace_selector)
        && empty(&constraints.object_selector)
        && constraints.exclude_resource_rules.as_ref().is_none_or(Vec::is_empty)
}

fn made_at<K: Resource>(object: &K) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// A policy and its binding as the API server fills them in, with one thing changed.
    fn since(pointer: &str, value: Value) -> Option<Timestamp> {
        let mut both = json!({
            "policy": {
                "metadata": {"name": STAMPS_POLICY, "creationTimestamp": at(10)},
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": {"namespaceSelector": {}, "objectSelector": {}, "resourceRules": [{"resources": ["things"]}]},
                },
            },
            "binding": {
                "metadata": {"name": STAMPS_POLICY, "creationTimestamp": at(20)},
                "spec": {"policyName": STAMPS_POLICY},
            },
        });
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        both.pointer_mut(parent).expect("a parent")[key] = value;
        let policy = serde_json::from_value(both["policy"].take()).expect("a policy");
        let binding = serde_json::from_value(both["binding"].take()).expect("a binding");
        in_force_since("things", &policy, &binding)
    }

    #[test]
    fn policy_acts_since_it_and_its_binding_are_there() {
        assert_eq!(since("/policy/metadata/labels", json!({})), Some(at(20)));
        assert_eq!(since("/policy/metadata/creationTimestamp", json!(at(30))), Some(at(30)));
    }

    #[test]
    fn policy_that_lets_anything_pass_proves_nothing() {
        let some = json!({"matchLabels": {"a": "b"}});
        for (pointer, value) in [
            ("/policy/spec/failurePolicy", json!("Ignore")),
            ("/policy/spec/matchConditions", json!([{"name": "n", "expression": "false"}])),
            ("/policy/spec/matchConstraints", Value::Null),
            ("/policy/spec/matchConstraints/resourceRules", json!([{"resources": ["others"]}])),
            ("/policy/spec/matchConstraints/namespaceSelector", some.clone()),
            ("/policy/spec/matchConstraints/objectSelector", some.clone()),
            ("/policy/spec/matchConstraints/excludeResourceRules", json!([{"resources": ["*"]}])),
            ("/binding/spec/policyName", json!("another")),
            ("/binding/spec/matchResources", json!({"namespaceSelector": some})),
        ] {
            assert_eq!(since(pointer, value), None, "{pointer}");
        }
    }
}
