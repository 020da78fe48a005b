//! One attempt with one revision: through its phases, or back.

use super::assignment::is_going_back;
use super::conditions::Outcome;
use super::crowd::{Crowd, length};
use super::input::Input;
use super::message;
use super::phases::{self, Begun, Pace};
use super::requests::{Asked, Request, was_asked};
use super::standing::Rules;
use super::tally::{Members, Tally, returning, tally};
use crate::api::{
    Approval, Cohort, ConfigRolloutStatus, Duration, OnFailure, PhaseOutcome, Reason, RolloutState, Stage,
};
use crate::fleet::{ObservedAgent, Seed, signed};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time;

/// What an attempt is judged by.
pub struct Attempt<'a> {
    pub input: &'a Input<'a>,
    pub offline_after: time::Duration,
}

impl Attempt<'_> {
    /// Begins an attempt with a revision at the first phase. The attempt before it, if any, is superseded: its
    /// agents are assigned this target if they are in the new cohort, else stable. A retry forgives refusals.
    pub fn begin(&self, status: &mut ConfigRolloutStatus, revision: &str, retried: bool) {
        let (attempt, forgiven) =
            status.cohort.as_ref().map_or((0, None), |cohort| (cohort.attempt, cohort.retried_at.clone()));
        status.target_revision = Some(revision.to_owned());
        status.cohort = Some(Cohort {
            attempt: attempt + 1,
            seed: Seed::new(self.input.entropy).to_string(),
            since: Some(Time(self.input.now)),
            retried_at: if retried { Some(Time(self.input.now)) } else { forgiven },
            ..Cohort::default()
        });
        status.phases = phases::plan(&self.input.strategy.phases);
        status.current_phase = None;
        // While a person has paused the rollout nobody is let in; those of the attempt before go back all the same.
        if !self.input.paused {
            self.begin_phase(status, 0, 0);
        }
    }

    /// Brings the attempt under way on, and says where it stands.
    pub fn advance(&self, status: &mut ConfigRolloutStatus, notices: &mut [Asked]) -> Outcome {
        let Some(stage) = status.cohort.as_ref().map(|cohort| cohort.stage) else {
            return Outcome::new(
                RolloutState::Pending,
                Reason::Progressing,
                "nothing has been rolled out yet",
            );
        };
        let retry = was_asked(notices, &Request::Retry);
        if retry && matches!(stage, Stage::Held | Stage::Halted) {
            self.resume(status);
        } else if retry && stage == Stage::Completed {
            // Offered again to the agents that failed; for all others nothing changes.
            status.failures.clear();
            status.agents.failed = 0;
            status.cohort.iter_mut().for_each(|cohort| cohort.retried_at = Some(Time(self.input.now)));
        } else if retry && stage == Stage::RolledBack && self.input.strategy.falling_phase().is_some() {
            refuse(notices, &Request::Retry, "a phase has fewer agents than the one before it; raise it");
        } else if retry && stage == Stage::RolledBack {
            let target = status.target_revision.clone().unwrap_or_default();
            self.begin(status, &target, true);
        } else if retry {
            refuse(notices, &Request::Retry, "nothing has failed that could be tried again");
        }
        let tally = self.count(status);
        match status.cohort.as_ref().map(|cohort| cohort.stage).unwrap_or_default() {
            Stage::Running => self.run(status, &tally, notices),
            Stage::Held if was_asked(notices, &Request::Abort) => {
                self.end(status, &tally, Reason::Aborted, "aborted by request")
            }
            stage => {
                refuse(notices, &Request::Abort, "no attempt is under way");
                refuse_promote(notices, "no phase is under way");
                self.stand(status, &tally, stage)
            }
        }
    }

    /// Goes on where the attempt stopped: seed and terms stay, failures are forgiven.
    fn resume(&self, status: &mut ConfigRolloutStatus) {
        let now = self.input.now;
        if let Some(cohort) = &mut status.cohort {
            cohort.retried_at = Some(Time(now));
            cohort.ended = String::new();
        }
        enter(status, Stage::Running, self.input);
        phases::end(status, PhaseOutcome::Running);
        if let Some(current) = &mut status.current_phase {
            current.progress_at = Time(now);
            current.soak_until = None;
        }
    }

    /// Counts the agents anew. What failed stands still once the attempt goes back: from then on its agents are not to
    /// run the target.
    fn count(&self, status: &mut ConfigRolloutStatus) -> Tally {
        let members = self.members(status);
        let target = status.target_revision.as_ref().and_then(|name| self.input.revisions.get(name));
        let strategy = self.input.strategy;
        let rules = target.map(|target| Rules {
            target: target.hash,
            apply_timeout: signed(strategy.apply_timeout.get()),
            interval: signed(self.input.assumed_interval),
            unreachable_for: signed(self.input.unreachable_for),
            offline_after: signed(self.offline_after),
            retried_at: status
                .cohort
                .as_ref()
                .and_then(|cohort| cohort.retried_at.as_ref())
                .map(|time| time.0),
            over: status.cohort.as_ref().is_some_and(|cohort| cohort.stage == Stage::Completed),
            now: self.input.now,
            watched_until: self.input.watched_until.unwrap_or(Timestamp::MIN),
        });
        let before = status.agents.updated;
        let to_come = phases::to_come(status, &self.crowd(status));
        if status.cohort.as_ref().is_some_and(is_going_back) {
            let target = rules.map(|rules| rules.target);
            let tally = returning(&self.crowd(status), members.as_ref(), target, &status.agents);
            status.agents = tally.counts.clone();
            status.progress = format!("{}/{}", tally.counts.updated, tally.counts.eligible);
            return tally;
        }
        let mut tally = tally(&self.crowd(status), members.as_ref(), rules.as_ref());
        if status.cohort.as_ref().is_some_and(|cohort| cohort.stage == Stage::Completed) {
            keep_history(status, &mut tally);
        }
        if let Some(current) = status.current_phase.as_mut().filter(|_| tally.counts.updated > before) {
            current.progress_at = Time(self.input.now);
        }
        if let Some(cohort) = &mut status.cohort {
            cohort.base = cohort.base.max(length(tally.judged + to_come));
        }
        status.progress = format!("{}/{}", tally.counts.updated, tally.counts.eligible);
        status.agents = tally.counts.clone();
        status.failures.clone_from(&tally.failures);
        tally
    }

    /// The gate comes first, whatever else is asked for; then the phase.
    fn run(&self, status: &mut ConfigRolloutStatus, tally: &Tally, notices: &mut [Asked]) -> Outcome {
        let base =
            usize::try_from(status.cohort.as_ref().map_or(0, |cohort| cohort.base)).unwrap_or_default();
        let tolerated = self.input.strategy.failure_threshold.tolerated(base);
        if was_asked(notices, &Request::Abort) {
            return self.end(status, tally, Reason::Aborted, "aborted by request");
        }
        if tally.counts.failed > length(tolerated) {
            refuse_promote(notices, "the gate has failed");
            let why = message::tripped(tally, base, self.input.strategy.failure_threshold);
            return self.end(status, tally, Reason::TooManyFailures, &why);
        }
        // The last phase ends with evidence only: what it completes becomes stable.
        if is_last(status) && !may_end(status, tally) {
            refuse_promote(notices, "the last phase ends once its agents have answered and one is good");
        }
        let asked = promote(notices);
        phases::pause(status, self.input.paused && asked.is_none(), self.input.now);
        match asked {
            Some(full) => {
                let before = status.phases.clone();
                let outcome = self.promote(status, tally, full);
                if status.phases == before {
                    let why = message::phase(status, &tally.counts);
                    refuse_promote(notices, &format!("nothing is left to end: {why}"));
                }
                outcome
            }
            None if self.input.paused => {
                let text = message::paused(status, &tally.counts);
                Outcome::new(RolloutState::Paused, Reason::Paused, text)
            }
            None => self.phase(status, tally),
        }
    }

    /// The group's agents as the target meets them.
    fn crowd(&self, status: &ConfigRolloutStatus) -> Crowd<'_> {
        self.input.crowd(status.target_revision.as_deref(), Some(status))
    }

    fn members(&self, status: &ConfigRolloutStatus) -> Option<Members> {
        let apply_timeout = signed(self.input.strategy.apply_timeout.get());
        Members::read(status.cohort.as_ref()?, &status.phases, apply_timeout)
    }

    /// Begins the phase at `index`, or the next one that lets somebody in.
    fn begin_phase(&self, status: &mut ConfigRolloutStatus, index: usize, in_flight: i64) -> Begun {
        let crowd = self.crowd(status);
        let begun = phases::begin(status, index, &crowd, self.input.now);
        if begun == Begun::Yes {
            self.let_in(status, in_flight);
        }
        begun
    }

    /// Lets in as many of the phase's agents as may be in flight at once; true if there are any.
    fn let_in(&self, status: &mut ConfigRolloutStatus, in_flight: i64) -> bool {
        let pace = Pace {
            max_in_flight: self.input.strategy.max_in_flight as usize,
            in_flight: usize::try_from(in_flight).unwrap_or_default(),
            apply_timeout: signed(self.input.strategy.apply_timeout.get()),
            now: self.input.now,
        };
        let crowd = self.crowd(status);
        phases::let_in(status, &crowd, &pace)
    }

    /// Judges the phase under way.
    fn phase(&self, status: &mut ConfigRolloutStatus, tally: &Tally) -> Outcome {
        if self.let_in(status, tally.counts.pending) {
            // Whoever is let in now is counted before anything else is decided.
            let tally = self.count(status);
            return self.wait(status, &tally);
        }
        let Some((index, phase)) = phases::current(status) else { return self.next(status, tally, 0) };
        let (soak, approval) = (phase.phase.duration.as_ref().map(Duration::get), phase.phase.approval);
        if phase.outcome == PhaseOutcome::Passed {
            return self.next(status, tally, index + 1);
        }
        if !may_end(status, tally) {
            // What was settled, and is no longer: the time for that begins now.
            let settled =
                [RolloutState::Soaking, RolloutState::AwaitingApproval].contains(&self.input.prior.state);
            if let Some(current) = status.current_phase.as_mut().filter(|_| settled) {
                current.progress_at = Time(self.input.now);
            }
            return self.wait(status, tally);
        }
        let now = self.input.now;
        let soak_until =
            status.current_phase.as_ref().and_then(|current| current.soak_until.as_ref()).map(|time| time.0);
        let until = soak_until.or_else(|| Some(now + signed(soak?)));
        if let Some(until) = until {
            if let Some(current) = &mut status.current_phase {
                current.soak_until = Some(Time(until));
            }
            // Time that nobody watched is no soak.
            if now < until || self.input.watched_until.is_none_or(|watched| watched < until) {
                let text = message::soaking(status, &tally.counts, until, now);
                return Outcome::new(RolloutState::Soaking, Reason::Soaking, text);
            }
        }
        if approval == Approval::Manual {
            let text = format!(
                "{}; waiting for annotation fleet.opamp.dev/promote",
                message::phase(status, &tally.counts)
            );
            return Outcome::new(RolloutState::AwaitingApproval, Reason::AwaitingApproval, text);
        }
        self.next(status, tally, index + 1)
    }

    /// The phase has passed: begins the next one, or completes. One step a call, so that whoever is let in now is
    /// counted before anything else is decided. While nobody can be reached, as after a restart of the operator, the
    /// next phase does not begin: it would be a share of nothing.
    fn next(&self, status: &mut ConfigRolloutStatus, tally: &Tally, index: usize) -> Outcome {
        phases::end(status, PhaseOutcome::Passed);
        let next = status.phases.get(index).map(|next| &next.phase);
        if next.is_some_and(|next| !phases::can_reach(next, &tally.counts)) {
            return self.wait(status, tally);
        }
        if index >= status.phases.len() {
            return self.complete(status, tally);
        }
        match self.begin_phase(status, index, tally.counts.pending) {
            Begun::Yes => {
                let tally = self.count(status);
                let text = message::phase(status, &tally.counts);
                Outcome::new(RolloutState::Progressing, Reason::Progressing, text)
            }
            Begun::RingUnknown => self.wait(status, tally),
            Begun::Over => self.complete(status, tally),
        }
    }

    /// Ends the phase's wait, soak or approval; `full` ends those of all that follow, which leaves the last phase.
    fn promote(&self, status: &mut ConfigRolloutStatus, tally: &Tally, full: bool) -> Outcome {
        let last = status.phases.len().saturating_sub(1);
        match phases::current(status).map(|(index, _)| index) {
            Some(index) if index == last => self.complete(status, tally),
            Some(index) => self.next(status, tally, if full { last } else { index + 1 }),
            None => self.next(status, tally, if full { last } else { 0 }),
        }
    }

    fn wait(&self, status: &ConfigRolloutStatus, tally: &Tally) -> Outcome {
        let text = message::phase(status, &tally.counts);
        let outcome = Outcome::new(RolloutState::Progressing, Reason::Progressing, text.clone());
        let began = status.cohort.as_ref().and_then(|cohort| cohort.since.as_ref());
        let since =
            status.current_phase.as_ref().map(|current| &current.progress_at).or(began).map(|time| time.0);
        let deadline = signed(self.input.strategy.progress_deadline.get());
        if tally.inconclusive {
            let text =
                format!("{text}; as many agents outside the phase are gone as in it, so nothing is decided");
            return Outcome::new(RolloutState::Progressing, Reason::ConnectivityLost, text).stalled();
        }
        if since.is_some_and(|since| self.input.now.duration_since(since) > deadline) {
            let text = format!("no progress for {}: {text}", self.input.strategy.progress_deadline);
            return Outcome::new(RolloutState::Progressing, Reason::ProgressDeadlineExceeded, text).stalled();
        }
        outcome
    }

    fn complete(&self, status: &mut ConfigRolloutStatus, tally: &Tally) -> Outcome {
        phases::end(status, PhaseOutcome::Passed);
        enter(status, Stage::Completed, self.input);
        status.stable_revision.clone_from(&status.target_revision);
        status.current_phase = None;
        self.stand(status, tally, Stage::Completed)
    }

    /// Ends the attempt: back to stable, or as it stands where there is nothing to go back to.
    fn end(&self, status: &mut ConfigRolloutStatus, tally: &Tally, reason: Reason, why: &str) -> Outcome {
        let stage = match (&status.stable_revision, self.input.strategy.on_failure) {
            (_, OnFailure::Pause) if reason == Reason::TooManyFailures => Stage::Held,
            (Some(_), _) => Stage::RollingBack,
            (None, _) => Stage::Halted,
        };
        phases::end(status, PhaseOutcome::Failed);
        enter(status, stage, self.input);
        if let Some(cohort) = &mut status.cohort {
            why.clone_into(&mut cohort.ended);
        }
        self.stand(status, tally, stage)
    }

    /// Says where an attempt stands that goes through no phase.
    fn stand(&self, status: &mut ConfigRolloutStatus, tally: &Tally, stage: Stage) -> Outcome {
        let counts = &tally.counts;
        let why = status.cohort.as_ref().map(|cohort| cohort.ended.clone()).unwrap_or_default();
        let reason =
            if why.starts_with("aborted by request") { Reason::Aborted } else { Reason::TooManyFailures };
        match stage {
            Stage::Running | Stage::Unknown => self.wait(status, tally),
            Stage::Completed => {
                Outcome::new(RolloutState::Completed, Reason::Completed, message::completed(counts))
            }
            Stage::Held => {
                Outcome::new(RolloutState::Paused, reason, format!("stopped: {why}; retry or abort"))
            }
            Stage::Halted => {
                let text = format!("{why}; there is no stable revision to go back to");
                Outcome::new(RolloutState::Halted, reason, text)
            }
            Stage::RollingBack => self.roll_back(status, reason, &why),
            Stage::RolledBack => rolled_back(status, reason),
        }
    }

    /// Waits until every agent of the cohort that can be reached reports stable, or the deadline has passed.
    fn roll_back(&self, status: &mut ConfigRolloutStatus, reason: Reason, why: &str) -> Outcome {
        let stable = status.stable_revision.clone().unwrap_or_default();
        let hash = self.input.revisions.get(&stable).map(|revision| revision.hash);
        let (crowd, members) = (self.crowd(status), self.members(status));
        let in_cohort = |agent: &&ObservedAgent| {
            let reached = crowd.is_eligible(agent) || self.may_return(agent) && !crowd.lacks(agent);
            reached && members.as_ref().is_some_and(|members| members.contains(agent))
        };
        let cohort: Vec<_> = self.input.agents.iter().filter(in_cohort).collect();
        let back = cohort.iter().filter(|agent| agent.running == hash && hash.is_some()).count();
        let since = status.cohort.as_ref().and_then(|cohort| cohort.since.as_ref()).map(|time| time.0);
        let deadline = signed(self.input.strategy.progress_deadline.get());
        let late = since.is_some_and(|since| self.input.now.duration_since(since) > deadline);
        if back == cohort.len() || late {
            let (rest, all) = (cohort.len() - back, cohort.len());
            enter(status, Stage::RolledBack, self.input);
            if let Some(cohort) = status.cohort.as_mut().filter(|_| rest > 0) {
                cohort.ended = format!("{why}; {rest} of {all} agents are not back");
            }
            return rolled_back(status, reason);
        }
        let text = format!("{back} of {} agents are back on {stable}: {why}", cohort.len());
        Outcome::new(RolloutState::RollingBack, reason, text)
    }

    /// Whether an agent has gone so lately that it is expected back, as every agent is after a restart of the operator.
    fn may_return(&self, agent: &ObservedAgent) -> bool {
        let (since, patience) = match agent.unreachable {
            Some(since) => (since, self.input.unreachable_for),
            None => (agent.since, self.offline_after),
        };
        !agent.connected && self.input.now.duration_since(since) <= signed(patience)
    }
}

/// A rollout that has completed is over: what failed in it stays, and only a refusal adds to that.
fn keep_history(status: &ConfigRolloutStatus, tally: &mut Tally) {
    tally.counts.failed = tally.counts.failed.max(status.agents.failed);
    if tally.failures.len() < status.failures.len() {
        tally.failures.clone_from(&status.failures);
    }
}

/// Whether the last phase is under way.
fn is_last(status: &ConfigRolloutStatus) -> bool {
    phases::current(status).is_some_and(|(index, _)| index + 1 == status.phases.len())
}

/// Whether the phase under way has what it needs to end: evidence, or agents that cannot give any and a person who is
/// asked instead.
fn may_end(status: &ConfigRolloutStatus, tally: &Tally) -> bool {
    let current = phases::current(status).map(|(_, phase)| phase.phase.approval);
    let enough = tally.is_settled() || tally.is_blind() && current == Some(Approval::Manual);
    enough && phases::is_complete(status)
}

fn rolled_back(status: &ConfigRolloutStatus, reason: Reason) -> Outcome {
    let why = status.cohort.as_ref().map(|cohort| cohort.ended.as_str()).unwrap_or_default();
    let stable = status.stable_revision.as_deref().unwrap_or_default();
    Outcome::new(RolloutState::RolledBack, reason, format!("back on {stable}: {why}"))
}

fn enter(status: &mut ConfigRolloutStatus, stage: Stage, input: &Input<'_>) {
    if let Some(cohort) = &mut status.cohort {
        cohort.stage = stage;
        cohort.since = Some(Time(input.now));
    }
}

fn promote(notices: &[Asked]) -> Option<bool> {
    notices.iter().find_map(|asked| match asked {
        Ok(Request::Promote { full }) => Some(*full),
        _ => None,
    })
}

fn refuse(notices: &mut [Asked], request: &Request, why: &str) {
    for asked in notices.iter_mut().filter(|asked| asked.as_ref() == Ok(request)) {
        *asked = Err(format!("{}: {why}", request.name()));
    }
}

fn refuse_promote(notices: &mut [Asked], why: &str) {
    for full in [true, false] {
        refuse(notices, &Request::Promote { full }, why);
    }
}

/// Refuses to try anything again.
pub fn refuse_retry(notices: &mut [Asked], why: &str) {
    refuse(notices, &Request::Retry, why);
    refuse(notices, &Request::RetryContent, why);
}

/// Refuses what asks for another revision than the target.
pub fn refuse_undo(notices: &mut [Asked], why: &str) {
    refuse(notices, &Request::RetryContent, why);
    for asked in notices.iter_mut().filter(|asked| matches!(asked, Ok(Request::Undo(_)))) {
        *asked = Err(format!("undo: {why}"));
    }
}

/// Refuses everything that has been asked of the attempt under way.
pub fn refuse_all(notices: &mut [Asked], why: &str) {
    refuse_promote(notices, why);
    refuse(notices, &Request::Abort, why);
    refuse(notices, &Request::Retry, why);
}
