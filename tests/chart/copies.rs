//! What the chart has from elsewhere in the project, and the table of values in its README.

use super::helm::{chart, helm, texts};
use serde_json::Value;
use std::path::Path;
use std::{env, fs};

/// Files of the chart that are copies: `make chart` writes them. Those of `crds/` are written by `make crds`.
const COPIES: [(&str, &str); 5] = [
    ("policies/stamps.yaml", "files/policies/stamps.yaml"),
    ("policies/requests.yaml", "files/policies/requests.yaml"),
    ("policies/writers.yaml", "files/policies/writers.yaml"),
    ("policies/roles.yaml", "files/policies/roles.yaml"),
    ("rules/opamp-operator.yaml", "files/rules/opamp-operator.yaml"),
];
/// The part of README.md that is made.
const BEGIN: &str = "<!-- Made from values.yaml by `make chart`; do not edit. -->\n";

/// Compares a file with what it is to be, or writes it with `UPDATE=1`.
fn is_made(path: &Path, made: &str) {
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, made).expect("written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == made, "{} is not what it is made from: run `make chart`", path.display());
}

#[test]
fn generated_copies_equal_what_they_are_copied_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (from, to) in COPIES {
        is_made(&chart().join(to), &fs::read_to_string(root.join(from)).expect(from));
    }
    for folder in ["files/policies", "files/rules"] {
        for file in fs::read_dir(chart().join(folder)).expect(folder) {
            let path = format!("{folder}/{}", file.expect("a file").file_name().to_string_lossy());
            assert!(COPIES.iter().any(|(_, to)| *to == path), "{path} is a copy of nothing");
        }
    }
}

#[test]
fn generated_table_of_values_equals_the_comments() {
    let path = chart().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    let (before, _) = readme.split_once(BEGIN).expect("the line before the made part");
    is_made(&path, &format!("{before}{BEGIN}{}", tables(&Values::read())));
}

#[test]
fn every_value_is_described() {
    let values = Values::read();
    let mut silent = Vec::new();
    each_leaf("", &values.defaults, &mut |path| {
        let said = |row: &Row| {
            path == row.path || path.starts_with(&format!("{}.", row.path)) || row.path.is_empty()
        };
        if !values.rows.iter().any(said) {
            silent.push(path.to_owned());
        }
    });
    assert!(silent.is_empty(), "write a comment above each of these in values.yaml: {silent:?}");
    for row in &values.rows {
        let sentence = row.text.ends_with('.') && !row.text.contains('|');
        assert!(sentence, "{}: {:?} is no sentence for a table", row.path, row.text);
    }
}

/// The version of the program is the one that the chart brings.
#[test]
fn chart_brings_the_version_of_the_program() {
    let shown = helm(&["show", "chart", chart().to_str().expect("UTF-8")]).expect("a chart");
    let shown: Value = serde_saphyr::from_str(&shown).expect("YAML");
    assert_eq!(shown["appVersion"], env!("CARGO_PKG_VERSION"));
    assert!(texts(&shown["keywords"]).contains(&"opamp"));
}

/// values.yaml: its defaults, and what its comments say.
pub struct Values {
    /// As helm reads them.
    pub defaults: Value,
    /// Values with a comment, in the order of the file.
    rows: Vec<Row>,
}

/// A value with a comment.
struct Row {
    section: String,
    path: String,
    text: String,
}

impl Values {
    /// Reads the chart's.
    pub fn read() -> Self {
        let text = fs::read_to_string(chart().join("values.yaml")).expect("values.yaml");
        let defaults = serde_saphyr::from_str(&text).expect("YAML");
        Self { defaults, rows: rows(&text) }
    }

    /// The default of a value.
    fn default(&self, path: &str) -> &Value {
        path.split('.').fold(&self.defaults, |value, key| &value[key])
    }
}

/// Calls `visit` with the path of everything that is no mapping with keys.
pub fn each_leaf(path: &str, value: &Value, visit: &mut impl FnMut(&str)) {
    match value.as_object() {
        Some(inside) if !inside.is_empty() => {
            for (key, value) in inside {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                each_leaf(&path, value, visit);
            }
        }
        _ => visit(path),
    }
}

/// Keys with a comment right above them. A comment with an empty line below it belongs to the file or its section.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut keys, mut comment) = (Vec::new(), Vec::<&str>::new(), Vec::new());
    let mut section = "";
    for line in text.lines() {
        let content = line.trim_start();
        let depth = (line.len() - content.len()) / 2;
        if let Some(title) = content.strip_prefix("## ") {
            section = title;
        } else if let Some(words) = content.strip_prefix("# ") {
            comment.push(words);
        } else if let Some((key, _)) = content.split_once(':').filter(|(key, _)| is_key(key)) {
            keys.truncate(depth);
            keys.push(key);
            if !comment.is_empty() {
                let (path, text) = (keys.join("."), comment.join(" "));
                rows.push(Row { section: section.to_owned(), path, text });
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
    rows
}

fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// A table for each section.
fn tables(values: &Values) -> String {
    let (mut lines, mut section) = (Vec::new(), "");
    for row in &values.rows {
        let inner = format!("{}.", row.path);
        // What it says of all that is in it stands before those.
        let is_group = values.rows.iter().any(|other| other.path.starts_with(&inner));
        if row.section != section {
            section = &row.section;
            lines.extend([String::new(), format!("### {section}"), String::new()]);
            if is_group {
                lines.extend([row.text.clone(), String::new()]);
            }
            lines.extend(["| value | default | what it is |", "| --- | --- | --- |"].map(str::to_owned));
        }
        if !is_group {
            let default = values.default(&row.path);
            lines.push(format!("| `{}` | `{default}` | {} |", row.path, row.text));
        }
    }
    lines.iter().map(String::as_str).chain([""]).collect::<Vec<_>>().join("\n")
}
