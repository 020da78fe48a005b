//! What slices tell of rings.

use super::*;
use crate::fleet::{Bindings, GroupView, ObservedAgent, Replica, Ring, SliceSource, merge};

fn ring(value: &str) -> Ring {
    Ring::new(selector("host.name", value))
}

/// The group of all agents, with these rings.
fn with_rings(values: &[&str]) -> GroupView {
    let mut group = group("g", Some(B), Some(A));
    group.assignment.rings = values.iter().map(|value| ring(value)).collect();
    group
}

fn described(host: &str) -> Report {
    Report { description: Some(describe(host)), ..Report::default() }
}

/// A roster with agents 1 on host `a` and 2 on host `b`, whose state is written.
fn quiet(group: GroupView) -> Roster {
    let mut roster = roster();
    roster.set_view(view([group]), at(0));
    for (n, host) in [(1, "a"), (2, "b")] {
        connect(&mut roster, n, SOCKET, at(0));
        roster.receive(&key(n), described(host), SOCKET, at(0));
    }
    roster.take_due(Timestamp::MAX);
    roster
}

/// The agents as the leader would read them.
fn seen(roster: &mut Roster) -> Vec<ObservedAgent> {
    let contents = roster.take_due(Timestamp::MAX);
    let slices = contents.iter().filter_map(|content| content.spec.as_ref());
    merge(
        slices.map(|slice| SliceSource { name: "s", replica: Replica::Alive(Timestamp::MIN), slice }),
        &Bindings::new(),
    )
}

#[test]
fn slice_tells_of_each_agent_which_rings_it_is_in() {
    let mut roster = quiet(with_rings(&[]));
    roster.set_view(view([with_rings(&["a", "c"])]), at(1));
    let told: Vec<_> = seen(&mut roster)
        .iter()
        .map(|agent| ["a", "b", "c"].map(|value| agent.rings.has(ring(value).key())))
        .collect();
    assert_eq!(told, [[Some(true), None, Some(false)], [Some(false), None, Some(false)]]);
}

#[test]
fn new_rings_are_told_within_a_second_and_only_once() {
    let mut roster = quiet(with_rings(&[]));
    roster.set_view(view([with_rings(&["a"])]), at(1));
    assert_eq!(roster.next_due(), Some(at(2)), "a phase waits for it");
    roster.take_due(Timestamp::MAX);
    roster.set_view(view([with_rings(&["a"])]), at(3));
    assert_eq!(roster.next_due(), None);
}

#[test]
fn agent_that_changes_into_another_ring_is_written() {
    let mut roster = quiet(with_rings(&["a"]));
    let cloud = |value: &str| {
        let attributes = attributes(&[("host.name", "a"), ("cloud", value)]);
        Report { description: Some(crate::fleet::Description { attributes }), ..Report::default() }
    };
    roster.receive(&key(1), cloud("x"), SOCKET, at(1));
    assert_eq!(roster.next_due(), None, "the same host and the same rings");
    let mut clouds = with_rings(&["a"]);
    clouds.assignment.rings.push(Ring::new(selector("cloud", "y")));
    roster.set_view(view([clouds]), at(1));
    roster.take_due(Timestamp::MAX);
    roster.receive(&key(1), cloud("y"), SOCKET, at(2));
    assert_eq!(roster.next_due(), Some(at(12)));
}

#[test]
fn restored_agent_keeps_its_rings_until_it_describes_itself() {
    let mut before = quiet(with_rings(&["a"]));
    before.receive(&key(1), Report::default(), OTHER_SOCKET, at(1));
    let contents = before.take_due(Timestamp::MAX);
    let mut after = roster();
    for content in contents {
        after.restore(&content.id, &content.spec.expect("members"), at(2));
    }
    after.set_view(view([with_rings(&["a"])]), at(2));
    let is_in = |agents: &[ObservedAgent]| agents[0].rings.has(ring("a").key());
    assert_eq!(is_in(&seen(&mut after)), Some(true));
    after.receive(&key(1), Report { description: Some(describe("b")), ..full() }, SOCKET, at(3));
    assert_eq!(is_in(&seen(&mut after)), Some(false));
}
