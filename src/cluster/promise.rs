//! What a replica promises with a renewal of its Lease: that what it saw of its agents stands in its slices, up to a
//! version of these, except in the namespaces that it names. The trouble of one namespace, such as a quota that is used
//! up, is not that of others.

use crate::api::{BEHIND_ANNOTATION, WRITTEN_ANNOTATION};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most namespaces that a Lease names: 13 KB of names. Where so many are in trouble it is not theirs, but the replica's.
const MOST_NAMED: usize = 200;

/// What goes with a renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    behind: BTreeSet<Arc<str>>,
    written: u64,
}

impl Promise {
    /// That all slices are written but those in the namespaces that are `behind`; nothing can be promised if these are
    /// too many. The last of them was `written` in this resource version; zero if none was.
    pub fn except(behind: BTreeSet<Arc<str>>, written: u64) -> Option<Self> {
        (behind.len() <= MOST_NAMED).then_some(Self { behind, written })
    }

    /// The promise that a Lease carries.
    pub fn of(lease: &Lease) -> Self {
        let value = lease.annotations().get(BEHIND_ANNOTATION);
        let names = value.into_iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty());
        let written = lease.annotations().get(WRITTEN_ANNOTATION).and_then(|version| version.parse().ok());
        Self { behind: names.map(Arc::from).collect(), written: written.unwrap_or_default() }
    }

    /// The namespaces of which nothing is promised.
    pub fn behind(&self) -> &BTreeSet<Arc<str>> {
        &self.behind
    }

    /// Who has seen the slices up to this resource version has seen all that were written. Versions of objects of one
    /// kind are numbers in the order of their writes (KEP-5504). Zero where nothing is said, as by an older version.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Puts the promise into a Lease's metadata, in place of the one before.
    pub fn write_to(&self, metadata: &mut ObjectMeta) {
        let names: Vec<&str> = self.behind.iter().map(|name| &**name).collect();
        let behind = (!names.is_empty()).then(|| names.join(","));
        let written = (self.written > 0).then(|| self.written.to_string());
        let annotations = metadata.annotations.get_or_insert_default();
        for (key, value) in [(BEHIND_ANNOTATION, behind), (WRITTEN_ANNOTATION, written)] {
            annotations.remove(key);
            annotations.extend(value.map(|value| (key.to_owned(), value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn promise_comes_back_as_it_was_written_and_replaces_the_one_before() {
        let mut lease = Lease::default();
        for (names, written) in [(&["a", "b"][..], 0), (&["b"], 7), (&[], 8), (&["c"], 0), (&[], 0)] {
            let promise = Promise::except(behind(names), written).expect("few");
            promise.write_to(&mut lease.metadata);
            assert_eq!(Promise::of(&lease), promise);
            assert_eq!(lease.annotations().contains_key(BEHIND_ANNOTATION), !names.is_empty());
            assert_eq!(lease.annotations().contains_key(WRITTEN_ANNOTATION), written > 0);
        }
        assert_eq!(Promise::of(&Lease::default()), Promise::default(), "an older replica's");
    }

    #[test]
    fn nothing_is_promised_where_too_many_namespaces_are_behind() {
        let many = |n: usize| (0..n).map(|n| n.to_string().into()).collect();
        assert!(Promise::except(many(MOST_NAMED), 1).is_some());
        assert_eq!(Promise::except(many(MOST_NAMED + 1), 1), None);
    }
}
