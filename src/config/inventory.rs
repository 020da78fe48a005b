//! The component types that a configuration needs, and those that a Collector was built with.

use super::{ComponentId, ConfigFile, merge, parse_files};
use std::collections::{BTreeMap, BTreeSet};

/// The sections that hold components, each with the word for one of them.
const SECTIONS: [(&str, &str); 5] = [
    ("receivers", "receiver"),
    ("processors", "processor"),
    ("exporters", "exporter"),
    ("connectors", "connector"),
    ("extensions", "extension"),
];
/// Longest type that is kept, in bytes, as the Collector has it.
const MAX_TYPE_BYTES: usize = 63;
/// Most types that are kept of one section.
const MAX_TYPES: usize = 512;

/// Component types by section: `receivers` → `otlp`, `hostmetrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory(BTreeMap<String, BTreeSet<String>>);

impl Inventory {
    /// The types of these sections. What is no section of components is left out, and so are texts that are no types.
    pub fn new<T: Into<String>>(sections: impl IntoIterator<Item = (T, Vec<String>)>) -> Self {
        let known = |(section, types): (T, Vec<String>)| {
            let section = section.into();
            SECTIONS.iter().any(|(name, _)| *name == section).then_some((section, types))
        };
        let bounded =
            |types: Vec<String>| types.into_iter().filter(|text| is_type(text)).take(MAX_TYPES).collect();
        let sections = sections.into_iter().filter_map(known);
        Self(sections.map(|(section, types)| (section, bounded(types))).collect())
    }

    /// The types that the files of a Collector configuration define together, used or not: a Collector refuses a type
    /// that it does not know wherever it stands. Nothing of files that cannot be read.
    pub fn needed_by(files: &[ConfigFile]) -> Self {
        let Ok(parsed) = parse_files(files) else { return Self::default() };
        let merged = merge(parsed);
        let Some(config) = merged.value().as_map() else { return Self::default() };
        let types = |section: &str| {
            let components = config.get(section)?.as_map()?;
            let ids = components.keys().filter_map(|key| key.parse::<ComponentId>().ok());
            Some(ids.map(|id| id.component_type().to_owned()).collect())
        };
        Self::new(SECTIONS.iter().filter_map(|(section, _)| Some((*section, types(section)?))))
    }

    /// Each section with its types, in order.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.0.iter().map(|(section, types)| (section.as_str(), types))
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a Collector with these components lacks nothing to run this.
    pub fn is_within(&self, built: &Self) -> bool {
        self.0
            .iter()
            .all(|(section, needed)| built.0.get(section).is_none_or(|there| needed.is_subset(there)))
    }

    /// What a Collector with these components lacks to run this: `receiver kafka`. A section that the Collector does
    /// not tell of lacks nothing.
    pub fn missing_from(&self, built: &Self) -> Vec<String> {
        let mut missing = Vec::new();
        for (section, word) in SECTIONS {
            let (Some(needed), Some(there)) = (self.0.get(section), built.0.get(section)) else { continue };
            missing.extend(needed.difference(there).map(|text| format!("{word} {text}")));
        }
        missing
    }
}

fn is_type(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.len() <= MAX_TYPE_BYTES && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, body: &str) -> ConfigFile {
        ConfigFile::new(name, "text/yaml", body.as_bytes().to_vec())
    }

    fn inventory(sections: &[(&str, &[&str])]) -> Inventory {
        let texts = |types: &[&str]| types.iter().map(|text| (*text).to_owned()).collect();
        Inventory::new(sections.iter().map(|(section, types)| (*section, texts(types))))
    }

    #[test]
    fn configuration_needs_the_types_of_all_components_that_its_files_define_together() {
        let files = [
            file(
                "a.yaml",
                "receivers: {otlp: {}, otlp/second: {}, hostmetrics: {}}\nservice: {pipelines: {}}",
            ),
            file("b.yaml", "exporters: {debug: {verbosity: basic}}\nprocessors:\n"),
        ];
        let expected = inventory(&[("receivers", &["otlp", "hostmetrics"]), ("exporters", &["debug"])]);
        assert_eq!(Inventory::needed_by(&files), expected);
        assert!(Inventory::needed_by(&[file("a", "no: [yaml")]).is_empty());
    }

    #[test]
    fn collector_lacks_what_it_was_not_built_with_and_nothing_of_what_it_does_not_tell() {
        let needed = inventory(&[("receivers", &["otlp", "kafka"]), ("extensions", &["zpages"])]);
        for (built, missing) in [
            (inventory(&[("receivers", &["otlp", "kafka", "nop"])]), vec![]),
            (
                inventory(&[("receivers", &["otlp"]), ("extensions", &[])]),
                vec!["receiver kafka", "extension zpages"],
            ),
            (inventory(&[]), vec![]),
        ] {
            assert_eq!(needed.missing_from(&built), missing);
            assert_eq!(needed.is_within(&built), missing.is_empty());
        }
    }

    #[test]
    fn only_sections_of_components_and_only_types_are_kept() {
        let long = "x".repeat(64);
        let kept = inventory(&[("receivers", &["otlp", "", "with space", &long]), ("secrets", &["otlp"])]);
        assert_eq!(kept, inventory(&[("receivers", &["otlp"])]));
        let many: Vec<String> = (0..1000).map(|number| format!("t{number}")).collect();
        let kept = Inventory::new([("receivers", many)]);
        assert_eq!(kept.sections().map(|(_, types)| types.len()).sum::<usize>(), 512);
    }
}
