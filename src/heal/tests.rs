use super::course::next;
use super::*;
use crate::config::ConfigHash;
use crate::fleet::fixtures::{A, B, at, hash, seconds, seen, uid};
use crate::fleet::{Cause, Done, DriftClass, ObservedAgent, Order, Shown, Sight, Treatment};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

mod group;
mod newer;
mod restart;

const RULES: Rules = Rules {
    corrects: true,
    heals: true,
    max_attempts: 3,
    initial_backoff: SignedDuration::from_secs(10),
    max_backoff: SignedDuration::from_secs(25),
    unhealthy_after: SignedDuration::from_secs(30),
    retried_at: None,
    disturbed: 0,
    now: Timestamp::UNIX_EPOCH,
};

fn rules(second: i64) -> Rules {
    Rules { now: at(second), ..RULES }
}

/// One agent that is to run `A`, and its treatment.
struct World {
    agent: ObservedAgent,
    treatment: Option<Treatment>,
    assigned: Option<ConfigHash>,
    fallback: Option<ConfigHash>,
    is_judged: bool,
    has_room: bool,
    rules: Rules,
    /// All that has come to pass, with the second.
    news: Vec<(i64, Happened)>,
    wake: Option<Timestamp>,
}

impl World {
    fn new() -> Self {
        let agent = ObservedAgent { running: Some(hash(A)), reports_effective: true, ..seen(uid(1), at(0)) };
        let mut world = Self {
            agent,
            treatment: None,
            assigned: Some(hash(A)),
            fallback: None,
            is_judged: false,
            has_room: true,
            rules: rules(0),
            news: Vec::new(),
            wake: None,
        };
        world.shows(Shown::InSync);
        world
    }

    fn shows(&mut self, shown: Shown) {
        let of = self.agent.running.unwrap_or(hash(A));
        self.agent.sight = Some(Sight { shown, ..Sight::blank(of, self.rules.now) });
    }

    fn drifts(&mut self) {
        self.shows(Shown::Drifted(DriftClass::Modified, "a".into()));
    }

    fn is_healthy(&mut self, healthy: bool) {
        if self.agent.healthy != Some(healthy) {
            self.agent.health_since = self.rules.now;
        }
        self.agent.healthy = Some(healthy);
    }

    /// The replica carries the order out: the agent has shown nothing since.
    fn carries_out(&mut self) {
        let ordered = self.treatment.as_ref().and_then(Treatment::pending).expect("an order");
        self.agent.done = Some(Done { order: ordered.given.as_second(), at: self.rules.now });
        if ordered.order != Order::Restart {
            self.agent.sight = None;
        }
    }

    fn case(&self) -> Case<'_> {
        let sent_back = self.treatment.as_ref().is_some_and(|treatment| treatment.sent_back);
        let wanted = if sent_back { self.fallback } else { self.assigned };
        let drift = self.agent.drift().filter(|_| self.agent.connected && self.agent.running == wanted);
        Case {
            agent: &self.agent,
            assigned: self.assigned,
            wanted,
            drifts_since: drift.map(|(.., since)| since),
            fallback: self.fallback,
            is_judged: self.is_judged,
        }
    }

    /// What has come to pass by this second.
    fn at(&mut self, second: i64) -> Vec<Happened> {
        self.rules.now = at(second);
        let next = next(self.treatment.as_ref(), &self.case(), self.has_room, &self.rules);
        self.treatment = next.treatment;
        self.wake = next.wake;
        self.news.extend(next.happened.iter().map(|happened| (second, *happened)));
        next.happened
    }

    /// Goes on by itself until nothing is to come any more; every order is carried out at once and brings `effect`.
    fn runs(&mut self, second: i64, mut effect: impl FnMut(&mut Self, Order)) {
        let mut now = second;
        for _ in 0..50 {
            self.at(now);
            if let Some(ordered) = self.treatment.as_ref().and_then(Treatment::pending) {
                self.carries_out();
                effect(self, ordered.order);
                continue;
            }
            let Some(wake) = self.wake else { return };
            assert!(wake > at(now), "it would be looked for ever");
            let until = wake.duration_since(at(0));
            now = until.as_secs() + i64::from(until.subsec_nanos() > 0);
        }
        panic!("it does not end: {:?}", self.news);
    }

    fn orders(&self) -> Vec<(i64, Order)> {
        let orders = self.news.iter().filter_map(|(second, happened)| match happened {
            Happened::Ordered(_, order) => Some((*second, *order)),
            _ => None,
        });
        orders.collect()
    }
}

#[test]
fn agent_that_drifts_is_offered_its_content_and_forgotten_once_it_has_stayed_well() {
    let mut world = World::new();
    assert_eq!(world.at(0), []);
    world.drifts();
    assert_eq!(world.at(1), [Happened::Ordered(Cause::Drift, Order::Offer)]);
    assert_eq!(world.at(2), [], "it was not carried out yet");
    world.carries_out();
    assert_eq!(world.at(3), [], "it has shown nothing yet");
    world.shows(Shown::InSync);
    assert_eq!(world.at(4), [Happened::Helped(Cause::Drift, Order::Offer)]);
    assert!(world.treatment.as_ref().is_some_and(|treatment| !treatment.is_active()));
    assert_eq!((world.at(28), world.wake), (vec![], Some(at(29))));
    assert!(world.treatment.is_some());
    assert_eq!(world.at(29), []);
    assert_eq!(world.treatment, None);
}

#[test]
fn agent_that_reverts_every_correction_is_quarantined_after_exactly_the_attempts() {
    for reverts_after_a_look in [false, true] {
        let mut world = World::new();
        world.drifts();
        world.runs(1, |world, _| {
            if reverts_after_a_look {
                world.shows(Shown::InSync);
                world.at(world.rules.now.duration_since(at(0)).as_secs());
            }
            world.drifts();
        });
        let orders = world.orders();
        assert_eq!(orders.len(), 3, "{:?}", world.news);
        assert!(orders.iter().all(|(_, order)| *order == Order::Offer));
        let pauses: Vec<i64> = orders.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!((8..=10).contains(&pauses[0]) && (15..=20).contains(&pauses[1]), "{pauses:?}");
        assert_eq!(world.news.last().map(|(_, last)| *last), Some(Happened::Quarantined(Cause::Drift)));
        let quarantined = world.treatment.clone().expect("a treatment");
        assert_eq!((quarantined.orders, quarantined.pending()), (3, None));
        assert_eq!(world.at(10_000), [], "it is left alone");
        assert_eq!(world.treatment, Some(quarantined));
    }
}

fn quarantined() -> World {
    let mut world = World::new();
    world.drifts();
    world.runs(1, |world, _| world.drifts());
    assert!(world.treatment.as_ref().is_some_and(|treatment| treatment.quarantined.is_some()));
    world
}

#[test]
fn quarantine_ends_when_the_agent_is_well_and_comes_back_if_it_falls_soon() {
    let mut world = quarantined();
    world.shows(Shown::InSync);
    assert_eq!(world.at(1000), [Happened::Released(Release::Well)]);
    world.drifts();
    assert_eq!(world.at(1010), [Happened::Quarantined(Cause::Drift)]);
    world.shows(Shown::InSync);
    assert_eq!(world.at(1020), [Happened::Released(Release::Well)]);
    assert_eq!((world.at(1045), world.treatment.take()), (vec![], None), "forgotten");
    world.drifts();
    assert_eq!(world.at(1046), [Happened::Ordered(Cause::Drift, Order::Offer)]);
}

#[test]
fn quarantine_ends_with_a_retry_with_other_content_and_with_other_rules() {
    let ordered = Happened::Ordered(Cause::Drift, Order::Offer);
    let mut retried = quarantined();
    retried.rules.retried_at = Some(at(1));
    assert_eq!(retried.at(1000), [], "that was before");
    retried.rules.retried_at = Some(at(999));
    assert_eq!(retried.at(1000), [Happened::Released(Release::Retried), ordered]);

    let mut other = quarantined();
    other.assigned = Some(hash(B));
    assert_eq!(other.at(1000), [Happened::Released(Release::Otherwise)]);
    assert_eq!(other.treatment, None);

    let mut detecting = quarantined();
    detecting.rules.corrects = false;
    assert_eq!(detecting.at(1000), [Happened::Released(Release::Otherwise)]);
    assert_eq!(detecting.treatment, None);
}

#[test]
fn unhealthy_agent_is_healed_in_steps_as_far_as_it_takes_them() {
    use Order::{Offer, Restart, Stable};
    for (restarts, takes, fallback, max_attempts, expected) in [
        (true, true, true, 5, &[Restart, Offer, Stable][..]),
        (true, true, true, 2, &[Restart, Offer]),
        (true, true, false, 5, &[Restart, Offer]),
        (false, true, true, 5, &[Offer, Stable]),
        (true, false, true, 5, &[Restart]),
    ] {
        let mut world = World::new();
        world.agent.accepts_restart = restarts;
        world.agent.accepts_config = takes;
        world.fallback = fallback.then(|| hash(B));
        world.rules.max_attempts = max_attempts;
        world.is_healthy(false);
        world.runs(0, |world, order| {
            if order == Stable {
                world.agent.running = Some(hash(B));
            }
        });
        let orders = world.orders();
        assert_eq!(orders.iter().map(|(_, order)| *order).collect::<Vec<_>>(), expected);
        // It has `unhealthyAfter` first, and after each step again.
        let times: Vec<i64> = orders.iter().map(|(second, _)| *second).collect();
        assert_eq!(times, (1..).map(|n| 30 * n).take(times.len()).collect::<Vec<i64>>());
        assert_eq!(world.news.last().map(|(_, last)| *last), Some(Happened::Quarantined(Cause::Illness)));
        let treatment = world.treatment.expect("a treatment");
        assert_eq!(treatment.sent_back, expected.contains(&Stable));
    }
}

#[test]
fn agent_that_takes_nothing_is_not_treated() {
    let mut world = World::new();
    world.agent.accepts_config = false;
    world.is_healthy(false);
    assert_eq!((world.at(1000), world.treatment), (vec![], None));
}

#[test]
fn step_that_helps_is_the_last_and_a_relapse_goes_on_with_the_next() {
    let mut world = World::new();
    world.agent.accepts_restart = true;
    world.is_healthy(false);
    assert_eq!((world.at(29), world.wake), (vec![], Some(at(30))));
    assert_eq!(world.at(30), [Happened::Ordered(Cause::Illness, Order::Restart)]);
    world.carries_out();
    assert_eq!(world.at(40), []);
    world.is_healthy(true);
    assert_eq!(world.at(50), [Happened::Helped(Cause::Illness, Order::Restart)]);
    world.is_healthy(false);
    world.at(51);
    assert_eq!((world.at(52), world.wake), (vec![], Some(at(75))), "it has that time again");
    // It was forgotten before that: `maxBackoff` is shorter here than `unhealthyAfter`.
    world.rules.max_backoff = seconds(100);
    world.at(53);
    assert_eq!(world.at(81), [Happened::Ordered(Cause::Illness, Order::Offer)]);
}

#[test]
fn agent_that_was_sent_back_keeps_stable_until_other_content_or_a_retry() {
    let sent_back = || {
        let mut world = World::new();
        world.fallback = Some(hash(B));
        world.is_healthy(false);
        world.runs(0, |world, order| {
            if order == Order::Stable {
                world.agent.running = Some(hash(B));
                world.shows(Shown::InSync);
                world.is_healthy(true);
            }
        });
        assert!(world.treatment.as_ref().is_some_and(|treatment| treatment.sent_back));
        world
    };
    let mut world = sent_back();
    world.rules.heals = false;
    assert_eq!(world.at(100_000), []);
    let kept = world.treatment.as_ref().expect("it is not forgotten");
    assert_eq!((kept.sent_back, kept.orders, kept.last), (true, 0, None), "and its attempts are");
    world.drifts();
    assert_eq!(world.at(100_001), [Happened::Ordered(Cause::Drift, Order::Offer)]);
    assert!(world.treatment.as_ref().is_some_and(|treatment| treatment.sent_back), "of stable");

    let other_content: fn(&mut World) = |world| world.assigned = Some(hash(0xcc));
    let retry: fn(&mut World) = |world| world.rules.retried_at = Some(at(100_000));
    for change in [other_content, retry] {
        let mut world = sent_back();
        change(&mut world);
        world.at(100_001);
        assert_eq!(world.treatment, None);
    }
}

#[test]
fn agent_that_a_rollout_judges_is_left_to_it() {
    let mut world = World::new();
    world.is_judged = true;
    world.drifts();
    world.is_healthy(false);
    assert_eq!((world.at(1000), world.treatment.clone(), world.wake), (vec![], None, None));
    world.is_judged = false;
    assert_eq!(world.at(1001), [Happened::Ordered(Cause::Drift, Order::Offer)]);
    world.is_judged = true;
    assert_eq!((world.at(1002), world.treatment), (vec![], None));
}

#[test]
fn nothing_is_done_where_the_group_only_wants_to_know() {
    let mut world = World::new();
    world.rules = Rules { corrects: false, heals: false, ..world.rules };
    world.drifts();
    world.is_healthy(false);
    assert_eq!((world.at(1000), world.treatment.clone()), (vec![], None));
    world.rules.heals = true;
    assert_eq!(world.at(1001), [Happened::Ordered(Cause::Illness, Order::Offer)]);
}

#[test]
fn treatment_stands_still_while_its_agent_is_away() {
    let mut world = World::new();
    world.drifts();
    world.at(1);
    world.agent.connected = false;
    let before = world.treatment.clone();
    assert_eq!((world.at(5_000), &world.treatment, world.wake), (vec![], &before, None));
    world.agent.connected = true;
    world.carries_out();
    world.drifts();
    assert_eq!(world.at(5_001), []);
    assert!(world.wake.is_some_and(|wake| wake >= at(5_007)), "the pause counts from when it was done");
}

#[test]
fn agent_that_never_shows_what_came_of_an_order_is_not_counted_as_helped() {
    let mut world = World::new();
    world.drifts();
    world.runs(1, |_, _| {});
    let last = world.news.last().expect("news");
    assert_eq!(last.1, Happened::Unverified(Cause::Drift, Order::Offer));
    assert_eq!(world.treatment, None);
}

#[test]
fn agent_that_is_ill_once_it_runs_the_right_content_shares_its_attempts() {
    let mut world = World::new();
    world.agent.accepts_restart = true;
    world.rules.max_backoff = seconds(200);
    world.drifts();
    world.is_healthy(false);
    world.runs(31, |world, _| world.shows(Shown::InSync));
    let orders: Vec<Order> = world.orders().into_iter().map(|(_, order)| order).collect();
    assert_eq!(orders, [Order::Offer, Order::Restart, Order::Offer], "three in all");
    assert_eq!(world.news.last().map(|(_, last)| *last), Some(Happened::Quarantined(Cause::Illness)));
}

/// One thing that may happen to an agent.
#[derive(Clone, Debug)]
enum Turn {
    Drifts,
    Right,
    Blind,
    Ill,
    Well,
    Away,
    Back,
    CarriedOut,
    Judged(bool),
    Room(bool),
    Passes(i64),
}

fn any_turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => Just(Turn::Drifts),
        2 => Just(Turn::Right),
        1 => Just(Turn::Blind),
        3 => Just(Turn::Ill),
        2 => Just(Turn::Well),
        1 => Just(Turn::Away),
        2 => Just(Turn::Back),
        4 => Just(Turn::CarriedOut),
        1 => prop::bool::weighted(0.3).prop_map(Turn::Judged),
        1 => any::<bool>().prop_map(Turn::Room),
        6 => (0_i64..60).prop_map(Turn::Passes),
    ]
}

proptest! {
    /// Whatever an agent does: no more orders than attempts before it is quarantined or has stayed well, each in a
    /// second of its own, one at a time, none while it is judged or away; and asking twice changes nothing.
    #[test]
    fn treatment_keeps_its_bounds(turns in prop::collection::vec(any_turn(), 1..120)) {
        let mut world = World::new();
        world.agent.accepts_restart = true;
        world.fallback = Some(hash(B));
        let mut now = 0;
        let mut last_given = None;
        for turn in turns {
            match turn {
                Turn::Drifts => world.drifts(),
                Turn::Right => {
                    let sent_back = world.treatment.as_ref().is_some_and(|treatment| treatment.sent_back);
                    world.agent.running = Some(hash(if sent_back { B } else { A }));
                    world.shows(Shown::InSync);
                }
                Turn::Blind => world.agent.sight = None,
                Turn::Ill => world.is_healthy(false),
                Turn::Well => world.is_healthy(true),
                Turn::Away => world.agent.connected = false,
                Turn::Back => world.agent.connected = true,
                Turn::CarriedOut => {
                    if world.treatment.as_ref().is_some_and(|treatment| treatment.pending().is_some()) {
                        world.carries_out();
                    }
                }
                Turn::Judged(judged) => world.is_judged = judged,
                Turn::Room(room) => world.has_room = room,
                Turn::Passes(more) => now += more,
            }
            let pending = world.treatment.as_ref().and_then(Treatment::pending);
            let undone = pending.filter(|ordered| world.agent.done.is_none_or(|done| !done.is_of(ordered)));
            let undone = undone.and(world.treatment.as_ref()).map(|treatment| treatment.cause);
            let happened = world.at(now);
            if let Some(treatment) = &world.treatment {
                prop_assert!(treatment.orders <= RULES.max_attempts);
                prop_assert!(!(treatment.well.is_some() && treatment.quarantined.is_some()));
            }
            let ordered = happened.iter().find_map(|happened| match happened {
                Happened::Ordered(cause, _) => Some(*cause),
                _ => None,
            });
            if ordered.is_some() {
                prop_assert!(world.agent.connected && !world.is_judged);
                prop_assert!(undone != ordered, "the last order is still to be carried out");
                let given = world.treatment.as_ref().and_then(|treatment| treatment.last).expect("an order").given;
                prop_assert!(last_given.is_none_or(|last| given.as_second() > last));
                last_given = Some(given.as_second());
            }
            if world.treatment.is_none() {
                last_given = None;
            }
            prop_assert!(world.wake.is_none_or(|wake| wake > at(now)));
            let (before, news) = (world.treatment.clone(), world.news.len());
            prop_assert_eq!(world.at(now), vec![]);
            prop_assert_eq!((&world.treatment, world.news.len()), (&before, news));
        }
    }
}
