//! Agents as the leader sees them: the slices of all replicas, merged.

use super::unpack::{Unpacked, unpack_any};
use super::{Adoptee, Done, Drift, DriftClass, Faltered, InstanceUid, Ledger, Ring, Rings, Shown, Sight};
use crate::api::{AgentSliceSpec, EntryFlags};
use crate::config::{ConfigHash, Inventory};
use jiff::Timestamp;
use std::sync::Arc;

/// Whether a replica holds its Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// It does, without a break since this time.
    Alive(Timestamp),
    /// It does not since this time; the epoch where nobody has seen it alive.
    Dead(Timestamp),
}

/// One slice, and whether the replica that wrote it is alive.
#[derive(Clone, Copy)]
pub struct SliceSource<'a> {
    /// The slice's name; decides when nothing else does.
    pub name: &'a str,
    /// The replica that wrote it. Nobody is connected to a dead one.
    pub replica: Replica,
    /// The slice's content.
    pub slice: &'a AgentSliceSpec,
}

/// One agent as the leader sees it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedAgent {
    /// The agent's uid.
    pub uid: InstanceUid,
    /// The host that it runs on, as it says.
    pub host: String,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// What it was built with, if that is known.
    pub build: Option<Arc<Inventory>>,
    /// The rings that it is in.
    pub rings: Rings,
    /// Another group that matches it too.
    pub overlapping: Option<String>,
    /// Whether a living replica holds a link to it.
    pub connected: bool,
    /// Its health: `None` if it does not report health.
    pub healthy: Option<bool>,
    /// Whether it takes configurations.
    pub accepts_config: bool,
    /// Whether it says what became of them.
    pub reports_config: bool,
    /// Whether it shows which configuration is in effect.
    pub reports_effective: bool,
    /// Whether it takes the command to start anew.
    pub accepts_restart: bool,
    /// The content that it reports as applied.
    pub running: Option<ConfigHash>,
    /// Its verdicts.
    pub ledger: Ledger,
    /// How it drifts by its own words, and since when.
    pub told: Option<(DriftClass, Timestamp)>,
    /// What was seen of its effective configuration.
    pub sight: Option<Sight>,
    /// The leader's last order that was carried out.
    pub done: Option<Done>,
    /// When it connected, or was last seen.
    pub since: Timestamp,
    /// When its health last changed.
    pub health_since: Timestamp,
    /// When its process was started, by its own clock, in seconds since 1970.
    pub started: Option<i64>,
    /// Whether it came with another group's revision.
    pub adoptee: Option<Adoptee>,
    /// How it did not stay well with what it runs.
    pub faltered: Faltered,
    /// It was unhealthy when it was offered what it was offered last.
    pub exempt: bool,
    /// It polls, so that an offer reaches it with its next poll only.
    pub polling: bool,
    /// Since when a living replica can offer it something.
    pub reachable_since: Timestamp,
    /// It was connected to a replica that died at this time, and to no other since.
    pub unreachable: Option<Timestamp>,
    /// A replica of a newer version tells of it in a format that is not known here: it is there, and nobody of this
    /// version can say how it does.
    pub newer: bool,
}

impl ObservedAgent {
    fn new(read: Unpacked<'_>, replica: Replica) -> Self {
        // Of a newer format one bit is known.
        let known = if read.newer { EntryFlags::CONNECTED.0 } else { u32::MAX };
        let flags = EntryFlags(read.entry.flags & known);
        let connected = flags.contains(EntryFlags::CONNECTED);
        Self {
            uid: read.uid,
            host: if read.newer { String::new() } else { read.entry.host.clone() },
            group: read.group.map(str::to_owned),
            build: read.build.map(|(_, components)| components),
            rings: read.rings,
            overlapping: read.overlapping.map(str::to_owned),
            connected: matches!(replica, Replica::Alive(_)) && connected,
            reachable_since: match replica {
                Replica::Alive(since) => since.max(time(read.entry.since)),
                Replica::Dead(_) => time(read.entry.since),
            },
            healthy: flags.contains(EntryFlags::REPORTS_HEALTH).then(|| flags.contains(EntryFlags::HEALTHY)),
            accepts_config: flags.contains(EntryFlags::ACCEPTS_CONFIG),
            reports_config: flags.contains(EntryFlags::REPORTS_CONFIG),
            reports_effective: flags.contains(EntryFlags::REPORTS_EFFECTIVE),
            accepts_restart: flags.contains(EntryFlags::ACCEPTS_RESTART),
            running: read.running,
            ledger: read.ledger,
            told: read.told,
            sight: read.sight,
            done: read.done,
            since: time(read.entry.since),
            health_since: time(read.entry.since.saturating_add(if read.newer {
                0
            } else {
                read.entry.health_after
            })),
            started: read.started,
            adoptee: read.adoptee,
            faltered: read.faltered,
            exempt: flags.contains(EntryFlags::EXEMPT),
            polling: flags.contains(EntryFlags::POLLING),
            unreachable: match replica {
                Replica::Dead(since) if connected => Some(since),
                _ => None,
            },
            newer: read.newer,
        }
    }

    /// Whether it is known to lack a component of content that needs these.
    pub fn lacks(&self, needs: Option<&Inventory>) -> bool {
        needs.zip(self.build.as_deref()).is_some_and(|(needs, built)| !needs.is_within(built))
    }

    /// What it is known to lack for content that needs these components.
    pub fn missing(&self, needs: Option<&Inventory>) -> Vec<String> {
        let (Some(built), Some(needs)) = (&self.build, needs) else { return Vec::new() };
        needs.missing_from(built)
    }

    /// Whether it is known to be in a ring.
    pub fn is_in(&self, ring: &Ring) -> bool {
        self.rings.has(ring.key()) == Some(true)
    }

    /// Adds what another replica knows of the same agent: its verdicts, and how it did not stay well. Of an agent
    /// that was started anew and came back by another replica, only the two together can tell.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.ledger.merge(&other.ledger);
        // It was away from this replica because it was connected to the one that died.
        if !self.connected && other.unreachable.is_some() && other.since > self.since {
            (self.unreachable, self.since) = (other.unreachable, other.since);
        }
        // What another replica has carried out is not to be done again.
        self.done = [self.done, other.done].into_iter().flatten().max_by_key(|done| (done.order, done.at));
        if self.running.is_none() || self.running != other.running {
            return;
        }
        // Ill before the offer, as only the replica knows that made it; and ill or well for as long as any has seen.
        self.exempt |= other.exempt;
        if self.healthy == other.healthy {
            self.health_since = self.health_since.min(other.health_since);
        }
        let (mine, others) = (&mut self.faltered, other.faltered);
        mine.fell_ill = [mine.fell_ill, others.fell_ill].into_iter().flatten().min();
        let between = self.started.zip(other.started).is_some_and(|(mine, others)| mine > others);
        let returned = between.then_some(self.since);
        mine.restarted = [mine.restarted, others.restarted, returned].into_iter().flatten().max();
    }

    /// Healthy, or unable to say.
    pub fn is_healthy(&self) -> bool {
        self.healthy.unwrap_or(true)
    }

    /// The agent can be offered a configuration, and what became of it will be known.
    pub fn is_eligible(&self) -> bool {
        self.connected && self.accepts_config && self.tells_outcome() && !self.waits()
    }

    /// The agent can be offered a configuration, and nobody will ever know what became of it.
    pub fn is_unverified(&self) -> bool {
        self.connected && self.accepts_config && !self.tells_outcome() && !self.waits()
    }

    /// What became of a configuration can be known: the agent says it, or shows what is in effect.
    pub fn tells_outcome(&self) -> bool {
        self.reports_config || self.reports_effective
    }

    /// How, where and since when it drifts from what it runs, if that was seen.
    pub fn drift(&self) -> Option<(DriftClass, &str, Timestamp)> {
        let sight = self.sight.as_ref()?;
        match &sight.shown {
            Shown::Drifted(class, path) => Some((*class, path, sight.since)),
            Shown::InSync | Shown::Unknown => None,
        }
    }

    /// How, where and since when it drifts from what it is to run, while it is connected.
    pub fn drift_from(&self, wanted: Option<ConfigHash>) -> Option<Drift<'_>> {
        let wanted = wanted.filter(|_| self.connected)?;
        // One that does not answer a correction may well say still that it runs what it is to run.
        let told = self.told.map(|(class, since)| Drift { class, path: "", since });
        let seen = || self.drift().map(|(class, path, since)| Drift { class, path, since });
        told.or_else(|| seen().filter(|_| self.running == Some(wanted)))
    }

    /// Since when it is away; its replica's end is the end of its connection.
    pub fn away_since(&self) -> Option<Timestamp> {
        (!self.connected).then(|| self.unreachable.unwrap_or(self.since))
    }

    /// Nobody can tell whether it runs what it says.
    pub fn is_unseen(&self) -> bool {
        self.sight.as_ref().is_none_or(|sight| sight.shown == Shown::Unknown)
    }

    /// It came with another group's revision, and keeps that until it is admitted.
    pub fn waits(&self) -> bool {
        self.adoptee.is_some_and(|adoptee| adoptee.waits)
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The agents of one slice.
pub(super) fn read<'a>(source: &SliceSource<'a>) -> impl Iterator<Item = ObservedAgent> + use<'a> {
    let replica = source.replica;
    unpack_any(source.slice).map(move |read| ObservedAgent::new(read, replica))
}

/// Merges the slices of one namespace. An agent that stands in several is taken from the connected one, then from
/// a living replica's, then from the later connection, then from the greater name; its verdicts are merged, and a
/// refusal in any copy stands (design, section 4).
pub fn merge<'a>(slices: impl IntoIterator<Item = SliceSource<'a>>) -> Vec<ObservedAgent> {
    let copies = slices.into_iter().flat_map(|source| read(&source).map(move |agent| Copy { source, agent }));
    let mut copies: Vec<Copy<'_>> = copies.collect();
    copies.sort_by(|a, b| a.agent.uid.cmp(&b.agent.uid).then_with(|| b.precedence().cmp(&a.precedence())));
    let mut merged: Vec<ObservedAgent> = Vec::with_capacity(copies.len());
    for Copy { agent, .. } in copies {
        match merged.last_mut() {
            Some(winner) if winner.uid == agent.uid => winner.absorb(&agent),
            _ => merged.push(agent),
        }
    }
    merged
}

/// What one slice says of an agent.
struct Copy<'a> {
    source: SliceSource<'a>,
    agent: ObservedAgent,
}

impl Copy<'_> {
    fn precedence(&self) -> impl Ord {
        (
            self.agent.connected,
            matches!(self.source.replica, Replica::Alive(_)),
            self.agent.since,
            self.source.name,
        )
    }
}

#[cfg(test)]
mod tests;
