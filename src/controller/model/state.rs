//! The model's states, and what may happen in each.
//!
//! Versions are not counted: a copy of an object says whether it is still the object as it stands. Times are ages in
//! ticks, so that the states are finite.

use super::search::Way;
use crate::api::{Cohort as Written, ConfigRolloutStatus, Stage, Term};
use crate::cluster::{Observed, Step, evaluate};
use crate::controller::term::next_term;
use crate::fleet::{Cohort, InstanceUid, Rank};
use crate::rollout::assignment;
use std::sync::LazyLock;
use std::time::Duration;

/// How long the Lease lasts, in ticks.
const DURATION: u8 = 1;
/// How often the Lease may change hands, how high terms may get, and how many writes may be under way.
const MAX_TRANSITIONS: i64 = 2;
const MAX_TERM: i64 = 2;
const MAX_WRITES: usize = 2;
const REPLICAS: [usize; 2] = [0, 1];

/// Which of the operator's rules hold; without one the model must find what it is for.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each rule is there or not")]
pub struct Rules {
    /// The API server refuses a lower term.
    pub term: bool,
    /// Writes are conditional on the version of the object that they were decided from.
    pub versions: bool,
    /// The group's assignment follows from a rollout's status that is written.
    pub status_first: bool,
    /// A leader writes a rollout and its group one after the other, and the group only from the rollout that it wrote
    /// last.
    pub in_turn: bool,
    /// Whoever takes the Lease over, also from somebody who took it from itself, takes office anew.
    pub anew: bool,
}

/// The statuses of the rollout: nobody is let in, everybody, nobody again.
type Status = u8;
const BEFORE: Status = 0;
const FULL: Status = 1;
const BACK: Status = 2;

/// Where an attempt may go from a status.
fn goes_on_to(status: Status) -> &'static [Status] {
    [&[FULL][..], &[BACK], &[]][usize::from(status)]
}

fn lets_in(status: Status) -> usize {
    static LET_IN: LazyLock<[usize; 3]> = LazyLock::new(|| [BEFORE, FULL, BACK].map(count_let_in));
    LET_IN[usize::from(status)]
}

/// How many of eight agents run the target by the assignment that follows from a status.
fn count_let_in(status: Status) -> usize {
    let all = vec![Term { boundary: Rank::ALL.to_string(), ..Term::default() }];
    let (terms, stage) = match status {
        BEFORE => (Vec::new(), Stage::Running),
        FULL => (all, Stage::Running),
        _ => (all, Stage::RollingBack),
    };
    let seed = "0000000000000001".to_owned();
    let cohort = Written { attempt: 1, seed, terms, stage, ..Written::default() };
    let status = ConfigRolloutStatus {
        target_revision: Some("r-2".into()),
        stable_revision: Some("r-1".into()),
        cohort: Some(cohort),
        ..ConfigRolloutStatus::default()
    };
    let assigned = assignment(None, 1, Some(&status), None);
    let cohort = Cohort::read(&assigned.seed, &assigned.terms).expect("a seed");
    (0..8).filter(|agent| cohort.contains(InstanceUid::new([*agent; 16]), |_| false)).count()
}

/// Everything at one moment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    lease: Lease,
    rollout: Object,
    group: Object,
    replicas: [Replica; 2],
    /// Writes that are under way, whatever became of their replica.
    writes: Vec<Write>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Lease {
    holder: Option<usize>,
    transitions: i64,
}

/// An object: the status that it has, or that its assignment follows from, and the term.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Object {
    status: Status,
    term: Option<i64>,
}

/// An object as a replica's watch has it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Copied {
    status: Status,
    current: bool,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Replica {
    /// For how many ticks it may still rely on the Lease, and how often that had changed hands.
    held: u8,
    transitions: i64,
    /// How long the Lease has not changed, as this replica saw it.
    unchanged_for: Option<u8>,
    turn: Option<Turn>,
    office: Office,
    rollout: Copied,
    group: Copied,
    /// Whether its copy of the rollout is older than its own last write of it.
    behind: bool,
}

/// A write of the Lease that is under way.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Turn {
    step: Step,
    asked: u8,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Office {
    #[default]
    None,
    /// It takes office: the objects are stamped one after the other.
    Stamping { term: i64, stamped: usize },
    /// It leads.
    Leading { term: i64 },
}

impl Office {
    fn term(self) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Stamping { term, .. } | Self::Leading { term } => Some(term),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Group,
    Rollout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Write {
    by: usize,
    term: i64,
    object: Kind,
    /// The new status; none: a stamp, which is not conditional.
    status: Option<Status>,
    /// Whether the object is still the one that the write was decided from.
    current: bool,
}

/// What may happen, most of it to the replica of that number.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "people read them in the way to a violation")]
pub enum Event {
    Tick,
    Crashes(usize),
    AsksForLease(usize),
    LeaseWritten(usize),
    GivesLeaseBack(usize),
    TakesOffice(usize),
    Stamps(usize),
    SeesLeaseLost(usize),
    Sees(usize, Kind),
    Sends(Write),
    Arrives(Write),
}

impl State {
    /// Replica 0 leads in term 1, and nothing is rolled out yet.
    pub fn start() -> Self {
        let object = Object { status: BEFORE, term: Some(1) };
        let copied = Copied { status: BEFORE, current: true };
        let leader = Replica {
            held: DURATION,
            office: Office::Leading { term: 1 },
            rollout: copied,
            group: copied,
            ..Replica::default()
        };
        Self {
            lease: Lease { holder: Some(0), transitions: 0 },
            rollout: object,
            group: object,
            replicas: [leader, Replica::default()],
            writes: Vec::new(),
        }
    }

    /// Everything that may happen next.
    pub fn next(&self, rules: Rules) -> Vec<Way<Self, Event>> {
        let mut ways = vec![(Event::Tick, Ok(self.tick()))];
        for me in REPLICAS {
            let of_one = [
                (Event::Crashes(me), Some(self.crash(me))),
                (Event::AsksForLease(me), self.ask(me)),
                (Event::LeaseWritten(me), self.turn_lands(me, rules)),
                (Event::GivesLeaseBack(me), self.release(me)),
                (Event::TakesOffice(me), self.take_office(me)),
                (Event::Stamps(me), self.stamp(me)),
                (Event::SeesLeaseLost(me), self.notice(me)),
                (Event::Sees(me, Kind::Group), self.watch(me, Kind::Group)),
                (Event::Sees(me, Kind::Rollout), self.watch(me, Kind::Rollout)),
            ];
            ways.extend(of_one.into_iter().filter_map(|(event, after)| Some((event, Ok(after?)))));
            let decided = self.decide(me, rules).into_iter();
            ways.extend(decided.map(|write| (Event::Sends(write), Ok(self.send(write)))));
        }
        ways.extend((0..self.writes.len()).map(|at| (Event::Arrives(self.writes[at]), self.land(at, rules))));
        if self.replicas.iter().all(|replica| replica.held > 0) {
            ways.push((Event::Tick, Err("two replicas hold the lease".into())));
        }
        ways.retain(|(_, after)| after.as_ref() != Ok(self));
        ways
    }

    fn tick(&self) -> Self {
        let mut after = self.clone();
        let later = |age: &mut u8| *age = (*age + 1).min(DURATION);
        for replica in &mut after.replicas {
            replica.held = replica.held.saturating_sub(1);
            if replica.held == 0 {
                replica.transitions = 0;
            }
            replica.unchanged_for.iter_mut().for_each(later);
            replica.turn.iter_mut().for_each(|turn| later(&mut turn.asked));
        }
        after
    }

    fn with(&self, me: usize, change: impl FnOnce(&mut Replica)) -> Self {
        let mut after = self.clone();
        change(&mut after.replicas[me]);
        if !matches!(after.replicas[me].office, Office::Leading { .. }) {
            (after.replicas[me].rollout, after.replicas[me].group) = Default::default();
            after.replicas[me].behind = false;
        }
        after
    }

    fn crash(&self, me: usize) -> Self {
        self.with(me, |replica| *replica = Replica::default())
    }

    /// Reads the Lease and decides; a write is then under way, unless somebody else holds it.
    fn ask(&self, me: usize) -> Option<Self> {
        let replica = &self.replicas[me];
        if replica.turn.is_some() {
            return None;
        }
        let unchanged_for = replica.unchanged_for.unwrap_or(0);
        let seconds = |ticks: u8| Duration::from_secs(ticks.into());
        let name = |replica: usize| ["a", "b"][replica];
        let holder = self.lease.holder.map_or("", name);
        let observed = Observed { holder, unchanged_for: seconds(unchanged_for) };
        let step = evaluate(Some(observed), name(me), seconds(DURATION));
        if step == Step::TakeOver && self.lease.transitions == MAX_TRANSITIONS {
            return None;
        }
        Some(self.with(me, |replica| {
            replica.unchanged_for = Some(unchanged_for);
            replica.turn = (step != Step::Wait).then_some(Turn { step, asked: 0 });
        }))
    }

    fn turn_lands(&self, me: usize, rules: Rules) -> Option<Self> {
        let turn = self.replicas[me].turn.clone()?;
        let mut after = self.clone();
        after.lease.holder = Some(me);
        after.lease.transitions += i64::from(turn.step == Step::TakeOver);
        after.lease_changed();
        after.replicas[me].held = DURATION - turn.asked;
        after.replicas[me].transitions = after.lease.transitions;
        let is_new = rules.anew && turn.step == Step::TakeOver;
        Some(if is_new { after.with(me, |replica| replica.office = Office::None) } else { after })
    }

    /// Whoever is about to write it meets a conflict, and asks again.
    fn lease_changed(&mut self) {
        for replica in &mut self.replicas {
            replica.unchanged_for = None;
            replica.turn = None;
        }
    }

    /// The program ends: it leads no more, then gives the Lease back.
    fn release(&self, me: usize) -> Option<Self> {
        let mut after = self.crash(me);
        if self.lease.holder != Some(me) {
            return None;
        }
        after.lease.holder = None;
        after.lease_changed();
        Some(after)
    }

    fn take_office(&self, me: usize) -> Option<Self> {
        let replica = &self.replicas[me];
        let terms = [self.group.term, self.rollout.term].into_iter().flatten();
        let term = next_term(replica.transitions, terms);
        let may = replica.held > 0 && replica.office == Office::None && term <= MAX_TERM;
        may.then(|| self.with(me, |replica| replica.office = Office::Stamping { term, stamped: 0 }))
    }

    fn stamp(&self, me: usize) -> Option<Self> {
        let Office::Stamping { term, stamped } = self.replicas[me].office else { return None };
        let object = [Kind::Group, Kind::Rollout][stamped];
        let write = Write { by: me, term, object, status: None, current: true };
        (!self.writes.contains(&write) && self.writes.len() < MAX_WRITES).then(|| self.send(write))
    }

    fn notice(&self, me: usize) -> Option<Self> {
        let lost = self.replicas[me].held == 0 && self.replicas[me].office != Office::None;
        lost.then(|| self.with(me, |replica| replica.office = Office::None))
    }

    fn watch(&self, me: usize, object: Kind) -> Option<Self> {
        let copied = Copied { status: self.object(object).status, current: true };
        let leads = matches!(self.replicas[me].office, Office::Leading { .. });
        leads.then(|| {
            self.with(me, |replica| {
                *replica.copy_mut(object) = copied;
                replica.behind &= object == Kind::Group;
            })
        })
    }

    fn object(&self, object: Kind) -> Object {
        match object {
            Kind::Group => self.group,
            Kind::Rollout => self.rollout,
        }
    }

    /// The writes that a leader may decide on, of objects of which none of its own is under way.
    fn decide(&self, me: usize, rules: Rules) -> Vec<Write> {
        let replica = &self.replicas[me];
        let Office::Leading { term } = replica.office else { return Vec::new() };
        if replica.held == 0 || self.writes.len() == MAX_WRITES {
            return Vec::new();
        }
        let steps = goes_on_to(replica.rollout.status);
        let write = |object, status, copy: Copied| Write {
            by: me,
            term,
            object,
            status: Some(status),
            current: copy.current,
        };
        let mut decided: Vec<Write> =
            steps.iter().map(|status| write(Kind::Rollout, *status, replica.rollout)).collect();
        let assigned = if rules.status_first { &[replica.rollout.status][..] } else { steps };
        let assigned = assigned.iter().filter(|status| **status != replica.group.status);
        decided.extend(assigned.map(|status| write(Kind::Group, *status, replica.group)));
        let mine = || self.writes.iter().filter(|write| (write.by, write.term) == (me, term));
        let busy = |object| mine().any(|write| write.object == object || rules.in_turn);
        let behind = |object| rules.in_turn && replica.behind && object == Kind::Group;
        decided.retain(|write| !busy(write.object) && !behind(write.object));
        decided
    }

    fn send(&self, write: Write) -> Self {
        let mut after = self.clone();
        after.writes.push(write);
        after.writes.sort_unstable();
        after
    }

    /// A write arrives at the API server, and its answer at the replica if that is still there.
    fn land(&self, at: usize, rules: Rules) -> Result<Self, String> {
        let mut after = self.clone();
        let write = after.writes.remove(at);
        let object = self.object(write.object);
        let office = self.replicas[write.by].office;
        let is_mine = office.term() == Some(write.term);
        if rules.term && object.term.is_some_and(|term| write.term < term) {
            // The leader steps down, or does not take office.
            return Ok(if is_mine {
                after.with(write.by, |replica| replica.office = Office::None)
            } else {
                after
            });
        }
        if let Some(status) = write.status {
            if rules.versions && !write.current {
                return Ok(after);
            }
            self.check(write, status)?;
        }
        after.change(write, rules);
        if !is_mine {
            return Ok(after);
        }
        after.replicas[write.by].behind |= write.object == Kind::Rollout && write.status.is_some();
        Ok(if write.status.is_none() { after.stamped(write.by) } else { after })
    }

    /// What must not happen.
    fn check(&self, write: Write, status: Status) -> Result<(), String> {
        let object = self.object(write.object);
        if let Some(term) = object.term.filter(|term| write.term < *term) {
            return Err(format!("a write of term {} lands after term {term} was stamped", write.term));
        }
        if write.object == Kind::Rollout && !goes_on_to(object.status).contains(&status) {
            return Err(format!("status {status} does not follow from {}", object.status));
        }
        let (now, says) = (lets_in(status), lets_in(self.rollout.status));
        if write.object == Kind::Group && now > lets_in(object.status) && now > says {
            return Err(format!("a write lets in more than the rollout says: {now}, not {says}"));
        }
        Ok(())
    }

    fn change(&mut self, write: Write, rules: Rules) {
        let object = match write.object {
            Kind::Group => &mut self.group,
            Kind::Rollout => &mut self.rollout,
        };
        object.term = Some(write.term);
        object.status = write.status.unwrap_or(object.status);
        for replica in &mut self.replicas {
            replica.copy_mut(write.object).current = false;
        }
        for other in &mut self.writes {
            other.current &= other.object != write.object || other.status.is_none();
        }
        // What will certainly come to nothing is as good as answered.
        let (group, rollout) = (self.group.term, self.rollout.term);
        let offices = [0, 1].map(|replica: usize| self.replicas[replica].office.term());
        self.writes.retain(|write| {
            let term = if write.object == Kind::Group { group } else { rollout };
            let is_refused = rules.term && Some(write.term) < term && offices[write.by] != Some(write.term);
            (write.current || !rules.versions) && !is_refused
        });
        self.writes.sort_unstable();
    }

    /// One more object has the term; after the last, the leader leads, with all objects as they are listed then.
    fn stamped(&self, me: usize) -> Self {
        let Office::Stamping { term, stamped } = self.replicas[me].office else { return self.clone() };
        if stamped == 0 {
            return self.with(me, |replica| replica.office = Office::Stamping { term, stamped: 1 });
        }
        let listed = |object: Object| Copied { status: object.status, current: true };
        let (rollout, group) = (listed(self.rollout), listed(self.group));
        self.with(me, |replica| {
            replica.office = Office::Leading { term };
            (replica.rollout, replica.group) = (rollout, group);
        })
    }
}

impl Replica {
    fn copy_mut(&mut self, object: Kind) -> &mut Copied {
        match object {
            Kind::Group => &mut self.group,
            Kind::Rollout => &mut self.rollout,
        }
    }
}
