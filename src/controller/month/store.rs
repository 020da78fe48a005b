//! The objects in the API server, and what must hold after each write.

use crate::api::AgentSliceSpec;
use crate::fleet::{InstanceUid, SliceContent};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Slices of replicas by name, and how many of them each agent stands in.
#[derive(Default)]
pub struct Store {
    /// The names of those that were written since somebody looked.
    pub fresh: BTreeSet<String>,
    pub slices: BTreeMap<String, AgentSliceSpec>,
    standing: HashMap<InstanceUid, usize>,
    pub writes: usize,
}

fn uids(slice: &AgentSliceSpec) -> impl Iterator<Item = InstanceUid> {
    slice.agents.iter().map(|entry| InstanceUid::from_hex(&entry.uid).expect("a uid"))
}

impl Store {
    /// Takes a replica's write; returns the agents that stand in no slice any more.
    pub fn write(&mut self, replica: &str, content: SliceContent) -> Vec<InstanceUid> {
        let name = format!("{replica}-{}", content.id.number);
        assert!(name.len() <= replica.len() + 3, "numbers stay short: {name}");
        self.writes += 1;
        if let Some(stands) = self.slices.get(&name) {
            assert_eq!(stands.replica, replica, "{name} is another's");
        }
        self.put(name, content.spec)
    }

    /// The leader's sweep.
    pub fn delete(&mut self, name: &str) -> Vec<InstanceUid> {
        self.put(name.to_owned(), None)
    }

    fn put(&mut self, name: String, spec: Option<AgentSliceSpec>) -> Vec<InstanceUid> {
        for uid in spec.iter().flat_map(uids) {
            *self.standing.entry(uid).or_default() += 1;
        }
        if spec.is_some() {
            self.fresh.insert(name.clone());
        } else {
            self.fresh.remove(&name);
        }
        let before = match spec {
            Some(spec) => self.slices.insert(name, spec),
            None => self.slices.remove(&name),
        };
        let mut lost = Vec::new();
        for uid in before.iter().flat_map(uids) {
            let count = self.standing.get_mut(&uid).expect("it stood there");
            *count -= 1;
            if *count == 0 {
                self.standing.remove(&uid);
                lost.push(uid);
            }
        }
        lost
    }
}
