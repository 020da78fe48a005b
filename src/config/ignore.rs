//! Places in configurations at which drift does not count, in the Collector's own notation:
//! `exporters::otlp/backend::headers`.

use std::str::FromStr;
use std::sync::Arc;

/// Between two steps.
pub const PATH_SEPARATOR: &str = "::";
/// Stands for any one step.
const ANY: &str = "*";
/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 256;

/// The places at which drift does not count, each with all that is below it. Read once, and shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ignore(Arc<[Pattern]>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pattern(Vec<String>);

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path is keys with :: between them, * for any one key, {MAX_PATTERN_BYTES} bytes at most")]
pub struct InvalidPattern;

impl Ignore {
    /// Reads patterns: `exporters::*::headers`.
    pub fn new<T: AsRef<str>>(patterns: &[T]) -> Result<Self, InvalidPattern> {
        patterns.iter().map(|pattern| pattern.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Whether drift at this place does not count.
    pub fn hides<T: AsRef<str>>(&self, steps: &[T]) -> bool {
        self.0.iter().any(|pattern| pattern.leads_to(steps))
    }
}

impl Pattern {
    /// Whether a place is the one that the pattern names, or below it.
    fn leads_to<T: AsRef<str>>(&self, steps: &[T]) -> bool {
        let same = |(pattern, step): (&String, &T)| pattern == ANY || pattern == step.as_ref();
        self.0.len() <= steps.len() && self.0.iter().zip(steps).all(same)
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let steps: Vec<String> = text.split(PATH_SEPARATOR).map(str::to_owned).collect();
        let valid = text.len() <= MAX_PATTERN_BYTES && steps.iter().all(|step| !step.is_empty());
        if valid { Ok(Self(steps)) } else { Err(InvalidPattern) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(pattern: &str, path: &str) -> bool {
        let steps: Vec<&str> = path.split(PATH_SEPARATOR).collect();
        Ignore::new(&[pattern]).expect(pattern).hides(&steps)
    }

    #[test]
    fn pattern_hides_its_place_and_all_below_and_nothing_else() {
        for (pattern, path, expected) in [
            ("exporters::otlp/b::headers", "exporters::otlp/b::headers", true),
            ("exporters::otlp/b::headers", "exporters::otlp/b::headers::key", true),
            ("exporters::otlp/b::headers", "exporters::otlp/b::headers_more", false),
            ("exporters::otlp/b::headers", "exporters::otlp/b", false),
            ("exporters::otlp/b::headers", "exporters::otlp::headers", false),
            ("exporters::*::headers", "exporters::otlp::headers::key", true),
            ("exporters::*::headers", "exporters::otlp::tls::headers", false),
            ("exporters::*::headers", "receivers::otlp::headers", false),
            ("exporters::*", "exporters::otlp", true),
            ("exporters::*", "exporters", false),
            ("exporters::otlp*", "exporters::otlp/b", false),
        ] {
            assert_eq!(hides(pattern, path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn nothing_is_hidden_without_patterns() {
        assert!(!Ignore::default().hides(&["exporters"]));
    }

    #[test]
    fn text_with_an_empty_step_is_no_pattern() {
        let long = "a".repeat(257);
        for text in ["", "::", "a::", "::a", "a::::b", &long] {
            assert_eq!(Ignore::new(&[text]), Err(InvalidPattern), "{text}");
        }
    }
}
