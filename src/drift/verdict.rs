//! Whether an agent drifts.

use super::Path;
use strum::{Display, EnumIter, IntoStaticStr};

/// How an agent drifts, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumIter, IntoStaticStr)]
pub enum Class {
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

impl Class {
    /// The class in an agent's entry. Codes never change their meaning.
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

/// Why nobody can tell whether an agent drifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr)]
pub enum Reason {
    /// It does not report what is in effect.
    NotReported,
    /// What it reports cannot be read, or is beyond the limits.
    Unreadable,
    /// Only redacted values and such as the agent expands differ, and there is no earlier report to compare with.
    Hidden,
}

/// Whether an agent runs what it is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does, as far as can be seen.
    InSync,
    /// It does not, in this way and there. The path is empty where there is no place to name.
    Drifted(Class, Path),
    /// Nobody can tell.
    Unknown(Reason),
}

impl Verdict {
    /// How it drifts, if it does.
    pub const fn class(&self) -> Option<Class> {
        if let Self::Drifted(class, _) = self { Some(*class) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    /// Replicas of neighbouring versions read each other's entries.
    #[test]
    fn classes_keep_their_codes() {
        let codes: Vec<(Class, u32)> = Class::iter().map(|class| (class, class.code())).collect();
        assert!(codes.iter().all(|(class, code)| Class::of_code(*code) == Some(*class)));
        let codes: Vec<String> = codes.iter().map(|(class, code)| format!("{code} {class}")).collect();
        assert_eq!(codes, ["1 Stale", "2 Failed", "3 Silent", "4 Modified", "5 Foreign", "6 Changed"]);
        assert_eq!([0, 7].map(Class::of_code), [None; 2]);
    }
}
