//! Which slice tells of an agent, and when it is written.

use super::*;

/// The numbers of the slices that are due by then, each with its members.
fn due(roster: &mut Roster, now: Timestamp) -> Vec<(u32, Option<usize>)> {
    let contents = roster.take_due(now).into_iter();
    contents.map(|content| (content.id.number, content.spec.map(|spec| spec.agents.len()))).collect()
}

fn health(healthy: bool) -> Report {
    Report { healthy: Some(healthy), ..Report::default() }
}

/// A roster with agent 1, whose connection is written.
fn quiet() -> Roster {
    let mut roster = serving(None, None);
    connect(&mut roster, 1, SOCKET, at(-100));
    roster.receive(&key(1), health(true), SOCKET, at(-100));
    roster.take_due(Timestamp::MAX);
    assert_eq!(roster.next_due(), None);
    roster
}

#[test]
fn urgent_edges_are_written_after_a_second_and_others_after_ten() {
    let refused = || Report { config: failed(B, "no").config, ..Report::default() };
    let nothing = || Report::default();
    for (name, reports, expected) in [
        ("heartbeats", vec![(0, nothing(), SOCKET), (1, nothing(), SOCKET)], None),
        ("health", vec![(0, health(false), SOCKET)], Some(1)),
        ("verdict", vec![(0, refused(), SOCKET)], Some(1)),
        ("reconnect", vec![(0, nothing(), OTHER_SOCKET)], Some(10)),
        ("urgent after slow", vec![(0, nothing(), OTHER_SOCKET), (3, refused(), OTHER_SOCKET)], Some(4)),
        (
            "urgent too late to matter",
            vec![(0, nothing(), OTHER_SOCKET), (9, refused(), OTHER_SOCKET)],
            Some(10),
        ),
        ("slow after urgent", vec![(0, refused(), SOCKET), (0, nothing(), OTHER_SOCKET)], Some(1)),
    ] {
        let mut roster = quiet();
        for (second, report, link) in reports {
            roster.receive(&key(1), report, link, at(second));
        }
        assert_eq!(roster.next_due(), expected.map(at), "{name}");
    }
}

#[test]
fn disconnect_is_written_after_ten_seconds_and_only_if_it_is_one() {
    let mut roster = quiet();
    roster.disconnect(&key(1), OTHER_SOCKET, at(0));
    roster.disconnect(&key(2), SOCKET, at(0));
    assert_eq!(roster.next_due(), None);
    roster.disconnect(&key(1), SOCKET, at(0));
    assert_eq!(roster.next_due(), Some(at(10)));
}

#[test]
fn change_of_group_is_written_after_ten_seconds() {
    let mut roster = quiet();
    roster.set_view(view([group("g", Some(B), None)]), at(0));
    assert_eq!(roster.next_due(), None, "what a group is assigned is no edge");
    roster.set_view(view([group("h", None, None)]), at(0));
    assert_eq!(roster.next_due(), Some(at(10)));
}

#[test]
fn slice_is_taken_when_it_is_due_and_once() {
    let mut roster = quiet();
    roster.receive(&key(1), health(false), SOCKET, at(0));
    assert_eq!(due(&mut roster, at(0)), []);
    assert_eq!(due(&mut roster, at(1)), [(0, Some(1))]);
    assert_eq!((due(&mut roster, Timestamp::MAX), roster.next_due()), (vec![], None));
}

#[test]
fn slice_that_could_not_be_written_is_due_again() {
    let mut roster = quiet();
    let id = SliceId { namespace: "ns".into(), number: 0 };
    roster.write_failed(&id, at(0));
    assert_eq!(due(&mut roster, at(1)), [(0, Some(1))]);
    roster.forget(&key(1), at(1));
    assert_eq!(due(&mut roster, at(20)), [(0, None)]);
    roster.write_failed(&id, at(20));
    assert_eq!(due(&mut roster, at(21)), [(0, None)], "also if it was to be deleted");
    roster.write_failed(&id, at(21));
    connect(&mut roster, 2, SOCKET, at(21));
    assert_eq!(due(&mut roster, at(22)), [(0, Some(1))], "unless it was needed again meanwhile");
}

/// A renewal of the replica's Lease promises that everything is written, however often that has been tried.
#[test]
fn namespace_is_behind_from_when_its_slice_was_due_until_that_is_written() {
    let mut roster = quiet();
    let id = SliceId { namespace: "ns".into(), number: 0 };
    roster.written(&id, at(-1));
    let elsewhere = AgentKey { namespace: "elsewhere".into(), uid: uid(1) };
    roster.receive(&elsewhere, full(), SOCKET, at(0));
    roster.receive(&key(1), health(false), SOCKET, at(0));
    let behind = |roster: &Roster, second| -> Vec<String> {
        roster.behind(at(second)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(behind(&roster, 0), [""; 0]);
    assert_eq!(behind(&roster, 1), ["ns"], "due, and nobody has taken it");
    for second in 1..5 {
        assert_eq!(due(&mut roster, at(second)), [(0, Some(1))]);
        assert_eq!(behind(&roster, 1), ["ns"], "a write is under way");
        roster.write_failed(&id, at(second));
        assert_eq!(behind(&roster, 1), ["ns"], "it has failed");
    }
    roster.receive(&key(1), health(true), SOCKET, at(5));
    assert_eq!(due(&mut roster, at(5)), [(0, Some(1))]);
    roster.receive(&key(1), health(false), SOCKET, at(5));
    roster.written(&id, at(6));
    assert_eq!((behind(&roster, 5), behind(&roster, 6)), (vec![], vec!["ns".into()]), "by what came since");
    assert_eq!(behind(&roster, 10), ["elsewhere", "ns"]);
}

#[test]
fn slice_holds_250_agents_and_a_place_that_is_left_is_taken_again() {
    let mut roster = serving(None, None);
    for n in 0..501 {
        connect(&mut roster, n, SOCKET, at(0));
    }
    assert_eq!(due(&mut roster, at(10)), [(0, Some(250)), (1, Some(250)), (2, Some(1))]);
    roster.forget(&key(3), at(20));
    roster.forget(&key(300), at(20));
    assert_eq!(due(&mut roster, at(30)), [(0, Some(249)), (1, Some(249))]);
    for n in 1000..1003 {
        connect(&mut roster, n, SOCKET, at(40));
    }
    assert_eq!(due(&mut roster, at(50)), [(0, Some(250)), (1, Some(250)), (2, Some(2))]);
}

#[test]
fn emptied_slice_is_deleted_and_its_number_is_taken_again() {
    let mut roster = serving(None, None);
    for n in 0..750 {
        connect(&mut roster, n, SOCKET, at(0));
    }
    roster.take_due(Timestamp::MAX);
    for n in 250..500 {
        roster.forget(&key(n), at(0));
    }
    assert_eq!(due(&mut roster, at(10)), [(1, None)]);
    assert_eq!(due(&mut roster, Timestamp::MAX), [], "deleted once");
    connect(&mut roster, 9999, SOCKET, at(20));
    assert_eq!(due(&mut roster, at(30)), [(1, Some(1))]);
}

#[test]
fn namespaces_have_slices_of_their_own() {
    let mut roster = serving(None, None);
    connect(&mut roster, 1, SOCKET, at(0));
    let elsewhere = AgentKey { namespace: "elsewhere".into(), uid: uid(1) };
    roster.receive(&elsewhere, full(), SOCKET, at(0));
    let ids: Vec<SliceId> = roster.take_due(Timestamp::MAX).into_iter().map(|content| content.id).collect();
    let id = |namespace: &str| SliceId { namespace: namespace.into(), number: 0 };
    assert_eq!(ids, [id("elsewhere"), id("ns")]);
    assert_eq!(roster.connected(), 2);
}

#[test]
fn forgotten_agent_is_gone_at_once() {
    let mut roster = quiet();
    roster.forget(&key(1), at(0));
    roster.forget(&key(7), at(0));
    assert!(roster.agent(&key(1)).is_none());
    assert_eq!((roster.connected(), due(&mut roster, at(10))), (0, vec![(0, None)]));
}

/// A roster with two slices that have been written, of which so many agents each are left, disconnected long ago.
fn thinned(first: u32, second: u32) -> Roster {
    let mut roster = serving(None, None);
    for n in 0..500 {
        connect(&mut roster, n, SOCKET, at(0));
    }
    roster.take_due(Timestamp::MAX);
    for n in (first..250).chain(250 + second..500) {
        roster.forget(&key(n), at(0));
    }
    roster.take_due(Timestamp::MAX);
    roster
}

fn slice_of(number: u32) -> SliceId {
    SliceId { namespace: "ns".into(), number }
}

#[test]
fn slices_with_few_agents_become_one_the_smaller_going_into_the_fuller() {
    for (first, second, expected) in [
        (250, 1, vec![]),
        (101, 100, vec![]),
        (100, 100, vec![(0, Some(200))]),
        (20, 150, vec![(1, Some(170))]),
        (150, 20, vec![(0, Some(170))]),
    ] {
        let mut roster = thinned(first, second);
        roster.expire(at(5));
        assert_eq!(due(&mut roster, at(15)), expected, "{first} and {second}");
    }
}

#[test]
fn agents_that_move_to_another_slice_leave_theirs_once_that_is_written() {
    let mut roster = thinned(150, 20);
    roster.expire(at(5));
    roster.written(&slice_of(0), at(6));
    assert_eq!(roster.next_due(), Some(at(15)), "a write from before they came says nothing");
    assert_eq!(due(&mut roster, at(15)), [(0, Some(170))]);
    roster.write_failed(&slice_of(0), at(15));
    assert_eq!(due(&mut roster, at(15)), [], "they stand where they stood");
    roster.write_failed(&slice_of(1), at(15));
    assert_eq!(due(&mut roster, at(16)), [(0, Some(170)), (1, Some(20))], "even if that is written again");
    roster.written(&slice_of(0), at(16));
    assert_eq!(due(&mut roster, at(17)), [(1, None)]);
    roster.forget(&key(499), at(18));
    assert_eq!(due(&mut roster, Timestamp::MAX), [], "the last one was forgotten with its slice");
}

#[test]
fn slice_that_is_being_emptied_takes_nobody_in() {
    let mut roster = thinned(20, 150);
    roster.expire(at(5));
    connect(&mut roster, 1000, SOCKET, at(5));
    assert_eq!(due(&mut roster, at(15)), [(1, Some(171))]);
}

#[test]
fn replica_that_ended_between_two_writes_of_a_move_has_each_agent_once() {
    let mut roster = thinned(150, 20);
    roster.write_failed(&slice_of(0), at(0));
    roster.write_failed(&slice_of(1), at(0));
    let mut written: Vec<SliceContent> = roster.take_due(Timestamp::MAX);
    roster.expire(at(5));
    written[0] = roster.take_due(at(15)).remove(0);
    let mut again = serving(None, None);
    for content in &written {
        again.restore(&content.id, content.spec.as_ref().expect("it has agents"), at(20));
    }
    assert_eq!(again.len(), 170);
    assert_eq!(due(&mut again, at(30)), [(0, Some(170)), (1, None)]);
}

/// How often each slice is written in a phase that all of these agents answer within two seconds: first that they
/// apply it, then that they have.
fn writes_of_a_phase(
    roster: &mut Roster,
    agents: std::ops::Range<u32>,
    target: u8,
    begins: Timestamp,
) -> Vec<usize> {
    let mut writes = vec![0; 4];
    let after = |milliseconds: i64| begins + jiff::SignedDuration::from_millis(milliseconds);
    for milliseconds in (0..20_000).step_by(100) {
        let now = after(milliseconds);
        for n in agents.clone() {
            let answers = i64::from(n % 10) * 150 + 500;
            if milliseconds == answers - 400 {
                roster.receive(&key(n), applying(target), SOCKET, now);
            } else if milliseconds / 100 == answers / 100 {
                roster.receive(&key(n), applied(target), SOCKET, now);
            }
        }
        for content in roster.take_due(now) {
            writes[content.id.number as usize] += 1;
            roster.written(&content.id, now);
        }
    }
    writes
}

#[test]
fn phase_of_a_rollout_writes_each_slice_three_times_at_most_however_many_agents_it_has() {
    let mut roster = serving(Some(B), Some(A));
    for n in 0..1000 {
        connect(&mut roster, n, SOCKET, at(0));
    }
    roster.take_due(Timestamp::MAX);
    let phases = [0..20, 20..100, 100..500, 500..1000];
    let written =
        phases.map(|agents| writes_of_a_phase(&mut roster, agents.clone(), B, at(i64::from(agents.end))));
    assert_eq!(written, [[2, 0, 0, 0], [2, 0, 0, 0], [2, 2, 0, 0], [0, 0, 2, 2]]);
}
