//! Whether two leaves mean the same, though they are written in different ways.

use crate::config::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

/// The units of Go's durations, in nanoseconds. A unit comes before those that it begins with.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The units of byte sizes as receivers of files read them, in lower case.
const SIZES: [(&str, u64); 14] = [
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("ki", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mi", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gi", 1 << 30),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Whether a desired leaf is the reported one. The Collector writes durations and numbers anew, puts words into
/// the case of its own constants, takes `$$` for a dollar sign, and splits text at commas where it wants a list.
pub fn same(desired: &Value, effective: &Value) -> bool {
    if let Value::List(list) = effective {
        let texts: Option<Vec<_>> = list.iter().map(text).collect();
        return texts.is_some_and(|texts| text(desired).is_some_and(|desired| is_split(&desired, &texts)));
    }
    let (Some(desired), Some(effective)) = (text(desired), text(effective)) else {
        return effective == &Value::Null && text(desired).as_deref() == Some("");
    };
    desired == effective
        || is_word(&desired) && desired.eq_ignore_ascii_case(&effective)
        || desired.replace("$$", "$") == effective
        || numbers_agree(&desired, &effective)
        || durations_agree(&desired, &effective)
        || sizes_agree(&desired, &effective)
}

/// A leaf in the one spelling of all that mean the same to any Collector; nothing for what is no leaf. Numbers and
/// truth values are the same as text, and durations the same as their nanoseconds.
pub fn canonical(value: &Value) -> Option<Cow<'_, str>> {
    let text = text(value)?;
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Some(text);
    }
    if let Some(whole) = text.parse::<i128>().ok().or_else(|| nanoseconds(&text)) {
        return Some(whole.to_string().into());
    }
    Some(text.parse::<f64>().map_or(text, |number| number.to_string().into()))
}

/// Whether a text may be one of the Collector's constants, whose case does not count.
fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphabetic() || c == '_' || c == '-')
}

fn is_split(desired: &str, list: &[Cow<'_, str>]) -> bool {
    desired.split(',').map(str::trim).eq(list.iter().map(|text| text.trim()))
}

/// A leaf as text.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Value::Int(value) => Cow::Owned(value.to_string()),
        Value::UInt(value) => Cow::Owned(value.to_string()),
        Value::Float(value) => Cow::Owned(value.to_string()),
        Value::String(value) => Cow::Borrowed(value),
        Value::Null | Value::List(_) | Value::Map(_) => return None,
    })
}

fn numbers_agree(one: &str, other: &str) -> bool {
    if let (Ok(one), Ok(other)) = (one.parse::<i128>(), other.parse::<i128>()) {
        return one == other;
    }
    let both = one.parse::<f64>().ok().zip(other.parse().ok());
    both.is_some_and(|(one, other)| one.partial_cmp(&other) == Some(Ordering::Equal))
}

/// A whole number beside a duration is one in nanoseconds.
fn durations_agree(one: &str, other: &str) -> bool {
    let either = |text: &str| nanoseconds(text).or_else(|| text.parse().ok());
    let durations = nanoseconds(one).is_some() || nanoseconds(other).is_some();
    durations && either(one).is_some_and(|one| either(other) == Some(one))
}

/// A size is reported as the number of bytes, or in another unit.
fn sizes_agree(one: &str, other: &str) -> bool {
    bytes(one).is_some_and(|one| other.parse().ok().or_else(|| bytes(other)) == Some(one))
}

/// The number of bytes that a size with a unit is.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let (_, size) = SIZES.into_iter().find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    u64::try_from(of_unit(number, size.into())?).ok()
}

/// What Go's `time.ParseDuration` makes of a text; nothing if it is no duration, or too long to count.
fn nanoseconds(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut sum: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let (unit, length) = UNITS.into_iter().find_map(|(unit, length)| {
            let next = tail.strip_prefix(unit)?.chars().next();
            next.is_none_or(|c| c.is_ascii_digit() || c == '.').then_some((unit, length))
        })?;
        sum = sum.checked_add(of_unit(number, length)?)?;
        rest = &tail[unit.len()..];
    }
    Some(sign * sum)
}

/// A number with or without a fraction, times a unit.
fn of_unit(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    // Beyond nanoseconds of an hour no digit counts.
    let fraction = &fraction[..fraction.len().min(13)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(unit)?.checked_add(digits(fraction)?.checked_mul(unit)? / scale)
}
