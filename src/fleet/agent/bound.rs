//! Whose an agent is, and what its credential says of it.

use super::{Agent, Edge};
use crate::fleet::{Attributes, Principal, PrincipalMark};
use jiff::Timestamp;
use std::sync::Arc;

impl Agent {
    /// Takes in who speaks for it. If the credential says something else of it than before, nothing is known of the
    /// agent until it has described itself again: what it said of itself stands behind what was verified then.
    pub(super) fn bind(&mut self, principal: Option<Arc<Principal>>, now: Timestamp) -> Edge {
        let Some(principal) = principal.filter(|principal| principal.mark().is_some()) else {
            return Edge::None;
        };
        let nothing = Attributes::default();
        if *self.verified().unwrap_or(&nothing) != principal.verified {
            self.complete = false;
        }
        let known = self.bound() == principal.mark();
        self.principal = Some(principal);
        if known {
            return Edge::None;
        }
        self.bound_since = now.as_second();
        Edge::Slow
    }

    /// What stands for its principal.
    pub fn bound(&self) -> Option<PrincipalMark> {
        self.principal.as_ref().and_then(|principal| principal.mark())
    }

    /// Whether a principal may speak for it.
    pub fn belongs_to(&self, principal: &Principal) -> bool {
        principal.may_speak_for(self.bound())
    }

    /// What its credential says of it.
    pub fn verified(&self) -> Option<&Attributes> {
        self.principal.as_ref().map(|principal| &principal.verified)
    }
}
