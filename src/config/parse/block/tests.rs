//! What this reader returns is what the full reader returns; and it reads what Collectors report.

use super::*;
use crate::config::parse::parse;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

/// Real reports, and what a supervisor gives its Collector.
fn reports() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/drift/fixtures");
    let folders = fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("an entry").path());
    let files = folders.flat_map(|folder| ["effective.yaml", "merged.yaml"].map(|name| folder.join(name)));
    files.map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a fixture"))).collect()
}

/// Fails if the two readers differ; whether this one has read it.
#[track_caller]
fn is_read_alike(text: &str) -> bool {
    let Some(value) = read(text.as_bytes()) else { return false };
    let full = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert!(value == full, "{text:?}");
    true
}

#[test]
fn all_that_collectors_report_is_read_here() {
    let reports = reports();
    assert!(reports.len() >= 30);
    for (name, text) in reports {
        assert!(is_read_alike(&text), "{name} is left to the full reader");
    }
}

#[test]
fn every_form_that_is_read_means_what_it_means_to_the_full_reader() {
    for text in [
        "a: b",
        "a: b\n",
        "\n# a comment\na: b\n\n  # another\nc: d\n",
        "a:\n",
        "a:\nb:\n",
        "a:\n    b:\n        c: 1\n    d: 2\ne: 3\n",
        "a:\n  - b\n  - c: 1\n    d: 2\n  - - e\n    - f\n  - {}\n  - []\ng: h\n",
        "a:\n    - b: |-\n        one\n          two\n        three #\n      c: d\n",
        "a: |\n  one: two\n  - three\nb: c\n",
        "a: |-\n    last\n",
        "a: |-\n   one \n # a comment\nb: c\n",
        "a: ''\nb: \"\"\nc: 'it''s'\nd: \"it's: so #\"\n'e f': g\n\"h\": i\n",
        "a: null\nb: true\nc: false\nd: 0\ne: -5\nf: 1.5\ng: -0.25\nh: 123456789012345678\n",
        "a: 127.0.0.1:4317\nb: 5m0s\nc: 0.149.0\nd: 01a1ffb1-37a3-7497-a7c5-b9740c0c7930\ne: -10s\nf: 10 s\n",
        "a: ${env:X}\nb: http://h:1/p?q=r#s\nc: ^a.*\\d+$\nd: x{y}[z],&*!|>%@`\ne: 100µs\n",
        "a.b/c-d_e: 1\n5: 2\na b: 3\na:b: 4\n/x: 5\n",
    ] {
        assert!(is_read_alike(text), "left to the full reader: {text:?}");
    }
}

#[test]
fn whatever_is_doubtful_is_left_to_the_full_reader() {
    let long_key = format!("{}: 1", "k".repeat(MAX_KEY_BYTES + 1));
    let long = format!("a: {}\n", "x".repeat(MAX_BYTES));
    let deep = nested(MAX_DEPTH);
    for text in [
        "",
        "\n",
        "# only\n",
        "a",
        "- a\n",
        " a: b\n",
        "a: b\na: c\n",
        "1: a\n'1': b\n",
        "a: b\n  c\n",
        "a: b\n  c: d\n",
        "a: [b]\n",
        "a: {b: c}\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !!str b\n",
        "a: >-\n  b\n",
        "a: |+\n  b\n",
        "a: |2\n  b\n",
        "a: |-\n\n  b\n",
        "a: |-\n  b\n\n  c\n",
        "a: |-\n    b\n   c\n",
        "a: |-\nb: c\n",
        "a: |-\n  b",
        "a: |- # c\n  b\n",
        "a: b # c\n",
        "a: b: c\n",
        "a: b:\n",
        "a: \"b\\n\"\n",
        "a: 'b\n  c'\n",
        "a: 'b' c\n",
        "a: 'b'c\n",
        "a:  b\n",
        "a : b\n",
        "a: b \n",
        "a:\tb\n",
        "a: b\r\n",
        "a:\n- b\n",
        "a:\n  -\n",
        "a:\n  -  b\n",
        "a:\n  - b\n   - c\n",
        "a:\n    b: c\n  d: e\n",
        "---\na: b\n",
        "a: b\n---\n",
        "a: b\n...\n",
        "%YAML 1.2\n",
        "? a\n: b\n",
        "<<: {}\n",
        "'<<': {}\n",
        "null: a\n",
        "true: a\n",
        "1.5: a\n",
        "a: ~\n",
        "a: True\n",
        "a: NULL\n",
        "a: +1\n",
        "a: .5\n",
        "a: 1.\n",
        "a: 0x1f\n",
        "a: 0755\n",
        "a: 1_000\n",
        "a: 1e3\n",
        "a: 0o7\n",
        "a: -\n",
        "a: -x\n",
        "a: 1234567890123456789\n",
        "a: 00\n",
        "a: 0x1e-3\n",
        "a: @b\n",
        "a: b\u{85}c\n",
        "\u{feff}a: b\n",
        "a: b\u{7f}\n",
        "a:\n  \n  b: c\n",
        &long_key,
        &long,
        &deep,
    ] {
        assert!(read(text.as_bytes()).is_none(), "read: {text:?}");
    }
    assert!(read(b"a: \xff\n").is_none());
}

#[test]
fn every_piece_alone_is_read_alike_or_left_to_the_full_reader() {
    for piece in PIECES {
        for text in [
            format!("a: {piece}\n"),
            format!("{piece}: a\n"),
            format!("a:\n  - {piece}\n"),
            format!("{piece}\n"),
        ] {
            is_read_alike(&text);
        }
    }
}

/// So many keys, each below the other.
fn nested(depth: usize) -> String {
    (0..depth).map(|depth| " ".repeat(depth) + "a:\n").collect()
}

#[test]
fn depth_is_bounded_as_in_the_full_reader() {
    for depth in 0..2 * MAX_DEPTH {
        let keys = nested(depth);
        for end in ["b: c", "b: {}", "- - []"] {
            is_read_alike(&format!("{keys}{}{end}\n", " ".repeat(depth)));
        }
        is_read_alike(&format!("a:\n  {}b\n", "- ".repeat(depth)));
    }
}

/// Scalars and pieces of lines that are easily mistaken.
const PIECES: [&str; 72] = [
    "a",
    "b:",
    "c: ",
    "- ",
    "-",
    ": ",
    ":",
    " #",
    "#",
    "'",
    "''",
    "\"",
    "\\",
    "{}",
    "[]",
    "{",
    "}",
    "[",
    "]",
    ",",
    "|",
    "|-",
    "|+",
    ">",
    "&x",
    "*x",
    "!",
    "!!str",
    "? ",
    "?",
    "%",
    "@",
    "`",
    "~",
    "null",
    "Null",
    "true",
    "TRUE",
    "yes",
    "on",
    "n",
    "0",
    "-0",
    "7",
    "08",
    "0x1",
    "0b1",
    "0o7",
    "1_0",
    "1e3",
    "-1e-3",
    "1.5",
    "1.",
    ".5",
    "-.inf",
    ".nan",
    "inf",
    "nan",
    "1:2",
    "12:30:45",
    "2001-01-01",
    "1.2.3",
    "<<",
    "=",
    "---",
    "...",
    "${x}",
    "\t",
    "µ",
    "\u{a0}",
    "  ",
    "1-2",
];

fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&PIECES[..])
}

fn scalar() -> impl Strategy<Value = &'static str> {
    const SCALARS: [&str; 10] = ["", "x", "{}", "[]", "null", "7", "'y'", "\"z\"", "|-", "|"];
    prop_oneof![9 => proptest::sample::select(&SCALARS[..]), 1 => piece()]
}

/// Lines that mostly make a block: each at the column of the one before, or below it, or further out.
fn lines() -> impl Strategy<Value = String> {
    const HEADS: [&str; 10] = ["k:", "k:", "k:", "k: ", "k: ", "k: ", "- ", "- k: ", "- k:", "- - "];
    let line = (0..12_usize, proptest::sample::select(&HEADS[..]), scalar());
    proptest::collection::vec(line, 1..9).prop_map(|lines| {
        let mut columns = vec![0];
        let mut text = String::new();
        for ((step, head, scalar), name) in lines.into_iter().zip('a'..) {
            let column = *columns.last().expect("a column");
            match step {
                0 if columns.len() > 1 => drop(columns.pop()),
                1..8 if text.ends_with([':', '|', '-']) => columns.push(column + 2),
                8 => columns.push(column + 1),
                _ => {}
            }
            let head = head.replace('k', &name.to_string());
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(&" ".repeat(*columns.last().expect("a column")));
            text.push_str(&head);
            text.push_str(if head.ends_with(':') { "" } else { scalar });
        }
        text + "\n"
    })
}

/// What may happen to a real report: a line is replaced, or moved to another column, or a character is.
fn damaged() -> impl Strategy<Value = String> {
    let reports: Vec<String> =
        reports().into_iter().map(|(_, text)| text).filter(|text| text.len() < 3000).collect();
    let damage = (any::<prop::sample::Index>(), 0..4_u8, scalar());
    (proptest::sample::select(reports), proptest::collection::vec(damage, 1..4)).prop_map(
        |(text, damages)| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for (at, how, other) in damages {
                let line = at.get_mut(&mut lines);
                match how {
                    0 => *line = other.to_owned(),
                    1 => line.push_str(other),
                    2 => *line = format!(" {line}"),
                    _ => *line = line.replacen("  ", "", 1),
                }
            }
            lines.join("\n")
        },
    )
}

proptest! {
    #[test]
    fn random_lines_are_read_alike_or_left_to_the_full_reader(text in lines()) {
        is_read_alike(&text);
    }

    #[test]
    fn random_scalars_are_read_alike_or_left_to_the_full_reader(
        scalar in proptest::collection::vec(piece(), 1..4)
    ) {
        let scalar = scalar.concat();
        is_read_alike(&format!("a: {scalar}\n"));
        is_read_alike(&format!("{scalar}: a\n"));
        is_read_alike(&format!("a:\n  - {scalar}\n"));
    }

    #[test]
    fn numbers_are_read_alike_or_left_to_the_full_reader(scalar in "[-+]?[0-9][0-9a-fxob._eE+-]{0,6}[0-9smh:]?") {
        is_read_alike(&format!("a: {scalar}\n"));
        is_read_alike(&format!("{scalar}: a\n"));
    }

    #[test]
    fn damaged_reports_are_read_alike_or_left_to_the_full_reader(text in damaged()) {
        is_read_alike(&text);
    }
}
