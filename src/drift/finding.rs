//! One report of what is in effect, beside what is desired.

use super::{Baseline, Class, Path, Reason, Verdict};
use crate::config::{Compared, ConfigFile, Departure, Desired, Difference, Digest, HashKey, Ignore, Unread};

/// What one report shows. It is compared with earlier reports by [`Finding::verdict`], which is cheap; the report
/// itself is not needed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The first leaf that has another value, or component that is gone.
    modified: Option<Path>,
    /// The first part that nobody asked for.
    foreign: Option<Path>,
    /// Leaves that are not reported.
    left_out: Vec<Path>,
    /// Whether there are values that only the agent can know.
    hides: bool,
    digest: Digest,
    is_complete: bool,
    is_supervised: bool,
}

/// Compares a report with what is desired.
pub fn look(
    desired: &Desired,
    effective: &[ConfigFile],
    ignore: &Ignore,
    key: &HashKey,
) -> Result<Finding, Reason> {
    match desired.compare(effective, key, &|path| ignore.hides(path)) {
        Ok(compared) => Ok(Finding::new(compared, ignore)),
        Err(Unread::Empty) => Err(Reason::NotReported),
        Err(Unread::NotYaml) => Err(Reason::Unreadable),
    }
}

impl Finding {
    fn new(compared: Compared, ignore: &Ignore) -> Self {
        let Compared { mut differences, digest, is_complete, is_supervised } = compared;
        differences.retain(|difference| !ignore.hides(&difference.path));
        let path = |difference: &Difference| Path::new(&difference.path);
        let first = |wanted: &[Departure]| {
            differences.iter().find(|difference| wanted.contains(&difference.departure)).map(path)
        };
        let all = |wanted| differences.iter().filter(move |difference| difference.departure == wanted);
        Self {
            modified: first(&[Departure::Different, Departure::Missing]),
            foreign: first(&[Departure::Foreign]),
            left_out: all(Departure::Unreported).map(path).collect(),
            hides: all(Departure::Hidden).next().is_some(),
            digest,
            is_complete,
            is_supervised,
        }
    }

    /// Whether it shows that a supervisor gave the Collector what it runs.
    pub fn is_supervised(&self) -> bool {
        self.is_supervised
    }

    /// Whether the agent runs what is desired, as far as this report tells. `baseline` is that of its revision and
    /// version; `own` is the digest of its first complete report after it applied the revision, under the same
    /// `ignore`. It vouches for the values that only the agent can know: they are as they were then.
    pub fn verdict(&self, baseline: Option<&Baseline>, own: Option<Digest>) -> Verdict {
        if let Some(path) = self.modified.as_ref().or_else(|| self.gone(baseline?)) {
            return Verdict::Drifted(Class::Modified, path.clone());
        }
        if let Some(path) = &self.foreign {
            return Verdict::Drifted(Class::Foreign, path.clone());
        }
        let own = own.filter(|_| self.is_complete);
        match own {
            Some(own) if own != self.digest => Verdict::Drifted(Class::Changed, Path::default()),
            None if self.hides => Verdict::Unknown(Reason::Hidden),
            Some(_) | None => Verdict::InSync,
        }
    }

    /// The digest of this report as an agent's baseline: only a Collector's own report can be one, and only if it
    /// shows no drift.
    pub fn as_baseline(&self) -> Option<Digest> {
        let clean = self.modified.is_none() && self.foreign.is_none();
        (self.is_complete && clean).then_some(self.digest)
    }

    /// The first leaf that others report and this one does not.
    fn gone(&self, baseline: &Baseline) -> Option<&Path> {
        self.left_out.iter().find(|leaf| self.is_complete && baseline.has(leaf))
    }

    /// The leaves that this report leaves out.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &Path> {
        self.left_out.iter()
    }
}
