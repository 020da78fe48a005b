//! What the leader orders for single agents is carried out once.

use super::*;
use crate::config::Digest;
use crate::fleet::{Capabilities, Order, Shown, Sight, Treatment};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a supervisor is able to do that also shows what is in effect and takes the command.
const ALL: Capabilities = Capabilities(
    TAKES_CONFIG.0 | Capabilities::REPORTS_EFFECTIVE_CONFIG.0 | Capabilities::ACCEPTS_RESTART_COMMAND.0,
);

/// A view in which agent 1 is treated in this way.
fn treating(treatment: Option<Treatment>) -> Arc<View> {
    let mut view = View::new([("ns".into(), group("g", Some(B), Some(A)))]);
    if let Some(treatment) = treatment {
        view.treat(key(1), treatment);
    }
    Arc::new(view)
}

/// An unhealthy agent that runs B.
fn ill() -> Report {
    Report { capabilities: Some(ALL), healthy: Some(false), config: applied(B).config, ..full() }
}

/// A roster with agent 1, unhealthy and drifting, on this link; all of that is written.
fn suffering(link: Link) -> Roster {
    let mut roster = serving(Some(B), Some(A));
    roster.receive(&key(1), ill(), link, at(0));
    drift(&mut roster, 1);
    roster.take_due(Timestamp::MAX);
    roster
}

fn drift(roster: &mut Roster, second: i64) {
    let shown = Shown::Drifted(DriftClass::Modified, "a".into());
    let sight = Sight { of: hash(B), shown, since: at(second), baseline: Some(Digest::from_bytes([1; 8])) };
    roster.note_sight(&key(1), sight, false, at(second));
}

/// What is sent to agent 1 now: an offer of this, or 0 for the command.
fn sent(roster: &mut Roster, second: i64) -> Option<u8> {
    if roster.take_restart(&key(1), at(second)) {
        return Some(0);
    }
    roster.take_offer(&key(1), at(second)).map(|offer| offer.hash().as_bytes()[0])
}

fn orders() -> [(Treatment, u8); 4] {
    [
        (ordered(B, Order::Offer, 10), B),
        (healing(B, Order::Offer, 10), B),
        (healing(B, Order::Restart, 10), 0),
        (healing(B, Order::Stable, 10), A),
    ]
}

#[test]
fn order_wakes_its_agent_and_is_written_as_done_soon() {
    for (treatment, expected) in orders() {
        for (link, woken) in [(SOCKET, vec![key(1)]), (Link::Polling, vec![])] {
            let mut roster = suffering(link);
            let view = treating(Some(treatment.clone()));
            assert_eq!(roster.set_view(view.clone(), at(20)), woken, "{treatment:?}");
            assert_eq!(roster.next_due(), None);
            assert_eq!([20, 21].map(|second| sent(&mut roster, second)), [Some(expected), None]);
            assert_eq!(roster.next_due(), Some(at(21)));
            assert_eq!(roster.set_view(view, at(22)), [], "the same view again");
            let spec = roster.take_due(at(22)).remove(0).spec.expect("agents");
            let entry = &spec.agents[0];
            let done = entry.done.as_ref().map(|done| (done.order, done.after));
            assert_eq!(done, Some((at(10).as_second(), 10)), "{treatment:?}");
            let code = entry.sight.as_ref().map(|sight| sight.code);
            assert_eq!(
                code == Some(DriftClass::Modified.code()),
                expected == 0,
                "{treatment:?}: in the same write"
            );
        }
    }
}

#[test]
fn order_is_carried_out_once_whatever_comes_between() {
    for (treatment, expected) in orders() {
        let view = treating(Some(treatment.clone()));
        let mut roster = suffering(SOCKET);
        roster.set_view(view.clone(), at(20));
        assert_eq!(sent(&mut roster, 20), Some(expected));
        let of_a_repeat = |roster: &mut Roster, second| {
            drift(roster, second);
            // An offer that was lost with its link is repeated, which is no order.
            sent(roster, second).filter(|_| expected != A)
        };
        roster.set_view(treating(None), at(21));
        roster.set_view(view.clone(), at(22));
        assert_eq!(of_a_repeat(&mut roster, 22), None, "{treatment:?}: a view without it");
        roster.receive(&key(1), ill(), OTHER_SOCKET, at(23));
        assert_eq!(of_a_repeat(&mut roster, 23), None, "{treatment:?}: a reconnect");
        let mut after = self::roster();
        for content in roster.take_due(Timestamp::MAX) {
            after.restore(&content.id, &content.spec.expect("agents"), at(24));
        }
        after.set_view(view, at(25));
        after.receive(&key(1), ill(), SOCKET, at(26));
        assert_eq!(of_a_repeat(&mut after, 26), None, "{treatment:?}: a restart");
        let again =
            Treatment { last: treatment.last.map(|last| Ordered { given: at(30), ..last }), ..treatment };
        after.set_view(treating(Some(again)), at(31));
        assert_eq!(of_a_repeat(&mut after, 31), Some(expected).filter(|sent| *sent != A), "the next order");
    }
}

#[test]
fn order_that_was_there_before_the_agent_is_carried_out_when_it_comes() {
    for restored in [false, true] {
        let mut roster = if restored {
            let mut after = roster();
            let mut before = suffering(SOCKET);
            before.write_failed(&SliceId { namespace: "ns".into(), number: 0 }, at(2));
            for content in before.take_due(Timestamp::MAX) {
                after.restore(&content.id, &content.spec.expect("agents"), at(3));
            }
            after
        } else {
            roster()
        };
        roster.set_view(treating(Some(healing(B, Order::Restart, 10))), at(20));
        assert_eq!(sent(&mut roster, 20), None, "it is not here");
        roster.receive(&key(1), ill(), SOCKET, at(21));
        assert_eq!([21, 22].map(|second| sent(&mut roster, second)), [Some(0), None], "{restored}");
    }
}

#[test]
fn agent_that_stood_in_two_slices_has_carried_out_what_either_tells() {
    let entry = |second| {
        let mut roster = suffering(SOCKET);
        roster.set_view(treating(Some(healing(B, Order::Restart, second))), at(second));
        assert_eq!(sent(&mut roster, second), Some(0));
        roster.take_due(Timestamp::MAX).remove(0).spec.expect("agents")
    };
    let mut roster = roster();
    for (number, second) in [(0, 10), (1, 30), (2, 20)] {
        roster.restore(&SliceId { namespace: "ns".into(), number }, &entry(second), at(40));
    }
    let done = roster.agent(&key(1)).expect("known").done();
    assert_eq!(done.map(|done| done.order), Some(at(30).as_second()), "the last one");
}

#[test]
fn suspended_replica_carries_nothing_out_until_it_resumes() {
    for (treatment, expected) in orders() {
        let mut roster = suffering(SOCKET);
        roster.suspend(true, at(19));
        assert_eq!(roster.set_view(treating(Some(treatment)), at(20)), []);
        assert_eq!((sent(&mut roster, 20), roster.expire(at(21))), (None, vec![]));
        assert_eq!(roster.suspend(false, at(30)), [key(1)]);
        assert_eq!(sent(&mut roster, 30), Some(expected));
    }
}

#[test]
fn order_whose_reason_comes_later_wakes_its_agent_then() {
    let mut roster = suffering(SOCKET);
    roster.receive(&key(1), Report { healthy: Some(true), ..Report::default() }, SOCKET, at(5));
    assert_eq!(roster.set_view(treating(Some(healing(B, Order::Restart, 10))), at(20)), []);
    assert_eq!(roster.expire(at(21)), []);
    roster.receive(&key(1), Report { healthy: Some(false), ..Report::default() }, SOCKET, at(22));
    assert_eq!(
        (roster.expire(at(23)), sent(&mut roster, 23), roster.expire(at(24))),
        (vec![key(1)], Some(0), vec![])
    );
}

#[test]
fn agent_that_was_sent_back_before_it_was_told_so_is_done_at_once() {
    let mut roster = serving(Some(B), Some(A));
    roster.receive(&key(1), Report { config: applied(A).config, ..ill() }, SOCKET, at(0));
    roster.take_due(Timestamp::MAX);
    assert_eq!(roster.set_view(treating(Some(healing(B, Order::Stable, 10))), at(20)), []);
    assert!(roster.agent(&key(1)).expect("known").done().is_some());
    assert_eq!((roster.next_due(), sent(&mut roster, 21)), (Some(at(21)), None));
}

/// Something that happens to a treated agent.
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
#[derive(Clone, Debug)]
enum Step {
    Say(Report, Link),
    Leave(Link),
    Drift,
    /// The leader gives its next order.
    Order(Order, bool),
    /// The leader has seen that it was carried out, or gives up.
    Done,
    View,
    Restart,
    Wait(i64),
}

fn link() -> impl Strategy<Value = Link> {
    prop::sample::select(vec![SOCKET, OTHER_SOCKET, Link::Polling])
}

fn report() -> impl Strategy<Value = Report> {
    let content = prop::sample::select(vec![A, B, C]);
    let outcome =
        prop::sample::select(vec![Outcome::Applied, Outcome::Applying, Outcome::Failed("no".into())]);
    let config = prop::option::of((content, outcome, 0_u8..3)).prop_map(|said| {
        let (n, outcome, counter) = said?;
        let report = config(Some(n), outcome);
        if counter == 0 { report.config } else { corrected(counter, report).config }
    });
    let capabilities = prop::option::of(prop::sample::select(vec![ALL, TAKES_CONFIG]));
    (any::<bool>(), any::<Option<bool>>(), capabilities, config).prop_map(
        |(full, healthy, capabilities, config)| {
            let description = full.then(|| describe("host"));
            Report { full, description, capabilities, healthy, config, ..Report::default() }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop::sample::select(vec![Order::Offer, Order::Restart, Order::Stable]);
    prop_oneof![
        8 => (report(), link()).prop_map(|(report, link)| Step::Say(report, link)),
        1 => link().prop_map(Step::Leave),
        4 => Just(Step::Drift),
        4 => (order, any::<bool>()).prop_map(|(order, ill)| Step::Order(order, ill)),
        1 => Just(Step::Done),
        2 => Just(Step::View),
        1 => Just(Step::Restart),
        1 => (0_i64..100).prop_map(Step::Wait),
    ]
}

/// An agent, and what is ordered for it.
struct World {
    roster: Roster,
    treatment: Option<Treatment>,
    now: i64,
}

impl World {
    fn act(&mut self, step: Step) {
        self.now += 1;
        let now = at(self.now);
        match step {
            Step::Say(report, link) => self.roster.receive(&key(1), report, link, now),
            Step::Leave(link) => self.roster.disconnect(&key(1), link, now),
            Step::Drift if self.roster.agent(&key(1)).and_then(Agent::running) == Some(hash(B)) => {
                drift(&mut self.roster, self.now);
            }
            Step::Drift => {}
            Step::Order(order, ill) => {
                let orders = self.treatment.as_ref().map_or(1, |treatment| treatment.orders + 1);
                let given = if ill { healing(B, order, self.now) } else { ordered(B, order, self.now) };
                let before = self.treatment.as_ref().is_some_and(|treatment| treatment.sent_back);
                self.treatment = Some(Treatment { orders, sent_back: given.sent_back || before, ..given });
                self.publish();
            }
            Step::Done => {
                self.treatment = None;
                self.publish();
            }
            Step::View => self.publish(),
            Step::Restart => self.restart(),
            Step::Wait(seconds) => {
                self.now += seconds;
                self.roster.expire(at(self.now));
            }
        }
    }

    fn publish(&mut self) {
        self.roster.set_view(treating(self.treatment.clone()), at(self.now));
    }

    fn restart(&mut self) {
        self.roster.write_failed(&SliceId { namespace: "ns".into(), number: 0 }, at(self.now));
        let written = self.roster.take_due(Timestamp::MAX);
        self.roster = roster();
        for content in written {
            if let Some(spec) = content.spec {
                self.roster.restore(&content.id, &spec, at(self.now));
            }
        }
        self.publish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn each_order_is_carried_out_at_most_once_and_never_without_its_reason(
        steps in prop::collection::vec((step(), any::<bool>()), 1..80)
    ) {
        let mut world = World { roster: suffering(SOCKET), treatment: None, now: 10 };
        world.publish();
        let mut carried: BTreeMap<i64, u32> = BTreeMap::new();
        for (step, takes) in steps {
            world.act(step);
            let before = world.roster.agent(&key(1)).cloned();
            if takes {
                sent(&mut world.roster, world.now);
            }
            let Some((before, after)) = before.zip(world.roster.agent(&key(1))) else { continue };
            if after.done() == before.done() { continue }
            let (done, treatment) = (after.done().expect("done"), world.treatment.clone().expect("a treatment"));
            let last = treatment.last.expect("an order");
            prop_assert!(done.is_of(&last));
            *carried.entry(done.order).or_default() += 1;
            prop_assert_eq!(carried[&done.order], 1, "once");
            prop_assert!(before.connected() && before.complete);
            match last.order {
                Order::Restart => {
                    prop_assert!(before.capabilities.has(Capabilities::ACCEPTS_RESTART_COMMAND));
                    prop_assert_eq!(before.healthy, Some(false));
                }
                Order::Offer if treatment.cause == crate::fleet::Cause::Illness => {
                    prop_assert_eq!(before.healthy, Some(false));
                }
                Order::Offer => prop_assert!(before.told().is_some() || before.sight().is_some()),
                Order::Stable => {}
                Order::Other(_) => prop_assert!(false, "nobody knows how"),
            }
        }
    }

    #[test]
    fn what_is_written_is_what_is_known(steps in prop::collection::vec((step(), any::<bool>()), 1..60)) {
        let mut world = World { roster: suffering(SOCKET), treatment: None, now: 10 };
        let id = SliceId { namespace: "ns".into(), number: 0 };
        world.roster.write_failed(&id, at(10));
        let mut written = None;
        for (step, takes) in steps {
            if matches!(step, Step::Restart) { continue }
            world.act(step);
            if takes {
                sent(&mut world.roster, world.now);
            }
            for content in world.roster.take_due(at(world.now)) {
                written = content.spec;
            }
        }
        for content in world.roster.take_due(Timestamp::MAX) {
            written = content.spec;
        }
        world.roster.write_failed(&id, at(world.now));
        prop_assert_eq!(world.roster.take_due(Timestamp::MAX).remove(0).spec, written);
    }
}
