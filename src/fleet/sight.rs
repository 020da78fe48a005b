//! What an agent's report of its effective configuration came to. The report itself is not kept.

use crate::config::{ConfigHash, Digest};
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use strum::{Display, EnumIter, IntoStaticStr};

/// How an agent drifts, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumIter, IntoStaticStr)]
pub enum DriftClass {
    /// The last configuration that it received is not the assigned one.
    Stale,
    /// It says that it could not apply the assigned one.
    Failed,
    /// It says nothing of the assigned one, though it has had the time.
    Silent,
    /// A leaf of the assigned one has another value in effect, or is gone, and so with components of it.
    Modified,
    /// Something is started that nobody asked for: a pipeline, a component in one, or an extension.
    Foreign,
    /// What is in effect is not what it was when the assigned one was applied.
    Changed,
}

impl DriftClass {
    /// The class in an agent's entry. Codes never change their meaning; 0 is no drift.
    pub const fn code(self) -> u32 {
        match self {
            Self::Stale => 1,
            Self::Failed => 2,
            Self::Silent => 3,
            Self::Modified => 4,
            Self::Foreign => 5,
            Self::Changed => 6,
        }
    }

    /// Whether it is told by the agent's own words, not by what it has in effect.
    pub const fn is_told(self) -> bool {
        matches!(self, Self::Stale | Self::Failed | Self::Silent)
    }

    /// The class of a code; nothing for those of other versions.
    pub const fn of_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Stale,
            2 => Self::Failed,
            3 => Self::Silent,
            4 => Self::Modified,
            5 => Self::Foreign,
            6 => Self::Changed,
            _ => return None,
        })
    }
}

/// How, where and since when an agent drifts. As text for people it has no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift<'a> {
    /// How.
    pub class: DriftClass,
    /// The place in the configuration; empty where there is none.
    pub path: &'a str,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Drift<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, path, .. } = self;
        if path.is_empty() { write!(formatter, "{class}") } else { write!(formatter, "{class} at {path}") }
    }
}

/// What could be seen of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It runs what it says.
    InSync,
    /// It does not, in this way and there; the path is empty where there is no place to name.
    Drifted(DriftClass, Arc<str>),
    /// Nobody can tell.
    Unknown,
}

/// The last look at what an agent has in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The content that it was compared with.
    pub of: ConfigHash,
    /// What was seen.
    pub shown: Shown,
    /// Since when that is so.
    pub since: Timestamp,
    /// Stands for its first complete report after it applied this content: what is reported later is compared with it.
    pub baseline: Option<Digest>,
}

impl Sight {
    /// A look at an agent that has not shown anything yet.
    pub const fn blank(of: ConfigHash, now: Timestamp) -> Self {
        Self { of, shown: Shown::Unknown, since: now, baseline: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    /// Replicas of neighbouring versions read each other's entries.
    #[test]
    fn classes_keep_their_codes() {
        assert!(DriftClass::iter().all(|class| DriftClass::of_code(class.code()) == Some(class)));
        let codes: Vec<String> =
            DriftClass::iter().map(|class| format!("{} {class}", class.code())).collect();
        assert_eq!(codes, ["1 Stale", "2 Failed", "3 Silent", "4 Modified", "5 Foreign", "6 Changed"]);
        assert_eq!([0, 7].map(DriftClass::of_code), [None; 2]);
    }
}
