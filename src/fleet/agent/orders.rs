//! What the leader has ordered for one agent, and what of that is still to be carried out here.

use super::{Agent, Edge};
use crate::config::{ConfigHash, Form};
use crate::fleet::{
    Capabilities, Cause, Done, GroupView, Offer, Order, Ordered, Restart, Revision, Shown, Sight, Treatment,
};
use jiff::{SignedDuration, Timestamp};

/// For how long it is remembered which order was carried out, once there is no treatment any more: a view that lacks
/// it for a moment must not have it carried out twice.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(1);

impl Agent {
    /// The leader's last order that was carried out.
    pub fn done(&self) -> Option<Done> {
        self.unusual.as_ref()?.done
    }

    /// Whether the leader puts it right.
    pub fn is_treated(&self) -> bool {
        self.treatment().is_some()
    }

    /// Takes in how the leader puts the agent right, if it does.
    pub fn treat(&mut self, treatment: Option<&Treatment>, now: Timestamp) -> Edge {
        if let Some(treatment) = treatment {
            if self.treatment() != Some(treatment) {
                self.unusual().treatment = Some(treatment.clone());
            }
            return Edge::None;
        }
        let Some(unusual) = &mut self.unusual else { return Edge::None };
        unusual.treatment = None;
        let forgotten = unusual.done.take_if(|done| now.duration_since(done.at) > FORGET_AFTER);
        forgotten.map_or(Edge::None, |_| Edge::Slow)
    }

    /// Takes in that the agent is to be started anew because a person asked for that, or not.
    pub fn note_restart(&mut self, restart: Option<Restart>) {
        if restart.is_some() || self.unusual.is_some() {
            self.unusual().restart = restart;
        }
    }

    /// Takes in that another slice of an earlier run tells of this order.
    pub fn note_done(&mut self, done: Option<Done>) {
        if let Some(done) = done.filter(|done| self.done().is_none_or(|known| known.at < done.at)) {
            self.unusual().done = Some(done);
        }
    }

    /// The treatment by which the agent is to run the stable revision in place of this content, if there is one.
    pub(super) fn sent_back(&self, from: ConfigHash) -> Option<&Treatment> {
        self.treatment().filter(|treatment| treatment.of == from && treatment.sent_back)
    }

    /// Whether a newer version of the leader treats the agent, while it is assigned this content, in a way that is not
    /// known here.
    pub(super) fn is_left_alone(&self, assigned: ConfigHash) -> bool {
        self.treatment().is_some_and(|treatment| treatment.of == assigned && treatment.is_newer())
    }

    /// The form in which the agent is ordered to be offered this revision anew, though it may have it, for as long as
    /// it is seen here why. Agents compare what is offered with what they have, so it is a correction. Only what drifts
    /// and is no supervisor, as far as is known, gets the very same first: it may take that as a reason to look.
    pub(super) fn ordered_form(&self, revision: &Revision, group: &GroupView) -> Option<Form> {
        let (treatment, ordered) = self.pending(group)?;
        if ordered.order != Order::Offer || !self.suffers(treatment.cause, revision) {
            return None;
        }
        let gently = treatment.cause == Cause::Drift && treatment.orders <= 1 && !self.is_supervised();
        Some(match self.received_form(revision.hash) {
            None => Form::Plain,
            Some(form) if gently => form,
            Some(form) => form.next(),
        })
    }

    /// Whether the agent is to be commanded to start anew.
    pub fn is_to_restart(&self, group: &GroupView) -> bool {
        self.pending_restart(group).is_some()
    }

    /// Notes that the agent is being commanded to start anew, if it is to be.
    pub fn take_restart(&mut self, group: &GroupView, now: Timestamp) -> bool {
        let restart = self.pending_restart(group);
        restart.inspect(|ordered| self.carry_out(*ordered, now)).is_some()
    }

    fn pending_restart(&self, group: &GroupView) -> Option<Ordered> {
        let takes = self.capabilities.has(Capabilities::ACCEPTS_RESTART_COMMAND);
        let found = || self.requested_restart().or_else(|| self.healing_restart(group));
        takes.then(found).flatten()
    }

    /// The restart that a person asked for, if it is still to be carried out here. An agent that was started anew since
    /// it was ordered, or may have been, because it has connected since and does not say, has been obeying another
    /// replica.
    fn requested_restart(&self) -> Option<Ordered> {
        let restart = self.unusual.as_ref()?.restart.filter(|restart| restart.missed.is_none())?;
        let ordered = restart.ordered;
        let open = ordered.done.is_none() && self.done().is_none_or(|done| !done.is_of(&ordered));
        let is_as_it_was = match restart.started {
            Some(started) => self.steady.started() == Some(started),
            None => self.since.as_second() <= ordered.given.as_second(),
        };
        (open && is_as_it_was && self.connected() && self.complete).then_some(ordered)
    }

    /// The restart by which an agent is healed. Whatever the cause, only an ill one is started anew.
    fn healing_restart(&self, group: &GroupView) -> Option<Ordered> {
        let (_, ordered) = self.pending(group)?;
        let suffers = self.suffers(Cause::Illness, self.assigned(group)?);
        (ordered.order == Order::Restart && suffers).then_some(ordered)
    }

    /// Whether an order is to be carried out now by something that is sent.
    pub fn has_orders(&self, group: &GroupView, now: Timestamp) -> bool {
        let ordered = self.unusual.as_ref().is_some_and(|it| it.treatment.is_some() || it.restart.is_some());
        ordered && (self.is_to_restart(group) || self.due_offer(group, now).is_some())
    }

    /// An agent that was ordered back to the stable revision and runs it need not be sent it.
    pub fn note_return(&mut self, group: Option<&GroupView>, now: Timestamp) -> Edge {
        let found = group.and_then(|group| {
            let (_, ordered) = self
                .pending(group)
                .filter(|(treatment, ordered)| treatment.sent_back && ordered.order == Order::Stable)?;
            let stable = self.assigned(group).map(|stable| stable.hash)?;
            (self.running() == Some(stable)).then_some(ordered)
        });
        let Some(ordered) = found else { return Edge::None };
        self.carry_out(ordered, now);
        Edge::Urgent
    }

    /// Notes that an offer is being sent, if it was ordered. What was seen before does not count any more, and where
    /// the content is applied anew neither does what it was compared with: the agent's surroundings may have changed,
    /// and from now on that is as it should be.
    pub(super) fn carry_out_by(&mut self, offer: &Offer, group: &GroupView, now: Timestamp) -> Edge {
        let Some((treatment, ordered)) = self.pending(group) else { return Edge::None };
        let by_this = match ordered.order {
            Order::Offer => self.ordered_form(&offer.revision, group).is_some(),
            // Nothing else is offered to it by now.
            Order::Stable => treatment.sent_back,
            Order::Restart | Order::Other(_) => false,
        };
        if !by_this {
            return Edge::None;
        }
        let same = self.received_form(offer.hash()) == Some(offer.form);
        let baseline = self.sight().and_then(|sight| sight.baseline).filter(|_| same);
        self.forget_sight();
        if let Some(baseline) = baseline {
            let blank = Sight { baseline: Some(baseline), ..Sight::blank(offer.hash(), now) };
            self.watch.get_or_insert_default().sight = Some(blank);
        }
        if let Some(offered) = &mut self.offered {
            offered.lapse();
        }
        self.carry_out(ordered, now);
        Edge::Urgent
    }

    fn carry_out(&mut self, ordered: Ordered, now: Timestamp) {
        self.unusual().done = Some(Done { order: ordered.given.as_second(), at: now });
        self.steady.is_disturbed();
    }

    fn treatment(&self) -> Option<&Treatment> {
        self.unusual.as_ref()?.treatment.as_ref()
    }

    /// The order that is still to be carried out: of the treatment of what the agent is assigned.
    fn pending(&self, group: &GroupView) -> Option<(&Treatment, Ordered)> {
        let treatment = self.treatment()?;
        let ordered = treatment.pending()?;
        let open = self.done().is_none_or(|done| !done.is_of(&ordered));
        let of_this = || self.by_group(group).is_some_and(|revision| revision.hash == treatment.of);
        (open && of_this()).then_some((treatment, ordered))
    }

    /// Whether the reason for an order is seen here, in an agent that is to run this. The leader saw it some seconds ago.
    fn suffers(&self, cause: Cause, wanted: &Revision) -> bool {
        let drifts = |sight: &Sight| sight.of == wanted.hash && matches!(sight.shown, Shown::Drifted(..));
        match cause {
            Cause::Drift => self.told().is_some() || self.sight().is_some_and(drifts),
            Cause::Illness => self.healthy == Some(false),
            Cause::Other(_) => false,
        }
    }
}
