//! An object with its status as it stands there: a newer version may have written what this one does not read.

use kube::Resource;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Deref;

/// An object, and its status as it stands.
#[derive(Clone, Debug)]
pub struct Whole<K> {
    object: K,
    raw_status: Value,
}

impl<K> Whole<K> {
    /// The status as it stands; null if there is none.
    pub fn raw_status(&self) -> &Value {
        &self.raw_status
    }
}

impl<K> Deref for Whole<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.object
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Whole<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Value::deserialize(deserializer)?;
        let raw_status = whole.get("status").cloned().unwrap_or_default();
        let object = serde_json::from_value(whole).map_err(D::Error::custom)?;
        Ok(Self { object, raw_status })
    }
}

impl<K: Resource> Resource for Whole<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &kube::api::ObjectMeta {
        self.object.meta()
    }

    fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
        self.object.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ConfigRollout;
    use serde_json::json;

    #[test]
    fn object_is_read_with_all_that_its_status_says() {
        let status = json!({"state": "Soaking", "mood": "calm", "phases": []});
        let manifest = json!({
            "metadata": {"name": "r"}, "spec": {"groupName": "g", "config": {"files": []}}, "status": status,
        });
        let read: Whole<ConfigRollout> = serde_json::from_value(manifest).expect("a rollout");
        assert_eq!(read.raw_status(), &status);
        assert_eq!(read.spec.group_name, "g");
        assert_eq!(read.meta().name.as_deref(), Some("r"));
        let broken = json!({"metadata": {"name": "r"}, "spec": {}});
        let error = serde_json::from_value::<Whole<ConfigRollout>>(broken).expect_err("an error");
        assert!(error.to_string().contains("groupName"), "{error}");
    }
}
