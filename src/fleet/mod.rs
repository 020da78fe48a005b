//! Agents, groups, selectors, cohorts, assignment and the ledger of verdicts: the domain, as data and pure
//! functions.
//!
//! A replica keeps the agents that it serves in a [`Roster`], decides for each what it is to run ([`assigned`]),
//! and packs what changed into slices. The leader reads all slices and merges them into [`ObservedAgent`]s. The
//! module knows no clock, socket or client: time is an argument, effects are return values.

mod agent;
mod assignment;
mod attributes;
mod cohort;
mod ledger;
mod observed;
mod pack;
mod roster;
mod uid;
mod view;

pub use agent::{Agent, Capabilities, ConfigReport, Description, Edge, Link, Outcome, Report};
pub use assignment::{Side, assigned, side};
pub use attributes::{Attributes, clean, matches};
pub use cohort::{Cohort, Rank, Seed};
pub use ledger::{Given, Ledger, MAX_MESSAGE_BYTES, Verdict};
pub use observed::{ObservedAgent, SliceSource, merge};
pub use roster::{Delays, Roster, SliceContent, SliceId, signed};
pub use uid::{AgentKey, InstanceUid};
pub use view::{Assignment, GroupView, Membership, Revision, View};
