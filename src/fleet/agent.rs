//! What a replica knows of one agent, and when it is offered its revision.

use super::moving::Moving;
use super::offered::Offered;
use super::polls::Polls;
use super::steadiness::Steadiness;
use super::unpack::Unpacked;
use super::{
    Adoptee, Attributes, Build, Capabilities, ConfigReport, Description, Done, DriftClass, GroupView,
    InstanceUid, Ledger, Link, Missed, News, Outcome, Principal, Report, Restart, Ring, Rings, Sight,
    Treatment, signed,
};
use crate::api::EntryFlags;
use crate::config::{ConfigHash, Form};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

mod bound;
mod moves;
mod offers;
mod orders;
mod sights;
mod told;
mod verdicts;
mod words;

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

/// One agent as this replica knows it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Debug)]
pub struct Agent {
    /// The agent's uid.
    pub uid: InstanceUid,
    /// Whose it is: nobody else can speak for it. Nobody's if nobody had to prove anything yet.
    pub principal: Option<Arc<Principal>>,
    /// Since when it is its principal's, in seconds since 1970. Of two that have the same uid, at two replicas, the older
    /// keeps it.
    pub bound_since: i64,
    /// Kept for selectors that change later. Those of its credential have overridden its own.
    pub attributes: Attributes,
    /// What the agent is able to do.
    pub capabilities: Capabilities,
    /// The last reported health; `None` before the first report.
    pub healthy: Option<bool>,
    /// When `healthy` last changed; tells an agent that fell ill with a revision from one that was slow to rise.
    pub health_since: Timestamp,
    /// Whether it stays well with what it runs.
    pub steady: Steadiness,
    /// Whether it was unhealthy when it was last offered something new: then that does not count against it.
    pub exempt: bool,
    /// The last report on a configuration, with [`Outcome::Failed`]'s text moved into the ledger.
    pub config: Option<ConfigReport>,
    /// The agent's verdicts.
    pub ledger: Ledger,
    /// How the agent is attached; `None` while it is disconnected.
    pub link: Option<Link>,
    /// When it connected, came to its group or was admitted to it or, if it is disconnected, was last seen.
    pub since: Timestamp,
    /// When its last message came.
    pub last_seen: Timestamp,
    /// Whether this replica has had the agent's whole state; before that nothing is offered.
    pub complete: bool,
    /// Whether this replica, now or in an earlier run, has had the agent and its whole state. Of others only verdicts count,
    /// and when they were seen.
    pub counts: bool,
    /// The group that the agent belongs to.
    pub group: Option<Arc<str>>,
    /// Another group that matches too.
    pub overlapping: Option<Arc<str>>,
    /// What it was built with.
    pub build: Option<Arc<Build>>,
    /// Whether it came with another group's revision.
    pub adoptee: Option<Adoptee>,
    /// Whether `config` was reported over the present link, and the agent has spoken to nobody else since.
    heard: bool,
    /// How it polls, while it is attached in that way.
    polls: Option<Box<Polls>>,
    /// The last offer. Behind a pointer, like what follows: an agent that has what it is to run has had none.
    offered: Option<Box<Offered>>,
    watch: Option<Box<Watch>>,
    unusual: Option<Box<Unusual>>,
}

/// What is known of what an agent has in effect.
#[derive(Clone, Debug, Default)]
struct Watch {
    /// The last look at it.
    sight: Option<Sight>,
    /// When the agent was last asked for it, or told it with all else; nothing: it is to be asked.
    asked: Option<Timestamp>,
    /// It has shown that a supervisor gave its Collector what it runs.
    supervised: bool,
    /// What stands for the settings of its own telemetry that it was told over the present link.
    telemetry: Option<ConfigHash>,
}

/// What few agents have any of.
#[derive(Clone, Debug, Default)]
struct Unusual {
    /// The rings that an earlier run wrote, until the agent has described itself again.
    restored: Option<Rings>,
    /// How it drifts by its own words, and since when.
    told: Option<(DriftClass, Timestamp)>,
    /// When it last ceased to say that it runs what it was offered. It has the time to say so again.
    ceased: Option<Timestamp>,
    /// How the leader puts it right.
    treatment: Option<Treatment>,
    /// The restart that a person asked for.
    restart: Option<Restart>,
    /// The leader's last order that was carried out.
    done: Option<Done>,
    /// What it was offered while it was unhealthy, if that was the last offer.
    exempt_of: Option<ConfigHash>,
    /// Where it is that uses another token than it is to use.
    moving: Option<Moving>,
}

impl Agent {
    /// An agent of which nothing is known.
    pub fn new(uid: InstanceUid, now: Timestamp) -> Self {
        Self {
            uid,
            principal: None,
            bound_since: now.as_second(),
            attributes: Attributes::default(),
            capabilities: Capabilities::default(),
            healthy: None,
            health_since: now,
            steady: Steadiness::default(),
            exempt: false,
            config: None,
            ledger: Ledger::default(),
            link: None,
            since: now,
            last_seen: now,
            complete: false,
            counts: false,
            group: None,
            overlapping: None,
            build: None,
            adoptee: None,
            heard: false,
            polls: None,
            offered: None,
            watch: None,
            unusual: None,
        }
    }

    /// An agent as an earlier run of this replica left it, until it returns and describes itself again.
    pub fn restored(read: Unpacked<'_>, now: Timestamp) -> Self {
        let flags = EntryFlags(read.entry.flags);
        let time = |second| Timestamp::from_second(second).map_or(now, |time| time.min(now));
        // One that was connected when the slice was written was seen later than that, nobody knows how much.
        let connected = flags.contains(EntryFlags::CONNECTED);
        let last_seen = if connected { now } else { time(read.entry.since) };
        let host = [("host.name".to_owned(), read.entry.host.clone())];
        let version = read.version.map(|version| ("service.version".to_owned(), version.to_owned()));
        Self {
            principal: read.bound.map(|mark| Principal::remembered(mark).into()),
            bound_since: read.bound_since,
            attributes: Attributes::new(host.into_iter().chain(version), []),
            healthy: flags.contains(EntryFlags::REPORTS_HEALTH).then(|| flags.contains(EntryFlags::HEALTHY)),
            health_since: time(read.entry.since.saturating_add(read.entry.health_after)),
            steady: Steadiness::restored(read.running, read.started, read.faltered),
            exempt: flags.contains(EntryFlags::EXEMPT),
            counts: !flags.contains(EntryFlags::VISITS),
            // Until it says again what it runs.
            config: read.running.map(|hash| ConfigReport {
                hash: Some(hash),
                form: Form::Plain,
                outcome: Outcome::Applied,
            }),
            ledger: read.ledger,
            group: read.group.map(Into::into),
            overlapping: read.overlapping.map(Into::into),
            adoptee: read.adoptee,
            watch: read.sight.map(|sight| Watch { sight: Some(sight), ..Watch::default() }.into()),
            unusual: Some(
                Unusual {
                    restored: Some(read.rings),
                    told: read.told,
                    done: read.done,
                    exempt_of: read.exempt_of,
                    ..Unusual::default()
                }
                .into(),
            ),
            ..Self::new(read.uid, last_seen)
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

    /// Whether the agent is in a ring.
    pub fn is_in(&self, ring: &Ring) -> bool {
        match self.unusual.as_ref().and_then(|unusual| unusual.restored.as_ref()) {
            Some(rings) => rings.has(ring.key()) == Some(true),
            None => ring.matches(&self.attributes),
        }
    }

    /// Takes in one message. `group` is the agent's group as it was before; it is asked for only if the message
    /// says something of a configuration or describes the agent.
    pub fn receive(&mut self, report: Report, link: Link, group: Option<&GroupView>, now: Timestamp) -> Edge {
        let started = self.steady.started();
        let news = News { at: now, number: report.number };
        let mut edge =
            self.meet(link, report.missed, report.full, news).max(self.bind(report.principal, now));
        self.complete |= report.full;
        if !self.counts && self.connected() && self.complete {
            self.counts = true;
            edge = edge.max(Edge::Slow);
        }
        if let Some(capabilities) = report.capabilities.filter(|new| *new != self.capabilities) {
            self.capabilities = capabilities;
            edge = edge.max(Edge::Slow);
        }
        edge =
            edge.max(report.description.map_or(Edge::None, |description| self.describe(description, group)));
        edge = edge
            .max(report.healthy.map_or(Edge::None, |healthy| self.note_health(healthy, report.started, now)));
        let config = report.config.filter(|config| self.answers() || config.hash.is_some());
        edge = edge.max(config.map_or(Edge::None, |config| self.judge(config, group, now)));
        // Others wait for one that is to start anew.
        let is_awaited = self.unusual.as_ref().is_some_and(|unusual| unusual.restart.is_some());
        let restarted = if is_awaited { Edge::Urgent } else { Edge::Slow };
        if self.steady.started() != started {
            edge = edge.max(restarted);
        }
        if let Some(polls) = self.polls.as_mut().filter(|_| edge > Edge::None) {
            polls.note_news(news);
        }
        edge
    }

    /// The agent is about to attach again. If it was away for long it may have become another one: it is checked before
    /// anything is sent.
    pub fn returns(&mut self, offline_after: Duration, now: Timestamp) {
        if !self.connected() && now.duration_since(self.last_seen) > signed(offline_after) {
            self.complete = false;
            self.ask_again();
        }
    }

    /// Attaches the agent, unless it polls and this replica does not take it in: then it is only visited.
    fn meet(&mut self, link: Link, missed: Missed, full: bool, news: News) -> Edge {
        // Whoever it spoke to meanwhile may have told it to run something else.
        self.heard &= missed == Missed::Nothing;
        let restored = || self.unusual.as_ref().is_some_and(|unusual| unusual.restored.is_some());
        if link == Link::Polling && !self.connected() && !Polls::take_in(missed, restored()) {
            (self.last_seen, self.since) = (news.at, news.at);
            // Whoever has it is not to take it for lost.
            return Edge::Slow;
        }
        let edge = self.attach(link, news);
        edge.max(self.polls.as_mut().map_or(Edge::None, |polls| polls.polled(missed, full, news)))
    }

    /// A live link replaces the one before it.
    fn attach(&mut self, link: Link, news: News) -> Edge {
        self.last_seen = news.at;
        if self.link == Some(link) {
            return Edge::None;
        }
        self.link = Some(link);
        self.since = news.at;
        self.heard = false;
        self.polls = (link == Link::Polling).then(|| Polls::new(news).into());
        if let Some(watch) = &mut self.watch {
            watch.telemetry = None;
        }
        if let Some(unusual) = &mut self.unusual {
            unusual.ceased = None;
        }
        if let Some(offered) = &mut self.offered {
            offered.lapse();
        }
        Edge::Slow
    }

    /// From now on it can be offered what it could not: it has come to a group, or was admitted. How long it may take to
    /// answer counts from here.
    pub(super) fn comes(&mut self, now: Timestamp) {
        if self.connected() {
            self.since = now;
        }
    }

    /// Takes the agent's link away; true if it was attached by this one.
    pub fn detach(&mut self, link: Link, now: Timestamp) -> bool {
        let attached = self.link == Some(link);
        if attached {
            // A socket was alive until now, however long ago its last message came.
            if link != Link::Polling {
                self.last_seen = now;
            }
            self.link = None;
            self.polls = None;
            self.since = self.last_seen;
        }
        attached
    }

    /// After how long without a word the agent is away, if it were after so long where it polls this replica alone.
    pub(super) fn patience(&self, silence: Duration) -> Duration {
        self.polls.as_ref().map_or(silence, |polls| polls.patience(silence))
    }

    /// When this replica last learned something of it that others may not know: when it connected, or later if it polls.
    pub(super) fn news(&self) -> News {
        let mut news = self.polls.as_ref().map_or(News { at: self.since, number: 0 }, |polls| polls.news());
        news.at = news.at.max(self.since);
        news
    }

    /// Whether it only passed by: this replica has never had it, and it said nothing here that is worth keeping.
    pub(super) fn passed_by(&self) -> bool {
        !self.counts && !self.connected() && self.ledger.iter().next().is_none()
    }

    /// Whether the agent's link is live.
    pub fn connected(&self) -> bool {
        self.link.is_some()
    }

    /// Of the attributes only the host, the version and what rings they put the agent in are written; the group has an
    /// edge of its own.
    fn describe(&mut self, Description { attributes }: Description, group: Option<&GroupView>) -> Edge {
        let attributes = match self.verified() {
            Some(verified) => attributes.verified_by(verified),
            None => attributes,
        };
        let before = std::mem::replace(&mut self.attributes, attributes);
        // Another version reports other leaves and other defaults.
        if before.get("service.version") != self.attributes.get("service.version") {
            self.forget_sight();
        }
        let mut same =
            ["host.name", "service.version"].iter().all(|key| before.get(key) == self.attributes.get(key));
        for ring in group.iter().flat_map(|group| &group.assignment.rings) {
            same &= ring.matches(&before) == ring.matches(&self.attributes);
        }
        let restored = self.unusual.as_mut().and_then(|unusual| unusual.restored.take());
        if restored.is_none() && same { Edge::None } else { Edge::Slow }
    }

    /// The first report of health is part of connecting, and no change.
    fn note_health(&mut self, healthy: bool, started: Option<i64>, now: Timestamp) -> Edge {
        let faltered = self.steady.reports(healthy, started, now);
        if self.healthy != Some(healthy) {
            self.health_since = now;
        }
        match self.healthy.replace(healthy) {
            _ if faltered => Edge::Urgent,
            Some(before) if before == healthy => Edge::None,
            Some(_) => Edge::Urgent,
            None => Edge::Slow,
        }
    }

    /// What few agents have, made if it is not there.
    fn unusual(&mut self) -> &mut Unusual {
        self.unusual.get_or_insert_default()
    }

    /// What it was offered last, while it was unhealthy: that does not count against this, whichever replica it says it
    /// to.
    pub(super) fn exempt_of(&self) -> Option<ConfigHash> {
        self.unusual.as_ref()?.exempt_of.filter(|_| self.exempt)
    }

    /// The content that the agent reports to run.
    pub fn running(&self) -> Option<ConfigHash> {
        self.applied().map(|(hash, _)| hash)
    }

    /// The same, with the form in which it got it.
    fn applied(&self) -> Option<(ConfigHash, Form)> {
        let config = self.config.as_ref().filter(|config| config.outcome == Outcome::Applied)?;
        config.hash.map(|hash| (hash, config.form))
    }
}

#[cfg(test)]
mod tests;
