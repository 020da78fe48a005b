//! Packs agents into slices, and reads them back: short entries that refer to tables.

use super::{Agent, Capabilities, Given, InstanceUid, Ledger, Verdict, clean};
use crate::api::{AgentEntry, AgentSliceSpec, EntryFlags, SLICE_FORMAT_VERSION, VerdictEntry};
use crate::config::ConfigHash;
use jiff::Timestamp;
use std::collections::HashMap;

/// Longest host name that is written, in bytes.
const MAX_HOST_BYTES: usize = 64;
/// All messages of a slice together, in bytes. With 250 entries of about 100 bytes a slice stays below 64 KiB;
/// a message for which there is no room is left out, the verdict is not.
const MAX_MESSAGES_BYTES: usize = 16 * 1024;

/// Packs agents into one slice.
pub fn pack<'a>(replica: &str, agents: impl IntoIterator<Item = &'a Agent>) -> AgentSliceSpec {
    let mut packer = Packer::default();
    let entries = agents.into_iter().map(|agent| packer.entry(agent)).collect();
    AgentSliceSpec {
        format_version: SLICE_FORMAT_VERSION,
        replica: replica.to_owned(),
        groups: packer.groups.list,
        versions: packer.versions.list,
        revisions: packer.revisions.list,
        messages: packer.messages.list,
        agents: entries,
    }
}

/// A table of texts that entries refer to by index.
#[derive(Default)]
struct Table {
    list: Vec<String>,
    index: HashMap<String, u32>,
    bytes: usize,
}

impl Table {
    fn put(&mut self, text: &str) -> Option<u32> {
        if let Some(index) = self.index.get(text) {
            return Some(*index);
        }
        let index = u32::try_from(self.list.len()).ok()?;
        self.list.push(text.to_owned());
        self.index.insert(text.to_owned(), index);
        self.bytes += text.len();
        Some(index)
    }
}

#[derive(Default)]
struct Packer {
    groups: Table,
    versions: Table,
    revisions: Table,
    messages: Table,
}

impl Packer {
    fn entry(&mut self, agent: &Agent) -> AgentEntry {
        AgentEntry {
            uid: agent.uid.to_hex(),
            host: clean(agent.host(), MAX_HOST_BYTES),
            group: agent.group.as_deref().and_then(|name| self.groups.put(name)),
            overlapping: agent.overlapping.as_deref().and_then(|name| self.groups.put(name)),
            flags: flags(agent).0,
            version: agent.version().and_then(|version| self.versions.put(version)),
            running: agent.running().and_then(|hash| self.revisions.put(&hash.to_string())),
            verdicts: agent.ledger.iter().filter_map(|given| self.verdict(given)).collect(),
            since: agent.since.as_second(),
        }
    }

    fn verdict(&mut self, given: &Given) -> Option<VerdictEntry> {
        let (code, message) = match &given.verdict {
            Verdict::Applied => (1, ""),
            Verdict::Failed(message) => (2, &**message),
            Verdict::RolledBackByAgent => (3, ""),
        };
        let fits = self.messages.bytes + message.len() <= MAX_MESSAGES_BYTES
            || self.messages.index.contains_key(message);
        let message = (!message.is_empty() && fits).then(|| self.messages.put(message)).flatten();
        let revision = self.revisions.put(&given.hash.to_string())?;
        Some(VerdictEntry { revision, code, message, at: given.at.as_second() })
    }
}

fn flags(agent: &Agent) -> EntryFlags {
    EntryFlags::default()
        .with(EntryFlags::CONNECTED, agent.connected())
        .with(EntryFlags::REPORTS_HEALTH, agent.capabilities.has(Capabilities::REPORTS_HEALTH))
        .with(EntryFlags::HEALTHY, agent.healthy == Some(true))
        .with(EntryFlags::ACCEPTS_CONFIG, agent.capabilities.has(Capabilities::ACCEPTS_REMOTE_CONFIG))
        .with(EntryFlags::REPORTS_CONFIG, agent.capabilities.has(Capabilities::REPORTS_REMOTE_CONFIG))
}

/// An entry with its table indexes resolved. What cannot be read is left out; the rest of the slice counts.
pub struct Unpacked<'a> {
    /// The entry itself.
    pub entry: &'a AgentEntry,
    /// The agent's uid.
    pub uid: InstanceUid,
    /// The group's name.
    pub group: Option<&'a str>,
    /// The name of another group that matches too.
    pub overlapping: Option<&'a str>,
    /// The content that runs.
    pub running: Option<ConfigHash>,
    /// The verdicts.
    pub ledger: Ledger,
}

/// Reads the entries of a slice; none if it has a format that this program does not know.
pub fn unpack(slice: &AgentSliceSpec) -> impl Iterator<Item = Unpacked<'_>> {
    let known = slice.format_version == SLICE_FORMAT_VERSION;
    let hashes: Vec<Option<ConfigHash>> = slice.revisions.iter().map(|text| text.parse().ok()).collect();
    let hash_at = move |index: u32| hashes.get(index as usize).copied().flatten();
    slice.agents.iter().filter(move |_| known).filter_map(move |entry| {
        let group_at = |index: Option<u32>| slice.groups.get(index? as usize).map(String::as_str);
        Some(Unpacked {
            entry,
            uid: InstanceUid::from_hex(&entry.uid)?,
            group: group_at(entry.group),
            overlapping: group_at(entry.overlapping),
            running: entry.running.and_then(&hash_at),
            ledger: read_ledger(slice, entry, &hash_at),
        })
    })
}

fn read_ledger(
    slice: &AgentSliceSpec,
    entry: &AgentEntry,
    hash_at: &impl Fn(u32) -> Option<ConfigHash>,
) -> Ledger {
    let mut ledger = Ledger::default();
    for verdict in &entry.verdicts {
        let message = verdict.message.and_then(|index| slice.messages.get(index as usize));
        let read = match verdict.code {
            1 => Verdict::Applied,
            2 => Verdict::failed(message.map_or("", String::as_str)),
            3 => Verdict::RolledBackByAgent,
            _ => continue,
        };
        if let (Some(hash), Ok(at)) = (hash_at(verdict.revision), Timestamp::from_second(verdict.at)) {
            ledger.note(hash, read, at);
        }
    }
    ledger
}
