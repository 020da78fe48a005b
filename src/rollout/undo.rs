//! Going back to an earlier revision on request, and staying there until the content changes.

use super::input::{Content, RevisionFacts};
use super::requests::{Asked, Request, was_asked};
use crate::api::{ConfigRolloutStatus, Pinned, RevisionState, Stage};
use crate::fleet::clean;
use std::collections::BTreeMap;

/// Longest text of a content that is no revision, in bytes.
const MAX_INSTEAD_BYTES: usize = 256;
/// Most revisions that a refusal names.
const MAX_NAMED: usize = 5;

/// The content that counts: the spec's, or the revision that an undo pins until the spec's content changes.
pub fn settle(
    status: &mut ConfigRolloutStatus,
    content: &Content,
    revisions: &BTreeMap<String, RevisionFacts>,
    notices: &mut [Asked],
) -> Content {
    unpin_if_changed(status, content);
    retry_content(status, content, notices);
    for asked in notices.iter_mut() {
        let Ok(Request::Undo(named)) = asked else { continue };
        *asked = go_back(status, content, revisions, named.as_deref());
    }
    let pinned = status.pinned.as_ref();
    pinned.map_or_else(
        || content.clone(),
        |pinned| Content::Revision { name: pinned.revision.clone(), rejected: false },
    )
}

/// Adds to a sentence what is pinned.
pub fn explain(message: String, pinned: Option<&Pinned>) -> String {
    let Some(Pinned { revision, instead }) = pinned else { return message };
    format!("{message}; {revision} is pinned by undo until spec.config changes, which is {instead}")
}

/// What a content is, in a few words; a revision's name for a revision.
fn describe(content: &Content) -> String {
    match content {
        Content::Revision { name, .. } => name.clone(),
        Content::Missing(what) => clean(&format!("incomplete: {what} does not exist"), MAX_INSTEAD_BYTES),
        Content::Invalid(_, why) => clean(&format!("invalid: {why}"), MAX_INSTEAD_BYTES),
    }
}

/// Other content ends a pin. A source that is missing says nothing of the content: it may come back as it was.
fn unpin_if_changed(status: &mut ConfigRolloutStatus, content: &Content) {
    let changed = |pinned: &Pinned| pinned.instead != describe(content);
    if !matches!(content, Content::Missing(_)) && status.pinned.as_ref().is_some_and(changed) {
        status.pinned = None;
    }
}

/// A retry of the content that an undo has put aside ends the pin.
fn retry_content(status: &mut ConfigRolloutStatus, content: &Content, notices: &mut [Asked]) {
    if !was_asked(notices, &Request::RetryContent) {
        return;
    }
    status.pinned = None;
    // Rejected content needs a retry to start; other content starts without one.
    if matches!(content, Content::Revision { rejected: true, .. }) {
        let retries = notices.iter_mut().filter(|asked| asked.as_ref() == Ok(&Request::RetryContent));
        retries.for_each(|asked| *asked = Ok(Request::Retry));
    }
}

/// Pins the revision that an undo goes back to; or why it cannot be.
fn go_back(
    status: &mut ConfigRolloutStatus,
    content: &Content,
    revisions: &BTreeMap<String, RevisionFacts>,
    named: Option<&str>,
) -> Asked {
    let known = Known { status, revisions };
    let revision = match named {
        Some(name) => known.check(name)?,
        None => known.newest_proven()?,
    };
    let instead = match content {
        // A source that is missing may come back as it was, and is no other content then.
        Content::Missing(_) => {
            let before = status.pinned.as_ref().map(|pinned| pinned.instead.clone());
            before.or_else(|| status.target_revision.clone()).unwrap_or_else(|| describe(content))
        }
        content => describe(content),
    };
    let pinned = status.pinned.as_ref().map(|pinned| pinned.revision.as_str());
    if pinned == Some(&revision) {
        return Err(format!("undo: {revision} is pinned already; change spec.config to leave it"));
    }
    let complete = !matches!(content, Content::Missing(_));
    if pinned.is_none() && complete && instead == revision {
        return Err(format!(
            "undo: {revision} is what spec.config asks for, so there is nothing to undo; name another revision"
        ));
    }
    // Back to the spec's own content: there is nothing to pin any more.
    status.pinned =
        (!complete || instead != revision).then(|| Pinned { revision: revision.clone(), instead });
    Ok(Request::Undo(Some(revision)))
}

/// The revisions that an undo may go back to.
struct Known<'a> {
    status: &'a ConfigRolloutStatus,
    revisions: &'a BTreeMap<String, RevisionFacts>,
}

impl Known<'_> {
    fn check(&self, name: &str) -> Result<String, String> {
        let Some(facts) = self.revisions.get(name) else {
            return Err(format!("undo: revision {name} does not exist; {}", self.choice()));
        };
        if !facts.own && self.status.stable_revision.as_deref() != Some(name) {
            return Err(format!("undo: revision {name} belongs to another rollout; {}", self.choice()));
        }
        if self.is_rejected(name, facts) {
            return Err(format!(
                "undo: revision {name} was rejected; {}, or set spec.config to its content and annotate \
                 fleet.opamp.dev/retry",
                self.choice()
            ));
        }
        Ok(name.to_owned())
    }

    /// The revision's own status follows the rollout's a moment later.
    fn is_rejected(&self, name: &str, facts: &RevisionFacts) -> bool {
        if self.status.stable_revision.as_deref() == Some(name) {
            return false;
        }
        let stage = self.status.cohort.as_ref().map(|cohort| cohort.stage);
        let failed = matches!(stage, Some(Stage::RollingBack | Stage::RolledBack | Stage::Halted));
        facts.state == RevisionState::Rejected
            || failed && self.status.target_revision.as_deref() == Some(name)
    }

    fn newest_proven(&self) -> Result<String, String> {
        self.proven().into_iter().next().map(str::to_owned).ok_or_else(|| {
            "undo: no revision but the target is proven; name one that `kubectl get configrevisions` lists"
                .to_owned()
        })
    }

    /// The proven revisions but the target, newest first; one that was inherited is the oldest.
    fn proven(&self) -> Vec<&str> {
        let stable = self.status.stable_revision.as_deref();
        let fits = |(name, facts): &(&String, &RevisionFacts)| {
            let is_stable = stable == Some(name.as_str());
            let proven = is_stable || facts.own && facts.state == RevisionState::Proven;
            proven
                && self.status.target_revision.as_ref() != Some(name)
                && !self.is_rejected(name.as_str(), facts)
        };
        let mut found: Vec<_> = self.revisions.iter().filter(fits).collect();
        found.sort_by_key(|(_, facts)| std::cmp::Reverse((facts.own, facts.number)));
        found.into_iter().map(|(name, _)| name.as_str()).collect()
    }

    /// What to do instead.
    fn choice(&self) -> String {
        let proven = self.proven();
        if proven.is_empty() {
            return "no revision but the target is proven".to_owned();
        }
        format!("proven are {}", proven.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Cohort;
    use crate::config::ConfigHash;

    fn revisions() -> BTreeMap<String, RevisionFacts> {
        use RevisionState::{Candidate, Proven, Rejected, Superseded};
        let all = [
            ("old-9", 9, Proven, false),
            ("other-8", 8, Proven, false),
            ("r-1", 1, Proven, true),
            ("r-2", 2, Proven, true),
            ("r-3", 3, Rejected, true),
            ("r-4", 4, Superseded, true),
            ("r-10", 10, Candidate, true),
        ];
        let facts = |(name, number, state, own): (&str, i64, RevisionState, bool)| {
            (name.to_owned(), RevisionFacts { hash: ConfigHash::from_bytes([1; 32]), number, state, own })
        };
        all.into_iter().map(facts).collect()
    }

    fn status(target: &str, stable: &str) -> ConfigRolloutStatus {
        ConfigRolloutStatus {
            target_revision: Some(target.into()),
            stable_revision: Some(stable.into()),
            cohort: Some(Cohort::default()),
            ..Default::default()
        }
    }

    fn asked(mut status: ConfigRolloutStatus, content: &str, named: Option<&str>) -> Result<String, String> {
        let content = Content::Revision { name: content.into(), rejected: false };
        let mut notices = vec![Ok(Request::Undo(named.map(str::to_owned)))];
        settle(&mut status, &content, &revisions(), &mut notices);
        match notices.remove(0)? {
            Request::Undo(revision) => Ok(revision.expect("resolved")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn destination_left_out_is_the_newest_proven_one_that_is_not_the_target() {
        for (target, stable, expected) in
            [("r-10", "r-2", "r-2"), ("r-2", "r-2", "r-1"), ("r-1", "r-1", "r-2"), ("r-3", "r-1", "r-2")]
        {
            assert_eq!(asked(status(target, stable), target, None).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn inherited_stable_revision_is_the_last_choice_and_no_other_rollouts_is_any() {
        let known: BTreeMap<_, _> =
            revisions().into_iter().filter(|(name, _)| !matches!(name.as_str(), "r-1" | "r-2")).collect();
        let status = status("r-10", "old-9");
        assert_eq!(Known { status: &status, revisions: &known }.proven(), ["old-9"]);
        assert_eq!(Known { status: &status, revisions: &revisions() }.proven(), ["r-2", "r-1", "old-9"]);
    }

    #[test]
    fn refusal_says_why_and_what_to_do() {
        for (target, named, expected) in [
            ("r-10", "r-77", "r-77 does not exist; proven are r-2, r-1"),
            ("r-10", "other-8", "belongs to another rollout; proven are r-2, r-1"),
            ("r-10", "r-3", "was rejected; proven are r-2, r-1, or set spec.config"),
            ("r-2", "r-2", "is what spec.config asks for, so there is nothing to undo; name another"),
        ] {
            let why = asked(status(target, "r-2"), target, Some(named)).expect_err(named);
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn failed_target_counts_as_rejected_before_its_revision_says_so() {
        let mut failed = status("r-10", "r-2");
        failed.cohort = Some(Cohort { stage: Stage::RollingBack, ..Cohort::default() });
        let why = asked(failed, "r-4", Some("r-10")).expect_err("it has just failed");
        assert!(why.contains("was rejected"), "{why}");
    }

    #[test]
    fn revisions_that_were_never_proven_and_inherited_ones_may_be_named() {
        for (stable, named) in [("r-2", "r-4"), ("old-9", "old-9")] {
            assert_eq!(asked(status("r-10", stable), "r-10", Some(named)).as_deref(), Ok(named));
        }
    }

    #[test]
    fn same_revision_is_pinned_once() {
        let mut pinned = status("r-2", "r-2");
        pinned.pinned = Some(Pinned { revision: "r-2".into(), instead: "r-4".into() });
        let why = asked(pinned, "r-4", Some("r-2")).expect_err("pinned");
        assert!(why.contains("pinned already; change spec.config"), "{why}");
    }
}
