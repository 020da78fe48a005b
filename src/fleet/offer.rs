//! An offer: a revision, and the form in which one agent is sent it.

use super::Revision;
use crate::config::{ConfigHash, Form};
use std::sync::Arc;

/// A revision as one agent is offered it. No `Debug`: it is the configuration.
#[derive(Clone)]
pub struct Offer {
    /// What is offered; shared by all agents that get it.
    pub revision: Arc<Revision>,
    /// Plain, or a correction for an agent that would ignore the plain one.
    pub form: Form,
}

impl Offer {
    /// The revision as it is.
    pub fn plain(revision: Arc<Revision>) -> Self {
        Self { revision, form: Form::Plain }
    }

    /// The revision for an agent that has received it in this form before.
    pub fn correction(revision: Arc<Revision>, received: Form) -> Self {
        Self { revision, form: received.next() }
    }

    /// The hash of the revision's content.
    pub fn hash(&self) -> ConfigHash {
        self.revision.hash
    }
}
