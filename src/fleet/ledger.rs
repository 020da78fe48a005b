//! The ledger: what one agent said of each revision (design, section 6).
//!
//! A revision that an agent rejected or rolled back stays refused by that agent. A server that only compares
//! hashes offers it again for ever.

use super::clean;
use crate::config::ConfigHash;
use jiff::Timestamp;

/// Most verdicts that are kept of one agent. Two revisions are live at a time, the others are refusals that may
/// come back; above this the oldest verdict goes first.
pub const MAX_VERDICTS: usize = 8;
/// Longest message that is kept of an agent, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 256;

/// What an agent said of a revision. That it was offered, or is being applied, is not a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The agent applied it.
    Applied,
    /// The agent could not apply it; the agent's own words, bounded and cleaned.
    Failed(Box<str>),
    /// The agent had taken it and then went back to another revision by itself.
    RolledBackByAgent,
}

impl Verdict {
    /// A failure with the agent's words made fit for status.
    pub fn failed(message: &str) -> Self {
        Self::Failed(clean(message, MAX_MESSAGE_BYTES).into_boxed_str())
    }

    /// Whether the revision must not be offered to this agent again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::RolledBackByAgent)
    }
}

/// A verdict, and when it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The revision's content.
    pub hash: ConfigHash,
    /// What the agent said.
    pub verdict: Verdict,
    /// When the operator heard it.
    pub at: Timestamp,
}

/// One agent's verdicts, oldest first, one for each revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(Vec<Given>);

impl Ledger {
    /// Notes a verdict; true if it says something new. The agent's latest word on a revision counts.
    pub fn note(&mut self, hash: ConfigHash, verdict: Verdict, at: Timestamp) -> bool {
        if self.get(hash) == Some(&verdict) {
            return false;
        }
        self.0.retain(|given| given.hash != hash);
        if self.0.len() == MAX_VERDICTS {
            self.0.remove(0);
        }
        self.0.push(Given { hash, verdict, at });
        true
    }

    /// What the agent said of a revision.
    pub fn get(&self, hash: ConfigHash) -> Option<&Verdict> {
        self.0.iter().find(|given| given.hash == hash).map(|given| &given.verdict)
    }

    /// Whether the agent refused a revision.
    pub fn refuses(&self, hash: ConfigHash) -> bool {
        self.get(hash).is_some_and(Verdict::is_refusal)
    }

    /// All verdicts, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Given> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> ConfigHash {
        ConfigHash::from_wire(&[n; 32]).expect("32 bytes")
    }

    fn note(ledger: &mut Ledger, n: u8, verdict: Verdict) -> bool {
        ledger.note(hash(n), verdict, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn failed_and_rolled_back_revisions_are_refused_until_the_agent_applies_them() {
        let mut ledger = Ledger::default();
        note(&mut ledger, 1, Verdict::failed("no"));
        note(&mut ledger, 2, Verdict::RolledBackByAgent);
        note(&mut ledger, 3, Verdict::Applied);
        assert_eq!([1, 2, 3, 4].map(|n| ledger.refuses(hash(n))), [true, true, false, false]);
        note(&mut ledger, 1, Verdict::Applied);
        assert!(!ledger.refuses(hash(1)));
    }

    #[test]
    fn repeated_verdict_is_nothing_new_and_keeps_its_time() {
        let mut ledger = Ledger::default();
        assert!(ledger.note(hash(1), Verdict::Applied, Timestamp::UNIX_EPOCH));
        assert!(!ledger.note(hash(1), Verdict::Applied, Timestamp::MAX));
        assert_eq!(ledger.iter().next().map(|given| given.at), Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn oldest_verdict_goes_first_when_the_ledger_is_full() {
        let mut ledger = Ledger::default();
        for n in 0..=u8::try_from(MAX_VERDICTS).expect("small") {
            note(&mut ledger, n, Verdict::RolledBackByAgent);
        }
        assert_eq!(ledger.iter().count(), MAX_VERDICTS);
        assert_eq!(ledger.get(hash(0)), None);
        assert!(ledger.refuses(hash(1)));
    }

    #[test]
    fn message_of_a_failure_is_bounded_and_cleaned() {
        let Verdict::Failed(message) = Verdict::failed(&"a\n".repeat(1000)) else { unreachable!() };
        assert_eq!(message.len(), MAX_MESSAGE_BYTES);
        assert!(message.chars().all(|c| !c.is_control()));
    }
}
