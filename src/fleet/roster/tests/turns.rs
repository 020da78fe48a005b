//! Which slice is written next: one of each namespace at a time, and each namespace in its turn.

use super::*;

/// A slice by its namespace and number.
type Name = (&'static str, u32);

fn id((namespace, number): Name) -> SliceId {
    SliceId { namespace: namespace.into(), number }
}

/// A roster of which these slices are due, each when its second has come.
fn due(slices: &[(Name, i64)]) -> Roster {
    let mut roster = roster();
    for (name, second) in slices {
        roster.write_failed(&id(*name), at(second - 1));
    }
    roster
}

/// The slices that are taken at this second until none is to be taken any more.
fn taken(roster: &mut Roster, second: i64) -> Vec<(String, u32)> {
    let taken = std::iter::from_fn(|| roster.take_next(at(second)));
    taken.map(|content| (content.id.namespace.to_string(), content.id.number)).collect()
}

fn names(names: &[Name]) -> Vec<(String, u32)> {
    names.iter().map(|(namespace, number)| ((*namespace).to_owned(), *number)).collect()
}

#[test]
fn namespace_has_one_write_at_a_time_and_waits_for_nobody_elses() {
    let mut roster = due(&[(("a", 0), 1), (("a", 1), 2), (("b", 0), 3), (("c", 0), 9)]);
    assert_eq!(taken(&mut roster, 3), names(&[("a", 0), ("b", 0)]));
    assert_eq!(roster.next_due(), Some(at(9)), "nothing of those that are being written");
    roster.written(&id(("b", 0)), at(4));
    assert_eq!((taken(&mut roster, 8), roster.next_due()), (vec![], Some(at(9))));
    roster.written(&id(("a", 0)), at(8));
    assert_eq!(roster.next_due(), Some(at(2)));
    assert_eq!(taken(&mut roster, 9), names(&[("c", 0), ("a", 1)]));
    assert_eq!(roster.next_due(), None);
}

#[test]
fn write_that_failed_lets_its_namespace_go_on() {
    let mut roster = due(&[(("a", 0), 1), (("a", 1), 2)]);
    assert_eq!(taken(&mut roster, 2), names(&[("a", 0)]));
    roster.write_failed(&id(("a", 0)), at(2));
    assert_eq!(taken(&mut roster, 3), names(&[("a", 1)]), "what has been due for longer");
    roster.written(&id(("a", 1)), at(3));
    assert_eq!(taken(&mut roster, 3), names(&[("a", 0)]));
}

/// Else what comes to another namespace while one waits for its write would not be heard of.
#[test]
fn edge_in_a_namespace_that_is_being_written_changes_nothing_for_others() {
    let mut roster = due(&[(("a", 0), 1)]);
    taken(&mut roster, 1);
    roster.write_failed(&id(("a", 0)), at(1));
    taken(&mut roster, 2);
    connect(&mut roster, 1, SOCKET, at(0));
    assert_eq!(roster.next_due(), Some(at(10)));
    let elsewhere = AgentKey { namespace: "a".into(), uid: uid(2) };
    roster.receive(&elsewhere, full(), SOCKET, at(-5));
    assert_eq!(roster.next_due(), Some(at(10)));
    roster.written(&id(("a", 0)), at(2));
    assert_eq!(roster.next_due(), Some(at(5)));
}

#[test]
fn namespaces_take_turns_though_one_has_many_slices_that_have_been_due_for_longer() {
    let many: Vec<(Name, i64)> = (0..4).map(|number| (("b", number), 1)).collect();
    let mut roster = due(&[&many[..], &[(("a", 0), 2), (("c", 0), 3), (("c", 1), 2)]].concat());
    let mut order = Vec::new();
    while let Some(content) = roster.take_next(at(3)) {
        order.push((content.id.namespace.to_string(), content.id.number));
        roster.written(&content.id, at(3));
    }
    assert_eq!(
        order,
        names(&[("a", 0), ("b", 0), ("c", 1), ("b", 1), ("c", 0), ("b", 2), ("b", 3)]),
        "and of a namespace in the order in which they were due"
    );
}

#[test]
fn slices_are_due_at_once_when_they_are_hastened_but_not_those_that_fail_after_that() {
    let mut roster = due(&[(("a", 0), 1), (("b", 0), 30), (("b", 1), 20)]);
    assert_eq!(taken(&mut roster, 1), names(&[("a", 0)]));
    roster.hasten(at(5));
    assert_eq!(roster.next_due(), Some(at(5)));
    roster.write_failed(&id(("a", 0)), at(5));
    assert_eq!(taken(&mut roster, 5), names(&[("b", 0)]));
    roster.written(&id(("b", 0)), at(5));
    assert_eq!(taken(&mut roster, 5), names(&[("b", 1)]));
    assert_eq!(roster.next_due(), Some(at(6)));
}
