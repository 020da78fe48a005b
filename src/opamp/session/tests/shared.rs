//! An agent that polls several replicas, in whatever order: what they answer, what they write, and what the leader makes
//! of it.

use super::*;
use crate::api::AgentSliceSpec;
use crate::fleet::{Bindings, Memory, ObservedAgent, Refusals, Replica, SliceId, SliceSource, merge};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What the agent does with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Applies,
    Fails,
}

/// The agent, which says what has changed since its last message, or everything if it was asked for that.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
struct Client {
    sequence: u64,
    healthy: bool,
    /// What it was offered last, and what became of it.
    config: Option<(u8, RemoteConfigStatuses)>,
    says_health: bool,
    says_config: bool,
    says_all: bool,
}

impl Client {
    /// An agent whose next message has this number. It describes itself only if that is its first one.
    fn new(sequence: u64) -> Self {
        let begins = sequence == 0;
        Self {
            sequence,
            healthy: true,
            config: None,
            says_health: begins,
            says_config: begins,
            says_all: begins,
        }
    }

    fn speak(&mut self) -> AgentToServer {
        let all = std::mem::take(&mut self.says_all);
        let health = std::mem::take(&mut self.says_health) || all;
        let config = std::mem::take(&mut self.says_config) || all;
        let message = AgentToServer {
            capabilities: TAKES_CONFIG | AgentCapabilities::ReportsHealth as u64,
            agent_description: all.then(|| described("linux")),
            health: health.then(|| ComponentHealth { healthy: self.healthy, ..Default::default() }),
            ..bare(self.sequence)
        };
        self.sequence += 1;
        if config { status(message, self.config) } else { message }
    }

    fn hear(&mut self, answer: &Answer, does: Does) {
        self.says_all |= asks_full_state(answer);
        let Some(hash) = offered(answer).filter(|hash| Some(*hash) != self.config.map(|(has, _)| has)) else {
            return;
        };
        let became = match does {
            Does::Applies => RemoteConfigStatuses::Applied,
            Does::Fails => RemoteConfigStatuses::Failed,
        };
        (self.config, self.says_config) = (Some((hash, became)), true);
    }
}

/// Replicas that share an agent, and the slices that they have written.
struct Replicas {
    servers: Vec<Server>,
    slices: BTreeMap<(usize, SliceId), AgentSliceSpec>,
    target: Option<u8>,
    /// A replica that hears nothing of what the others are told.
    deaf: Option<usize>,
    /// What the leader tells all of them.
    refusals: Refusals,
    client: Client,
    now: Timestamp,
    /// How often each content was offered.
    offers: BTreeMap<u8, usize>,
}

const SECOND: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

impl Replicas {
    fn new(replicas: usize, client: Client) -> Self {
        Self {
            servers: (0..replicas).map(|_| Server::new()).collect(),
            slices: BTreeMap::new(),
            target: None,
            deaf: None,
            refusals: Refusals::new(),
            client,
            now: Timestamp::UNIX_EPOCH,
            offers: BTreeMap::new(),
        }
    }

    fn assign(&mut self, target: u8) {
        self.target = Some(target);
        self.tell();
    }

    fn tell(&mut self) {
        let group = GroupView::of_all("group", self.target.map(revision), None);
        let mut view = View::new([("default".into(), group)]);
        for (uid, refused) in &self.refusals {
            view.refuse(AgentKey { namespace: "default".into(), uid: *uid }, refused.clone());
        }
        let view = Arc::new(view);
        for (_, server) in self.servers.iter_mut().enumerate().filter(|(place, _)| Some(*place) != self.deaf)
        {
            server.roster.set_view(view.clone(), self.now);
        }
    }

    /// The agent polls a replica.
    fn poll(&mut self, replica: usize, does: Does) {
        let message = self.client.speak();
        let server = &mut self.servers[replica];
        server.now = self.now;
        let answer = server.hear(Link::Polling, message);
        if let Some(hash) = offered(&answer) {
            *self.offers.entry(hash).or_default() += 1;
        }
        self.client.hear(&answer, does);
    }

    /// Lets time pass, while replicas write what is due and the leader tells of refusals.
    fn wait(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now += SECOND;
            for (place, server) in self.servers.iter_mut().enumerate() {
                server.roster.expire(self.now);
                for content in server.roster.take_due(self.now) {
                    match content.spec {
                        Some(spec) => drop(self.slices.insert((place, content.id), spec)),
                        None => drop(self.slices.remove(&(place, content.id))),
                    }
                }
            }
            let live = self.target.map(|target| ConfigHash::from_bytes([target; 32])).into_iter().collect();
            let memory = Memory { live, ..Memory::default() };
            let seen = self.seen();
            let refusals = memory.refusals(&self.refusals, &seen.iter().collect::<Vec<_>>());
            if refusals != self.refusals {
                self.refusals = refusals;
                self.tell();
            }
        }
    }

    /// What the leader sees of the agent.
    fn seen(&self) -> Option<ObservedAgent> {
        let names: Vec<(String, &AgentSliceSpec)> =
            self.slices.iter().map(|((place, _), slice)| (place.to_string(), slice)).collect();
        let alive = Replica::Alive(Timestamp::UNIX_EPOCH);
        let sources = names.iter().map(|(name, slice)| SliceSource { name, replica: alive, slice });
        let mut agents = merge(sources, &Bindings::new());
        assert!(agents.len() <= 1, "it is counted once");
        agents.pop()
    }

    /// How many replicas tell that they are connected to it.
    fn holders(&self) -> usize {
        let connected = |slice: &AgentSliceSpec| slice.agents.iter().any(|entry| entry.flags & 1 != 0);
        self.slices.values().filter(|slice| connected(slice)).count()
    }

    /// Which replicas have had it.
    fn had(&self) -> Vec<bool> {
        self.servers.iter().map(|server| server.agent().is_some_and(|agent| agent.counts)).collect()
    }
}

/// One poll: to which replica, how long after it the next one comes, and what happens to the agent before.
#[derive(Clone, Copy, Debug)]
struct Step {
    replica: usize,
    pause: u32,
    happens: Happens,
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    Nothing,
    FallsIll,
    Recovers,
    Assigned(u8),
    /// This replica is told nothing any more, or all of them are told everything again.
    Deafens(Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    let happens = prop_oneof![
        6 => Just(Happens::Nothing),
        1 => Just(Happens::FallsIll),
        1 => Just(Happens::Recovers),
        1 => prop::sample::select(vec![A, B]).prop_map(Happens::Assigned),
        1 => prop::option::of(0_usize..3).prop_map(Happens::Deafens),
    ];
    (any::<prop::sample::Index>(), prop_oneof![Just(30_u32), 0_u32..31], happens)
        .prop_map(|(replica, pause, happens)| Step { replica: replica.index(3), pause, happens })
}

fn take(world: &mut Replicas, step: Step, does: Does) {
    match step.happens {
        Happens::Nothing => {}
        Happens::FallsIll => (world.client.healthy, world.client.says_health) = (false, true),
        Happens::Recovers => (world.client.healthy, world.client.says_health) = (true, true),
        Happens::Assigned(target) => world.assign(target),
        Happens::Deafens(replica) => {
            world.deaf = replica;
            world.tell();
        }
    }
    world.poll(step.replica % world.servers.len(), does);
    world.wait(step.pause);
}

/// What the agent is like in truth, as the leader is to see it in the end.
fn truth(client: &Client) -> (bool, Option<bool>, Option<ConfigHash>) {
    let running = client.config.filter(|(_, became)| *became == RemoteConfigStatuses::Applied);
    (true, Some(client.healthy), running.map(|(hash, _)| ConfigHash::from_bytes([hash; 32])))
}

fn as_seen(agent: &ObservedAgent) -> (bool, Option<bool>, Option<ConfigHash>) {
    (agent.connected, agent.healthy, agent.running)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// However its polls are spread, the agent is there once, connected, in its group, from the time that any replica
    /// has had it; nothing is offered more than once by each while all know what it is to run; it is taken to refuse only
    /// what it refuses, also where one replica has not heard what it is to run; and once nothing happens any more the leader
    /// sees it as it is.
    #[test]
    fn agent_that_polls_several_replicas_is_seen_once_and_as_it_is(
        replicas in 2_usize..4,
        begins in prop_oneof![Just(0_u64), Just(700)],
        does in prop_oneof![3 => Just(Does::Applies), 1 => Just(Does::Fails)],
        steps in prop::collection::vec(step(), 1..40),
        rest in prop_oneof![Just(vec![0]), Just(vec![0, 1]), Just(vec![0, 0, 1]), Just(vec![0, 1, 2])],
    ) {
        let mut world = Replicas::new(replicas, Client::new(begins));
        world.assign(A);
        let mut known = false;
        let quiet = (0..40).map(|n| Step {
            replica: rest[n % rest.len()],
            pause: 30,
            happens: if n == 0 { Happens::Deafens(None) } else { Happens::Nothing },
        });
        for step in steps.into_iter().chain(quiet) {
            let assigned = world.target;
            if let Happens::Assigned(target) = step.happens && Some(target) != assigned {
                // From here on the same may be offered again.
                world.offers.clear();
            }
            let was_deaf = world.deaf;
            take(&mut world, step, does);
            if was_deaf.is_some() || world.deaf.is_some() {
                // One that does not know what the others do may offer what was true before.
                world.offers.clear();
            }
            let seen = world.seen();
            let refuses = |agent: &ObservedAgent| agent.ledger.iter().any(|given| given.verdict.is_refusal());
            prop_assert!(does == Does::Fails || !seen.as_ref().is_some_and(refuses), "{:?}", seen);
            known |= seen.is_some();
            let there = seen.as_ref().map(|agent| (agent.connected, agent.group.as_deref()));
            prop_assert_eq!(there, known.then_some((true, Some("group"))));
            prop_assert!(world.offers.values().all(|times| *times <= replicas), "{:?}", world.offers);
        }
        let seen = world.seen().expect("it is known");
        prop_assert_eq!(as_seen(&seen), truth(&world.client));
        let wanted = world.target.map(|target| ConfigHash::from_bytes([target; 32]));
        let refused = wanted.is_some_and(|hash| seen.ledger.refuses(hash));
        prop_assert!(refused || seen.running == wanted, "it has what it is to run, or has refused it");
    }
}

/// Polls in turn, from its first message on.
fn in_turn(replicas: usize, polls: usize) -> Replicas {
    let mut world = Replicas::new(replicas, Client::new(0));
    for place in 0..polls {
        world.poll(place % replicas, Does::Applies);
        world.wait(30);
    }
    world
}

#[test]
fn agent_is_taken_in_by_its_first_replica_at_once_and_by_others_with_their_second_of_near_polls() {
    for (replicas, polls, expected) in [
        (2, 1, vec![true, false]),
        (2, 2, vec![true, false]),
        (2, 4, vec![true, true]),
        (3, 4, vec![true, false, false]),
        (3, 6, vec![true, true, true]),
        (12, 36, [vec![true], vec![false; 11]].concat()),
    ] {
        assert_eq!(in_turn(replicas, polls).had(), expected, "{polls} polls of {replicas} replicas");
    }
}

#[test]
fn agent_that_passed_by_counts_for_nothing_and_is_forgotten() {
    let mut world = in_turn(1, 5);
    world.servers.push(Server::new());
    world.poll(1, Does::Applies);
    world.wait(20);
    assert_eq!((world.holders(), world.slices.len()), (1, 2));
    for _ in 0..40 {
        world.wait(30);
        world.poll(0, Does::Applies);
    }
    assert_eq!((world.holders(), world.slices.len()), (1, 1));
    assert!(world.servers[1].agent().is_none());
}

/// A word that reaches only a replica that does not have the agent is not lost.
#[test]
fn refusal_told_to_a_replica_that_does_not_have_the_agent_reaches_the_leader_and_the_one_that_has_it() {
    let mut world = in_turn(1, 5);
    world.servers.push(Server::new());
    world.assign(B);
    world.poll(0, Does::Fails);
    world.wait(1);
    world.poll(1, Does::Fails);
    world.wait(30);
    let seen = world.seen().expect("it is known");
    assert!(seen.connected && seen.ledger.refuses(ConfigHash::from_bytes([B; 32])));
    for _ in 0..10 {
        world.poll(0, Does::Fails);
        world.wait(30);
    }
    assert_eq!((world.offers[&B], world.servers[1].agent().is_some_and(|agent| agent.counts)), (1, false));
}

/// Its polls go elsewhere, one by one: whoever has had it until then must not say that it is gone while others have it,
/// and what it says there counts from then on.
#[test]
fn agent_that_moves_to_another_replica_is_never_away_and_is_believed_there() {
    let mut world = in_turn(1, 5);
    world.servers.push(Server::new());
    for poll in 0..8 {
        if poll == 2 {
            (world.client.healthy, world.client.says_health) = (false, true);
        }
        world.poll(1, Does::Applies);
        world.wait(30);
        let seen = world.seen().expect("it is known");
        assert!(seen.connected);
        assert_eq!(seen.healthy == Some(false), poll >= 2, "after poll {poll}");
    }
    assert_eq!(world.holders(), 1, "the first replica has seen that it is gone");
}

/// Times are written by the second, and it may go from one replica to another and back within one.
#[test]
fn agent_that_moves_within_a_second_is_believed_where_it_was_last() {
    for polls in [vec![1, 0, 0], vec![0, 1, 1], vec![0, 1, 1, 0, 0], vec![1, 0, 0, 1, 1]] {
        let mut world = Replicas::new(2, Client::new(0));
        world.assign(A);
        for replica in &polls {
            world.poll(*replica, Does::Applies);
        }
        world.wait(30);
        let seen = world.seen().expect("it is known");
        assert_eq!(as_seen(&seen), truth(&world.client), "after polls of {polls:?}");
        assert_eq!(seen.running, Some(ConfigHash::from_bytes([A; 32])));
    }
}

/// A balancer that kept it at one replica spreads its polls over five from now on.
#[test]
fn agent_that_is_spread_all_at_once_is_never_lost() {
    let mut world = in_turn(1, 5);
    world.servers.extend((0..4).map(|_| Server::new()));
    for poll in 1..30 {
        world.poll(poll % 5, Does::Applies);
        for _ in 0..30 {
            world.wait(1);
            let seen = world.seen().expect("it is known");
            let gone = world.now.duration_since(seen.since).as_secs();
            assert!(seen.connected || gone <= 90, "gone for {gone} s after poll {poll}");
            assert!(seen.connected || poll < 6, "after poll {poll}: each of them has it by now");
        }
    }
}

/// As real clients do. Each asks for what the agent has just told the other.
#[test]
fn agent_that_answers_at_once_is_not_asked_without_end_and_is_served() {
    for replicas in 2..5 {
        let mut world = Replicas::new(replicas, Client::new(0));
        let mut messages = 0;
        for beat in 0..40_usize {
            if beat == 20 {
                world.assign(B);
            }
            let before = messages;
            loop {
                world.poll(messages % replicas, Does::Applies);
                messages += 1;
                if !world.client.says_all && !world.client.says_config {
                    break;
                }
                assert!(messages - before <= 2 * replicas, "beat {beat} has no end");
            }
            world.wait(30);
        }
        let seen = world.seen().expect("it is known");
        assert_eq!(as_seen(&seen), truth(&world.client), "{replicas} replicas");
        assert_eq!(seen.running, Some(ConfigHash::from_bytes([B; 32])));
        assert!(world.offers[&B] <= replicas, "{:?}", world.offers);
    }
}

#[test]
fn agent_that_polls_no_more_is_gone_for_all_after_a_while() {
    for (replicas, latest) in [(1, 91), (2, 2 * 90 + 1), (3, 3 * 90 + 1)] {
        let mut world = in_turn(replicas, 6 * replicas);
        world.wait(latest - 30 + 10);
        let seen = world.seen().expect("it is known");
        assert!(!seen.connected, "{replicas} replicas");
    }
}
