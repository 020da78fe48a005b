//! How agents differ in what they do with configurations, and with what somebody does to them.

use crate::config::ConfigHash;

/// What an agent does with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Reports APPLYING, then APPLIED.
    Apply,
    /// Reports APPLYING, then FAILED with this message, and keeps the broken configuration, as supervisors do by
    /// default.
    Fail(String),
    /// Reports APPLYING, then FAILED, then APPLIED with the hash that it ran before, as supervisors with
    /// `automatic_config_rollback` do. The first configuration of all it applies.
    Rollback,
    /// Reports APPLYING, then FAILED with this message, and keeps the broken configuration; but what it has applied last
    /// it applies again. The first configuration of all it applies.
    Refuse(String),
    /// Takes it and never says a word about it.
    Silent,
}

/// Which offers an agent applies. Whatever else it is offered it does not look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takes {
    /// Those with another hash than the one before, as the protocol has it.
    #[default]
    NewHash,
    /// Of those with another hash the ones whose files come to something else, as supervisors. Of the rest it reports
    /// APPLIED at once and does nothing.
    NewContent,
    /// All.
    Everything,
}

/// What makes an agent well that somebody has made ill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cure {
    /// Nothing.
    #[default]
    Nothing,
    /// A restart by command.
    Restart,
    /// Whatever it applies. What it only claims to have applied does not help.
    AnyOffer,
    /// This content, in whatever form it is offered.
    Content(ConfigHash),
}

/// What an agent does beside that. The default is what the protocol asks for, and no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Which offers it applies.
    pub takes: Takes,
    /// Whether somebody who has tampered with it does so again: it applies each configuration, reports it as in effect
    /// once, and then goes back by itself to the one that was tampered.
    pub reverts: bool,
    /// What makes it well again.
    pub cure: Cure,
    /// Whether a restart by command makes it ill.
    pub frail: bool,
    /// The content that makes it ill; with any other it is well.
    pub ill_with: Option<ConfigHash>,
}

impl Habits {
    /// Whether an agent is well with what it has just applied; nothing if that makes no difference.
    pub(super) fn health_with(&self, content: Option<ConfigHash>) -> Option<bool> {
        let cured = match self.cure {
            Cure::Nothing | Cure::Restart => false,
            Cure::AnyOffer => true,
            Cure::Content(cure) => content == Some(cure),
        };
        match self.ill_with {
            Some(ill_with) => Some(content != Some(ill_with)),
            None => cured.then_some(true),
        }
    }
}
