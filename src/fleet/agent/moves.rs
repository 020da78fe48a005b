//! Which token the agent uses, and whether it is told of another.

use super::Agent;
use crate::fleet::moving::{Moving, Successor, Tokens};
use crate::fleet::{Capabilities, Link, Outcome, TokenName};
use jiff::Timestamp;

impl Agent {
    /// The token that it came with last.
    pub fn token(&self) -> Option<&TokenName> {
        self.principal.as_ref()?.token.as_ref()
    }

    /// The token that it is to use, whether it does or not.
    pub fn successor<'a>(&self, tokens: &'a Tokens) -> Option<&'a Successor> {
        self.token()?;
        tokens.successors.get(&self.bound()?)
    }

    /// Whether it uses this one.
    pub fn uses(&self, successor: &Successor) -> bool {
        self.token().is_some_and(|token| token.key == successor.key)
    }

    /// Whether it may be told now: it takes such settings, and is not busy.
    pub fn may_be_told(&self, successor: &Successor) -> bool {
        let busy = self.config.as_ref().is_some_and(|config| config.outcome == Outcome::Applying);
        let takes = self.capabilities.has(Capabilities::ACCEPTS_CONNECTION_SETTINGS);
        self.connected() && self.complete && takes && !busy && !self.uses(successor)
    }

    /// Where it is on its way to these settings.
    pub fn moving(&self, to: &Successor) -> Option<Moving> {
        self.unusual.as_ref()?.moving.filter(|moving| moving.to == to.hash)
    }

    /// It is its turn, unless it has been told before.
    pub fn choose(&mut self, to: &Successor) {
        self.unusual().moving = Some(Moving::chosen(to.hash));
    }

    /// Whether it is to be told of these settings now; noted as done.
    pub fn take_move(&mut self, to: &Successor, now: Timestamp) -> bool {
        let Some(link) = self.link.filter(|_| self.may_be_told(to)) else { return false };
        let Some(moving) = self.moving(to).filter(|moving| moving.is_chosen()) else { return false };
        self.unusual().moving = Some(moving.told(link, now));
        true
    }

    /// It speaks: with the token that it is to use or not, and perhaps it refuses that. What was about
    /// others is forgotten, so whoever comes without a token that it has had is told of it again.
    pub fn note_move(&mut self, to: Option<&Successor>, refused: bool, link: Link) {
        let to = to.filter(|to| !self.uses(to));
        let next = match to.filter(|_| refused) {
            Some(to) => Some(Moving::refused(to.hash)),
            None => to.and_then(|to| self.moving(to)).map(|moving| moving.speaks(link)),
        };
        if next.is_some() || self.unusual.as_ref().is_some_and(|unusual| unusual.moving.is_some()) {
            self.unusual().moving = next;
        }
    }

    /// It cannot be told after all, or these settings are not to be told of any more.
    pub fn forget_move(&mut self) {
        if let Some(unusual) = &mut self.unusual {
            unusual.moving = None;
        }
    }
}
