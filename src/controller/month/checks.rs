//! What must hold at every hour.

use super::World;
use super::agents::{GROUPS, Sim};
use super::leader::Leader;
use crate::api::{AgentEntry, AgentSliceSpec};
use crate::fleet::{AgentKey, InstanceUid, ObservedAgent, Replica};
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};

/// A slice's promised length (design, section 4).
const MAX_BYTES: usize = 64 * 1024;
const MAX_AGENTS: usize = 250;
/// How long a slice may be for each of its agents, on any day.
const BYTES_OF_AN_AGENT: usize = 290;
/// How many contents a slice may tell of, on any day: those that are live, and what its agents refused.
const MAX_REVISIONS: usize = 30;

/// The most of everything, for whoever wants to know how near the bounds are.
#[derive(Debug, Default)]
pub struct Most {
    slices: usize,
    of_the_dead: usize,
    entries: usize,
    bytes: usize,
    bytes_of_an_agent: usize,
    revisions: usize,
    versions: usize,
    builds: usize,
    told: usize,
    connected: usize,
}

fn most(so_far: &mut usize, now: usize) {
    *so_far = now.max(*so_far);
}

impl World {
    pub(super) fn check(&mut self) {
        self.check_slices();
        self.check_living();
        self.check_dead();
        self.check_view();
        self.check_exceptions();
    }

    /// That the month was one.
    pub(super) fn check_that_much_happened(&self) {
        let Leader { swept, treated, refused, .. } = self.leader;
        println!("{} agents, {} replicas, {} writes", self.ever, self.replicas.ever, self.store.writes);
        println!("{swept} slices swept, {treated} treated, {refused} refused");
        assert!(self.ever > 5_000 && self.replicas.ever > 60 && self.store.writes > 1_000);
        assert!(swept > 50 && treated > 200 && refused > 200);
        assert!(self.most.of_the_dead > 3 && self.most.told > 10 && self.most.connected > 500);
    }

    fn check_slices(&mut self) {
        for name in std::mem::take(&mut self.store.fresh) {
            let slice = &self.store.slices[&name];
            let bytes = serde_json::to_vec(slice).expect("JSON").len();
            let tables = tables(slice);
            for (table, length, used) in &tables {
                assert_eq!(used, &(0..*length).collect(), "{name}: {table} keeps what nobody refers to");
            }
            let agents = slice.agents.len();
            assert!(
                agents > 0 && agents <= MAX_AGENTS && bytes <= MAX_BYTES,
                "{name}: {agents}, {bytes} bytes"
            );
            assert!(bytes < 1000 + BYTES_OF_AN_AGENT * agents, "{name}: {bytes} bytes for {agents} agents");
            let of = |table: &str| tables.iter().find(|(name, ..)| *name == table).expect("a table").1;
            assert!(of("revisions") <= MAX_REVISIONS, "{name}: {} contents", of("revisions"));
            assert!(of("groups") <= GROUPS.len());
            most(&mut self.most.bytes, bytes);
            most(&mut self.most.bytes_of_an_agent, bytes / agents);
            most(&mut self.most.revisions, of("revisions"));
            most(&mut self.most.versions, of("versions"));
            most(&mut self.most.builds, of("builds"));
        }
        most(&mut self.most.slices, self.store.slices.len());
    }

    /// Each replica's slices tell of its agents, all of them and once, and are few.
    fn check_living(&mut self) {
        for alive in self.replicas.alive() {
            let mine = || self.store.slices.values().filter(|slice| slice.replica == alive.name);
            let entries: Vec<&AgentEntry> = mine().flat_map(|slice| &slice.agents).collect();
            let uids: BTreeSet<&str> = entries.iter().map(|entry| entry.uid.as_str()).collect();
            assert_eq!(uids.len(), entries.len(), "{}: an agent stands in two slices", alive.name);
            for entry in &entries {
                let uid = InstanceUid::from_hex(&entry.uid).expect("a uid");
                let key = AgentKey { namespace: "ns".into(), uid };
                assert!(alive.roster.agent(&key).is_some(), "{}: {uid:?} is forgotten", alive.name);
                assert!(entry.version.is_some() && !entry.host.is_empty(), "{}: cut short", alive.name);
            }
            assert_eq!(entries.len(), alive.roster.len(), "{}: one is missing", alive.name);
            let slices = mine().count();
            assert!(slices <= entries.len() / 101 + 1, "{}: {slices} for {}", alive.name, entries.len());
            most(&mut self.most.entries, entries.len());
        }
    }

    /// What is left of a dead replica goes with the last agent that only it tells of, and with the longest time for which
    /// agents are remembered.
    fn check_dead(&mut self) {
        let dead = |slice: &&AgentSliceSpec| matches!(self.replicas.fate(&slice.replica), Replica::Dead(_));
        let count = self.store.slices.values().filter(dead).count();
        most(&mut self.most.of_the_dead, count);
        for slice in self.store.slices.values().filter(dead) {
            let died = self.replicas.died[&slice.replica];
            let limit = Leader::patience(None) + SignedDuration::from_hours(2);
            assert!(self.now.duration_since(died) <= limit, "{} is remembered for ever", slice.replica);
        }
    }

    /// The leader sees what is.
    fn check_view(&mut self) {
        let seen: BTreeMap<InstanceUid, &ObservedAgent> =
            self.leader.seen.iter().map(|agent| (agent.uid, agent)).collect();
        let mut known = 0;
        for agent in &mut self.agents {
            let observed = seen.get(&agent.key().uid).copied();
            let away = self.now.duration_since(agent.left.max(jiff::Timestamp::UNIX_EPOCH));
            if agent.at.is_some() {
                check_there(agent, observed.expect("an agent that is there is missing"));
                agent.seen = true;
            } else if agent.seen && away <= Leader::patience(Some(agent.group)) && !agent.moved {
                assert!(observed.is_some_and(|observed| !observed.connected), "{} is missing", agent.n);
            } else if away
                > Leader::patience((!agent.moved).then_some(agent.group)) + SignedDuration::from_hours(2)
            {
                assert!(observed.is_none(), "{} is remembered", agent.n);
            }
            known += usize::from(observed.is_some());
        }
        assert_eq!(known, seen.len(), "the leader sees agents that never were, or were forgotten long ago");
        most(&mut self.most.connected, self.agents.iter().filter(|agent| agent.at.is_some()).count());
    }

    /// What the leader tells of agents that are treated or refused something is of agents that are there, and is short.
    fn check_exceptions(&mut self) {
        let seen: BTreeSet<String> = self.leader.seen.iter().map(|agent| agent.uid.to_hex()).collect();
        for slices in &self.leader.exceptions {
            let entries: Vec<&AgentEntry> = slices.iter().flat_map(|slice| &slice.agents).collect();
            assert!(entries.iter().all(|entry| seen.contains(&entry.uid)), "of one that is forgotten");
            assert!(slices.len() <= entries.len() / 50 + 1, "{} for {}", slices.len(), entries.len());
            for slice in slices {
                let bytes = serde_json::to_vec(slice).expect("JSON").len();
                assert!(slice.agents.len() <= MAX_AGENTS && bytes <= MAX_BYTES && slice.revisions.len() <= 2);
            }
            most(&mut self.most.told, entries.len());
        }
    }
}

fn check_there(agent: &Sim, observed: &ObservedAgent) {
    let healthy = observed.healthy == Some(agent.healthy);
    let group = observed.group.as_deref() == Some(GROUPS[agent.group]);
    let same = observed.connected && healthy && group && observed.running == agent.running();
    assert!(same && observed.host == agent.host(), "agent {}: {observed:?}", agent.n);
}

/// The tables of a slice that fill with what agents say: how long each is, and which places are referred to.
fn tables(slice: &AgentSliceSpec) -> Vec<(&'static str, usize, BTreeSet<usize>)> {
    let verdicts = || slice.agents.iter().flat_map(|entry| &entry.verdicts);
    let of = |index: fn(&AgentEntry) -> [Option<u32>; 2]| -> BTreeSet<usize> {
        slice.agents.iter().flat_map(index).flatten().map(|index| index as usize).collect()
    };
    let mut revisions = of(|entry| [entry.running, None]);
    revisions.extend(verdicts().map(|verdict| verdict.revision as usize));
    let messages = verdicts().filter_map(|verdict| verdict.message).map(|index| index as usize).collect();
    vec![
        ("principals", slice.principals.len(), of(|entry| [entry.bound, None])),
        ("groups", slice.groups.len(), of(|entry| [entry.group, entry.overlapping])),
        ("versions", slice.versions.len(), of(|entry| [entry.version, None])),
        ("builds", slice.builds.len(), of(|entry| [entry.build, None])),
        ("paths", slice.paths.len(), of(|entry| [entry.sight.as_ref().and_then(|sight| sight.path), None])),
        ("revisions", slice.revisions.len(), revisions),
        ("messages", slice.messages.len(), messages),
    ]
}
