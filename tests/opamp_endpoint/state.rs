//! What the server remembers of agents from message to message, over both transports.

use super::peer::{Peer, bytes};
use super::raw::{Socket, TAKES_CONFIG, bare, full};
use super::server::{Server, group, revision, uid};
use super::within;
use opamp_operator::opamp::proto::{
    AgentDescription, AgentToServer, AnyValue, AvailableComponents, ComponentDetails, ComponentHealth,
    ConnectionSettingsRequest, KeyValue, RemoteConfigStatus, RemoteConfigStatuses, ServerToAgent, any_value,
};

/// An agent that reports of a configuration what became of it.
fn reports(message: AgentToServer, number: u8, status: RemoteConfigStatuses) -> AgentToServer {
    let status = RemoteConfigStatus {
        last_remote_config_hash: vec![number; 32],
        status: status.into(),
        ..Default::default()
    };
    AgentToServer { remote_config_status: Some(status), ..message }
}

fn healthy(message: AgentToServer, healthy: bool) -> AgentToServer {
    AgentToServer { health: Some(ComponentHealth { healthy, ..Default::default() }), ..message }
}

/// The number of the revision that an answer offers.
fn offered(answer: &ServerToAgent) -> Option<u8> {
    answer.remote_config.as_ref().map(|config| config.config_hash[0])
}

#[tokio::test]
async fn lost_repeated_and_late_messages_bring_a_question_for_the_full_state() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        for (what, message, asks) in [
            ("the first", full(uid, 0), 0),
            ("the first again", full(uid, 0), 0),
            ("the next", healthy(bare(uid, 1), true), 0),
            ("other words under its number", healthy(bare(uid, 1), true), 1),
            ("what was asked for", full(uid, 2), 0),
            ("two later", bare(uid, 4), 1),
            ("what was asked for", full(uid, 5), 0),
            ("an old one", healthy(bare(uid, 3), false), 1),
            ("still not what was asked for", bare(uid, 4), 1),
            ("what was asked for", full(uid, 5), 0),
        ] {
            let answer = peer.asks(&message).await;
            assert_eq!((answer.instance_uid, answer.flags), (uid.to_vec(), asks), "{what}");
        }
        let agent = server.known(uid).expect("an agent");
        assert_eq!(agent.healthy, Some(true), "the old one changed nothing");
    }
}

#[tokio::test]
async fn message_with_nothing_but_the_uid_is_a_sign_of_life_and_changes_nothing() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        server.assign([]);
        let uid = uid(peer.number());
        let heartbeat = bytes(1, &uid);
        assert_eq!(peer.says(&heartbeat).await.flags, 1, "from a stranger");
        assert_eq!(peer.asks(&full(uid, 7)).await.flags, 0);
        assert_eq!(peer.says(&heartbeat).await.flags, 0);
        assert_eq!(server.known(uid).map(|agent| agent.capabilities.0), Some(TAKES_CONFIG));
        server.assign([group(Some(revision(1)), None)]);
        let answer = peer.says(&heartbeat).await;
        assert_eq!((offered(&answer), answer.flags), (Some(1), 0));
        if let Peer::Socket(socket) = &mut peer {
            assert_eq!(offered(&socket.next().await), None, "the offer was pushed, and this is the answer");
        }
        assert_eq!(peer.asks(&bare(uid, 8)).await.flags, 0, "no number was missed");
    }
}

#[tokio::test]
async fn uid_that_was_asked_for_is_of_version_7_and_told_under_the_old_one() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        let old = uid(peer.number());
        let answer = peer.asks(&AgentToServer { flags: 1, ..full(old, 0) }).await;
        let new = answer.agent_identification.expect("a new uid").new_instance_uid;
        assert_eq!((answer.instance_uid, new.len()), (old.to_vec(), 16));
        assert_eq!((new[6] >> 4, new[8] >> 6), (7, 2), "version and variant");
        let answer = peer.asks(&AgentToServer { instance_uid: new.clone(), ..full(old, 1) }).await;
        assert_eq!((&answer.instance_uid, answer.flags), (&new, 0));
        assert!(server.known(new.try_into().expect("16 bytes")).is_some() && server.known(old).is_none());
    }
}

#[tokio::test]
async fn agent_that_returns_before_its_old_socket_has_ended_keeps_its_uid() {
    let server = Server::new().await;
    let mut old = Socket::open(server.address).await;
    old.ask(&full(uid(1), 0)).await;
    let mut new = Socket::open(server.address).await;
    let answer = new.ask(&bare(uid(1), 1)).await;
    assert!(answer.agent_identification.is_none() && answer.flags == 0);
    drop(old);
    within("the end of the old socket", async {
        while server.metric("opamp_websocket_active_connections") > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(server.known(uid(1)).is_some_and(|agent| agent.connected()));
    let answer = new.ask(&bare(uid(1), 2)).await;
    assert!(answer.agent_identification.is_none() && answer.flags == 0);
}

#[tokio::test]
async fn capabilities_that_change_count_at_once() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        server.assign([group(Some(revision(1)), None)]);
        assert_eq!(offered(&peer.asks(&full(uid, 0)).await), Some(1));
        peer.asks(&reports(bare(uid, 1), 1, RemoteConfigStatuses::Applied)).await;
        let takes_none = |sequence_num| AgentToServer { capabilities: 0x1, ..bare(uid, sequence_num) };
        peer.asks(&takes_none(2)).await;
        server.assign([group(Some(revision(2)), None)]);
        assert_eq!(offered(&peer.asks(&takes_none(3)).await), None);
        assert_eq!(offered(&peer.asks(&bare(uid, 4)).await), Some(2));
    }
}

#[tokio::test]
async fn agent_is_not_asked_for_an_effective_configuration_that_it_does_not_report() {
    let server = Server::new().await;
    server.assign([group(Some(revision(1)), None)]);
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        let answer = peer.asks(&AgentToServer { capabilities: 0x1 | 0x2, ..full(uid, 0) }).await;
        assert_eq!((offered(&answer), answer.flags), (Some(1), 0));
    }
}

#[tokio::test]
async fn request_for_a_certificate_is_refused_and_the_rest_of_its_message_asked_for_again() {
    let server = Server::new().await;
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        peer.asks(&full(uid, 0)).await;
        let request = Some(ConnectionSettingsRequest::default());
        let asking = AgentToServer { connection_settings_request: request, ..healthy(bare(uid, 1), true) };
        assert!(peer.asks(&asking).await.error_response.is_some());
        let answer = peer.asks(&bare(uid, 2)).await;
        assert!(answer.error_response.is_none() && answer.flags == 1);
    }
}

#[tokio::test]
async fn components_are_asked_of_one_agent_of_each_build_that_tells_them() {
    let server = Server::new().await;
    let built = |message: AgentToServer, hash: &[u8], sections: &[&str]| {
        let section = |name: &&str| ((*name).to_owned(), ComponentDetails::default());
        let components = sections.iter().map(section).collect();
        AgentToServer {
            available_components: Some(AvailableComponents { components, hash: hash.to_vec() }),
            capabilities: TAKES_CONFIG | 0x4000,
            ..message
        }
    };
    let mut socket = Socket::open(server.address).await;
    for (what, message, flags) in [
        ("the first of its build", built(full(uid(1), 0), b"one", &[]), 2),
        ("another one of it", built(full(uid(2), 0), b"one", &[]), 0),
        ("the first one's answer", built(bare(uid(1), 1), b"one", &["receivers"]), 0),
        ("a third one of it", built(full(uid(3), 0), b"one", &[]), 0),
        ("another build", built(bare(uid(1), 2), b"two", &[]), 2),
        (
            "one that does not tell",
            AgentToServer { capabilities: TAKES_CONFIG, ..built(full(uid(4), 0), b"three", &[]) },
            0,
        ),
    ] {
        assert_eq!(socket.ask(&message).await.flags, flags, "{what}");
    }
}

#[tokio::test]
async fn agent_with_a_thousand_attributes_harms_nobody() {
    let server = Server::new().await;
    let mut other = Socket::open(server.address).await;
    other.ask(&full(uid(9), 0)).await;
    let text = |length| Some(AnyValue { value: Some(any_value::Value::StringValue("x".repeat(length))) });
    let attributes = (0..1000).map(|number| KeyValue { key: format!("key.{number}"), value: text(1000) });
    let description = AgentDescription { identifying_attributes: attributes.collect(), ..Default::default() };
    for mut peer in Peer::both(&server).await {
        let uid = uid(peer.number());
        let message = AgentToServer { agent_description: Some(description.clone()), ..full(uid, 0) };
        let answer = peer.asks(&message).await;
        assert_eq!((answer.instance_uid, answer.error_response), (uid.to_vec(), None));
        assert!(server.known(uid).is_some_and(|agent| agent.connected()));
    }
    server.assign([group(Some(revision(1)), None)]);
    assert_eq!(offered(&other.next().await), Some(1));
}
