//! A uid belongs to the principal that had it first.

use super::*;
use crate::fleet::Attributes;

fn hear_from(server: &mut Server, identity: &str, link: Link, message: AgentToServer) -> Answer {
    let context = Context {
        now: server.now,
        principal: &Principal::new("default", identity, Attributes::default()).into(),
        link,
        fresh_uid: &mut || InstanceUid::new(NEW_UID),
        roster: &mut server.roster,
    };
    server.sessions.receive(message, context)
}

fn new_uid(answer: &Answer) -> Option<&[u8]> {
    answer.message.agent_identification.as_ref().map(|given| &given.new_instance_uid[..])
}

#[test]
fn uid_of_another_principal_is_answered_with_a_new_one_on_every_message_and_with_nothing_else() {
    let mut server = Server::new();
    server.assign(None, Some(A));
    assert!(hear_from(&mut server, "first", socket(1), full(0)).offer.is_some());
    let asks = AgentToServer { flags: AgentToServerFlags::RequestInstanceUid as u64, ..full(2) };
    let ill = Some(ComponentHealth { healthy: false, ..Default::default() });
    let harmful = AgentToServer { health: ill, ..status(full(2), Some((A, RemoteConfigStatuses::Failed))) };
    for link in [socket(2), Link::Polling] {
        for message in [full(0), bare(1), full(1), bare(0), asks.clone(), harmful.clone()] {
            let before = server.agent().map(|agent| (agent.ledger.clone(), agent.healthy, agent.link));
            let answer = hear_from(&mut server, "second", link, message);
            assert_eq!(new_uid(&answer), Some(&NEW_UID[..]));
            assert!(answer.offer.is_none());
            let after = server.agent().map(|agent| (agent.ledger.clone(), agent.healthy, agent.link));
            assert_eq!(after, before);
        }
    }
    let plain = hear_from(&mut server, "first", socket(1), bare(1));
    assert_eq!((new_uid(&plain), plain.message.flags), (None, 0), "the first goes on as if nothing had been");
}

#[test]
fn goodbye_of_another_principal_disconnects_nobody() {
    let mut server = Server::new();
    hear_from(&mut server, "first", Link::Polling, full(0));
    let goodbye = AgentToServer { agent_disconnect: Some(AgentDisconnect::default()), ..bare(1) };
    assert_eq!(new_uid(&hear_from(&mut server, "second", Link::Polling, goodbye)), None);
    assert!(server.agent().is_some_and(crate::fleet::Agent::connected));
}

/// At another replica, which has known the agent for longer: the leader says whose it is.
#[test]
fn uid_that_the_leader_says_is_anothers_is_answered_with_a_new_one() {
    let mut server = Server::new();
    server.assign(None, Some(A));
    assert!(hear_from(&mut server, "second", socket(1), full(0)).offer.is_some());
    let first = Principal::new("default", "first", Attributes::default());
    let mut view = View::new([("default".into(), GroupView::of_all("group", None, Some(revision(A))))]);
    view.bind(key(UID), first.mark().expect("a mark"));
    server.roster.set_view(Arc::new(view), server.now);
    for message in [bare(1), full(2)] {
        let answer = hear_from(&mut server, "second", socket(1), message);
        assert_eq!((new_uid(&answer), answer.offer.is_some()), (Some(&NEW_UID[..]), false));
        assert!(server.agent().is_none());
    }
    let own = hear_from(&mut server, "first", socket(2), full(7));
    assert_eq!((new_uid(&own), offered(&own)), (None, Some(A)));
}
