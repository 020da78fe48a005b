use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{Merged, ParsedFile, merge};
use crate::config::{Value, parse};

/// A [`Value`] that can be printed, for failing cases only.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Option<i64>),
    Text(&'static str),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

impl From<Tree> for Value {
    fn from(tree: Tree) -> Self {
        match tree {
            Tree::Leaf(leaf) => leaf.map_or(Self::Null, Self::Int),
            Tree::Text(text) => Self::String(text.into()),
            Tree::List(list) => Self::List(list.into_iter().map(Self::from).collect()),
            Tree::Map(map) => {
                Self::Map(map.into_iter().map(|(key, tree)| (key.into(), tree.into())).collect())
            }
        }
    }
}

fn file(name: &str, yaml: &str) -> ParsedFile {
    let value = parse(yaml.as_bytes()).unwrap_or_else(|error| panic!("{yaml}: {error}"));
    ParsedFile { name: name.to_owned(), value }
}

fn merged<const N: usize>(files: [(&str, &str); N]) -> Merged {
    merge(files.map(|(name, yaml)| file(name, yaml)).into())
}

#[track_caller]
fn assert_merges<const N: usize>(files: [(&str, &str); N], expected: &str) {
    assert!(*merged(files).value() == file("", expected).value, "{expected}");
}

#[test]
fn later_name_wins_and_the_empty_name_wins_over_all() {
    assert_merges([("a", "k: 1"), ("b", "k: 2")], "k: 2");
    assert_merges([("", "k: 1"), ("b", "k: 2")], "k: 1");
    assert_merges([("b", "k: 1"), ("B", "k: 2")], "k: 1");
    assert_merges([("z", "k: 1"), ("ä", "k: 2")], "k: 2");
    assert_merges([("10", "k: 1"), ("9", "k: 2")], "k: 2");
}

#[test]
fn mappings_are_merged_at_every_depth() {
    let below = "receivers: {otlp: {protocols: {grpc: {endpoint: a}}}}";
    let above = "receivers: {otlp: {protocols: {http: {}}}, nop: {}}";
    let both = "receivers: {otlp: {protocols: {grpc: {endpoint: a}, http: {}}}, nop: {}}";
    assert_merges([("1", below), ("2", above)], both);
}

#[test]
fn anything_but_two_mappings_is_replaced() {
    for (below, above) in [("[1, 2]", "[3]"), ("{a: 1}", "[3]"), ("[3]", "{a: 1}"), ("x", "{}")] {
        let (below, above) = (format!("k: {below}"), format!("k: {above}"));
        assert_merges([("1", &below), ("2", &above)], &above);
    }
}

/// As koanf's `maps.Merge` does: a section left empty in a later file empties it.
#[test]
fn null_section_replaces_the_section_below() {
    assert_merges([("1", "processors: {batch: {}}"), ("2", "processors:")], "processors:");
    assert_merges([("1", "processors:"), ("2", "processors: {batch: {}}")], "processors: {batch: {}}");
}

#[test]
fn extensions_are_joined_in_the_order_of_first_appearance() {
    let joined = "service: {extensions: [b, a, c]}";
    let files = [("1", "service: {extensions: [b, a]}"), ("2", "service: {extensions: [c, a, b]}")];
    assert_merges(files, joined);
    let apart = [files[0], ("11", "service: {telemetry: {}}"), files[1]];
    assert_merges(apart, "service: {extensions: [b, a, c], telemetry: {}}");
}

#[test]
fn extensions_are_joined_only_while_both_sides_are_lists() {
    let list = ("1", "service: {extensions: [a, a]}");
    assert_merges([list], "service: {extensions: [a, a]}");
    assert_merges([list, ("2", "service: {extensions: ~}")], "service: {extensions: ~}");
    assert_merges([list, ("2", "service: x")], "service: x");
    let again = ("3", "service: {extensions: [b]}");
    for reset in ["service: {extensions: ~}", "service: x", "service:"] {
        assert_merges([list, ("2", reset), again], "service: {extensions: [b]}");
    }
}

#[test]
fn lists_elsewhere_are_replaced_even_if_called_extensions() {
    assert_merges([("1", "a: {extensions: [b]}"), ("2", "a: {extensions: [c]}")], "a: {extensions: [c]}");
}

#[test]
fn file_without_sections_adds_nothing() {
    assert_merges([("1", "k: 1"), ("2", ""), ("3", "[x]")], "k: 1");
    assert!(*merge(Vec::new()).value() == Value::Map([].into()));
}

#[test]
fn path_is_traced_to_the_file_that_decides_it() {
    let files = [
        ("1", "receivers: {otlp: {a: 1, b: 1}}\nservice: {extensions: [x, y]}"),
        ("2", "receivers: {otlp: {b: 2}}\nservice: {extensions: [z]}"),
        ("3", "exporters: {nop: }"),
    ];
    let merged = merged(files);
    let traces: [(&[&str], Option<&str>); 9] = [
        (&["receivers", "otlp", "a"], Some("1")),
        (&["receivers", "otlp", "b"], Some("2")),
        (&["receivers", "otlp"], Some("2")),
        (&["receivers", "otlp", "a", "missing"], Some("1")),
        (&["exporters", "nop"], Some("3")),
        (&["service", "extensions", "x"], Some("1")),
        (&["service", "extensions", "missing"], Some("2")),
        (&["processors", "batch"], None),
        (&[], None),
    ];
    for (path, file) in traces {
        assert_eq!(merged.file_of(path), file, "{path:?}");
    }
}

#[test]
fn only_file_is_named_for_any_path() {
    assert_eq!(merged([("a.yaml", "")]).file_of(&["service"]), Some("a.yaml"));
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        proptest::option::of(0..3_i64).prop_map(Tree::Leaf),
        prop::sample::select(&["a", "b"][..]).prop_map(Tree::Text),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        prop_oneof![vec(inner.clone(), 0..3).prop_map(Tree::List), maps(inner).prop_map(Tree::Map),]
    })
}

fn maps(inner: impl Strategy<Value = Tree>) -> impl Strategy<Value = BTreeMap<String, Tree>> {
    btree_map("[abc]|extensions", inner, 0..4)
}

/// Files of distinct names, some with extensions, which are text wherever they are a list.
fn files() -> impl Strategy<Value = BTreeMap<String, Tree>> {
    let extension = prop::sample::select(&["x", "y", "z"][..]).prop_map(Tree::Text);
    let others = trees().prop_filter("a list", |tree| !matches!(tree, Tree::List(_)));
    let extensions = prop_oneof![vec(extension, 0..3).prop_map(Tree::List), others];
    let with_service = (maps(trees()), extensions).prop_map(|(mut map, extensions)| {
        let service = Tree::Map([("extensions".to_owned(), extensions)].into());
        map.insert("service".to_owned(), service);
        Tree::Map(map)
    });
    btree_map("[a-d]?", prop_oneof![maps(trees()).prop_map(Tree::Map), with_service], 0..4)
}

fn parsed(files: &BTreeMap<String, Tree>) -> Vec<ParsedFile> {
    let parsed =
        |(name, tree): (&String, &Tree)| ParsedFile { name: name.clone(), value: tree.clone().into() };
    files.iter().map(parsed).collect()
}

proptest! {
    #[test]
    fn merge_is_the_same_in_any_order_of_files(files in files(), turn in 0..4_usize) {
        let in_order = merge(parsed(&files));
        let mut turned = parsed(&files);
        turned.reverse();
        let by = turn.checked_rem(turned.len()).unwrap_or(0);
        turned.rotate_left(by);
        prop_assert!(*in_order.value() == *merge(turned).value());
    }

    /// A single list keeps its repetitions until it is joined, so the second time counts.
    #[test]
    fn merge_with_itself_changes_nothing(files in files()) {
        let doubled = |value: &Value| {
            let file = |name: &str| ParsedFile { name: name.to_owned(), value: value.clone() };
            merge(vec![file("a"), file("b")]).value().clone()
        };
        let once = merge(parsed(&files)).value().clone();
        let twice = doubled(&once);
        prop_assert!(doubled(&twice) == twice);
        prop_assert!(twice == once || has_repeated_extension(&once));
    }

    #[test]
    fn merge_of_one_file_is_that_file(tree in maps(trees())) {
        let value = Value::from(Tree::Map(tree));
        let only = ParsedFile { name: "a".to_owned(), value: value.clone() };
        prop_assert!(*merge(vec![only]).value() == value);
    }

    #[test]
    fn highest_file_keeps_all_its_leaves(files in files(), highest in maps(trees())) {
        let highest = Value::from(Tree::Map(highest));
        let mut all = parsed(&files);
        all.retain(|file| !file.name.is_empty());
        all.push(ParsedFile { name: String::new(), value: highest.clone() });
        prop_assert!(holds(merge(all).value(), &highest, &mut Vec::new()));
    }
}

fn has_repeated_extension(value: &Value) -> bool {
    let extensions = value.at(&["service", "extensions"]).and_then(Value::as_list);
    extensions.is_some_and(|list| list.iter().enumerate().any(|(index, one)| list[..index].contains(one)))
}

/// Whether everything of `part` is in `whole`, the joined list apart.
fn holds(whole: &Value, part: &Value, path: &mut Vec<String>) -> bool {
    let (Value::Map(whole), Value::Map(part)) = (whole, part) else {
        return whole == part || *path == ["service", "extensions"];
    };
    part.iter().all(|(key, part)| {
        path.push(key.to_string());
        let held = whole.get(key).is_some_and(|whole| holds(whole, part, path));
        path.pop();
        held
    })
}
