//! A file that changes what an agent has merged, and means nothing.
//!
//! A supervisor to which a configuration is offered once more compares the merged configurations, not
//! the hashes: if nothing differs it restarts nothing and reports APPLIED at once, whatever state the
//! Collector is in (`reference/opamp.md`, 3.11). So a correction differs by one empty section.

use super::{ConfigFile, Value, merge, parse_files};

/// Sections that a Collector takes empty, without meaning anything. `extensions` is not among them:
/// the supervisor always has one of its own.
const SECTIONS: [&[&str]; 7] = [
    &["connectors"],
    &["processors"],
    &["receivers"],
    &["exporters"],
    &["service", "telemetry", "traces"],
    &["service", "telemetry", "logs"],
    &["service", "telemetry", "metrics"],
];

/// The name of the file, with more zeros in front where it is taken. It sorts before most that
/// people choose, so that it is merged first there.
const NAME: &str = "00-opamp-operator-correction.yaml";

/// One file more for a Collector configuration, which adds an empty section that the merged
/// configuration does not have, and so overrides nothing wherever it is merged.
///
/// `None` if the files are no such configuration, or have all sections that may be empty.
pub fn padding(files: &[ConfigFile]) -> Option<ConfigFile> {
    let merged = merge(parse_files(files).ok()?);
    let section = SECTIONS.into_iter().find(|section| is_free(merged.value(), section))?;
    let mut name = NAME.to_owned();
    while files.iter().any(|file| file.name == name) {
        name.insert(0, '0');
    }
    Some(ConfigFile::new(name, "text/yaml", body(section).into_bytes()))
}

/// Whether nothing stands at a path, and a mapping there would replace nothing above it.
fn is_free(value: &Value, path: &[&str]) -> bool {
    let [step, rest @ ..] = path else { return false };
    match value.as_map().map(|map| map.get(*step)) {
        Some(None) => true,
        Some(Some(inner)) => is_free(inner, rest),
        None => false,
    }
}

/// An empty mapping at a path, for example `{service: {telemetry: {logs: {}}}}`.
fn body(path: &[&str]) -> String {
    let inner = path.iter().rev().fold("{}".to_owned(), |inner, step| format!("{{{step}: {inner}}}"));
    format!("# Says nothing; it only makes this offer differ from the one before.\n{inner}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(bodies: &[(&str, &str)]) -> Vec<ConfigFile> {
        bodies.iter().map(|(name, body)| ConfigFile::new(*name, "", body.as_bytes())).collect()
    }

    fn merged(files: &[ConfigFile]) -> Value {
        merge(parse_files(files).unwrap_or_else(|errors| panic!("{errors:?}"))).value().clone()
    }

    /// The section that pads a configuration, as text.
    fn section(bodies: &[(&str, &str)]) -> Option<String> {
        let body = padding(&files(bodies))?.body;
        Some(String::from_utf8_lossy(&body).lines().last()?.to_owned())
    }

    const ALL: &str = "{connectors: {}, processors: , receivers: {a: }, exporters: {b: }}";

    #[test]
    fn first_section_that_the_merged_configuration_lacks_is_added() {
        let rest = |telemetry: &str| format!("service: {{telemetry: {telemetry}}}");
        for (one, two, expected) in [
            ("receivers: {a: }", "exporters: {b: }", Some("{connectors: {}}")),
            ("connectors: ", "exporters: {b: }", Some("{processors: {}}")),
            ("processors: {}", "connectors: {forward: }", Some("{receivers: {}}")),
            (ALL, "", Some("{service: {telemetry: {traces: {}}}}")),
            (ALL, "service: {pipelines: {}}", Some("{service: {telemetry: {traces: {}}}}")),
            (ALL, &rest("{traces: }"), Some("{service: {telemetry: {logs: {}}}}")),
            (ALL, &rest("{traces: {}, logs: {level: warn}}"), Some("{service: {telemetry: {metrics: {}}}}")),
            (ALL, &rest("{traces: {}, logs: {}, metrics: {}}"), None),
            (ALL, &rest(""), None),
            (ALL, "service: ", None),
        ] {
            assert_eq!(section(&[("a", one), ("", two)]).as_deref(), expected, "{one} {two}");
        }
    }

    #[test]
    fn padding_changes_the_merged_configuration_and_overrides_nothing_wherever_it_is_merged() {
        for telemetry in ["{}", "{traces: {}}", "{traces: {}, logs: {}}"] {
            let service = format!("service: {{extensions: [x, y], telemetry: {telemetry}}}");
            let plain = files(&[("a", ALL), ("b", &service)]);
            let padding = padding(&plain).expect("a section is free");
            for name in ["", "!", "zzz"] {
                let padded =
                    [&plain[..], &[ConfigFile { name: name.to_owned(), ..padding.clone() }]].concat();
                let (before, after) = (merged(&plain), merged(&padded));
                assert!(before != after, "{telemetry}");
                assert!(is_within(&before, &after), "{telemetry} merged as {name:?}");
            }
        }
    }

    fn is_within(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Map(one), Value::Map(other)) => {
                one.iter().all(|(key, value)| other.get(key).is_some_and(|other| is_within(value, other)))
            }
            (one, other) => one == other,
        }
    }

    #[test]
    fn name_is_one_that_no_file_has() {
        let longer = "000-opamp-operator-correction.yaml";
        for (names, expected) in [
            (&["a.yaml", ""][..], NAME),
            (&[NAME], longer),
            (&[NAME, longer], "0000-opamp-operator-correction.yaml"),
        ] {
            let bodies: Vec<_> = names.iter().map(|name| (*name, "receivers: {a: }")).collect();
            assert_eq!(padding(&files(&bodies)).expect("a section is free").name, expected, "{names:?}");
        }
    }

    #[test]
    fn content_that_is_no_configuration_is_not_padded() {
        for body in ["[", "\u{0}\u{1}", "a: 1\na: 2"] {
            assert!(padding(&files(&[("a", body)])).is_none(), "{body:?}");
        }
    }
}
