//! An agent's attributes as text, and how a selector matches them.

use super::clean;
use crate::api::{AttributeSelector, Operator, Requirement};

/// A place in [`Attributes`]' text.
type Place = u16;
const _: () = assert!(Attributes::MAX_BYTES <= Place::MAX as usize);

/// Identifying and non-identifying attributes together, sorted by key. Kept for as long as the agent is known,
/// because a group's selector may change at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// All keys and values in a row. A text for each would take three times the memory for every agent.
    text: Box<str>,
    spans: Box<[Span]>,
}

/// Where an attribute stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    key: Place,
    value: Place,
    end: Place,
}

impl Attributes {
    /// Most attributes that can be kept of one agent.
    pub const MAX: usize = 1000;
    /// Longest key that is kept, in bytes: no selector can ask for a longer one.
    pub const MAX_KEY_BYTES: usize = 253;
    /// Longest value that is kept, in bytes; longer values are cut, because agents' text is untrusted.
    pub const MAX_VALUE_BYTES: usize = 256;
    /// Most text that is kept of one agent, in bytes, keys and values together. Real ones have less than 2 KB, and agents
    /// with many labels of Kubernetes less than 10.
    pub const MAX_BYTES: usize = 16 << 10;

    /// Joins both kinds; an identifying attribute wins over a non-identifying one of the same key (design,
    /// section 2), and of equal keys of one kind the first is kept. What is beyond the limits is dropped, the last first.
    pub fn new(
        identifying: impl IntoIterator<Item = (String, String)>,
        non_identifying: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let all = identifying.into_iter().chain(non_identifying);
        let mut bytes = 0;
        let mut fits = |key: &str, value: &str| {
            let fits = key.len() <= Self::MAX_KEY_BYTES && bytes + key.len() + value.len() <= Self::MAX_BYTES;
            bytes += if fits { key.len() + value.len() } else { 0 };
            fits
        };
        let cleaned = all.map(|(key, value)| (key, clean(&value, Self::MAX_VALUE_BYTES)));
        let mut all: Vec<_> = cleaned.filter(|(key, value)| fits(key, value)).take(Self::MAX).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut text = String::new();
        let mut put = |part: &str| {
            text.push_str(part);
            Place::try_from(text.len()).unwrap_or(Place::MAX)
        };
        let mut key = 0;
        let spans = all.iter().map(|(name, given)| {
            let value = put(name);
            let end = put(given);
            Span { key: std::mem::replace(&mut key, end), value, end }
        });
        let spans = spans.collect();
        Self { text: text.into_boxed_str(), spans }
    }

    /// The value of an attribute.
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.spans.binary_search_by(|span| self.text(span.key, span.value).cmp(key)).ok()?;
        let span = self.spans[index];
        Some(self.text(span.value, span.end))
    }

    /// These, with the ones of a credential in front: they override what an agent says of itself.
    #[must_use]
    pub fn verified_by(self, verified: &Self) -> Self {
        if verified.spans.is_empty() { self } else { Self::new(verified.pairs(), self.pairs()) }
    }

    fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        let text = |from, to| self.text(from, to).to_owned();
        self.spans.iter().map(move |span| (text(span.key, span.value), text(span.value, span.end)))
    }

    fn text(&self, from: Place, to: Place) -> &str {
        &self.text[usize::from(from)..usize::from(to)]
    }
}

/// Whether the selector matches these attributes.
pub fn matches(selector: &AttributeSelector, attributes: &Attributes) -> bool {
    matches_by(selector, |key| attributes.get(key))
}

/// Whether the selector matches an agent with these attributes, of which its credential verifies some: the keys
/// `required` count only if it does, and are else as if the agent had none such.
pub fn matches_verified(
    selector: &AttributeSelector,
    required: &[String],
    attributes: &Attributes,
    verified: &Attributes,
) -> bool {
    matches_by(selector, |key| {
        if required.iter().any(|required| required == key) { verified.get(key) } else { attributes.get(key) }
    })
}

fn matches_by<'a>(selector: &AttributeSelector, get: impl Fn(&str) -> Option<&'a str>) -> bool {
    selector.match_labels.iter().all(|(key, value)| get(key) == Some(value.as_str()))
        && selector.match_expressions.iter().all(|requirement| holds(requirement, get(&requirement.key)))
}

fn holds(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| requirement.values.iter().any(|v| v == value));
    match requirement.operator {
        Operator::In => listed,
        Operator::NotIn => !listed,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        // Who may be selected is not known: whoever has such a selector leaves it to the version that knows.
        Operator::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn verified_attributes_override_an_agents_own_and_are_never_crowded_out() {
        let many = (0..200).map(|number| (format!("a{number:03}"), "own".to_owned()));
        let own = Attributes::new(many.chain([("ring".to_owned(), "own".to_owned())]), []);
        let verified = attributes(&[("zone", "credential"), ("a001", "credential")]);
        let both = own.clone().verified_by(&verified);
        let got = ["zone", "a001", "a002"].map(|key| both.get(key));
        assert_eq!(got, [Some("credential"), Some("credential"), Some("own")]);
        assert_eq!(own.clone().verified_by(&Attributes::default()), own);
    }

    #[test]
    fn required_keys_match_only_what_the_credential_says() {
        let required = ["os.type".to_owned()];
        for (operator, values, own, verified, expected) in [
            (Operator::In, &["linux"][..], "linux", "", false),
            (Operator::In, &["linux"], "linux", "linux", true),
            (Operator::In, &["linux"], "linux", "darwin", false),
            (Operator::NotIn, &["linux"], "linux", "", true),
            (Operator::Exists, &[], "linux", "", false),
            (Operator::DoesNotExist, &[], "linux", "", true),
            (Operator::Exists, &[], "", "linux", true),
        ] {
            let of = |value: &str| match value {
                "" => attributes(&[]),
                value => attributes(&[("os.type", value)]),
            };
            let selector = expression(operator, values);
            let shown = format!("{operator:?} {values:?} on {own:?}, verified {verified:?}");
            assert_eq!(matches_verified(&selector, &required, &of(own), &of(verified)), expected, "{shown}");
            assert!(
                matches_verified(&selector, &[], &of(own), &of(verified)) == matches(&selector, &of(own))
            );
        }
    }

    #[test]
    fn attributes_are_bounded_in_number_and_length() {
        let long = "v".repeat(1000);
        let keys = |length: usize| (0..500).map(move |n| format!("{n:0>length$}"));
        let all = |length| Attributes::new(keys(length).map(|key| (key, long.clone())), []);
        let kept = all(253);
        assert_eq!(kept.get(&format!("{:0>253}", 7)).map(str::len), Some(256));
        assert_eq!(keys(253).filter(|key| kept.get(key).is_some()).count(), 32, "of 509 bytes each");
        assert_eq!(all(254), Attributes::default());
        let short = (0..2000).map(|number| (number.to_string(), String::new()));
        assert_eq!(Attributes::new(short, []).spans.len(), 1000);
    }

    proptest! {
        #[test]
        fn every_attribute_reads_back(pairs in prop::collection::btree_map("\\PC{0,9}", "\\PC{0,9}", 0..20), other in "\\PC{0,9}") {
            let others = pairs.keys().map(|key| (key.clone(), "other".to_owned()));
            let attributes = Attributes::new(pairs.clone(), others);
            for (key, value) in &pairs {
                prop_assert_eq!(attributes.get(key), Some(value.as_str()));
            }
            prop_assert_eq!(attributes.get(&other).is_some(), pairs.contains_key(&other));
        }
    }

    #[test]
    fn identifying_attribute_wins_over_a_non_identifying_one() {
        let both = Attributes::new([("k".into(), "identifying".into())], [("k".into(), "other".into())]);
        assert_eq!(both.get("k"), Some("identifying"));
    }
}
