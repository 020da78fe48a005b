//! The rollout of a configuration as a pure state machine, and the group's status that follows from it.
//!
//! The leader calls [`step`] with what it reads (spec, status, agents as all replicas see them) and writes the
//! status that comes back; all state of a rollout is in its status, so a new leader goes on where the old one
//! stopped. [`assignment`] derives from that status what replicas act on. The module knows no clock, client or
//! random source: time and entropy are arguments.

mod adoption;
mod assignment;
mod attempt;
mod conditions;
mod crowd;
mod group;
mod holder;
mod input;
mod judged;
mod message;
mod milestones;
mod news;
mod phases;
mod plan;
mod requests;
mod standing;
mod step;
mod tally;
mod telemetry;
mod undo;

pub use assignment::assignment;
pub use group::{GroupInput, group_news, group_status, in_group, next_offline};
pub use holder::{Claim, holder};
pub use input::{Content, GroupFacts, Input, RevisionFacts};
pub use judged::Judged;
pub use milestones::{Furthest, Milestone, milestones};
pub use news::{News, news, stalled};
pub use requests::{Asked, Request, take_restart};
pub use step::{Next, is_under_way, step};
use tally::tally;
pub use telemetry::{TelemetryRules, Wanted, telemetry, telemetry_condition};

#[cfg(test)]
mod tests;
