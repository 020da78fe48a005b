//! What agents were built with, and what they are not offered for it.

use super::*;
use crate::api::EntryFlags;
use crate::config::Inventory;
use crate::fleet::{Bindings, BuildKey, BuildReport, Capabilities, Replica, SliceSource, merge};

const TELLS: Capabilities = Capabilities(TAKES_CONFIG.0 | Capabilities::REPORTS_AVAILABLE_COMPONENTS.0);

fn receivers(names: &[&str]) -> Inventory {
    Inventory::new([("receivers", names.iter().map(|name| (*name).to_owned()).collect())])
}

fn build(components: Option<Inventory>) -> Report {
    Report { build: Some(BuildReport { key: BuildKey::of(b"build"), components }), ..Report::default() }
}

/// A roster of agents 1 and 2 of one build, in a group whose target `B` needs the receiver `kafka`.
fn roster_of_two() -> Roster {
    let mut group = group("g", Some(B), Some(A));
    let target = group.assignment.target.as_ref().expect("a target");
    let needs = Some(receivers(&["kafka"]));
    group.assignment.target = Some(Arc::new(Revision { needs, ..(**target).clone() }));
    let mut roster = roster();
    roster.set_view(view([group]), at(0));
    for n in [1, 2] {
        roster.receive(&key(n), Report { capabilities: Some(TELLS), ..full() }, SOCKET, at(0));
        roster.receive(&key(n), build(None), SOCKET, at(0));
    }
    roster
}

fn due(roster: &Roster, n: u32) -> Option<ConfigHash> {
    roster.due_offer(&key(n), at(5)).map(|offer| offer.hash())
}

#[test]
fn one_agent_of_a_build_is_asked_and_its_answer_counts_for_all() {
    let mut roster = roster_of_two();
    assert!(roster.ask_for_components(&key(1), at(1)));
    assert!(!roster.ask_for_components(&key(2), at(1)));
    assert_eq!([1, 2].map(|n| due(&roster, n)), [None; 2], "nothing is known yet");
    let later = roster.due_offer(&key(2), at(60)).map(|offer| offer.hash());
    assert_eq!(later, Some(hash(B)), "nobody answers, so the agent is to say itself what it cannot run");
    roster.receive(&key(1), build(Some(receivers(&["otlp"]))), SOCKET, at(2));
    assert_eq!([1, 2].map(|n| due(&roster, n)), [Some(hash(A)); 2], "they could not run it");
    assert!(!roster.ask_for_components(&key(2), at(1000)));
}

#[test]
fn agent_that_does_not_tell_what_it_was_built_with_is_never_asked() {
    let mut roster = serving(None, None);
    connect(&mut roster, 1, SOCKET, at(0));
    roster.receive(&key(1), build(None), SOCKET, at(0));
    assert!(!roster.ask_for_components(&key(1), at(1)));
}

#[test]
fn agent_of_another_build_takes_what_the_old_one_could_not() {
    let mut roster = roster_of_two();
    roster.receive(&key(1), build(Some(receivers(&["otlp"]))), SOCKET, at(1));
    let upgraded = BuildReport { key: BuildKey::of(b"newer"), components: Some(receivers(&["kafka"])) };
    roster.receive(&key(1), Report { build: Some(upgraded), ..Report::default() }, SOCKET, at(2));
    assert_eq!([1, 2].map(|n| due(&roster, n)), [Some(hash(B)), Some(hash(A))]);
}

#[test]
fn slices_tell_of_each_build_once_and_a_restarted_replica_knows_it() {
    let mut roster = roster_of_two();
    roster.take_due(Timestamp::MAX);
    roster.receive(&key(1), build(Some(receivers(&["otlp"]))), SOCKET, at(1));
    let contents = roster.take_due(Timestamp::MAX);
    let slice = contents[0].spec.as_ref().expect("members");
    assert_eq!(slice.builds.len(), 1);
    let seen =
        merge([SliceSource { name: "s", replica: Replica::Alive(Timestamp::MIN), slice }], &Bindings::new());
    assert_eq!(seen.len(), 2);
    for agent in seen {
        assert_eq!(agent.missing(Some(&receivers(&["otlp", "kafka"]))), ["receiver kafka"]);
    }
    let mut after = super::roster();
    after.restore(&contents[0].id, slice, at(9));
    after.receive(&key(1), Report { capabilities: Some(TELLS), ..full() }, SOCKET, at(10));
    after.receive(&key(1), build(None), SOCKET, at(10));
    assert!(!after.ask_for_components(&key(1), at(10)));
    assert!(EntryFlags(slice.agents[0].flags).contains(EntryFlags::CONNECTED));
}
