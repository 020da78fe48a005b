use super::state::MAX_AGENTS_PER_SOCKET;
use super::*;
use crate::config::{ConfigFile, ConfigHash};
use crate::fleet::{AgentKey, Delays, GroupView, InstanceUid, Payload, Revision};
use crate::opamp::offer::encode_files;
use crate::opamp::proto::{AgentDescription, RemoteConfigStatus, ServerToAgent};
use futures::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

mod drift;
mod orders;
mod principals;
mod scan;

const LIMIT: usize = 1000;
const UID: u8 = 1;

fn hub() -> Arc<Hub> {
    let delays = Delays {
        urgent: Duration::from_secs(1),
        slow: Duration::from_secs(10),
        assumed_interval: Duration::from_secs(30),
    };
    Hub::new(Roster::new("replica", delays), Metrics::default())
}

/// A view in which all agents are to run a file of so many bytes.
fn view(number: u8, bytes: usize) -> Arc<View> {
    let file = ConfigFile::new("", "", vec![b'#'; bytes]);
    let payload = Payload { files: encode_files(&[file]).expect("a file"), ..Payload::default() };
    let hash = ConfigHash::from_bytes([number; 32]);
    wanting(Revision { hash, payload, ..revision() }).into()
}

/// A view in which all agents are to run this.
fn wanting(target: Revision) -> View {
    let group = GroupView::of_all("all", Some(Arc::new(target)), None);
    View::new([("default".into(), group)])
}

/// A revision without content.
fn revision() -> Revision {
    Revision {
        name: "r".into(),
        hash: ConfigHash::from_bytes([1; 32]),
        payload: Payload::default(),
        desired: None,
        needs: None,
        secrets: Box::default(),
    }
}

/// The full state of an agent.
fn full(uid: u8, sequence_num: u64) -> Bytes {
    let message = AgentToServer {
        instance_uid: vec![uid; 16],
        sequence_num,
        agent_description: Some(AgentDescription::default()),
        capabilities: 0x1003,
        remote_config_status: Some(RemoteConfigStatus::default()),
        ..Default::default()
    };
    message.encode_to_vec().into()
}

/// The agent that most of these tests are about.
fn key() -> AgentKey {
    AgentKey { namespace: "default".into(), uid: InstanceUid::new([UID; 16]) }
}

/// A peer that had to prove nothing.
fn nobody() -> Arc<Principal> {
    Principal::anybody("default").into()
}

fn attach(hub: &Arc<Hub>) -> Attachment {
    hub.attach(nobody(), LIMIT)
}

fn read(encoded: &Encoded) -> ServerToAgent {
    let together = [&encoded.head[..], &encoded.files].concat();
    ServerToAgent::decode(&together[..]).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the socket was told that there may be something to push.
fn woken(attachment: &Attachment) -> bool {
    attachment.woken().now_or_never().is_some()
}

/// The revision that a socket is to push, with the agent that it is for.
fn push(attachment: &Attachment) -> Option<(u8, u8)> {
    let message = read(&attachment.next_push()?);
    Some((message.instance_uid[0], message.remote_config?.config_hash[0]))
}

#[test]
fn push_goes_to_each_agent_of_a_socket_once() {
    let hub = hub();
    let socket = attach(&hub);
    for uid in [3, 1, 2] {
        socket.receive(full(uid, 0));
    }
    hub.set_view(view(7, 1));
    hub.set_view(view(8, 1));
    assert!(woken(&socket) && !woken(&socket));
    let pushes: Vec<_> = std::iter::from_fn(|| push(&socket)).collect();
    assert_eq!(pushes, [(1, 8), (2, 8), (3, 8)]);
}

#[test]
fn push_does_not_go_to_a_socket_that_the_agent_has_left() {
    let hub = hub();
    let old = attach(&hub);
    old.receive(full(UID, 0));
    hub.set_view(view(7, 1));
    let new = attach(&hub);
    assert!(read(&new.receive(full(UID, 1))).remote_config.is_some());
    hub.set_view(view(8, 1));
    assert_eq!((push(&old), push(&new)), (None, Some((UID, 8))));
}

#[test]
fn socket_of_nobody_concerned_is_not_woken() {
    let hub = hub();
    let idle = attach(&hub);
    hub.receive(&nobody(), Link::Polling, full(UID, 0), LIMIT);
    hub.set_view(view(7, 1));
    assert!(!woken(&idle) && push(&idle).is_none());
}

#[test]
fn suspended_hub_offers_nothing_until_it_resumes() {
    let hub = hub();
    let socket = attach(&hub);
    socket.receive(full(UID, 0));
    hub.suspend(true);
    hub.set_view(view(7, 1));
    assert!(!woken(&socket));
    assert!(read(&socket.receive(full(UID, 1))).remote_config.is_none());
    hub.suspend(false);
    assert!(woken(&socket));
    assert_eq!(push(&socket), Some((UID, 7)));
}

#[test]
fn offer_above_the_limit_is_not_sent_and_the_answer_is() {
    let hub = hub();
    let socket = attach(&hub);
    hub.set_view(view(7, LIMIT));
    let answer = socket.receive(full(UID, 0));
    assert!(answer.len() <= LIMIT);
    let answer = read(&answer);
    assert_eq!((answer.instance_uid, answer.remote_config.is_some()), (vec![UID; 16], false));
}

#[test]
fn header_counts_against_the_limit_of_a_socket() {
    // The length of the answer with an offer of so many bytes, if the offer is in it.
    let offered = |bytes, socket| {
        let hub = hub();
        hub.set_view(view(7, bytes));
        let answer = if socket {
            attach(&hub).receive(full(UID, 0))
        } else {
            hub.receive(&nobody(), Link::Polling, full(UID, 0), LIMIT).encoded
        };
        read(&answer).remote_config.map(|_| answer.len())
    };
    let fits = (0..LIMIT).find(|bytes| offered(*bytes, false) == Some(LIMIT)).expect("one that just fits");
    assert_eq!(offered(fits, true), None);
    assert_eq!(offered(fits - 1, true), Some(LIMIT - 1));
    assert_eq!(offered(fits + 1, false), None);
}

#[test]
fn agent_that_is_one_too_many_on_a_socket_is_refused() {
    let hub = hub();
    let socket = attach(&hub);
    let message = |number: u32| AgentToServer {
        instance_uid: [&number.to_be_bytes()[..], &[0; 12]].concat(),
        ..Default::default()
    };
    let send =
        |number| read(&socket.receive(message(number).encode_to_vec().into())).error_response.is_some();
    let most = u32::try_from(MAX_AGENTS_PER_SOCKET).expect("small");
    assert!((0..most).all(|number| !send(number)));
    assert!(send(most));
    assert!(!send(0));
}

#[test]
fn dropped_socket_disconnects_its_agents() {
    let hub = hub();
    let socket = attach(&hub);
    socket.receive(full(1, 0));
    socket.receive(full(2, 0));
    assert_eq!(hub.with_roster(|roster| roster.connected()), 2);
    drop(socket);
    assert_eq!(hub.with_roster(|roster| roster.connected()), 0);
}

#[test]
fn panic_under_the_lock_stops_nobody_else() {
    let hub = hub();
    let socket = attach(&hub);
    let panicked = catch_unwind(AssertUnwindSafe(|| hub.with_roster(|_| panic!("a defect"))));
    assert!(panicked.is_err());
    assert_eq!(read(&socket.receive(full(UID, 0))).instance_uid, [UID; 16]);
}

#[test]
fn edge_is_announced_once_and_a_heartbeat_is_none() {
    let hub = hub();
    let socket = attach(&hub);
    socket.receive(full(UID, 0));
    assert!(hub.edges().now_or_never().is_some());
    hub.with_roster(|roster| roster.take_due(Timestamp::MAX));
    socket.receive(full(UID, 1));
    assert!(hub.edges().now_or_never().is_none());
}
