//! Durations as people write them in manifests: `500ms`, `90s`, `1h30m`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;

/// The pattern that the schema enforces. It bounds each number so that whatever the API server accepts can be
/// read here, since an object that cannot be read is left alone without its owner being told, and so that no
/// sum of a time and a duration is out of range.
const PATTERN: &str = "^([0-9]{1,7}(ms|s|m|h))+$";
/// Most digits of a number, as in [`PATTERN`].
const MAX_DIGITS: usize = 7;
/// Longest text, in characters.
const MAX_LENGTH: usize = 32;
/// What the API server says besides the pattern.
const MESSAGE: &str = "a duration is numbers with units, for example 90s, 5m or 1h30m: \
    write units ms, s, m or h, and at most 7 digits in a number";

/// A length of time, written as one or more numbers with a unit (`ms`, `s`, `m`, `h`), which add up.
///
/// The text is kept as it was written, so that a manifest reads back unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duration {
    text: String,
    length: std::time::Duration,
}

impl Duration {
    /// A duration of this program's own, for defaults.
    ///
    /// # Panics
    /// When the text is none.
    pub(super) fn constant(text: &str) -> Self {
        text.parse().expect("a constant duration")
    }

    /// The length.
    pub fn get(&self) -> std::time::Duration {
        self.length
    }
}

/// Text is not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a duration: write for example 90s, 5m or 1h30m")]
pub struct ParseDurationError(String);

impl std::str::FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = parse(text).ok_or_else(|| ParseDurationError(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), length })
    }
}

fn parse(text: &str) -> Option<std::time::Duration> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return None;
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits <= MAX_DIGITS)?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = match &after[..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        // Far from an overflow: there are four numbers of 7 digits at most.
        millis += number * unit;
        rest = &after[unit_end..];
    }
    Some(std::time::Duration::from_millis(millis))
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH,
            "x-kubernetes-validations": [{"rule": format!("self.matches('{PATTERN}')"), "message": MESSAGE}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up_their_parts() {
        for (text, millis) in [
            ("90s", 90_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("5m", 300_000),
            ("0s", 0),
            ("1m1m", 120_000),
            ("9999999h9999999h9999999h9999999h", 4 * 9_999_999 * 3_600_000),
        ] {
            let parsed: Duration = text.parse().expect(text);
            assert_eq!(parsed.get().as_millis(), millis, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn longest_duration_can_be_added_to_a_time() {
        let longest: Duration = "9999999h9999999h9999999h9999999h".parse().expect("a duration");
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        assert!(now.checked_add(longest.get()).is_ok());
        assert!(now.checked_sub(longest.get()).is_ok());
    }

    #[test]
    fn durations_read_back_as_they_were_written() {
        let duration: Duration = serde_json::from_str("\"1m30s\"").expect("a duration");
        assert_eq!(serde_json::to_string(&duration).expect("JSON"), "\"1m30s\"");
        assert!(serde_json::from_str::<Duration>("\"soon\"").is_err());
    }

    #[test]
    fn text_that_is_no_duration_is_refused_with_an_example() {
        let too_long = "1s".repeat(17);
        for text in
            ["", "90", "s", "1d", "-5s", "1.5h", "5 m", "99999999h", "9999999999999999999h", &too_long]
        {
            let error = text.parse::<Duration>().expect_err(text);
            assert!(error.to_string().contains("90s, 5m or 1h30m"), "{error}");
        }
    }
}
