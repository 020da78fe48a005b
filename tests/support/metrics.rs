//! Metrics as `docs/metrics.md` has them, and as programs serve them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is known of metrics, by their names.
pub type Metrics = BTreeMap<String, Metric>;

/// One metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metric {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// Whether it is in seconds.
    pub in_seconds: bool,
    /// Its labels with their values; none where values are people's names.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// Whether only the leader's says something; nobody serves that.
    pub of_leader: bool,
}

/// Labels whose values are what people call things.
const NAMES: [&str; 5] = ["namespace", "group", "secret", "key", "version"];

/// The metrics of the page.
///
/// # Panics
/// When a row of it has another form, or one is there twice.
pub fn documented() -> Metrics {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = std::fs::read_to_string(path).expect("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<(String, Metric)> = rows.map(row).collect();
    let count = rows.len();
    let metrics = Metrics::from_iter(rows);
    assert_eq!(metrics.len(), count, "a metric is documented twice");
    metrics
}

fn row(line: &str) -> (String, Metric) {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [name, kind, labels, unit, replica, meaning] = cells[..] else { panic!("cells of {line}") };
    assert!(!meaning.is_empty() && ["each", "leader"].contains(&replica), "{line}");
    let labels = labels.split(';').filter(|part| !part.is_empty()).flat_map(|part| {
        let (names, values) = part.split_once(':').unwrap_or((part, ""));
        let values: BTreeSet<String> = spans(values).collect();
        spans(names).map(|name| (name, values.clone())).collect::<Vec<_>>()
    });
    let metric = Metric {
        kind: kind.to_owned(),
        in_seconds: unit == "seconds",
        labels: labels.collect(),
        of_leader: replica == "leader",
    };
    (name.trim_matches('`').to_owned(), metric)
}

fn spans(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The metrics that are served, in these texts together.
///
/// # Panics
/// When a line is no OpenMetrics.
pub fn served(texts: &[&str]) -> Metrics {
    let mut metrics = Metrics::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (family, kind) = declared.split_once(' ').expect("a type");
            kind.clone_into(&mut metrics.entry(name_of(family, kind)).or_default().kind);
        } else if let Some(declared) = line.strip_prefix("# UNIT ") {
            let (family, unit) = declared.split_once(' ').expect("a unit");
            assert_eq!(unit, "seconds", "{line}");
            // No counter has a unit.
            metrics.get_mut(family).expect(line).in_seconds = true;
        } else if !line.starts_with('#') {
            take_sample(&mut metrics, line);
        }
    }
    metrics
}

/// How a metric is called in queries.
fn name_of(family: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{family}_total"),
        "info" => format!("{family}_info"),
        _ => family.to_owned(),
    }
}

fn take_sample(metrics: &mut Metrics, line: &str) {
    let (series, _value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
    let name = family.filter(|family| metrics.contains_key(*family)).unwrap_or(name);
    let metric = metrics.get_mut(name).unwrap_or_else(|| panic!("no type of {line}"));
    for pair in labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once("=\"").expect("a label");
        let values = metric.labels.entry(label.to_owned()).or_default();
        match value.trim_end_matches('"') {
            _ if NAMES.contains(&label) => {}
            "+Inf" => {}
            value if label == "le" => drop(values.insert(shortened(value))),
            value => drop(values.insert(value.to_owned())),
        }
    }
}

/// `60.0` as `60`.
fn shortened(number: &str) -> String {
    number.strip_suffix(".0").unwrap_or(number).to_owned()
}

/// The text as Prometheus wrote it before OpenMetrics, which is what promtool checks.
pub fn as_prometheus_text(openmetrics: &str) -> String {
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    for line in openmetrics.lines() {
        types.extend(line.strip_prefix("# TYPE ").and_then(|declared| declared.split_once(' ')));
    }
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => None,
            (Some("#"), Some(what), Some(family), Some(rest)) => {
                let name = name_of(family, types.get(family).expect("a type"));
                let rest = if what == "TYPE" && rest == "info" { "gauge" } else { rest };
                Some(format!("# {what} {name} {rest}\n"))
            }
            _ => Some(format!("{line}\n")),
        }
    };
    openmetrics.lines().filter_map(line).collect()
}
