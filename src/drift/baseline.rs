//! What Collectors with the same revision and version report of it.

use super::{Finding, Path};
use std::collections::BTreeSet;

/// Which leaves of a revision the Collectors of one version do not report, though they are in force. It is shared by
/// all of them. A leaf that is missing beyond these was reported once, and is gone.
///
/// The leaves that are left out are kept in place of those that are reported: there are few of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    left_out: BTreeSet<Path>,
}

impl Baseline {
    /// The baseline that one agent's report makes: the first complete one after it applied the revision.
    pub fn new(finding: &Finding) -> Self {
        Self { left_out: finding.left_out().cloned().collect() }
    }

    /// Takes in another agent's first complete report. What one of them does not report proves nothing for the others:
    /// the values that agents fill in by themselves may decide it. True if that changed the baseline.
    pub fn absorb(&mut self, finding: &Finding) -> bool {
        let before = self.left_out.len();
        self.left_out.extend(finding.left_out().cloned());
        self.left_out.len() != before
    }

    /// Whether Collectors report this leaf.
    pub(super) fn has(&self, leaf: &Path) -> bool {
        !self.left_out.contains(leaf)
    }
}
