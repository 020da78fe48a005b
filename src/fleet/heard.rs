//! How many verdicts agents gave here, until somebody takes the count.

use super::{Ledger, Verdict};

/// Verdicts by what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Agents applied a revision.
    pub applied: u64,
    /// Agents could not.
    pub failed: u64,
    /// Agents left a revision by themselves that they had taken.
    pub rolled_back: u64,
}

impl Heard {
    /// Counts what an agent's ledger says that it did not say `before`.
    pub fn note(&mut self, before: &Ledger, now: &Ledger) {
        for verdict in now.news(before) {
            *match verdict {
                Verdict::Applied => &mut self.applied,
                Verdict::Failed(_) => &mut self.failed,
                Verdict::RolledBackByAgent => &mut self.rolled_back,
            } += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigHash;
    use jiff::Timestamp;

    fn hash(byte: u8) -> ConfigHash {
        ConfigHash::from_bytes([byte; 32])
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn each_verdict_counts_once_and_again_when_it_is_given_anew() {
        let (mut ledger, mut heard) = (Ledger::default(), Heard::default());
        let mut give = |give: &dyn Fn(&mut Ledger)| {
            let before = ledger.clone();
            give(&mut ledger);
            heard.note(&before, &ledger);
            (heard.applied, heard.failed, heard.rolled_back)
        };
        let note = |byte, verdict: Verdict, second| {
            move |ledger: &mut Ledger| {
                ledger.note(hash(byte), verdict.clone(), at(second));
            }
        };
        assert_eq!(give(&note(1, Verdict::Applied, 1)), (1, 0, 0));
        assert_eq!(give(&note(1, Verdict::Applied, 2)), (1, 0, 0), "the same again");
        assert_eq!(give(&note(2, Verdict::failed("a"), 3)), (1, 1, 0));
        assert_eq!(give(&note(2, Verdict::failed("b"), 4)), (1, 1, 0), "the same in other words");
        assert_eq!(give(&|ledger| ledger.renew(hash(2), Verdict::failed("b"), at(5))), (1, 2, 0));
        assert_eq!(give(&note(2, Verdict::Applied, 6)), (2, 2, 0), "another word on the same revision");
        assert_eq!(give(&note(1, Verdict::RolledBackByAgent, 7)), (2, 2, 1));
    }
}
