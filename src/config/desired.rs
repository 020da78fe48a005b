//! What a revision wants an agent to run, ready to be looked for in what the agent reports.

use super::compare::{Departure, differences};
use super::{ConfigFile, ParsedFile, Value, merge, parse_files};

/// The key under which an agent may report the configuration before expansion, which is what it was given and no
/// evidence (`reference/opamp.md`, 3.5).
const RAW: &str = "raw";

/// A desired configuration, parsed once and shared. No `Debug`: it holds content.
#[derive(Clone)]
pub struct Desired(Content);

#[derive(Clone)]
enum Content {
    /// A Collector configuration, merged as the supervisor does.
    Merged(Value),
    /// Anything else, not looked into.
    Opaque(Vec<ConfigFile>),
}

impl Desired {
    /// The desired side of a Collector configuration; nothing if it is none.
    pub fn collector(files: &[ConfigFile]) -> Option<Self> {
        Some(Self(Content::Merged(merge(parse_files(files).ok()?).value().clone())))
    }

    /// The desired side of files that are not looked into.
    pub fn opaque(files: &[ConfigFile]) -> Self {
        Self(Content::Opaque(files.to_vec()))
    }

    /// Whether an agent that reports these files as effective runs this: it has every component and pipeline, and
    /// no leaf with another value. Opaque files have to be there byte for byte.
    pub fn is_covered_by(&self, effective: &[ConfigFile]) -> bool {
        match &self.0 {
            Content::Merged(desired) => merged(effective).is_some_and(|effective| {
                let differences = differences(desired, &effective);
                differences.iter().all(|difference| difference.departure == Departure::Unreported)
            }),
            Content::Opaque(files) => files.iter().all(|file| {
                effective.iter().any(|reported| (&reported.name, &reported.body) == (&file.name, &file.body))
            }),
        }
    }
}

/// The effective configuration as one; nothing if it cannot be read or says nothing.
fn merged(effective: &[ConfigFile]) -> Option<Value> {
    let mut files: Vec<ParsedFile> = parse_files(effective).ok()?;
    if files.len() > 1 {
        files.retain(|file| file.name != RAW);
    }
    let merged = merge(files).value().clone();
    merged.as_map().is_some_and(|map| !map.is_empty()).then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(bodies: &[(&str, &str)]) -> Vec<ConfigFile> {
        bodies.iter().map(|(name, body)| ConfigFile::new(*name, "", body.as_bytes())).collect()
    }

    fn covered(desired: &[(&str, &str)], effective: &[(&str, &str)]) -> bool {
        Desired::collector(&files(desired)).expect("YAML").is_covered_by(&files(effective))
    }

    #[test]
    fn desired_files_are_merged_before_they_are_compared() {
        let desired = [("a", "receivers: {nop: {x: 1}}"), ("b", "receivers: {nop: {x: 2}}")];
        assert!(covered(&desired, &[("", "receivers: {nop: {x: 2}}")]));
        assert!(!covered(&desired, &[("", "receivers: {nop: {x: 1}}")]));
    }

    #[test]
    fn effective_files_are_merged_but_for_the_raw_one() {
        let desired = [("a", "receivers: {nop: {x: 1}, otlp: }")];
        assert!(covered(&desired, &[("one", "receivers: {nop: {x: 1}}"), ("two", "receivers: {otlp: {}}")]));
        assert!(!covered(
            &desired,
            &[("", "receivers: {nop: }"), ("raw", "receivers: {nop: {x: 1}, otlp: }")]
        ));
        assert!(
            covered(&desired, &[("raw", "receivers: {nop: {x: 1}, otlp: }")]),
            "nothing else is reported"
        );
    }

    #[test]
    fn report_that_says_nothing_covers_nothing() {
        for effective in [&[][..], &[("", "")], &[("", "[")], &[("", "- list")], &[("", "{}")]] {
            assert!(!covered(&[("a", "service: ")], effective), "{effective:?}");
        }
    }

    #[test]
    fn opaque_files_are_to_be_reported_byte_for_byte() {
        let desired = Desired::opaque(&files(&[("a", "{x: 1}"), ("b", "\u{0}")]));
        for (effective, expected) in [
            (&[("a", "{x: 1}"), ("b", "\u{0}"), ("c", "more")][..], true),
            (&[("a", "{x: 1}")], false),
            (&[("a", "{x:  1}"), ("b", "\u{0}")], false),
            (&[("b", "{x: 1}"), ("a", "\u{0}")], false),
        ] {
            assert_eq!(desired.is_covered_by(&files(effective)), expected, "{effective:?}");
        }
    }
}
