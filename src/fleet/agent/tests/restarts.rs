//! Restarts that a person asked for, carried out.

use super::*;
use crate::fleet::{Order, Ordered};

const TAKES_RESTARTS: Capabilities = Capabilities(TAKES_CONFIG.0 | Capabilities::ACCEPTS_RESTART_COMMAND.0);

/// An agent without a configuration that takes the command, and was started at this second of its clock.
fn taker(started: Option<i64>) -> Agent {
    let mut agent = Agent::new(uid(1), at(0));
    let report =
        Report { capabilities: Some(TAKES_RESTARTS), healthy: started.map(|_| true), started, ..full() };
    agent.receive(report, SOCKET, None, at(0));
    agent
}

/// Ordered at this second, of an agent that had been started then.
fn restart(second: i64, started: Option<i64>) -> Restart {
    let ordered = Ordered { order: Order::Restart, given: at(second), done: None };
    Restart { asked: at(30), ordered, started, missed: None }
}

fn nothing() -> GroupView {
    group("g", None, None)
}

#[test]
fn well_agent_is_commanded_once_for_each_order_whatever_it_is_to_run() {
    let mut agent = taker(Some(100));
    agent.note_restart(Some(restart(40, Some(100))));
    assert!(agent.has_orders(&nothing(), at(41)));
    assert!(agent.take_restart(&nothing(), at(41)));
    assert_eq!(agent.done(), Some(Done { order: at(40).as_second(), at: at(41) }));
    assert!(!agent.take_restart(&nothing(), at(42)), "once");
    hear(&mut agent, Report { healthy: Some(true), started: Some(200), ..heartbeat() });
    agent.note_restart(Some(restart(50, Some(200))));
    assert!(agent.take_restart(&nothing(), at(51)), "the next order");
    agent.note_restart(None);
    assert!(!agent.has_orders(&nothing(), at(52)));
}

#[test]
fn agent_is_not_commanded_without_need() {
    type Change = fn(&mut Agent, &mut Restart);
    let cases: [(&str, Change, bool); 9] = [
        ("as it is", |_, _| {}, true),
        ("it does not take the command", |agent, _| agent.capabilities = TAKES_CONFIG, false),
        ("it is away", |agent, _| assert!(agent.detach(SOCKET, at(41))), false),
        ("nobody knows its full state", |agent, _| agent.complete = false, false),
        ("the leader knows that it is done", |_, restart| restart.ordered.done = Some(at(41)), false),
        ("it is missed", |_, restart| restart.missed = Some(at(99)), false),
        ("it was started anew since", |_, restart| restart.started = Some(99), false),
        (
            "it does not say when, and was here",
            |agent, restart| {
                (*agent, restart.started) = (taker(None), None);
            },
            true,
        ),
        (
            "it does not say when, and has connected since",
            |agent, restart| {
                (*agent, restart.started) = (taker(None), None);
                agent.since = at(41);
            },
            false,
        ),
    ];
    for (name, change, expected) in cases {
        let (mut agent, mut restart) = (taker(Some(100)), restart(40, Some(100)));
        change(&mut agent, &mut restart);
        agent.note_restart(Some(restart));
        assert_eq!(agent.take_restart(&nothing(), at(50)), expected, "{name}");
    }
}

#[test]
fn news_of_its_start_is_urgent_of_an_agent_that_others_wait_for() {
    for (awaited, expected) in [(true, Edge::Urgent), (false, Edge::Slow)] {
        let mut agent = taker(Some(100));
        agent.note_restart(Some(restart(40, Some(100))));
        assert!(agent.take_restart(&nothing(), at(41)));
        if !awaited {
            agent.note_restart(None);
        }
        let news = Report { healthy: Some(true), started: Some(200), ..heartbeat() };
        assert_eq!(hear(&mut agent, news), expected);
    }
}
