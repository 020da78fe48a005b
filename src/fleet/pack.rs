//! Packs agents into slices: short entries that refer to tables.

use super::{
    Agent, Build, Capabilities, Faltered, Given, Link, PrincipalMark, Ring, Shown, Sight, Verdict, clean,
};
use crate::api::{
    AgentEntry, AgentSliceSpec, BuildEntry, DoneEntry, EntryFlags, SLICE_FORMAT_VERSION, SightEntry,
    VerdictEntry,
};
use crate::config::{ConfigHash, Inventory};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::io::{self, Write};

/// [`Verdict::Applied`] in an entry. Codes that are not among these are those of other versions.
pub const APPLIED: u32 = 1;
/// [`Verdict::Failed`] in an entry.
pub const FAILED: u32 = 2;
/// [`Verdict::RolledBackByAgent`] in an entry.
pub const ROLLED_BACK: u32 = 3;
/// No verdict: that the agent fell ill with what it runs.
pub const FELL_ILL: u32 = 4;
/// No verdict: that the agent was started anew while it ran this.
pub const RESTARTED: u32 = 5;

/// No verdict: that the agent was unhealthy when it was offered this, which was offered last.
pub const EXEMPT: u32 = 6;

/// [`Shown::InSync`] in an entry; a class has its own code.
pub const IN_SYNC: u32 = 0;
/// [`Shown::Unknown`] in an entry.
pub const UNKNOWN: u32 = 99;

/// Most bytes of a slice as JSON: 64 KiB (design, section 4), less what the object has around it.
const MAX_BYTES: usize = 62 * 1024;
/// Most bytes of all messages of a slice.
const MAX_MESSAGES_BYTES: usize = 16 * 1024;
/// Longest version that is written, in bytes.
const MAX_VERSION_BYTES: usize = 64;

/// How much is told of each agent.
#[expect(clippy::struct_excessive_bools, reason = "each can be left out by itself")]
#[derive(Clone, Copy)]
struct Detail {
    host_bytes: usize,
    versions: bool,
    paths: bool,
    builds: bool,
    /// A success besides the one with what the agent runs.
    spare: bool,
    verdicts: usize,
    /// Distinct contents in the slice. Agents choose the hashes that they report.
    revisions: usize,
}

/// Tried in this order until a slice is short enough. A fleet as fleets are gets one of the first two; the last is short
/// enough whatever hashes, versions and hosts agents make up.
const DETAILS: [Detail; 5] = [
    Detail {
        host_bytes: 64,
        versions: true,
        paths: true,
        builds: true,
        spare: true,
        verdicts: usize::MAX,
        revisions: usize::MAX,
    },
    // A full slice of agents with host names as clouds give them.
    Detail {
        host_bytes: 64,
        versions: true,
        paths: true,
        builds: true,
        spare: false,
        verdicts: usize::MAX,
        revisions: usize::MAX,
    },
    Detail {
        host_bytes: 64,
        versions: false,
        paths: false,
        builds: true,
        spare: false,
        verdicts: 4,
        revisions: usize::MAX,
    },
    Detail {
        host_bytes: 24,
        versions: false,
        paths: false,
        builds: true,
        spare: false,
        verdicts: 2,
        revisions: usize::MAX,
    },
    Detail {
        host_bytes: 0,
        versions: false,
        paths: false,
        builds: false,
        spare: false,
        verdicts: 1,
        revisions: 140,
    },
];

/// Packs agents into one slice; `rings` are those of their groups. Messages get the room that is left; one for which there is none is left out, its
/// verdict is not.
pub fn pack<'a>(
    replica: &str,
    agents: impl IntoIterator<Item = &'a Agent>,
    rings: &[&Ring],
) -> AgentSliceSpec {
    let agents: Vec<&Agent> = agents.into_iter().collect();
    let mut slice = AgentSliceSpec::default();
    for detail in DETAILS {
        let mut packer = Packer::new(detail, rings);
        let entries = agents.iter().map(|agent| packer.entry(agent)).collect();
        let words = std::mem::take(&mut packer.words);
        slice = packer.slice(replica, entries);
        if let Some(room) = MAX_BYTES.checked_sub(length(&slice)) {
            add_messages(&mut slice, &words, room.min(MAX_MESSAGES_BYTES));
            break;
        }
    }
    slice
}

/// Gives the verdicts their words, as far as there is room for them.
fn add_messages(slice: &mut AgentSliceSpec, words: &[&str], mut room: usize) {
    let mut messages = Table::new();
    let verdicts = slice.agents.iter_mut().flat_map(|entry| &mut entry.verdicts);
    for (verdict, words) in verdicts.zip(words).filter(|(_, words)| !words.is_empty()) {
        let reference = r#","m":249"#.len();
        let message = if messages.index.contains_key(words) { 0 } else { length(words) + ",".len() };
        if let Some(rest) = room.checked_sub(reference + message) {
            room = rest;
            verdict.message = messages.put(*words, || (*words).to_owned());
        }
    }
    slice.messages = messages.list;
}

/// How long a value is as JSON.
fn length(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

/// A table of texts that entries refer to by index.
struct Table<K> {
    list: Vec<String>,
    index: HashMap<K, u32>,
}

impl<K: Eq + Hash> Table<K> {
    fn new() -> Self {
        Self { list: Vec::new(), index: HashMap::new() }
    }

    /// The index of a text, which is added if it is new.
    fn put(&mut self, key: K, text: impl FnOnce() -> String) -> Option<u32> {
        if let Some(index) = self.index.get(&key) {
            return Some(*index);
        }
        let index = u32::try_from(self.list.len()).ok()?;
        self.list.push(text());
        self.index.insert(key, index);
        Some(index)
    }
}

struct Packer<'a> {
    detail: Detail,
    rings: &'a [&'a Ring],
    principals: Table<PrincipalMark>,
    groups: Table<&'a str>,
    versions: Table<&'a str>,
    builds: Vec<&'a Build>,
    revisions: Table<ConfigHash>,
    paths: Table<&'a str>,
    /// The words of each verdict that was packed, in order; empty where it has none.
    words: Vec<&'a str>,
}

impl<'a> Packer<'a> {
    fn new(detail: Detail, rings: &'a [&'a Ring]) -> Self {
        Self {
            detail,
            rings,
            principals: Table::new(),
            groups: Table::new(),
            versions: Table::new(),
            builds: Vec::new(),
            revisions: Table::new(),
            paths: Table::new(),
            words: Vec::new(),
        }
    }

    fn slice(self, replica: &str, agents: Vec<AgentEntry>) -> AgentSliceSpec {
        AgentSliceSpec {
            format_version: SLICE_FORMAT_VERSION,
            replica: replica.to_owned(),
            principals: self.principals.list,
            groups: self.groups.list,
            versions: self.versions.list,
            builds: self.builds.into_iter().map(build_entry).collect(),
            rings: self.rings.iter().map(|ring| ring.key().to_string()).collect(),
            revisions: self.revisions.list,
            messages: Vec::new(),
            paths: self.paths.list,
            agents,
        }
    }

    fn entry(&mut self, agent: &'a Agent) -> AgentEntry {
        let news = agent.news();
        AgentEntry {
            uid: agent.uid.to_hex(),
            host: clean(agent.host(), self.detail.host_bytes),
            bound_before: agent
                .bound()
                .map_or(0, |_| agent.since.as_second().saturating_sub(agent.bound_since)),
            bound: agent.bound().and_then(|mark| self.principals.put(mark, || mark.to_hex())),
            group: self.group(agent.group.as_deref()),
            overlapping: self.group(agent.overlapping.as_deref()),
            build: agent.build.as_deref().and_then(|build| self.build(build)),
            rings: self.rings(agent),
            flags: flags(agent).0,
            version: agent.version().and_then(|version| self.version(version)),
            running: agent.running().and_then(|hash| self.revision(hash)),
            sight: told(agent).or_else(|| Some(self.sight(agent.sight()?, agent.since))),
            done: agent.done().map(|done| DoneEntry {
                order: done.order,
                after: done.at.as_second().saturating_sub(done.order),
            }),
            treatment: None,
            restart: None,
            verdicts: self.verdicts(agent),
            since: agent.since.as_second(),
            adoptee: agent.adoptee.map(|adoptee| adoptee.since.saturating_sub(agent.since.as_second())),
            started: agent.steady.started().map(|started| started.saturating_sub(agent.since.as_second())),
            news_after: news.at.as_second().saturating_sub(agent.since.as_second()),
            news_number: i64::try_from(news.number).unwrap_or(i64::MAX),
            health_after: agent.health_since.as_second() - agent.since.as_second(),
        }
    }

    fn group(&mut self, name: Option<&'a str>) -> Option<u32> {
        let name = name?;
        self.groups.put(name, || name.to_owned())
    }

    /// Builds of which nothing is known are left out.
    fn build(&mut self, build: &'a Build) -> Option<u32> {
        build.components().filter(|_| self.detail.builds)?;
        let known = self.builds.iter().position(|known| known.key == build.key);
        let index = known.unwrap_or_else(|| {
            self.builds.push(build);
            self.builds.len() - 1
        });
        u32::try_from(index).ok()
    }

    fn rings(&self, agent: &Agent) -> Vec<u32> {
        let matching = (0_u32..).zip(self.rings).filter(|(_, ring)| agent.is_in(ring));
        matching.map(|(index, _)| index).collect()
    }

    fn version(&mut self, version: &'a str) -> Option<u32> {
        if !self.detail.versions {
            return None;
        }
        self.versions.put(version, || clean(version, MAX_VERSION_BYTES))
    }

    fn revision(&mut self, hash: ConfigHash) -> Option<u32> {
        if self.revisions.list.len() == self.detail.revisions {
            return self.revisions.index.get(&hash).copied();
        }
        self.revisions.put(hash, || hash.to_string())
    }

    fn sight(&mut self, sight: &'a Sight, since: Timestamp) -> SightEntry {
        let (code, path) = match &sight.shown {
            Shown::InSync => (IN_SYNC, ""),
            Shown::Drifted(class, path) => (class.code(), &**path),
            Shown::Unknown => (UNKNOWN, ""),
        };
        let told = self.detail.paths && !path.is_empty();
        SightEntry {
            code,
            path: told.then(|| self.paths.put(path, || path.to_owned())).flatten(),
            since: sight.since.as_second().saturating_sub(since.as_second()),
            baseline: sight.baseline.map(|digest| digest.to_string()).unwrap_or_default(),
        }
    }

    fn verdicts(&mut self, agent: &'a Agent) -> Vec<VerdictEntry> {
        let given = agent.ledger.foremost(agent.running(), self.detail.spare, self.detail.verdicts);
        let mut verdicts: Vec<_> = given.filter_map(|given| self.verdict(given)).collect();
        let Faltered { fell_ill, restarted } = agent.steady.faltered();
        for (code, at) in [(FELL_ILL, fell_ill), (RESTARTED, restarted)] {
            let (Some(at), Some(hash)) = (at, agent.running()) else { continue };
            let Some(revision) = self.revision(hash) else { continue };
            self.words.push("");
            verdicts.push(VerdictEntry { revision, code, message: None, at: at.as_second() });
        }
        if let Some(revision) = agent.exempt_of().and_then(|hash| self.revision(hash)) {
            self.words.push("");
            verdicts.push(VerdictEntry {
                revision,
                code: EXEMPT,
                message: None,
                at: agent.since.as_second(),
            });
        }
        verdicts
    }

    fn verdict(&mut self, given: &'a Given) -> Option<VerdictEntry> {
        let (code, words) = match &given.verdict {
            Verdict::Applied => (APPLIED, ""),
            Verdict::Failed(words) => (FAILED, &**words),
            Verdict::RolledBackByAgent => (ROLLED_BACK, ""),
        };
        let revision = self.revision(given.hash)?;
        self.words.push(words);
        Some(VerdictEntry { revision, code, message: None, at: given.at.as_second() })
    }
}

/// What an agent's own words show comes before what it has in effect: that is of another revision then.
fn told(agent: &Agent) -> Option<SightEntry> {
    let (class, since) = agent.told()?;
    let since = since.as_second().saturating_sub(agent.since.as_second());
    Some(SightEntry { code: class.code(), since, ..SightEntry::default() })
}

fn build_entry(build: &Build) -> BuildEntry {
    let sections = build.components().into_iter().flat_map(Inventory::sections);
    let joined = |types: &BTreeSet<String>| types.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    BuildEntry {
        key: build.key.to_string(),
        components: sections.map(|(section, types)| (section.to_owned(), joined(types))).collect(),
    }
}

fn flags(agent: &Agent) -> EntryFlags {
    EntryFlags::default()
        .with(EntryFlags::CONNECTED, agent.connected())
        .with(EntryFlags::REPORTS_HEALTH, agent.capabilities.has(Capabilities::REPORTS_HEALTH))
        .with(EntryFlags::HEALTHY, agent.healthy == Some(true))
        .with(EntryFlags::EXEMPT, agent.exempt)
        .with(EntryFlags::WAITS, agent.adoptee.is_some_and(|adoptee| adoptee.waits))
        .with(EntryFlags::VISITS, !agent.counts)
        .with(EntryFlags::POLLING, agent.link == Some(Link::Polling))
        .with(EntryFlags::ACCEPTS_CONFIG, agent.capabilities.has(Capabilities::ACCEPTS_REMOTE_CONFIG))
        .with(EntryFlags::REPORTS_CONFIG, agent.capabilities.has(Capabilities::REPORTS_REMOTE_CONFIG))
        .with(EntryFlags::REPORTS_EFFECTIVE, agent.capabilities.has(Capabilities::REPORTS_EFFECTIVE_CONFIG))
        .with(EntryFlags::ACCEPTS_RESTART, agent.capabilities.has(Capabilities::ACCEPTS_RESTART_COMMAND))
}

#[cfg(test)]
mod tests;
