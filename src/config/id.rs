//! The names of components and pipelines: `type`, or `type/name`.
//!
//! As in the Collector's `component.ID` and `pipeline.ID`, with one difference: the Collector
//! refuses names with white space, control characters and symbols. White space, control
//! characters and the ASCII symbols are refused here too; the symbols beyond ASCII are left to it.

use std::fmt;
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// The most bytes that the part before the slash may have in a component's id.
const TYPE_LENGTH: usize = 63;

/// The most bytes that the part after the slash may have.
const NAME_LENGTH: usize = 1024;

/// The signals that a pipeline can carry.
const SIGNALS: [&str; 4] = ["traces", "metrics", "logs", "profiles"];

/// The id of a receiver, processor, exporter, connector or extension, for example `otlp/backend`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(String);

/// The id of a pipeline: its signal, and a name where a signal has several; `traces/edge`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId(String);

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form type or type/name")]
pub struct InvalidId;

impl ComponentId {
    /// The part before the slash: which factory makes it.
    pub fn component_type(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(kind, _)| kind)
    }

    /// The id in one spelling: without the white space that the Collector ignores around its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PipelineId {
    /// The id in one spelling: without the white space that the Collector ignores around its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse(text, is_type).map(Self)
    }
}

impl FromStr for PipelineId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse(text, |signal| SIGNALS.contains(&signal)).map(Self)
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn parse(text: &str, is_first_part: impl Fn(&str) -> bool) -> Result<String, InvalidId> {
    let (first, name) = match text.split_once('/') {
        Some((first, name)) => (first.trim(), Some(name.trim())),
        None => (text.trim(), None),
    };
    if !is_first_part(first) {
        return Err(InvalidId);
    }
    match name {
        None => Ok(first.to_owned()),
        Some(name) if is_name(name) => Ok(format!("{first}/{name}")),
        Some(_) => Err(InvalidId),
    }
}

fn is_type(text: &str) -> bool {
    let starts_with_a_letter = text.starts_with(|first: char| first.is_ascii_alphabetic());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    starts_with_a_letter && text.len() <= TYPE_LENGTH && text.bytes().all(allowed)
}

fn is_name(text: &str) -> bool {
    let refused = |c: char| c.is_whitespace() || c.is_control() || "$+<=>^`|~".contains(c);
    !text.is_empty() && text.len() <= NAME_LENGTH && !text.contains(refused)
}
