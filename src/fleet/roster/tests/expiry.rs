//! Who counts as disconnected, and who is forgotten, as time passes.

use super::*;

/// Whether the agent is connected after each of these seconds; `None` once it is forgotten.
fn presence(roster: &mut Roster, n: u32, after: &[i64]) -> Vec<Option<bool>> {
    let mut present = |second| {
        roster.expire(at(second));
        roster.agent(&key(n)).map(Agent::connected)
    };
    after.iter().map(|second| present(*second)).collect()
}

#[test]
fn silence_of_an_agent_that_polls_means_disconnected() {
    for (name, offline_after, limit) in [("three intervals", 1, 90), ("what the group allows", 200, 200)] {
        let mut roster = roster();
        let group = GroupView { offline_after: Duration::from_secs(offline_after), ..group("g", None, None) };
        roster.set_view(view([group]), at(0));
        connect(&mut roster, 1, Link::Polling, at(0));
        let present = presence(&mut roster, 1, &[limit, limit + 1]);
        assert_eq!(present, [Some(true), Some(false)], "{name}");
        connect(&mut roster, 1, Link::Polling, at(limit + 2));
        assert_eq!(presence(&mut roster, 1, &[2 * limit]), [Some(true)], "{name}: polls again");
    }
}

#[test]
fn silence_of_an_agent_in_no_group_means_disconnected_too() {
    let mut roster = roster();
    roster.set_view(view([]), at(0));
    connect(&mut roster, 1, Link::Polling, at(0));
    assert_eq!(presence(&mut roster, 1, &[90, 91]), [Some(true), Some(false)]);
}

#[test]
fn silence_on_a_socket_means_nothing() {
    let mut roster = serving(None, None);
    connect(&mut roster, 1, SOCKET, at(0));
    assert_eq!(presence(&mut roster, 1, &[1_000_000]), [Some(true)]);
}

#[test]
fn disconnected_agent_is_forgotten_after_the_time_of_its_group() {
    let day = 24 * 3600;
    for (name, groups, limit) in
        [("in a group", vec![group("g", None, None)], 3600), ("in no group", Vec::new(), day)]
    {
        let mut roster = roster();
        roster.set_view(view(groups), at(0));
        connect(&mut roster, 1, SOCKET, at(-5000));
        roster.disconnect(&key(1), SOCKET, at(0));
        assert_eq!(presence(&mut roster, 1, &[limit, limit + 1]), [Some(false), None], "{name}");
    }
}

#[test]
fn silent_agent_is_forgotten_some_time_after_its_last_poll() {
    let mut roster = serving(None, None);
    connect(&mut roster, 1, Link::Polling, at(0));
    let present = presence(&mut roster, 1, &[90, 91, 3600, 3601]);
    assert_eq!(present, [Some(true), Some(false), Some(false), None]);
}

#[test]
fn nobody_is_forgotten_before_the_groups_are_known() {
    let mut roster = roster();
    connect(&mut roster, 1, SOCKET, at(0));
    roster.disconnect(&key(1), SOCKET, at(0));
    assert_eq!(presence(&mut roster, 1, &[1_000_000]), [Some(false)]);
}

#[test]
fn silence_after_an_offer_is_drift_once_its_time_is_over_and_that_is_written_soon() {
    let waiting = |target| {
        let mut group = group("g", target, None);
        group.assignment.apply_timeout = Some(Duration::from_mins(1));
        view([group])
    };
    let mut roster = roster();
    roster.set_view(waiting(Some(B)), at(0));
    connect(&mut roster, 1, SOCKET, at(0));
    connect(&mut roster, 2, SOCKET, at(0));
    assert!(roster.take_offer(&key(1), at(0)).is_some() && roster.take_offer(&key(2), at(0)).is_some());
    roster.receive(&key(2), applied(B), SOCKET, at(1));
    roster.take_due(Timestamp::MAX);
    let told = |roster: &Roster| [1, 2].map(|n| roster.agent(&key(n)).expect("known").told());
    let after = |second, roster: &mut Roster| {
        roster.expire(at(second));
        (told(roster), roster.next_due())
    };
    let silent = [Some((DriftClass::Stale, at(60))), None];
    assert_eq!(after(59, &mut roster), ([None; 2], None));
    assert_eq!(after(60, &mut roster), (silent, Some(at(61))));
    roster.take_due(Timestamp::MAX);
    assert_eq!(after(61, &mut roster), (silent, None), "no news");
    roster.set_view(waiting(None), at(70));
    assert_eq!((told(&roster), roster.next_due()), ([None; 2], Some(at(71))), "nor does it count any more");
    roster.set_view(waiting(Some(B)), at(80));
    roster.expire(at(80));
    assert_eq!(told(&roster), silent, "the offer stands, and its time is over");
    roster.disconnect(&key(1), SOCKET, at(90));
    assert_eq!(told(&roster), [None; 2]);
}

#[test]
fn times_without_end_are_no_harm() {
    let mut roster = roster();
    let group =
        GroupView { offline_after: Duration::MAX, forget_after: Duration::MAX, ..group("g", None, None) };
    roster.set_view(view([group]), at(0));
    connect(&mut roster, 1, Link::Polling, at(0));
    connect(&mut roster, 2, SOCKET, at(0));
    roster.disconnect(&key(2), SOCKET, at(0));
    roster.expire(Timestamp::MAX);
    assert_eq!([1, 2].map(|n| roster.agent(&key(n)).map(Agent::connected)), [Some(true), Some(false)]);
    roster.take_due(Timestamp::MAX);
    roster.write_failed(&SliceId { namespace: "ns".into(), number: 0 }, Timestamp::MAX);
    assert_eq!(roster.next_due(), Some(Timestamp::MAX));
}
