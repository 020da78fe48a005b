//! Builds: what agents were built with, kept once for all agents that report the same hash of it.
//!
//! Agents report the hash; the components themselves are asked for once.

use crate::config::Inventory;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Most builds that are kept of a namespace. Of further ones nothing is known, and their agents are offered
/// everything: they say themselves what they cannot run.
pub const MAX_BUILDS: usize = 8;
/// How long an agent that was asked for its components may take before another one is asked, and before the agents of
/// its build are offered what they may not be able to run.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// Stands for a build: the first 8 bytes of a hash over the hash that agents report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildKey(u64);
super::cohort::as_sixteen_hex_digits!(BuildKey);

impl BuildKey {
    /// The key of the build with this hash, as its agents report it.
    pub fn of(reported: &[u8]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(reported)[..8]);
        Self(u64::from_be_bytes(first))
    }
}

/// A build, and once they are known the components in it.
#[derive(Debug)]
pub struct Build {
    /// What stands for it in slices.
    pub key: BuildKey,
    components: OnceLock<Inventory>,
}

impl Build {
    /// The components, if they are known.
    pub fn components(&self) -> Option<&Inventory> {
        self.components.get()
    }
}

/// What a message says of the components that an agent was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildReport {
    /// Which build it is.
    pub key: BuildKey,
    /// The components, if the message has them.
    pub components: Option<Inventory>,
}

/// The builds of all agents of a replica.
#[derive(Default)]
pub struct Builds {
    by_namespace: HashMap<Arc<str>, HashMap<BuildKey, Known>>,
}

struct Known {
    build: Arc<Build>,
    asked: Option<Timestamp>,
}

impl Builds {
    /// The build with this key; nothing if there are too many already.
    pub fn get(&mut self, namespace: &Arc<str>, key: BuildKey) -> Option<Arc<Build>> {
        let known = self.by_namespace.entry(namespace.clone()).or_default();
        if !known.contains_key(&key) && known.len() >= MAX_BUILDS {
            known.retain(|_, known| Arc::strong_count(&known.build) > 1);
            if known.len() >= MAX_BUILDS {
                return None;
            }
        }
        let new = || Known { build: Arc::new(Build { key, components: OnceLock::new() }), asked: None };
        Some(known.entry(key).or_insert_with(new).build.clone())
    }

    /// Takes in what a build consists of; true if that is news. Whoever tells first is believed: all agents of a
    /// build say the same.
    pub fn learn(&mut self, namespace: &Arc<str>, key: BuildKey, components: Inventory) -> bool {
        self.get(namespace, key).is_some_and(|build| build.components.set(components).is_ok())
    }

    /// Whether an agent of this build is to be asked for its components now; notes that it is.
    pub fn ask(&mut self, namespace: &str, build: &Build, now: Timestamp) -> bool {
        let known = self.by_namespace.get_mut(namespace).and_then(|known| known.get_mut(&build.key));
        let Some(known) = known.filter(|known| known.build.components().is_none()) else { return false };
        let waits = known.asked.is_some_and(|asked| now.duration_since(asked) < PATIENCE);
        if !waits {
            known.asked = Some(now);
        }
        !waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::at;

    fn components() -> Inventory {
        Inventory::new([("receivers", vec!["otlp".to_owned()])])
    }

    #[test]
    fn components_are_asked_for_once_for_all_agents_of_a_build() {
        let (namespace, mut builds) = (Arc::from("ns"), Builds::default());
        let key = BuildKey::of(b"hash");
        let build = builds.get(&namespace, key).expect("room");
        let asked = [0, 1, 59, 60].map(|second| builds.ask("ns", &build, at(second)));
        assert_eq!(asked, [true, false, false, true], "another one after a minute without an answer");
        assert!(builds.learn(&namespace, key, components()));
        assert!(!builds.learn(&namespace, key, Inventory::default()), "the first is believed");
        assert_eq!(build.components(), Some(&components()), "for those that have it already");
        assert!(!builds.ask("ns", &build, at(1000)));
    }

    #[test]
    fn builds_of_a_namespace_are_few_and_those_that_no_agent_has_make_room() {
        let (namespace, mut builds) = (Arc::from("ns"), Builds::default());
        let mut get = |n: u8| builds.get(&namespace, BuildKey::of(&[n]));
        let mut kept: Vec<_> = (0..8).map(&mut get).collect();
        assert!(get(8).is_none());
        assert!(get(7).is_some(), "one that is known");
        kept.pop();
        assert!(get(8).is_some());
        assert!(builds.get(&Arc::from("other"), BuildKey::of(&[9])).is_some());
    }
}
