//! Whether an agent drifts by its own words, as time passes: layers 1 and 2 of the design's section 7.

use super::{Agent, Edge};
use crate::config::ConfigHash;
use crate::fleet::{DriftClass, GroupView, Link, Outcome, Told, signed, told};
use jiff::Timestamp;
use std::time::Duration;

impl Agent {
    /// How the agent drifts by its own words, and since when.
    pub fn told(&self) -> Option<(DriftClass, Timestamp)> {
        self.unusual.as_ref()?.told
    }

    /// Whether there is nothing in the agent's words to look at: they told of no drift, and it runs what it was offered
    /// last, if anything. Asked of every agent with every message and every second.
    pub fn is_settled(&self) -> bool {
        let offered = self.offered.as_ref().filter(|offered| offered.is_here());
        let settled = match (offered, &self.config) {
            (Some(offered), Some(config)) => {
                let same = config.hash == Some(offered.hash);
                same && config.outcome == Outcome::Applied
                    && (offered.answered || config.form == offered.form)
            }
            (Some(_), None) => false,
            (None, Some(config)) => config.hash.is_none() || config.outcome == Outcome::Applied,
            (None, None) => true,
        };
        settled && self.told().is_none()
    }

    /// Looks at the agent's words again. That drift begins or ends is urgent. An agent that polls has `polls` to answer
    /// an offer, if that is more than others have.
    pub fn judge_words(&mut self, group: Option<&GroupView>, polls: Duration, now: Timestamp) -> Edge {
        let before = self.told();
        let found = group.and_then(|group| self.words_show(group, polls, now));
        let told = found.map(|(class, over)| match before {
            Some((same, since)) if same == class => (class, since),
            Some(_) => (class, now),
            None => (class, over),
        });
        if told == before {
            return Edge::None;
        }
        self.unusual().told = told;
        Edge::Urgent
    }

    /// The drift that the agent's words show, and when the time to say something else was over.
    fn words_show(
        &self,
        group: &GroupView,
        polls: Duration,
        now: Timestamp,
    ) -> Option<(DriftClass, Timestamp)> {
        let timeout = group.assignment.apply_timeout.filter(|_| !group.drift.off)?;
        let patience = if self.link == Some(Link::Polling) { timeout.max(polls) } else { timeout };
        let hash = self.assigned(group).filter(|_| self.answers() || self.shows_effective())?.hash;
        let over = self.delivered_from(hash)?.checked_add(signed(patience)).ok()?;
        let words = Told {
            assigned: hash,
            report: self.config.as_ref(),
            is_unanswered: self.received_form(hash).is_some_and(|form| self.awaits_another_form(hash, form)),
            is_being_delivered: now < over,
        };
        Some((told(&words)?, over))
    }

    /// From when on the agent has had this content and time to apply it: an offer of it was sent over the present link,
    /// or it came with it.
    fn delivered_from(&self, hash: ConfigHash) -> Option<Timestamp> {
        let offered = self.offered.as_ref().filter(|offered| offered.stands(hash));
        let came = self.received_form(hash).map(|_| self.since);
        let from = offered.map(|offered| offered.began()).or(came)?;
        Some(from.max(self.unusual.as_ref().and_then(|unusual| unusual.ceased).unwrap_or(from)))
    }
}
