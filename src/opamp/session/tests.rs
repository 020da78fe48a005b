use super::*;
use crate::config::{ConfigFile, ConfigHash};
use crate::fleet::{Delays, GroupView, Payload, Principal, Revision, View};
use crate::opamp::answer::Reception;
use crate::opamp::offer::encode_files;
use crate::opamp::proto::{
    AgentCapabilities, AgentDescription, AgentDisconnect, AnyValue, ComponentHealth,
    ConnectionSettingsRequest, KeyValue, RemoteConfigStatus, RemoteConfigStatuses, ServerErrorResponseType,
    ServerToAgentFlags, any_value,
};
use std::time::Duration;

mod principals;
mod random;
mod shared;

const UID: [u8; 16] = [1; 16];
const NEW_UID: [u8; 16] = [0xee; 16];
const A: u8 = 0xaa;
const B: u8 = 0xbb;
const REPORTS_STATUS: u64 = AgentCapabilities::ReportsStatus as u64;
const TAKES_CONFIG: u64 = REPORTS_STATUS
    | AgentCapabilities::AcceptsRemoteConfig as u64
    | AgentCapabilities::ReportsRemoteConfig as u64;

/// A server without sockets: its rules, and a fleet in one group.
struct Server {
    sessions: Sessions,
    roster: Roster,
    now: Timestamp,
}

impl Server {
    /// A server whose group has no configuration yet.
    fn new() -> Self {
        let delays = Delays {
            urgent: Duration::from_secs(1),
            slow: Duration::from_secs(10),
            assumed_interval: Duration::from_secs(30),
        };
        let mut server = Self {
            sessions: Sessions::default(),
            roster: Roster::new("r", delays),
            now: Timestamp::UNIX_EPOCH,
        };
        server.assign(None, None);
        server
    }

    /// Gives all agents a target, and something to fall back to.
    fn assign(&mut self, target: Option<u8>, stable: Option<u8>) {
        let group = GroupView::of_all("group", target.map(revision), stable.map(revision));
        self.roster.set_view(Arc::new(View::new([("default".into(), group)])), self.now);
    }

    fn hear(&mut self, link: Link, message: AgentToServer) -> Answer {
        let context = Context {
            now: self.now,
            principal: &Principal::anybody("default").into(),
            link,
            fresh_uid: &mut || InstanceUid::new(NEW_UID),
            roster: &mut self.roster,
        };
        self.sessions.receive(message, context)
    }

    /// The socket ends.
    fn close(&mut self, link: Link) {
        self.roster.disconnect(&key(UID), link, self.now);
        self.sessions.closed(&key(UID), link);
    }

    fn agent(&self) -> Option<&crate::fleet::Agent> {
        self.roster.agent(&key(UID))
    }
}

fn revision(n: u8) -> Arc<Revision> {
    let hash = ConfigHash::from_bytes([n; 32]);
    let file = ConfigFile::new("collector.yaml", "text/yaml", [n]);
    let payload = Payload { files: encode_files(&[file]).expect("a file"), ..Payload::default() };
    Arc::new(Revision {
        name: format!("r-{n:x}").into(),
        hash,
        payload,
        desired: None,
        needs: None,
        secrets: Box::default(),
    })
}

fn key(uid: [u8; 16]) -> AgentKey {
    AgentKey { namespace: "default".into(), uid: InstanceUid::new(uid) }
}

fn socket(number: u64) -> Link {
    Link::Socket(number)
}

/// A heartbeat of an agent that takes configurations.
fn bare(sequence_num: u64) -> AgentToServer {
    AgentToServer {
        instance_uid: UID.to_vec(),
        sequence_num,
        capabilities: TAKES_CONFIG,
        ..Default::default()
    }
}

/// The agent's full state; it was never given a configuration.
fn full(sequence_num: u64) -> AgentToServer {
    status(AgentToServer { agent_description: Some(described("linux")), ..bare(sequence_num) }, None)
}

fn described(os: &str) -> AgentDescription {
    let value = AnyValue { value: Some(any_value::Value::StringValue(os.to_owned())) };
    let pair = KeyValue { key: "os.type".to_owned(), value: Some(value) };
    AgentDescription { identifying_attributes: Vec::new(), non_identifying_attributes: vec![pair] }
}

/// A message that reports what became of a configuration.
fn status(message: AgentToServer, report: Option<(u8, RemoteConfigStatuses)>) -> AgentToServer {
    let status = match report {
        None => RemoteConfigStatus::default(),
        Some((hash, status)) => RemoteConfigStatus {
            last_remote_config_hash: vec![hash; 32],
            status: status.into(),
            error_message: String::new(),
        },
    };
    AgentToServer { remote_config_status: Some(status), ..message }
}

fn asks_full_state(answer: &Answer) -> bool {
    answer.message.flags & ServerToAgentFlags::ReportFullState as u64 != 0
}

fn offered(answer: &Answer) -> Option<u8> {
    answer.offer.as_ref().map(|offer| offer.hash().as_bytes()[0])
}

fn renamed(answer: &Answer) -> bool {
    answer.message.agent_identification.is_some()
}

#[test]
fn full_state_is_asked_for_after_a_gap_or_from_a_stranger() {
    let description_only = |sequence_num| AgentToServer { remote_config_status: None, ..full(sequence_num) };
    let without_uid_but = |sequence_num| AgentToServer { capabilities: 0, ..bare(sequence_num) };
    // The messages of one agent, and for each whether its answer asks for the full state.
    let ill = |sequence_num| AgentToServer { health: Some(ComponentHealth::default()), ..bare(sequence_num) };
    let cases: [(&str, Vec<(AgentToServer, bool)>); 14] = [
        ("contiguous", vec![(full(0), false), (bare(1), false), (bare(2), false)]),
        ("counting from one", vec![(full(1), false), (bare(2), false)]),
        ("counting from anywhere", vec![(full(700), false), (bare(701), false)]),
        ("compressed from a stranger", vec![(bare(5), true), (full(6), false), (bare(7), false)]),
        ("nothing but the uid from a stranger", vec![(without_uid_but(0), true), (full(1), false)]),
        ("gap", vec![(full(0), false), (bare(2), true), (full(3), false), (bare(4), false)]),
        ("asked until it comes", vec![(full(0), false), (bare(2), true), (bare(3), true), (full(4), false)]),
        ("backwards", vec![(full(7), false), (bare(3), true), (full(4), false)]),
        (
            "restart",
            vec![(full(0), false), (bare(1), false), (bare(2), false), (full(0), false), (bare(1), false)],
        ),
        ("repeated", vec![(full(0), false), (bare(1), false), (bare(1), false), (bare(2), false)]),
        (
            "something said under the last number",
            vec![(full(0), false), (ill(1), false), (ill(1), true), (full(2), false), (bare(3), false)],
        ),
        ("everything said under the last number", vec![(full(0), false), (bare(1), false), (full(1), false)]),
        (
            "heartbeats without a number",
            vec![(full(3), false), (bare(0), false), (without_uid_but(0), false), (bare(4), false)],
        ),
        (
            "changed description from a stranger",
            vec![(description_only(9), true), (description_only(10), false)],
        ),
    ];
    for (name, messages) in cases {
        let mut server = Server::new();
        for (place, (message, asks)) in messages.into_iter().enumerate() {
            let answer = server.hear(socket(1), message);
            assert_eq!(asks_full_state(&answer), asks, "{name}: message {place}");
        }
    }
}

#[test]
fn sequence_goes_on_over_a_reconnect() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    server.close(socket(1));
    assert!(!asks_full_state(&server.hear(socket(2), bare(1))));
    server.close(socket(2));
    assert!(asks_full_state(&server.hear(socket(3), bare(5))));
}

#[test]
fn answer_carries_the_uid_and_what_the_server_does() {
    let answer = Server::new().hear(socket(1), full(0)).message;
    assert_eq!((answer.instance_uid, answer.capabilities), (UID.to_vec(), 0x27));
}

#[test]
fn uid_that_is_not_16_bytes_is_a_bad_request() {
    for (uid, echoed) in [(vec![], 0), (vec![1; 15], 15), (vec![1; 17], 17), (vec![1; 65], 0)] {
        let mut server = Server::new();
        let answer = server.hear(socket(1), AgentToServer { instance_uid: uid, ..full(0) });
        let message = answer.message;
        assert_eq!(message.instance_uid.len(), echoed);
        let error = message.error_response.expect("an error");
        assert_eq!(error.r#type(), ServerErrorResponseType::BadRequest);
        assert_eq!((message.flags, message.capabilities, answer.offer.is_some()), (0, 0, false));
        assert!(server.agent().is_none());
    }
}

#[test]
fn request_for_a_certificate_is_refused_and_what_came_with_it_is_asked_for_again() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    let request = Some(ConnectionSettingsRequest::default());
    let ill = Some(ComponentHealth::default());
    let asking = AgentToServer { connection_settings_request: request, health: ill, ..bare(1) };
    let answer = server.hear(socket(1), asking);
    let error = answer.message.error_response.as_ref().expect("an error");
    assert_eq!((error.r#type(), answer.message.flags), (ServerErrorResponseType::BadRequest, 0));
    assert_eq!(server.agent().and_then(|agent| agent.healthy), None);
    assert!(asks_full_state(&server.hear(socket(1), bare(2))));
}

#[test]
fn configuration_is_offered_once_to_an_agent_that_takes_it() {
    for (name, capabilities, expected) in
        [("takes", TAKES_CONFIG, Some(A)), ("does not take", REPORTS_STATUS, None)]
    {
        let mut server = Server::new();
        server.assign(Some(A), None);
        let message = |message| AgentToServer { capabilities, ..message };
        assert_eq!(offered(&server.hear(socket(1), message(full(0)))), expected, "{name}");
        assert_eq!(offered(&server.hear(socket(1), message(bare(1)))), None, "{name}: at once again");
    }
}

#[test]
fn stranger_is_offered_nothing_before_its_full_state() {
    let mut server = Server::new();
    server.assign(Some(A), None);
    assert_eq!(offered(&server.hear(socket(1), bare(4))), None);
    assert_eq!(offered(&server.hear(socket(1), full(5))), Some(A));
}

#[test]
fn agent_that_has_the_configuration_is_not_sent_it() {
    let mut server = Server::new();
    server.assign(Some(A), None);
    let message = status(full(0), Some((A, RemoteConfigStatuses::Applied)));
    assert_eq!(offered(&server.hear(socket(1), message)), None);
}

#[test]
fn refused_configuration_is_not_offered_again() {
    let mut server = Server::new();
    server.assign(Some(B), Some(A));
    assert_eq!(offered(&server.hear(socket(1), full(0))), Some(B));
    let failed = status(bare(1), Some((B, RemoteConfigStatuses::Failed)));
    assert_eq!(offered(&server.hear(socket(1), failed)), Some(A));
    let applied = status(bare(2), Some((A, RemoteConfigStatuses::Applied)));
    assert_eq!(offered(&server.hear(socket(1), applied)), None);
    server.close(socket(1));
    let again = status(full(0), Some((A, RemoteConfigStatuses::Applied)));
    assert_eq!(offered(&server.hear(socket(2), again)), None);
}

#[test]
fn agent_that_lost_its_configuration_is_offered_it_again() {
    let mut server = Server::new();
    server.assign(Some(A), None);
    server.hear(socket(1), full(0));
    server.hear(socket(1), status(bare(1), Some((A, RemoteConfigStatuses::Applied))));
    server.close(socket(1));
    let restarted = AgentToServer { remote_config_status: None, ..full(0) };
    assert_eq!(offered(&server.hear(socket(2), restarted)), Some(A));
}

#[test]
fn capabilities_of_zero_are_unchanged() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    server.assign(Some(A), None);
    let heartbeat = AgentToServer { capabilities: 0, ..bare(1) };
    assert_eq!(offered(&server.hear(socket(1), heartbeat)), Some(A));
}

#[test]
fn late_message_changes_nothing() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    server.hear(socket(1), status(bare(1), Some((A, RemoteConfigStatuses::Applied))));
    server.hear(socket(1), status(bare(2), Some((B, RemoteConfigStatuses::Applying))));
    let late = status(bare(1), Some((A, RemoteConfigStatuses::Applied)));
    assert!(asks_full_state(&server.hear(socket(1), late)));
    let hash = server.agent().and_then(|agent| agent.config.as_ref()?.hash);
    assert_eq!(hash, Some(ConfigHash::from_bytes([B; 32])));
    assert!(server.agent().is_some_and(|agent| !agent.ledger.refuses(ConfigHash::from_bytes([B; 32]))));
}

#[test]
fn agent_that_asks_for_a_uid_gets_one_and_leaves_nothing_behind() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    let flags = AgentToServerFlags::RequestInstanceUid as u64;
    let answer = server.hear(socket(1), AgentToServer { flags, ..bare(1) }).message;
    let new = answer.agent_identification.expect("a new uid").new_instance_uid;
    assert_eq!((answer.instance_uid, new), (UID.to_vec(), NEW_UID.to_vec()));
    assert!(server.agent().is_none());
}

#[test]
fn request_for_a_uid_does_not_touch_the_agent_that_has_this_one() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    let flags = AgentToServerFlags::RequestInstanceUid as u64;
    assert!(renamed(&server.hear(socket(2), AgentToServer { flags, ..full(0) })));
    assert_eq!(server.agent().and_then(|agent| agent.link), Some(socket(1)));
    assert!(!renamed(&server.hear(socket(1), bare(1))));
}

#[test]
fn goodbye_disconnects_and_is_answered_without_an_offer() {
    for link in [socket(1), Link::Polling] {
        let mut server = Server::new();
        server.hear(link, full(0));
        server.assign(Some(A), None);
        let goodbye = AgentToServer { agent_disconnect: Some(AgentDisconnect {}), ..bare(1) };
        let answer = server.hear(link, goodbye);
        assert_eq!((answer.reception(), offered(&answer)), (Reception::Taken, None));
        assert!(server.agent().is_some_and(|agent| !agent.connected()));
    }
}

#[test]
fn newer_link_takes_the_agent_over() {
    for (old, new) in [(socket(1), socket(2)), (Link::Polling, socket(1)), (socket(1), Link::Polling)] {
        let mut server = Server::new();
        server.hear(old, full(0));
        assert!(!renamed(&server.hear(new, bare(1))));
        server.close(old);
        assert_eq!(server.agent().and_then(|agent| agent.link), Some(new));
    }
}

#[test]
fn second_agent_with_the_same_uid_gets_another_and_changes_nothing() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    server.hear(socket(2), full(0));
    let ill = ComponentHealth { healthy: false, ..Default::default() };
    let answer = server.hear(socket(1), AgentToServer { health: Some(ill), ..bare(1) });
    assert!(renamed(&answer));
    assert_eq!(answer.message.instance_uid, UID);
    let agent = server.agent().expect("known");
    assert_eq!((agent.link, agent.healthy), (Some(socket(2)), None));
    assert!(!asks_full_state(&server.hear(socket(2), bare(1))), "the other's numbers are its own");
}

#[test]
fn third_agent_with_the_same_uid_does_not_keep_the_others_busy() {
    let mut server = Server::new();
    for link in 1..=3 {
        server.hear(socket(link), full(0));
    }
    let round = [1, 2, 3].map(|link| renamed(&server.hear(socket(link), bare(1))));
    assert_eq!(round, [true, true, false]);
}

#[test]
fn goodbye_on_the_superseded_link_is_no_duplicate() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    server.hear(socket(2), bare(1));
    let goodbye = AgentToServer { agent_disconnect: Some(AgentDisconnect {}), ..bare(2) };
    assert!(!renamed(&server.hear(socket(1), goodbye)));
    assert_eq!(server.agent().and_then(|agent| agent.link), Some(socket(2)));
}

#[test]
fn agent_may_return_to_a_link_once_the_newer_one_has_closed() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    server.hear(socket(2), bare(1));
    server.close(socket(2));
    assert!(!renamed(&server.hear(socket(1), bare(2))));
    assert_eq!(server.agent().and_then(|agent| agent.link), Some(socket(1)));
}

#[test]
fn rival_whose_link_has_closed_is_not_remembered() {
    let mut server = Server::new();
    server.hear(socket(1), full(0));
    server.hear(socket(2), bare(1));
    server.close(socket(1));
    assert!(server.sessions.by_agent[&key(UID)].superseded.is_empty());
}

#[test]
fn sessions_of_forgotten_agents_are_swept() {
    let mut server = Server::new();
    let many = u32::try_from(SWEEP_FROM).expect("small") * 3;
    for n in 0..many {
        let mut uid = UID;
        uid[..4].copy_from_slice(&n.to_be_bytes());
        server.hear(socket(1), AgentToServer { instance_uid: uid.to_vec(), ..full(0) });
        server.roster.forget(&key(uid), server.now);
    }
    assert!(server.sessions.by_agent.len() <= SWEEP_FROM);
}
