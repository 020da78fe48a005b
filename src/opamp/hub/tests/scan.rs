//! Agents are asked what they have in effect once in a while, whether they speak or not.

use super::drift::{REPORTED, asks, says, shown, wanted_under, watching};
use super::*;
use crate::fleet::{DriftClass, DriftRules, Shown};
use crate::opamp::proto::RemoteConfigStatuses::{Applied, Applying};

const INTERVAL: Duration = Duration::from_mins(5);

/// A hub whose agents are asked every five minutes.
fn scanning() -> Arc<Hub> {
    let hub = watching();
    let drift = DriftRules { scan_interval: INTERVAL, ..DriftRules::default() };
    hub.set_view(Arc::new(wanted_under(drift)));
    hub
}

/// What a socket is to push: whether each message asks for the full state and says nothing else.
fn pushed(socket: &Attachment) -> Vec<bool> {
    let pushed = std::iter::from_fn(|| socket.next_push());
    pushed.map(|push| asks(&push) && read(&push).remote_config.is_none()).collect()
}

#[test]
fn agent_without_heartbeats_is_asked_by_a_push_when_its_turn_begins() {
    let hub = scanning();
    let (socket, idle) = (attach(&hub), attach(&hub));
    socket.receive(says(0, Applied, Some(REPORTED)));
    assert_eq!((woken(&socket), pushed(&socket)), (false, vec![]));
    let later = Timestamp::now() + INTERVAL;
    assert_eq!(hub.expire(later), 1, "one agent is connected");
    assert!(woken(&socket) && !woken(&idle));
    assert_eq!((pushed(&socket), pushed(&idle)), (vec![true], vec![]));
    socket.receive(says(1, Applied, Some(&REPORTED.replace("h:1", "h:2"))));
    assert!(matches!(shown(&hub), Some(Shown::Drifted(DriftClass::Modified, _))));
}

#[test]
fn agent_that_is_delivered_its_revision_is_not_asked() {
    let hub = scanning();
    let socket = attach(&hub);
    socket.receive(says(0, Applying, None));
    hub.expire(Timestamp::now() + INTERVAL);
    assert!(!woken(&socket) && pushed(&socket).is_empty());
}

#[test]
fn each_agent_behind_a_gateway_is_asked() {
    let hub = scanning();
    let socket = attach(&hub);
    for uid in [1, 2, 3] {
        let mut message = AgentToServer::decode(says(0, Applied, Some(REPORTED))).expect("a message");
        message.instance_uid = vec![uid; 16];
        socket.receive(message.encode_to_vec().into());
    }
    hub.expire(Timestamp::now() + INTERVAL);
    assert!(woken(&socket));
    let asked: Vec<u8> =
        std::iter::from_fn(|| socket.next_push()).map(|push| read(&push).instance_uid[0]).collect();
    assert_eq!(asked, [1, 2, 3]);
}

#[test]
fn agent_that_was_away_for_long_is_checked_before_anything_is_sent() {
    // Its group allows an absence of ninety seconds.
    for (seconds, checked) in [(80, false), (100, true)] {
        let hub = scanning();
        let socket = attach(&hub);
        socket.receive(says(0, Applied, Some(REPORTED)));
        let left = Timestamp::now() - Duration::from_secs(seconds);
        hub.with_roster(|roster| roster.disconnect(&key(), Link::Socket(1), left));
        drop(socket);
        hub.set_view(view(7, 1));
        let socket = attach(&hub);
        let heartbeat = AgentToServer { instance_uid: vec![UID; 16], sequence_num: 1, ..Default::default() };
        let first = socket.receive(heartbeat.encode_to_vec().into());
        assert_eq!((asks(&first), read(&first).remote_config.is_none()), (checked, checked), "{seconds}");
        if checked {
            assert!(read(&socket.receive(full(UID, 2))).remote_config.is_some(), "now it is known again");
        }
    }
}
