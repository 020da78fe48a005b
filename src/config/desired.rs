//! What a revision wants an agent to run, ready to be looked for in what the agent reports.

use super::compare::{Departure, Difference, SUPERVISORS_OWN, differences};
use super::parse::parse_reported;
use super::{ConfigFile, Digest, HashKey, ParsedFile, Value, merge, parse_files};
use std::borrow::Cow;

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

/// What a report of an effective configuration comes to, beside the desired one. It holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Where the two depart.
    pub differences: Vec<Difference>,
    /// Stands for all that is reported, but for what `skips` named and what differs between agents and between
    /// starts without meaning anything.
    pub digest: Digest,
    /// Whether a Collector reports it. Until its Collector has started a supervisor reports the file that it gave it,
    /// which has other leaves.
    pub is_complete: bool,
    /// Whether it has the extension that a supervisor adds, with the supervisor's process.
    pub is_supervised: bool,
}

/// Why a report says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is nothing in it.
    Empty,
    /// It is no YAML, or beyond the limits.
    NotYaml,
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

    /// Compares with what an agent reports as effective. Content that is not looked into has no differences, only a
    /// digest, and counts as complete.
    pub fn compare(
        &self,
        effective: &[ConfigFile],
        key: &HashKey,
        skips: &dyn Fn(&[Cow<'_, str>]) -> bool,
    ) -> Result<Compared, Unread> {
        if effective.iter().all(|file| file.body.is_empty()) {
            return Err(Unread::Empty);
        }
        let reported = merged(effective);
        let digest = |value| Digest::of_value(key, value, &|path| skips(path) || means_nothing(path));
        match (&self.0, reported) {
            (Content::Merged(_), None) => Err(Unread::NotYaml),
            (Content::Merged(desired), Some(reported)) => Ok(Compared {
                differences: differences(desired, &reported),
                digest: digest(&reported),
                is_complete: is_of_a_collector(&reported),
                is_supervised: is_supervised(&reported),
            }),
            (Content::Opaque(_), Some(reported)) => Ok(Compared {
                differences: Vec::new(),
                digest: digest(&reported),
                is_complete: true,
                is_supervised: is_supervised(&reported),
            }),
            (Content::Opaque(_), None) => {
                let mut files: Vec<&ConfigFile> = effective.iter().collect();
                files.sort_by_key(|file| &file.name);
                let parts = files.iter().flat_map(|file| [file.name.as_bytes(), &file.body]);
                let digest = Digest::of_bytes(key, parts);
                Ok(Compared { differences: Vec::new(), digest, is_complete: true, is_supervised: false })
            }
        }
    }

    /// Whether an agent that reports these files as effective runs this: it has every component and pipeline, and
    /// no leaf with another value. Opaque files have to be there byte for byte.
    pub fn is_covered_by(&self, effective: &[ConfigFile]) -> bool {
        match &self.0 {
            Content::Merged(desired) => merged(effective).is_some_and(|effective| {
                differences(desired, &effective).iter().all(|difference| !is_other(difference))
            }),
            Content::Opaque(files) => files.iter().all(|file| {
                effective.iter().any(|reported| (&reported.name, &reported.body) == (&file.name, &file.body))
            }),
        }
    }
}

/// Whether a difference tells that another configuration runs. What the agent may have added by itself does not: a
/// pipeline or an extension more.
fn is_other(difference: &Difference) -> bool {
    match difference.departure {
        Departure::Different | Departure::Missing => true,
        Departure::Foreign => difference.path.len() > 3,
        Departure::Unreported | Departure::Hidden => false,
    }
}

/// What a supervisor puts into a configuration: its own port and process, who the agent is, and where its own telemetry
/// goes.
fn means_nothing(path: &[Cow<'_, str>]) -> bool {
    match path {
        [section, name] => section == "extensions" && name == SUPERVISORS_OWN,
        [service, telemetry, inside @ ..] if service == "service" && telemetry == "telemetry" => {
            // What the desired configuration says of it is compared all the same.
            match inside {
                [part] => part == "resource" || part == "traces",
                [signal, part] => {
                    matches!((&**signal, &**part), ("metrics", "readers") | ("logs", "processors"))
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// What a Collector fills in, whatever it is given. The first four are its sections.
const FILLED_IN: [&[&str]; 6] = [
    &["receivers"],
    &["processors"],
    &["exporters"],
    &["connectors"],
    &["service", "telemetry", "logs"],
    &["service", "telemetry", "metrics"],
];

/// Whether a Collector reports this, and not the supervisor that is to start it: all is there that a Collector fills
/// in, also in the extension that the supervisor added. To be wrong here costs a baseline, and is no drift.
fn is_of_a_collector(reported: &Value) -> bool {
    let extension = reported.at(&["extensions", SUPERVISORS_OWN]);
    let filled_in = |extension: &Value| extension.at(&["capabilities", "reports_health"]).is_some();
    FILLED_IN.iter().all(|path| reported.at(path).is_some_and(|value| value != &Value::Null))
        && extension.is_none_or(filled_in)
}

/// Whether a supervisor runs the Collector: the extension watches that process. Alone it watches none.
fn is_supervised(reported: &Value) -> bool {
    let process = reported.at(&["extensions", SUPERVISORS_OWN, "ppid"]);
    matches!(process, Some(Value::Int(process)) if *process > 0)
}

/// The effective configuration as one; nothing if it cannot be read or says nothing.
fn merged(effective: &[ConfigFile]) -> Option<Value> {
    let mut files: Vec<ParsedFile> = parse_reported(effective)?;
    if files.len() > 1 {
        files.retain(|file| file.name != RAW);
    }
    let merged = match <[ParsedFile; 1]>::try_from(files) {
        Ok([file]) => file.value,
        Err(files) => merge(files).value().clone(),
    };
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
