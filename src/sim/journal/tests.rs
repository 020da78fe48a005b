use super::*;
use crate::opamp::framing::{frame, unframe};
use crate::opamp::proto::{AgentConfigObject, AgentIdentification, CommandType, ServerToAgentCommand};
use crate::sim::Profile;
use futures::{SinkExt, StreamExt};
use prost::Message as _;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

const UID: [u8; 16] = [7; 16];

/// The other end of one agent's connection.
struct Server(WebSocketStream<TcpStream>);

impl Server {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = within("a connection", listener.accept()).await.expect("a connection");
        Self(within("a handshake", accept_async(stream)).await.expect("a WebSocket"))
    }

    async fn hears(&mut self) -> AgentToServer {
        let message = within("a message", self.0.next()).await.expect("a message").expect("no error");
        let Ok(message) = AgentToServer::decode(unframe(message.into_data()).expect("a frame")) else {
            panic!("the agent did not speak the protocol");
        };
        message
    }

    async fn says(&mut self, message: ServerToAgent) {
        let message = ServerToAgent { instance_uid: UID.to_vec(), ..message };
        self.0.send(Message::Binary(frame(&message))).await.expect("sent");
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("no {what}"))
}

/// An agent that speaks only when it has something to say, and where its server is to listen.
async fn start(profile: Profile) -> (Simulated, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("ws://{}/", listener.local_addr().expect("an address"));
    let pace =
        Pace { heartbeat: Duration::from_hours(1), apply_delay: Duration::from_millis(1), ..Pace::default() };
    let agent = spawn(Agent::new(profile, Behaviour::Apply), endpoint.parse().expect("an endpoint"), pace);
    (agent, listener)
}

fn offer(hash: u8) -> ServerToAgent {
    let file = AgentConfigObject { body: Bytes::from_static(b"offered"), ..Default::default() };
    let config = Some(AgentConfigMap { config_map: [("a".to_owned(), file)].into() });
    let remote_config = AgentRemoteConfig { config, config_hash: vec![hash; 32].into() };
    ServerToAgent { remote_config: Some(remote_config), ..Default::default() }
}

fn full_state() -> ServerToAgent {
    ServerToAgent { flags: ServerToAgentFlags::ReportFullState as u64, ..Default::default() }
}

/// A restart command with what it makes an agent overlook.
fn restart() -> ServerToAgent {
    let command = ServerToAgentCommand { r#type: CommandType::Restart.into() };
    let agent_identification = Some(AgentIdentification { new_instance_uid: vec![8; 16] });
    let flags = ServerToAgentFlags::ReportFullState as u64;
    ServerToAgent { command: Some(command), agent_identification, flags, ..offer(9) }
}

fn effective(message: &AgentToServer) -> Vec<(String, Bytes)> {
    let map = message.effective_config.as_ref().and_then(|effective| effective.config_map.as_ref());
    map.map(bodies).unwrap_or_default().into_iter().collect()
}

fn file(name: &str, body: &'static str) -> [(String, Bytes); 1] {
    [(name.to_owned(), Bytes::from_static(body.as_bytes()))]
}

#[tokio::test]
async fn what_is_done_to_an_agent_is_reported_unasked_and_stands_in_its_journal() {
    let (mut agent, listener) = start(Profile::new(UID).showing_effective()).await;
    assert!(agent.journal().healthy && agent.journal().effective.is_empty());
    let mut server = Server::accept(&listener).await;
    server.hears().await;

    agent.tamper("tampered");
    assert_eq!(effective(&server.hears().await), file("", "tampered"));
    assert_eq!(agent.journal().effective, file("", "tampered").into());

    agent.fall_ill();
    assert!(!server.hears().await.health.expect("health").healthy && !agent.journal().healthy);
    agent.recover();
    assert!(server.hears().await.health.expect("health").healthy && agent.journal().healthy);

    agent.set_habits(Habits { reverts: true, ..Habits::default() });
    server.says(offer(1)).await;
    let [applying, applied, reverted] = [server.hears().await, server.hears().await, server.hears().await];
    assert_eq!(effective(&applying), file("", "tampered"));
    assert_eq!(effective(&applied), file("a", "offered"));
    assert_eq!(effective(&reverted), file("", "tampered"));

    agent.set_behaviour(Behaviour::Fail("no".to_owned()));
    server.says(offer(2)).await;
    let failed = |journal: &Journal| journal.config == (vec![2; 32], RemoteConfigStatuses::Failed);
    within("a failure", agent.until(failed)).await;
}

#[tokio::test]
async fn what_is_done_to_an_agent_that_is_not_connected_is_reported_once_it_is() {
    let (agent, listener) = start(Profile::new(UID).showing_effective()).await;
    agent.fall_ill();
    agent.tamper("tampered");
    let mut server = Server::accept(&listener).await;
    assert!(server.hears().await.health.expect("health").healthy, "it has not been told yet");
    assert!(!server.hears().await.health.expect("health").healthy);
    assert_eq!(effective(&server.hears().await), file("", "tampered"));
}

#[tokio::test]
async fn requests_for_the_full_state_are_counted_with_the_messages_that_brought_them() {
    let (mut agent, listener) = start(Profile::new(UID)).await;
    let mut server = Server::accept(&listener).await;
    for message in [ServerToAgent::default(), full_state(), offer(1), full_state()] {
        server.says(message).await;
    }
    let journal = within("all messages", agent.until(|journal| journal.messages == 4)).await;
    assert_eq!((journal.full_states, journal.full_states_at), (2, vec![2, 4]));
}

#[tokio::test]
async fn commands_are_counted_apart_from_all_else_and_by_whether_they_are_accepted() {
    for (profile, expected) in [(Profile::new(UID).accepting_restarts(), (2, 0)), (Profile::new(UID), (0, 2))]
    {
        let (mut agent, listener) = start(profile).await;
        let mut server = Server::accept(&listener).await;
        for message in [restart(), restart(), ServerToAgent::default()] {
            server.says(message).await;
        }
        let journal = within("all messages", agent.until(|journal| journal.messages == 3)).await;
        assert_eq!((journal.restarts, journal.ignored_commands), expected);
        assert_eq!((journal.offers.len(), journal.full_states, journal.uids.len()), (0, 0, 0));
    }
}
