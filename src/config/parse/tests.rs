use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;

use super::{Fault, FileError, MAX_DEPTH, ParseError, Position, parse, parse_files};
use crate::config::{ConfigFile, Value};

/// The size of a rollout's files, which hostile inputs may use up.
const ROLLOUT: usize = 256 * 1024;

fn parsed(yaml: &str) -> Value {
    parse(yaml.as_bytes()).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

fn error(yaml: &[u8]) -> ParseError {
    match parse(yaml) {
        Ok(_) => panic!("{} is accepted", String::from_utf8_lossy(yaml)),
        Err(error) => error,
    }
}

fn fault(yaml: &str) -> Fault {
    error(yaml.as_bytes()).fault
}

fn text(value: &str) -> Value {
    Value::String(value.into())
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.map(|(key, value)| (key.into(), value)).into())
}

#[test]
fn body_without_content_is_nothing() {
    for yaml in ["", "\n", "# a comment\n", "---\n", "\u{feff}", "~"] {
        assert!(parsed(yaml) == Value::Null, "{yaml:?}");
    }
}

/// What `go.yaml.in/yaml/v3` makes of these scalars, as printed by Go.
#[test]
fn scalar_is_typed_as_the_collector_types_it() {
    let scalars = [
        ("~", Value::Null),
        ("Null", Value::Null),
        ("nUll", text("nUll")),
        ("true", Value::Bool(true)),
        ("FALSE", Value::Bool(false)),
        ("yes", text("yes")),
        ("off", text("off")),
        ("-1", Value::Int(-1)),
        ("+1", Value::Int(1)),
        ("1_000", Value::Int(1000)),
        ("0755", Value::Int(493)),
        ("-0755", Value::Int(-493)),
        ("0o17", Value::Int(15)),
        ("0x1F", Value::Int(31)),
        ("0b11", Value::Int(3)),
        ("08", Value::Float(8.0)),
        ("9223372036854775807", Value::Int(i64::MAX)),
        ("9223372036854775808", Value::UInt(1 << 63)),
        ("1.", Value::Float(1.0)),
        ("1e3", Value::Float(1000.0)),
        ("-.Inf", Value::Float(f64::NEG_INFINITY)),
        ("'1'", text("1")),
        ("!!str 1", text("1")),
        ("!!float 1", Value::Float(1.0)),
        ("5m", text("5m")),
        ("12:30:45", text("12:30:45")),
        ("2001-01-01", text("2001-01-01")),
        ("${env:X}", text("${env:X}")),
        ("http://${env:X}:4317", text("http://${env:X}:4317")),
    ];
    for (yaml, expected) in scalars {
        assert!(parsed(&format!("k: {yaml}\n")) == map([("k", expected)]), "{yaml}");
    }
}

/// What the supervisor makes of these keys below the top level, as printed by Go.
#[test]
fn key_becomes_text_as_the_collector_writes_it() {
    let keys = [
        ("a", "a"),
        ("'1'", "1"),
        ("16", "16"),
        ("0x10", "16"),
        ("1_0", "10"),
        ("-1", "-1"),
        ("True", "true"),
        ("~", "<nil>"),
        ("1.50", "1.5"),
        ("1e6", "1e+06"),
        ("otlp/2", "otlp/2"),
    ];
    for (key, expected) in keys {
        let inner = map([(expected, text("v"))]);
        assert!(parsed(&format!("k:\n  {key}: v\n")) == map([("k", inner)]), "{key}");
    }
}

#[test]
fn alias_stands_for_its_anchor() {
    let yaml = "a: &x {b: 1}\nc: *x\nd: [*x]\n";
    let inner = map([("b", Value::Int(1))]);
    let list = Value::List(vec![inner.clone()]);
    assert!(parsed(yaml) == map([("a", inner.clone()), ("c", inner), ("d", list)]));
}

#[test]
fn one_anchor_may_have_many_aliases() {
    let yaml = format!("a: &a {{b: 1}}\nc: [{}]\n", "*a, ".repeat(1000));
    assert_eq!(parsed(&yaml).at(&["c"]).and_then(Value::as_list).map(Vec::len), Some(1000));
}

#[test]
fn merge_key_adds_what_is_not_set_and_earlier_sources_win() {
    let yaml = "one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nall: {<<: [*one, *two], a: 3}\n";
    let all = map([("a", Value::Int(3)), ("b", Value::Int(1)), ("c", Value::Int(2))]);
    assert!(parsed(yaml).at(&["all"]) == Some(&all));
}

#[test]
fn quoted_merge_key_is_an_ordinary_key() {
    assert!(parsed("'<<': {a: 1}\n").at(&["<<", "a"]) == Some(&Value::Int(1)));
}

#[test]
fn body_is_refused_with_position_and_reason() {
    let syntax = |reason: &str| Fault::Syntax(reason.to_owned());
    let bodies: [(&[u8], u64, u64, Fault); 15] = [
        (b"a: \xff", 1, 4, Fault::NotUtf8),
        ("a: 1\nü: \u{e9}".as_bytes().split_last().unwrap().1, 2, 4, Fault::NotUtf8),
        (b"a: [1", 1, 4, syntax("unclosed bracket '['")),
        (b"a: b: c\n", 1, 5, syntax("mapping values are not allowed in this context")),
        (b"a: 1\nb: [${env:X}]\n", 2, 6, Fault::UnquotedExpansion),
        ("ü: {b: ${env:X}}\n".as_bytes(), 1, 9, Fault::UnquotedExpansion),
        (b"a: 1\na: 2\n", 2, 1, Fault::DuplicateKey("a".to_owned())),
        (b"k:\n  0x10: a\n  16: b\n", 3, 3, Fault::DuplicateKey("16".to_owned())),
        (b"? [a]\n: 1\n", 1, 3, Fault::KeyNotScalar),
        (b"a: 1\n---\nb: 2\n", 3, 1, Fault::SeveralDocuments),
        (b"a: *x\n", 1, 4, Fault::UnknownAnchor),
        (b"a: &x {b: *x}\n", 1, 11, Fault::RecursiveAlias),
        (b"<<: 5\n", 1, 5, Fault::MergeValue),
        (b"a: !!int five\n", 1, 10, Fault::Tag),
        (b"a: !!binary '%'\n", 1, 13, Fault::Tag),
    ];
    for (body, line, column, fault) in bodies {
        let expected = ParseError { position: Some(Position { line, column }), fault };
        assert_eq!(error(body), expected, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn keys_are_the_same_when_they_become_the_same_text() {
    assert_eq!(fault("k: {1: a, '1': b}\n"), Fault::DuplicateKey("1".to_owned()));
}

#[test]
fn error_text_says_where_and_what_to_do() {
    let text = error(b"a: 1\na: 2\n").to_string();
    assert_eq!(text, "line 2, column 1: the key a is set twice in one mapping; keep one of them");
}

#[test]
fn error_text_quotes_nothing_but_keys() {
    let secret = "s3cr3t";
    let bodies = [
        format!("a: {secret}: x\n"),
        format!("a: '{secret}\n"),
        format!("a: \"{secret}\\q\"\n"),
        format!("a: !!int {secret}\n"),
        format!("a: !!bool {secret}\n"),
        format!("a: !!binary {secret}%\n"),
        format!("a: *{secret}\n"),
        format!("a: &{secret} [*{secret}]\n"),
        format!("a: [{secret}\n"),
        format!("a: |\n  {secret}\n b\n"),
        format!("a: 1\n---\n{secret}\n"),
        format!("<<: {secret}\n"),
        format!("? [{secret}]\n: 1\n"),
        format!("%{secret}\n"),
        format!("a: !{secret}! x\n"),
        format!("a: {secret}\n\tb: c\n"),
    ];
    for body in bodies {
        let error = error(body.as_bytes());
        assert!(!format!("{error} {error:?}").contains(secret), "{body}: {error}");
    }
}

#[test]
fn nesting_is_accepted_up_to_the_limit() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(fault(&nested(MAX_DEPTH + 1)), Fault::TooDeep);
}

/// On half of the stack that threads have by default.
#[test]
fn nesting_bomb_is_refused_without_exhausting_the_stack() {
    let indented = (0..600).fold(String::new(), |mut text, depth| {
        let _ = writeln!(text, "{:depth$}a:", "");
        text
    });
    let bombs = [
        "[".repeat(ROLLOUT),
        "{a: ".repeat(ROLLOUT / 4),
        "- ".repeat(ROLLOUT / 2),
        "? ".repeat(ROLLOUT / 2),
        "{? ".repeat(ROLLOUT / 3),
        indented,
    ];
    let parse_all = move || bombs.map(|bomb| fault(&bomb));
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(parse_all).unwrap();
    for fault in thread.join().unwrap() {
        assert_eq!(fault, Fault::TooDeep);
    }
}

#[test]
fn nesting_through_aliases_counts_as_nesting() {
    let half = MAX_DEPTH / 2 + 1;
    let (open, close) = ("[".repeat(half), "]".repeat(half));
    assert_eq!(fault(&format!("a: &a {open}1{close}\nb: {open}*a{close}\n")), Fault::TooDeep);
}

#[test]
fn alias_bomb_is_refused_before_it_fills_the_memory() {
    let levels = |first: &str, level: &dyn Fn(usize) -> String| {
        (1..30).fold(format!("a0: &a0 {first}\n"), |text, index| {
            format!("{text}a{index}: &a{index} {}\n", level(index - 1))
        })
    };
    let ten = |below: usize| vec![format!("*a{below}"); 10].join(", ");
    let large = "x".repeat(ROLLOUT / 2);
    let aliases = "*a, ".repeat(ROLLOUT / 8);
    let keys: Vec<_> = (0..1000).map(|key| format!("k{key}: 1")).collect();
    let bombs = [
        levels("[x, x]", &|below| format!("[{}]", ten(below))),
        levels("{x: 1}", &|below| format!("{{<<: [{}], y{below}: 1}}", ten(below))),
        format!("a: &a {large}\nb: [{aliases}]\n"),
        format!("a: &a \"\\n{large}\"\nb: [{aliases}]\n"),
        format!("a: &a {{k: \"\\n{large}\"}}\nb: {{<<: [{aliases}]}}\n"),
        format!("a: &a {{{}}}\nb: {{<<: [{}]}}\n", keys.join(", "), "*a, ".repeat(50)),
    ];
    for bomb in bombs {
        assert_eq!(fault(&bomb), Fault::TooLarge, "{}", &bomb[..60]);
    }
}

#[test]
fn limits_hold_for_all_files_of_a_configuration_together() {
    let large = "x".repeat(ROLLOUT / 8);
    let text = format!("a: &a {large}\nb: [{}]\n", "*a, ".repeat(100));
    let keys: Vec<_> = (0..1000).map(|key| format!("k{key}: 1")).collect();
    let merges = format!("a: &a {{{}}}\nb: {{<<: [{}]}}\n", keys.join(", "), "*a, ".repeat(15));
    for body in [text, merges] {
        let file = |n: usize| ConfigFile::new(n.to_string(), "", body.as_bytes());
        let files: Vec<_> = (0..3).map(file).collect();
        assert!(parse_files(&files[..2]).is_ok());
        let errors = parse_files(&files).err().unwrap();
        assert!(errors.iter().all(|error| error.error.fault == Fault::TooLarge));
    }
}

#[test]
fn every_unreadable_file_is_reported_with_its_name() {
    let files = [
        ConfigFile::new("a.yaml", "", *b"["),
        ConfigFile::new("b.yaml", "", *b"a: 1"),
        ConfigFile::new("c.yaml", "", *b"\xff"),
    ];
    let errors = parse_files(&files).err().unwrap();
    let names: Vec<_> = errors.iter().map(|error| error.file.as_str()).collect();
    assert_eq!(names, ["a.yaml", "c.yaml"]);
    let text = "file \"c.yaml\": line 1, column 1: not UTF-8 text; save the file as UTF-8";
    assert_eq!(errors.last().map(FileError::to_string).as_deref(), Some(text));
}

#[test]
fn value_is_read_from_other_formats_as_well() {
    let value: Value = serde_json::from_str(r#"{"a": [1, -1, 1.5, true, null, "x"]}"#).unwrap();
    let numbers = [Value::Int(1), Value::Int(-1), Value::Float(1.5)];
    let others = [Value::Bool(true), Value::Null, text("x")];
    let list = numbers.into_iter().chain(others).collect();
    assert!(value == Value::Map(BTreeMap::from([("a".into(), Value::List(list))])));
}

#[test]
fn limits_hold_for_other_formats_as_well() {
    let nested = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    let error = serde_json::from_str::<Value>(&nested).err().unwrap();
    assert!(error.to_string().starts_with(&Fault::TooDeep.to_string()), "{error}");
}

proptest! {
    #[test]
    fn parser_never_panics_on_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn parser_never_panics_on_text_that_looks_like_yaml(yaml in "([a-c*&!|>'\"%@{}\\[\\],:?#<~.0-9_x-]|: |- |\n|\n  |\t|\\$\\{){0,120}") {
        let _ = parse(yaml.as_bytes());
    }
}
