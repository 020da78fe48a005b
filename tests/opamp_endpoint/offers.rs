//! Configurations on their way to simulated agents.

use super::raw::{full, post, request};
use super::server::{Server, files, group, group_of, pace, revision, revision_of, uid};
use super::within;
use opamp_operator::config::ConfigFile;
use opamp_operator::fleet::{Outcome, Revision};
use opamp_operator::opamp::proto::{RemoteConfigStatuses, ServerToAgent};
use opamp_operator::sim::{self, Behaviour, Journal, Pace, Profile};
use std::sync::Arc;
use std::time::Duration;

/// Whether the agent's last word is that it applied this revision.
fn applied(number: u8) -> impl Fn(&Journal) -> bool {
    move |journal| journal.config == (vec![number; 32], RemoteConfigStatuses::Applied)
}

/// The numbers of the revisions that an agent was offered.
fn numbers(journal: &Journal) -> Vec<u8> {
    journal.offers.iter().map(|offer| offer.hash[0]).collect()
}

#[tokio::test]
async fn offer_arrives_byte_for_byte_over_both_transports() {
    let server = Server::new().await;
    server.assign([group(Some(revision(7)), None)]);
    for (scheme, number) in [("ws", 1), ("http", 2)] {
        let mut agent = server.agent(scheme, Profile::new(uid(number)), Behaviour::Apply);
        within("applied", agent.until(applied(7))).await;
        server.until("the verdict", uid(number), |agent| agent.running().is_some()).await;
        let journal = agent.stop().await;
        let [offer] = &journal.offers[..] else { panic!("{scheme}: {:?}", numbers(&journal)) };
        assert_eq!(&offer.hash[..], &[7; 32]);
        let received: Vec<_> = offer.files.iter().map(|(name, body)| (&**name, &body[..])).collect();
        let mut sent: Vec<_> = files(7);
        sent.sort_by(|a, b| a.name.cmp(&b.name));
        let sent: Vec<_> = sent.iter().map(|file| (&*file.name, &*file.body)).collect();
        assert_eq!(received, sent);
    }
    assert_eq!(server.metric("opamp_offers_total{transport=\"websocket\"}"), 1);
    assert_eq!(server.metric("opamp_offers_total{transport=\"http\"}"), 1);
}

#[tokio::test]
async fn change_is_pushed_at_once_and_only_to_those_concerned() {
    let server = Server::new().await;
    let mut east = server.agent("ws", Profile::new(uid(1)).with("region", "east"), Behaviour::Apply);
    let mut west = server.agent("ws", Profile::new(uid(2)).with("region", "west"), Behaviour::Apply);
    for agent in [&mut east, &mut west] {
        within("connected", agent.until(|journal| journal.connected)).await;
    }
    let of_west = || group_of("west", "region", "west", revision(1));
    server.assign([of_west()]);
    within("applied in the west", west.until(applied(1))).await;
    server.assign([of_west(), group_of("east", "region", "east", revision(2))]);
    within("applied in the east", east.until(applied(2))).await;
    assert_eq!(numbers(&west.stop().await), [1]);
    assert_eq!(numbers(&east.stop().await), [2]);
}

#[tokio::test]
async fn polling_agent_gets_the_change_with_its_next_poll() {
    let server = Server::new().await;
    let quick = Pace { heartbeat: Duration::from_millis(10), ..pace() };
    let agent = sim::Agent::new(Profile::new(uid(1)), Behaviour::Apply);
    let mut agent = sim::spawn(agent, server.endpoint("http"), quick);
    within("some polls", agent.until(|journal| journal.messages > 3)).await;
    server.assign([group(Some(revision(1)), None)]);
    within("applied", agent.until(applied(1))).await;
    let messages = agent.journal().messages;
    within("some more polls", agent.until(|journal| journal.messages > messages + 3)).await;
    assert_eq!(numbers(&agent.stop().await), [1]);
}

#[tokio::test]
async fn refused_configuration_is_not_offered_again() {
    for scheme in ["ws", "http"] {
        let server = Server::new().await;
        server.assign([group(Some(revision(2)), None)]);
        let mut agent =
            server.agent(scheme, Profile::new(uid(1)), Behaviour::Fail("no such receiver".into()));
        within("failed", agent.until(|journal| journal.config.1 == RemoteConfigStatuses::Failed)).await;
        server
            .until("the refusal", uid(1), |agent| {
                agent.config.as_ref().is_some_and(|config| matches!(config.outcome, Outcome::Failed(_)))
            })
            .await;
        server.assign([group(Some(revision(2)), None)]);
        server.assign([group(Some(revision(2)), Some(revision(1)))]);
        if scheme == "ws" {
            within("the stable one", agent.until(|journal| numbers(journal) == [2, 1])).await;
        }
        let later = numbers(&agent.stop().await).split_off(1);
        assert!(!later.contains(&2), "{scheme}: {later:?}");
    }
}

#[tokio::test]
async fn agent_that_rolled_back_by_itself_is_left_alone() {
    let server = Server::new().await;
    let mut agent = server.agent("ws", Profile::new(uid(1)), Behaviour::Rollback);
    server.assign([group(Some(revision(1)), None)]);
    within("the first applied", agent.until(applied(1))).await;
    server.until("the first verdict", uid(1), |agent| agent.running().is_some()).await;
    server.assign([group(Some(revision(2)), Some(revision(1)))]);
    within("rolled back", agent.until(|journal| journal.offers.len() == 2 && applied(1)(journal))).await;
    let hash = revision(2).hash;
    server
        .until("the refusal", uid(1), |agent| agent.ledger.refuses(hash) && agent.running().is_some())
        .await;
    server.assign([group(Some(revision(2)), Some(revision(1)))]);
    assert_eq!(numbers(&agent.stop().await), [1, 2]);
}

#[tokio::test]
async fn view_that_changes_often_leaves_only_the_last_one_to_be_offered() {
    let server = Server::new().await;
    let mut agent = server.agent("ws", Profile::new(uid(1)), Behaviour::Apply);
    within("connected", agent.until(|journal| journal.connected)).await;
    // This test has one thread, and does not give it away between the changes.
    for number in 1..=100 {
        server.assign([group(Some(revision(number)), None)]);
    }
    within("the last one applied", agent.until(applied(100))).await;
    assert_eq!(numbers(&agent.stop().await), [100]);
}

#[tokio::test]
async fn agent_that_takes_no_configuration_is_offered_none() {
    let server = Server::new().await;
    server.assign([group(Some(revision(1)), None)]);
    let profile = Profile { capabilities: 0x1 | 0x800, ..Profile::new(uid(1)) };
    let mut agent = server.agent("ws", profile, Behaviour::Apply);
    within("connected", agent.until(|journal| journal.connected)).await;
    server.assign([group(Some(revision(2)), None)]);
    assert!(agent.stop().await.offers.is_empty());
}

/// A revision that agents can be seen to run.
fn shown(number: u8) -> Arc<Revision> {
    let body = format!("receivers: {{nop: {{number: {number}}}}}").into_bytes();
    revision_of(number, &[ConfigFile::new("collector.yaml", "text/yaml", body)])
}

#[tokio::test]
async fn agent_that_cannot_answer_is_known_by_what_it_shows() {
    const SHOWS: u64 = 0x1 | 0x2 | 0x4;
    for (scheme, number) in [("ws", 1), ("http", 2)] {
        let server = Server::new().await;
        server.assign([group(Some(shown(7)), None)]);
        let profile = Profile { capabilities: SHOWS, ..Profile::new(uid(number)) };
        let mut agent = server.agent(scheme, profile, Behaviour::Apply);
        within("applied", agent.until(applied(7))).await;
        let known = server.until("that", uid(number), |agent| agent.running().is_some()).await;
        assert_eq!(known.running(), Some(revision(7).hash), "{scheme}");
        assert!(known.capabilities.0 == SHOWS && known.ledger.get(revision(7).hash).is_some());
        assert!(
            agent.journal().full_states > 0,
            "it is asked what it shows, since nothing may change for it"
        );
        assert_eq!(numbers(&agent.stop().await), [7]);
    }
}

#[tokio::test]
async fn other_configuration_in_effect_is_no_evidence() {
    let server = Server::new().await;
    server.assign([group(Some(shown(1)), None)]);
    let profile = Profile { capabilities: 0x1 | 0x2 | 0x4, ..Profile::new(uid(1)) };
    // It applies its first configuration, and goes back to that from the next one.
    let mut agent = server.agent("ws", profile, Behaviour::Rollback);
    server.until("the first one", uid(1), |agent| agent.running() == Some(revision(1).hash)).await;
    server.assign([group(Some(shown(2)), None)]);
    within("back", agent.until(|journal| journal.offers.len() == 2 && applied(1)(journal))).await;
    // The server has heard all that it said before its goodbye.
    assert_eq!(numbers(&agent.stop().await), [1, 2]);
    let known = server.until("the goodbye", uid(1), |agent| !agent.connected()).await;
    assert!(known.ledger.get(revision(2).hash).is_none());
}

#[tokio::test]
async fn edges_are_announced() {
    let server = Server::new().await;
    let edge = server.hub.edges();
    let answer: ServerToAgent = request(server.address, post(&full(uid(1), 0))).await.message();
    assert_eq!(answer.instance_uid, uid(1));
    within("an edge", edge).await;
    assert!(server.hub.with_roster(|roster| roster.next_due()).is_some());
}
