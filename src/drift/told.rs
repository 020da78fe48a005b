//! What an agent says of its configuration: layers 1 and 2 of the design's section 7.

use super::{Class, Path, Verdict};
use crate::config::ConfigHash;
use crate::fleet::{ConfigReport, Outcome};

/// What is known of an agent's words.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// The content that it is to run.
    pub assigned: ConfigHash,
    /// Its last report on a configuration.
    pub report: Option<&'a ConfigReport>,
    /// Whether an offer of the assigned content is on its way, or was answered with silence for less than the time
    /// that an answer may take.
    pub is_being_delivered: bool,
}

/// The drift that an agent's words show. Nothing while its revision is being delivered, and nothing where they say that
/// all is well: then what is in effect decides.
pub fn told(told: &Told<'_>) -> Option<Verdict> {
    if told.is_being_delivered {
        return None;
    }
    let class = match told.report.map(|report| (report.hash == Some(told.assigned), &report.outcome)) {
        None | Some((false, _)) => Class::Stale,
        Some((true, Outcome::Failed(_))) => Class::Failed,
        Some((true, Outcome::Applying | Outcome::Unset)) => Class::Silent,
        Some((true, Outcome::Applied)) => return None,
    };
    Some(Verdict::Drifted(class, Path::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Form;

    const ASSIGNED: ConfigHash = ConfigHash::from_bytes([1; 32]);
    const OTHER: ConfigHash = ConfigHash::from_bytes([2; 32]);

    #[test]
    fn words_show_drift_unless_the_revision_is_on_its_way() {
        let report =
            |hash, outcome| Some(ConfigReport { hash: Some(hash), form: Form::Correction(1), outcome });
        for (report, expected) in [
            (None, Some(Class::Stale)),
            (
                Some(ConfigReport { hash: None, form: Form::Plain, outcome: Outcome::Applied }),
                Some(Class::Stale),
            ),
            (report(OTHER, Outcome::Applied), Some(Class::Stale)),
            (report(OTHER, Outcome::Failed("why".into())), Some(Class::Stale)),
            (report(ASSIGNED, Outcome::Failed("why".into())), Some(Class::Failed)),
            (report(ASSIGNED, Outcome::Applying), Some(Class::Silent)),
            (report(ASSIGNED, Outcome::Unset), Some(Class::Silent)),
            (report(ASSIGNED, Outcome::Applied), None),
        ] {
            let words = Told { assigned: ASSIGNED, report: report.as_ref(), is_being_delivered: false };
            assert_eq!(told(&words).and_then(|verdict| verdict.class()), expected, "{report:?}");
            assert_eq!(told(&Told { is_being_delivered: true, ..words }), None, "{report:?}");
        }
    }
}
