use super::*;
use crate::fleet::Verdict;
use crate::fleet::fixtures::*;

mod effective;
mod offers;
mod orders;
mod restarts;
mod verdicts;
mod words;

impl Agent {
    /// The agent, drifting in this way by its own words, and with this order carried out.
    pub(in crate::fleet) fn with(self, told: Option<(DriftClass, Timestamp)>, done: Option<Done>) -> Self {
        Self { unusual: Some(Unusual { told, done, ..Unusual::default() }.into()), ..self }
    }
}

/// A supervisor on a socket, in a group that has B as target and A to fall back to.
fn hear(agent: &mut Agent, report: Report) -> Edge {
    hear_over(agent, report, SOCKET)
}

fn hear_over(agent: &mut Agent, report: Report, link: Link) -> Edge {
    agent.receive(report, link, Some(&group("g", Some(B), Some(A))), at(1))
}

fn heartbeat() -> Report {
    Report::default()
}

fn due(agent: &Agent, now: Timestamp) -> Option<u8> {
    agent.due_offer(&group("g", Some(B), Some(A)), now).map(|offer| offer.hash().as_bytes()[0])
}

fn refuses(agent: &Agent) -> [bool; 3] {
    [A, B, C].map(|n| agent.ledger.refuses(hash(n)))
}

#[test]
fn edge_is_urgent_for_verdicts_and_health_and_none_for_heartbeats() {
    let described = |pairs: &[(&str, &str)]| Report {
        description: Some(Description { attributes: attributes(pairs) }),
        ..heartbeat()
    };
    let health = |healthy| Report { healthy: Some(healthy), ..heartbeat() };
    let mut agent = agent();
    for (name, report, expected) in [
        ("heartbeat", heartbeat(), Edge::None),
        ("full state again", full(), Edge::None),
        ("same capabilities", Report { capabilities: Some(TAKES_CONFIG), ..heartbeat() }, Edge::None),
        ("other capabilities", Report { capabilities: Some(Capabilities(2)), ..heartbeat() }, Edge::Slow),
        ("another host", described(&[("host.name", "h")]), Edge::Slow),
        ("another version", described(&[("host.name", "h"), ("service.version", "1")]), Edge::Slow),
        (
            "an attribute that is not written",
            described(&[("host.name", "h"), ("service.version", "1"), ("uptime", "1")]),
            Edge::None,
        ),
        ("first health", health(true), Edge::Slow),
        ("same health", health(true), Edge::None),
        ("falls ill", health(false), Edge::Urgent),
        ("recovers", health(true), Edge::Urgent),
        ("applying", applying(A), Edge::None),
        ("applied", applied(A), Edge::Urgent),
        ("applied, still", applied(A), Edge::None),
        ("applying the next", applying(B), Edge::Slow),
        ("failed", failed(B, "no"), Edge::Urgent),
        ("failed, still", failed(B, "no"), Edge::None),
        ("failed, in other words", failed(B, "not at all"), Edge::Urgent),
        ("failed, without words", failed(B, ""), Edge::None),
    ] {
        assert_eq!(hear(&mut agent, report), expected, "{name}");
    }
    assert_eq!(hear_over(&mut agent, heartbeat(), OTHER_SOCKET), Edge::Slow, "reconnect");
    assert_eq!(agent.ledger.get(hash(B)), Some(&Verdict::failed("not at all")));
}

#[test]
fn agent_is_exempt_while_the_last_thing_it_was_offered_came_when_it_was_ill() {
    let mut agent = agent();
    for (health, offered, exempt) in [
        (None, A, false),
        (Some(false), A, false),
        (Some(false), B, true),
        (Some(true), B, true),
        (Some(true), C, false),
        (Some(false), C, false),
    ] {
        hear(&mut agent, Report { healthy: health, ..heartbeat() });
        agent.note_offer(hash(offered), Form::Plain, at(1));
        assert_eq!(agent.exempt, exempt, "offered {offered:x} with health {health:?}");
    }
}

#[test]
fn health_is_as_old_as_its_last_change() {
    let mut agent = agent();
    for (second, healthy, since) in [(1, false, 1), (2, false, 1), (3, true, 3), (4, true, 3)] {
        agent.receive(Report { healthy: Some(healthy), ..heartbeat() }, SOCKET, None, at(second));
        assert_eq!(agent.health_since, at(since), "{second}");
    }
}

#[test]
fn agent_is_detached_only_by_the_link_that_it_has() {
    let mut agent = agent();
    hear_over(&mut agent, heartbeat(), OTHER_SOCKET);
    assert!(!agent.detach(SOCKET, at(5)));
    assert!(agent.connected());
    assert!(agent.detach(OTHER_SOCKET, at(5)));
    assert!(!agent.connected() && !agent.detach(OTHER_SOCKET, at(6)));
}

#[test]
fn agent_was_last_seen_when_its_socket_ended_or_when_it_last_polled() {
    for (link, last_seen) in [(SOCKET, at(500)), (Link::Polling, at(1))] {
        let mut agent = agent();
        hear_over(&mut agent, heartbeat(), link);
        agent.detach(link, at(500));
        assert_eq!((agent.last_seen, agent.since), (last_seen, last_seen), "{link:?}");
    }
}

#[test]
fn connection_is_as_old_as_its_link() {
    let mut agent = agent();
    agent.receive(heartbeat(), SOCKET, None, at(7));
    assert_eq!((agent.since, agent.last_seen), (at(0), at(7)));
    agent.receive(heartbeat(), OTHER_SOCKET, None, at(8));
    assert_eq!((agent.since, agent.last_seen), (at(8), at(8)));
}

#[test]
fn state_stays_complete_once_it_was_and_omitted_parts_are_unchanged() {
    let mut agent = agent();
    hear(&mut agent, Report { healthy: Some(true), ..applied(A) });
    let before = agent.clone();
    hear(&mut agent, heartbeat());
    assert!(agent.complete);
    assert_eq!(
        (agent.healthy, agent.capabilities, agent.host(), agent.running()),
        (before.healthy, before.capabilities, before.host(), before.running())
    );
}

/// 10 KB is the budget for all of an agent, its socket and task included (design, section 11).
#[test]
fn agent_is_small() {
    let size = size_of::<Agent>();
    assert!(size <= 360, "{size} bytes");
}
