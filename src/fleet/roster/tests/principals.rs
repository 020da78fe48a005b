//! Whose an agent is, and what its credential says of it.

use super::*;
use crate::fleet::{Attributes, Principal};

fn principal(identity: &str, verified: &[(&str, &str)]) -> Arc<Principal> {
    Principal::new("ns", identity, attributes(verified)).into()
}

/// A full state that comes with a credential.
fn shown(principal: &Arc<Principal>) -> Report {
    Report { principal: Some(principal.clone()), ..full() }
}

/// A sign of life that comes with it.
fn alive(principal: &Arc<Principal>) -> Report {
    Report { principal: Some(principal.clone()), ..Report::default() }
}

fn agent(roster: &Roster) -> &Agent {
    roster.agent(&key(1)).expect("known")
}

#[test]
fn agent_belongs_to_the_first_principal_that_speaks_for_it_also_after_a_restart() {
    let (first, second) = (principal("first", &[]), principal("second", &[]));
    let mut before = serving(None, Some(A));
    before.receive(&key(1), shown(&first), SOCKET, at(0));
    let mut after = roster();
    for content in before.take_due(Timestamp::MAX) {
        after.restore(&content.id, &content.spec.expect("members"), at(1));
    }
    for roster in [&before, &after] {
        assert!(agent(roster).belongs_to(&first) && !agent(roster).belongs_to(&second));
    }
}

#[test]
fn agent_of_nobody_is_bound_by_the_first_credential_and_stays_bound_when_nobody_has_to_prove_anything() {
    let (nobody, first) = (Arc::new(Principal::anybody("ns")), principal("first", &[]));
    let mut roster = serving(None, Some(A));
    roster.receive(&key(1), shown(&nobody), SOCKET, at(0));
    assert_eq!(agent(&roster).bound(), None);
    roster.receive(&key(1), shown(&first), SOCKET, at(1));
    roster.receive(&key(1), alive(&nobody), SOCKET, at(2));
    assert_eq!(agent(&roster).bound(), first.mark());
    assert!(roster.next_due().is_some(), "it is written");
}

#[test]
fn attributes_of_the_credential_override_those_that_the_agent_says() {
    let mut roster = serving(None, Some(A));
    roster.receive(&key(1), shown(&principal("p", &[("host.name", "known"), ("zone", "a")])), SOCKET, at(0));
    assert_eq!((agent(&roster).host(), agent(&roster).attributes.get("zone")), ("known", Some("a")));
}

#[test]
fn group_that_requires_verified_keys_takes_only_agents_whose_credential_has_them() {
    let mut roster = serving(None, None);
    let guarded = GroupView {
        selector: selector("host.name", "host"),
        require_verified: vec!["host.name".into()],
        ..group("guarded", None, Some(A))
    };
    roster.set_view(view([guarded]), at(0));
    for (verified, expected) in [(&[][..], None), (&[("host.name", "host")], Some("guarded"))] {
        roster.receive(&key(1), shown(&principal("p", verified)), SOCKET, at(1));
        assert_eq!(agent(&roster).group.as_deref(), expected, "{verified:?}");
    }
}

#[test]
fn agent_whose_credential_says_something_else_is_offered_nothing_until_it_has_described_itself_again() {
    let (before, after) = (principal("p", &[("zone", "a")]), principal("p", &[("zone", "b")]));
    let mut roster = serving(None, Some(A));
    roster.receive(&key(1), shown(&before), SOCKET, at(0));
    assert!(roster.due_offer(&key(1), at(0)).is_some());
    roster.receive(&key(1), alive(&after), SOCKET, at(1));
    assert!(roster.due_offer(&key(1), at(1)).is_none());
    roster.receive(&key(1), shown(&after), SOCKET, at(2));
    assert!(roster.due_offer(&key(1), at(2)).is_some());
    assert_eq!(agent(&roster).attributes.get("zone"), Some("b"));
}

#[test]
fn agents_of_each_principal_are_counted_until_they_are_forgotten_also_after_a_restart() {
    let (first, second) = (principal("first", &[]), principal("second", &[]));
    let nobody = Arc::new(Principal::anybody("ns"));
    let mut roster = serving(None, Some(A));
    let counts = |roster: &Roster| {
        (roster.len(), [&first, &second, &nobody].map(|principal| roster.held_by(principal)))
    };
    for (n, principal) in [(1, &first), (2, &first), (3, &second), (4, &nobody)] {
        roster.receive(&key(n), shown(principal), SOCKET, at(0));
    }
    roster.receive(&key(1), alive(&first), SOCKET, at(1));
    assert_eq!(counts(&roster), (4, [2, 1, 0]));
    let mut after = super::roster();
    for content in roster.take_due(Timestamp::MAX) {
        after.restore(&content.id, &content.spec.expect("members"), at(2));
    }
    assert_eq!(counts(&after), (4, [2, 1, 0]));
    after.receive(&key(4), alive(&second), SOCKET, at(3));
    assert_eq!(counts(&after), (4, [2, 2, 0]), "it was bound to nobody");
    after.forget(&key(1), at(4));
    after.disconnect(&key(2), SOCKET, at(4));
    assert_eq!(counts(&after), (3, [1, 2, 0]));
    let elsewhere = Principal::new("other", "first", Attributes::default());
    assert_eq!(after.held_by(&elsewhere), 0, "its namespace is another");
}

/// Another replica has known an agent of another holder under this uid for longer, and the leader says so.
#[test]
fn agent_with_a_uid_that_is_anothers_is_forgotten_with_all_that_is_known_of_it() {
    let (own, other) = (principal("own", &[]), principal("other", &[]));
    let nobody = Principal::anybody("ns");
    for (speaker, stays) in [(&own, true), (&other, false)] {
        let mut roster = serving(None, Some(A));
        roster.receive(&key(1), shown(speaker), SOCKET, at(0));
        roster.receive(&key(2), shown(speaker), SOCKET, at(0));
        let mut told = View::new([("ns".into(), group("g", None, Some(A)))]);
        told.bind(key(1), own.mark().expect("a mark"));
        let woken = roster.set_view(Arc::new(told), at(1));
        assert_eq!(roster.agent(&key(1)).is_some(), stays);
        assert_eq!(woken.contains(&key(1)), stays);
        assert!(roster.agent(&key(2)).is_some(), "of that one nothing was said");
        let anothers = [&own, &other, &Arc::new(nobody.clone())].map(|one| roster.is_anothers(&key(1), one));
        assert_eq!(anothers, [false, true, false]);
        assert!(!roster.is_anothers(&key(2), &other));
        let written = roster.take_due(Timestamp::MAX).remove(0).spec.expect("the second one stays");
        assert_eq!(written.agents.len(), if stays { 2 } else { 1 });
    }
}
