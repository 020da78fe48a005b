//! Who is who: reconnects, duplicates, new uids, goodbyes.

use super::raw::{Socket, bare, full};
use super::server::{Server, group, revision, uid};
use super::within;
use opamp_operator::opamp::proto::{AgentDisconnect, AgentToServer};
use opamp_operator::sim::{Behaviour, Profile};

#[tokio::test]
async fn reconnect_with_a_compressed_message_goes_on() {
    let server = Server::new().await;
    let mut first = Socket::open(server.address).await;
    first.ask(&full(uid(1), 0)).await;
    drop(first);
    server.until("disconnected", uid(1), |agent| !agent.connected()).await;
    server.assign([group(Some(revision(1)), None)]);
    let mut second = Socket::open(server.address).await;
    let answer = second.ask(&bare(uid(1), 1)).await;
    assert_eq!((answer.flags, answer.remote_config.is_some()), (0, true));
}

#[tokio::test]
async fn stranger_with_a_compressed_message_is_asked_for_everything() {
    let server = Server::new().await;
    server.assign([group(Some(revision(1)), None)]);
    let mut socket = Socket::open(server.address).await;
    let answer = socket.ask(&bare(uid(1), 17)).await;
    assert_eq!((answer.flags, answer.remote_config.is_some()), (1, false));
    let answer = socket.ask(&full(uid(1), 18)).await;
    assert_eq!((answer.flags, answer.remote_config.is_some()), (0, true));
}

#[tokio::test]
async fn simulated_agent_comes_back_after_a_restart_of_the_server() {
    let server = Server::new().await;
    let mut agent = server.agent("ws", Profile::new(uid(1)), Behaviour::Apply);
    within("connected", agent.until(|journal| journal.connected)).await;
    let address = server.address;
    within("the server", server.stop()).await.expect("no panic");
    let server = Server::at(address).await;
    within("connected again", agent.until(|journal| journal.connections == 2)).await;
    within("the full state", agent.until(|journal| journal.full_states == 1)).await;
    server.until("known again", uid(1), |agent| agent.complete).await;
    agent.stop().await;
}

#[tokio::test]
async fn second_of_two_live_agents_with_one_uid_gets_another() {
    let server = Server::new().await;
    let mut first = Socket::open(server.address).await;
    let mut second = Socket::open(server.address).await;
    first.ask(&full(uid(1), 0)).await;
    second.ask(&full(uid(1), 0)).await;
    let answer = first.ask(&bare(uid(1), 1)).await;
    let new = answer.agent_identification.expect("a new uid").new_instance_uid;
    assert_eq!(
        (answer.instance_uid, new.len(), new[6] >> 4),
        (uid(1).to_vec(), 16, 7),
        "a UUID of version 7"
    );
    assert_ne!(new, uid(1));
    let answer = second.ask(&bare(uid(1), 1)).await;
    assert!(answer.agent_identification.is_none() && answer.flags == 0);
    let renamed = AgentToServer { instance_uid: new.clone(), ..full(uid(1), 2) };
    assert_eq!(first.ask(&renamed).await.instance_uid, new);
    drop(second);
    server.until("the second is disconnected", uid(1), |agent| !agent.connected()).await;
}

#[tokio::test]
async fn agent_that_asks_for_a_uid_gets_one() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    let answer = socket.ask(&AgentToServer { flags: 1, ..full(uid(1), 0) }).await;
    assert_eq!(answer.instance_uid, uid(1));
    assert_eq!(answer.agent_identification.map(|new| new.new_instance_uid.len()), Some(16));
    assert!(server.known(uid(1)).is_none());
}

#[tokio::test]
async fn goodbye_disconnects_at_once_over_both_transports() {
    let server = Server::new().await;
    for (scheme, number) in [("ws", 1), ("http", 2)] {
        let mut agent = server.agent(scheme, Profile::new(uid(number)), Behaviour::Apply);
        within("connected", agent.until(|journal| journal.connected)).await;
        agent.stop().await;
        assert!(server.known(uid(number)).is_some_and(|agent| !agent.connected()), "{scheme}");
    }
}

#[tokio::test]
async fn goodbye_of_one_agent_leaves_the_others_of_its_socket() {
    let server = Server::new().await;
    let mut socket = Socket::open(server.address).await;
    socket.ask(&full(uid(1), 0)).await;
    socket.ask(&full(uid(2), 0)).await;
    let goodbye = AgentToServer { agent_disconnect: Some(AgentDisconnect {}), ..bare(uid(1), 1) };
    assert_eq!(socket.ask(&goodbye).await.instance_uid, uid(1));
    let connected = [1, 2].map(|number| server.known(uid(number)).is_some_and(|agent| agent.connected()));
    assert_eq!(connected, [false, true]);
}
