//! Whether what an expression asks for is in `docs/metrics.md`: metrics, their labels, and the values of these.

use super::metrics::{Metrics, documented};
use super::rules::metrics_of;
use std::collections::{BTreeMap, BTreeSet};

/// Labels that Prometheus adds, or that make up a histogram.
const OF_TARGETS: [&str; 3] = ["instance", "job", "le"];

/// The labels of each metric as queries call it, with their values; none: whatever people have named.
pub struct Documented(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Documented {
    /// Those of the page.
    pub fn read() -> Self {
        Self::of(&documented())
    }

    /// Those of these metrics.
    pub fn of(metrics: &Metrics) -> Self {
        let mut found = BTreeMap::new();
        for (name, metric) in metrics {
            let histogram = metric.kind == "histogram";
            let endings: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            found.extend(endings.iter().map(|ending| (format!("{name}{ending}"), metric.labels.clone())));
        }
        Self(found)
    }

    /// What of an expression the page does not know: metrics, labels, values of labels.
    pub fn complaints(&self, expression: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for metric in metrics_of(expression) {
            let Some(labels) = self.0.get(&metric) else {
                wrong.push(metric);
                continue;
            };
            for (label, value) in matchers(expression, &metric) {
                let known = labels.get(&label);
                let values = value.split('|').filter(|value| !value.contains('$'));
                let strange = values.filter(|value| known.is_some_and(|known| !is_one_of(value, known)));
                wrong.extend(strange.map(|value| format!("{metric}: {label} {value}")));
                if known.is_none() && !OF_TARGETS.contains(&label.as_str()) {
                    wrong.push(format!("{metric}: {label}"));
                }
            }
        }
        wrong
    }
}

/// Whether a value of a matcher, which may end in `.*`, is among these, if they are bounded.
fn is_one_of(value: &str, known: &BTreeSet<String>) -> bool {
    known.is_empty()
        || match value.strip_suffix(".*") {
            Some(prefix) => known.iter().any(|known| known.starts_with(prefix)),
            None => known.contains(value),
        }
}

/// Labels and values in all selectors of a metric.
fn matchers(expression: &str, metric: &str) -> Vec<(String, String)> {
    let opening = format!("{metric}{{");
    let selectors = expression.split(opening.as_str()).skip(1);
    let inside = selectors.filter_map(|rest| rest.split_once('}').map(|(inside, _)| inside));
    let each = inside.flat_map(|inside| inside.split("\",").map(str::to_owned).collect::<Vec<_>>());
    each.filter_map(|matcher| {
        let (label, value) = matcher.split_once(['=', '!'])?;
        Some((label.trim().to_owned(), value.trim_matches(['=', '~', '"', ' ']).to_owned()))
    })
    .collect()
}
