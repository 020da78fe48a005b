//! A model of leaders that take turns, searched exhaustively: two replicas, one rollout and its group.
//!
//! What decides is the real thing: [`evaluate`] for the Lease, [`next_term`] for the term, [`assignment`] and
//! [`Cohort`] for what a rollout's status lets in. Around that is what the API server and the network may do: writes
//! that are under way for as long as they like, also when their replica is dead or deposed, and watches that lag.

mod search;
mod state;

use search::{Found, search};
use state::{Rules, State};

/// What the operator does.
const REAL: Rules = Rules { term: true, versions: true, status_first: true, in_turn: true, anew: true };

fn violation(rules: Rules) -> Option<Vec<String>> {
    match search(State::start(), |state| state.next(rules)) {
        Found::Violation(path) => Some(path),
        Found::Nothing(states) => {
            assert!(states > 100_000, "the model is stuck after {states} states");
            None
        }
    }
}

#[test]
fn no_write_of_a_deposed_leader_lands_late_or_lets_in_more_than_the_rollout_says() {
    assert_eq!(violation(REAL), None);
}

#[test]
fn model_finds_what_each_rule_is_for() {
    for (rules, expected) in [
        // With all the others nothing needs the rule of terms: it is the second line behind each of them.
        (Rules { term: false, anew: false, ..REAL }, "lands after term"),
        (Rules { anew: false, ..REAL }, "lets in more than"),
        (Rules { versions: false, ..REAL }, "does not follow"),
        (Rules { status_first: false, ..REAL }, "lets in more than"),
        (Rules { in_turn: false, ..REAL }, "lets in more than"),
    ] {
        let path = violation(rules).unwrap_or_else(|| panic!("nothing found with {rules:?}"));
        assert!(path.last().is_some_and(|last| last.contains(expected)), "{rules:?}: {path:#?}");
    }
}
