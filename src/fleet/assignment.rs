//! Which revision an agent is to run: the pure function of the design's section 5.

use super::{Assignment, Attributes, Cohort, InstanceUid, Ledger, Revision};
use crate::config::ConfigHash;
use jiff::Timestamp;
use std::sync::Arc;

/// One of the two revisions that are live in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The revision that is being rolled out.
    Target,
    /// The last known good revision.
    Stable,
}

/// What decides an agent's side, but for the agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sides {
    /// The content of the target.
    pub target: Option<ConfigHash>,
    /// The content of the stable revision.
    pub stable: Option<ConfigHash>,
    /// Stable is for everybody outside the cohort, refused or not.
    pub rolling_back: bool,
    /// Refusals from before this time are forgiven.
    pub retried_at: Option<Timestamp>,
}

/// The side of an agent: the target if the agent is in the cohort and has not refused it, else the group's stable
/// revision unless that is refused too, else none, and it keeps what it runs.
pub fn side(sides: &Sides, in_cohort: impl FnOnce() -> bool, ledger: &Ledger) -> Option<Side> {
    let wanted =
        |hash: Option<ConfigHash>| hash.is_some_and(|hash| ledger.refusal(hash, sides.retried_at).is_none());
    if wanted(sides.target) && in_cohort() {
        Some(Side::Target)
    } else {
        (wanted(sides.stable) || sides.rolling_back && sides.stable.is_some()).then_some(Side::Stable)
    }
}

/// The agent's assigned revision, by [`side`].
///
/// An agent that lacks a component of the target is treated as outside the cohort, and one that lacks one of stable is
/// given nothing: they could not run it.
///
/// Offers and every comparison use this one, never the group's target: so one agent that fails goes back to
/// stable by itself, and a supervisor that returned to stable by itself is in sync with it.
pub fn assigned<'a>(
    assignment: &'a Assignment,
    uid: InstanceUid,
    attributes: &Attributes,
    ledger: &Ledger,
    lacks: impl Fn(&Revision) -> bool,
) -> Option<&'a Arc<Revision>> {
    let hash = |revision: &Option<Arc<Revision>>| revision.as_ref().map(|revision| revision.hash);
    let in_cohort = || {
        let inside = |cohort: &Cohort| cohort.contains(uid, |ring| ring.matches(attributes));
        assignment.cohort.as_ref().is_some_and(inside)
            && !assignment.target.as_ref().is_some_and(|target| lacks(target))
    };
    let sides = Sides {
        target: hash(&assignment.target),
        stable: hash(&assignment.stable),
        rolling_back: assignment.rolling_back,
        retried_at: assignment.retried_at,
    };
    match side(&sides, in_cohort, ledger)? {
        Side::Target => assignment.target.as_ref(),
        Side::Stable => assignment.stable.as_ref().filter(|stable| !lacks(stable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Term;
    use crate::fleet::{Rank, Verdict};
    fn revision(n: u8) -> Arc<Revision> {
        let hash = ConfigHash::from_bytes([n; 32]);
        Arc::new(Revision {
            name: format!("r-{n}").into(),
            hash,
            payload: crate::fleet::Payload::default(),
            desired: None,
            needs: None,
            secrets: Box::default(),
        })
    }

    fn assignment(in_cohort: bool, target: Option<u8>, stable: Option<u8>) -> Assignment {
        let boundary = if in_cohort { Rank::ALL.to_string() } else { "0000000000000000".to_owned() };
        let terms = [Term { phase: "full".into(), boundary, ..Term::default() }];
        Assignment {
            generation: 1,
            loaded: true,
            target: target.map(revision),
            stable: stable.map(revision),
            cohort: Cohort::read("0000000000000001", &terms),
            ..Assignment::default()
        }
    }

    fn assigned_to(assignment: &Assignment, refused: &[u8]) -> Option<String> {
        let mut ledger = Ledger::default();
        for n in refused {
            ledger.note(revision(*n).hash, Verdict::failed("no"), Timestamp::UNIX_EPOCH);
        }
        assigned(assignment, InstanceUid::new([9; 16]), &Attributes::default(), &ledger, |_| false)
            .map(|r| r.name.to_string())
    }

    #[test]
    fn assignment_follows_cohort_and_refusals() {
        for (in_cohort, target, stable, refused, expected) in [
            (true, Some(2), Some(1), &[][..], Some("r-2")),
            (false, Some(2), Some(1), &[], Some("r-1")),
            (true, Some(2), Some(1), &[2], Some("r-1")),
            (true, Some(2), Some(1), &[1], Some("r-2")),
            (true, Some(2), Some(1), &[1, 2], None),
            (true, Some(2), None, &[2], None),
            (false, Some(2), None, &[], None),
            (true, None, Some(1), &[], Some("r-1")),
            (true, None, None, &[], None),
        ] {
            let got = assigned_to(&assignment(in_cohort, target, stable), refused);
            assert_eq!(
                got.as_deref(),
                expected,
                "in cohort {in_cohort}, {target:?}/{stable:?}, refused {refused:?}"
            );
        }
    }

    #[test]
    fn rollback_offers_stable_even_to_agents_that_refused_it() {
        let back = Assignment { rolling_back: true, ..assignment(false, Some(2), Some(1)) };
        assert_eq!(assigned_to(&back, &[1, 2]).as_deref(), Some("r-1"));
    }

    #[test]
    fn agent_is_never_assigned_what_it_lacks_a_component_of() {
        let both = assignment(true, Some(2), Some(1));
        for (lacking, expected) in [(&[][..], Some("r-2")), (&["r-2"], Some("r-1")), (&["r-2", "r-1"], None)]
        {
            let lacks = |revision: &Revision| lacking.contains(&&*revision.name);
            let (uid, ledger) = (InstanceUid::new([9; 16]), Ledger::default());
            let got =
                assigned(&both, uid, &Attributes::default(), &ledger, lacks).map(|r| r.name.to_string());
            assert_eq!(got.as_deref(), expected, "{lacking:?}");
        }
    }

    #[test]
    fn nobody_is_in_a_cohort_that_is_not_there() {
        let without = Assignment { cohort: None, ..assignment(true, Some(2), Some(1)) };
        assert_eq!(assigned_to(&without, &[]).as_deref(), Some("r-1"));
    }
}
