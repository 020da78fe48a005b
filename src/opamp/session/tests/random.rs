//! Rules that hold whatever agents send.

use super::*;
use proptest::prelude::*;

/// Something that happens to the server.
#[derive(Clone, Debug)]
enum Step {
    Message(Says),
    Close(u64),
    Assign(Option<u8>, Option<u8>),
    Wait(i64),
}

/// A message, in short.
#[derive(Clone, Debug)]
struct Says {
    link: Link,
    uid: Vec<u8>,
    sequence_num: u64,
    capabilities: u64,
    full: bool,
    config: Option<(u8, i32)>,
    flags: u64,
    disconnects: bool,
}

impl Says {
    fn message(&self) -> AgentToServer {
        let config = self.config.map(|(hash, status)| RemoteConfigStatus {
            last_remote_config_hash: vec![hash; 32],
            status,
            error_message: "no".to_owned(),
        });
        AgentToServer {
            instance_uid: self.uid.clone(),
            sequence_num: self.sequence_num,
            agent_description: self.full.then(|| described("linux")),
            capabilities: self.capabilities,
            remote_config_status: config,
            agent_disconnect: self.disconnects.then_some(AgentDisconnect {}),
            flags: self.flags,
            ..Default::default()
        }
    }
}

fn link() -> impl Strategy<Value = Link> {
    prop_oneof![(1_u64..4).prop_map(Link::Socket), Just(Link::Polling)]
}

fn uid() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => Just(UID.to_vec()), 4 => Just(vec![2; 16]), 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

fn says() -> impl Strategy<Value = Says> {
    let capabilities =
        prop_oneof![4 => Just(TAKES_CONFIG), 1 => Just(0), 1 => Just(REPORTS_STATUS), 1 => Just(0x3)];
    let config = prop::option::of((prop::sample::select(vec![0, A, B]), -1_i32..5));
    let rarely = prop::bool::weighted(0.1);
    (link(), uid(), 0_u64..6, capabilities, any::<bool>(), config, rarely, prop::bool::weighted(0.1))
        .prop_map(|(link, uid, sequence_num, capabilities, full, config, asks_uid, disconnects)| {
            let flags = asks_uid.into();
            Says { link, uid, sequence_num, capabilities, full, config, flags, disconnects }
        })
}

fn step() -> impl Strategy<Value = Step> {
    let revision = || prop::option::of(prop::sample::select(vec![A, B]));
    prop_oneof![
        10 => says().prop_map(Step::Message),
        1 => (1_u64..4).prop_map(Step::Close),
        2 => (revision(), revision()).prop_map(|(target, stable)| Step::Assign(target, stable)),
        1 => (1_i64..1000).prop_map(Step::Wait),
    ]
}

/// What each agent was heard to say, kept apart from the server under test.
#[derive(Default)]
struct Heard {
    capabilities: HashMap<Vec<u8>, u64>,
}

fn check(server: &Server, heard: &mut Heard, says: &Says, answer: &Answer) -> Result<(), TestCaseError> {
    let message = &answer.message;
    prop_assert_eq!(&message.instance_uid, &says.uid);
    if says.uid.len() != 16 {
        let alone = message.error_response.is_some() && answer.offer.is_none();
        prop_assert!(alone && message.flags == 0 && message.capabilities == 0);
        return Ok(());
    }
    prop_assert!(message.error_response.is_none() && message.capabilities == 0x27);
    if message.agent_identification.is_some() {
        prop_assert!(answer.offer.is_none());
        return Ok(());
    }
    if says.capabilities != 0 {
        heard.capabilities.insert(says.uid.clone(), says.capabilities);
    }
    let Some(offer) = &answer.offer else { return Ok(()) };
    let agent = server.roster.agent(&AgentKey {
        namespace: "default".into(),
        uid: InstanceUid::from_wire(&says.uid).expect("16 bytes"),
    });
    let agent = agent.expect("an agent that is offered something is known");
    prop_assert!(agent.capabilities.has(Capabilities::ACCEPTS_REMOTE_CONFIG));
    prop_assert!(agent.complete && agent.link == Some(says.link) && !says.disconnects);
    prop_assert!(!agent.ledger.refuses(offer.hash()), "a refused configuration was offered again");
    prop_assert!(!offer.revision.payload.files.is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn rules_hold_for_any_messages(steps in prop::collection::vec(step(), 1..60)) {
        let mut server = Server::new();
        let mut heard = Heard::default();
        for step in steps {
            match step {
                Step::Message(says) => {
                    let answer = server.hear(says.link, says.message());
                    check(&server, &mut heard, &says, &answer)?;
                }
                Step::Close(number) => server.close(socket(number)),
                Step::Assign(target, stable) => server.assign(target, stable),
                Step::Wait(seconds) => server.now += jiff::SignedDuration::from_secs(seconds),
            }
        }
    }

    #[test]
    fn failed_configuration_stays_refused(steps in prop::collection::vec(step(), 0..40)) {
        let mut server = Server::new();
        server.assign(Some(B), Some(A));
        server.hear(socket(9), full(0));
        server.hear(socket(9), status(bare(1), Some((B, RemoteConfigStatuses::Failed))));
        for step in steps {
            let Step::Message(says) = step else { continue };
            // Only the agent itself can take its refusal back, by applying it after all or by becoming another.
            let takes_back = says.config == Some((B, RemoteConfigStatuses::Applied.into())) || says.flags != 0;
            if takes_back { continue }
            let mut message = says.message();
            message.instance_uid = UID.to_vec();
            let answer = server.hear(says.link, message);
            prop_assert_ne!(offered(&answer), Some(B));
        }
    }
}
