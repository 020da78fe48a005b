//! Inputs meant to fill a status, to take time or to leak a secret.

use proptest::prelude::*;

use super::{GOOD, checked};
use crate::config::MAX_PROBLEMS;

#[test]
fn only_the_first_problems_are_listed() {
    let unknown = (0..MAX_PROBLEMS + 5).map(|index| format!("p{index}")).collect::<Vec<_>>().join(", ");
    let error = checked(&[("c.yaml", &GOOD.replace("[batch]", &format!("[batch, {unknown}]")))]).unwrap_err();
    assert_eq!((error.problems.len(), error.omitted), (MAX_PROBLEMS, 5));
    assert!(error.to_string().ends_with(" and 5 more"));
}

#[test]
fn hostile_names_are_shown_short_and_escaped() {
    let body = format!("receivers: {{\"{}\\n\": }}", "x".repeat(1000));
    let text = checked(&[("a\nb", &body)]).unwrap_err().to_string();
    assert!(text.contains("file \"a\\nb\"") && !text.contains('\n') && text.len() < 1000, "{text}");
}

/// One hundred thousand problems over two files, which must not take time in their square.
#[test]
fn large_hostile_configuration_is_checked_quickly() {
    let many =
        |prefix: char| (0..20_000).map(|index| format!("{prefix}{index:x}")).collect::<Vec<_>>().join(", ");
    let body = |prefix: char| format!("service: {{extensions: [{}], pipelines: {{}}}}", many(prefix));
    let error = checked(&[("1", &body('a')), ("2", &body('b'))]).unwrap_err();
    assert_eq!(error.omitted, 40_000 + 1 - MAX_PROBLEMS);
}

proptest! {
    /// Wherever the text is damaged, no leaf value shows up in an error.
    #[test]
    fn no_leaf_value_shows_up_in_an_error(at in 0..GOOD.len(), cut in 0..60_usize, with in "[\\[\\]{}:,&*!|>'\"%@\t\n -]?") {
        let end = (at + cut).min(GOOD.len());
        let damaged = format!("{}{with}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(error) = checked(&[("c.yaml", &damaged)]) {
            prop_assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{damaged}\n{error}");
        }
    }

    #[test]
    fn check_never_panics_on_any_text(yaml in "([a-c*&!|>'\"%@{}\\[\\],:?#<~.0-9_x-]|service|pipelines|traces|: |- |\n|\n  |\\$\\{){0,60}") {
        let _ = checked(&[("a", &yaml), ("", "service: {pipelines: {traces: }}")]);
    }
}
