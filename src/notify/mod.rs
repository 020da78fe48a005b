//! Tells people elsewhere, by Slack, PagerDuty or a webhook, what becomes of rollouts and agents.
//!
//! What is told follows from a status as it was read and as it was written, so each change is told by the leader that
//! wrote it. All but [`deliver`] is pure: it is given the statuses, the file and the time, and returns what to send.
//! [`deliver`] has a bounded queue for each receiver, so whoever tells never waits.

mod deliver;
mod file;
mod group;
mod line;
mod message;
mod notice;
mod pagerduty;
mod receiver;
mod retry;
mod rollout;
mod signature;
mod slack;
mod url;
mod webhook;

pub use deliver::{Metrics, Outbox, Proxies, Route, Trust, TrustError};
pub use file::{FileError, Receivers, parse};
pub use group::{group_farewell, group_notices};
pub use notice::{Kind, Notice, Origin};
pub use receiver::Receiver;
pub use rollout::{rollout_farewell, rollout_notices};
