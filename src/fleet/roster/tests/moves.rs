//! Agents are told of another token of their Secret: once, one after the other, and only those that take such settings.

use super::*;
use crate::fleet::{Capabilities, Principal, SettingsReport, Successor, TokenName, Tokens};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TAKES_SETTINGS: Capabilities =
    Capabilities(TAKES_CONFIG.0 | Capabilities::ACCEPTS_CONNECTION_SETTINGS.0);

fn token(key: &str) -> TokenName {
    TokenName { secret: "edge".into(), key: key.into() }
}

/// The Secret `edge`, as its agents speak by this token.
fn by(key: &str) -> Arc<Principal> {
    Principal::new("ns", "ns/edge", attributes(&[])).by(token(key)).into()
}

/// Of the tokens `a` and `b` this one is to be used, with settings of this hash.
fn tokens(key: &str, n: u8) -> Tokens {
    let successor = Successor { key: key.into(), hash: hash(n), payload: vec![n].into() };
    let mark = by("a").mark().expect("a mark");
    Tokens {
        known: ["a", "b"].map(|key| ("ns".into(), token(key))).into(),
        successors: [(mark, successor)].into(),
    }
}

fn nothing_to_use() -> Tokens {
    Tokens { successors: [].into(), ..tokens("b", A) }
}

fn full_by(key: &str) -> Report {
    Report { principal: Some(by(key)), capabilities: Some(TAKES_SETTINGS), ..full() }
}

fn alive(key: &str) -> Report {
    Report { principal: Some(by(key)), ..Report::default() }
}

/// A roster in which so many agents came by token `a`, and are to use `b`.
fn moving(agents: u32) -> Roster {
    let mut roster = serving(None, None);
    for n in 0..agents {
        roster.receive(&key(n), full_by("a"), link(n, 0), at(0));
    }
    roster.set_tokens(tokens("b", A));
    roster
}

/// The link of an agent that has come so many times.
fn link(n: u32, times: u32) -> Link {
    Link::Socket(u64::from(n * 1000 + times))
}

/// Lets time pass, and tells everybody whose turn it is; returns who was told.
fn tell(roster: &mut Roster, agents: u32, now: Timestamp) -> Vec<u32> {
    roster.expire(now);
    (0..agents).filter(|n| roster.take_move(&key(*n), now).is_some()).collect()
}

#[test]
fn agent_by_another_token_is_told_once_until_it_comes_with_the_new_one() {
    let mut roster = moving(1);
    assert!(roster.take_move(&key(0), at(0)).is_none(), "it is not its turn yet");
    assert_eq!(roster.expire(at(1)), [key(0)]);
    let told = roster.take_move(&key(0), at(1)).map(|(hash, to)| (&*to.key, hash));
    assert_eq!(told, Some(("b", hash(A))));
    assert_eq!(tell(&mut roster, 1, at(2)), [0; 0]);
    assert_eq!(tell(&mut roster, 1, at(3600)), [0; 0], "it does not answer, and is left alone");
    roster.disconnect(&key(0), link(0, 0), at(3601));
    roster.receive(&key(0), full_by("b"), link(0, 1), at(3602));
    assert_eq!(tell(&mut roster, 1, at(3603)), [0; 0]);
    // It has lost what it was told, and it is known that it can use it.
    roster.receive(&key(0), full_by("a"), link(0, 2), at(3604));
    assert_eq!(tell(&mut roster, 1, at(3605)), [0]);
}

#[test]
fn agent_that_comes_again_as_it_was_is_told_no_more_of_the_same() {
    let mut roster = moving(1);
    assert_eq!(tell(&mut roster, 1, at(1)), [0]);
    roster.receive(&key(0), full_by("a"), link(0, 1), at(2));
    assert_eq!(tell(&mut roster, 1, at(3600)), [0; 0]);
    roster.set_tokens(tokens("b", A));
    assert_eq!(tell(&mut roster, 1, at(3601)), [0; 0], "the same settings");
    roster.set_tokens(tokens("b", B));
    assert_eq!(tell(&mut roster, 1, at(3602)), [0], "other settings");
}

#[test]
fn refusal_stands_for_these_settings_also_after_a_restart_of_the_operator() {
    let failed = |n| Some(SettingsReport { hash: Some(hash(n)), failed: true });
    for (report, told) in [
        (failed(A), 0),
        (failed(B), 1),
        (Some(SettingsReport { hash: None, failed: true }), 1),
        (Some(SettingsReport { hash: Some(hash(A)), failed: false }), 1),
        (None, 1),
    ] {
        // The agent repeats what it said to the operator before this one.
        let mut roster = moving(0);
        roster.receive(&key(0), Report { settings: report.map(Box::new), ..full_by("a") }, SOCKET, at(0));
        assert_eq!(tell(&mut roster, 1, at(1)).len(), told, "{report:?}");
        roster.receive(&key(0), Report { settings: failed(A).map(Box::new), ..alive("a") }, SOCKET, at(2));
        assert_eq!(tell(&mut roster, 1, at(3600)), [0; 0]);
        roster.set_tokens(nothing_to_use());
        roster.set_tokens(tokens("b", A));
        assert_eq!(tell(&mut roster, 1, at(3601)), [0], "a person asks again");
    }
}

#[test]
fn only_who_takes_such_settings_and_is_known_and_idle_is_told() {
    let told = |report: Report| {
        let mut roster = moving(0);
        roster.receive(&key(0), report, SOCKET, at(0));
        tell(&mut roster, 1, at(1)).len()
    };
    assert_eq!(told(full_by("a")), 1);
    assert_eq!(told(Report { capabilities: Some(TAKES_CONFIG), ..full_by("a") }), 0);
    assert_eq!(told(Report { full: false, ..full_by("a") }), 0);
    assert_eq!(told(Report { config: applying(A).config, ..full_by("a") }), 0);
    assert_eq!(told(full_by("b")), 0);
    let other = Principal::new("ns", "ns/other", attributes(&[])).by(token("a"));
    assert_eq!(told(Report { principal: Some(other.into()), ..full_by("a") }), 0, "of another Secret");
    let unnamed = Principal::new("ns", "ns/edge", attributes(&[]));
    assert_eq!(told(Report { principal: Some(unnamed.into()), ..full_by("a") }), 0, "not by a token");
}

#[test]
fn nobody_is_told_while_no_offers_are_made() {
    let mut roster = moving(1);
    roster.suspend(true, at(0));
    assert_eq!(tell(&mut roster, 1, at(1)), [0; 0]);
    roster.suspend(false, at(2));
    roster.expire(at(3));
    roster.suspend(true, at(4));
    assert!(roster.take_move(&key(0), at(4)).is_none(), "chosen before");
    roster.suspend(false, at(5));
    assert!(roster.take_move(&key(0), at(5)).is_some());
}

#[test]
fn next_agents_are_told_when_others_have_come_with_the_new_token() {
    let mut roster = moving(40);
    let mut waves = Vec::new();
    for second in 1..=14 {
        let told = tell(&mut roster, 40, at(second));
        for n in &told {
            roster.receive(&key(*n), full_by("b"), link(*n, 1), at(second));
        }
        waves.push(told.len());
    }
    assert_eq!(waves, [1, 1, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 0]);
}

#[test]
fn agents_that_never_return_are_told_one_a_minute() {
    let mut roster = moving(40);
    let told: Vec<usize> = (1..=180)
        .map(|second| {
            let told = tell(&mut roster, 40, at(second));
            for n in &told {
                roster.disconnect(&key(*n), link(*n, 0), at(second));
            }
            told.len()
        })
        .collect();
    assert_eq!(told.iter().sum::<usize>(), 3);
    assert!([0, 60, 120].iter().all(|second| told[*second] == 1), "{told:?}");
}

#[test]
fn chosen_agent_that_goes_away_gives_its_turn_to_another() {
    let mut roster = moving(2);
    let chosen = roster.expire(at(1));
    let [first] = &chosen[..] else { panic!("{chosen:?}") };
    let (gone, other) = if *first == key(0) { (0, 1) } else { (1, 0) };
    roster.disconnect(first, link(gone, 0), at(2));
    assert_eq!(tell(&mut roster, 2, at(3)), [other]);
}

#[test]
fn agents_are_counted_by_token_while_they_are_connected() {
    let mut roster = moving(3);
    let counts = |roster: &Roster| -> BTreeMap<String, usize> {
        let counts = roster.agents_by_token().into_iter();
        counts.map(|((namespace, token), count)| (format!("{namespace}/{}", token.key), count)).collect()
    };
    let expected = |a, b| BTreeMap::from([("ns/a".to_owned(), a), ("ns/b".to_owned(), b)]);
    assert_eq!(counts(&roster), expected(3, 0));
    roster.receive(&key(1), alive("b"), link(1, 1), at(1));
    roster.disconnect(&key(2), link(2, 0), at(1));
    assert_eq!(counts(&roster), expected(1, 1));
    roster.set_tokens(Tokens::default());
    assert_eq!(counts(&roster), expected(1, 1), "of a token that is gone, until its agents are");
}

/// Something that happens to the agents of a Secret.
#[derive(Clone, Debug)]
enum Step {
    Comes(u32, bool),
    Leaves(u32),
    Refuses(u32),
    Uses(bool, u8),
    Waits(i64),
}

fn step() -> impl Strategy<Value = Step> {
    const AGENTS: u32 = 25;
    prop_oneof![
        6 => (0..AGENTS, any::<bool>()).prop_map(|(n, new)| Step::Comes(n, new)),
        2 => (0..AGENTS).prop_map(Step::Leaves),
        1 => (0..AGENTS).prop_map(Step::Refuses),
        1 => (any::<bool>(), 0_u8..3).prop_map(|(some, n)| Step::Uses(some, n)),
        6 => (1_i64..40).prop_map(Step::Waits),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn nobody_is_told_twice_and_never_too_many_at_a_time(steps in prop::collection::vec(step(), 1..80)) {
        let mut roster = moving(25);
        let (mut now, mut times, mut to) = (0, [0; 25], Some(A));
        let mut by_new = [false; 25];
        // When each agent was told of which settings; forgotten when it comes with the token.
        let mut told: [Option<(u8, i64)>; 25] = [None; 25];
        for step in steps {
            match step {
                Step::Comes(n, new) => {
                    let place = n as usize;
                    times[place] += 1;
                    by_new[place] = new;
                    roster.receive(&key(n), full_by(if new { "b" } else { "a" }), link(n, times[place]), at(now));
                    if new {
                        told[place] = None;
                    }
                }
                Step::Leaves(n) => roster.disconnect(&key(n), link(n, times[n as usize]), at(now)),
                Step::Refuses(n) => {
                    let settings = to.map(|to| SettingsReport { hash: Some(hash(to)), failed: true }.into());
                    let report = Report { settings, ..alive(if by_new[n as usize] { "b" } else { "a" }) };
                    roster.receive(&key(n), report, link(n, times[n as usize]), at(now));
                }
                Step::Uses(some, n) => {
                    let next = some.then_some(n);
                    if next != to {
                        told = [None; 25];
                    }
                    to = next;
                    roster.set_tokens(to.map_or_else(nothing_to_use, |n| tokens("b", n)));
                }
                Step::Waits(seconds) => {
                    now += seconds;
                    let new = tell(&mut roster, 25, at(now));
                    prop_assert!(new.len() <= 2, "{new:?} of 25 at a time");
                    for n in new {
                        let place = n as usize;
                        prop_assert!(!by_new[place], "{n} has it");
                        prop_assert_eq!(told[place], None, "{} was told before", n);
                        prop_assert!(roster.agent(&key(n)).is_some_and(Agent::connected));
                        told[place] = to.map(|to| (to, now));
                    }
                }
            }
        }
    }
}
