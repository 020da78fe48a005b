use super::*;
use crate::config::Digest;
use crate::fleet::fixtures::*;
use crate::fleet::unpack::unpack;
use crate::fleet::{
    Attributes, Bindings, ConfigReport, Done, DriftClass, InstanceUid, Ledger, Link, ObservedAgent, Outcome,
    Principal, Replica, SliceSource, merge,
};
use jiff::Timestamp;
use proptest::prelude::*;
use strum::IntoEnumIterator;

/// A slice's promised length (design, section 4).
const PROMISED_BYTES: usize = 64 * 1024;
const MANY: u32 = 250;

fn unpacked(slice: &AgentSliceSpec) -> Vec<ObservedAgent> {
    merge([SliceSource { name: "s", replica: Replica::Alive(Timestamp::MIN), slice }], &Bindings::new())
}

fn words(agent: &ObservedAgent) -> Vec<&str> {
    let words = agent.ledger.iter().filter_map(|given| match &given.verdict {
        Verdict::Failed(words) => Some(&**words),
        _ => None,
    });
    words.collect()
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let failed = "\\PC{0,300}".prop_map(|words| Verdict::failed(&words));
    prop_oneof![Just(Verdict::Applied), Just(Verdict::RolledBackByAgent), failed]
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let failed = Just(Outcome::Failed(String::new()));
    prop_oneof![Just(Outcome::Unset), Just(Outcome::Applying), Just(Outcome::Applied), failed]
}

fn any_class(told: bool) -> impl Strategy<Value = DriftClass> {
    let classes = DriftClass::iter().filter(|class| class.is_told() == told);
    prop::sample::select(classes.collect::<Vec<_>>())
}

fn any_shown() -> impl Strategy<Value = Shown> {
    let class = any_class(false);
    let drifted = (class, "\\PC{0,256}").prop_map(|(class, path)| Shown::Drifted(class, path.into()));
    prop_oneof![Just(Shown::InSync), Just(Shown::Unknown), drifted]
}

prop_compose! {
    fn any_agent()(
        uid: [u8; 16],
        host in "\\PC{0,40}",
        version in prop::option::of("\\PC{0,40}"),
        groups: [Option<bool>; 2],
        capabilities: u64,
        healthy: Option<bool>,
        polling: Option<bool>,
        config in prop::option::of((prop::option::of(0_u8..5), any_outcome())),
        verdicts in prop::collection::vec((0_u8..5, any_verdict(), 0_i64..9), 0..5),
        since in -99_i64..99,
        sight in prop::option::of((any_shown(), -99_i64..99, prop::option::of(any::<[u8; 8]>()))),
        told in prop::option::of((any_class(true), -99_i64..99)),
        done in prop::option::of((-99_i64..99, 0_i64..9)),
    ) -> Agent {
        let mut agent = Agent::new(InstanceUid::new(uid), at(since));
        let host = [("host.name".to_owned(), host)].into_iter();
        agent.attributes = Attributes::new(host.chain(version.map(|v| ("service.version".to_owned(), v))), []);
        [agent.group, agent.overlapping] =
            groups.map(|group| group.map(|one| if one { "one".into() } else { "other".into() }));
        agent.capabilities = Capabilities(capabilities);
        agent.healthy = healthy;
        agent.counts = true;
        agent.link = polling.map(|polling| if polling { Link::Polling } else { SOCKET });
        agent.config = config.map(|(n, outcome)| reported(n, outcome));
        for (n, verdict, second) in verdicts {
            agent.ledger.note(hash(n), verdict, at(second));
        }
        if let Some(((shown, second, baseline), of)) = sight.zip(agent.running()) {
            let baseline = baseline.map(Digest::from_bytes);
            agent.note_sight(Sight { of, shown, since: at(second), baseline });
        }
        let told = told.map(|(class, since)| (class, at(since)));
        let done = done.map(|(order, after)| Done { order: at(order).as_second(), at: at(order + after) });
        agent.with(told, done)
    }
}

/// The verdicts that slices tell of, if there is room.
fn told_of(agent: &Agent) -> Ledger {
    let mut told = Ledger::default();
    for given in agent.ledger.foremost(agent.running(), true, usize::MAX) {
        told.note(given.hash, given.verdict.clone(), given.at);
    }
    told
}

/// What the leader is to know of an agent.
fn observed(agent: &Agent) -> ObservedAgent {
    let can = |capability| agent.capabilities.has(capability);
    ObservedAgent {
        host: agent.host().to_owned(),
        group: agent.group.as_deref().map(str::to_owned),
        overlapping: agent.overlapping.as_deref().map(str::to_owned),
        connected: agent.connected(),
        healthy: can(Capabilities::REPORTS_HEALTH).then_some(agent.healthy == Some(true)),
        accepts_config: can(Capabilities::ACCEPTS_REMOTE_CONFIG),
        reports_config: can(Capabilities::REPORTS_REMOTE_CONFIG),
        reports_effective: can(Capabilities::REPORTS_EFFECTIVE_CONFIG),
        running: agent.running(),
        ledger: told_of(agent),
        health_since: agent.health_since,
        started: agent.steady.started(),
        adoptee: agent.adoptee,
        faltered: agent.steady.faltered(),
        accepts_restart: can(Capabilities::ACCEPTS_RESTART_COMMAND),
        told: agent.told(),
        // An agent that does not answer shows nothing of what it is to run.
        sight: agent.sight().filter(|_| agent.told().is_none()).cloned(),
        done: agent.done(),
        exempt: agent.exempt,
        polling: agent.link == Some(Link::Polling),
        ..seen(agent.uid, agent.since)
    }
}

proptest! {
    #[test]
    fn what_is_packed_reads_back(agents in prop::collection::vec(any_agent(), 0..20)) {
        let mut agents = agents;
        agents.sort_by_key(|agent| agent.uid);
        agents.dedup_by_key(|agent| agent.uid);
        let slice = pack("r", &agents, &[]);
        prop_assert_eq!(&slice.replica, "r");
        let short = |agent: &Agent| ObservedAgent { host: clean(agent.host(), 64), ..observed(agent) };
        prop_assert_eq!(unpacked(&slice), agents.iter().map(short).collect::<Vec<_>>());
        let json = serde_json::to_string(&slice).expect("JSON");
        prop_assert_eq!(length(&slice), json.len());
        prop_assert_eq!(serde_json::from_str::<AgentSliceSpec>(&json).expect("JSON"), slice);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn slice_keeps_its_promised_length_whatever_agents_say(
        seed: u64, host in "\\PC{0,64}", verdicts in 0_u8..9, words in "\\PC{0,256}"
    ) {
        let agents: Vec<Agent> = (0..MANY).map(|n| chatty(n, &host, seed, verdicts, &words)).collect();
        let slice = pack("r", &agents, &[]);
        prop_assert!(length(&slice) <= PROMISED_BYTES, "{}", length(&slice));
        prop_assert_eq!(slice.agents.len(), agents.len());
    }
}

/// An agent with a long host and version of its own, and so many verdicts on contents that nobody else knows.
fn chatty(n: u32, host: &str, seed: u64, verdicts: u8, words: &str) -> Agent {
    let mut agent = agent();
    agent.uid = uid(n);
    agent.config = None;
    agent.principal = Some(Principal::new("ns", &n.to_string(), Attributes::default()).into());
    agent.health_since = at(1_000_000);
    let long = |text: &str| format!("{n:03}{text:x<253}");
    let described = [("host.name", long(host)), ("service.version", long(words))];
    agent.attributes = Attributes::new(described.map(|(key, value)| (key.to_owned(), value)), []);
    (agent.group, agent.overlapping) = (Some("production".into()), Some("everything".into()));
    for verdict in 0..verdicts {
        let mut own = [verdict; 32];
        own[..4].copy_from_slice(&n.to_be_bytes());
        own[4..12].copy_from_slice(&seed.to_be_bytes());
        let hash = ConfigHash::from_bytes(own);
        agent.ledger.note(hash, Verdict::failed(&long(words)), at(0));
        // Not what it refused last, so that there are two contents however little is told of the agent.
        agent.config.get_or_insert(ConfigReport { hash: Some(hash), ..reported(None, Outcome::Applied) });
    }
    if let Some(of) = agent.running() {
        let shown = Shown::Drifted(DriftClass::Modified, long(host).into());
        let baseline = Some(Digest::from_bytes(seed.to_be_bytes()));
        agent.note_sight(Sight { of, shown, since: at(1_000_000_000), baseline });
    }
    agent
}

/// An agent with a long host that runs A and refused B, in words of its own.
fn failing(n: u32) -> Agent {
    let mut agent = agent();
    agent.uid = uid(n);
    agent.attributes = attributes(&[("host.name", &format!("{n:x<64}")), ("service.version", "0.149.0")]);
    agent.group = Some("production".into());
    agent.receive(applied(A), SOCKET, None, at(0));
    agent.receive(failed(B, &format!("{n:x<256}")), SOCKET, None, at(0));
    agent.receive(applied(A), SOCKET, None, at(0));
    agent
}

#[test]
fn full_slice_of_long_hosts_and_messages_is_short_and_keeps_every_verdict() {
    let agents: Vec<Agent> = (0..MANY).map(failing).collect();
    let slice = pack("r", &agents, &[]);
    assert!(length(&slice) <= PROMISED_BYTES, "{}", length(&slice));
    let read = unpacked(&slice);
    assert!(read.iter().zip(&agents).all(|(read, agent)| read.host == agent.host()));
    assert!(read.iter().all(|agent| agent.ledger.refuses(hash(B)) && agent.running == Some(hash(A))));
}

#[test]
fn messages_take_the_room_that_is_left_and_no_more_than_their_share() {
    for (agents, expected) in [(10, 10..=10), (100, 55..=65), (MANY, 20..=40)] {
        let agents: Vec<Agent> = (0..agents).map(failing).collect();
        let slice = pack("r", &agents, &[]);
        assert!(expected.contains(&slice.messages.len()), "{}: {}", agents.len(), slice.messages.len());
        let told = unpacked(&slice).iter().filter(|agent| words(agent) != [""]).count();
        assert_eq!(told, slice.messages.len(), "the first ones have theirs");
    }
}

#[test]
fn message_that_many_agents_give_is_written_once() {
    let long = "no such component ".repeat(14);
    let mut agents: Vec<Agent> = (0..MANY).map(failing).collect();
    for agent in &mut agents {
        agent.attributes = Attributes::default();
        agent.receive(failed(B, &long), SOCKET, None, at(0));
    }
    let slice = pack("r", &agents, &[]);
    assert_eq!(slice.messages, [&*long]);
    assert!(unpacked(&slice).iter().all(|agent| words(agent) == [&*long]));
}

#[test]
fn agents_that_report_nonsense_cost_the_others_no_verdict() {
    let agents: Vec<Agent> =
        (0..MANY).map(|n| if n % 3 == 0 { chatty(n, "\"", 7, 8, "\"") } else { failing(n) }).collect();
    let slice = pack("r", &agents, &[]);
    assert!(length(&slice) <= PROMISED_BYTES, "{}", length(&slice));
    let read = unpacked(&slice);
    assert!(read.iter().filter(|agent| agent.ledger.refuses(hash(B))).count() >= 166);
}

#[test]
fn entry_of_a_supervisor_is_about_as_long_as_promised() {
    let agents: Vec<Agent> = (0..MANY)
        .map(|n| {
            let mut agent = failing(n);
            agent.attributes = attributes(&[("host.name", "ip-10-0-142-17"), ("service.version", "0.149.0")]);
            agent.ledger = crate::fleet::Ledger::default();
            agent.ledger.note(hash(A), Verdict::Applied, at(0));
            let baseline = Some(Digest::from_bytes(u64::from(n).to_be_bytes()));
            agent.note_sight(Sight { of: hash(A), shown: Shown::InSync, since: at(9), baseline });
            agent
        })
        .collect();
    let bytes = length(&pack("r", &agents, &[])) / agents.len();
    assert!(bytes < 180, "{bytes}");
}

#[test]
fn times_at_the_end_of_time_are_packed() {
    for since in [Timestamp::MIN, Timestamp::MAX] {
        let mut agent = agent();
        agent.since = since;
        let slice = pack("r", [&agent], &[]);
        let read = unpack(&slice).next().expect("an entry").entry.since;
        assert_eq!(read, since.as_second());
    }
}
