//! An agent's attributes as text, and how a selector matches them.

use super::clean;
use crate::api::{AttributeSelector, Operator, Requirement};

/// Longest value that is kept, in bytes; longer values are cut, because agents' text is untrusted.
const MAX_VALUE_BYTES: usize = 256;
/// Most attributes that are kept of one agent; the rest is dropped.
const MAX_ATTRIBUTES: usize = 128;

/// Identifying and non-identifying attributes together, sorted by key. Kept for as long as the agent is known,
/// because a group's selector may change at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Box<[(Box<str>, Box<str>)]>);

impl Attributes {
    /// Joins both kinds; an identifying attribute wins over a non-identifying one of the same key (design,
    /// section 2), and of equal keys of one kind the first is kept.
    pub fn new(
        identifying: impl IntoIterator<Item = (String, String)>,
        non_identifying: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut all: Vec<(Box<str>, Box<str>)> = identifying
            .into_iter()
            .chain(non_identifying)
            .take(MAX_ATTRIBUTES)
            .map(|(key, value)| (key.into_boxed_str(), clean(&value, MAX_VALUE_BYTES).into_boxed_str()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(all.into_boxed_slice())
    }

    /// The value of an attribute.
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[index].1)
    }
}

/// Whether the selector matches these attributes.
pub fn matches(selector: &AttributeSelector, attributes: &Attributes) -> bool {
    selector.match_labels.iter().all(|(key, value)| attributes.get(key) == Some(value.as_str()))
        && selector.match_expressions.iter().all(|requirement| holds(requirement, attributes))
}

fn holds(requirement: &Requirement, attributes: &Attributes) -> bool {
    let value = attributes.get(&requirement.key);
    let listed = value.is_some_and(|value| requirement.values.iter().any(|v| v == value));
    match requirement.operator {
        Operator::In => listed,
        Operator::NotIn => !listed,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        Attributes::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())), [])
    }

    fn expression(operator: Operator, values: &[&str]) -> AttributeSelector {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        AttributeSelector {
            match_expressions: vec![Requirement { key: "os.type".into(), operator, values }],
            ..Default::default()
        }
    }

    #[test]
    fn empty_selector_matches_every_agent() {
        assert!(matches(&AttributeSelector::default(), &attributes(&[])));
    }

    #[test]
    fn operators_mean_what_label_selectors_mean() {
        let linux = attributes(&[("os.type", "linux")]);
        let bare = attributes(&[]);
        for (operator, values, on_linux, on_bare) in [
            (Operator::In, &["linux", "darwin"][..], true, false),
            (Operator::In, &["darwin"], false, false),
            (Operator::NotIn, &["linux"], false, true),
            (Operator::NotIn, &["darwin"], true, true),
            (Operator::Exists, &[], true, false),
            (Operator::DoesNotExist, &[], false, true),
        ] {
            let selector = expression(operator, values);
            assert_eq!(matches(&selector, &linux), on_linux, "{operator:?} {values:?} on linux");
            assert_eq!(matches(&selector, &bare), on_bare, "{operator:?} {values:?} without attributes");
        }
    }

    #[test]
    fn all_labels_must_match() {
        let selector = AttributeSelector {
            match_labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            ..Default::default()
        };
        assert!(matches(&selector, &attributes(&[("a", "1"), ("b", "2"), ("c", "3")])));
        assert!(!matches(&selector, &attributes(&[("a", "1"), ("b", "3")])));
    }

    #[test]
    fn identifying_attribute_wins_over_a_non_identifying_one() {
        let both = Attributes::new([("k".into(), "identifying".into())], [("k".into(), "other".into())]);
        assert_eq!(both.get("k"), Some("identifying"));
    }
}
