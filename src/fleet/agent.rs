//! What a replica knows of one agent, and when it is offered its revision.

use super::{
    Attributes, Capabilities, ConfigReport, GroupView, InstanceUid, Ledger, Link, Outcome, Report, Revision,
    Verdict, assigned,
};
use crate::config::ConfigHash;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// Edges that a message caused, by how urgently they are written (design, section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// Nothing that is written.
    #[default]
    None,
    /// Connects, disconnects, membership and the like.
    Slow,
    /// Verdicts and changes of health.
    Urgent,
}

/// The last offer that was sent. Not written anywhere: an offer is idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offered {
    hash: ConfigHash,
    /// An offer that went over another link may have been lost with it, and is repeated.
    link: Option<Link>,
    at: Timestamp,
    times: u32,
}

/// One agent as this replica knows it.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The agent's uid.
    pub uid: InstanceUid,
    /// Kept for selectors that change later.
    pub attributes: Attributes,
    /// What the agent is able to do.
    pub capabilities: Capabilities,
    /// The last reported health; `None` before the first report.
    pub healthy: Option<bool>,
    /// The last report on a configuration, with [`Outcome::Failed`]'s text moved into the ledger.
    pub config: Option<ConfigReport>,
    /// The agent's verdicts.
    pub ledger: Ledger,
    /// How the agent is attached; `None` while it is disconnected.
    pub link: Option<Link>,
    /// When it connected or, if it is disconnected, was last seen.
    pub since: Timestamp,
    /// When its last message came.
    pub last_seen: Timestamp,
    /// Whether this replica has had the agent's whole state; before that nothing is offered.
    pub complete: bool,
    /// The group that the agent belongs to.
    pub group: Option<Arc<str>>,
    /// Another group that matches too.
    pub overlapping: Option<Arc<str>>,
    offered: Option<Offered>,
}

/// How often an offer over HTTP is repeated that was never answered: over plain HTTP no reconnect tells that a
/// response was lost. A socket's offer is repeated on a reconnect only.
const FIRST_REPEAT: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause between two such repeats.
const LAST_REPEAT: SignedDuration = SignedDuration::from_mins(5);

impl Agent {
    /// An agent of which nothing is known.
    pub fn new(uid: InstanceUid, now: Timestamp) -> Self {
        Self {
            uid,
            attributes: Attributes::default(),
            capabilities: Capabilities::default(),
            healthy: None,
            config: None,
            ledger: Ledger::default(),
            link: None,
            since: now,
            last_seen: now,
            complete: false,
            group: None,
            overlapping: None,
            offered: None,
        }
    }

    /// The host that the agent runs on, as it says; empty if it does not say.
    pub fn host(&self) -> &str {
        self.attributes.get("host.name").unwrap_or_default()
    }

    /// The agent's version, as it says.
    pub fn version(&self) -> Option<&str> {
        self.attributes.get("service.version")
    }

    /// Takes the host from an earlier run's slice, until the agent describes itself again.
    pub fn restore_host(&mut self, host: &str) {
        self.attributes = Attributes::new([("host.name".to_owned(), host.to_owned())], []);
    }

    /// Takes in one message.
    pub fn receive(&mut self, report: Report, link: Link, now: Timestamp) -> Edge {
        let mut edge = self.attach(link, now);
        self.complete |= report.full;
        if let Some(capabilities) = report.capabilities.filter(|new| *new != self.capabilities) {
            self.capabilities = capabilities;
            edge = edge.max(Edge::Slow);
        }
        if let Some(description) = report.description.filter(|new| new.attributes != self.attributes) {
            self.attributes = description.attributes;
            edge = edge.max(Edge::Slow);
        }
        if report.healthy.is_some() && report.healthy != self.healthy {
            self.healthy = report.healthy;
            edge = Edge::Urgent;
        }
        edge.max(report.config.map_or(Edge::None, |config| self.judge(config, now)))
    }

    /// A live link replaces the one before it.
    fn attach(&mut self, link: Link, now: Timestamp) -> Edge {
        self.last_seen = now;
        if self.link == Some(link) {
            return Edge::None;
        }
        self.link = Some(link);
        self.since = now;
        Edge::Slow
    }

    /// Takes the agent's link away; true if it was attached by this one.
    pub fn detach(&mut self, link: Link) -> bool {
        let attached = self.link == Some(link);
        if attached {
            self.link = None;
            self.since = self.last_seen;
        }
        attached
    }

    /// Whether the agent's link is live.
    pub fn connected(&self) -> bool {
        self.link.is_some()
    }

    /// Updates the ledger from what the agent says of its configuration.
    fn judge(&mut self, report: ConfigReport, now: Timestamp) -> Edge {
        let left = self.rolled_back_from(&report);
        let mut edge = Edge::None;
        if let Some(left) = left.filter(|left| !self.ledger.refuses(*left)) {
            self.ledger.note(left, Verdict::RolledBackByAgent, now);
            edge = Edge::Urgent;
        }
        let verdict = match &report.outcome {
            Outcome::Applied => Some(Verdict::Applied),
            Outcome::Failed(message) => Some(Verdict::failed(message)),
            Outcome::Unset | Outcome::Applying => None,
        };
        if let (Some(hash), Some(verdict)) = (report.hash, verdict)
            && self.ledger.note(hash, verdict, now)
        {
            edge = Edge::Urgent;
        }
        let outcome = if matches!(report.outcome, Outcome::Failed(_)) {
            Outcome::Failed(String::new())
        } else {
            report.outcome
        };
        let report = ConfigReport { hash: report.hash, outcome };
        if self.config.as_ref() != Some(&report) {
            self.config = Some(report);
            edge = edge.max(Edge::Slow);
        }
        edge
    }

    /// The revision that the agent left by itself: it had taken it, and now reports another one as applied that
    /// was not offered since.
    fn rolled_back_from(&self, report: &ConfigReport) -> Option<ConfigHash> {
        let before = self.config.as_ref()?;
        let had_taken = matches!(before.outcome, Outcome::Applying | Outcome::Applied);
        let returned = report.outcome == Outcome::Applied && report.hash != before.hash;
        let was_told_to = report.hash.is_some() && self.offered.map(|offered| offered.hash) == report.hash;
        before.hash.filter(|_| had_taken && returned && !was_told_to)
    }

    /// The content that the agent reports to run.
    pub fn running(&self) -> Option<ConfigHash> {
        self.config.as_ref().filter(|config| config.outcome == Outcome::Applied)?.hash
    }

    /// The revision to send now, if any.
    pub fn due_offer<'a>(&self, group: &'a GroupView, now: Timestamp) -> Option<&'a Arc<Revision>> {
        let ready = self.connected() && self.complete && group.may_offer();
        if !ready || !self.capabilities.has(Capabilities::ACCEPTS_REMOTE_CONFIG) {
            return None;
        }
        let revision = assigned(&group.assignment, self.uid, &self.attributes, &self.ledger)?;
        (!self.has_received(revision.hash) && !self.waits_for_answer(revision.hash, now)).then_some(revision)
    }

    /// Whether the agent's last received hash is this one (specification, `last_remote_config_hash`).
    fn has_received(&self, hash: ConfigHash) -> bool {
        self.capabilities.has(Capabilities::REPORTS_REMOTE_CONFIG)
            && self.config.as_ref().is_some_and(|config| config.hash == Some(hash))
    }

    fn waits_for_answer(&self, hash: ConfigHash, now: Timestamp) -> bool {
        let Some(offered) = self.offered.filter(|offered| offered.hash == hash && offered.link == self.link)
        else {
            return false;
        };
        let answers = self.capabilities.has(Capabilities::REPORTS_REMOTE_CONFIG);
        let repeats = self.link == Some(Link::Polling) && answers;
        let pause =
            (FIRST_REPEAT * 2_i32.saturating_pow(offered.times.saturating_sub(1).min(16))).min(LAST_REPEAT);
        !repeats || now.duration_since(offered.at) < pause
    }

    /// Notes that a revision was sent.
    pub fn note_offer(&mut self, hash: ConfigHash, now: Timestamp) {
        let again = self.offered.filter(|offered| offered.hash == hash && offered.link == self.link);
        let times = again.map_or(0, |offered| offered.times) + 1;
        self.offered = Some(Offered { hash, link: self.link, at: now, times });
    }
}
