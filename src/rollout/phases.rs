//! Phases: who is let in, and when the next one begins.

use super::crowd::{Crowd, length};
use crate::api::{
    Approval, AttributeSelector, Cohort, ConfigRolloutStatus, CurrentPhase, Phase, PhaseOutcome, PhaseStatus,
    RolloutAgentCounts, Share, Term,
};
use crate::fleet::{self, ObservedAgent, Rank, Ring, Seed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Lays out a new attempt's phases, none of them begun.
pub fn plan(phases: &[Phase]) -> Vec<PhaseStatus> {
    let waiting = |phase: &Phase| PhaseStatus {
        phase: phase.clone(),
        count: None,
        planned: None,
        started_at: None,
        outcome: PhaseOutcome::Waiting,
    };
    phases.iter().map(waiting).collect()
}

/// What came of beginning a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// A phase is under way.
    Yes,
    /// Replicas have not told yet which agents are in the phase's ring.
    RingUnknown,
    /// There is no phase left.
    Over,
}

/// Begins the first phase from `index` on that lets somebody in; the ones before it are skipped. The last phase is
/// never skipped: it lets in whoever joins later.
pub fn begin(status: &mut ConfigRolloutStatus, index: usize, crowd: &Crowd<'_>, now: Timestamp) -> Begun {
    let last = status.phases.len().saturating_sub(1);
    for index in index..status.phases.len() {
        let Some(plan) = plan_of(status, index, crowd) else { return Begun::RingUnknown };
        let Some(phase) = status.phases.get_mut(index) else { return Begun::Over };
        phase.count = Some(length(plan.count));
        if plan.added == 0 && index != last {
            phase.outcome = PhaseOutcome::Skipped;
            continue;
        }
        phase.outcome = PhaseOutcome::Running;
        phase.started_at = Some(Time(now));
        let name = phase.phase.name.clone();
        status.current_phase = Some(CurrentPhase {
            index: i64::try_from(index).unwrap_or_default(),
            display: format!("{}/{} {name}", index + 1, status.phases.len()),
            name,
            started_at: Time(now),
            progress_at: Time(now),
            boundary: plan.boundary.map(|boundary| boundary.to_string()),
            raised_at: None,
            soak_until: None,
            paused_at: None,
        });
        return Begun::Yes;
    }
    Begun::Over
}

/// What beginning a phase comes to.
struct Plan {
    /// The rank of the last agent that it is to let in; absent if there is none that is not in already.
    boundary: Option<Rank>,
    /// How many eligible agents are in the cohort then.
    count: usize,
    /// How many of these were not in before.
    added: usize,
}

/// Fixes a phase's boundary: the rank of the Nth of the agents of its ring that can take the target now. Agents that
/// join or leave later never move it (design, section 5). Nothing while it is unknown of an agent whether it is in
/// the ring.
fn plan_of(status: &ConfigRolloutStatus, index: usize, crowd: &Crowd<'_>) -> Option<Plan> {
    let nobody = Plan { boundary: None, count: 0, added: 0 };
    let (Some(cohort), Some(phase)) = (&status.cohort, status.phases.get(index)) else { return Some(nobody) };
    let (Some(seed), Some(before)) = (Seed::parse(&cohort.seed), fleet::Cohort::of(cohort)) else {
        return Some(nobody);
    };
    let Phase { selector, agents: share, .. } = &phase.phase;
    let ring = selector.clone().map(Ring::new);
    let blind = is_blind(&phase.phase, ring.as_ref(), crowd);
    let eligible = || crowd.iter().filter(|agent| counts(crowd, agent, blind));
    let mut ranks = Vec::new();
    for agent in eligible() {
        if ring.as_ref().map_or(Some(true), |ring| agent.rings.has(ring.key()))? {
            ranks.push(seed.rank(agent.uid));
        }
    }
    ranks.sort_unstable();
    let last = share.of(ranks.len()).checked_sub(1);
    let boundary =
        if *share == Share::ALL { Some(Rank::ALL) } else { last.and_then(|last| ranks.get(last)).copied() };
    let boundary = boundary.filter(|boundary| Some(*boundary) > highest(cohort, selector.as_ref()));
    let is_in = |agent: &ObservedAgent| before.contains(agent.uid, |ring| agent.is_in(ring));
    let is_added = |agent: &&ObservedAgent| {
        let in_ring = ring.as_ref().is_none_or(|ring| agent.is_in(ring));
        !is_in(agent) && in_ring && boundary.is_some_and(|boundary| seed.rank(agent.uid) <= boundary)
    };
    let added = eligible().filter(is_added).count();
    Some(Plan { boundary, count: eligible().filter(|agent| is_in(agent)).count() + added, added })
}

/// Whether a phase takes agents of which nobody will know what became: it waits for a person, and there are no others
/// in its ring.
fn is_blind(phase: &Phase, ring: Option<&Ring>, crowd: &Crowd<'_>) -> bool {
    let may_be_in =
        |agent: &ObservedAgent| ring.is_none_or(|ring| agent.rings.has(ring.key()) != Some(false));
    phase.approval == Approval::Manual
        && !crowd.iter().any(|agent| crowd.is_eligible(agent) && may_be_in(agent))
}

/// Whether a phase counts an agent when it fixes whom to let in.
fn counts(crowd: &Crowd<'_>, agent: &ObservedAgent, blind: bool) -> bool {
    if blind { crowd.is_unverified(agent) } else { crowd.is_eligible(agent) }
}

/// Whether a phase, if it began now, would let in agents that can be reached: those that will be judged, or with a
/// person's approval those that cannot be.
pub fn can_reach(phase: &Phase, counts: &RolloutAgentCounts) -> bool {
    counts.eligible > 0 || phase.approval == Approval::Manual && counts.unverified > 0
}

/// The highest rank that is in by a term with this selector.
fn highest(cohort: &Cohort, selector: Option<&AttributeSelector>) -> Option<Rank> {
    let alike = cohort.terms.iter().filter(|term| term.selector.as_ref() == selector);
    alike.filter_map(|term| Rank::parse(&term.boundary)).max()
}

/// Lets a phase's agents in on paper; how many were not in before, unless it is unknown who is in the phase's ring.
pub fn on_paper(status: &mut ConfigRolloutStatus, index: usize, crowd: &Crowd<'_>) -> Option<usize> {
    let plan = plan_of(status, index, crowd)?;
    let phase = status.phases.get(index)?.phase.clone();
    if let (Some(boundary), Some(cohort)) = (plan.boundary, &mut status.cohort) {
        cohort.terms.push(term(&phase, boundary, None));
    }
    Some(plan.added)
}

/// How fast agents are let in.
pub struct Pace {
    /// Most agents that are offered the target and have not answered; 0: as many as there are.
    pub max_in_flight: usize,
    /// How many there are now.
    pub in_flight: usize,
    /// How long an agent may take to answer.
    pub apply_timeout: SignedDuration,
    /// The time.
    pub now: Timestamp,
}

/// Shortest time between two raises of a boundary (design, section 5).
const RAISE_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// Lets in the agents of the phase under way, as many as may be in flight at once; true if there are any.
pub fn let_in(status: &mut ConfigRolloutStatus, crowd: &Crowd<'_>, pace: &Pace) -> bool {
    let Some((_, phase)) = current(status) else { return false };
    let phase = phase.phase.clone();
    let (Some(current), Some(cohort)) = (&mut status.current_phase, &mut status.cohort) else { return false };
    let Some(goal) = current.boundary.as_deref().and_then(Rank::parse) else { return false };
    if pace.max_in_flight == 0 {
        cohort.terms.push(term(&phase, goal, None));
        current.boundary = None;
        return true;
    }
    let early = current.raised_at.as_ref().is_some_and(|at| pace.now.duration_since(at.0) < RAISE_INTERVAL);
    let room = pace.max_in_flight.saturating_sub(pace.in_flight);
    if early || room == 0 {
        return false;
    }
    let raised = next_boundary(cohort, &phase, crowd, goal, room);
    raise(cohort, &phase, raised, pace);
    current.raised_at = Some(Time(pace.now));
    if raised == goal {
        current.boundary = None;
    }
    true
}

/// The boundary that lets in as many more agents as there is room for.
fn next_boundary(cohort: &Cohort, phase: &Phase, crowd: &Crowd<'_>, goal: Rank, room: usize) -> Rank {
    let ranks = waiting(cohort, phase, crowd, goal);
    if ranks.len() <= room { goal } else { ranks[room - 1] }
}

/// The ranks of the agents that a phase has still to let in, in order.
fn waiting(cohort: &Cohort, phase: &Phase, crowd: &Crowd<'_>, goal: Rank) -> Vec<Rank> {
    let (Some(seed), Some(inside)) = (Seed::parse(&cohort.seed), fleet::Cohort::of(cohort)) else {
        return Vec::new();
    };
    let ring = phase.selector.clone().map(Ring::new);
    let blind = is_blind(phase, ring.as_ref(), crowd);
    let waiting = crowd.iter().filter(|agent| {
        counts(crowd, agent, blind)
            && ring.as_ref().is_none_or(|ring| agent.is_in(ring))
            && !inside.contains(agent.uid, |ring| agent.is_in(ring))
    });
    let mut ranks: Vec<Rank> =
        waiting.map(|agent| seed.rank(agent.uid)).filter(|rank| *rank <= goal).collect();
    ranks.sort_unstable();
    ranks
}

/// Raises the boundary of the phase's last term, or adds a term. How long agents have had to answer is known by
/// terms, so raises within a quarter of `applyTimeout` share one, and a term goes when the next one's agents have had
/// their time as well: however long a phase takes, its terms stay few.
fn raise(cohort: &mut Cohort, phase: &Phase, boundary: Rank, pace: &Pace) {
    let quarter = shared_time(pace.apply_timeout);
    let of_phase = |term: &Term| term.phase == phase.name;
    if let Some(last) = cohort.terms.last_mut().filter(|last| of_phase(last))
        && last.since.as_ref().is_some_and(|since| pace.now.duration_since(since.0) < quarter)
    {
        last.boundary = boundary.to_string();
        return;
    }
    let over = |since: &Time| pace.now.duration_since(since.0) > pace.apply_timeout + quarter;
    let of_mine: Vec<usize> =
        (0..cohort.terms.len()).filter(|index| of_phase(&cohort.terms[*index])).collect();
    let outlived: Vec<usize> = of_mine
        .windows(2)
        .filter(|pair| cohort.terms[pair[1]].since.as_ref().is_some_and(over))
        .map(|pair| pair[0])
        .collect();
    for index in outlived.into_iter().rev() {
        cohort.terms.remove(index);
    }
    cohort.terms.push(term(phase, boundary, Some(Time(pace.now))));
}

/// Raises within this time share a term.
pub fn shared_time(apply_timeout: SignedDuration) -> SignedDuration {
    (apply_timeout / 4).max(RAISE_INTERVAL)
}

fn term(phase: &Phase, boundary: Rank, since: Option<Time>) -> Term {
    Term {
        phase: phase.name.clone(),
        selector: phase.selector.clone(),
        boundary: boundary.to_string(),
        since,
    }
}

/// How many agents the phase under way has still to let in.
pub fn to_come(status: &ConfigRolloutStatus, crowd: &Crowd<'_>) -> usize {
    let goal = status.current_phase.as_ref().and_then(|current| Rank::parse(current.boundary.as_deref()?));
    let (Some(goal), Some(cohort), Some((_, phase))) = (goal, &status.cohort, current(status)) else {
        return 0;
    };
    waiting(cohort, &phase.phase, crowd, goal).len()
}

/// Whether the phase under way has let in all of its agents.
pub fn is_complete(status: &ConfigRolloutStatus) -> bool {
    status.current_phase.as_ref().is_none_or(|current| current.boundary.is_none())
}

/// The phase that is under way, and its place.
pub fn current(status: &ConfigRolloutStatus) -> Option<(usize, &PhaseStatus)> {
    let index = usize::try_from(status.current_phase.as_ref()?.index).ok()?;
    Some((index, status.phases.get(index)?))
}

/// Notes what became of the phase that is under way.
pub fn end(status: &mut ConfigRolloutStatus, outcome: PhaseOutcome) {
    let Some(index) = current(status).map(|(index, _)| index) else { return };
    if let Some(phase) = status.phases.get_mut(index) {
        phase.outcome = outcome;
    }
}

/// Stops or starts the soak clock: while a rollout is paused no soak time passes.
pub fn pause(status: &mut ConfigRolloutStatus, paused: bool, now: Timestamp) {
    let Some(current) = &mut status.current_phase else { return };
    match (&current.paused_at, paused) {
        (None, true) => current.paused_at = Some(Time(now)),
        (Some(since), false) => {
            let stood = now.duration_since(since.0);
            for time in [current.soak_until.as_mut(), Some(&mut current.progress_at)].into_iter().flatten() {
                time.0 = time.0.saturating_add(stood).unwrap_or(Timestamp::MAX);
            }
            current.paused_at = None;
        }
        _ => {}
    }
}
