//! Agents as the leader sees them: the slices of all replicas, merged.

use super::unpack::{Unpacked, unpack_any};
use super::{
    Adoptee, Bindings, Done, Drift, DriftClass, Faltered, InstanceUid, Ledger, News, PrincipalMark, Ring,
    Rings, Shown, Sight,
};
use crate::api::{AgentSliceSpec, EntryFlags};
use crate::config::{ConfigHash, Inventory};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// How far apart the clocks of two replicas may be without any harm where times of both are compared: what is dated by
/// so little before the other is not taken for earlier.
pub const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(10);

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
    /// Whose it is.
    pub bound: Option<PrincipalMark>,
    /// Since when, in seconds since 1970.
    pub bound_since: i64,
    /// Another holder's agent has come with the same uid. Nothing of what is known of that one is in here.
    pub contested: bool,
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
    /// When the replica that is believed last learned something of it that others may not know: when it connected, or
    /// later if it polls.
    pub news: News,
    /// The replica does not have it, or does not know all of it: only its verdicts count, and when it was seen.
    pub visits: bool,
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
    /// What that was, if it is known.
    pub exempt_of: Option<ConfigHash>,
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
            bound: read.bound,
            bound_since: read.bound_since,
            contested: false,
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
            news: match read.entry {
                entry if read.newer => News { at: time(entry.since), number: 0 },
                entry => News {
                    at: time(entry.since.saturating_add(entry.news_after)),
                    number: entry.news_number.try_into().unwrap_or_default(),
                },
            },
            visits: flags.contains(EntryFlags::VISITS),
            health_since: time(read.entry.since.saturating_add(if read.newer {
                0
            } else {
                read.entry.health_after
            })),
            started: read.started,
            adoptee: read.adoptee,
            faltered: read.faltered,
            exempt: flags.contains(EntryFlags::EXEMPT),
            exempt_of: read.exempt_of,
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
        // What another replica has carried out is not to be done again.
        self.done = [self.done, other.done].into_iter().flatten().max_by_key(|done| (done.order, done.at));
        if other.visits {
            // It is not lost: it was seen elsewhere since.
            if !self.connected {
                self.since = self.since.max(other.since);
            }
            return;
        }
        self.absorb_presence(other);
        self.absorb_adoption(other);
        // It came from there with what it was offered while it was ill.
        if other.exempt_of.is_some() && other.exempt_of == self.running {
            (self.exempt, self.exempt_of) = (true, other.exempt_of);
        }
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

    /// An agent that polls several replicas has been there for as long as any of them has had it, and was there until the
    /// last one died.
    fn absorb_presence(&mut self, other: &Self) {
        if self.connected && other.connected && self.polling && other.polling {
            self.since = self.since.min(other.since);
            self.reachable_since = self.reachable_since.min(other.reachable_since);
        }
        // It was away from this replica because it was connected to the one that died.
        let Some(died) = other.unreachable.filter(|_| !self.connected) else { return };
        // Which of the two came later is told by their replicas' clocks. In doubt it was there: that is waited for, and the
        // other would be a failure.
        let was_there = if other.polling { died } else { other.since };
        if was_there.saturating_add(CLOCKS_APART).is_ok_and(|latest| latest >= self.since) {
            (self.unreachable, self.since) = (other.unreachable, other.since.max(self.since));
        }
    }

    /// Another replica had it admitted. If it runs there what it was given, or has refused it, that is judged wherever it
    /// goes. Before that it waits where it is now for its turn: this replica alone offers it anything.
    fn absorb_adoption(&mut self, other: &Self) {
        let Some(admitted) = other.adoptee.filter(|adoptee| !adoptee.waits) else { return };
        let refused_since = || {
            let mut refusals = other.ledger.iter().filter(|given| given.verdict.is_refusal());
            refusals.any(|given| given.at.as_second() >= admitted.since)
        };
        self.adoptee = match self.adoptee {
            Some(own) if own.waits && !refused_since() => Some(own),
            Some(own) => Some(Adoptee { since: own.since.min(admitted.since), waits: false }),
            None => Some(admitted),
        };
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
/// a living replica's, then from the later connection or, if it polls, from the one that learned something of it last, by the number of the
/// agent's message if that was within the same second,
/// then from the greater name; its verdicts are merged, and a refusal in any copy stands (design, section 4). One that
/// no replica has is not there. Where several holders' agents have one uid, the one that was told to be whose it is, else
/// the one that has it longest, keeps it, and nothing of the others counts.
pub fn merge<'a>(slices: impl IntoIterator<Item = SliceSource<'a>>, told: &Bindings) -> Vec<ObservedAgent> {
    let copies = slices.into_iter().flat_map(|source| read(&source).map(move |agent| Copy { source, agent }));
    let mut copies: Vec<Copy<'_>> = copies.collect();
    copies.sort_by(|a, b| a.agent.uid.cmp(&b.agent.uid).then_with(|| b.precedence().cmp(&a.precedence())));
    let mut merged: Vec<ObservedAgent> = Vec::with_capacity(copies.len());
    for copies in copies.chunk_by(|a, b| a.agent.uid == b.agent.uid) {
        merged.extend(merge_copies(copies, told));
    }
    merged.retain(|agent| !agent.visits);
    merged
}

/// One agent of its copies, the best first.
fn merge_copies(copies: &[Copy<'_>], told: &Bindings) -> Option<ObservedAgent> {
    let agents = || copies.iter().map(|copy| &copy.agent);
    let marks = || agents().filter_map(|agent| Some((agent.bound_since, agent.bound?)));
    let contested = marks().any(|(_, mark)| marks().any(|(_, other)| mark != other));
    let told = agents().find_map(|agent| told.get(&agent.uid)).copied();
    let owner = told.filter(|told| marks().any(|(_, mark)| mark == *told));
    let owner = owner.or_else(|| marks().min().map(|(_, mark)| mark));
    let mut own = agents().filter(|agent| agent.bound.is_none() || agent.bound == owner);
    let mut winner = own.next()?.clone();
    for agent in own {
        winner.absorb(agent);
    }
    (winner.bound, winner.contested) = (owner, contested);
    Some(winner)
}

/// What one slice says of an agent.
struct Copy<'a> {
    source: SliceSource<'a>,
    agent: ObservedAgent,
}

impl Copy<'_> {
    fn precedence(&self) -> impl Ord {
        (
            !self.agent.visits,
            self.agent.connected,
            matches!(self.source.replica, Replica::Alive(_)),
            self.agent.news,
            self.source.name,
        )
    }
}

#[cfg(test)]
mod tests;
