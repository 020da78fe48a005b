//! The last offer that an agent was sent. Not written anywhere: an offer is idempotent.

use crate::config::{ConfigHash, Form};
use jiff::{SignedDuration, Timestamp};

/// The pause before an offer is repeated for the first time; each further one is twice as long.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause.
const LAST_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// An offer.
#[derive(Clone, Debug)]
pub struct Offered {
    /// What was offered.
    pub hash: ConfigHash,
    /// In which form.
    pub form: Form,
    /// The agent has said since that it has it.
    pub answered: bool,
    at: Timestamp,
    /// When it first went out in this form, if it was repeated because there was no answer.
    began: Timestamp,
    /// How many times in a row it went over this link.
    times: u8,
    /// It went over the present link. One that went over another may have been lost with it, and is repeated.
    here: bool,
}

impl Offered {
    /// An offer that is being sent now, after `last`.
    pub fn new(hash: ConfigHash, form: Form, last: Option<&Self>, now: Timestamp) -> Self {
        let before = last.filter(|last| last.stands(hash));
        let times = before.map_or(0, |last| last.times);
        let repeats = before.filter(|last| last.form == form && !last.answered);
        Self {
            hash,
            form,
            answered: false,
            at: now,
            began: repeats.map_or(now, |last| last.began),
            times: times.saturating_add(1),
            here: true,
        }
    }

    /// It counts no more: the link that it went over has ended, or the leader has ordered another.
    pub fn lapse(&mut self) {
        self.here = false;
    }

    /// Whether it went over the present link.
    pub fn is_here(&self) -> bool {
        self.here
    }

    /// Since when an answer has been waited for.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Whether it is an offer of this hash, over the present link.
    pub fn stands(&self, hash: ConfigHash) -> bool {
        self.here && self.hash == hash
    }

    /// Whether it was sent after this time.
    pub fn is_after(&self, time: Timestamp) -> bool {
        self.at > time
    }

    /// Whether it is too early to repeat it.
    pub fn is_recent(&self, now: Timestamp) -> bool {
        let doublings = u32::from(self.times.saturating_sub(1)).min(5);
        now.duration_since(self.at) < (FIRST_PAUSE * 2_i32.pow(doublings)).min(LAST_PAUSE)
    }
}
