//! Cohorts: exactly N of a group's agents, chosen with no write per agent (design, section 5).
//!
//! Every agent has a rank in an attempt, the first 8 bytes of a hash over the attempt's seed and the agent's uid.
//! A cohort is the agents up to a boundary rank, so a replica can tell for each of its agents whether it is in.
//! Ranks never change within v1alpha1: replicas of neighbouring versions must agree on them.

use super::{InstanceUid, Ring};
use crate::api;
use sha2::{Digest, Sha256};

/// A number that orders a group's agents in one attempt; written as 16 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

/// Orders the agents of an attempt; another attempt has another seed, so that it is not always the same agents
/// that suffer from a bad revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed with this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The rank of an agent in the attempt with this seed.
    pub fn rank(self, uid: InstanceUid) -> Rank {
        let digest = Sha256::new().chain_update(self.0.to_be_bytes()).chain_update(uid.as_bytes()).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Rank(u64::from_be_bytes(first))
    }
}

impl Rank {
    /// The boundary that lets every agent in, also those that join later.
    pub const ALL: Self = Self(u64::MAX);

    /// Where the rank lies between the lowest, 0, and the highest, 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "it spreads agents over a time; the last bits do not matter"
    )]
    pub fn fraction(self) -> f64 {
        self.0 as f64 / u64::MAX as f64
    }
}

macro_rules! as_sixteen_hex_digits {
    ($type:ident) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl $type {
            /// Reads 16 hex digits; nothing if it is other text.
            pub fn parse(text: &str) -> Option<Self> {
                (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
            }
        }
    };
}
pub(super) use as_sixteen_hex_digits;

as_sixteen_hex_digits!(Rank);
as_sixteen_hex_digits!(Seed);

/// The agents that are to run the target, ready to be asked. Made from the status once, asked for each agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cohort {
    seed: Seed,
    terms: Vec<(Option<Ring>, Rank)>,
}

impl Cohort {
    /// Reads a cohort as it stands in a status. A term that cannot be read lets nobody in.
    pub fn read(seed: &str, terms: &[api::Term]) -> Option<Self> {
        let readable =
            |term: &api::Term| Some((term.selector.clone().map(Ring::new), Rank::parse(&term.boundary)?));
        Some(Self { seed: Seed::parse(seed)?, terms: terms.iter().filter_map(readable).collect() })
    }

    /// Reads the cohort of a rollout's status.
    pub fn of(cohort: &api::Cohort) -> Option<Self> {
        Self::read(&cohort.seed, &cohort.terms)
    }

    /// Whether the agent is in the cohort; `is_in` tells of a ring whether it holds the agent.
    pub fn contains(&self, uid: InstanceUid, is_in: impl Fn(&Ring) -> bool) -> bool {
        // Asked with every message. The rank, a hash, is needed only while the attempt is under way.
        self.terms.iter().any(|(ring, boundary)| {
            ring.as_ref().is_none_or(&is_in) && (*boundary == Rank::ALL || self.seed.rank(uid) <= *boundary)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{attributes, selector};
    use proptest::prelude::*;

    fn term(boundary: &str) -> api::Term {
        api::Term { phase: "full".into(), boundary: boundary.into(), ..api::Term::default() }
    }

    #[test]
    fn rank_is_the_same_for_ever() {
        // printf '\x00\x00\x00\x00\x00\x00\x00\x2a%s' 0123456789abcdef | sha256sum | cut -c1-16
        let uid = InstanceUid::new(*b"0123456789abcdef");
        assert_eq!(Seed::new(42).rank(uid).to_string(), "3d93fbce635a9ca4");
    }

    #[test]
    fn boundary_of_all_lets_every_agent_in() {
        let cohort = Cohort::read("000000000000002a", &[term(&Rank::ALL.to_string())]).expect("readable");
        assert!(cohort.contains(InstanceUid::new([7; 16]), |_| false));
    }

    #[test]
    fn cohort_without_terms_is_empty() {
        let cohort = Cohort::read("000000000000002a", &[]).expect("readable");
        assert!(!cohort.contains(InstanceUid::new([7; 16]), |_| false));
    }

    #[test]
    fn term_with_a_selector_lets_in_only_agents_that_match_it() {
        let edge = api::Term { selector: Some(selector("ring", "edge")), ..term(&Rank::ALL.to_string()) };
        let cohort = Cohort::read("000000000000002a", &[edge]).expect("readable");
        let uid = InstanceUid::new([7; 16]);
        let inside = attributes(&[("ring", "edge")]);
        assert!(cohort.contains(uid, |ring| ring.matches(&inside)));
        assert!(!cohort.contains(uid, |_| false));
    }

    #[test]
    fn unreadable_term_lets_nobody_in() {
        for boundary in ["", "ffff", "xxxxxxxxxxxxxxxx", "fffffffffffffffff"] {
            let cohort = Cohort::read("000000000000002a", &[term(boundary)]).expect("readable");
            assert!(!cohort.contains(InstanceUid::new([7; 16]), |_| false), "{boundary}");
        }
    }

    proptest! {
        #[test]
        fn cohort_holds_exactly_the_agents_up_to_the_boundary(seed: u64, uids in prop::collection::hash_set(any::<[u8; 16]>(), 1..50), pick: prop::sample::Index) {
            let seed = Seed::new(seed);
            let mut ranked: Vec<_> = uids.into_iter().map(|uid| (seed.rank(InstanceUid::new(uid)), uid)).collect();
            ranked.sort();
            let nth = pick.index(ranked.len());
            let cohort = Cohort::read(&seed.to_string(), &[term(&ranked[nth].0.to_string())]).expect("readable");
            let inside = ranked.iter().filter(|(_, uid)| cohort.contains(InstanceUid::new(*uid), |_| false)).count();
            prop_assert_eq!(inside, nth + 1);
        }

        #[test]
        fn seed_reads_back(value: u64) {
            prop_assert_eq!(Seed::parse(&Seed::new(value).to_string()), Some(Seed::new(value)));
        }
    }
}
