//! Several files to one configuration, as the `OpAMP` supervisor does it.
//!
//! Read from the supervisor 0.149 (`createRemoteConfigComposers`, `configMergeFunc`) and from
//! koanf's `maps.Merge`, and compared with them on random inputs; `reference/opamp.md`, 3.3.

use std::collections::{BTreeMap, HashSet};

use super::{Text, Value};

#[cfg(test)]
mod tests;

/// The section and the key of the one list that is joined instead of replaced.
const SERVICE: &str = "service";
const EXTENSIONS: &str = "extensions";

/// One file, parsed. No `Debug`: it holds content.
#[derive(Clone, PartialEq)]
pub struct ParsedFile {
    /// The file's name in the config map.
    pub name: String,
    /// What it says.
    pub value: Value,
}

/// A merged configuration that still knows its files. No `Debug`: it holds content.
pub struct Merged {
    value: Value,
    /// Lowest precedence first.
    files: Vec<ParsedFile>,
}

/// Merges the files of one configuration, whatever their order.
///
/// Names decide the precedence: in bytewise order, each above the one before, and the empty name
/// above all. Mappings are merged key by key. Anything else replaces what was there, `null` too.
/// Only `service::extensions` is joined, in the order in which the extensions first appear. A file
/// whose top level is not a mapping adds nothing; an agent refuses it unless it is empty.
pub fn merge(mut files: Vec<ParsedFile>) -> Merged {
    files.sort_by(|one, other| precedence(one).cmp(&precedence(other)));
    let value = Value::Map(merged(&files));
    Merged { value, files }
}

impl Merged {
    /// The whole configuration, always a mapping.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The files, lowest precedence first.
    pub fn files(&self) -> &[ParsedFile] {
        &self.files
    }

    /// The file that decides what stands at this path: of those that say something about the
    /// longest part of it, the one with the highest precedence. A step into a list names an
    /// element by its text.
    ///
    /// `None` if no file says anything about it. With a single file the answer is that one.
    pub fn file_of(&self, path: &[&str]) -> Option<&str> {
        if let [only] = self.files.as_slice() {
            return Some(&only.name);
        }
        let said = self.files.iter().map(|file| (depth(&file.value, path), file.name.as_str()));
        let (_, file) = said.filter(|(depth, _)| *depth > 0).max_by_key(|(depth, _)| *depth)?;
        Some(file)
    }
}

/// Sorts like the names, but with the empty one last.
fn precedence(file: &ParsedFile) -> (bool, &str) {
    (file.name.is_empty(), &file.name)
}

fn merged(files: &[ParsedFile]) -> BTreeMap<Text, Value> {
    let mut merged = BTreeMap::new();
    let mut extensions = Vec::new();
    for map in files.iter().filter_map(|file| file.value.as_map()) {
        merge_map(&mut merged, map);
        note_extensions(&mut extensions, map);
    }
    if extensions.len() > 1 {
        set_extensions(&mut merged, &extensions);
    }
    merged
}

fn merge_map(below: &mut BTreeMap<Text, Value>, above: &BTreeMap<Text, Value>) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Map(below)), Value::Map(above)) => merge_map(below, above),
            (Some(replaced), value) => *replaced = value.clone(),
            (None, value) => drop(below.insert(key.clone(), value.clone())),
        }
    }
}

/// Keeps the lists of extensions that are to be joined: all since something else stood there last.
fn note_extensions<'a>(lists: &mut Vec<&'a Vec<Value>>, map: &'a BTreeMap<Text, Value>) {
    let Some(service) = map.get(SERVICE) else { return };
    match service.as_map().map(|service| service.get(EXTENSIONS)) {
        Some(None) => {}
        Some(Some(Value::List(list))) => lists.push(list),
        Some(Some(_)) | None => lists.clear(),
    }
}

/// Replaces the extensions of the last file by those of all. What is not text is kept as it is:
/// no agent accepts it as an extension.
fn set_extensions(merged: &mut BTreeMap<Text, Value>, lists: &[&Vec<Value>]) {
    let mut seen = HashSet::new();
    let all = lists.iter().copied().flatten();
    let joined = all.filter(|extension| extension.as_str().is_none_or(|text| seen.insert(text)));
    let joined = Value::List(joined.cloned().collect());
    if let Some(Value::Map(service)) = merged.get_mut(SERVICE) {
        service.insert(EXTENSIONS.into(), joined);
    }
}

/// How many steps of the path this value can go.
fn depth(value: &Value, path: &[&str]) -> usize {
    let [step, rest @ ..] = path else { return 0 };
    match value {
        Value::Map(map) => map.get(*step).map_or(0, |inner| 1 + depth(inner, rest)),
        Value::List(list) => usize::from(list.iter().any(|element| element.as_str() == Some(step))),
        _ => 0,
    }
}
