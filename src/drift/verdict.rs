//! Whether an agent drifts.

use super::{Class, Path};
use strum::{Display, IntoStaticStr};

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
