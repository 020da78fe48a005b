//! What is seen of an agent's effective configuration.

use super::{Agent, Edge};
use crate::config::ConfigHash;
use crate::fleet::{Capabilities, GroupView, Revision, Sight};
use jiff::Timestamp;
use std::sync::Arc;

impl Agent {
    /// The last look at what the agent has in effect, if it was of what it runs.
    pub fn sight(&self) -> Option<&Sight> {
        self.sight.as_deref().filter(|sight| Some(sight.of) == self.running())
    }

    /// The revision that is to be in effect: the assigned one, once it is applied. Drift is not looked for while it is
    /// being delivered.
    pub fn looked_for<'a>(&self, group: &'a GroupView) -> Option<&'a Arc<Revision>> {
        let shows = self.capabilities.has(Capabilities::REPORTS_EFFECTIVE_CONFIG);
        self.assigned(group).filter(|revision| shows && self.running() == Some(revision.hash))
    }

    /// Whether the agent is to be asked now what it has in effect, which it then is: once for each revision that it
    /// applies, because what it reported before it had applied it was no evidence.
    pub fn ask_what_is_in_effect(&mut self, group: &GroupView, now: Timestamp) -> bool {
        let Some(hash) = self.looked_for(group).map(|revision| revision.hash) else { return false };
        let blank = self.sight().is_none();
        if blank {
            self.sight = Some(Sight::blank(hash, now).into());
        }
        blank
    }

    /// Takes in what was seen. A change of that is urgent, a baseline alone is not.
    pub fn note_sight(&mut self, mut sight: Sight) -> Edge {
        let edge = match self.sight() {
            Some(before) if before.shown == sight.shown => {
                sight.since = before.since;
                if before.baseline == sight.baseline { Edge::None } else { Edge::Slow }
            }
            _ => Edge::Urgent,
        };
        self.sight = Some(sight.into());
        edge
    }

    /// Whether what was looked at is still what the agent runs.
    pub fn runs(&self, content: ConfigHash) -> bool {
        self.running() == Some(content)
    }
}
