//! Agents that come to a group with another group's revision.

use super::*;
use crate::api::AdoptionStatus;
use crate::config::ConfigHash;
use crate::fleet::{Admission, Belonging, Belongings, Claimant, GroupView, Rank, Seed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Group `g` of all agents gives `B`; `A` is a revision of the group `other`.
fn view_with(admission: Option<Admission>) -> Arc<View> {
    let mut group = group("g", Some(B), None);
    group.assignment.admission = admission;
    let mut view = View::new([("ns".into(), group)]);
    let revision = |name, n, rollout| Belonging { name, hash: hash(n), rollout, owners: BTreeSet::new() };
    let revisions = [revision("theirs-1", A, "theirs"), revision("ours-1", B, "ours")];
    let [ours, other]: [Arc<str>; 2] = ["g".into(), "other".into()];
    let groups = [
        Claimant { name: &ours, uid: "1", live: vec!["ours-1".into()] },
        Claimant { name: &other, uid: "2", live: vec!["theirs-1".into()] },
    ];
    view.know("ns".into(), Belongings::new(&revisions, &groups));
    Arc::new(view)
}

fn admission(until: i64) -> Option<Admission> {
    Admission::read(&AdoptionStatus {
        seed: Seed::new(1).to_string(),
        boundary: Rank::ALL.to_string(),
        until: Time(at(until)),
        ..AdoptionStatus::default()
    })
}

fn arrives(roster: &mut Roster, running: Option<u8>) -> Option<ConfigHash> {
    let config = config(running, Outcome::Applied).config;
    roster.receive(&key(1), Report { config, ..full() }, SOCKET, at(1));
    roster.due_offer(&key(1), at(1)).map(|offer| offer.hash())
}

#[test]
fn agent_with_another_groups_revision_keeps_it_until_it_is_admitted() {
    let mut roster = roster();
    roster.set_view(view_with(None), at(0));
    assert_eq!(arrives(&mut roster, Some(A)), None);
    let due = roster.set_view(view_with(admission(5)), at(6));
    assert_eq!(due, [key(1)]);
    assert_eq!(roster.take_offer(&key(1), at(6)).map(|offer| offer.hash()), Some(hash(B)));
    roster.receive(&key(1), applied(B), SOCKET, at(7));
    assert!(roster.agent(&key(1)).is_some_and(|agent| agent.adoptee.is_some_and(|adoptee| !adoptee.waits)));
    roster.set_view(view_with(None), at(8));
    assert_eq!(roster.agent(&key(1)).and_then(|agent| agent.adoptee), None, "the adoption is over");
}

#[test]
fn agent_that_comes_after_a_step_began_is_not_let_in_by_it() {
    let mut roster = roster();
    roster.set_view(view_with(admission(0)), at(0));
    assert_eq!(arrives(&mut roster, Some(A)), None);
}

#[test]
fn agent_that_runs_nothing_of_ours_takes_its_revision_at_once() {
    for running in [None, Some(C)] {
        let mut roster = roster();
        roster.set_view(view_with(None), at(0));
        assert_eq!(arrives(&mut roster, running), Some(hash(B)), "{running:?}");
    }
}

#[test]
fn adoptee_stands_in_its_slice_and_outlives_a_restart_of_the_operator() {
    let mut before = roster();
    before.set_view(view_with(None), at(0));
    arrives(&mut before, Some(A));
    let mut after = roster();
    for content in before.take_due(Timestamp::MAX) {
        after.restore(&content.id, &content.spec.expect("a member"), at(100));
    }
    after.set_view(view_with(admission(5)), at(101));
    let known = after.agent(&key(1)).and_then(|agent| agent.adoptee).expect("an adoptee");
    assert_eq!((known.since, known.waits), (at(1).as_second(), true));
    assert_eq!(arrives(&mut after, Some(A)), Some(hash(B)), "it came in time for the step");
}

#[test]
fn agent_that_moves_on_to_a_third_group_comes_anew() {
    let mut roster = roster();
    roster.set_view(view_with(None), at(0));
    arrives(&mut roster, Some(A));
    let elsewhere = GroupView { selector: selector("host.name", "elsewhere"), ..group("h", None, None) };
    roster.set_view(view([elsewhere]), at(9));
    assert_eq!(roster.agent(&key(1)).and_then(|agent| agent.adoptee), None);
}
