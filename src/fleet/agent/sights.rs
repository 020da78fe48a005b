//! What is seen of an agent's effective configuration.

use super::{Agent, Edge};
use crate::config::ConfigHash;
use crate::fleet::{Capabilities, GroupView, Revision, Shown, Sight};
use jiff::Timestamp;
use std::sync::Arc;

impl Agent {
    /// The last look at what the agent has in effect, if it was of what it runs.
    pub fn sight(&self) -> Option<&Sight> {
        let sight = self.watch.as_ref()?.sight.as_ref();
        sight.filter(|sight| Some(sight.of) == self.running())
    }

    /// The revision that is to be in effect: the assigned one, once it is applied. Drift is not looked for while it is
    /// being delivered.
    pub fn looked_for<'a>(&self, group: &'a GroupView) -> Option<&'a Arc<Revision>> {
        let shows = self.capabilities.has(Capabilities::REPORTS_EFFECTIVE_CONFIG);
        let shows = shows && !group.drift.off;
        self.assigned(group).filter(|revision| shows && self.running() == Some(revision.hash))
    }

    /// Whether the agent is to be asked now what it has in effect, which it then is: once for each revision that it
    /// applies, because what it reported before it had applied it was no evidence.
    pub fn ask_what_is_in_effect(&mut self, group: &GroupView, now: Timestamp) -> bool {
        let Some(hash) = self.looked_for(group).map(|revision| revision.hash) else { return false };
        let blank = self.sight().is_none();
        if blank {
            self.watch.get_or_insert_default().sight = Some(Sight::blank(hash, now));
        }
        blank
    }

    /// Takes in what was seen. That drift begins, ends or moves is urgent; anything else can wait.
    pub fn note_sight(&mut self, mut sight: Sight) -> Edge {
        let before = self.sight();
        let same = before.filter(|before| before.shown == sight.shown);
        sight.since = same.map_or(sight.since, |before| before.since);
        let drifts = |sight: &Sight| matches!(sight.shown, Shown::Drifted(..));
        let edge = match same {
            Some(before) if before.baseline == sight.baseline => Edge::None,
            None if drifts(&sight) || before.is_some_and(drifts) => Edge::Urgent,
            _ => Edge::Slow,
        };
        self.watch.get_or_insert_default().sight = Some(sight);
        edge
    }

    /// What was seen under other rules does not count any more; true if anything had been seen.
    pub fn forget_sight(&mut self) -> bool {
        self.watch.take().is_some_and(|watch| watch.sight.is_some())
    }

    /// Whether what was looked at is still what the agent runs.
    pub fn runs(&self, content: ConfigHash) -> bool {
        self.running() == Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Digest;
    use crate::fleet::fixtures::{A, agent, at, attributes, hash, reported};
    use crate::fleet::{Description, DriftClass, Outcome};

    #[test]
    fn drift_is_told_soon_and_what_is_as_it_should_be_is_not() {
        let mut agent = agent();
        agent.config = Some(reported(Some(A), Outcome::Applied));
        let drifted = |path: &str| Shown::Drifted(DriftClass::Modified, path.into());
        let mut note = |second, shown, byte| {
            let baseline = Some(Digest::from_bytes([byte; 8]));
            let edge = agent.note_sight(Sight { of: hash(A), shown, since: at(second), baseline });
            (edge, agent.sight().expect("a sight").since)
        };
        for (second, shown, byte, edge, since) in [
            (1, Shown::InSync, 1, Edge::Slow, 1),
            (2, Shown::InSync, 1, Edge::None, 1),
            (3, Shown::InSync, 2, Edge::Slow, 1),
            (4, Shown::Unknown, 2, Edge::Slow, 4),
            (5, drifted("a"), 2, Edge::Urgent, 5),
            (6, drifted("a"), 2, Edge::None, 5),
            (7, drifted("b"), 2, Edge::Urgent, 7),
            (8, Shown::InSync, 2, Edge::Urgent, 8),
        ] {
            assert_eq!(note(second, shown, byte), (edge, at(since)), "at {second}");
        }
    }

    #[test]
    fn what_was_seen_of_another_revision_or_version_does_not_count() {
        let mut agent = agent();
        agent.config = Some(reported(Some(A), Outcome::Applied));
        agent.note_sight(Sight::blank(hash(A), at(1)));
        assert!(agent.sight().is_some());
        agent.config = Some(reported(Some(A), Outcome::Applying));
        assert!(agent.sight().is_none());

        agent.config = Some(reported(Some(A), Outcome::Applied));
        assert!(agent.sight().is_some());
        agent.describe(Description { attributes: attributes(&[("service.version", "another")]) }, None);
        assert!(agent.sight().is_none());
    }
}
