use super::*;
use crate::fleet::fixtures::{A, B, at, hash, seen, uid};
use crate::fleet::{Adoptee, Verdict};

const SOAKS: [Duration; 3] = [Duration::from_mins(5), Duration::from_mins(5), Duration::from_mins(3)];

/// Agents that came with another group's `A`, to a group that gives `B`.
struct World {
    now: i64,
    agents: Vec<ObservedAgent>,
    status: Option<AdoptionStatus>,
    /// Those that do not take `B`.
    refuse: Vec<usize>,
}

impl World {
    fn new(agents: u32) -> Self {
        let mut world = Self { now: 0, agents: Vec::new(), status: None, refuse: Vec::new() };
        world.come(agents);
        world
    }

    /// So many more agents come.
    fn come(&mut self, count: u32) {
        let first = u32::try_from(self.agents.len()).expect("few");
        let since = at(self.now).as_second();
        self.agents.extend((first..first + count).map(|n| ObservedAgent {
            running: Some(hash(A)),
            adoptee: Some(Adoptee { since, waits: true }),
            ..seen(uid(n), at(self.now))
        }));
    }

    /// Replicas admit whom they may, these take `B`, and the leader looks.
    fn tick(&mut self, seconds: i64) {
        self.now += seconds;
        let admission = self.status.as_ref().and_then(Admission::read);
        for (index, agent) in self.agents.iter_mut().enumerate() {
            let foreign = agent.running == Some(hash(A));
            agent.adoptee =
                Adoptee::next(agent.adoptee, foreign, admission.as_ref(), agent.uid, at(self.now));
            if !foreign || agent.waits() || !agent.connected {
                continue;
            }
            if self.refuse.contains(&index) {
                agent.ledger.note(hash(B), Verdict::failed("no"), at(self.now));
            } else {
                agent.running = Some(hash(B));
            }
        }
        self.lead();
    }

    fn lead(&mut self) {
        let assigned: Vec<Adopted<'_>> = self
            .agents
            .iter()
            .filter(|agent| agent.adoptee.is_some())
            .map(|agent| (agent, Some(hash(B))))
            .collect();
        let rules = Rules {
            soaks: &SOAKS,
            offline_after: Duration::from_secs(90),
            watched_until: Some(at(self.now)),
            entropy: 7,
            now: at(self.now),
        };
        self.status = adoption(self.status.as_ref(), &assigned, &rules);
    }

    fn adopted(&self) -> usize {
        self.agents.iter().filter(|agent| agent.running == Some(hash(B))).count()
    }
}

#[test]
fn adoptees_are_admitted_in_the_steps_of_the_default_phases() {
    let mut world = World::new(100);
    let mut reached = vec![(0, 0)];
    for _ in 0..2000 {
        world.tick(1);
        if reached.last().is_some_and(|(_, count)| *count != world.adopted()) {
            reached.push((world.now, world.adopted()));
        }
    }
    let counts: Vec<usize> = reached.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [0, 2, 10, 50, 100]);
    let pauses: Vec<i64> = reached.windows(2).map(|pair| pair[1].0 - pair[0].0).skip(1).collect();
    assert!(
        pauses.iter().zip([300, 300, 180]).all(|(pause, soak)| (soak..soak + 5).contains(pause)),
        "{pauses:?}"
    );
    assert_eq!(world.status, None, "it is over");
}

#[test]
fn agents_that_come_later_wait_for_the_next_adoption_and_are_never_admitted_in_a_burst() {
    for step in 0..4 {
        let mut world = World::new(100);
        while world.status.as_ref().is_none_or(|status| status.step < step) {
            world.tick(1);
        }
        world.come(200);
        let mut most = world.adopted();
        while world.status.is_some() {
            world.tick(1);
            most = most.max(world.adopted());
        }
        assert_eq!(most, 100, "they came in step {step}");
        world.tick(1);
        world.tick(1);
        assert_eq!(world.adopted(), 104, "2% of the others");
    }
}

#[test]
fn adoption_stops_when_too_many_fail_and_the_others_keep_what_they_run() {
    let mut world = World::new(100);
    world.refuse = (0..100).collect();
    for _ in 0..2000 {
        world.tick(1);
    }
    assert_eq!(world.adopted(), 0);
    let refused = world.agents.iter().filter(|agent| agent.ledger.iter().next().is_some()).count();
    assert_eq!(refused, 2, "the first step's agents only");
    let stopped = world.status.expect("an adoption").stopped;
    assert_eq!(stopped, "2 of the 2 agents that were admitted failed");
}

#[test]
fn adoptee_that_vanishes_once_it_was_admitted_has_failed() {
    let mut world = World::new(2);
    world.tick(1);
    let admission = world.status.as_ref().and_then(Admission::read).expect("an adoption");
    let admitted = world.agents.iter_mut().find(|agent| admission.admits(agent.uid, came(agent)));
    let gone = admitted.expect("one");
    (gone.connected, gone.since) = (false, at(2));
    for _ in 0..91 {
        world.tick(1);
        assert!(world.status.as_ref().is_some_and(|status| status.stopped.is_empty()), "it may return");
    }
    world.tick(1);
    assert!(world.status.is_some_and(|status| !status.stopped.is_empty()));
}

#[test]
fn adoptee_that_was_gone_before_blocks_nothing() {
    let mut world = World::new(3);
    world.agents[1].connected = false;
    for _ in 0..2000 {
        world.tick(1);
    }
    assert_eq!((world.adopted(), &world.status), (2, &None));
}

#[test]
fn adoption_without_adoptees_is_none() {
    assert_eq!(World::new(0).status, None);
    let mut world = World::new(0);
    world.tick(1);
    assert_eq!(world.status, None);
}

#[test]
fn step_on_its_own_result_changes_nothing() {
    let mut world = World::new(50);
    for _ in 0..1500 {
        world.tick(1);
        let before = world.status.clone();
        world.lead();
        assert_eq!(world.status, before);
    }
}
