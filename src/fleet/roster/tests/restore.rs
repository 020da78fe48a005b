//! What an earlier run of this replica wrote counts, and nothing is done twice.

use super::*;
use crate::api::{AgentEntry, EntryFlags, SLICE_FORMAT_VERSION};
use crate::fleet::{Capabilities, Faltered};

fn slice(number: u32) -> SliceId {
    SliceId { namespace: "ns".into(), number }
}

/// Everything that the roster would write some day.
fn contents(roster: &mut Roster) -> Vec<SliceContent> {
    roster.take_due(Timestamp::MAX)
}

/// A roster started from what another one wrote.
fn restarted(before: &mut Roster, now: Timestamp) -> Roster {
    let mut after = roster();
    for content in contents(before) {
        after.restore(&content.id, &content.spec.expect("members"), now);
    }
    after.set_view(view([group("g", Some(B), Some(A))]), now);
    after
}

#[test]
fn restart_keeps_verdicts_and_offers_nothing_twice() {
    let mut before = serving(Some(B), Some(A));
    connect(&mut before, 1, SOCKET, at(0));
    for report in [applied(A), failed(B, "no such component"), applied(A)] {
        before.receive(&key(1), report, SOCKET, at(1));
    }
    let mut after = restarted(&mut before, at(2));
    assert_eq!(ledger(&after, 1), ledger(&before, 1));
    let agent = after.agent(&key(1)).expect("known");
    assert_eq!((agent.connected(), agent.host(), agent.group.as_deref()), (false, "host", Some("g")));
    assert!(after.take_offer(&key(1), at(3)).is_none());
    after.receive(&key(1), Report { config: applied(A).config, ..full() }, SOCKET, at(4));
    assert!(after.take_offer(&key(1), at(4)).is_none());
}

#[test]
fn agent_that_was_connected_when_the_run_ended_is_not_forgotten_before_it_returns() {
    let month = 30 * 24 * 3600;
    let mut before = serving(Some(B), Some(A));
    connect(&mut before, 1, SOCKET, at(-month));
    connect(&mut before, 2, SOCKET, at(-month));
    before.disconnect(&key(2), SOCKET, at(-month));
    let mut after = restarted(&mut before, at(0));
    after.expire(at(3600));
    assert!(after.agent(&key(1)).is_some() && after.agent(&key(2)).is_none());
    after.expire(at(3601));
    assert!(after.agent(&key(1)).is_none());
}

#[test]
fn restart_is_no_change_of_health() {
    let capable = Capabilities(TAKES_CONFIG.0 | Capabilities::REPORTS_HEALTH.0);
    let ill = |since| Report { capabilities: Some(capable), healthy: Some(false), ..since };
    let mut before = serving(None, None);
    before.receive(&key(1), ill(full()), SOCKET, at(0));
    let mut after = restarted(&mut before, at(50));
    after.take_due(Timestamp::MAX);
    after.receive(&key(1), ill(full()), SOCKET, at(60));
    let agent = after.agent(&key(1)).expect("known");
    assert_eq!((agent.healthy, agent.health_since), (Some(false), at(0)));
    assert_eq!(after.next_due(), Some(at(70)), "only that it is back");
}

#[test]
fn absurd_times_of_an_entry_are_now() {
    for (since, health_after) in [(i64::MIN, 0), (i64::MAX, i64::MAX), (253_402_207_199, 0)] {
        let entry = AgentEntry { uid: uid(1).to_hex(), since, health_after, ..AgentEntry::default() };
        let mut roster = roster();
        let spec = AgentSliceSpec {
            format_version: SLICE_FORMAT_VERSION,
            agents: vec![entry],
            ..AgentSliceSpec::default()
        };
        roster.restore(&slice(0), &spec, at(0));
        let agent = roster.agent(&key(1)).expect("known");
        let times = [agent.since, agent.last_seen, agent.health_since];
        assert_eq!(times, [at(0); 3], "{since}");
    }
}

#[test]
fn agent_that_stood_in_two_slices_stands_in_the_first_and_keeps_all_verdicts() {
    let written = |report: Report| {
        let mut roster = serving(Some(B), Some(A));
        connect(&mut roster, 1, SOCKET, at(0));
        roster.receive(&key(1), report, SOCKET, at(1));
        contents(&mut roster).remove(0).spec.expect("a member")
    };
    let mut roster = roster();
    roster.restore(&slice(0), &written(failed(B, "no")), at(2));
    roster.restore(&slice(1), &written(failed(A, "no")), at(2));
    assert_eq!([A, B].map(|n| ledger(&roster, 1).refuses(hash(n))), [true, true]);
    let written: Vec<_> = contents(&mut roster)
        .into_iter()
        .map(|content| (content.id.number, content.spec.map_or(0, |spec| spec.agents.len())))
        .collect();
    assert_eq!(written, [(0, 1), (1, 0)]);
    roster.receive(&key(1), full(), SOCKET, at(3));
    assert_eq!(contents(&mut roster)[0].id, slice(0), "later edges go there too");
}

#[test]
fn slice_that_cannot_be_read_is_deleted_unless_it_is_needed() {
    let unknown = AgentSliceSpec { format_version: SLICE_FORMAT_VERSION + 1, ..AgentSliceSpec::default() };
    let mut roster = roster();
    roster.restore(&slice(0), &unknown, at(0));
    roster.restore(&slice(1), &unknown, at(0));
    connect(&mut roster, 1, SOCKET, at(0));
    let kept: Vec<_> = contents(&mut roster).into_iter().map(|content| content.spec.is_some()).collect();
    assert_eq!(kept, [true, false]);
}

#[test]
fn restored_agents_are_written_as_disconnected_until_they_return() {
    let mut before = serving(None, None);
    connect(&mut before, 1, SOCKET, at(0));
    let mut after = restarted(&mut before, at(5));
    assert_eq!(after.next_due(), Some(at(15)));
    let spec = contents(&mut after).remove(0).spec.expect("a member");
    assert!(!EntryFlags(spec.agents[0].flags).contains(EntryFlags::CONNECTED));
}

#[test]
fn what_happened_to_an_agent_with_what_it_runs_outlives_a_restart_of_the_operator() {
    let health =
        |healthy, started| Report { healthy: Some(healthy), started: Some(started), ..Report::default() };
    let mut before = serving(None, None);
    connect(&mut before, 1, SOCKET, at(0));
    before.receive(&key(1), applied(B), SOCKET, at(1));
    before.receive(&key(1), health(true, 100), SOCKET, at(2));
    before.receive(&key(1), health(false, 100), SOCKET, at(3));
    assert_eq!(before.next_due(), Some(at(2)), "the verdict is the first edge");
    let mut after = restarted(&mut before, at(5));
    let again = Report { config: applied(B).config, ..full() };
    after.receive(&key(1), Report { healthy: Some(true), started: Some(105), ..again }, SOCKET, at(6));
    let faltered = after.agent(&key(1)).expect("known").steady.faltered();
    assert_eq!(faltered, Faltered { fell_ill: Some(at(3)), restarted: Some(at(6)) });
}
