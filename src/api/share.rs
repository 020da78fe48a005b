//! Shares of a group's agents, as people write them: a count (`3`) or a percentage (`"2.5%"`).

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;

/// A number of agents, or a part of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many agents.
    Count(u32),
    /// So many tenths of a percent, at most 1000.
    PerMille(u32),
}

impl Share {
    /// All agents.
    pub const ALL: Self = Self::PerMille(1000);

    /// The number of agents that this is of `total`, percentages rounded up, at least 1 of a total that is not 0.
    pub fn of(self, total: usize) -> usize {
        let number = match self {
            Self::Count(count) => count as usize,
            Self::PerMille(share) => (total * share as usize).div_ceil(1000),
        };
        number.max(1).min(total)
    }

    /// The number of agents that may fail of `total`: percentages rounded down (design, section 6).
    pub fn tolerated(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::PerMille(share) => total * share as usize / 1000,
        }
    }
}

/// Text is not a share.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a share of agents: write a count such as 3, or a percentage such as \"2%\" or \"0.5%\""
)]
pub struct ParseShareError(String);

impl std::str::FromStr for Share {
    type Err = ParseShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        percent(text).map(Self::PerMille).ok_or_else(|| ParseShareError(text.to_owned()))
    }
}

fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 3) || !digits(tenth, 1) {
        return None;
    }
    let tenths = whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?;
    (tenths <= 1000).then_some(tenths)
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::PerMille(share) if share % 10 == 0 => write!(f, "{}%", share / 10),
            Self::PerMille(share) => write!(f, "{}.{}%", share / 10, share % 10),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::PerMille(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Count(u32),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Count(count) => Ok(Self::Count(count)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": "^(100|[0-9]{1,2}(\\.[0-9])?)%$",
            "maxLength": 5,
            "minimum": 0,
            "maximum": 1_000_000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_back_as_they_were_written() {
        for text in ["3", "\"2%\"", "\"0.5%\"", "\"100%\"", "0"] {
            let share: Share = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&share).expect("JSON"), text);
        }
    }

    #[test]
    fn text_that_is_no_share_is_refused_with_an_example() {
        for text in ["", "%", "2", "101%", "100.1%", "2.55%", "-1%", "1.%", "x%"] {
            let error = text.parse::<Share>().expect_err(text);
            assert!(error.to_string().contains("\"2%\""), "{error}");
        }
    }

    #[test]
    fn phase_takes_a_percentage_rounded_up_and_at_least_one_agent() {
        for (share, total, expected) in [
            (Share::PerMille(20), 100, 2),
            (Share::PerMille(20), 101, 3),
            (Share::PerMille(20), 3, 1),
            (Share::PerMille(5), 1000, 5),
            (Share::ALL, 7, 7),
            (Share::Count(3), 2, 2),
            (Share::Count(3), 100, 3),
            (Share::PerMille(20), 0, 0),
        ] {
            assert_eq!(share.of(total), expected, "{share} of {total}");
        }
    }

    #[test]
    fn threshold_tolerates_a_percentage_rounded_down() {
        for (share, total, expected) in [
            (Share::PerMille(100), 9, 0),
            (Share::PerMille(100), 10, 1),
            (Share::Count(0), 100, 0),
            (Share::Count(2), 1, 2),
        ] {
            assert_eq!(share.tolerated(total), expected, "{share} of {total}");
        }
    }
}
