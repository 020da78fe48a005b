//! Who is asked when what it has in effect.

use super::*;
use crate::config::Ignore;
use crate::fleet::turns::last_turn;
use crate::fleet::{Capabilities, Description, DriftRules};
use std::collections::BTreeMap;

/// What a supervisor is able to do that also shows what is in effect.
const SHOWS: Capabilities = Capabilities(TAKES_CONFIG.0 | Capabilities::REPORTS_EFFECTIVE_CONFIG.0);
const INTERVAL: Duration = Duration::from_mins(5);

/// The group in which all agents are to run B and are asked once in such an interval.
fn watched(scan_interval: Duration) -> GroupView {
    let drift = DriftRules { scan_interval, ..DriftRules::default() };
    GroupView { drift, ..group("g", Some(B), Some(A)) }
}

fn watching(scan_interval: Duration) -> Roster {
    let mut roster = roster();
    roster.set_view(view([watched(scan_interval)]), at(0));
    roster
}

/// The full state of an agent that runs B.
fn running() -> Report {
    Report { capabilities: Some(SHOWS), config: applied(B).config, ..full() }
}

fn version(version: &str) -> Report {
    let attributes = attributes(&[("host.name", "host"), ("service.version", version)]);
    Report { description: Some(Description { attributes }), ..Report::default() }
}

fn say(roster: &mut Roster, second: i64, report: Report) {
    roster.receive(&key(1), report, SOCKET, at(second));
}

fn asks(roster: &mut Roster, second: i64) -> bool {
    roster.ask_what_is_in_effect(&key(1), at(second))
}

#[test]
fn agent_is_asked_again_when_what_it_told_may_be_out_of_date() {
    type Change = fn(&mut Roster);
    let cases: [(&str, Change, bool); 14] = [
        ("nothing happened", |_| (), false),
        ("a heartbeat", |roster| say(roster, 100, Report::default()), false),
        ("the same again", |roster| say(roster, 100, applied(B)), false),
        (
            "applied anew",
            |roster| {
                say(roster, 99, applying(B));
                say(roster, 100, applied(B));
            },
            true,
        ),
        ("applied in another form", |roster| say(roster, 100, corrected(1, applied(B))), true),
        ("another version", |roster| say(roster, 100, version("2")), true),
        ("the same version", |roster| say(roster, 100, version("1")), false),
        (
            "other places are ignored",
            |roster| {
                let mut group = watched(Duration::ZERO);
                group.drift.ignore = Ignore::new(&["a::b"]).expect("a pattern");
                roster.set_view(view([group]), at(100));
            },
            true,
        ),
        ("another interval", |roster| drop(roster.set_view(view([watched(Duration::MAX)]), at(100))), false),
        (
            "another group",
            |roster| {
                let other = GroupView { name: "h".into(), ..watched(Duration::ZERO) };
                roster.set_view(view([other]), at(100));
            },
            true,
        ),
        (
            "a reconnect",
            |roster| {
                roster.disconnect(&key(1), SOCKET, at(10));
                say(roster, 100, Report::default());
            },
            false,
        ),
        (
            "back after long",
            |roster| {
                roster.disconnect(&key(1), SOCKET, at(9));
                say(roster, 100, Report { description: version("1").description, ..running() });
            },
            true,
        ),
        (
            "back after long, telling all",
            |roster| {
                roster.disconnect(&key(1), SOCKET, at(9));
                let description = version("1").description;
                say(roster, 100, Report { description, shows: true, ..running() });
            },
            false,
        ),
        (
            "another version, telling all",
            |roster| say(roster, 100, Report { full: true, shows: true, ..version("2") }),
            false,
        ),
    ];
    for (name, change, expected) in cases {
        let mut roster = watching(Duration::ZERO);
        say(&mut roster, 0, running());
        say(&mut roster, 0, version("1"));
        assert_eq!([1, 2].map(|second| asks(&mut roster, second)), [true, false], "{name}: before");
        change(&mut roster);
        assert_eq!([100, 101].map(|second| asks(&mut roster, second)), [expected, false], "{name}");
    }
}

#[test]
fn agent_that_tells_all_when_it_comes_is_not_asked() {
    let mut roster = watching(Duration::ZERO);
    say(&mut roster, 0, Report { shows: true, ..running() });
    assert!(!asks(&mut roster, 0));
    let mut early = crate::fleet::fixtures::roster();
    say(&mut early, 0, Report { shows: true, ..running() });
    early.set_view(view([watched(Duration::ZERO)]), at(1));
    assert!(asks(&mut early, 1), "nobody could look at it then");
    let mut idle = watching(Duration::ZERO);
    idle.set_view(view([GroupView { generation: 2, ..watched(Duration::ZERO) }]), at(0));
    say(&mut idle, 0, Report { shows: true, ..running() });
    idle.set_view(view([watched(Duration::ZERO)]), at(1));
    assert!(asks(&mut idle, 1), "nor while the group was being edited");
}

#[test]
fn agent_is_not_asked_while_its_revision_is_being_delivered_or_nobody_looks() {
    type Change = fn(&mut Roster);
    let cases: [(&str, Change); 5] = [
        ("runs another", |roster| say(roster, 0, applied(A))),
        ("applies it", |roster| say(roster, 0, applying(B))),
        ("says nothing", |roster| {
            say(roster, 0, Report { capabilities: Some(TAKES_CONFIG), ..Report::default() });
        }),
        ("state incomplete", |roster| {
            roster.disconnect(&key(1), SOCKET, at(0));
            say(roster, 500, Report::default());
        }),
        ("drift is off", |roster| {
            let drift = DriftRules { off: true, ..watched(INTERVAL).drift };
            roster.set_view(view([GroupView { drift, ..watched(INTERVAL) }]), at(0));
        }),
    ];
    for (name, change) in cases {
        let mut roster = watching(INTERVAL);
        say(&mut roster, 0, running());
        change(&mut roster);
        assert!(!(500..900).any(|second| asks(&mut roster, second)), "{name}");
        assert!((900..1300).all(|second| roster.expire(at(second)).is_empty()), "{name}");
    }
}

/// How often each of so many agents is asked for the turns of an hour, and how many at once at most. They speak at this
/// interval, if at all.
fn hour_of_scans(agents: u32, link: fn(u32) -> Link, speaks: Option<i64>) -> (BTreeMap<u32, usize>, usize) {
    let mut roster = watching(INTERVAL);
    for n in 0..agents {
        roster.receive(&key(n), Report { shows: true, ..running() }, link(n), at(0));
    }
    let (mut asked, mut most) = (BTreeMap::new(), 0);
    for second in 1..=3600 + speaks.unwrap_or_default() {
        let woken = roster.expire(at(second));
        assert!(woken.iter().all(|key| roster.agent(key).expect("known").link != Some(Link::Polling)));
        let speak = |n: &u32| speaks.is_some_and(|every| (second + i64::from(*n)) % every == 0);
        let mut at_once = 0;
        for n in (0..agents).filter(|n| speak(n) || woken.contains(&key(*n))) {
            if speak(&n) {
                roster.receive(&key(n), Report::default(), link(n), at(second));
            }
            if roster.ask_what_is_in_effect(&key(n), at(second)) {
                at_once += 1;
                let in_time = last_turn(uid(n), INTERVAL, at(second)) <= Some(at(3600));
                *asked.entry(n).or_default() += usize::from(in_time);
            }
        }
        most = most.max(at_once);
    }
    (asked, most)
}

#[test]
fn every_agent_is_asked_once_in_each_interval_and_few_at_the_same_time() {
    let socket: fn(u32) -> Link = |n| Link::Socket(n.into());
    for (name, link, speaks) in [
        ("sockets without heartbeats", socket, None),
        ("sockets with heartbeats", socket, Some(30)),
        ("polls", |_| Link::Polling, Some(30)),
    ] {
        let (asked, most) = hour_of_scans(300, link, speaks);
        assert_eq!(asked.len(), 300, "{name}");
        assert!(asked.values().all(|times| *times == 12), "{name}: {asked:?}");
        assert!(most <= 8, "{name}: {most} at once");
    }
}

#[test]
fn agent_is_woken_for_its_turn_once_and_only_if_it_has_not_spoken_since() {
    let turn = (0..400).find(|second| last_turn(uid(1), INTERVAL, at(*second)) > Some(at(*second - 1)));
    let turn = turn.expect("some day");
    let mut roster = watching(INTERVAL);
    say(&mut roster, turn - 200, Report { shows: true, ..running() });
    assert_eq!(roster.expire(at(turn - 1)), []);
    assert_eq!(roster.expire(at(turn)), [key(1)]);
    assert!(asks(&mut roster, turn) && roster.expire(at(turn + 1)).is_empty());
    // The next turn begins while it speaks: it is asked by the answer.
    say(&mut roster, turn + 300, Report::default());
    assert_eq!(roster.expire(at(turn + 300)), []);
    assert!(asks(&mut roster, turn + 300));
}
