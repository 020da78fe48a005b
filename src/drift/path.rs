//! Where a configuration drifts, in the Collector's own notation: `exporters::otlp/backend::headers`.

use crate::config::PATH_SEPARATOR;
use crate::fleet::clean;
use std::fmt;
use std::sync::Arc;

/// Longest path that is shown, in bytes. The keys are an agent's.
const MAX_PATH_BYTES: usize = 256;

/// A place in a configuration, cleaned and cut; empty for none. The elements of lists are numbered from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

impl Path {
    /// The place to which these steps lead.
    pub fn new<T: AsRef<str>>(steps: &[T]) -> Self {
        let steps: Vec<&str> = steps.iter().map(AsRef::as_ref).collect();
        Self(clean(&steps.join(PATH_SEPARATOR), MAX_PATH_BYTES).into())
    }

    /// The place as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_cleaned_and_cut() {
        assert_eq!(Path::new(&["exporters", "otlp\n/b"]).as_str(), clean("exporters::otlp\n/b", 99));
        assert!(!Path::new(&["a\u{7}b"]).as_str().contains('\u{7}'));
        assert!(Path::new(&["a".repeat(1000)]).as_str().len() <= MAX_PATH_BYTES);
    }
}
