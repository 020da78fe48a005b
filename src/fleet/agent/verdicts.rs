//! What an agent says of its configuration, and what that tells.

use super::{Agent, Edge};
use crate::config::{ConfigHash, Form};
use crate::fleet::{ConfigReport, GroupView, Ledger, Outcome, Revision, Verdict};
use jiff::Timestamp;
use std::sync::Arc;

impl Agent {
    /// Updates the ledger from what the agent says of its configuration.
    pub(super) fn judge(&mut self, report: ConfigReport, group: Option<&GroupView>, now: Timestamp) -> Edge {
        let left = self.rolled_back_from(&report, group).map(|left| (left, Verdict::RolledBackByAgent));
        let verdict = match &report.outcome {
            Outcome::Applied => Some(Verdict::Applied),
            Outcome::Failed(message) => Some(Verdict::failed(message)),
            Outcome::Unset | Outcome::Applying => None,
        };
        let given = report.hash.map(|hash| (hash, report.form)).zip(verdict);
        let mut edge = Edge::None;
        for (of, verdict) in [left, given].into_iter().flatten() {
            if self.note_verdict(of, verdict, group, now) {
                edge = Edge::Urgent;
            }
        }
        let ran = self.running();
        // What is shown may be shown before the agent starts anew to apply it, with the health of what it ran before.
        let healthy = if self.answers() { self.healthy } else { Some(false) };
        self.steady.runs(report.hash, &report.outcome, healthy);
        let before = self.applied();
        self.keep(report, now);
        if self.applied() != before {
            self.ask_again();
        }
        if self.running() == ran { edge } else { edge.max(Edge::Slow) }
    }

    /// The revision that is to be looked for in what the agent reports as effective, if that is all that it says.
    pub fn compared_with<'a>(&self, group: &'a GroupView) -> Option<&'a Arc<Revision>> {
        self.assigned(group).filter(|_| self.shows_effective())
    }

    /// Takes in whether what the agent reports as effective covers this revision. If it does, that is an APPLIED; if
    /// it does no more, the agent has left it.
    pub fn note_effective(
        &mut self,
        hash: ConfigHash,
        covers: bool,
        group: &GroupView,
        now: Timestamp,
    ) -> Edge {
        if self.compared_with(group).is_none_or(|revision| revision.hash != hash) {
            return Edge::None;
        }
        if covers {
            let report = ConfigReport { hash: Some(hash), form: Form::Plain, outcome: Outcome::Applied };
            self.judge(report, Some(group), now)
        } else if self.running() == Some(hash) {
            self.config = None;
            self.unusual().ceased = Some(now);
            Edge::Urgent
        } else {
            Edge::None
        }
    }

    /// Notes a verdict on what was offered. A refusal that answers an offer which was made after the refusal before
    /// it is news: that one was forgiven. The same refusal told again while that offer is on its way is not, and
    /// has the form of the offer before.
    fn note_verdict(
        &mut self,
        (hash, form): (ConfigHash, Form),
        verdict: Verdict,
        group: Option<&GroupView>,
        now: Timestamp,
    ) -> bool {
        if !verdict.is_refusal() {
            return self.ledger.note(hash, verdict, now);
        }
        let at = group.map_or(now, |group| now.max(group.refusals_count_from()));
        let at = self.said_before_retry(hash, group).unwrap_or(at);
        let offered = self.offered.as_ref().filter(|offered| (offered.hash, offered.form) == (hash, form));
        let before = self.ledger.refusal(hash, None).map(|given| given.at);
        let anew = before.zip(offered).is_some_and(|(before, offered)| offered.is_after(before));
        if !anew {
            return self.ledger.note(hash, verdict, at);
        }
        self.ledger.renew(hash, verdict, at);
        true
    }

    /// When a person asked to try this content again, if a refusal of it can only be one from before that, told again: it
    /// was not offered here since, nor was the agent seen to take it. Another replica heard it first.
    fn said_before_retry(&self, hash: ConfigHash, group: Option<&GroupView>) -> Option<Timestamp> {
        let retried_at = group?.assignment.retried_at?;
        let offered = self.offered.as_ref().filter(|offered| offered.hash == hash);
        let offered_since = offered.is_some_and(|offered| offered.is_after(retried_at));
        let heard = self.config.as_ref().filter(|config| self.heard && config.hash == Some(hash));
        let had_taken =
            heard.is_some_and(|config| matches!(config.outcome, Outcome::Applying | Outcome::Applied));
        (!offered_since && !had_taken).then_some(retried_at)
    }

    /// Takes in what another replica heard the agent refuse, unless it said something else here since.
    pub fn learn(&mut self, refused: Option<&Ledger>) -> Edge {
        if refused.is_some_and(|refused| self.ledger.learn(refused)) { Edge::Urgent } else { Edge::None }
    }

    /// Remembers the report, without the text that now stands in the ledger.
    fn keep(&mut self, mut report: ConfigReport, now: Timestamp) {
        if let Outcome::Failed(message) = &mut report.outcome {
            *message = String::new();
        }
        let mut answers = false;
        if let Some(offered) = &mut self.offered
            && (Some(offered.hash), offered.form) == (report.hash, report.form)
        {
            answers = offered.is_here() && !offered.answered;
            offered.answered = true;
        }
        let (ran, has) = (self.running(), report.hash);
        self.config = Some(report);
        self.heard = true;
        let ceased = |ran| self.running() != Some(ran) && (has == Some(ran) || self.was_offered(ran));
        if !answers && ran.is_some_and(ceased) {
            self.unusual().ceased = Some(now);
        }
    }

    pub(super) fn was_offered(&self, hash: ConfigHash) -> bool {
        self.offered.as_ref().is_some_and(|offered| offered.hash == hash)
    }

    /// The revision that the agent left by itself: it had taken it, and now reports as applied what it ran
    /// before, though nobody told it to. What it reported over another link proves nothing, because another
    /// replica may have told it meanwhile; nor does a return to what it is assigned.
    fn rolled_back_from(
        &self,
        report: &ConfigReport,
        group: Option<&GroupView>,
    ) -> Option<(ConfigHash, Form)> {
        let before = self.config.as_ref().filter(|_| self.heard)?;
        let left = before.hash.filter(|left| !self.ledger.refuses(*left))?;
        let had_taken = matches!(before.outcome, Outcome::Applying | Outcome::Applied);
        let returned = report.outcome == Outcome::Applied
            && report.hash != before.hash
            && report.hash.is_none_or(|hash| self.ledger.get(hash) == Some(&Verdict::Applied));
        let wanted = || Some(self.wanted(group?)?.hash);
        let told = |hash| self.was_offered(hash) || wanted() == Some(hash);
        (had_taken && returned && !report.hash.is_some_and(told)).then_some((left, before.form))
    }
}
