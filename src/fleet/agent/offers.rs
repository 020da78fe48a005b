//! When an agent is offered its revision.

use super::{Agent, Edge};
use crate::config::{ConfigHash, Form};
use crate::fleet::builds::PATIENCE;
use crate::fleet::offered::Offered;
use crate::fleet::{Capabilities, GroupView, Offer, Revision, assigned};
use jiff::Timestamp;
use std::sync::Arc;

impl Agent {
    /// What to send now, if anything. What the agent has already received it would ignore, so it gets that as a
    /// correction.
    pub fn due_offer(&self, group: &GroupView, now: Timestamp) -> Option<Offer> {
        let revision = self.assigned(group).filter(|revision| !self.awaits_components(revision, now))?;
        if self.by_group(group).is_some_and(|own| self.is_left_alone(own.hash)) {
            return None;
        }
        if let Some(form) = self.ordered_form(revision, group) {
            return Some(Offer { revision: revision.clone(), form });
        }
        let received = self.received_form(revision.hash);
        let wanting = self.is_forgiven(revision.hash) || received.is_none();
        let waits = self.waits_for_answer(revision.hash, now) && !self.is_retried(revision.hash, group);
        (wanting && !waits).then(|| match received {
            None => Offer::plain(revision.clone()),
            Some(form) => Offer::correction(revision.clone(), form),
        })
    }

    /// What the agent is to run, once it can be told.
    pub(super) fn assigned<'a>(&self, group: &'a GroupView) -> Option<&'a Arc<Revision>> {
        let admitted = self.adoptee.is_none_or(|adoptee| !adoptee.waits);
        let ready = self.connected() && self.complete && admitted && group.may_offer();
        if !ready || !self.capabilities.has(Capabilities::ACCEPTS_REMOTE_CONFIG) {
            return None;
        }
        self.wanted(group)
    }

    /// What the agent is to run, whether it can be told or not: its side of the group's assignment, unless the leader
    /// has sent it back to the stable revision. One that has refused that since, or cannot run it, is left alone, and so
    /// is one whose content is stable by now. The leader comes to the same ([`Live::to_run`](crate::fleet::Live::to_run)).
    pub(super) fn wanted<'a>(&self, group: &'a GroupView) -> Option<&'a Arc<Revision>> {
        let own = self.by_group(group)?;
        let Some(treatment) = self.sent_back(own.hash) else { return Some(own) };
        let takes = |stable: &&Arc<Revision>| {
            let refused = self.ledger.refusal(stable.hash, Some(treatment.began)).is_some();
            stable.hash != own.hash && !refused && !self.lacks(stable)
        };
        group.assignment.stable.as_ref().filter(takes)
    }

    /// What the agent is to run by its group's assignment alone.
    pub(super) fn by_group<'a>(&self, group: &'a GroupView) -> Option<&'a Arc<Revision>> {
        let lacks = |revision: &Revision| self.lacks(revision);
        assigned(&group.assignment, self.uid, &self.attributes, &self.ledger, lacks)
    }

    /// Whether it is known not to have a component of this revision.
    pub(in crate::fleet) fn lacks(&self, revision: &Revision) -> bool {
        let built = self.build.as_ref().and_then(|build| build.components());
        built.zip(revision.needs.as_ref()).is_some_and(|(built, needs)| !needs.is_within(built))
    }

    /// Whether the agent is about to say what it was built with, and so whether it can run this. An agent of its build
    /// was asked.
    fn awaits_components(&self, revision: &Revision, now: Timestamp) -> bool {
        let unknown = self.build.as_ref().is_some_and(|build| build.components().is_none());
        unknown && revision.needs.is_some() && now.duration_since(self.since) < PATIENCE
    }

    /// Whether the agent refused what it is assigned all the same, and was not offered it again since.
    fn is_forgiven(&self, hash: ConfigHash) -> bool {
        let offered_after = |time| {
            let offered = self.offered.as_ref().filter(|offered| offered.stands(hash));
            offered.is_some_and(|offered| offered.is_after(time))
        };
        self.ledger.refusal(hash, None).is_some_and(|refusal| !offered_after(refusal.at))
    }

    /// Whether the agent cannot say what became of a configuration, but shows which one is in effect.
    pub fn shows_effective(&self) -> bool {
        !self.answers() && self.capabilities.has(Capabilities::REPORTS_EFFECTIVE_CONFIG)
    }

    pub(super) fn answers(&self) -> bool {
        self.capabilities.has(Capabilities::REPORTS_REMOTE_CONFIG)
    }

    /// The form in which the agent received this content, if that is what it received last (specification,
    /// `last_remote_config_hash`).
    pub(super) fn received_form(&self, hash: ConfigHash) -> Option<Form> {
        let config = self.config.as_ref().filter(|config| config.hash == Some(hash))?;
        self.answers().then_some(config.form)
    }

    /// Whether the agent was offered this content in a form of which it has said nothing, though it has it in this one:
    /// a correction is on its way.
    pub(super) fn awaits_another_form(&self, hash: ConfigHash, form: Form) -> bool {
        let offered = self.offered.as_ref().filter(|offered| offered.stands(hash));
        offered.is_some_and(|offered| !offered.answered && offered.form != form)
    }

    /// An offer that was never answered is repeated over HTTP, where no reconnect tells that a response was
    /// lost, unless the answer may have gone to another replica; on a socket only once it was lost. One that was answered and is gone again was lost by the agent,
    /// which restarted behind a gateway.
    fn waits_for_answer(&self, hash: ConfigHash, now: Timestamp) -> bool {
        let Some(offered) = self.offered.as_ref().filter(|offered| offered.stands(hash)) else {
            return false;
        };
        let polls = self.polls.as_ref().is_some_and(|polls| !polls.is_unsure());
        let repeats = self.answers() && (polls || offered.answered);
        !repeats || offered.is_recent(now)
    }

    /// Whether a person asked to try again what this agent has not answered: it is offered once more.
    fn is_retried(&self, hash: ConfigHash, group: &GroupView) -> bool {
        let offered = self.offered.as_ref().filter(|offered| offered.stands(hash) && !offered.answered);
        let retried_at = group.assignment.retried_at;
        offered.zip(retried_at).is_some_and(|(offered, retried_at)| !offered.is_after(retried_at))
    }

    /// What to send now, noted as sent, and what that is as an edge.
    pub fn take_offer(&mut self, group: &GroupView, now: Timestamp) -> Option<(Offer, Edge)> {
        let offer = self.due_offer(group, now)?;
        let edge = self.carry_out_by(&offer, group, now);
        let edge = edge.max(self.note_offer(offer.hash(), offer.form, now));
        Some((offer, edge))
    }

    /// Notes that a revision was sent. How the agent was before it got that revision counts, so content that it has
    /// or was offered last changes nothing.
    pub fn note_offer(&mut self, hash: ConfigHash, form: Form, now: Timestamp) -> Edge {
        let has = self.config.as_ref().is_some_and(|config| config.hash == Some(hash));
        let before = (self.exempt, self.exempt_of());
        if !has && !self.was_offered(hash) {
            self.exempt = self.healthy == Some(false);
            if self.exempt || self.unusual.is_some() {
                self.unusual().exempt_of = self.exempt.then_some(hash);
            }
        }
        self.ask_again();
        self.offered = Some(Offered::new(hash, form, self.offered.as_deref(), now).into());
        if (self.exempt, self.exempt_of()) == before { Edge::None } else { Edge::Slow }
    }
}
