//! Agents, groups, selectors, cohorts, assignment and the ledger of verdicts: the domain, as data and pure
//! functions.
//!
//! A replica keeps the agents that it serves in a [`Roster`], decides for each what it is to run ([`assigned`]),
//! and packs what changed into slices. The leader reads all slices and merges them into [`ObservedAgent`]s. The
//! module knows no clock, socket or client: time is an argument, effects are return values.
//!
//! | file | concern |
//! | --- | --- |
//! | `uid`, `principal`, `attributes`, `builds`, `report`, `text` | who an agent is, who speaks for it, and what it says |
//! | `agent`, `offer`, `offered`, `ledger`, `steadiness`, `sight`, `told`, `turns` | what is known of one agent, and when it is due which offer and which question |
//! | `moving`, `telemetry`, `at_once` | settings of connections: another token, and where own telemetry goes; how many agents are disturbed at a time |
//! | `view`, `cohort`, `ring`, `adoptees`, `assignment` | what an agent is to run |
//! | `polls` | which of several replicas has an agent that polls them in turn |
//! | `roster`, `slices` | all agents of a replica, and what is to be written of them |
//! | `pack`, `unpack`, `observed` | slices as they are written, read back and merged |
//! | `live`, `treatment`, `memory`, `exceptions` | what the leader makes of them: what each agent is to run, who is put right, what is worth remembering and what replicas are to know |

mod adoptees;
mod agent;
mod assignment;
mod at_once;
mod attributes;
mod builds;
mod cohort;
mod exceptions;
#[cfg(test)]
pub(crate) mod fixtures;
mod heard;
mod ledger;
mod live;
mod memory;
mod moving;
mod numbers;
mod observed;
mod offer;
mod offered;
mod pack;
mod polls;
mod principal;
mod report;
mod ring;
mod roster;
mod sight;
mod slices;
mod steadiness;
mod telemetry;
mod text;
mod told;
mod treatment;
mod turns;
mod uid;
mod unpack;
mod view;

pub use adoptees::{Admission, Adoptee, Belonging, Belongings, Claimant};
pub use agent::{Agent, Edge};
pub use assignment::{Side, Sides, assigned, side};
pub use at_once::most_at_once;
pub use attributes::{Attributes, matches, matches_verified};
pub use builds::{Build, BuildKey, BuildReport};
pub use cohort::{Cohort, Rank, Seed};
pub use exceptions::{Excepted, has_newer_format, pack_exceptions, unpack_exceptions};
pub use heard::Heard;
pub use ledger::{Given, Ledger, MAX_MESSAGE_BYTES, Verdict};
pub use live::{Live, Restarts, ToRun, Treatments};
pub use memory::{Bindings, FORGET_UNGROUPED_AFTER, Memory, Refusals, bindings, is_forgotten, outlived};
pub use moving::{Successor, Tokens};
pub use numbers::{Message, Place};
pub use observed::{CLOCKS_APART, ObservedAgent, Replica, SliceSource, merge};
pub use offer::Offer;
pub use polls::{Missed, News};
pub use principal::{Principal, PrincipalMark, TokenName};
pub use report::{Capabilities, ConfigReport, Description, Link, Outcome, Report, SettingsReport};
pub use ring::{Ring, RingKey, Rings};
pub use roster::{Roster, ToldTelemetry};
pub use sight::{Drift, DriftClass, Shown, Sight};
pub use slices::{Delays, SliceContent, SliceId, signed};
pub use steadiness::Faltered;
pub use telemetry::{Destination, HeaderError, Telemetry, TelemetryView, order_of, read_headers};
pub use text::clean;
pub use told::{Told, told};
pub use treatment::{Cause, Done, Order, Ordered, Restart, Treatment};
pub use uid::{AgentKey, InstanceUid};
pub use view::{Assignment, DriftRules, GroupView, Membership, Payload, Revision, View};
