//! A group of agents that take what they are assigned, each in its own way.

use crate::api::{
    AssignmentStatus, AttributeSelector, ConfigRolloutStatus, Reason, RevisionState, RolloutState, Stage,
    Strategy,
};
use crate::config::{ConfigHash, Inventory};
use crate::fleet::fixtures::seen;
use crate::fleet::{Cohort, InstanceUid, Ledger, ObservedAgent, Ring, Rings, Side, Sides, Verdict, side};
use crate::rollout::{
    Content, Furthest, GroupFacts, Input, Milestone, News, Next, RevisionFacts, assignment, milestones, news,
    step,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How an agent takes revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Applies everything.
    Good,
    /// Refuses revisions whose name is in `World::bad`.
    Refuses,
    /// Never answers.
    Silent,
    /// Turns unhealthy a second after it applied a revision whose name is in `World::bad`.
    FallsIll,
}

pub struct Member {
    pub manner: Manner,
    pub seen: ObservedAgent,
    /// By how much the clock of its replica is ahead of the leader's.
    pub ahead: SignedDuration,
    /// The names of all revisions that it was ever offered.
    pub offered: BTreeSet<String>,
}

impl Member {
    /// The agent as its replica tells of it, by its own clock.
    fn told(&self) -> ObservedAgent {
        let mut told = self.seen.clone();
        let shift = |time: &mut Timestamp| *time += self.ahead;
        shift(&mut told.since);
        shift(&mut told.health_since);
        told.faltered.fell_ill.iter_mut().for_each(shift);
        told.faltered.restarted.iter_mut().for_each(shift);
        let mut ledger = Ledger::default();
        told.ledger
            .iter()
            .for_each(|given| ledger.renew(given.hash, given.verdict.clone(), given.at + self.ahead));
        ObservedAgent { ledger, ..told }
    }
}

pub struct World {
    pub now: Timestamp,
    pub members: Vec<Member>,
    pub status: ConfigRolloutStatus,
    pub strategy: Strategy,
    pub content: Content,
    pub paused: bool,
    /// The earliest renewal of a living replica; absent: now.
    pub watched_until: Option<Timestamp>,
    pub bad: BTreeSet<String>,
    /// What replicas act on.
    pub assignment: AssignmentStatus,
    /// The leader died after it wrote the rollout, and before it wrote the group.
    pub lagging: bool,
    /// The component types that revisions need.
    pub needs: BTreeMap<String, Inventory>,
    /// What became of the revisions; `Candidate` where there is no entry.
    pub states: BTreeMap<String, RevisionState>,
    pub annotations: BTreeMap<String, String>,
    pub notices: Vec<Result<&'static str, String>>,
    /// What people were told.
    pub told: Vec<News>,
    /// How far an attempt ever came, as the leader remembers it.
    pub furthest: Furthest,
    /// What took its time.
    pub reached: Vec<Milestone>,
}

/// The hash of a revision: its number, 32 times.
pub fn hash(name: &str) -> ConfigHash {
    let number = name.rsplit('-').next().and_then(|number| number.parse().ok()).expect("a revision's name");
    ConfigHash::from_bytes([number; 32])
}

pub fn revision(name: &str) -> Content {
    Content::Revision { name: name.to_owned(), rejected: false }
}

impl World {
    /// So many good agents, all connected, running nothing; a rollout of `r-1` with the default strategy.
    pub fn new(agents: u16) -> Self {
        let now = Timestamp::from_second(1_000_000).expect("in range");
        let mut world = Self {
            now,
            members: Vec::new(),
            status: ConfigRolloutStatus::default(),
            strategy: Strategy::default(),
            content: revision("r-1"),
            paused: false,
            watched_until: None,
            bad: BTreeSet::new(),
            assignment: AssignmentStatus::default(),
            lagging: false,
            needs: BTreeMap::new(),
            states: BTreeMap::new(),
            annotations: BTreeMap::new(),
            notices: Vec::new(),
            told: Vec::new(),
            furthest: Furthest::default(),
            reached: Vec::new(),
        };
        (0..agents).for_each(|number| world.join(number, Manner::Good));
        world
    }

    /// The same, with `r-1` proven and `r-2` to be rolled out.
    pub fn with_stable(agents: u16) -> Self {
        let mut world = Self::new(agents);
        world.strategy.phases.drain(..3);
        world.run_until(RolloutState::Completed);
        world.strategy = Strategy::default();
        world.content = revision("r-2");
        world
    }

    pub fn join(&mut self, number: u16, manner: Manner) {
        let mut uid = [0; 16];
        uid[..2].copy_from_slice(&number.to_be_bytes());
        let seen = ObservedAgent { host: format!("host-{number}"), ..seen(InstanceUid::new(uid), self.now) };
        self.members.push(Member { manner, seen, ahead: SignedDuration::ZERO, offered: BTreeSet::new() });
    }

    /// Has the replicas tell of every agent whether it is in the ring of a selector: those with an index in `inside`.
    pub fn tell_ring(&mut self, selector: &AttributeSelector, inside: std::ops::Range<usize>) {
        let ring = Ring::new(selector.clone()).key();
        for (index, member) in self.members.iter_mut().enumerate() {
            let matched = if inside.contains(&index) { vec![ring] } else { Vec::new() };
            member.seen.rings = Rings::new([ring].into(), matched);
        }
    }

    /// Sets the manner of every agent.
    pub fn all(&mut self, manner: Manner) {
        self.members.iter_mut().for_each(|member| member.manner = manner);
    }

    /// Makes a request.
    pub fn ask(&mut self, name: &str, value: &str) {
        self.annotations.insert(format!("fleet.opamp.dev/{name}"), value.to_owned());
    }

    /// Lets time pass: agents take what they are assigned, then the leader steps.
    pub fn tick(&mut self, seconds: i64) -> RolloutState {
        self.now += SignedDuration::from_secs(seconds);
        if !self.lagging {
            self.assignment = assignment(Some(&self.assignment), 1, Some(&self.status), None);
        }
        self.deliver();
        self.lead();
        self.status.state
    }

    /// One step of the leader alone.
    pub fn lead(&mut self) {
        let Next { status, notices } = self.decide();
        self.told.extend(news(&self.status, &status));
        let (furthest, reached) = milestones(self.furthest, &self.status, &status, self.now);
        self.furthest = furthest;
        self.reached.extend(reached);
        self.status = status;
        self.settle();
        self.notices.extend(notices.into_iter().map(|notice| notice.map(|request| request.name())));
    }

    /// What the leader would write now.
    pub fn decide(&self) -> Next {
        let agents: Vec<ObservedAgent> = self.members.iter().map(Member::told).collect();
        let revisions = (1..=9).map(|number| self.revision(number)).collect();
        step(&Input {
            generation: 1,
            strategy: &self.strategy,
            paused: self.paused,
            annotations: &self.annotations,
            prior: &self.status,
            group: GroupFacts::Held {
                content: self.content.clone(),
                stable: None,
                offline_after: Duration::from_secs(90),
            },
            needs: &self.needs,
            revisions: &revisions,
            agents: &agents,
            assumed_interval: Duration::from_secs(30),
            unreachable_for: Duration::from_mins(3),
            watched_until: self.watched_until.or(Some(self.now)),
            entropy: self.now.as_second().unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15),
            now: self.now,
        })
    }

    /// A revision as the leader's store has it.
    fn revision(&self, number: i64) -> (String, RevisionFacts) {
        let name = format!("r-{number}");
        let state = self.states.get(&name).copied().unwrap_or_default();
        (name.clone(), RevisionFacts { hash: hash(&name), number, state, own: true })
    }

    /// Notes what became of the revisions, as the leader does after each step.
    fn settle(&mut self) {
        let stage = self.status.cohort.as_ref().map(|cohort| cohort.stage);
        let failed = matches!(stage, Some(Stage::RollingBack | Stage::RolledBack | Stage::Halted));
        if let Some(target) = self.status.target_revision.clone().filter(|_| failed) {
            self.states.insert(target, RevisionState::Rejected);
        }
        if let Some(stable) = self.status.stable_revision.clone() {
            self.states.insert(stable, RevisionState::Proven);
        }
    }

    fn deliver(&mut self) {
        for index in 0..self.members.len() {
            if let Some(name) = self.due(index) {
                self.members[index].offered.insert(name.clone());
                self.answer(index, &name);
            }
            self.fall_ill(index);
        }
    }

    /// The revision that a replica would offer an agent.
    fn due(&self, index: usize) -> Option<String> {
        let member = &self.members[index];
        let assignment = self.assignment.clone();
        let cohort = Cohort::read(&assignment.seed, &assignment.terms);
        let needs = assignment.target.as_ref().and_then(|target| self.needs.get(target));
        let inside = |cohort: &Cohort| cohort.contains(member.seen.uid, |ring| member.seen.is_in(ring));
        let in_cohort = || cohort.as_ref().is_some_and(inside) && member.seen.missing(needs).is_empty();
        let sides = Sides {
            target: assignment.target.as_deref().map(hash),
            stable: assignment.stable.as_deref().map(hash),
            rolling_back: assignment.rolling_back,
            retried_at: assignment.retried_at.map(|time| time.0),
        };
        let name = match side(&sides, in_cohort, &member.seen.ledger)? {
            Side::Target => assignment.target,
            Side::Stable => assignment.stable,
        }?;
        let able = member.seen.connected && member.seen.accepts_config;
        (able && member.seen.running != Some(hash(&name))).then_some(name)
    }

    fn answer(&mut self, index: usize, name: &str) {
        let (now, bad) = (self.now, self.bad.contains(name));
        let member = &mut self.members[index];
        member.seen.exempt = member.seen.healthy == Some(false);
        match member.manner {
            Manner::Silent => {}
            // Nobody will ever know what became of it.
            _ if member.seen.is_unverified() => {}
            Manner::Refuses if bad => member.seen.ledger.renew(hash(name), Verdict::failed("no"), now),
            _ => {
                member.seen.running = Some(hash(name));
                member.seen.ledger.renew(hash(name), Verdict::Applied, now);
                if member.seen.healthy == Some(false) && !member.seen.exempt {
                    member.seen.healthy = Some(true);
                    member.seen.health_since = now;
                }
            }
        }
    }

    fn fall_ill(&mut self, index: usize) {
        let bad: BTreeSet<ConfigHash> = self.bad.iter().map(|name| hash(name)).collect();
        let (now, member) = (self.now, &mut self.members[index]);
        let sick = member.manner == Manner::FallsIll
            && member.seen.running.is_some_and(|running| bad.contains(&running));
        let given = member.seen.ledger.iter().find(|given| Some(given.hash) == member.seen.running);
        let settled = given.is_some_and(|given| given.at < now);
        let healthy = !(sick && settled);
        if member.manner == Manner::FallsIll && member.seen.healthy != Some(healthy) {
            member.seen.healthy = Some(healthy);
            member.seen.health_since = now;
        }
    }

    /// Ticks by the second until a state is reached.
    pub fn run_until(&mut self, state: RolloutState) {
        for _ in 0..10_000 {
            if self.tick(1) == state {
                return;
            }
        }
        panic!("{state:?} was not reached: {:?} {}", self.status.state, self.status.message);
    }

    /// How many agents run a revision.
    pub fn running(&self, name: &str) -> usize {
        self.members.iter().filter(|member| member.seen.running == Some(hash(name))).count()
    }

    /// How many agents were ever offered a revision.
    pub fn offered(&self, name: &str) -> usize {
        self.members.iter().filter(|member| member.offered.contains(name)).count()
    }

    /// Whether a condition stands, for this reason.
    pub fn is_stalled(&self, reason: Reason) -> bool {
        self.status
            .conditions
            .iter()
            .any(|c| c.type_ == "Stalled" && c.status == "True" && c.reason == reason.as_str())
    }

    /// The members of the cohort, by index.
    pub fn cohort(&self) -> Vec<usize> {
        let Some(cohort) = &self.status.cohort else { return Vec::new() };
        let cohort = Cohort::read(&cohort.seed, &cohort.terms).expect("readable");
        let inside = |index: &usize| {
            let seen = &self.members[*index].seen;
            cohort.contains(seen.uid, |ring| seen.is_in(ring))
        };
        (0..self.members.len()).filter(inside).collect()
    }

    /// An agent's connection ends.
    pub fn disconnect(&mut self, index: usize) {
        let now = self.now;
        let seen = &mut self.members[index].seen;
        seen.connected = false;
        seen.since = now;
    }

    /// An agent returns.
    pub fn reconnect(&mut self, index: usize) {
        let now = self.now;
        let seen = &mut self.members[index].seen;
        seen.connected = true;
        seen.since = now;
    }
}
