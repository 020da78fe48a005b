//! What is seen of an agent's effective configuration.

use super::{Agent, Edge};
use crate::fleet::turns::last_turn;
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
    /// being delivered, for the first time or once more.
    pub fn looked_for<'a>(&self, group: &'a GroupView) -> Option<&'a Arc<Revision>> {
        let shows = self.capabilities.has(Capabilities::REPORTS_EFFECTIVE_CONFIG) && !group.drift.off;
        let (runs, form) = self.applied().filter(|_| shows)?;
        let wanted = self.assigned(group).filter(|revision| revision.hash == runs);
        wanted.filter(|_| !self.awaits_another_form(runs, form))
    }

    /// Whether the agent is to be asked now what it has in effect, which it then is: when it has applied its revision,
    /// because what it reported before was no evidence, when what it told may be out of date, and at its turn.
    pub fn ask_what_is_in_effect(&mut self, group: &GroupView, now: Timestamp) -> bool {
        let asked = self.asked();
        let turn = || last_turn(self.uid, group.drift.scan_interval, now);
        let due = asked.is_none_or(|asked| turn().is_some_and(|turn| asked < turn));
        let asks = due && self.looked_for(group).is_some();
        if asks {
            self.watch.get_or_insert_default().asked = Some(now);
        }
        asks
    }

    /// Whether it is the agent's turn to be asked and it has not spoken since that began, so that no answer could ask.
    /// Asked of every agent every second.
    pub fn is_passed_over(&self, group: &GroupView, now: Timestamp) -> bool {
        let turn = || last_turn(self.uid, group.drift.scan_interval, now);
        let quiet = |turn| self.last_seen < turn && self.asked().is_none_or(|asked| asked < turn);
        self.running().is_some() && turn().is_some_and(quiet) && self.looked_for(group).is_some()
    }

    /// The agent has told its full state, and what it has in effect with it: it need not be asked.
    pub fn note_shown(&mut self, group: &GroupView, now: Timestamp) {
        if self.looked_for(group).is_some() {
            self.watch.get_or_insert_default().asked = Some(now);
        }
    }

    /// Takes in that a supervisor gave the agent's Collector what it runs.
    pub fn note_supervised(&mut self) {
        self.watch.get_or_insert_default().supervised = true;
    }

    /// Whether the agent is known to be a supervisor.
    pub(super) fn is_supervised(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.supervised)
    }

    fn asked(&self) -> Option<Timestamp> {
        self.watch.as_ref()?.asked
    }

    /// The agent is to be asked with the next message to it, if there is something to ask for.
    pub fn ask_again(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.asked = None;
        }
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
        self.ask_again();
        self.watch.as_mut().is_some_and(|watch| watch.sight.take().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Digest, Form};
    use crate::fleet::fixtures::*;
    use crate::fleet::{Description, DriftClass, Outcome, Report};

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

    #[test]
    fn correction_on_its_way_is_not_compared_with_the_report_of_before() {
        let shows = Capabilities(TAKES_CONFIG.0 | Capabilities::REPORTS_EFFECTIVE_CONFIG.0);
        let group = group("g", Some(B), None);
        let mut agent = agent();
        let mut seen = |report: Option<Report>| {
            let report = report.map(|report| Report { capabilities: Some(shows), ..report });
            match report {
                Some(report) => agent.receive(report, SOCKET, Some(&group), at(1)),
                None => agent.note_offer(hash(B), Form::Correction(1), at(1)),
            };
            agent.looked_for(&group).is_some()
        };
        for (step, report, expected) in [
            ("runs it", Some(applied(B)), true),
            ("is offered the correction", None, false),
            ("says the same as before", Some(applied(B)), false),
            ("applies it", Some(corrected(1, applying(B))), false),
            ("has applied it", Some(corrected(1, applied(B))), true),
            ("has the older form again", Some(applied(B)), true),
            ("is offered the correction again", None, false),
            ("has applied it at once", Some(corrected(1, applied(B))), true),
        ] {
            assert_eq!(seen(report), expected, "{step}");
        }
        agent.note_offer(hash(B), Form::Correction(1), at(2));
        assert!(agent.looked_for(&group).is_some(), "offered the very form that it has");
        agent.note_offer(hash(B), Form::Correction(2), at(3));
        agent.receive(Report::default(), OTHER_SOCKET, Some(&group), at(4));
        assert!(agent.looked_for(&group).is_some(), "the offer was lost with its link");
    }
}
