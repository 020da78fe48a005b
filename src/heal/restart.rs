//! Restarts that a person asks for: each agent of a group once for each request, few at a time, and each seen to be well
//! before others follow.
//!
//! How far a request has come is in the group's status: the highest rank that has had its turn. Who is under way is in
//! the slices of exceptions, which are written first. So an agent leaves those only once the status that was read says
//! that it has had its turn: whatever write is lost, no agent is commanded twice.

use crate::api::{RestartState, RestartStatus, Share};
use crate::fleet::{
    InstanceUid, ObservedAgent, Order, Ordered, Rank, Restart, Restarts, Seed, Treatment, Treatments,
    most_at_once, signed,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// More agents than this share that do not come back stop a restart.
const TOLERATED: Share = Share::PerMille(100);

/// What restarts are decided by.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long an agent may take to come back healthy.
    pub patience: Duration,
    /// Silence that means gone. An agent that polls may take so long to hear of anything.
    pub offline_after: Duration,
    /// So many agents of the group are told where to send their own telemetry, which starts them anew as well.
    pub told: usize,
    /// The time.
    pub now: Timestamp,
}

/// What comes of a look at a group's restarts.
#[derive(Debug, Default, PartialEq)]
pub struct Round {
    /// How far the request has come; nothing if none was ever made.
    pub status: Option<RestartStatus>,
    /// Who is under way, or missed.
    pub restarts: Restarts,
    /// Who is missed from now on: the agent and its host.
    pub missed: Vec<(InstanceUid, String)>,
    /// When to look again, though nothing changes until then.
    pub wake: Option<Timestamp>,
}

/// Begins with a request. Nobody is commanded before this status has been written.
pub fn begin(
    token: &str,
    prior: Option<&RestartStatus>,
    agents: &[&ObservedAgent],
    entropy: u64,
    now: Timestamp,
) -> RestartStatus {
    // Requests are told apart by the second.
    let after = prior.map_or(i64::MIN, |prior| prior.requested_at.0.as_second().saturating_add(1));
    let asked = Timestamp::from_second(now.as_second().max(after)).unwrap_or(now);
    let mut status = RestartStatus {
        token: token.to_owned(),
        requested_at: Time(asked),
        seed: Seed::new(entropy).to_string(),
        boundary: String::new(),
        state: RestartState::Running,
        message: String::new(),
        agents: 0,
        ordered: 0,
        restarted: 0,
        failed: 0,
        finished_at: None,
    };
    let takers = agents.iter().filter(|agent| agent.connected && is_meant(&status, agent));
    status.agents = count(takers.count());
    status
}

/// Brings a group's restarts on. `restarts` and `treatments` are what the slices of exceptions will say but for what is
/// decided here; `prior` is the status as it was read. `is_busy` says of an agent whether somebody else waits for its
/// answer, or watches it.
pub fn restart(
    prior: Option<&RestartStatus>,
    restarts: &Restarts,
    agents: &[&ObservedAgent],
    treatments: &Treatments,
    is_busy: impl Fn(&ObservedAgent) -> bool,
    terms: &Terms,
) -> Round {
    let Some((prior, seed)) = prior.and_then(|prior| Some((prior, Seed::parse(&prior.seed)?))) else {
        return Round { status: prior.cloned(), ..Round::default() };
    };
    // A newer version's: it goes on with it.
    if prior.is_newer() {
        return Round { status: Some(prior.clone()), restarts: restarts.clone(), ..Round::default() };
    }
    let mut turns = Turns { prior, seed, terms, round: Round::default() };
    for agent in agents {
        if let Some(restart) = restarts.get(&agent.uid) {
            turns.follow(agent, *restart);
        }
    }
    let mut next = prior.clone();
    if prior.state == RestartState::Running {
        next = turns.count(next);
        let treated = |agent: &ObservedAgent| treatments.get(&agent.uid).is_some_and(Treatment::is_active);
        let under_treatment = agents.iter().filter(|agent| agent.connected && treated(agent)).count();
        let room = most_at_once(agents.len()).saturating_sub(under_treatment + terms.told);
        next = turns.give(next, agents, room, |agent| treated(agent) || is_busy(agent));
    }
    Round { status: Some(next), ..turns.round }
}

/// Whether a request is for this agent: it takes the command, and it was there, as it is now, when it was asked for.
fn is_meant(status: &RestartStatus, agent: &ObservedAgent) -> bool {
    let asked = status.requested_at.0;
    let was_there = agent.since <= asked || agent.started.is_some_and(|started| started <= asked.as_second());
    agent.accepts_restart && was_there
}

struct Turns<'a> {
    prior: &'a RestartStatus,
    seed: Seed,
    terms: &'a Terms,
    round: Round,
}

impl Turns<'_> {
    fn is_current(&self, restart: &Restart) -> bool {
        restart.asked == self.prior.requested_at.0
    }

    /// Looks at an agent that was commanded, or is to be.
    fn follow(&mut self, agent: &ObservedAgent, mut restart: Restart) {
        let ordered = &mut restart.ordered;
        ordered.done =
            ordered.done.or_else(|| agent.done.filter(|done| done.is_of(ordered)).map(|done| done.at));
        let over = self.prior.state != RestartState::Running;
        let current = self.is_current(&restart);
        let due = self.due(agent, &restart);
        let late = self.is_past_or_wakes(due, restart.missed.is_some());
        if is_back(agent, &restart, late) {
            if over || !current || self.has_had_its_turn(agent.uid) {
                return;
            }
        } else if late && restart.missed.is_none() {
            restart.missed = Some(self.terms.now);
            self.round.missed.push((agent.uid, agent.host.clone()));
        }
        if restart.missed.is_some() && (over || !current) {
            return;
        }
        self.round.restarts.insert(agent.uid, restart);
    }

    /// Until when the agent is to have come back.
    fn due(&self, agent: &ObservedAgent, restart: &Restart) -> Timestamp {
        let Terms { patience, offline_after, .. } = *self.terms;
        let patience = if agent.polling { patience.max(offline_after) } else { patience };
        plus(restart.ordered.done.unwrap_or(restart.ordered.given), signed(patience))
    }

    fn is_past_or_wakes(&mut self, time: Timestamp, is_told: bool) -> bool {
        let past = self.terms.now >= time;
        if !past && !is_told {
            self.wake(time);
        }
        past
    }

    fn wake(&mut self, time: Timestamp) {
        self.round.wake = Some(self.round.wake.map_or(time, |wake| wake.min(time)));
    }

    fn has_had_its_turn(&self, uid: InstanceUid) -> bool {
        Rank::parse(&self.prior.boundary).is_some_and(|boundary| self.seed.rank(uid) <= boundary)
    }

    fn current(&self) -> impl Iterator<Item = (&InstanceUid, &Restart)> {
        self.round.restarts.iter().filter(|(_, restart)| self.is_current(restart))
    }

    fn under_way(&self) -> usize {
        self.round.restarts.values().filter(|restart| restart.missed.is_none()).count()
    }

    /// The numbers of those who have had their turn. A status that was not written may have had more of them.
    fn count(&self, mut next: RestartStatus) -> RestartStatus {
        let unwritten = || self.current().map(|(uid, _)| *uid).filter(|uid| !self.has_had_its_turn(*uid));
        next.ordered += count(unwritten().count());
        let ranks = unwritten().map(|uid| self.seed.rank(uid)).chain(Rank::parse(&next.boundary));
        next.boundary = ranks.max().map_or_else(String::new, |rank| rank.to_string());
        next.failed = count(self.current().filter(|(_, restart)| restart.missed.is_some()).count());
        next
    }

    /// Gives the next agents their turn, as far as there is room.
    fn give(
        &mut self,
        mut next: RestartStatus,
        agents: &[&ObservedAgent],
        room: usize,
        is_busy: impl Fn(&ObservedAgent) -> bool,
    ) -> RestartStatus {
        let waiting = self.waiting(&next, agents);
        next.agents =
            next.agents.max(next.ordered + count(waiting.iter().filter(|agent| agent.connected).count()));
        next.message = String::new();
        let all = usize::try_from(next.agents).unwrap_or_default();
        let stopped = usize::try_from(next.failed).unwrap_or_default() > TOLERATED.tolerated(all);
        let mut room = room.saturating_sub(self.under_way());
        if stopped {
            let Terms { patience, .. } = self.terms;
            next.message = format!(
                "{} of {} agents did not come back healthy within {patience:?}; the others are left alone",
                next.failed, next.agents
            );
        } else {
            for agent in &waiting {
                if let Some(why) = self.why_not_yet(agent, room, &is_busy) {
                    next.message = why.into();
                    break;
                }
                room -= 1;
                next.ordered += 1;
                next.boundary = self.seed.rank(agent.uid).to_string();
                self.order(agent);
            }
        }
        let under_way = self.current().filter(|(_, restart)| restart.missed.is_none()).count();
        next.restarted = next.ordered - next.failed - count(under_way);
        if under_way == 0 && (stopped || waiting.is_empty()) {
            next.state = if stopped { RestartState::Stopped } else { RestartState::Completed };
            next.finished_at = Some(Time(self.terms.now));
        }
        next
    }

    /// Who has not had its turn, in order. An agent that has just gone away may come back.
    fn waiting<'b>(&self, next: &RestartStatus, agents: &[&'b ObservedAgent]) -> Vec<&'b ObservedAgent> {
        let boundary = Rank::parse(&next.boundary);
        let is_left = |agent: &&&ObservedAgent| {
            let rank = self.seed.rank(agent.uid);
            let waits = if agent.connected { is_meant(next, agent) } else { self.may_return(agent) };
            waits
                && boundary.is_none_or(|boundary| rank > boundary)
                && !self.round.restarts.contains_key(&agent.uid)
        };
        let mut waiting: Vec<&ObservedAgent> = agents.iter().filter(is_left).copied().collect();
        waiting.sort_by_key(|agent| self.seed.rank(agent.uid));
        waiting
    }

    fn may_return(&self, agent: &ObservedAgent) -> bool {
        agent.away_since().is_some_and(|since| self.terms.now < plus(since, signed(self.terms.offline_after)))
    }

    fn why_not_yet(
        &mut self,
        agent: &ObservedAgent,
        room: usize,
        is_busy: impl Fn(&ObservedAgent) -> bool,
    ) -> Option<&'static str> {
        if let Some(since) = agent.away_since() {
            self.wake(plus(since, signed(self.terms.offline_after)));
            return Some("the next agent has gone away and may come back");
        }
        if is_busy(agent) {
            return Some("the next agent is being put right, or a rollout or an adoption waits for it");
        }
        let telling = "agents are being told where to send their own telemetry";
        (room == 0).then_some(if self.terms.told > 0 { telling } else { "" })
    }

    fn order(&mut self, agent: &ObservedAgent) {
        // Never in the second of an order that was carried out, which would be taken for it.
        let free = agent.done.and_then(|done| Timestamp::from_second(done.order.saturating_add(1)).ok());
        let given = self.terms.now.max(free.unwrap_or(Timestamp::MIN));
        let ordered = Ordered { order: Order::Restart, given, done: None };
        let asked = self.prior.requested_at.0;
        let restart = Restart { asked, ordered, started: agent.started, missed: None };
        self.wake(self.due(agent, &restart));
        self.round.restarts.insert(agent.uid, restart);
    }
}

/// Whether an agent has come back from its restart: it was started anew, and is well, unless it was ill before. One that
/// does not say when it was started is believed to have been if it has connected anew, or is well when its time is up.
fn is_back(agent: &ObservedAgent, restart: &Restart, late: bool) -> bool {
    let ordered = restart.ordered;
    let started = match restart.started {
        Some(before) => agent.started.is_some_and(|started| started != before),
        None => agent.since.as_second() > ordered.given.as_second() || late && ordered.done.is_some(),
    };
    // Both times are the replica's, where it has said that it sent the command: the leader's clock may be ahead.
    let sent = ordered.done.unwrap_or(ordered.given);
    let was_ill = agent.health_since.as_second() < sent.as_second();
    agent.connected && started && (agent.is_healthy() || was_ill)
}

fn count(agents: usize) -> i64 {
    i64::try_from(agents).unwrap_or(i64::MAX)
}

fn plus(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
