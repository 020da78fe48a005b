//! YAML as data.

use compact_str::CompactString;
use std::collections::BTreeMap;
use std::fmt;

/// A key or a text. Short ones, which are nearly all, stand in the node itself: to allocate and free some hundred of
/// them would take a quarter of the time of a check for drift.
pub type Text = CompactString;

/// One node of a configuration, as the Collector's YAML reader types it.
///
/// No `Debug`: a leaf may be a secret. Two floats that are not a number are never equal.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`; `yes`, `on` and the like are strings.
    Bool(bool),
    /// An integer that fits 64 bits with a sign.
    Int(i64),
    /// An integer above [`i64::MAX`].
    UInt(u64),
    /// Any other number.
    Float(f64),
    /// Text, `${…}` expansions included: only the agent can expand those.
    String(Text),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping; keys that are not text are written as the Collector writes them.
    Map(BTreeMap<Text, Value>),
}

/// What sort of node a [`Value`] is: the most that an error text may say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Null,
    /// A truth value.
    Bool,
    /// A number of any size.
    Number,
    /// Text.
    String,
    /// A sequence.
    List,
    /// A mapping.
    Map,
}

impl Value {
    /// The sort of this node.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) | Self::UInt(_) | Self::Float(_) => Kind::Number,
            Self::String(_) => Kind::String,
            Self::List(_) => Kind::List,
            Self::Map(_) => Kind::Map,
        }
    }

    /// The entries, if this is a mapping.
    pub const fn as_map(&self) -> Option<&BTreeMap<Text, Value>> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }

    /// The elements, if this is a list.
    pub const fn as_list(&self) -> Option<&Vec<Value>> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text.as_str()) } else { None }
    }

    /// The node under these keys, one after the other; the node itself for no keys.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |node, key| node.as_map()?.get(*key))
    }

    /// Whether only the agent can know what this is: text with a `${…}` expansion may become a
    /// list, a mapping or anything else.
    pub fn is_expansion(&self) -> bool {
        self.as_str().is_some_and(has_expansion)
    }
}

/// Whether the Collector would expand something in this text: `${…}`, unless the dollar sign is
/// escaped by another (`$${…}`).
pub fn has_expansion(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte == b'$') {
        rest = &rest[at + 1..];
        if rest.starts_with('{') {
            return rest.contains('}');
        }
        rest = rest.strip_prefix('$').unwrap_or(rest);
    }
    false
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Null => "nothing",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::List => "a list",
            Self::Map => "a mapping",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested() -> Value {
        let inner = BTreeMap::from([("b".into(), Value::Int(1))]);
        Value::Map(BTreeMap::from([("a".into(), Value::Map(inner))]))
    }

    #[test]
    fn node_is_found_under_its_path() {
        assert!(nested().at(&["a", "b"]) == Some(&Value::Int(1)));
        assert!(nested().at(&[]) == Some(&nested()));
    }

    #[test]
    fn node_is_missing_under_another_path() {
        assert!(nested().at(&["a", "c"]).is_none());
        assert!(nested().at(&["a", "b", "c"]).is_none());
    }

    #[test]
    fn kind_tells_the_sort_of_a_node_in_words() {
        let kinds = [
            (Value::Null, "nothing"),
            (Value::Bool(true), "a boolean"),
            (Value::Int(-1), "a number"),
            (Value::UInt(u64::MAX), "a number"),
            (Value::Float(0.5), "a number"),
            (Value::String(Text::default()), "a string"),
            (Value::List(Vec::new()), "a list"),
            (nested(), "a mapping"),
        ];
        for (value, words) in kinds {
            assert_eq!(value.kind().to_string(), words);
        }
    }

    #[test]
    fn expansion_is_seen_unless_its_dollar_is_escaped() {
        let texts = [
            ("${env:X}", true),
            ("http://${HOST}:4317", true),
            ("$$${env:X}", true),
            ("$${env:X}", false),
            ("$$$${env:X}", false),
            ("a$b${c}", true),
            ("${env:X", false),
            ("$X", false),
            ("$", false),
            ("", false),
        ];
        for (text, expected) in texts {
            assert_eq!(has_expansion(text), expected, "{text}");
        }
    }
}
