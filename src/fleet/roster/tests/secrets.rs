//! What was delivered from a Secret stands in nothing that is kept of an agent's words.

use super::*;
use crate::fleet::MAX_MESSAGE_BYTES;

const WORDS: &str = "cannot log in as alice with hunter22";
const MASKED: &str = "cannot log in as alice with [REDACTED]";

/// A roster whose only group is assigned B with a secret in it.
fn serving_a_secret() -> Roster {
    let mut roster = roster();
    let mut group = group("g", None, Some(A));
    group.assignment.target = Some(secret_revision(B, &["hunter22"]));
    roster.set_view(view([group]), at(0));
    roster
}

fn words(roster: &Roster, n: u8) -> &str {
    match ledger(roster, 1).get(hash(n)) {
        Some(Verdict::Failed(words)) => words,
        other => panic!("not failed: {other:?}"),
    }
}

#[test]
fn secret_in_a_failure_is_masked_from_the_first_message_on() {
    let at_once = Report { config: failed(B, WORDS).config, ..full() };
    for reports in [vec![at_once], vec![full(), failed(B, WORDS)]] {
        let mut roster = serving_a_secret();
        for report in reports {
            roster.receive(&key(1), report, SOCKET, at(1));
        }
        assert_eq!(words(&roster, B), MASKED);
    }
}

#[test]
fn secret_of_the_group_is_masked_in_words_about_another_of_its_revisions() {
    let mut roster = serving_a_secret();
    roster.receive(&key(1), full(), SOCKET, at(1));
    roster.receive(&key(1), failed(A, WORDS), SOCKET, at(1));
    assert_eq!(words(&roster, A), MASKED);
}

#[test]
fn words_about_an_unknown_revision_are_not_kept_but_the_verdict_is() {
    let said = |n| Report { config: failed(n, WORDS).config, ..full() };
    let mut before_the_view = roster();
    before_the_view.receive(&key(1), said(B), SOCKET, at(1));
    let mut superseded = serving_a_secret();
    superseded.receive(&key(1), said(C), SOCKET, at(1));
    assert_eq!((words(&before_the_view, B), words(&superseded, C)), ("", ""));
}

#[test]
fn secret_at_the_end_of_what_is_kept_is_masked_whole() {
    for before in MAX_MESSAGE_BYTES - 20..MAX_MESSAGE_BYTES + 2 {
        let mut roster = serving_a_secret();
        roster.receive(&key(1), full(), SOCKET, at(1));
        let said = format!("{}hunter22{}", "x".repeat(before), "y".repeat(1000));
        roster.receive(&key(1), failed(B, &said), SOCKET, at(1));
        let words = words(&roster, B);
        assert!(!words.contains("hu") && words.len() <= MAX_MESSAGE_BYTES, "{words}");
    }
}
