//! Why a file is no configuration, and how large one may be. No text quotes the content.

use super::brief::brief;

/// How deep a configuration may be nested. Real ones stay below 20. A level takes up to 25 KB of
/// stack in a build without optimisation, so this leaves half of a 2 MiB stack to the caller.
pub const MAX_DEPTH: usize = 32;

/// The nodes that the files of one configuration may have together, with aliases expanded. Bodies
/// of 256 KiB (the limit of a rollout) hold at most half as many without aliases.
pub const MAX_NODES: usize = 262_144;

/// The bytes of text that the files of one configuration may have together, with aliases expanded:
/// thirty-two times what a rollout may carry.
pub const MAX_TEXT: usize = 8 * 1024 * 1024;

/// Where something stands in a file; both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// Why a body is not a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", at(*.position))]
pub struct ParseError {
    /// Where, if the reader could tell.
    pub position: Option<Position>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a body. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are no text.
    #[error("not UTF-8 text; save the file as UTF-8")]
    NotUtf8,
    /// The text is no YAML; the reader's words, which quote nothing of it.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// An expansion inside `[…]` or `{…}` without quotes, where its brace is taken for a mapping's.
    #[error("an expansion like ${{env:X}} must stand in quotes inside [ ] or {{ }}")]
    UnquotedExpansion,
    /// A mapping sets the same key twice. Two keys are the same if they are the same text once
    /// they are text, `1` and `"1"` for example.
    #[error("the key {} is set twice in one mapping; keep one of them", brief(.0))]
    DuplicateKey(String),
    /// A key is a list or a mapping.
    #[error("a key of a mapping is itself a list or a mapping; use text as the key")]
    KeyNotScalar,
    /// The file holds several documents; agents read the first one only.
    #[error("a second document begins here; give each document a file of its own")]
    SeveralDocuments,
    /// An alias without an anchor.
    #[error("an alias has no anchor before it; define the anchor or write the value out")]
    UnknownAnchor,
    /// An alias inside what it stands for.
    #[error("an alias stands inside its own anchor; write the value out")]
    RecursiveAlias,
    /// `<<` with something that cannot be merged.
    #[error("a merge key takes a mapping or a list of mappings; correct the value of <<")]
    MergeValue,
    /// A tag and a value that do not go together.
    #[error("a value does not fit its tag; remove the tag or correct the value")]
    Tag,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested more than {MAX_DEPTH} levels deep; flatten it")]
    TooDeep,
    /// Beyond [`MAX_NODES`], [`MAX_TEXT`] or what the reader allows in aliases.
    #[error("too large, counted with its aliases expanded; make it smaller or use fewer aliases")]
    TooLarge,
    /// Anything else that the reader refuses.
    #[error("not readable as a collector configuration")]
    Other,
}

/// A file that could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("file \"{}\": {error}", brief(.file))]
pub struct FileError {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub error: ParseError,
}

fn at(position: Option<Position>) -> String {
    position.map_or_else(String::new, |at| format!("line {}, column {}: ", at.line, at.column))
}
