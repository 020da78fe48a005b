//! Reads agents back from slices, also from those of neighbouring versions and from damaged ones.

use super::pack::{APPLIED, EXEMPT, FAILED, FELL_ILL, IN_SYNC, RESTARTED, ROLLED_BACK};
use super::{
    Adoptee, BuildKey, Done, DriftClass, Faltered, InstanceUid, Ledger, PrincipalMark, RingKey, Rings, Shown,
    Sight, Verdict,
};
use crate::api::{AgentEntry, AgentSliceSpec, BuildEntry, EntryFlags, SLICE_FORMAT_VERSION};
use crate::config::{ConfigHash, Digest, Inventory};
use jiff::Timestamp;
use std::sync::Arc;

/// An entry with its table indexes resolved. What cannot be read is left out; the rest of the slice counts.
pub struct Unpacked<'a> {
    /// The entry itself.
    pub entry: &'a AgentEntry,
    /// The agent's uid.
    pub uid: InstanceUid,
    /// Whose it is.
    pub bound: Option<PrincipalMark>,
    /// Since when, in seconds since 1970.
    pub bound_since: i64,
    /// The group's name.
    pub group: Option<&'a str>,
    /// The name of another group that matches too.
    pub overlapping: Option<&'a str>,
    /// What it was built with, if that is known.
    pub build: Option<(BuildKey, Arc<Inventory>)>,
    /// The rings that it is in.
    pub rings: Rings,
    /// The content that runs.
    pub running: Option<ConfigHash>,
    /// The verdicts.
    pub ledger: Ledger,
    /// When its process was started, by its own clock, in seconds since 1970.
    pub started: Option<i64>,
    /// Whether it came with another group's revision.
    pub adoptee: Option<Adoptee>,
    /// How it did not stay well with what it runs.
    pub faltered: Faltered,
    /// Its version, if that was written.
    pub version: Option<&'a str>,
    /// How it drifts by its own words, and since when.
    pub told: Option<(DriftClass, Timestamp)>,
    /// What was seen of its effective configuration.
    pub sight: Option<Sight>,
    /// The leader's last order that was carried out.
    pub done: Option<Done>,
    /// What it was offered while it was unhealthy, if that was the last offer.
    pub exempt_of: Option<ConfigHash>,
    /// The slice has a format of a newer version: nothing is known but uid, group, whether it is connected, and since
    /// when.
    pub newer: bool,
}

/// Reads the entries of a slice, and of one in a newer version's format what is the same in all formats.
pub fn unpack_any(slice: &AgentSliceSpec) -> impl Iterator<Item = Unpacked<'_>> {
    unpack(slice).chain(unpack_core(slice))
}

/// What every format says in the same way: `groups`, and of each agent `u`, `g`, `t` and bit 1 of `f`.
fn unpack_core(slice: &AgentSliceSpec) -> impl Iterator<Item = Unpacked<'_>> {
    let newer = slice.format_version > SLICE_FORMAT_VERSION;
    slice.agents.iter().filter(move |_| newer).filter_map(|entry| {
        Some(Unpacked {
            entry,
            uid: InstanceUid::from_hex(&entry.uid)?,
            bound: None,
            bound_since: entry.since,
            group: entry.group.and_then(|index| slice.groups.get(index as usize)).map(String::as_str),
            overlapping: None,
            build: None,
            rings: Rings::default(),
            running: None,
            ledger: Ledger::default(),
            started: None,
            adoptee: None,
            faltered: Faltered::default(),
            version: None,
            told: None,
            sight: None,
            done: None,
            exempt_of: None,
            newer: true,
        })
    })
}

/// Reads the entries of a slice; none if it has a format that this program does not know.
pub fn unpack(slice: &AgentSliceSpec) -> impl Iterator<Item = Unpacked<'_>> {
    let known = slice.format_version == SLICE_FORMAT_VERSION;
    let hashes: Vec<Option<ConfigHash>> = slice.revisions.iter().map(|text| text.parse().ok()).collect();
    let builds: Vec<Option<(BuildKey, Arc<Inventory>)>> = slice.builds.iter().map(read_build).collect();
    let asked: Arc<[RingKey]> = slice.rings.iter().filter_map(|text| RingKey::parse(text)).collect();
    let hash_at = move |index: u32| hashes.get(index as usize).copied().flatten();
    slice.agents.iter().filter(move |_| known).filter_map(move |entry| {
        let group_at = |index: Option<u32>| slice.groups.get(index? as usize).map(String::as_str);
        Some(Unpacked {
            entry,
            uid: InstanceUid::from_hex(&entry.uid)?,
            bound: entry
                .bound
                .and_then(|index| PrincipalMark::from_hex(slice.principals.get(index as usize)?)),
            bound_since: entry.since.saturating_sub(entry.bound_before),
            group: group_at(entry.group),
            overlapping: group_at(entry.overlapping),
            build: builds.get(entry.build.map_or(usize::MAX, |index| index as usize)).cloned().flatten(),
            rings: Rings::new(asked.clone(), read_rings(slice, entry)),
            running: entry.running.and_then(&hash_at),
            ledger: read_ledger(slice, entry, &hash_at),
            started: entry.started.map(|after| entry.since.saturating_add(after)),
            adoptee: entry.adoptee.map(|after| Adoptee {
                since: entry.since.saturating_add(after),
                waits: EntryFlags(entry.flags).contains(EntryFlags::WAITS),
            }),
            faltered: read_faltered(entry),
            version: entry.version.and_then(|index| slice.versions.get(index as usize)).map(String::as_str),
            told: read_told(entry),
            exempt_of: read_exempt(entry).and_then(&hash_at),
            sight: entry.running.and_then(&hash_at).and_then(|hash| read_sight(slice, entry, hash)),
            done: entry
                .done
                .as_ref()
                .map(|done| Done { order: done.order, at: read_time(done.order.saturating_add(done.after)) }),
            newer: false,
        })
    })
}

fn read_build(entry: &BuildEntry) -> Option<(BuildKey, Arc<Inventory>)> {
    let types = |text: &String| text.split(' ').map(str::to_owned).collect();
    let sections = entry.components.iter().map(|(section, text)| (section.as_str(), types(text)));
    Some((BuildKey::parse(&entry.key)?, Arc::new(Inventory::new(sections))))
}

fn read_rings(slice: &AgentSliceSpec, entry: &AgentEntry) -> Vec<RingKey> {
    let texts = entry.rings.iter().filter_map(|index| slice.rings.get(*index as usize));
    texts.filter_map(|text| RingKey::parse(text)).collect()
}

fn read_told(entry: &AgentEntry) -> Option<(DriftClass, Timestamp)> {
    let read = entry.sight.as_ref()?;
    let class = DriftClass::of_code(read.code).filter(|class| class.is_told())?;
    Some((class, read_time(entry.since.saturating_add(read.since))))
}

fn read_sight(slice: &AgentSliceSpec, entry: &AgentEntry, of: ConfigHash) -> Option<Sight> {
    let told = |code| DriftClass::of_code(code).is_some_and(DriftClass::is_told);
    let read = entry.sight.as_ref().filter(|read| !told(read.code))?;
    let path = read.path.and_then(|index| slice.paths.get(index as usize));
    let shown = match DriftClass::of_code(read.code) {
        Some(class) => Shown::Drifted(class, path.map_or("", String::as_str).into()),
        None if read.code == IN_SYNC => Shown::InSync,
        None => Shown::Unknown,
    };
    let since = read_time(entry.since.saturating_add(read.since));
    Some(Sight { of, shown, since, baseline: Digest::parse(&read.baseline) })
}

fn read_faltered(entry: &AgentEntry) -> Faltered {
    let at = |code| {
        let found = entry.verdicts.iter().find(|verdict| verdict.code == code)?;
        Some(read_time(found.at)).filter(|_| Some(found.revision) == entry.running)
    };
    Faltered { fell_ill: at(FELL_ILL), restarted: at(RESTARTED) }
}

fn read_exempt(entry: &AgentEntry) -> Option<u32> {
    entry.verdicts.iter().find(|verdict| verdict.code == EXEMPT).map(|verdict| verdict.revision)
}

fn read_time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
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
            APPLIED => Verdict::Applied,
            FAILED => Verdict::failed(message.map_or("", String::as_str)),
            ROLLED_BACK => Verdict::RolledBackByAgent,
            _ => continue,
        };
        if let Some(hash) = hash_at(verdict.revision) {
            ledger.note(hash, read, read_time(verdict.at));
        }
    }
    ledger
}

#[cfg(test)]
mod tests;
