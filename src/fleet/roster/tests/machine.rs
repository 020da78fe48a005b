//! Rules that hold whatever happens, in whatever order.

use super::*;
use crate::fleet::{Capabilities, Ledger, Missed};
use proptest::prelude::*;
use std::collections::BTreeSet;

const AGENTS: u32 = 3;

/// Something that happens to a roster.
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
#[derive(Clone, Debug)]
enum Step {
    Message(u32, Report, Link),
    Disconnect(u32, Link),
    Assign(Assigned),
    Suspend(bool),
    Restart,
    Wait(i64),
}

/// What the group is assigned, and whether replicas may act on it.
#[derive(Clone, Debug)]
struct Assigned {
    target: Option<u8>,
    stable: Option<u8>,
    selected: bool,
    ready: bool,
}

fn link() -> impl Strategy<Value = Link> {
    prop_oneof![Just(SOCKET), Just(OTHER_SOCKET), Just(Link::Polling)]
}

fn content() -> impl Strategy<Value = Option<u8>> {
    prop::option::of(prop::sample::select(vec![A, B, C]))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let failed = "[a-z]{0,3}".prop_map(Outcome::Failed);
    prop_oneof![1 => Just(Outcome::Unset), 1 => Just(Outcome::Applying), 2 => Just(Outcome::Applied), 1 => failed]
}

fn report() -> impl Strategy<Value = Report> {
    let config = prop::option::of((content(), outcome()));
    let host = prop::option::of(prop::sample::select(vec!["host", "other"]));
    let capabilities = prop_oneof![3 => Just(None), 3 => Just(Some(TAKES_CONFIG)), 1 => any_capabilities()];
    let health = (any::<Option<bool>>(), prop::option::of(0..5_i64));
    (any::<bool>(), host, capabilities, health, config).prop_map(
        |(full, host, capabilities, (healthy, started), config)| Report {
            principal: None,
            full,
            description: host.map(describe),
            capabilities,
            healthy,
            started,
            build: None,
            settings: None,
            shows: false,
            number: 0,
            missed: Missed::Nothing,
            config: config.map(|(n, outcome)| reported(n, outcome)),
        },
    )
}

fn any_capabilities() -> impl Strategy<Value = Option<Capabilities>> {
    any::<u64>().prop_map(|bits| Some(Capabilities(bits)))
}

fn step() -> impl Strategy<Value = Step> {
    let assigned = (content(), content(), any::<bool>(), prop::bool::weighted(0.8))
        .prop_map(|(target, stable, selected, ready)| Assigned { target, stable, selected, ready });
    prop_oneof![
        20 => (0..AGENTS, report(), link()).prop_map(|(n, report, link)| Step::Message(n, report, link)),
        3 => (0..AGENTS, link()).prop_map(|(n, link)| Step::Disconnect(n, link)),
        4 => assigned.prop_map(Step::Assign),
        1 => prop::bool::weighted(0.2).prop_map(Step::Suspend),
        1 => Just(Step::Restart),
        3 => (0_i64..400).prop_map(Step::Wait),
    ]
}

/// A roster, and what happened to it as far as the rules are about that.
struct World {
    roster: Roster,
    view: Arc<View>,
    now: Timestamp,
    suspended: bool,
}

impl World {
    fn new() -> Self {
        let view = view([group("g", Some(B), Some(A))]);
        let mut roster = roster();
        roster.set_view(view.clone(), at(0));
        Self { roster, view, now: at(0), suspended: false }
    }

    /// Lets it happen; returns the agents that are to be woken.
    fn act(&mut self, step: Step) -> Option<Vec<AgentKey>> {
        match step {
            Step::Message(n, report, link) => self.roster.receive(&key(n), report, link, self.now),
            Step::Disconnect(n, link) => self.roster.disconnect(&key(n), link, self.now),
            Step::Assign(assigned) => {
                self.view = assigned.view();
                return Some(self.roster.set_view(self.view.clone(), self.now));
            }
            Step::Suspend(suspended) => {
                self.suspended = suspended;
                return Some(self.roster.suspend(suspended, self.now));
            }
            Step::Restart => self.restart(),
            Step::Wait(seconds) => {
                self.now += jiff::SignedDuration::from_secs(seconds);
                self.roster.expire(self.now);
            }
        }
        None
    }

    /// Another process of the same replica takes over what this one wrote.
    fn restart(&mut self) {
        for id in self.known() {
            // Whatever was not written yet is written at the end.
            self.roster.write_failed(&SliceId { namespace: id.namespace, number: 0 }, self.now);
        }
        let written = self.roster.take_due(Timestamp::MAX);
        let before: Vec<Option<Ledger>> = (0..AGENTS).map(|n| self.told(n)).collect();
        self.roster = roster();
        for content in written {
            if let Some(spec) = content.spec {
                self.roster.restore(&content.id, &spec, self.now);
            }
        }
        self.roster.set_view(self.view.clone(), self.now);
        self.roster.suspend(self.suspended, self.now);
        let after: Vec<Option<Ledger>> = (0..AGENTS).map(|n| self.told(n)).collect();
        assert_eq!(before, after, "a restart changes no verdict that anybody asks for");
    }

    /// The verdicts that slices tell of.
    fn told(&self, n: u32) -> Option<Ledger> {
        let agent = self.roster.agent(&key(n))?;
        let mut told = Ledger::default();
        for given in agent.ledger.foremost(agent.running(), true, usize::MAX) {
            told.note(given.hash, given.verdict.clone(), given.at);
        }
        Some(told)
    }

    fn known(&self) -> Vec<AgentKey> {
        (0..AGENTS).map(key).filter(|key| self.roster.agent(key).is_some()).collect()
    }

    fn due(&self) -> BTreeSet<AgentKey> {
        let mut known = self.known();
        known.retain(|key| self.roster.due_offer(key, self.now).is_some());
        known.into_iter().collect()
    }

    /// Takes the offer that is due to an agent, and checks that it may be made.
    fn offer(&mut self, key: &AgentKey) -> Result<Option<u8>, TestCaseError> {
        let Some(offer) = self.roster.take_offer(key, self.now) else { return Ok(None) };
        let agent = self.roster.agent(key).expect("known");
        prop_assert!(!agent.ledger.refuses(offer.hash()), "refused");
        prop_assert!(agent.capabilities.has(Capabilities::ACCEPTS_REMOTE_CONFIG));
        prop_assert!(agent.connected() && agent.complete && !self.suspended);
        let group = self.view.group("ns", agent.group.as_deref().expect("in a group")).expect("in the view");
        prop_assert!(group.assignment.loaded);
        prop_assert!(group.assignment.revisions().any(|live| live.hash == offer.hash()));
        prop_assert!(self.roster.due_offer(key, self.now).is_none(), "twice at once");
        Ok(Some(offer.hash().as_bytes()[0]))
    }
}

impl Assigned {
    fn view(&self) -> Arc<View> {
        let mut group = group("g", self.target, self.stable);
        group.assignment.loaded = self.ready;
        if self.selected {
            group.selector = selector("host.name", "host");
        }
        view([group])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn offers_keep_the_rules_whatever_happens(steps in prop::collection::vec((step(), any::<bool>()), 1..60)) {
        let mut world = World::new();
        for (step, takes) in steps {
            let woken = world.act(step);
            let due = world.due();
            if let Some(woken) = woken {
                let on_socket = |key: &AgentKey| world.roster.agent(key).and_then(|agent| agent.link) != Some(Link::Polling);
                let expected: Vec<AgentKey> = due.iter().filter(|key| on_socket(key)).cloned().collect();
                let mut woken = woken;
                woken.sort();
                prop_assert_eq!(woken, expected);
            }
            for key in due.iter().filter(|_| takes) {
                prop_assert!(world.offer(key)?.is_some());
            }
        }
    }

    #[test]
    fn nothing_is_due_once_every_offer_was_answered_with_applied(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in steps {
            world.act(step);
        }
        for n in 0..AGENTS {
            // On a new link, so that nobody still waits for an answer to an offer of before.
            world.roster.receive(&key(n), Report { config: None, ..full() }, Link::Socket(9), world.now);
            if let Some(offered) = world.offer(&key(n))? {
                world.roster.receive(&key(n), applied(offered), Link::Socket(9), world.now);
            }
        }
        prop_assert_eq!(world.due(), BTreeSet::new());
        world.now += seconds(86400);
        prop_assert_eq!(world.due(), BTreeSet::new());
        prop_assert_eq!(world.roster.set_view(world.view.clone(), world.now), []);
    }

    #[test]
    fn every_edge_is_written_in_time(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        let mut written = std::collections::BTreeMap::new();
        for step in steps {
            if matches!(step, Step::Restart) { continue }
            world.act(step);
            prop_assert!(world.roster.next_due().is_none_or(|due| due <= world.now + seconds(10)));
            for content in world.roster.take_due(world.now) {
                written.insert(content.id, content.spec);
            }
        }
        // What is not due stands as it was written.
        for content in world.roster.take_due(Timestamp::MAX) {
            written.insert(content.id, content.spec);
        }
        for n in 0..AGENTS {
            world.roster.write_failed(&SliceId { namespace: "ns".into(), number: n }, world.now);
        }
        for content in world.roster.take_due(Timestamp::MAX) {
            let before = written.get(&content.id).cloned().flatten();
            prop_assert_eq!(before, content.spec);
        }
    }
}
