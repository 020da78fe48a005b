//! What the leader has ordered for one agent that drifts or stays unhealthy, and how far that has come.
//!
//! The leader writes it into a slice of exceptions, so it outlives the leader; the replica that holds the agent carries
//! the last order out, once, and says so in the agent's entry.

use crate::config::ConfigHash;
use jiff::Timestamp;

/// Why an agent is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It does not run what it is to run.
    Drift,
    /// It stays unhealthy.
    Illness,
    /// One of a newer version, by its code.
    Other(u32),
}

/// What is done to an agent, the gentlest for an unhealthy one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Order {
    /// It is commanded to start anew.
    Restart,
    /// It is offered anew what it is to run.
    Offer,
    /// It is offered the group's stable revision instead, and has that from now on.
    Stable,
    /// One of a newer version, by its code: nothing is done here.
    Other(u32),
}

/// How one agent is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The content that its group assigns to it. Other content ends the treatment.
    pub of: ConfigHash,
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub began: Timestamp,
    /// How many orders were given.
    pub orders: u32,
    /// The last one for this cause; nothing before the first.
    pub last: Option<Ordered>,
    /// The agent has the stable revision for itself alone. It keeps that until its group is assigned other content, or a
    /// person asks for a retry.
    pub sent_back: bool,
    /// Since when the agent is well again. It is watched for a while before it is forgotten.
    pub well: Option<Timestamp>,
    /// Since when it is left alone, because nothing has lasted.
    pub quarantined: Option<Timestamp>,
}

/// An order that was given. No agent is given two in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// What.
    pub order: Order,
    /// When it was given.
    pub given: Timestamp,
    /// When it was carried out, once the leader knows.
    pub done: Option<Timestamp>,
}

/// A restart that a person has asked for of a whole group, as it is ordered for one agent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// When it was asked for, which tells the requests of a group apart.
    pub asked: Timestamp,
    /// The order.
    pub ordered: Ordered,
    /// When the agent's process had been started by then, by its own clock, in seconds since 1970.
    pub started: Option<i64>,
    /// Since when the agent is missed: it did not come back healthy in time.
    pub missed: Option<Timestamp>,
}

/// The last order that a replica has carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The second in which it was given.
    pub order: i64,
    /// When it was carried out.
    pub at: Timestamp,
}

impl Treatment {
    /// The order that is still to be carried out.
    pub fn pending(&self) -> Option<Ordered> {
        self.last.filter(|last| last.done.is_none() && self.quarantined.is_none() && self.well.is_none())
    }

    /// Whether a newer version treats the agent in a way that is not known here. Then it is left alone: no leader of this
    /// version ends that before its time, and no replica offers it the content in question.
    pub fn is_newer(&self) -> bool {
        let order = self.last.map(|last| last.order);
        matches!(self.cause, Cause::Other(_)) || matches!(order, Some(Order::Other(_)))
    }

    /// Something is being done to the agent right now.
    pub fn is_active(&self) -> bool {
        self.well.is_none() && self.quarantined.is_none()
    }
}

impl Done {
    /// Whether this is the order that was carried out.
    pub fn is_of(&self, ordered: &Ordered) -> bool {
        self.order == ordered.given.as_second()
    }
}
