//! The ledger: what one agent said of each revision (design, section 6).
//!
//! A revision that an agent rejected or rolled back stays refused by that agent. A server that only compares
//! hashes offers it again for ever.

use super::clean;
use crate::config::ConfigHash;
use jiff::Timestamp;

/// Most verdicts that are kept of one agent. Two revisions are live at a time, the others are refusals of content
/// that may come back.
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

    /// The verdict alone.
    #[must_use]
    pub fn without_words(&self) -> Self {
        match self {
            Self::Failed(_) => Self::Failed(Box::default()),
            other => other.clone(),
        }
    }

    /// Whether this has the words that the same failure lacks.
    fn covers_in_words(&self, other: Option<&Self>) -> bool {
        matches!((self, other), (Self::Failed(_), Some(Self::Failed(words))) if words.is_empty())
    }

    /// Whether `newer` adds nothing: the same again, or a failure of which the words could not be kept.
    fn covers(&self, newer: &Self) -> bool {
        self == newer || self.covers_in_words(Some(newer))
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
        let known = self.0.iter_mut().find(|given| given.hash == hash).map(|given| &mut given.verdict);
        if known.as_ref().is_some_and(|known| known.covers(&verdict)) {
            return false;
        }
        match (known, verdict) {
            // The same failure in other words is as old as it was.
            (Some(Verdict::Failed(words)), Verdict::Failed(new)) => *words = new,
            (_, verdict) => self.renew(hash, verdict, at),
        }
        true
    }

    /// Notes a verdict that was given anew, even if it says the same as before: the answer to another offer.
    pub fn renew(&mut self, hash: ConfigHash, verdict: Verdict, at: Timestamp) {
        self.put(Given { hash, verdict, at });
        self.shorten();
    }

    /// Adds what another replica, or an earlier run, heard of the same agent. A refusal on either side stands, the later
    /// of two.
    pub fn merge(&mut self, other: &Self) {
        for given in other.iter() {
            let stands = |known: &Given| {
                known.verdict.is_refusal() && known.at >= given.at || !given.verdict.is_refusal()
            };
            if !self.given(given.hash).is_some_and(stands) {
                self.put_again(given);
            } else if given.verdict.covers_in_words(self.get(given.hash)) {
                self.0.iter_mut().filter(|known| known.hash == given.hash).for_each(|known| {
                    known.verdict = given.verdict.clone();
                });
            }
        }
        self.0.sort_by_key(|given| given.at);
        self.shorten();
    }

    /// Adds what others heard of the same agent later than what is known here; true if that is anything. Times are
    /// compared by the second, as they are written.
    pub fn learn(&mut self, other: &Self) -> bool {
        let is_news = |given: &&Given| {
            self.given(given.hash).is_none_or(|known| known.at.as_second() < given.at.as_second())
        };
        let news: Vec<Given> = other.iter().filter(is_news).cloned().collect();
        for given in &news {
            self.put_again(given);
        }
        self.0.sort_by_key(|given| given.at);
        self.shorten();
        !news.is_empty()
    }

    /// Puts a verdict in place of the one before, without losing that one's words.
    fn put_again(&mut self, given: &Given) {
        let mut given = given.clone();
        if let Some(before) =
            self.get(given.hash).filter(|before| before.covers_in_words(Some(&given.verdict)))
        {
            given.verdict = before.clone();
        }
        self.put(given);
    }

    /// Most agents have one or two verdicts, and room for more is memory times the number of agents.
    fn put(&mut self, given: Given) {
        self.0.retain(|known| known.hash != given.hash);
        self.0.reserve_exact(1);
        self.0.push(given);
    }

    /// Drops what is too much, never the newest: the oldest success, because forgetting a refusal means to offer
    /// it again, else the oldest refusal.
    fn shorten(&mut self) {
        while self.0.len() > MAX_VERDICTS {
            let mut older = self.0.iter().take(MAX_VERDICTS);
            let least = older.position(|given| !given.verdict.is_refusal()).unwrap_or(0);
            self.0.remove(least);
        }
    }

    /// What the agent said of a revision.
    pub fn get(&self, hash: ConfigHash) -> Option<&Verdict> {
        self.given(hash).map(|given| &given.verdict)
    }

    fn given(&self, hash: ConfigHash) -> Option<&Given> {
        self.0.iter().find(|given| given.hash == hash)
    }

    /// The agent's refusal of a revision, unless it was `forgiven` since. Both times are compared by the second, as
    /// they are written, so that replicas and the leader come to the same answer.
    pub fn refusal(&self, hash: ConfigHash, forgiven: Option<Timestamp>) -> Option<&Given> {
        let given = self.given(hash)?;
        let stands = forgiven.is_none_or(|forgiven| given.at.as_second() > forgiven.as_second());
        (given.verdict.is_refusal() && stands).then_some(given)
    }

    /// Whether the agent refused a revision.
    pub fn refuses(&self, hash: ConfigHash) -> bool {
        self.get(hash).is_some_and(Verdict::is_refusal)
    }

    /// The verdicts that anybody may still ask for, oldest first, and at most `limit`: the refusals, the success with what
    /// the agent runs, and `with_spare` the newest success besides, which it may go back to by itself. A fleet that is
    /// given new content every day would else tell of a week of it. Too many are left out successes first, and older
    /// ones before newer.
    pub fn foremost(
        &self,
        running: Option<ConfigHash>,
        with_spare: bool,
        limit: usize,
    ) -> impl Iterator<Item = &Given> {
        let spare = |given: &&Given| !given.verdict.is_refusal() && Some(given.hash) != running;
        let newest = self.0.iter().rev().find(spare).map(|given| given.hash).filter(|_| with_spare);
        let told: Vec<&Given> =
            self.0.iter().filter(|given| !spare(given) || Some(given.hash) == newest).collect();
        let surplus = told.len().saturating_sub(limit);
        let successes = told.iter().filter(|given| !given.verdict.is_refusal()).count();
        let mut left_out = [surplus.min(successes), surplus.saturating_sub(successes)];
        told.into_iter().filter(move |given| {
            let left = &mut left_out[usize::from(given.verdict.is_refusal())];
            let stays = *left == 0;
            *left = left.saturating_sub(1);
            stays
        })
    }

    /// The verdicts that were given, or given anew, since the ledger was as `before`. A failure in other words is none.
    pub fn news<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Verdict> {
        let is_news = |given: &&Given| {
            before.given(given.hash).is_none_or(|known| {
                let alike = std::mem::discriminant(&known.verdict) == std::mem::discriminant(&given.verdict);
                !alike || known.at != given.at
            })
        };
        self.0.iter().filter(is_news).map(|given| &given.verdict)
    }

    /// All verdicts, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Given> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests;
