//! The course of one agent's treatment.

use super::Rules;
use super::symptom::{Symptom, symptom};
use crate::config::ConfigHash;
use crate::fleet::{Cause, ObservedAgent, Order, Ordered, Treatment};
use jiff::{SignedDuration, Timestamp};

/// One agent, and what is known of it beside what it says.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The agent.
    pub agent: &'a ObservedAgent,
    /// What its group assigns to it.
    pub assigned: Option<ConfigHash>,
    /// What it is to run: the same, or stable where it was sent back.
    pub wanted: Option<ConfigHash>,
    /// Since when it drifts from that.
    pub drifts_since: Option<Timestamp>,
    /// What it can be sent back to: a stable revision that is not what it is assigned.
    pub fallback: Option<ConfigHash>,
    /// A rollout or an adoption waits for its answer or watches it, and is not to be disturbed.
    pub is_judged: bool,
}

/// What has come to pass with an agent's treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// An order was given.
    Ordered(Cause, Order),
    /// What the last order was for is gone.
    Helped(Cause, Order),
    /// It is still there.
    Failed(Cause, Order),
    /// Nobody can tell.
    Unverified(Cause, Order),
    /// The agent is left alone from now on.
    Quarantined(Cause),
    /// It no longer is.
    Released(Release),
}

/// Why an agent is no longer quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It is well.
    Well,
    /// It is to run other content, or it left its group, or the group's rules have changed.
    Otherwise,
    /// A person asked to try again.
    Retried,
}

/// The next state of one agent's treatment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The treatment; nothing if the agent is not treated.
    pub treatment: Option<Treatment>,
    /// What has come to pass, in order.
    pub happened: Vec<Happened>,
    /// When to look again, though nothing changes until then.
    pub wake: Option<Timestamp>,
}

/// Brings one agent's treatment on. `has_room` says whether one more may be under treatment.
pub fn next(prior: Option<&Treatment>, case: &Case<'_>, has_room: bool, rules: &Rules) -> Next {
    let mut course = Course { case, rules, has_room, next: Next::default() };
    match prior.filter(|prior| course.is_left(prior) || course.stands(prior)) {
        Some(prior) if course.is_left(prior) => course.next.treatment = Some(prior.clone()),
        Some(prior) => course.go_on(prior.clone()),
        None => course.end(prior),
    }
    if course.next.treatment.is_none() {
        course.begin();
    }
    course.next
}

struct Course<'a> {
    case: &'a Case<'a>,
    rules: &'a Rules,
    has_room: bool,
    next: Next,
}

impl Course<'_> {
    /// Whether a treatment is still for what the agent is to run.
    fn stands(&self, prior: &Treatment) -> bool {
        self.case.assigned == Some(prior.of)
            && !self.is_retried(prior)
            && !self.case.is_judged
            && self.is_wanted(prior)
    }

    /// Whether a newer version treats the agent in its own way, or tells of it in one.
    fn is_left(&self, prior: &Treatment) -> bool {
        let is_newer = prior.is_newer() && self.case.assigned == Some(prior.of) && !self.is_retried(prior);
        is_newer || self.case.agent.newer
    }

    fn is_retried(&self, prior: &Treatment) -> bool {
        // Both are written by the second, and a treatment that answers a retry may begin in the same one.
        let retried = self.rules.retried_at.map(Timestamp::as_second);
        retried.is_some_and(|retried| prior.began.as_second() < retried)
    }

    /// An agent that was sent back keeps stable, whatever the group's rules become: the target made it ill.
    fn is_wanted(&self, prior: &Treatment) -> bool {
        prior.sent_back || self.allows(prior.cause)
    }

    fn allows(&self, cause: Cause) -> bool {
        match cause {
            Cause::Drift => self.rules.corrects,
            Cause::Illness => self.rules.heals,
            Cause::Other(_) => true,
        }
    }

    fn end(&mut self, prior: Option<&Treatment>) {
        if let Some(prior) = prior.filter(|prior| prior.quarantined.is_some()) {
            let why = if self.is_retried(prior) { Release::Retried } else { Release::Otherwise };
            self.next.happened.push(Happened::Released(why));
        }
    }

    /// The agent has not been treated so far.
    fn begin(&mut self) {
        let Some((of, cause)) = self.case.assigned.zip(self.complaint(None)) else { return };
        if !self.has_room {
            return;
        }
        let treatment = Treatment {
            of,
            cause,
            began: self.rules.now,
            orders: 0,
            last: None,
            sent_back: false,
            well: None,
            quarantined: None,
        };
        // Who takes nothing is not left alone because of what was tried.
        if self.remedy(&treatment).is_some() {
            self.order(treatment);
        }
    }

    /// What is to be treated, drift first: an agent may be ill because of what it runs.
    fn complaint(&mut self, last: Option<Ordered>) -> Option<Cause> {
        if self.case.is_judged {
            return None;
        }
        let is_present = |cause| matches!(symptom(self.case, cause), Symptom::Present(_));
        if self.allows(Cause::Drift) && is_present(Cause::Drift) {
            return Some(Cause::Drift);
        }
        let Symptom::Present(since) = symptom(self.case, Cause::Illness) else { return None };
        // After an order it has all that time anew.
        let since = last.and_then(|last| last.done).map_or(since, |done| since.max(done));
        let is_due =
            self.allows(Cause::Illness) && self.is_past_or_wakes(plus(since, self.rules.unhealthy_after));
        is_due.then_some(Cause::Illness)
    }

    fn go_on(&mut self, mut treatment: Treatment) {
        let (agent, now) = (self.case.agent, self.rules.now);
        if !agent.connected {
            self.next.treatment = Some(treatment);
            return;
        }
        if let (Some(last), Some(done)) = (&mut treatment.last, agent.done) {
            last.done = last.done.or_else(|| done.is_of(last).then_some(done.at));
        }
        if treatment.quarantined.is_some() {
            if symptom(self.case, treatment.cause) == Symptom::Gone {
                self.next.happened.push(Happened::Released(Release::Well));
                treatment = Treatment { well: Some(now), quarantined: None, ..treatment };
                self.watch(treatment, now);
            } else {
                self.next.treatment = Some(treatment);
            }
        } else if let Some(since) = treatment.well {
            self.watch(treatment, since);
        } else {
            self.await_outcome(treatment);
        }
    }

    /// The agent is well again: it is watched for a while, so that one which reverts every correction comes to an end.
    fn watch(&mut self, treatment: Treatment, since: Timestamp) {
        let over = plus(since, self.rules.max_backoff);
        match self.complaint(treatment.last) {
            Some(cause) if self.has_room && cause == treatment.cause => {
                self.order_when_due(treatment);
            }
            // Orders are told apart by the second in which they were given.
            Some(cause) if self.has_room && self.is_past_or_wakes(second_after(treatment.last)) => {
                self.order(Treatment { cause, last: None, ..treatment });
            }
            Some(_) => self.next.treatment = Some(treatment),
            None if !self.is_past_or_wakes(over) => self.next.treatment = Some(treatment),
            None if treatment.sent_back => {
                self.next.treatment = Some(Treatment { orders: 0, last: None, ..treatment });
            }
            None => {}
        }
    }

    /// Something was ordered, and shows what it brings.
    fn await_outcome(&mut self, treatment: Treatment) {
        let now = self.rules.now;
        let Some(last) = treatment.last else { return self.order_when_due(treatment) };
        match symptom(self.case, treatment.cause) {
            Symptom::Gone => {
                // Without an order it became well by itself.
                if last.done.is_some() {
                    self.next.happened.push(Happened::Helped(treatment.cause, last.order));
                }
                self.watch(Treatment { well: Some(now), ..treatment }, now);
            }
            Symptom::Present(_) => self.order_when_due(treatment),
            Symptom::Unclear => {
                let Some(done) = last.done else {
                    self.next.treatment = Some(treatment);
                    return;
                };
                // What an agent does not show within the longest pauses it will not show.
                let patience = self.time_for(&treatment) + self.rules.max_backoff;
                if self.is_past_or_wakes(plus(done, patience)) {
                    self.next.happened.push(Happened::Unverified(treatment.cause, last.order));
                } else {
                    self.next.treatment = Some(treatment);
                }
            }
        }
    }

    /// Gives the next order, once the last one had its time.
    fn order_when_due(&mut self, treatment: Treatment) {
        let Some(last) = treatment.last else { return self.order(treatment) };
        let due = last.done.map(|done| plus(done, self.time_for(&treatment)));
        // One that was not carried out is still to be.
        if !due.is_some_and(|due| self.is_past_or_wakes(due)) {
            self.next.treatment = Some(Treatment { well: None, ..treatment });
            return;
        }
        // Of one that has helped for a while that was told.
        if treatment.well.is_none() {
            self.next.happened.push(Happened::Failed(treatment.cause, last.order));
        }
        self.order(treatment);
    }

    /// How long an order has to show what it brings.
    fn time_for(&self, treatment: &Treatment) -> SignedDuration {
        let pause = self.rules.pause(self.case.agent.uid, treatment.orders);
        match treatment.cause {
            Cause::Drift => pause,
            Cause::Illness | Cause::Other(_) => pause.max(self.rules.unhealthy_after),
        }
    }

    fn order(&mut self, mut treatment: Treatment) {
        let now = self.rules.now;
        treatment.well = None;
        match self.remedy(&treatment) {
            Some(order) if treatment.orders < self.rules.max_attempts => {
                // Orders are told apart by the second in which they were given.
                // Never in the second of one that was carried out, which would be taken for it.
                let done = self
                    .case
                    .agent
                    .done
                    .and_then(|done| Timestamp::from_second(done.order.saturating_add(1)).ok());
                let given = now.max(second_after(treatment.last)).max(done.unwrap_or(now));
                treatment.orders += 1;
                treatment.sent_back |= order == Order::Stable;
                treatment.last = Some(Ordered { order, given, done: None });
                self.next.happened.push(Happened::Ordered(treatment.cause, order));
            }
            _ => {
                treatment.quarantined = Some(now);
                self.next.happened.push(Happened::Quarantined(treatment.cause));
            }
        }
        self.next.treatment = Some(treatment);
    }

    /// What can be done next. Drift has one remedy, illness has steps, each of which is tried once.
    fn remedy(&self, treatment: &Treatment) -> Option<Order> {
        let agent = self.case.agent;
        let last = treatment.last.map(|last| last.order);
        let takes = agent.accepts_config && self.case.wanted.is_some();
        match treatment.cause {
            Cause::Drift => takes.then_some(Order::Offer),
            Cause::Other(_) => None,
            Cause::Illness => [
                (Order::Restart, agent.accepts_restart),
                (Order::Offer, takes),
                (Order::Stable, takes && !treatment.sent_back && self.case.fallback.is_some()),
            ]
            .into_iter()
            .find_map(|(order, can)| (can && last.is_none_or(|last| order > last)).then_some(order)),
        }
    }

    /// Whether this time has come; if not, it is looked again then.
    fn is_past_or_wakes(&mut self, time: Timestamp) -> bool {
        if self.rules.now < time {
            self.next.wake = Some(self.next.wake.map_or(time, |wake| wake.min(time)));
        }
        self.rules.now >= time
    }
}

/// The second after the one in which an order was given.
fn second_after(last: Option<Ordered>) -> Timestamp {
    last.map_or(Timestamp::MIN, |last| plus(last.given, SignedDuration::from_secs(1)))
}

/// Later by this; at the end of time where there is no later.
fn plus(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
