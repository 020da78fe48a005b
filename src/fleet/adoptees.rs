//! Adoptees: agents that come to a group while they run another group's revision (design, section 3).
//!
//! Membership never bypasses the gates. An adoptee keeps what it runs until the leader admits it, in steps. An agent
//! that runs nothing of ours takes the revision of its side at once.

use super::{InstanceUid, Rank, Seed};
use crate::api::AdoptionStatus;
use crate::config::ConfigHash;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Which groups of a namespace each content belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings {
    groups: HashMap<ConfigHash, BTreeSet<Arc<str>>>,
}

/// A revision, as far as it tells whose it is.
pub struct Belonging<'a> {
    /// The revision's name.
    pub name: &'a str,
    /// The hash of its content.
    pub hash: ConfigHash,
    /// The rollout that it came from.
    pub rollout: &'a str,
    /// The uids of its owners: a group owns the revisions that were its target or stable.
    pub owners: BTreeSet<&'a str>,
}

/// A group that revisions may belong to.
pub struct Claimant<'a> {
    /// The group's name.
    pub name: &'a Arc<str>,
    /// The uid of its object.
    pub uid: &'a str,
    /// The names of its live revisions: all revisions of their rollouts are the group's.
    pub live: Vec<String>,
}

impl Belongings {
    /// Finds out whose each revision of a namespace is.
    pub fn new(revisions: &[Belonging<'_>], groups: &[Claimant<'_>]) -> Self {
        let rollout_of: BTreeMap<&str, &str> =
            revisions.iter().map(|revision| (revision.name, revision.rollout)).collect();
        let mut belongings = Self::default();
        for revision in revisions {
            // A content that is nobody's is known all the same.
            let owned = belongings.groups.entry(revision.hash).or_default();
            let is_of = |group: &&Claimant<'_>| {
                let rollouts = group.live.iter().filter_map(|name| rollout_of.get(name.as_str()));
                revision.owners.contains(group.uid) || rollouts.into_iter().any(|of| *of == revision.rollout)
            };
            owned.extend(groups.iter().filter(is_of).map(|group| group.name.clone()));
        }
        belongings
    }

    /// Whether a content is a revision of other groups only. What is no revision at all is not of ours.
    pub fn is_foreign(&self, content: ConfigHash, group: &str) -> bool {
        self.groups.get(&content).is_some_and(|groups| !groups.contains(group))
    }
}

/// Which adoptees of a group are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    seed: Seed,
    boundary: Rank,
    until: Timestamp,
}

impl Admission {
    /// Reads an admission as it stands in a status; nobody is admitted by one that cannot be read.
    pub fn read(status: &AdoptionStatus) -> Option<Self> {
        let (seed, boundary) = (Seed::parse(&status.seed)?, Rank::parse(&status.boundary)?);
        Some(Self { seed, boundary, until: status.until.0 })
    }

    /// Whether it admits an adoptee that came at this time. Whoever comes later waits for the next step.
    pub fn admits(&self, uid: InstanceUid, came: Timestamp) -> bool {
        came <= self.until && self.seed.rank(uid) <= self.boundary
    }
}

/// An agent that came with another group's revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adoptee {
    /// When it came, in seconds since 1970.
    pub since: i64,
    /// It is not admitted, and keeps what it runs.
    pub waits: bool,
}

impl Adoptee {
    /// What becomes of an agent that was `before`, now that it runs `foreign` content or not. One that was admitted is
    /// remembered until the adoption is over.
    pub fn next(
        before: Option<Self>,
        foreign: bool,
        admission: Option<&Admission>,
        uid: InstanceUid,
        now: Timestamp,
    ) -> Option<Self> {
        let since = match before {
            Some(known) if foreign || admission.is_some() => known.since,
            None if foreign => now.as_second(),
            _ => return None,
        };
        let came = Timestamp::from_second(since).unwrap_or(Timestamp::MAX);
        let admitted = admission.is_some_and(|admission| admission.admits(uid, came));
        Some(Self { since, waits: foreign && !admitted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{A, B, C, at, hash, uid};

    #[test]
    fn revision_belongs_to_the_groups_that_own_it_and_to_those_that_follow_its_rollout() {
        let revision = |name, n, rollout, owners: &[&'static str]| Belonging {
            name,
            hash: hash(n),
            rollout,
            owners: owners.iter().copied().collect(),
        };
        let revisions = [
            revision("web-1", A, "web", &["uid-of-web", "uid-of-group-a"]),
            revision("web-2", B, "web", &["uid-of-web"]),
            revision("old-7", C, "old", &["uid-of-group-a"]),
        ];
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        let groups = [
            Claimant { name: &a, uid: "uid-of-group-a", live: vec!["web-1".into()] },
            Claimant { name: &b, uid: "uid-of-group-b", live: vec!["gone-1".into()] },
        ];
        let belongings = Belongings::new(&revisions, &groups);
        for (content, group, foreign) in [
            (A, "a", false),
            (B, "a", false),
            (C, "a", false),
            (A, "b", true),
            (B, "b", true),
            (C, "b", true),
            (9, "a", false),
            (9, "b", false),
        ] {
            assert_eq!(belongings.is_foreign(hash(content), group), foreign, "{content:x} in {group}");
        }
    }

    fn admission(boundary: Rank, until: i64) -> Admission {
        let status = AdoptionStatus {
            seed: Seed::new(1).to_string(),
            boundary: boundary.to_string(),
            until: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(until)),
            ..AdoptionStatus::default()
        };
        Admission::read(&status).expect("readable")
    }

    #[test]
    fn adoptee_waits_until_its_rank_is_admitted() {
        let rank = Seed::new(1).rank(uid(1));
        let below = Rank::parse("0000000000000000").expect("a rank");
        for (admission, waits) in [
            (None, true),
            (Some(admission(below, 100)), true),
            (Some(admission(rank, 100)), false),
            (Some(admission(Rank::ALL, 5)), true),
        ] {
            let adoptee = Adoptee::next(None, true, admission.as_ref(), uid(1), at(50)).expect("one");
            assert_eq!(adoptee, Adoptee { since: at(50).as_second(), waits }, "{admission:?}");
        }
    }

    #[test]
    fn agent_is_an_adoptee_until_it_has_been_adopted_and_the_adoption_is_over() {
        let all = admission(Rank::ALL, 100);
        let waiting = Adoptee { since: at(1).as_second(), waits: true };
        let next = |before, foreign, admission| Adoptee::next(before, foreign, admission, uid(1), at(50));
        assert_eq!(next(None, false, Some(&all)), None, "it runs nothing of ours");
        assert_eq!(next(Some(waiting), true, None), Some(waiting));
        let admitted = Some(Adoptee { waits: false, ..waiting });
        assert_eq!(next(Some(waiting), true, Some(&all)), admitted);
        assert_eq!(next(admitted, false, Some(&all)), admitted, "it took its revision");
        assert_eq!(next(admitted, false, None), None);
    }
}
