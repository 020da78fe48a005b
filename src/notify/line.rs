//! What one receiver is still to be told: who waits, when the next post may go out, and what was left out. Pure: the time
//! is an argument.

use super::notice::{Kind, Notice, Turn};
use super::retry::{Outcome, pause};
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Most notices that wait for one receiver. At the default pace of 30 a minute it is emptied in about three minutes; a
/// notice takes some 2 KB, so 32 receivers take 7 MB at most. When it is full the oldest one is left out and counted:
/// what is newer says more of how things are.
pub const CAPACITY: usize = 100;

/// By what a line goes.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Most posts in any minute.
    pub max_per_minute: usize,
    /// How old something may be that is still tried again.
    pub give_up_after: Duration,
    /// Whether a newer notice of an object takes the place of an older one that still waits.
    pub only_the_last: bool,
}

/// Why a notice leaves the line, otherwise than by being tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The line was full.
    Overflowed,
    /// A newer one says it better.
    Superseded,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing: nobody waits.
    Nothing,
    /// Look again then, or when something is added.
    At(Timestamp),
    /// Post this, and tell that so many were left out.
    Post(Arc<Notice>, u64),
}

/// What became of the notice that was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is told.
    Delivered,
    /// It is not, and never will be.
    Refused,
    /// It has been tried for long enough.
    GaveUp,
    /// It is tried again.
    Again,
}

/// The line of a receiver.
#[derive(Debug, Default)]
pub struct Line {
    /// The one that is tried.
    first: Option<Waiting>,
    waiting: VecDeque<Waiting>,
    /// How many were left out since one was delivered that says so.
    left_out: u64,
    /// How many of these the post under way tells of.
    telling: u64,
    /// When posts of the last minute went out.
    posted: VecDeque<Timestamp>,
    /// Failures since something was answered well.
    failures: u32,
    /// Until then the receiver is left alone.
    rest: Option<Timestamp>,
}

#[derive(Debug)]
struct Waiting {
    notice: Arc<Notice>,
    since: Timestamp,
}

impl Line {
    /// How many wait, the one that is tried included.
    pub fn length(&self) -> usize {
        self.waiting.len() + usize::from(self.first.is_some())
    }

    /// Adds one; which others leave for it.
    pub fn add(&mut self, notice: Arc<Notice>, now: Timestamp, rules: &Rules) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        // One that is being tried stays: it may have been told already.
        let before = self.waiting.len();
        self.waiting.retain(|older| !supersedes(&notice, &older.notice, rules));
        dropped.extend((self.waiting.len()..before).map(|_| Dropped::Superseded));
        self.waiting.push_back(Waiting { notice, since: now });
        if self.waiting.len() > CAPACITY {
            self.waiting.pop_front();
            self.left_out += 1;
            dropped.push(Dropped::Overflowed);
        }
        dropped
    }

    /// What to do now. Whoever is told to post tells what came of it by [`Line::settle`].
    pub fn next(&mut self, now: Timestamp, rules: &Rules) -> Next {
        if self.first.is_none() {
            self.first = self.waiting.pop_front();
        }
        let Some(first) = &self.first else { return Next::Nothing };
        let minute = SignedDuration::from_mins(1);
        while self.posted.front().is_some_and(|then| now.duration_since(*then) >= minute) {
            self.posted.pop_front();
        }
        let paced = match self.posted.len().checked_sub(rules.max_per_minute) {
            Some(more) => self.posted.get(more).map(|then| later(*then, Duration::from_mins(1))),
            None => None,
        };
        if let Some(at) = [paced, self.rest].into_iter().flatten().max().filter(|at| *at > now) {
            return Next::At(at);
        }
        self.posted.push_back(now);
        // The end of an incident has no text.
        let is_told = !rules.only_the_last || first.notice.kind.turn() != Turn::Relief;
        self.telling = if is_told { self.left_out } else { 0 };
        Next::Post(first.notice.clone(), self.telling)
    }

    /// Takes in what came of the post. `chance` is from 0 to 1.
    pub fn settle(&mut self, outcome: &Outcome, now: Timestamp, chance: f64, rules: &Rules) -> Settled {
        match outcome {
            Outcome::Taken => {
                self.first = None;
                (self.failures, self.rest) = (0, None);
                self.left_out -= self.telling;
                Settled::Delivered
            }
            Outcome::Refused(_) => {
                self.first = None;
                (self.failures, self.rest) = (0, None);
                self.left_out += 1;
                Settled::Refused
            }
            Outcome::Failed { pause: asked, .. } => {
                self.failures = self.failures.saturating_add(1);
                let wait = pause(self.failures, chance).max(asked.unwrap_or_default());
                let again = later(now, wait);
                self.rest = Some(again);
                let end = self.first.as_ref().map(|first| later(first.since, rules.give_up_after));
                if end.is_some_and(|end| again <= end) {
                    return Settled::Again;
                }
                self.first = None;
                self.left_out += 1;
                Settled::GaveUp
            }
        }
    }

    /// Takes away all that wait, the one that is tried included; how many.
    pub fn clear(&mut self) -> usize {
        let gone = self.length();
        self.waiting.clear();
        self.first = None;
        gone
    }
}

/// Whether `older` need not be told any more.
fn supersedes(newer: &Notice, older: &Notice, rules: &Rules) -> bool {
    let same_object = newer.subject() == older.subject();
    let counts = newer.kind == Kind::AgentsQuarantined && older.kind == newer.kind;
    same_object && (rules.only_the_last || counts)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
