//! What would take a supervisor's own extension away.
//!
//! Before the offered files a supervisor merges one of its own, with the extension by which it talks to its Collector.
//! A key without a value replaces what stood there, as `configMergeFunc` of 0.149 does it, and an empty mapping or
//! list does not. Then the Collector never connects to the supervisor, and nothing is ever applied. One that was told to
//! merge its own file last would not mind; the key can be left out for it just as well.

use super::{Problem, Reason};
use crate::config::{Merged, ParsedFile, Value};

/// What of the supervisor's file stands where, and what says nothing there.
const OWN: [(&[&str], &str); 3] =
    [(&["extensions"], "{}"), (&["service"], "{}"), (&["service", "extensions"], "[]")];

/// The places in one file that would take the extension away. A service that is nothing in the end has no pipelines
/// either, which is told already.
pub(super) fn losses<'a>(file: &'a ParsedFile, merged: &'a Merged) -> impl Iterator<Item = Problem> + 'a {
    let told = |path: &[&str]| path == ["service"] && merged.value().at(path) == Some(&Value::Null);
    let lost = move |(path, _): &(&[&str], _)| file.value.at(path) == Some(&Value::Null) && !told(path);
    OWN.into_iter().filter(lost).map(|(path, instead)| Problem {
        file: Some(file.name.clone()),
        path: path.join("::"),
        reason: Reason::WithoutSupervisor { instead },
    })
}
