//! From bytes to [`Value`], as the Collector reads them, with errors that never quote the content.
//!
//! The reader is `serde-saphyr`; its own error texts may show lines of the source, so they are not
//! passed on. The options follow `go.yaml.in/yaml/v3`, which the supervisor and the Collector use:
//! booleans as in YAML 1.2, `0755` an octal number, merge keys expanded.

use serde::de::DeserializeSeed;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, NonFiniteFloatPolicy, Options, with_deserializer_from_str_with_options};

use super::brief::brief;
use super::decode::Limits;
use super::fault::{Fault, FileError, MAX_DEPTH, MAX_NODES, MAX_TEXT, ParseError, Position};
use super::{ConfigFile, ParsedFile, Value};

mod block;
#[cfg(test)]
mod tests;

/// What aliases may add to the events of one configuration: a block of 20 keys used 1,500 times.
/// It keeps the cost of a hostile file, about 100 ms, near that of the largest honest one.
const MAX_REPLAYED: usize = 65_536;

/// Parses one body. Nothing at all, or nothing but comments, is [`Value::Null`].
pub fn parse(body: &[u8]) -> Result<Value, ParseError> {
    parse_within(body, &Limits::new(), MAX_REPLAYED)
}

/// Parses all files of one configuration, in their order, under common limits. All that cannot be
/// parsed are reported.
pub fn parse_files(files: &[ConfigFile]) -> Result<Vec<ParsedFile>, Vec<FileError>> {
    let limits = Limits::new();
    let replayed = MAX_REPLAYED / files.len().max(1);
    let mut parsed = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        match parse_within(&file.body, &limits, replayed) {
            Ok(value) => parsed.push(ParsedFile { name: file.name.clone(), value }),
            Err(error) => errors.push(FileError { file: file.name.clone(), error }),
        }
    }
    if errors.is_empty() { Ok(parsed) } else { Err(errors) }
}

/// Parses what an agent reports, as [`parse_files`] does it. Nearly all reports are in the form that Collectors write,
/// which is read many times faster.
pub(super) fn parse_reported(files: &[ConfigFile]) -> Option<Vec<ParsedFile>> {
    let size: usize = files.iter().map(|file| file.body.len()).sum();
    let read =
        |file: &ConfigFile| Some(ParsedFile { name: file.name.clone(), value: block::read(&file.body)? });
    let quickly = (size <= block::MAX_BYTES).then(|| files.iter().map(read).collect()).flatten();
    quickly.or_else(|| parse_files(files).ok())
}

fn parse_within(body: &[u8], limits: &Limits, replayed: usize) -> Result<Value, ParseError> {
    let text = str::from_utf8(body).map_err(|error| not_utf8(&body[..error.valid_up_to()]))?;
    let read = with_deserializer_from_str_with_options(text, options(replayed), |deserializer| {
        limits.seed().deserialize(deserializer)
    });
    read.map_err(|error| {
        let position = position(&error);
        // What was found on the way to `Value` is more exact than the reader's view of it.
        let fault = limits.take_fault().unwrap_or_else(|| match fault(&error) {
            Fault::Syntax(_) if opens_expansion(text, position) => Fault::UnquotedExpansion,
            fault => fault,
        });
        ParseError { position, fault }
    })
}

/// Whether the brace of a `${` stands at this position.
fn opens_expansion(text: &str, position: Option<Position>) -> bool {
    let to_skip = |number: u64, more: u64| usize::try_from(number.checked_sub(more)?).ok();
    let found = position.and_then(|Position { line, column }| {
        let line = text.lines().nth(to_skip(line, 1)?)?;
        Some(line.chars().skip(to_skip(column, 2)?).take(2).eq("${".chars()))
    });
    found.unwrap_or(false)
}

/// What `go.yaml.in/yaml/v3` does, and limits in proportion to those of [`Limits`].
fn options(replayed: usize) -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        strict_booleans: true,
        legacy_octal_numbers: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            // Above what the reader looks ahead, so that `max_depth` speaks first.
            flow_nesting_limit: 2048,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_total_scalar_bytes: MAX_TEXT,
            max_recorded_anchor_events: 2 * MAX_REPLAYED,
            max_recorded_anchor_bytes: MAX_TEXT,
            // One anchor used many times is how a configuration avoids repetition.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: replayed,
        },
    }
}

fn not_utf8(valid: &[u8]) -> ParseError {
    let text = String::from_utf8_lossy(valid);
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    let line = text.matches('\n').count() as u64 + 1;
    let column = last_line.chars().count() as u64 + 1;
    ParseError { position: Some(Position { line, column }), fault: Fault::NotUtf8 }
}

fn position(error: &Error) -> Option<Position> {
    let location = error.location()?;
    Some(Position { line: location.line(), column: location.column() })
}

/// The reader's reason without its words, except for those about syntax, which are fixed texts.
fn fault(error: &Error) -> Fault {
    match error.without_snippet() {
        Error::AliasError { error, .. } => fault(error),
        Error::ExternalMessage { msg, .. } => Fault::Syntax(brief(msg)),
        Error::Eof { .. } => Fault::Syntax("the text ends too early".to_owned()),
        Error::DuplicateMappingKey { key: Some(key), .. } => Fault::DuplicateKey(key.clone()),
        Error::DuplicateMappingKey { key: None, .. } => Fault::KeyNotScalar,
        Error::MultipleDocuments { .. } => Fault::SeveralDocuments,
        Error::UnknownAnchor { .. } => Fault::UnknownAnchor,
        Error::RecursiveReferencesRequireWeakTypes { .. } => Fault::RecursiveAlias,
        Error::MergeValueNotMapOrSeqOfMaps { .. } => Fault::MergeValue,
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => Fault::TooDeep,
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => Fault::TooLarge,
        Error::InvalidScalar { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::UnsupportedTag { .. }
        | Error::InvalidBooleanStrict { .. } => Fault::Tag,
        _ => Fault::Other,
    }
}
