//! The alert rules of `rules/`, and the metrics that they ask for.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rules that people load.
pub const RULES: &str = "opamp-operator.yaml";
/// Words before a list of labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words between two expressions.
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

/// The folder with them, and with their tests in `tests/`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")
}

/// A file of the folder.
///
/// # Panics
/// When it is missing or no YAML.
pub fn read(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(name)).expect(name);
    serde_saphyr::from_str(&text).expect(name)
}

/// The files with the tests of the rules, by their paths in the folder.
///
/// # Panics
/// When there are none.
pub fn tests() -> Vec<String> {
    let files = fs::read_dir(folder().join("tests")).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
    let mut paths: Vec<String> = names.map(|name| format!("tests/{name}")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "the rules have tests");
    paths
}

/// All alerts.
pub fn alerts() -> Vec<Value> {
    let groups = read(RULES)["groups"].as_array().cloned().unwrap_or_default();
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

/// The names of all metrics that the alerts ask for.
pub fn metrics() -> BTreeSet<String> {
    alerts().iter().flat_map(|alert| metrics_of(alert["expr"].as_str().expect("an expression"))).collect()
}

/// The names of metrics in an expression: what is no function, no label, no number, no operator and no text.
pub fn metrics_of(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' => after(&rest[1..], first),
            '{' => after(rest, '}'),
            '[' => after(rest, ']'),
            '#' => after(rest, '\n'),
            _ if is_of_a_word(first) => {
                let (word, next) = split_word(rest);
                if is_metric(word, next) {
                    found.insert(word.to_owned());
                }
                if GROUPINGS.contains(&word) { after(next, ')') } else { next }
            }
            _ => &rest[first.len_utf8()..],
        };
    }
    found
}

/// Whether a word names a metric, by what comes next.
fn is_metric(word: &str, next: &str) -> bool {
    let number = word.starts_with(|c: char| c.is_ascii_digit());
    let calls = next.starts_with('(') || GROUPINGS.contains(&split_word(next).0);
    !number && !calls && !GROUPINGS.contains(&word) && !OPERATORS.contains(&word)
}

/// The word at the beginning, and what comes next.
fn split_word(text: &str) -> (&str, &str) {
    let (word, next) = text.split_at(text.find(|c| !is_of_a_word(c)).unwrap_or(text.len()));
    (word, next.trim_start())
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.')
}

/// What comes after the next of these characters.
fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}
