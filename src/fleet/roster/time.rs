//! What the passing of time does: silence and absence.

use super::Roster;
use super::groups::{group_of, reconsider};
use super::offers::on_socket;
use crate::fleet::polls::remembered;
use crate::fleet::{Agent, AgentKey, FORGET_UNGROUPED_AFTER, GroupView, Link, signed};
use jiff::Timestamp;
use std::time::Duration;

impl Roster {
    /// Lets time pass: agents that poll and fell silent become disconnected, agents that are gone for long are
    /// forgotten, both after their group's times; slices that this leaves small are put together. Those that have not answered an offer in time drift. Returns the
    /// agents on sockets whose turn it is to be asked what they have in effect or to be told of another token, or that
    /// are due what the leader ordered.
    pub fn expire(&mut self, now: Timestamp) -> Vec<AgentKey> {
        if !self.informed {
            return Vec::new();
        }
        let (view, silence) = (&self.view, self.silence);
        let passed = self.agents.iter().filter_map(|(key, known)| {
            let passed = passed(&known.agent, group_of(view, key, &known.agent), silence, now)?;
            Some((key.clone(), passed))
        });
        for (key, passed) in passed.collect::<Vec<_>>() {
            match passed {
                Passed::Silence => self.disconnect(&key, Link::Polling, now),
                Passed::Absence => self.forget(&key, now),
            }
        }
        self.compact(now);
        let mut due = self.choose_moves(now);
        for (key, known) in &mut self.agents {
            let edge = reconsider(&mut known.agent, key, &self.view, self.silence, now);
            self.slices.mark(known.slice_in(&key.namespace), edge, now);
            let on_socket = on_socket(&known.agent);
            let Some(group) = group_of(&self.view, key, &known.agent).filter(|_| on_socket) else { continue };
            let turn = known.agent.is_passed_over(group, now);
            if turn {
                known.agent.ask_again();
            }
            if turn || !self.pause.holds_in(&key.namespace) && known.agent.has_orders(group, now) {
                due.push(key.clone());
            }
        }
        due
    }
}

/// What has lasted too long.
enum Passed {
    /// An agent that polls has not done so.
    Silence,
    /// A disconnected agent has not returned.
    Absence,
}

fn passed(agent: &Agent, group: Option<&GroupView>, silence: Duration, now: Timestamp) -> Option<Passed> {
    let offline_after = group.map_or(silence, |group| group.offline_after.max(silence));
    let forget_after = group.map_or(FORGET_UNGROUPED_AFTER, |group| group.forget_after);
    let (passed, limit) = match agent.link {
        Some(Link::Socket(_)) => return None,
        Some(Link::Polling) => (Passed::Silence, agent.patience(offline_after)),
        None if agent.passed_by() => (Passed::Absence, remembered(offline_after).min(forget_after)),
        None => (Passed::Absence, forget_after),
    };
    (now.duration_since(agent.last_seen) > signed(limit)).then_some(passed)
}
