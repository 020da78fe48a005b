//! Reads nodes of a merged configuration and collects what is wrong with them.

use std::collections::BTreeMap;

use super::{CheckError, Problem, Reason};
use crate::config::brief::brief;
use crate::config::{Kind, Merged, Text, Value};

/// The problems found so far in one configuration.
pub(super) struct Report<'a> {
    merged: &'a Merged,
    found: CheckError,
}

/// What stands where a collection is expected.
pub(super) enum Found<'a, T> {
    /// Nothing, or `null`, which the Collector reads as an empty collection.
    Nothing,
    /// Something that cannot be looked into: an expansion, or a node of the wrong kind, which has
    /// been reported. Whatever depends on it is given the benefit of the doubt.
    Unknown,
    /// The collection.
    Is(&'a T),
}

impl<'a> Report<'a> {
    pub(super) const fn on(merged: &'a Merged) -> Self {
        Self { merged, found: CheckError::none() }
    }

    pub(super) fn into_error(self) -> CheckError {
        self.found
    }

    /// Notes a problem with the node at this path.
    pub(super) fn add(&mut self, path: &[&str], reason: Reason) {
        self.add_element(path, "", reason);
    }

    /// Notes a problem with one element of the list at this path, so that the file which names
    /// that element is given.
    pub(super) fn add_element(&mut self, path: &[&str], element: &str, reason: Reason) {
        let merged = self.merged;
        self.found.add_with(|| Problem {
            file: merged.file_of(&[path, &[element]].concat()).map(str::to_owned),
            path: path.iter().map(|step| brief(step)).collect::<Vec<_>>().join("::"),
            reason,
        });
    }

    /// The mapping at this path.
    pub(super) fn mapping(&mut self, path: &[&str]) -> Found<'a, BTreeMap<Text, Value>> {
        self.find(path, Kind::Map, Value::as_map)
    }

    /// The list at this path.
    pub(super) fn list(&mut self, path: &[&str]) -> Found<'a, Vec<Value>> {
        self.find(path, Kind::List, Value::as_list)
    }

    fn find<T>(
        &mut self,
        path: &[&str],
        wanted: Kind,
        read: impl Fn(&'a Value) -> Option<&'a T>,
    ) -> Found<'a, T> {
        let Some(value) = self.merged.value().at(path) else { return Found::Nothing };
        if let Some(found) = read(value) {
            return Found::Is(found);
        }
        if value.kind() == Kind::Null {
            return Found::Nothing;
        }
        if !value.is_expansion() {
            self.add(path, Reason::WrongKind { wanted, found: value.kind() });
        }
        Found::Unknown
    }
}
