use super::*;
use crate::api::{CollectorGroupSpec, CollectorGroupStatus, Term};
use crate::fleet::Rank;
use crate::fleet::fixtures::*;
use serde_json::json;

/// The agent's group, and the one that matches too.
fn membership(groups: Vec<GroupView>, attributes: &Attributes) -> (Option<String>, Option<String>) {
    let view = view(groups);
    let found = view.membership("ns", attributes, &Attributes::default());
    let name = |group: Option<&GroupView>| group.map(|group| group.name.to_string());
    (name(found.group), name(found.overlapping))
}

fn ranked(name: &str, priority: i32, created: i64) -> GroupView {
    GroupView { priority, created: at(created), ..group(name, None, None) }
}

#[test]
fn highest_priority_wins_then_the_older_group_then_the_name() {
    for (name, winner, loser) in [
        ("priority", ranked("z", 1, 9), ranked("a", 0, 1)),
        ("negative priority", ranked("z", -1, 9), ranked("a", -2, 1)),
        ("age", ranked("z", 0, 1), ranked("a", 0, 2)),
        ("name", ranked("a", 0, 1), ranked("z", 0, 1)),
    ] {
        let expected = (Some(winner.name.to_string()), Some(loser.name.to_string()));
        for groups in [vec![winner.clone(), loser.clone()], vec![loser, winner]] {
            assert_eq!(membership(groups, &Attributes::default()), expected, "{name}");
        }
    }
}

#[test]
fn only_groups_that_match_count() {
    let edge = GroupView { selector: selector("ring", "edge"), ..ranked("edge", 9, 1) };
    let groups = || vec![edge.clone(), ranked("rest", 0, 1)];
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(membership(groups(), &attributes(&[("ring", "edge")])), (some("edge"), some("rest")));
    assert_eq!(membership(groups(), &attributes(&[("ring", "core")])), (some("rest"), None));
    assert_eq!(membership(vec![edge], &Attributes::default()), (None, None));
    assert_eq!(membership(vec![], &Attributes::default()), (None, None));
}

#[test]
fn first_of_several_losers_is_the_overlapping_one() {
    let groups = vec![ranked("c", 1, 1), ranked("b", 2, 1), ranked("a", 3, 1)];
    assert_eq!(membership(groups, &Attributes::default()), (Some("a".into()), Some("b".into())));
}

#[test]
fn groups_of_another_namespace_do_not_count() {
    let view = View::new([("ns".into(), group("g", None, None)), ("other".into(), group("h", None, None))]);
    let found = view.membership("other", &Attributes::default(), &Attributes::default());
    assert_eq!(found.group.map(|group| &*group.name), Some("h"));
    assert!(found.overlapping.is_none());
    assert!(view.membership("third", &Attributes::default(), &Attributes::default()).group.is_none());
    assert!(view.group("ns", "g").is_some() && view.group("ns", "h").is_none());
}

#[test]
fn revision_is_found_by_its_hash_in_any_group_of_the_namespace() {
    let view = view([group("g", Some(B), Some(A)), group("h", None, Some(C))]);
    let found = [A, B, C, 0].map(|n| view.revision("ns", hash(n)).is_some());
    assert_eq!(found, [true, true, true, false]);
    assert!(view.revision("other", hash(A)).is_none());
}

/// A group whose leader assigned B to everybody, with A to fall back to.
fn object() -> CollectorGroup {
    let everybody = Term { phase: "full".into(), boundary: Rank::ALL.to_string(), ..Default::default() };
    let assignment = AssignmentStatus {
        generation: 3,
        target: Some("r-bb".into()),
        stable: Some("r-aa".into()),
        attempt: 1,
        seed: "0000000000000001".into(),
        terms: vec![everybody],
        ..Default::default()
    };
    let mut group = CollectorGroup::new("g", CollectorGroupSpec { priority: 7, ..Default::default() });
    group.metadata.generation = Some(3);
    group.status = Some(CollectorGroupStatus { assignment: Some(assignment), ..Default::default() });
    group
}

fn load(name: &str) -> Option<Arc<Revision>> {
    [A, B].map(revision).into_iter().find(|revision| &*revision.name == name)
}

#[test]
fn group_is_read_from_its_object() {
    let group = GroupView::new(&object(), load);
    assert_eq!((&*group.name, group.priority, group.generation), ("g", 7, 3));
    assert_eq!(
        (group.offline_after, group.forget_after),
        (Duration::from_secs(90), Duration::from_hours(24))
    );
    assert_eq!(group.created, Timestamp::MAX, "not created yet, so younger than all others");
    let assigned = group.assignment.revisions().map(|revision| revision.hash).collect::<Vec<_>>();
    assert_eq!(assigned, [B, A].map(hash));
    assert!(group.may_offer());
}

#[test]
fn nothing_is_offered_while_the_assignment_cannot_be_acted_on() {
    type Change = fn(&mut CollectorGroup);
    let cases: [(&str, Change, bool); 7] = [
        ("as it should be", |_| (), true),
        ("never assigned", |group| group.status = None, false),
        ("selector edited since", |group| group.metadata.generation = Some(4), false),
        ("target not loaded", |group| assigned(group).target = Some("r-cc".into()), false),
        ("stable not loaded", |group| assigned(group).stable = Some("r-cc".into()), false),
        ("without stable", |group| assigned(group).stable = None, true),
        ("cohort that cannot be read", |group| assigned(group).seed = "?".into(), false),
    ];
    for (name, change, expected) in cases {
        let mut group = object();
        change(&mut group);
        assert_eq!(GroupView::new(&group, load).may_offer(), expected, "{name}");
    }
}

fn assigned(group: &mut CollectorGroup) -> &mut AssignmentStatus {
    group.status.as_mut().and_then(|status| status.assignment.as_mut()).expect("assigned")
}

/// A selector of a newer version selects nobody knows whom: an agent of the cohort would be sent back to stable.
#[test]
fn nothing_is_offered_while_a_term_selects_in_a_way_that_is_not_known() {
    let selector = |operator: &str| json!({"matchExpressions": [{"key": "ring", "operator": operator}]});
    for (operator, offers, rings) in [("Exists", true, 2), ("Rehearsed", false, 1)] {
        let group: CollectorGroup = serde_json::from_value(json!({
            "metadata": {"name": "g", "generation": 1},
            "spec": {},
            "status": {"assignment": {
                "generation": 1, "target": "r-1", "attempt": 1, "seed": "0000000000000001",
                "terms": [{"phase": "edge", "boundary": "ffffffffffffffff", "selector": selector(operator)}],
                "rings": [selector(operator), selector("DoesNotExist")],
            }},
        }))
        .expect("a group");
        let view = GroupView::new(&group, |_| Some(revision(B)));
        assert_eq!((view.may_offer(), view.assignment.rings.len()), (offers, rings), "{operator}");
    }
}
