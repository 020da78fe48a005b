//! Requests that a person makes of a rollout or a group by annotations: each value is handled once.

use crate::api::{
    ABORT_ANNOTATION, GroupHandled, Handled, PROMOTE_ANNOTATION, RESTART_ANNOTATION, RETRY_ANNOTATION,
    UNDO_ANNOTATION,
};
use std::collections::BTreeMap;

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// End the phase's wait, soak or approval; with `full`, those of all that follow too.
    Promote {
        /// All phases that follow as well.
        full: bool,
    },
    /// End the attempt, as too many failures would.
    Abort,
    /// Try again what failed.
    Retry,
    /// Try the spec's content, which an undo has put aside.
    RetryContent,
    /// Go back to a revision: this one, or the newest that is proven.
    Undo(Option<String>),
}

impl Request {
    /// The request's name, as in its annotation.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Promote { .. } => "promote",
            Self::Abort => "abort",
            Self::Retry | Self::RetryContent => "retry",
            Self::Undo(_) => "undo",
        }
    }

    /// That it was carried out.
    pub fn done(&self) -> String {
        match self {
            Self::Undo(Some(revision)) => {
                format!("undo was carried out: {revision} is rolled out, and stays until spec.config changes")
            }
            other => format!("{} was carried out", other.name()),
        }
    }
}

/// The revisions that a request may name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revisions<'a> {
    /// The target.
    pub target: Option<&'a str>,
    /// What the rollout's content is now: it is the target, or was rejected before and waits for a retry.
    pub wanted: Option<&'a str>,
    /// Whether the target is there by an undo, in place of the rollout's content.
    pub pinned: bool,
}

/// A request that has not been handled, or why it cannot be.
pub type Asked = Result<Request, String>;

/// Finds the requests that have not been handled, and notes them as handled.
///
/// Values that are there before anything was ever handled are noted only: a manifest that is created again, or
/// restored from a backup, asks for nothing.
pub fn take(
    annotations: &BTreeMap<String, String>,
    handled: &mut Option<Handled>,
    revisions: Revisions<'_>,
) -> Vec<Asked> {
    let first = handled.is_none();
    let seen = handled.get_or_insert_default();
    let places = [
        (PROMOTE_ANNOTATION, &mut seen.promote),
        (ABORT_ANNOTATION, &mut seen.abort),
        (RETRY_ANNOTATION, &mut seen.retry),
        (UNDO_ANNOTATION, &mut seen.undo),
    ];
    let mut asked = Vec::new();
    for (annotation, place) in places {
        let Some(value) = annotations.get(annotation).filter(|value| place.as_ref() != Some(value)) else {
            continue;
        };
        *place = Some(value.clone());
        let request = read(annotation, value, revisions);
        asked.push(if first {
            Err(format!("{annotation}: {value} was there from the start"))
        } else {
            request
        });
    }
    asked
}

/// The restart of a group's agents that has not been handled, by its token, or why it cannot be; notes it as handled, as
/// [`take`] does.
pub fn take_restart(
    annotations: &BTreeMap<String, String>,
    handled: &mut Option<GroupHandled>,
) -> Option<Result<String, String>> {
    let first = handled.is_none();
    let seen = handled.get_or_insert_default();
    let value = annotations.get(RESTART_ANNOTATION).filter(|value| seen.restart.as_ref() != Some(value))?;
    seen.restart = Some(value.clone());
    Some(if first {
        Err(format!("{RESTART_ANNOTATION}: {value} was there from the start"))
    } else if is_token(value) {
        Ok(value.clone())
    } else {
        Err(format!("{RESTART_ANNOTATION}: {value:?} is not 1 to 63 letters, digits, '.', '_', '-'"))
    })
}

fn is_token(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.len() <= 63 && text.chars().all(fits)
}

fn read(annotation: &str, value: &str, revisions: Revisions<'_>) -> Asked {
    let (revision, token) = match value.split_once('/') {
        Some((revision, token)) => (Some(revision), token),
        None => (None, value),
    };
    let Revisions { target, wanted, pinned } = revisions;
    let fits = |revision: &str| {
        Some(revision) == target
            || annotation == RETRY_ANNOTATION && Some(revision) == wanted
            || annotation == UNDO_ANNOTATION
    };
    if let Some(other) = revision.filter(|revision| !fits(revision)) {
        let running = target.unwrap_or("none");
        return Err(format!("{annotation}: {value} is for revision {other}, but {running} is the target"));
    }
    let full = token.strip_prefix("full-");
    let promote = annotation == PROMOTE_ANNOTATION;
    let token = full.filter(|_| promote).unwrap_or(token);
    if !is_token(token) {
        return Err(format!(
            "{annotation}: {value:?} is not [REVISION/]TOKEN with 1 to 63 letters, digits, '.', '_', '-'"
        ));
    }
    Ok(match annotation {
        PROMOTE_ANNOTATION => Request::Promote { full: full.is_some() },
        ABORT_ANNOTATION => Request::Abort,
        UNDO_ANNOTATION => Request::Undo(revision.map(str::to_owned)),
        _ if pinned && revision.is_some() && revision != target => Request::RetryContent,
        _ => Request::Retry,
    })
}

/// Whether a request was made.
pub fn was_asked(notices: &[Asked], request: &Request) -> bool {
    notices.iter().any(|asked| asked.as_ref() == Ok(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (format!("fleet.opamp.dev/{key}"), (*value).to_owned())).collect()
    }

    fn taken(pairs: &[(&str, &str)]) -> Vec<Asked> {
        let revisions = Revisions { target: Some("r-2"), wanted: Some("r-3"), pinned: false };
        take(&annotations(pairs), &mut Some(Handled::default()), revisions)
    }

    #[test]
    fn request_is_handled_once() {
        let mut handled = Some(Handled::default());
        let asked = annotations(&[("promote", "one")]);
        assert_eq!(take(&asked, &mut handled, Revisions::default()), [Ok(Request::Promote { full: false })]);
        assert_eq!(take(&asked, &mut handled, Revisions::default()), []);
        assert_eq!(handled.as_ref().and_then(|handled| handled.promote.as_deref()), Some("one"));
        let again = annotations(&[("promote", "two")]);
        assert_eq!(take(&again, &mut handled, Revisions::default()), [Ok(Request::Promote { full: false })]);
    }

    #[test]
    fn values_that_were_there_from_the_start_are_noted_and_not_acted_on() {
        let mut handled = None;
        let asked = take(&annotations(&[("abort", "old")]), &mut handled, Revisions::default());
        assert!(asked[0].as_ref().is_err_and(|why| why.contains("from the start")));
        assert_eq!(handled.and_then(|handled| handled.abort).as_deref(), Some("old"));
    }

    #[test]
    fn requests_may_name_the_revision_that_they_are_for() {
        assert_eq!(taken(&[("abort", "r-2/x")]), [Ok(Request::Abort)]);
        assert!(taken(&[("abort", "r-1/x")])[0].as_ref().is_err_and(|why| why.contains("r-1")));
        assert_eq!(
            taken(&[("retry", "r-3/x")]),
            [Ok(Request::Retry)],
            "rejected content is tried again by its name"
        );
        assert!(taken(&[("abort", "r-3/x")])[0].is_err());
        assert_eq!(taken(&[("promote", "r-2/full-x")]), [Ok(Request::Promote { full: true })]);
        assert_eq!(
            taken(&[("retry", "full-x")]),
            [Ok(Request::Retry)],
            "full- has its meaning in promote only"
        );
    }

    #[test]
    fn restart_of_a_group_is_handled_once_and_refused_with_the_form() {
        let mut handled = None;
        let mut ask = |token: &str| take_restart(&annotations(&[("restart", token)]), &mut handled);
        assert!(ask("old").is_some_and(|asked| asked.is_err_and(|why| why.contains("from the start"))));
        assert_eq!(ask("one"), Some(Ok("one".to_owned())));
        assert_eq!(ask("one"), None);
        for value in ["", "a b", "r-1/x", &"x".repeat(64)] {
            assert!(ask(value).is_some_and(|asked| asked.is_err()), "{value}");
        }
        assert_eq!(ask("one"), Some(Ok("one".to_owned())), "another value was seen since");
        assert_eq!(handled.and_then(|handled| handled.restart).as_deref(), Some("one"));
        assert_eq!(take_restart(&BTreeMap::new(), &mut Some(GroupHandled::default())), None);
    }

    #[test]
    fn undo_names_the_revision_to_go_back_to() {
        assert_eq!(taken(&[("undo", "r-1/x")]), [Ok(Request::Undo(Some("r-1".into())))]);
        assert_eq!(taken(&[("undo", "x")]), [Ok(Request::Undo(None))]);
        assert!(taken(&[("undo", "r-1/")])[0].is_err(), "a value without a token is none");
    }

    #[test]
    fn retry_that_names_the_content_behind_a_pin_is_for_that() {
        let revisions = Revisions { target: Some("r-1"), wanted: Some("r-2"), pinned: true };
        for (value, expected) in
            [("r-2/x", Request::RetryContent), ("r-1/y", Request::Retry), ("z", Request::Retry)]
        {
            let asked = take(&annotations(&[("retry", value)]), &mut Some(Handled::default()), revisions);
            assert_eq!(asked, [Ok(expected)], "{value}");
        }
    }

    #[test]
    fn malformed_values_are_refused_with_the_form() {
        for value in ["", "full-", "a b", "r-2/", &"x".repeat(64), "a/b/c"] {
            assert!(taken(&[("promote", value)])[0].is_err(), "{value}");
        }
    }
}
