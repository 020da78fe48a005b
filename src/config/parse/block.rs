//! Reads the YAML that Collectors write, and nothing else, many times faster than the full reader does.
//!
//! Every report of an agent comes this way first (`desired.rs`). Go's encoder writes blocks: a key or an element a
//! line, scalars on one line, no comments behind values, no anchors, tags or flow collections but the empty ones.
//! Whatever else stands in a text, and whatever may mean one thing or another, ends this reader, and the text goes to
//! the full one, [`parse`](super::parse), from its beginning.
//!
//! **Invariant: it never decides anything.** What it returns is what the full reader returns for the same bytes; it
//! finds no errors. Guarded by the tests below, on real reports, on damaged ones and on random text.

use super::{MAX_DEPTH, MAX_NODES};
use crate::config::value::{Text, Value};
use std::collections::BTreeMap;

/// Longest text that is read here: it cannot hold more nodes or text than the limits allow.
pub const MAX_BYTES: usize = MAX_NODES / 2;
/// Longest key. Up to 1,024 the full reader takes any.
const MAX_KEY_BYTES: usize = 256;

/// The value of a text; nothing if the full reader has to be asked.
pub fn read(body: &[u8]) -> Option<Value> {
    let text = str::from_utf8(body).ok().filter(|text| text.len() <= MAX_BYTES && is_simple(text))?;
    let mut lines = Lines { rest: text, indent: 0, line: "" };
    lines.next()?;
    if lines.is_at_end() { None } else { lines.map(0, 0) }
}

/// Whether there are only characters that mean the same everywhere in a text.
fn is_simple(text: &str) -> bool {
    let is_special = |byte: u8| byte != b'\n' && !(b' '..0x7f).contains(&byte);
    // Not `any`: without an early end, many bytes are looked at in one step.
    if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        return true;
    }
    text.chars().all(|c| c.is_ascii() && !is_special(c as u8) || !c.is_ascii() && c.is_alphanumeric())
}

/// The lines of a text, one at a time.
struct Lines<'a> {
    rest: &'a str,
    /// How far the current line is indented.
    indent: usize,
    /// The current line behind that; empty at the end of the text.
    line: &'a str,
}

impl Lines<'_> {
    const fn is_at_end(&self) -> bool {
        self.line.is_empty()
    }

    /// Goes to the next line that says something; nothing if it is no line of a block.
    fn next(&mut self) -> Option<()> {
        loop {
            if self.rest.is_empty() {
                (self.indent, self.line) = (0, "");
                return Some(());
            }
            let bytes = self.rest.as_bytes();
            self.indent = bytes.iter().take_while(|byte| **byte == b' ').count();
            let length = bytes[self.indent..].iter().position(|byte| *byte == b'\n');
            let end = length.map_or(bytes.len(), |length| self.indent + length);
            self.line = &self.rest[self.indent..end];
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            match self.line.as_bytes() {
                [] if self.indent == 0 => {}
                [b'#', ..] => {}
                [] => return None,
                _ => return Some(()),
            }
        }
    }

    /// The mapping whose first key stands here, at this column.
    fn map(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut map = BTreeMap::new();
        while self.goes_on(indent)? {
            let (key, rest) = key(self.line)?;
            let value = if rest.is_empty() { self.below(indent, depth)? } else { self.scalar(rest, indent)? };
            // A key that is set twice is an error, which the full reader tells.
            if map.insert(key, value).is_some() {
                return None;
            }
        }
        Some(Value::Map(map))
    }

    /// The list whose first element stands here, at this column.
    fn list(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut list = Vec::new();
        while self.goes_on(indent)? {
            let element = self.line.strip_prefix("- ")?;
            // A block may begin in the line of its dash.
            (self.indent, self.line) = (indent + 2, element);
            list.push(match key(element) {
                Some(_) => self.block(depth)?,
                None if element.starts_with("- ") => self.block(depth)?,
                None => self.scalar(element, indent)?,
            });
        }
        Some(Value::List(list))
    }

    /// Whether the block at this column goes on; nothing if the line belongs to no block.
    fn goes_on(&self, indent: usize) -> Option<bool> {
        (self.indent <= indent).then_some(self.indent == indent && !self.is_at_end())
    }

    /// What stands below a key.
    fn below(&mut self, indent: usize, depth: usize) -> Option<Value> {
        self.next()?;
        if self.indent > indent { self.block(depth) } else { Some(Value::Null) }
    }

    /// The block that begins here.
    fn block(&mut self, depth: usize) -> Option<Value> {
        let (indent, depth) = (self.indent, depth + 1);
        // One less than the limit, so that an empty collection may stand inside.
        if depth + 1 >= MAX_DEPTH {
            return None;
        }
        if self.line.starts_with("- ") { self.list(indent, depth) } else { self.map(indent, depth) }
    }

    /// A scalar of the block at this column that ends its line, an empty collection, or a text of several lines.
    fn scalar(&mut self, text: &str, indent: usize) -> Option<Value> {
        let value = match text {
            "{}" => Value::Map(BTreeMap::new()),
            "[]" => Value::List(Vec::new()),
            "|" => Value::String((self.literal(indent)? + "\n").into()),
            "|-" => Value::String(self.literal(indent)?.into()),
            _ => match quoted(text) {
                Some((text, "")) => Value::String(text),
                Some(_) => return None,
                None => plain(text)?,
            },
        };
        self.next()?;
        Some(value)
    }

    /// The lines of a text that are indented further than this column, without the last line break. A blank line
    /// belongs to it or not by what comes next, so it is left to the full reader.
    fn literal(&mut self, indent: usize) -> Option<String> {
        let mut lines = Vec::new();
        let mut column = None;
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n')?;
            match line.bytes().position(|byte| byte != b' ')? {
                spaces if spaces <= indent || spaces < *column.get_or_insert(spaces) => break,
                _ => lines.push(&line[column?..]),
            }
            self.rest = rest;
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// The key at the beginning of a line, and what comes after its colon.
fn key(line: &str) -> Option<(Text, &str)> {
    let (key, rest) = quoted(line).or_else(|| {
        let (key, rest) = line.split_at(end_of_key(line)?);
        match plain(key)? {
            Value::String(key) => Some((key, rest)),
            // Its text is the same once more.
            Value::Int(_) => Some((key.into(), rest)),
            _ => None,
        }
    })?;
    let rest = rest.strip_prefix(':')?;
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
    (key.len() <= MAX_KEY_BYTES && key != "<<").then_some((key, rest))
}

/// Where the colon of a key without quotes stands.
fn end_of_key(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    (0..bytes.len()).find(|at| bytes[*at] == b':' && matches!(bytes.get(at + 1), None | Some(b' ')))
}

/// A quoted text at the beginning, and what comes after it. Escapes are the full reader's.
fn quoted(text: &str) -> Option<(Text, &str)> {
    if let Some(inside) = text.strip_prefix('"') {
        let (inside, rest) = inside.split_once('"')?;
        return (!inside.contains('\\')).then(|| (inside.into(), rest));
    }
    let mut rest = text.strip_prefix('\'')?;
    let mut inside = Text::default();
    loop {
        let (part, after) = rest.split_once('\'')?;
        inside.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                inside.push('\'');
                rest = after;
            }
            None => return Some((inside, after)),
        }
    }
}

/// A scalar without quotes.
fn plain(text: &str) -> Option<Value> {
    let bytes = text.as_bytes();
    let (first, last) = (*bytes.first()?, *bytes.last()?);
    let ends = |pair: &[u8]| matches!(pair, b": " | b" #");
    match first {
        _ if matches!(last, b':' | b' ') || bytes.contains(&b' ') && bytes.windows(2).any(ends) => None,
        b'0'..=b'9' => number(text, text),
        b'-' => number(text, &text[1..]),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'/' | b'^' | b'$' | b'(' => word(text),
        _ => None,
    }
}

/// A scalar that begins like a word.
fn word(text: &str) -> Option<Value> {
    Some(match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "Null" | "NULL" | "True" | "TRUE" | "False" | "FALSE" => return None,
        _ => Value::String(text.into()),
    })
}

/// A scalar that begins like a number, whose sign is left out in `digits`: a number if it is a plain one, text if no
/// way to write numbers has something like it.
fn number(text: &str, digits: &str) -> Option<Value> {
    let bytes = digits.as_bytes();
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_whole = text == "0" || matches!(bytes, [b'1'..=b'9', ..] | [b'0', b'.', ..]);
    if is_whole && bytes.len() <= 18 && whole.bytes().chain(fraction.bytes()).all(|byte| is_digit(&byte)) {
        return match fraction {
            "" => None,
            _ if whole == digits => text.parse().ok().map(Value::Int),
            _ => text.parse().ok().map(Value::Float),
        };
    }
    let of_a_number = |byte: &u8| byte.is_ascii_hexdigit() || b"xXoO._+-".contains(byte);
    let inner_sign = |pair: &[u8]| matches!(pair[1], b'+' | b'-') && !matches!(pair[0], b'e' | b'E');
    let is_text =
        !bytes.iter().all(of_a_number) || bytes.windows(2).any(inner_sign) || fraction.contains('.');
    (bytes.first().is_some_and(is_digit) && is_text).then(|| Value::String(text.into()))
}

#[cfg(test)]
mod tests;
