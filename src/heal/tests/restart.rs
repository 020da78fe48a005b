//! Restarts that a person asks for: whose turn it is, who has come back, and what survives a lost write.

use super::super::*;
use crate::api::{RestartState, RestartStatus};
use crate::fleet::fixtures::{A, at, healing, seen, uid};
use crate::fleet::{Adoptee, Done, ObservedAgent, Order, Ordered, Restart, Restarts, Seed, Treatments};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);
const OFFLINE_AFTER: Duration = Duration::from_secs(90);

/// A group of agents that were started at second 0 of their clocks, and a restart that was asked for at second 100.
struct World {
    agents: Vec<ObservedAgent>,
    status: Option<RestartStatus>,
    restarts: Restarts,
    treatments: Treatments,
    busy: BTreeSet<usize>,
    /// So many are told where to send their own telemetry.
    told: usize,
    missed: Vec<usize>,
    /// How often each agent was commanded.
    commands: BTreeMap<usize, usize>,
    now: i64,
}

impl World {
    fn new(agents: u32) -> Self {
        let taker = |n| ObservedAgent {
            accepts_restart: true,
            started: Some(at(0).as_second()),
            ..seen(uid(n), at(0))
        };
        let mut world = Self {
            agents: (0..agents).map(taker).collect(),
            status: None,
            restarts: Restarts::new(),
            treatments: Treatments::new(),
            busy: BTreeSet::new(),
            told: 0,
            missed: Vec::new(),
            commands: BTreeMap::new(),
            now: 100,
        };
        world.ask("first");
        world
    }

    fn ask(&mut self, token: &str) {
        let agents: Vec<&ObservedAgent> = self.agents.iter().collect();
        self.status = Some(begin(token, self.status.as_ref(), &agents, 7, at(self.now)));
    }

    fn index(&self, uid: crate::fleet::InstanceUid) -> usize {
        self.agents.iter().position(|agent| agent.uid == uid).expect("an agent")
    }

    fn status(&self) -> &RestartStatus {
        self.status.as_ref().expect("a request")
    }

    /// Ordered, restarted and failed.
    fn counts(&self) -> (i64, i64, i64) {
        let RestartStatus { ordered, restarted, failed, .. } = *self.status();
        (ordered, restarted, failed)
    }

    /// Looks at the group at this second. The slices of exceptions are written, and the status if it is not lost.
    fn look(&mut self, second: i64, written: bool) {
        self.now = second;
        let agents: Vec<&ObservedAgent> = self.agents.iter().collect();
        let busy: BTreeSet<_> = self.busy.iter().map(|index| agents[*index].uid).collect();
        let terms =
            Terms { patience: PATIENCE, offline_after: OFFLINE_AFTER, told: self.told, now: at(second) };
        let is_busy = |agent: &ObservedAgent| busy.contains(&agent.uid);
        let round = restart(self.status.as_ref(), &self.restarts, &agents, &self.treatments, is_busy, &terms);
        let missed: Vec<usize> = round.missed.iter().map(|(uid, _)| self.index(*uid)).collect();
        self.missed.extend(missed);
        self.restarts = round.restarts;
        if written {
            self.status = round.status;
        }
    }

    fn at(&mut self, second: i64) {
        self.look(second, true);
    }

    /// Those whose restart is still to be carried out.
    fn pending(&self) -> Vec<usize> {
        let pending = self.restarts.iter().filter(|(uid, restart)| {
            let agent = &self.agents[self.index(**uid)];
            let open = agent.done.is_none_or(|done| !done.is_of(&restart.ordered));
            agent.connected && open && restart.missed.is_none() && restart.ordered.done.is_none()
        });
        pending.map(|(uid, _)| self.index(*uid)).collect()
    }

    fn under_way(&self) -> usize {
        self.restarts.values().filter(|restart| restart.missed.is_none()).count()
    }

    /// The replica sends the command, and the agent obeys.
    fn obeys(&mut self, index: usize, healthy: bool) {
        let restart = self.restarts[&self.agents[index].uid];
        let now = at(self.now);
        let agent = &mut self.agents[index];
        agent.done = Some(Done { order: restart.ordered.given.as_second(), at: now });
        agent.started = agent.started.map(|_| now.as_second());
        if agent.healthy != Some(healthy) {
            agent.health_since = now;
        }
        agent.healthy = Some(healthy);
        *self.commands.entry(index).or_default() += 1;
    }

    /// Goes on until nothing is to come; each agent that is commanded comes back at once.
    fn runs(&mut self, second: i64) {
        for second in second..second + 200 {
            self.at(second);
            for index in self.pending() {
                self.obeys(index, true);
            }
            if self.status().state != RestartState::Running {
                return;
            }
        }
    }
}

#[test]
fn each_agent_is_commanded_once_a_tenth_at_a_time_and_each_is_seen_to_be_back_before_the_next() {
    let mut world = World::new(25);
    assert_eq!(world.status().agents, 25);
    world.at(101);
    assert_eq!((world.pending().len(), world.counts()), (2, (2, 0, 0)));
    world.at(110);
    assert_eq!((world.pending().len(), world.counts()), (2, (2, 0, 0)), "they have not come back");
    let first = world.pending();
    world.obeys(first[0], true);
    world.at(111);
    assert_eq!((world.under_way(), world.counts()), (2, (3, 1, 0)), "one has, and another follows");
    world.runs(112);
    let status = world.status();
    assert_eq!((status.state, status.finished_at.is_some()), (RestartState::Completed, true));
    assert_eq!(world.counts(), (25, 25, 0));
    assert_eq!(world.commands, (0..25).map(|index| (index, 1)).collect());
    assert_eq!((world.restarts.len(), world.missed.len()), (0, 0));
    world.runs(500);
    assert_eq!(world.commands.values().sum::<usize>(), 25, "a request is handled once");
}

#[test]
fn agent_that_is_not_meant_is_left_alone() {
    let mut world = World::new(6);
    world.agents[0].accepts_restart = false;
    world.agents[1].connected = false;
    let late = at(200);
    // It joined later; the next one only came back, and the last one does not say.
    (world.agents[2].since, world.agents[2].started) = (late, Some(late.as_second()));
    world.agents[3].since = late;
    (world.agents[4].since, world.agents[4].started) = (late, None);
    world.runs(300);
    assert_eq!(world.commands.keys().copied().collect::<Vec<_>>(), [3, 5]);
    assert_eq!(world.status().state, RestartState::Completed);
}

#[test]
fn agent_that_does_not_come_back_in_time_is_missed_and_no_longer_in_the_way() {
    for (name, change) in [
        ("stays ill", (|world, index| world.obeys(index, false)) as fn(&mut World, usize)),
        ("never obeys", |_, _| {}),
        ("goes away", |world, index| {
            world.obeys(index, true);
            world.agents[index].connected = false;
        }),
        ("obeys in vain", |world, index| {
            world.obeys(index, true);
            world.agents[index].started = Some(at(0).as_second());
        }),
    ] {
        let mut world = World::new(10);
        world.at(101);
        let first = world.pending()[0];
        change(&mut world, first);
        world.at(160);
        assert_eq!((world.counts(), world.missed.len()), ((1, 0, 0), 0), "{name}: it has the time");
        world.at(161);
        assert_eq!((world.counts(), &world.missed[..]), ((2, 0, 1), &[first][..]), "{name}");
        world.runs(162);
        assert_eq!(world.counts(), (10, 9, 1), "{name}");
        assert_eq!(world.status().state, RestartState::Completed, "{name}: one of ten is tolerated");
        world.at(999);
        assert_eq!((world.restarts.len(), world.missed.len()), (0, 1), "{name}");
    }
}

#[test]
fn agent_that_comes_back_late_counts_as_restarted() {
    let mut world = World::new(10);
    world.at(101);
    let first = world.pending()[0];
    world.obeys(first, false);
    world.at(161);
    assert_eq!(world.counts(), (2, 0, 1));
    world.agents[first].healthy = Some(true);
    world.at(162);
    assert_eq!(world.counts(), (2, 1, 0));
}

#[test]
fn nobody_is_commanded_while_a_tenth_is_told_where_to_send_its_own_telemetry() {
    let mut world = World::new(30);
    world.told = 3;
    world.look(101, true);
    assert_eq!(world.counts(), (0, 0, 0));
    assert_eq!(world.status().message, "agents are being told where to send their own telemetry");
    world.told = 0;
    world.look(102, true);
    assert_eq!((world.counts(), world.status().message.as_str()), ((3, 0, 0), ""));
}

#[test]
fn more_than_a_tenth_that_do_not_come_back_stop_the_restart_once_nobody_is_under_way() {
    let mut world = World::new(20);
    for second in [101, 161, 221] {
        world.at(second);
        for index in world.pending() {
            world.obeys(index, false);
        }
    }
    let RestartStatus { state, message, .. } = world.status();
    assert_eq!((*state, world.counts()), (RestartState::Stopped, (4, 0, 4)), "two were tolerated");
    assert_eq!(message, "4 of 20 agents did not come back healthy within 60s; the others are left alone");
    let commanded = world.commands.len();
    world.runs(300);
    assert_eq!((world.commands.len(), world.restarts.len()), (commanded, 0));
}

#[test]
fn one_that_is_missed_beside_one_that_is_under_way_stops_the_restart_when_that_has_come_back() {
    let mut world = World::new(29);
    for (second, healthy) in [(101, false), (161, true)] {
        world.at(second);
        let pending = world.pending();
        world.obeys(pending[0], false);
        world.obeys(pending[1], healthy);
    }
    world.at(162);
    world.at(221);
    assert_eq!((world.status().state, world.counts().2), (RestartState::Running, 3));
    assert_eq!(world.under_way(), 1, "nobody else follows");
    for index in world.pending() {
        world.obeys(index, true);
    }
    world.at(222);
    assert_eq!(world.status().state, RestartState::Stopped);
}

#[test]
fn next_agent_waits_while_somebody_else_is_at_it_and_others_wait_behind_it() {
    let mut world = World::new(20);
    let seed = Seed::parse(&world.status().seed).expect("a seed");
    let first = (0..20).min_by_key(|index| seed.rank(world.agents[*index].uid)).expect("one");
    world.busy.insert(first);
    world.at(101);
    assert_eq!((world.under_way(), world.status().state), (0, RestartState::Running));
    assert_eq!(
        world.status().message,
        "the next agent is being put right, or a rollout or an adoption waits for it"
    );
    world.busy.clear();

    world.treatments.insert(world.agents[first].uid, healing(A, Order::Offer, 90));
    world.at(102);
    assert_eq!(world.under_way(), 0, "it is treated");
    let other = (first + 1) % 20;
    world.treatments = [(world.agents[other].uid, healing(A, Order::Offer, 90))].into();
    world.at(103);
    assert_eq!(world.under_way(), 1, "both share the tenth");
    world.treatments.clear();
    world.at(104);
    assert_eq!((world.under_way(), world.status().message.as_str()), (2, ""));
}

#[test]
fn agent_that_has_just_gone_away_is_waited_for() {
    let mut world = World::new(1);
    (world.agents[0].connected, world.agents[0].since) = (false, at(95));
    world.at(101);
    assert_eq!(world.status().message, "the next agent has gone away and may come back");
    world.at(184);
    assert_eq!(world.status().state, RestartState::Running);
    (world.agents[0].connected, world.agents[0].since) = (true, at(184));
    world.runs(185);
    assert_eq!((world.commands.len(), world.status().state), (1, RestartState::Completed));

    let mut world = World::new(1);
    (world.agents[0].connected, world.agents[0].since) = (false, at(95));
    world.at(185);
    assert_eq!((world.under_way(), world.status().state), (0, RestartState::Completed), "it is offline");
}

#[test]
fn agent_that_was_ill_before_need_not_become_well_and_one_that_tells_no_start_is_believed() {
    let mut world = World::new(1);
    (world.agents[0].healthy, world.agents[0].health_since) = (Some(false), at(50));
    world.at(101);
    world.obeys(0, false);
    world.at(102);
    assert_eq!(world.counts(), (1, 1, 0), "it was started anew, and is as it was");

    let mut world = World::new(1);
    world.agents[0].started = None;
    world.at(101);
    world.obeys(0, true);
    world.at(102);
    assert_eq!(world.counts(), (1, 0, 0), "nothing shows that it obeyed");
    world.agents[0].since = at(103);
    world.at(104);
    assert_eq!(world.counts(), (1, 1, 0), "it has connected anew");

    let mut world = World::new(1);
    world.agents[0].started = None;
    world.at(101);
    world.obeys(0, true);
    world.at(161);
    assert_eq!(world.counts(), (1, 1, 0), "it is well when its time is up");
}

#[test]
fn agent_that_the_restart_made_ill_is_not_back_whatever_its_replicas_clock_says() {
    for ahead in [-10, -1, 0, 1, 10] {
        let mut world = World::new(10);
        world.at(101);
        let first = world.pending()[0];
        world.now = 102;
        world.obeys(first, false);
        // As a replica tells it whose clock says something else.
        let agent = &mut world.agents[first];
        agent.done = agent.done.map(|done| Done { at: at(102 + ahead), ..done });
        agent.health_since = at(103 + ahead);
        world.at(104);
        assert_eq!((world.under_way(), world.counts()), (1, (1, 0, 0)), "{ahead} s ahead");
        world.agents[first].healthy = Some(true);
        world.at(105);
        assert_eq!(world.counts(), (2, 1, 0), "{ahead} s ahead");
    }
}

#[test]
fn another_request_begins_anew_and_waits_for_those_who_are_under_way() {
    let mut world = World::new(10);
    world.at(101);
    let first = world.pending()[0];
    world.ask("second");
    assert_eq!(world.status().requested_at.0, at(101));
    world.at(102);
    assert_eq!((world.under_way(), world.counts()), (1, (0, 0, 0)), "that of the first request");
    world.obeys(first, true);
    world.runs(103);
    assert_eq!((world.counts(), world.commands[&first]), ((10, 10, 0), 2));
}

#[test]
fn adoptees_and_agents_under_restart_are_not_treated() {
    let ill = |n| ObservedAgent { healthy: Some(false), accepts_restart: true, ..seen(uid(n), at(0)) };
    let mut world = World::new(0);
    world.agents = vec![ill(1), ill(2)];
    world.ask("second");
    world.at(101);
    assert_eq!(world.under_way(), 1);
    let agents: Vec<&ObservedAgent> = world.agents.iter().collect();
    let treated = super::group::treated_beside(&world.restarts, &agents, 200);
    assert_eq!(treated.treatments.len(), 0, "one place, and it is taken");
    assert_eq!(super::group::treated_beside(&Restarts::new(), &agents, 200).treatments.len(), 1);
    let adoptee = ObservedAgent { adoptee: Some(Adoptee { since: 0, waits: false }), ..ill(1) };
    assert!(super::group::treated_beside(&Restarts::new(), &[&adoptee], 200).treatments.is_empty());
}

/// What an agent does when it is commanded.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Return,
    StayIll,
    Nothing,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn restart_keeps_its_limit_commands_nobody_twice_and_ends_whatever_is_lost(
        deeds in prop::collection::vec(prop::sample::select(vec![Deed::Return, Deed::Return, Deed::Return, Deed::StayIll, Deed::Nothing]), 1..45),
        looks in prop::collection::vec((1_i64..40, any::<bool>(), any::<bool>(), any::<prop::sample::Index>()), 1..60),
    ) {
        let mut world = World::new(u32::try_from(deeds.len()).expect("few"));
        let most = (deeds.len() / 10).max(1);
        let mut now = 100;
        // After the lost writes and the absences come as many looks as it takes to end.
        let trouble = looks.into_iter().map(|(wait, written, obeyed, away)| (wait, written, obeyed, Some(away)));
        let calm = (0..400).map(|_| (40, true, true, None));
        for (wait, written, obeyed, away) in trouble.chain(calm) {
            now += wait;
            for agent in &mut world.agents {
                agent.connected = true;
            }
            if let Some(away) = away {
                let index = away.index(deeds.len());
                world.agents[index].connected = false;
                world.agents[index].since = at(now);
            }
            world.look(now, written);
            prop_assert!(world.under_way() <= most, "{} of {}", world.under_way(), deeds.len());
            for index in world.pending().into_iter().filter(|_| obeyed) {
                match deeds[index] {
                    Deed::Return => world.obeys(index, true),
                    Deed::StayIll => world.obeys(index, false),
                    Deed::Nothing => {}
                }
            }
            prop_assert!(world.commands.values().all(|times| *times == 1), "{:?}", world.commands);
        }
        let status = world.status();
        prop_assert_ne!(status.state, RestartState::Running);
        prop_assert_eq!(status.ordered, status.restarted + status.failed);
        let tolerated = i64::try_from(deeds.len() / 10).expect("few");
        prop_assert_eq!(status.state == RestartState::Stopped, status.failed > tolerated);
        if status.state == RestartState::Completed {
            prop_assert_eq!(status.ordered, i64::try_from(deeds.len()).expect("few"));
        }
    }
}

#[test]
fn restart_that_a_newer_version_has_in_hand_is_left_to_it() {
    let newer = RestartStatus { state: RestartState::Unknown, ..begin("t", None, &[], 1, at(0)) };
    let ordered = Ordered { order: Order::Restart, given: at(1), done: None };
    let under_way: Restarts =
        [(uid(1), Restart { asked: at(0), ordered, started: None, missed: None })].into();
    let agents = [ObservedAgent { accepts_restart: true, ..seen(uid(2), at(0)) }];
    let agents: Vec<&ObservedAgent> = agents.iter().collect();
    let terms = Terms { patience: PATIENCE, offline_after: OFFLINE_AFTER, told: 0, now: at(9_999) };
    let round = restart(Some(&newer), &under_way, &agents, &Treatments::new(), |_| false, &terms);
    assert_eq!(round, Round { status: Some(newer), restarts: under_way, ..Round::default() });
}
