//! Rings: the agents of a group that a phase selects by their attributes (design, section 5).
//!
//! Only the replica that serves an agent knows its attributes, so it writes for each ring of the agent's group
//! whether the agent matches. A ring has a key, so that slices need not repeat its selector.

use super::cohort::as_sixteen_hex_digits;
use super::{Attributes, matches};
use crate::api::AttributeSelector;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Stands for a selector: the first 8 bytes of a hash over it, written as 16 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingKey(u64);
as_sixteen_hex_digits!(RingKey);

/// A selector with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    selector: AttributeSelector,
    key: RingKey,
}

impl Ring {
    /// The ring of the agents that this selector matches.
    pub fn new(selector: AttributeSelector) -> Self {
        // A selector has no parts that cannot be written; two that could not be would only share a key.
        let text = serde_json::to_vec(&selector).unwrap_or_default();
        let digest = Sha256::digest(text);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self { selector, key: RingKey(u64::from_be_bytes(first)) }
    }

    /// What stands for it in slices.
    pub fn key(&self) -> RingKey {
        self.key
    }

    /// Whether an agent with these attributes is in it.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        matches(&self.selector, attributes)
    }
}

/// The rings of one agent as its replica wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// The rings that the replica asked for.
    asked: Arc<[RingKey]>,
    /// Those of them that the agent is in.
    matched: Vec<RingKey>,
}

impl Rings {
    /// What a slice says of one agent.
    pub fn new(asked: Arc<[RingKey]>, matched: Vec<RingKey>) -> Self {
        Self { asked, matched }
    }

    /// Whether the agent is in a ring; nothing if its replica has not said.
    pub fn has(&self, ring: RingKey) -> Option<bool> {
        self.asked.contains(&ring).then(|| self.matched.contains(&ring))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{attributes, selector};

    #[test]
    fn ring_has_the_same_key_for_ever() {
        // printf '{"matchLabels":{"ring":"edge"}}' | sha256sum | cut -c1-16
        assert_eq!(Ring::new(selector("ring", "edge")).key().to_string(), "68e3f157fffb46a8");
        assert_ne!(Ring::new(selector("ring", "edge")).key(), Ring::new(selector("ring", "core")).key());
    }

    #[test]
    fn ring_holds_the_agents_that_its_selector_matches() {
        let edge = Ring::new(selector("ring", "edge"));
        assert!(edge.matches(&attributes(&[("ring", "edge")])));
        assert!(!edge.matches(&attributes(&[("ring", "core")])));
    }

    #[test]
    fn ring_that_no_replica_was_asked_for_is_unknown() {
        let [edge, core, new] = ["edge", "core", "new"].map(|name| Ring::new(selector("ring", name)).key());
        let rings = Rings::new([edge, core].into(), vec![edge]);
        assert_eq!([edge, core, new].map(|ring| rings.has(ring)), [Some(true), Some(false), None]);
    }
}
