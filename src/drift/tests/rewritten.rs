//! Random configurations, beside what a Collector would make of them.

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// What a component is configured with.
#[derive(Clone, Debug)]
enum Node {
    Leaf(Leaf),
    Section(BTreeMap<String, Node>),
    /// A list whose elements get defaults.
    List(Vec<BTreeMap<String, Node>>),
    /// Headers, which are reported as a list without their values.
    Headers(Vec<String>),
    /// A section without content, which is filled with defaults.
    Nothing,
}

/// A value, by how a Collector rewrites it.
#[derive(Clone, Debug)]
enum Leaf {
    Seconds(u32),
    Size(u16),
    Number(i32),
    NumberAsText(u16),
    Fraction(i16),
    Truth(bool),
    TruthAsText(bool),
    Text(String),
    Word(String),
    Dollars(String),
    Empty,
    /// Expanded by the agent.
    Variable(String),
    /// In force, and never reported.
    Quiet(u8),
    /// Reported as a mapping without entries.
    Unprintable(String),
}

impl Leaf {
    fn desired(&self) -> Json {
        match self {
            Self::Seconds(seconds) => json!(format!("{seconds}s")),
            Self::Size(size) => json!(format!("{size}KiB")),
            Self::Number(number) => json!(number),
            Self::NumberAsText(number) => json!(number.to_string()),
            Self::Fraction(number) => json!(f64::from(*number) / 4.0),
            Self::Truth(truth) => json!(truth),
            Self::TruthAsText(truth) => json!(truth.to_string()),
            Self::Text(text) | Self::Unprintable(text) => json!(text),
            Self::Word(word) => json!(word.to_lowercase()),
            Self::Dollars(text) => json!(format!("$${text}")),
            Self::Empty => json!(""),
            Self::Variable(text) => json!(format!("${{env:{text}}}")),
            Self::Quiet(number) => json!(number),
        }
    }

    /// As it is reported; nothing if it is not.
    fn reported(&self) -> Option<Json> {
        Some(match self {
            Self::Seconds(seconds) => {
                json!(format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60))
            }
            Self::Size(size) => json!(u32::from(*size) * 1024),
            Self::NumberAsText(number) => json!(number),
            Self::TruthAsText(truth) => json!(truth),
            Self::Word(word) => json!(word.to_uppercase()),
            Self::Dollars(text) => json!(format!("${text}")),
            Self::Empty => Json::Null,
            Self::Variable(text) => json!(format!("value of {text}")),
            Self::Quiet(_) => return None,
            Self::Unprintable(_) => json!({}),
            Self::Number(_) | Self::Fraction(_) | Self::Truth(_) | Self::Text(_) => self.desired(),
        })
    }

    /// As it would be reported after somebody changed it; nothing if that cannot be seen in it.
    fn changed(&self) -> Option<Json> {
        let changed = match self {
            Self::Seconds(seconds) => Self::Seconds(seconds + 1),
            Self::Size(size) => Self::Size(size.wrapping_add(1)),
            Self::Number(number) => Self::Number(number.wrapping_add(1)),
            Self::NumberAsText(number) => Self::NumberAsText(number.wrapping_add(1)),
            Self::Fraction(number) => Self::Fraction(number.wrapping_add(1)),
            Self::Truth(truth) => Self::Truth(!truth),
            Self::TruthAsText(truth) => Self::TruthAsText(!truth),
            Self::Text(text) => Self::Text(format!("{text} more")),
            Self::Word(word) => Self::Word(format!("{word}er")),
            Self::Dollars(text) => Self::Dollars(format!("{text}0")),
            Self::Empty => Self::Text("more".to_owned()),
            Self::Variable(_) | Self::Quiet(_) | Self::Unprintable(_) => return None,
        };
        changed.reported()
    }
}

/// The place of a change, and how many changes are still to be passed.
struct Change {
    passes: usize,
    path: Option<String>,
}

impl Node {
    fn desired(&self) -> Json {
        match self {
            Self::Leaf(leaf) => leaf.desired(),
            Self::Section(section) => desired_section(section),
            Self::List(list) => list.iter().map(desired_section).collect(),
            Self::Headers(names) => names.iter().map(|name| (name.clone(), json!("secret"))).collect(),
            Self::Nothing => Json::Null,
        }
    }

    fn reported(&self, path: &str, change: &mut Change) -> Option<Json> {
        Some(match self {
            Self::Leaf(leaf) => return reported_leaf(leaf, path, change),
            Self::Section(section) => reported_section(section, path, change),
            Self::List(list) => {
                let element =
                    |(index, element)| reported_section(element, &format!("{path}::{index}"), change);
                list.iter().enumerate().map(element).collect()
            }
            Self::Headers(names) => {
                names.iter().rev().map(|name| json!({"name": name, "value": "[REDACTED]"})).collect()
            }
            Self::Nothing => json!({"default": "filled in"}),
        })
    }
}

fn reported_leaf(leaf: &Leaf, path: &str, change: &mut Change) -> Option<Json> {
    if let Some(changed) = leaf.changed().filter(|_| change.path.is_none()) {
        if change.passes == 0 {
            change.path = Some(path.to_owned());
            return Some(changed);
        }
        change.passes -= 1;
    }
    leaf.reported()
}

fn desired_section(section: &BTreeMap<String, Node>) -> Json {
    section.iter().map(|(key, node)| (key.clone(), node.desired())).collect()
}

fn reported_section(section: &BTreeMap<String, Node>, path: &str, change: &mut Change) -> Json {
    let mut reported: Map<String, Json> = Map::new();
    for (key, node) in section {
        if let Some(value) = node.reported(&format!("{path}::{key}"), change) {
            reported.insert(key.clone(), value);
        }
    }
    reported.insert("zz_default".to_owned(), json!("filled in"));
    Json::Object(reported)
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let text = "[a-zA-Z][a-zA-Z0-9 :/._-]{0,8}";
    prop_oneof![
        (0_u32..100_000).prop_map(Leaf::Seconds),
        any::<u16>().prop_map(Leaf::Size),
        any::<i32>().prop_map(Leaf::Number),
        any::<u16>().prop_map(Leaf::NumberAsText),
        any::<i16>().prop_map(Leaf::Fraction),
        any::<bool>().prop_map(Leaf::Truth),
        any::<bool>().prop_map(Leaf::TruthAsText),
        text.prop_map(Leaf::Text),
        "[a-z]{1,8}".prop_map(Leaf::Word),
        text.prop_map(Leaf::Dollars),
        Just(Leaf::Empty),
        "[A-Z]{1,4}".prop_map(Leaf::Variable),
        any::<u8>().prop_map(Leaf::Quiet),
        text.prop_map(Leaf::Unprintable),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let flat = prop_oneof![
        8 => leaf().prop_map(Node::Leaf),
        1 => vec("[a-z]{1,4}", 1..4).prop_map(distinct).prop_map(Node::Headers),
        1 => Just(Node::Nothing),
    ];
    flat.prop_recursive(3, 24, 4, |inner| {
        let section = || btree_map("[a-y]{1,6}", inner.clone(), 1..4);
        prop_oneof![section().prop_map(Node::Section), vec(section(), 1..3).prop_map(Node::List)]
    })
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// The exporters of a configuration.
fn exporters() -> impl Strategy<Value = BTreeMap<String, Node>> {
    let exporter = btree_map("[a-y]{1,6}", node(), 1..6).prop_map(Node::Section);
    btree_map("otlp/[a-y]{1,4}", exporter, 1..4)
}

/// The configuration as people write it, and as a Collector reports it with one change, if there is one to make.
fn both(exporters: &BTreeMap<String, Node>, change: &mut Change) -> (String, String) {
    let names: Vec<&String> = exporters.keys().collect();
    let desired = json!({
        "exporters": desired_section(exporters),
        "service": {"pipelines": {"traces": {"exporters": names}}},
    });
    let Json::Object(mut reported) = reported_section(exporters, "exporters", change) else { unreachable!() };
    reported.remove("zz_default");
    let effective = json!({
        "connectors": {},
        "exporters": reported,
        "extensions": {"opamp": {"ppid": 1, "capabilities": {"reports_health": true}}},
        "processors": {},
        "receivers": {},
        "service": {
            "extensions": ["opamp"],
            "pipelines": {"traces": {"exporters": names, "processors": [], "receivers": []}},
            "telemetry": {"logs": {"encoding": "json"}, "metrics": {"level": "Normal"}},
        },
    });
    (desired.to_string(), effective.to_string())
}

fn unchanged(exporters: &BTreeMap<String, Node>) -> (String, String) {
    both(exporters, &mut Change { passes: usize::MAX, path: None })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn configuration_is_in_sync_with_what_a_collector_makes_of_it(exporters in exporters()) {
        let (desired, effective) = unchanged(&exporters);
        let finding = found(&desired, &effective);
        let own = finding.as_baseline();
        prop_assert!(own.is_some(), "{finding:?}");
        prop_assert_eq!(finding.verdict(Some(&Baseline::new(&finding)), own), Verdict::InSync);
        prop_assert_eq!(finding.verdict(None, None).class(), None);
    }

    #[test]
    fn one_changed_leaf_is_modified_at_its_place_and_hidden_by_ignoring_just_that(
        exporters in exporters(),
        passes in 0_usize..12,
    ) {
        let mut change = Change { passes, path: None };
        let (desired, effective) = both(&exporters, &mut change);
        prop_assume!(change.path.is_some());
        let path = change.path.expect("a place");
        let (_, before) = unchanged(&exporters);
        let verdict = |ignore: &[&str]| {
            let before = looked(&desired, &before, ignore).expect("a finding");
            let now = looked(&desired, &effective, ignore).expect("a finding");
            text(&now.verdict(Some(&Baseline::new(&before)), before.as_baseline()))
        };
        let expected = format!("Modified at {path}");
        prop_assert_eq!(verdict(&[]), &*expected);
        prop_assert_eq!(verdict(&[&path]), "InSync");
        let any = path.replacen("exporters::otlp/", "", 1);
        let (_, below) = any.split_once("::").expect("a key");
        prop_assert_eq!(verdict(&[&format!("exporters::*::{below}")]), "InSync");
        prop_assert_eq!(verdict(&[&format!("{path}::x"), &format!("{path}x"), "receivers", "*::*::none"]), expected);
    }
}
