//! What the leader orders for single agents goes out over their connections.

use super::drift::{REPORTED, asks, shown, wanted, watching};
use super::*;
use crate::config::{HashKey, Ignore};
use crate::drift::look;
use crate::fleet::{Cause, DriftClass, Order, Ordered, Shown, Treatment};
use crate::opamp::proto::{
    AgentConfigMap, AgentConfigObject, CommandType, ComponentHealth, EffectiveConfig,
    RemoteConfigStatuses::{self, Applied, Applying},
    ServerToAgentCommand,
};

/// Takes configurations and the command to start anew, reports its health, what it runs and what is in effect.
const ALL: u64 = 0x1c07;

/// What a supervisor's Collector reports.
fn supervised() -> String {
    REPORTED.replace(
        "service:",
        "extensions: {opamp: {ppid: 7, capabilities: {reports_health: true}}}\nservice:\n  extensions: [opamp]",
    )
}

/// A message of an agent with these capabilities.
struct Says {
    capabilities: u64,
    sequence_num: u64,
}

impl Says {
    fn new(capabilities: u64) -> Self {
        Self { capabilities, sequence_num: 0 }
    }

    /// The full state, with the wire form of what it has.
    fn all(&mut self, healthy: bool, has: (&[u8], RemoteConfigStatuses), effective: Option<&str>) -> Bytes {
        let object = |body: &str| AgentConfigObject { body: body.to_owned().into(), ..Default::default() };
        let config = |body| AgentConfigMap { config_map: [(String::new(), object(body))].into() };
        self.message(AgentToServer {
            agent_description: Some(AgentDescription::default()),
            health: Some(ComponentHealth { healthy, ..Default::default() }),
            remote_config_status: Some(RemoteConfigStatus {
                last_remote_config_hash: has.0.to_vec(),
                status: has.1.into(),
                ..Default::default()
            }),
            effective_config: effective.map(|body| EffectiveConfig { config_map: Some(config(body)) }),
            ..Default::default()
        })
    }

    fn heartbeat(&mut self) -> Bytes {
        self.message(AgentToServer::default())
    }

    fn message(&mut self, message: AgentToServer) -> Bytes {
        self.sequence_num += 1;
        let (capabilities, sequence_num) = (self.capabilities, self.sequence_num);
        AgentToServer { instance_uid: vec![UID; 16], capabilities, sequence_num, ..message }
            .encode_to_vec()
            .into()
    }
}

/// The hub's next view, in which its agent is ordered this, for the so manyth time.
fn order(hub: &Hub, cause: Cause, order: Order, orders: u32) {
    let mut view = wanted();
    let given = Timestamp::from_second(1_700_000_000 + i64::from(orders)).expect("in range");
    let treatment = Treatment {
        of: ConfigHash::from_bytes([1; 32]),
        cause,
        began: given,
        orders,
        last: Some(Ordered { order, given, done: None }),
        sent_back: order == Order::Stable,
        well: None,
        quarantined: None,
    };
    view.treat(key(), treatment);
    hub.set_view(Arc::new(view));
}

/// The hash of what a message offers.
fn offered(message: &Encoded) -> Option<Vec<u8>> {
    read(message).remote_config.map(|config| config.config_hash.to_vec())
}

#[test]
fn command_to_start_anew_goes_alone_and_what_is_due_besides_goes_with_the_next_message() {
    let hub = watching();
    let (socket, mut says) = (attach(&hub), Says::new(ALL));
    socket.receive(says.all(false, (&[1; 32], Applied), Some(REPORTED)));
    order(&hub, Cause::Illness, Order::Restart, 1);
    assert!(woken(&socket));
    let pushes: Vec<ServerToAgent> =
        std::iter::from_fn(|| socket.next_push()).map(|push| read(&push)).collect();
    let command = Some(ServerToAgentCommand { r#type: CommandType::Restart.into() });
    let alone = ServerToAgent {
        instance_uid: vec![UID; 16],
        capabilities: pushes[0].capabilities,
        command,
        ..Default::default()
    };
    assert!(pushes == [alone.clone()], "once, with nothing beside it");
    order(&hub, Cause::Illness, Order::Restart, 1);
    assert!(!woken(&socket) && socket.next_push().is_none(), "the same view again");

    // Over HTTP it is the answer to a poll. A gap in the sequence asks for the full state, but not in that.
    let hub = watching();
    let poll = |message| read(&hub.receive(&nobody(), Link::Polling, message, LIMIT).encoded);
    let mut says = Says::new(ALL);
    poll(says.all(false, (&[1; 32], Applied), Some(REPORTED)));
    order(&hub, Cause::Illness, Order::Restart, 1);
    says.sequence_num += 1;
    assert!(poll(says.heartbeat()) == alone);
    let next = poll(says.heartbeat());
    assert_eq!((next.command.is_none(), next.flags), (true, 1), "the full state is still asked for");
}

#[test]
fn offer_that_is_due_with_the_command_goes_behind_it() {
    let hub = watching();
    let (socket, mut says) = (attach(&hub), Says::new(ALL));
    let answer = socket.receive(says.all(false, (&[9; 32], Applied), Some(REPORTED)));
    assert_eq!(offered(&answer), Some(vec![1; 32]));
    // The link is another one now, so the offer counts as lost; the order is there before the agent.
    drop(socket);
    hub.suspend(true);
    order(&hub, Cause::Illness, Order::Restart, 1);
    let socket = attach(&hub);
    assert_eq!(offered(&socket.receive(says.heartbeat())), None);
    hub.suspend(false);
    assert!(woken(&socket));
    let pushes: Vec<_> = std::iter::from_fn(|| socket.next_push())
        .map(|push| (read(&push).command.is_some(), offered(&push).is_some()))
        .collect();
    assert_eq!(pushes, [(true, false), (false, true)]);
}

#[test]
fn agent_that_does_not_take_the_command_is_never_sent_it() {
    let hub = watching();
    let (socket, mut says) = (attach(&hub), Says::new(ALL & !0x400));
    socket.receive(says.all(false, (&[1; 32], Applied), Some(REPORTED)));
    order(&hub, Cause::Illness, Order::Restart, 1);
    hub.expire(Timestamp::now());
    assert!(!woken(&socket) && socket.next_push().is_none());
    let polled = hub.receive(&nobody(), Link::Polling, says.heartbeat(), LIMIT);
    assert!(read(&polled.encoded).command.is_none());
}

#[test]
fn drift_of_a_supervisor_is_corrected_and_then_looked_at_anew() {
    let hub = watching();
    let (socket, mut says) = (attach(&hub), Says::new(ALL));
    let (good, bad) = (supervised(), supervised().replace("more: 1", "more: 2"));
    socket.receive(says.all(true, (&[1; 32], Applied), Some(&good)));
    socket.receive(says.all(true, (&[1; 32], Applied), Some(&bad)));
    assert_eq!(shown(&hub), Some(Shown::Drifted(DriftClass::Changed, "".into())));
    order(&hub, Cause::Drift, Order::Offer, 1);
    let correction = [&[1; 32][..], &[1]].concat();
    let push = socket.next_push().expect("a push");
    assert_eq!((offered(&push), asks(&push)), (Some(correction.clone()), false));
    assert!(socket.next_push().is_none() && shown(&hub).is_none());
    // What it reports before it has applied the correction is no evidence.
    for has in [(&[1; 32][..], Applied), (&correction, Applying)] {
        let answer = socket.receive(says.all(true, has, Some(&bad)));
        assert_eq!((asks(&answer), offered(&answer), shown(&hub)), (false, None, None));
    }
    // What it reports then is as it should be, though its surroundings may have changed.
    let other = supervised().replace("more: 1", "more: 3");
    assert!(asks(&socket.receive(says.all(true, (&correction, Applied), None))));
    socket.receive(says.all(true, (&correction, Applied), Some(&other)));
    assert_eq!(shown(&hub), Some(Shown::InSync));
    socket.receive(says.all(true, (&correction, Applied), Some(&bad)));
    assert_eq!(shown(&hub), Some(Shown::Drifted(DriftClass::Changed, "".into())));
}

#[test]
fn report_that_is_still_compared_when_a_correction_is_sent_proves_nothing() {
    let hub = watching();
    let (socket, mut says) = (attach(&hub), Says::new(ALL));
    let bad = REPORTED.replace("h:1", "h:2");
    let all = says.all(true, (&[1; 32], Applied), Some(&bad));
    socket.receive(all);
    let drifted = shown(&hub);
    assert!(matches!(drifted, Some(Shown::Drifted(DriftClass::Modified, _))));
    let (revision, rules) =
        hub.with_roster(|roster| roster.looked_for(&key(), Link::Socket(1))).expect("looked for");
    let hash_key = HashKey::try_from(&[1; 32][..]).expect("32 bytes");
    let files = [ConfigFile::new("", "", bad.as_bytes())];
    let desired = revision.desired.as_ref().expect("YAML");
    let finding = look(desired, &files, &Ignore::default(), &hash_key);
    let conclude = |link| {
        let of = (revision.hash, rules.ignore.clone());
        hub.with_state(|state| state.note_finding((&key(), link), of, &finding, Timestamp::now()));
        shown(&hub)
    };
    order(&hub, Cause::Drift, Order::Offer, 2);
    assert!(socket.next_push().is_some());
    assert_eq!(conclude(Link::Socket(1)), None, "overtaken by the correction");
    let corrected = [&[1; 32][..], &[1]].concat();
    socket.receive(says.all(true, (&corrected, Applied), None));
    assert_eq!(conclude(Link::Socket(9)), None, "of another link");
    assert_eq!(conclude(Link::Socket(1)), drifted);
}

#[test]
fn drift_of_an_agent_that_is_no_supervisor_is_met_with_the_very_same_offer_first() {
    let hub = watching();
    let (socket, mut says) = (attach(&hub), Says::new(ALL));
    let bad = REPORTED.replace("more: 1", "more: 2");
    socket.receive(says.all(true, (&[1; 32], Applied), Some(REPORTED)));
    socket.receive(says.all(true, (&[1; 32], Applied), Some(&bad)));
    let drifted = Some(Shown::Drifted(DriftClass::Changed, "".into()));
    assert_eq!(shown(&hub), drifted);
    for (orders, expected, asked) in [(1, vec![1; 32], true), (2, vec![1; 33], false)] {
        order(&hub, Cause::Drift, Order::Offer, orders);
        let push = socket.next_push().expect("a push");
        assert_eq!((offered(&push), asks(&push)), (Some(expected), asked));
        if asked {
            assert_eq!(shown(&hub), Some(Shown::Unknown));
            socket.receive(says.all(true, (&[1; 32], Applied), Some(&bad)));
            assert_eq!(shown(&hub), drifted, "nothing was applied, so the baseline stands");
        }
    }
}
