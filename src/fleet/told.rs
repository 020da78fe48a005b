//! What an agent says of its configuration: layers 1 and 2 of the design's section 7.

use super::{ConfigReport, DriftClass, Outcome};
use crate::config::ConfigHash;

/// What is known of an agent's words.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// The content that it is to run.
    pub assigned: ConfigHash,
    /// Its last report on a configuration.
    pub report: Option<&'a ConfigReport>,
    /// Whether it was offered the assigned content in a form of which it says nothing: then what it says of another form
    /// is no answer.
    pub is_unanswered: bool,
    /// Whether an offer of the assigned content is on its way, or was answered with silence for less than the time
    /// that an answer may take.
    pub is_being_delivered: bool,
}

/// The drift that an agent's words show. Nothing while its revision is being delivered, and nothing where they say that
/// all is well: then what is in effect decides.
pub fn told(told: &Told<'_>) -> Option<DriftClass> {
    if told.is_being_delivered {
        return None;
    }
    Some(match told.report.map(|report| (report.hash == Some(told.assigned), &report.outcome)) {
        None | Some((false, _)) => DriftClass::Stale,
        Some((true, _)) if told.is_unanswered => DriftClass::Silent,
        Some((true, Outcome::Failed(_))) => DriftClass::Failed,
        Some((true, Outcome::Applying | Outcome::Unset)) => DriftClass::Silent,
        Some((true, Outcome::Applied)) => return None,
    })
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
            (None, Some(DriftClass::Stale)),
            (
                Some(ConfigReport { hash: None, form: Form::Plain, outcome: Outcome::Applied }),
                Some(DriftClass::Stale),
            ),
            (report(OTHER, Outcome::Applied), Some(DriftClass::Stale)),
            (report(OTHER, Outcome::Failed("why".into())), Some(DriftClass::Stale)),
            (report(ASSIGNED, Outcome::Failed("why".into())), Some(DriftClass::Failed)),
            (report(ASSIGNED, Outcome::Applying), Some(DriftClass::Silent)),
            (report(ASSIGNED, Outcome::Unset), Some(DriftClass::Silent)),
            (report(ASSIGNED, Outcome::Applied), None),
        ] {
            let report = report.as_ref();
            let words = Told { assigned: ASSIGNED, report, is_unanswered: false, is_being_delivered: false };
            assert_eq!(told(&words), expected, "{report:?}");
            let silent = report.is_some_and(|report| report.hash == Some(ASSIGNED));
            let unanswered = Some(if silent { DriftClass::Silent } else { DriftClass::Stale });
            assert_eq!(
                told(&Told { is_unanswered: true, ..words }),
                unanswered,
                "{report:?} of another form"
            );
            assert_eq!(told(&Told { is_being_delivered: true, ..words }), None, "{report:?}");
        }
    }
}
