//! The metrics that `docs/metrics.md` names, with their labels and the values of these.

use super::rules::metrics_of;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Labels that Prometheus adds.
const OF_TARGETS: [&str; 3] = ["instance", "job", "le"];

/// What the page says.
pub struct Documented(BTreeMap<String, Labels>);

/// The values that a label may have; none: whatever people have named.
type Labels = BTreeMap<String, BTreeSet<String>>;

impl Documented {
    /// Reads the page.
    ///
    /// # Panics
    /// When it is missing or names nothing.
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let found = Self::of(&fs::read_to_string(path).expect("docs/metrics.md"));
        assert!(found.0.len() > 20, "the page is read");
        found
    }

    /// What this text of a page says.
    pub fn of(page: &str) -> Self {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `opamp_"));
        let mut found = BTreeMap::new();
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").collect();
            let (name, labels) = (format!("opamp_{}", cells[0].trim_end_matches('`')), labels(cells[2]));
            let endings: &[&str] =
                if cells[1] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            found.extend(endings.iter().map(|ending| (format!("{name}{ending}"), labels.clone())));
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

/// The labels of a cell: "`namespace`, `group`; `state`: `matched` `connected`".
fn labels(cell: &str) -> Labels {
    let mut found = Labels::new();
    for part in cell.split("; ") {
        let (names, values) = part.split_once(": ").unwrap_or((part, ""));
        let values: BTreeSet<String> = spans(values).map(str::to_owned).collect();
        found.extend(spans(names).map(|name| (name.to_owned(), values.clone())));
    }
    found
}

fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
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
