//! YAML with the line of each value, and errors that name line and field and repeat nothing of the file: any text of it
//! may be a secret that stands in the wrong place.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// What is wrong with the file, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The line, from 1; 0 where none can be told.
    pub line: u64,
    /// The field, as `receivers[0].slack.url`; empty for the file itself.
    pub field: String,
    /// What is wrong with it, and what to do.
    pub what: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for FileError {}

/// A value as it stands in the file.
enum Node {
    Text(String),
    Integer(i64),
    /// Nothing, a boolean or a number with a fraction: no field takes one.
    Other,
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(i64::try_from(number).map_or(Node::Other, Node::Integer))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Node::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

/// The whole file.
pub struct Document(Spanned<Node>);

impl Document {
    /// Reads it.
    ///
    /// # Errors
    /// Where it is no YAML.
    pub fn read(text: &str) -> Result<Self, FileError> {
        // Its own texts may quote the file.
        let options = serde_saphyr::options! { with_snippet: false, emit_comments: false };
        serde_saphyr::from_str_with_options(text, options).map(Self).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            let what = match error.without_snippet() {
                serde_saphyr::Error::DuplicateMappingKey { .. } => {
                    "a key is set twice in one mapping; keep one of them"
                }
                serde_saphyr::Error::MultipleDocuments { .. } => "a second document begins here; one is read",
                _ => "not valid YAML; look at indentation, quotes and colons",
            };
            FileError { line, field: String::new(), what: what.to_owned() }
        })
    }

    /// The value that the file is.
    pub fn root(&self) -> Field<'_> {
        Field { node: &self.0, path: String::new() }
    }
}

/// A value, and where it stands.
pub struct Field<'a> {
    node: &'a Spanned<Node>,
    path: String,
}

impl<'a> Field<'a> {
    /// That this value is wrong.
    pub fn wrong(&self, what: impl Into<String>) -> FileError {
        FileError { line: self.node.referenced.line(), field: self.path.clone(), what: what.into() }
    }

    /// The text that it is.
    pub fn text(&self) -> Result<&'a str, FileError> {
        match &self.node.value {
            Node::Text(text) => Ok(text),
            _ => Err(self.wrong("it must be text: put it in quotes")),
        }
    }

    /// The whole number that it is, if it is within these bounds.
    pub fn number(&self, bounds: std::ops::RangeInclusive<i64>) -> Result<i64, FileError> {
        match self.node.value {
            Node::Integer(number) if bounds.contains(&number) => Ok(number),
            _ => Err(self.wrong(format!(
                "it must be a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            ))),
        }
    }

    /// The values of the list that it is.
    pub fn list(&self) -> Result<Vec<Field<'a>>, FileError> {
        let Node::List(entries) = &self.node.value else {
            return Err(self.wrong("it must be a list: put a '-' before each entry"));
        };
        let field = |(index, node)| Field { node, path: format!("{}[{index}]", self.path) };
        Ok(entries.iter().enumerate().map(field).collect())
    }

    /// The mapping that it is, if it has no other keys than these.
    pub fn map(&self, known: &[&str]) -> Result<Map<'a>, FileError> {
        let Node::Map(entries) = &self.node.value else {
            return Err(self.wrong(format!("it must be a mapping with keys among {}", known.join(", "))));
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known.contains(&key.value.as_str())) {
            let what = format!("a key on this line is not known; known are {}", known.join(", "));
            return Err(FileError { line: key.referenced.line(), field: self.path.clone(), what });
        }
        Ok(Map { entries, line: self.node.referenced.line(), path: self.path.clone() })
    }

    /// The mapping that it is, whatever its keys are: each key with where it stands, and its value.
    pub fn entries(&self) -> Result<Vec<(&'a str, Field<'a>)>, FileError> {
        let Node::Map(entries) = &self.node.value else { return Err(self.wrong("it must be a mapping")) };
        let entry = |(key, node): &'a (Spanned<String>, _)| {
            (key.value.as_str(), Field { node, path: self.path.clone() })
        };
        Ok(entries.iter().map(entry).collect())
    }
}

/// A mapping with known keys.
pub struct Map<'a> {
    entries: &'a [(Spanned<String>, Spanned<Node>)],
    line: u64,
    path: String,
}

impl<'a> Map<'a> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        let found = self.entries.iter().find(|(found, _)| found.value == key);
        found.map(|(_, node)| Field { node, path })
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &str) -> Result<Field<'a>, FileError> {
        self.get(key).ok_or_else(|| self.wrong(format!("{key} is not set")))
    }

    /// That the mapping is wrong.
    pub fn wrong(&self, what: impl Into<String>) -> FileError {
        FileError { line: self.line, field: self.path.clone(), what: what.into() }
    }
}
