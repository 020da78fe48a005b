//! The table of the protocol's rules names a test for each rule, or says why there is none.

use super::pages::Page;
use super::source::Source;
use std::collections::BTreeMap;

const TABLE: &str = "docs/opamp-conformance.md";
/// The rules of the specification that were counted when the table was made, by letter. More may follow.
const AT_LEAST: [(char, usize); 4] = [('T', 15), ('M', 9), ('I', 8), ('C', 7)];

#[test]
fn each_rule_of_the_protocol_has_a_test_that_exists_or_a_reason_for_none() {
    let wrong = complaints(&Page::read(TABLE), &[super::sources(), super::tests()].concat());
    assert!(wrong.is_empty(), "{TABLE}:\n{}", wrong.join("\n"));
}

/// What is wrong with the table.
fn complaints(table: &Page, sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for row in table.rows() {
        let Some((letter, number)) = rule(row[0]) else { continue };
        let count = counts.entry(letter).or_default();
        *count += 1;
        if number != *count {
            wrong.push(format!("{}: rule {letter}{count} is missing, or stands elsewhere", row[0]));
        }
        match row[..] {
            [_, _, _, does, shown] if !does.is_empty() => {
                wrong.extend(unshown(shown, sources).into_iter().map(|why| format!("{}: {why}", row[0])));
            }
            _ => wrong.push(format!("{}: it has {} cells", row[0], row.len())),
        }
    }
    for (letter, least) in AT_LEAST {
        let count = counts.get(&letter).copied().unwrap_or_default();
        if count < least {
            wrong.push(format!("{letter}: {count} rules of {least}"));
        }
    }
    wrong
}

/// The letter and the number of a rule, if the cell has one.
fn rule(cell: &str) -> Option<(char, usize)> {
    let letter = cell.chars().next().filter(char::is_ascii_uppercase)?;
    Some((letter, cell[1..].parse().ok()?))
}

/// Why a rule is not shown by what its last cell says.
fn unshown(cell: &str, sources: &[Source]) -> Vec<String> {
    if let Some(reason) = cell.strip_prefix("none: ") {
        let short = reason.split(' ').count() < 4;
        return short.then(|| "the reason for no test is short".to_owned()).into_iter().collect();
    }
    let cell = Page::of(cell);
    match cell.tests().len() {
        0 => vec!["no test and no reason for none".to_owned()],
        named if named < cell.sentences() => vec!["it names a test without its file".to_owned()],
        _ => cell.missing_tests(sources),
    }
}

/// The check is only as good as its complaints.
#[test]
fn table_that_shows_a_rule_by_nothing_is_told() {
    let file = "#[test] fn a_b_c() {} proptest! { #[test] fn d_e_f(x in y) {} }";
    let sources = [Source { path: "tests/a.rs".into(), text: file.into() }];
    let cell = |cell: &str| unshown(cell, &sources);
    for shown in
        ["`a_b_c` (`tests/a.rs`)", "`a_b_c`, `d_e_f` (`tests/a.rs`)", "none: it binds the agent alone"]
    {
        assert!(cell(shown).is_empty(), "{shown}");
    }
    for (unshown, complaint) in [
        ("", "no test and no reason for none"),
        ("`a_b_c`", "no test and no reason for none"),
        ("none: so", "the reason for no test is short"),
        ("`a_b_c` (`tests/a.rs`), `d_e_f`", "it names a test without its file"),
        ("`a_b_c` (`tests/b.rs`)", "a_b_c is not in tests/b.rs"),
        ("`a_b_c`, `g_h_i` (`tests/a.rs`)", "g_h_i is not in tests/a.rs"),
    ] {
        assert_eq!(cell(unshown), [complaint]);
    }
    let row = |rule: &str, cells: &str| format!("| {rule} | MUST | what | {cells} |\n");
    let good = "this | `a_b_c` (`tests/a.rs`)";
    let table =
        [row("X1", good), row("X3", good), row("Y1", "this"), row("Z1", "this | `tests/a.rs`")].concat();
    let expected = [
        "X3: rule X2 is missing, or stands elsewhere",
        "Y1: it has 4 cells",
        "Z1: no test and no reason for none",
        "T: 0 rules of 15",
        "M: 0 rules of 9",
        "I: 0 rules of 8",
        "C: 0 rules of 7",
    ];
    assert_eq!(complaints(&Page::of(&table), &sources), expected);
}
