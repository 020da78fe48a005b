//! Pages of the documentation, as far as they name files and tests of the project.

use super::source::Source;
use std::fs;
use std::path::Path;

/// A page of the project.
pub struct Page {
    text: String,
}

/// A test that a page names, and the files that it is said to be in.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedTest {
    /// The test's name.
    pub name: String,
    /// As they stand on the page: below the project's folder, or below `src/`.
    pub files: Vec<String>,
}

impl Page {
    /// The page at this path.
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        Self { text: text.unwrap_or_else(|error| panic!("{path}: {error}")) }
    }

    /// A page with this text, or a part of one.
    pub fn of(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The rows of its tables, each as its cells.
    pub fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        let rows = self.text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        rows.map(|row| row.split(" | ").collect())
    }

    /// How many names of tests there are, said to be in a file or not.
    pub fn sentences(&self) -> usize {
        spans(&self.text).filter(|span| is_sentence(span)).count()
    }

    /// The text between two headings, without them.
    pub fn section(&self, from: &str, to: &str) -> &str {
        let after = self.text.split_once(from).unwrap_or_else(|| panic!("there is no {from}")).1;
        after.split_once(to).unwrap_or_else(|| panic!("there is no {to} after {from}")).0
    }

    /// The tests that are named: `a_b_c` and `d_e_f` (`some/file.rs` and `other.rs`). The names of tests are sentences:
    /// of three words or more.
    pub fn tests(&self) -> Vec<NamedTest> {
        self.text.lines().flat_map(tests_of_line).collect()
    }

    /// What is wrong with the tests that are named, one line for each; nothing if all of them exist.
    pub fn missing_tests(&self, sources: &[Source]) -> Vec<String> {
        let has = |file: &str, name: &str| {
            let here =
                |source: &&Source| source.path == file || source.path.strip_prefix("src/") == Some(file);
            sources.iter().find(here).is_some_and(|source| source.text.contains(&format!("fn {name}(")))
        };
        let wrong = |test: NamedTest| {
            let NamedTest { name, files } = test;
            let missing: Vec<String> = files.into_iter().filter(|file| !has(file, &name)).collect();
            (!missing.is_empty()).then(|| format!("{name} is not in {}", missing.join(", ")))
        };
        self.tests().into_iter().filter_map(wrong).collect()
    }
}

fn tests_of_line(line: &str) -> Vec<NamedTest> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("(`") {
        let (inside, after) = after.split_once(')').unwrap_or((after, ""));
        let files: Vec<String> =
            spans(&format!("`{inside}")).filter(|span| is_file(span)).map(Into::into).collect();
        if !files.is_empty() {
            let names = spans(before).filter(|span| is_sentence(span));
            found.extend(names.map(|name| NamedTest { name: name.to_owned(), files: files.clone() }));
        }
        rest = after;
    }
    found
}

/// What stands between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_file(span: &str) -> bool {
    Path::new(span).extension().is_some_and(|ending| ending == "rs")
}

fn is_sentence(span: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    span.matches('_').count() >= 2 && span.chars().all(fits)
}

#[test]
fn tests_are_found_on_a_page_with_their_files() {
    let text = "Guarded by `a_b_c` and `d_e_f` (`x/y.rs` and `z.rs`), `g_h_i` (`tests/z.rs`).\n\
                | `Type` (`api`) | `step` in `x/y.rs` | `opamp_offers_total` | `run/mod.rs` (`run`) |\n\
                | must | answers each message | `j_k_l` (`z.rs`) |";
    let named = |name: &str, files: &[&str]| NamedTest {
        name: name.to_owned(),
        files: files.iter().map(|file| (*file).to_owned()).collect(),
    };
    let expected = [
        named("a_b_c", &["x/y.rs", "z.rs"]),
        named("d_e_f", &["x/y.rs", "z.rs"]),
        named("g_h_i", &["tests/z.rs"]),
        named("j_k_l", &["z.rs"]),
    ];
    let page = Page::of(text);
    assert_eq!(page.tests(), expected);
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let sources = [
        source("src/x/y.rs", "fn a_b_c() {} fn d_e_f() {}"),
        source("src/z.rs", "fn a_b_c() {}"),
        source("tests/z.rs", "fn g_h_i() {}"),
    ];
    assert_eq!(page.missing_tests(&sources), ["d_e_f is not in z.rs", "j_k_l is not in z.rs"]);
}
