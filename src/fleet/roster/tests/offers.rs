//! Who is offered what, and who is to be woken for it.

use super::*;
use crate::api::AttributeSelector;

fn take(roster: &mut Roster, n: u32) -> Option<u8> {
    roster.take_offer(&key(n), at(1)).map(|offer| offer.hash().as_bytes()[0])
}

fn sorted(mut keys: Vec<AgentKey>) -> Vec<AgentKey> {
    keys.sort();
    keys
}

#[test]
fn offer_is_taken_once() {
    let mut roster = serving(Some(B), Some(A));
    connect(&mut roster, 1, SOCKET, at(0));
    assert!(roster.due_offer(&key(1), at(0)).is_some());
    assert_eq!([take(&mut roster, 1), take(&mut roster, 1)], [Some(B), None]);
    assert!(take(&mut roster, 2).is_none(), "a stranger");
}

#[test]
fn new_view_returns_exactly_the_agents_on_sockets_that_are_due() {
    let mut roster = serving(None, Some(A));
    for n in 1..=5 {
        connect(&mut roster, n, Link::Socket(n.into()), at(0));
    }
    connect(&mut roster, 3, Link::Polling, at(0));
    roster.receive(&key(2), applied(B), Link::Socket(2), at(0));
    roster.receive(&key(4), failed(B, "no"), Link::Socket(4), at(0));
    roster.receive(&key(4), applied(A), Link::Socket(4), at(0));
    roster.disconnect(&key(5), Link::Socket(5), at(0));
    let due = roster.set_view(view([group("g", Some(B), Some(A))]), at(1));
    assert_eq!(due, [key(1)]);
    take(&mut roster, 1);
    assert_eq!(roster.set_view(view([group("g", Some(B), Some(A))]), at(2)), []);
    let due = roster.set_view(view([group("g", Some(C), Some(A))]), at(3));
    assert_eq!(sorted(due), [key(1), key(2), key(4)]);
    assert_eq!(take(&mut roster, 3), Some(C), "with its next poll");
}

/// A view in which agent 1 refused B at this second, as another replica has heard.
fn told_of_a_refusal(second: i64) -> Arc<View> {
    let mut view = View::new([("ns".into(), group("g", Some(B), Some(A)))]);
    let mut refused = Ledger::default();
    refused.note(hash(B), Verdict::failed(""), at(second));
    view.refuse(key(1), refused);
    Arc::new(view)
}

#[test]
fn agent_is_not_offered_what_it_refused_at_another_replica() {
    let offered = |roster: &Roster, n| roster.due_offer(&key(n), at(9)).map(|offer| offer.hash());
    let mut roster = roster();
    roster.set_view(told_of_a_refusal(5), at(6));
    connect(&mut roster, 1, SOCKET, at(7));
    connect(&mut roster, 2, OTHER_SOCKET, at(7));
    assert_eq!((offered(&roster, 1), offered(&roster, 2)), (Some(hash(A)), Some(hash(B))));
    // The same of one that was here when the leader told it; and it is written, for whoever leads then.
    let mut roster = serving(Some(B), Some(A));
    connect(&mut roster, 1, SOCKET, at(1));
    roster.take_due(Timestamp::MAX);
    roster.set_view(told_of_a_refusal(5), at(6));
    assert_eq!(offered(&roster, 1), Some(hash(A)));
    let written = roster.take_due(at(7)).remove(0).spec.expect("a slice");
    assert_eq!(written.agents[0].verdicts.len(), 1);
}

/// The leader may have taken this replica for dead, and deleted what it wrote.
#[test]
fn all_slices_are_written_again_after_a_suspension() {
    let mut roster = serving(Some(B), Some(A));
    connect(&mut roster, 1, SOCKET, at(0));
    roster.take_due(Timestamp::MAX);
    roster.suspend(false, at(1));
    assert_eq!(roster.next_due(), None, "it was not suspended");
    roster.suspend(true, at(2));
    assert_eq!(roster.next_due(), None);
    roster.suspend(false, at(3));
    assert_eq!(roster.take_due(at(13)).len(), 1);
}

#[test]
fn nothing_is_offered_while_suspended() {
    let mut roster = serving(Some(B), None);
    connect(&mut roster, 1, SOCKET, at(0));
    connect(&mut roster, 2, Link::Polling, at(0));
    assert_eq!(roster.suspend(true, at(1)), []);
    assert_eq!([take(&mut roster, 1), take(&mut roster, 2)], [None, None]);
    assert_eq!(roster.set_view(view([group("g", Some(C), None)]), at(2)), []);
    assert_eq!(roster.suspend(false, at(3)), [key(1)]);
    assert_eq!([take(&mut roster, 1), take(&mut roster, 2)], [Some(C), Some(C)]);
}

/// What the agents there answer cannot be written, so the leader would learn nothing of it.
#[test]
fn nothing_is_offered_in_a_namespace_where_slices_are_not_written() {
    let mut roster = serving(Some(B), None);
    connect(&mut roster, 1, SOCKET, at(0));
    connect(&mut roster, 2, Link::Polling, at(0));
    assert_eq!(roster.withhold(["elsewhere".into()].into(), at(1)), []);
    assert_eq!(take(&mut roster, 1), Some(B));
    roster.take_due(Timestamp::MAX);
    assert_eq!(roster.withhold(["ns".into()].into(), at(2)), []);
    assert_eq!(roster.set_view(view([group("g", Some(C), None)]), at(3)), []);
    assert_eq!([take(&mut roster, 1), take(&mut roster, 2)], [None, None]);
    assert_eq!(roster.withhold(["elsewhere".into(), "ns".into()].into(), at(4)), [], "no more than before");
    assert_eq!(roster.withhold(["elsewhere".into()].into(), at(5)), [key(1)]);
    assert_eq!([take(&mut roster, 1), take(&mut roster, 2)], [Some(C), Some(C)]);
    assert_eq!(roster.next_due(), None, "the leader let its slices stand");
}

#[test]
fn agent_in_no_group_or_another_namespace_is_offered_nothing() {
    let mut roster = serving(Some(B), None);
    let elsewhere = AgentKey { namespace: "elsewhere".into(), uid: uid(1) };
    roster.receive(&elsewhere, full(), SOCKET, at(0));
    assert!(roster.take_offer(&elsewhere, at(0)).is_none());
    roster.set_view(view([]), at(0));
    connect(&mut roster, 1, SOCKET, at(0));
    assert_eq!(take(&mut roster, 1), None);
}

#[test]
fn agent_moves_between_groups_when_it_describes_itself_or_the_groups_change() {
    let named = |name, value| GroupView { selector: selector("host.name", value), ..group(name, None, None) };
    let of = |roster: &Roster| {
        let agent = roster.agent(&key(1)).expect("known");
        (agent.group.as_deref().map(str::to_owned), agent.overlapping.as_deref().map(str::to_owned))
    };
    let pair =
        |group: Option<&str>, other: Option<&str>| (group.map(str::to_owned), other.map(str::to_owned));
    let mut roster = roster();
    roster.set_view(view([named("ours", "host"), named("theirs", "other")]), at(0));
    connect(&mut roster, 1, SOCKET, at(0));
    assert_eq!(of(&roster), pair(Some("ours"), None));
    let moved = Report { description: Some(describe("other")), ..Report::default() };
    roster.receive(&key(1), moved, SOCKET, at(1));
    assert_eq!(of(&roster), pair(Some("theirs"), None));
    roster.receive(
        &key(1),
        Report { description: Some(describe("third")), ..Report::default() },
        SOCKET,
        at(1),
    );
    assert_eq!(of(&roster), pair(None, None));
    let all = GroupView { selector: AttributeSelector::default(), ..group("all", None, None) };
    roster.set_view(view([all, named("third", "third")]), at(2));
    assert_eq!(of(&roster), pair(Some("all"), Some("third")));
}

#[test]
fn agent_falls_into_a_group_once_it_is_complete() {
    let mut roster = serving(Some(B), None);
    roster.receive(&key(1), Report { full: false, ..full() }, SOCKET, at(0));
    roster.set_view(view([group("g", Some(B), None)]), at(0));
    assert_eq!((take(&mut roster, 1), &roster.agent(&key(1)).expect("known").group), (None, &None));
    roster.receive(&key(1), Report { full: true, ..Report::default() }, SOCKET, at(0));
    assert_eq!(take(&mut roster, 1), Some(B));
}
