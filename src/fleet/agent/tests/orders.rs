//! What the leader orders for one agent, carried out.

use super::*;
use crate::config::{Digest, Inventory};
use crate::fleet::builds::Builds;
use crate::fleet::{Build, BuildKey, Cause, DriftClass, Offer, Order, Ordered, Shown, Sight, Treatment};

/// What a supervisor is able to do that also shows what is in effect and takes the command.
const ALL: Capabilities = Capabilities(
    TAKES_CONFIG.0
        | Capabilities::REPORTS_EFFECTIVE_CONFIG.0
        | Capabilities::ACCEPTS_RESTART_COMMAND.0
        | Capabilities::REPORTS_HEALTH.0,
);

fn live() -> GroupView {
    group("g", Some(B), Some(A))
}

fn ill() -> Report {
    Report { healthy: Some(false), ..heartbeat() }
}

/// A healthy agent that runs B in this form, and was seen to be as it should be.
fn running(form: Form) -> Agent {
    let mut agent = agent();
    let mut report =
        Report { capabilities: Some(ALL), healthy: Some(true), started: Some(100), ..applied(B) };
    report.config.iter_mut().for_each(|config| config.form = form);
    hear(&mut agent, report);
    see(&mut agent, Shown::InSync);
    agent
}

fn see(agent: &mut Agent, shown: Shown) {
    let baseline = Some(Digest::from_bytes([1; 8]));
    agent.note_sight(Sight { of: agent.running().expect("something"), shown, since: at(2), baseline });
}

fn drifted() -> Shown {
    Shown::Drifted(DriftClass::Modified, "a::b".into())
}

/// An agent that runs B, drifts from it and is unhealthy.
fn suffering() -> Agent {
    let mut agent = running(Form::Plain);
    see(&mut agent, drifted());
    hear(&mut agent, ill());
    agent
}

fn say(agent: &mut Agent, report: Report) {
    hear(agent, report);
}

/// What is due to the agent under this treatment.
fn due_under(agent: &Agent, treatment: &Treatment, group: &GroupView) -> Option<(u8, Form)> {
    let mut agent = agent.clone();
    agent.treat(Some(treatment), at(50));
    agent.due_offer(group, at(50)).map(|offer| (offer.hash().as_bytes()[0], offer.form))
}

#[test]
fn nothing_is_offered_anew_without_an_order() {
    assert_eq!(suffering().due_offer(&live(), at(50)).map(|offer| offer.form), None);
    let treated = Treatment { last: None, ..ordered(B, Order::Offer, 40) };
    assert_eq!(due_under(&suffering(), &treated, &live()), None);
}

#[test]
fn agent_is_offered_its_revision_anew_in_the_form_that_does_something() {
    const FIRST: Form = Form::Correction(1);
    for (name, cause, orders, supervised, holds, expected) in [
        ("drifts, unknown, first", Cause::Drift, 1, false, Form::Plain, Form::Plain),
        ("drifts, unknown, corrected before", Cause::Drift, 1, false, FIRST, FIRST),
        ("drifts, unknown, second", Cause::Drift, 2, false, Form::Plain, FIRST),
        ("drifts, supervisor, first", Cause::Drift, 1, true, Form::Plain, FIRST),
        ("drifts, supervisor, third", Cause::Drift, 3, true, Form::Correction(2), Form::Correction(3)),
        ("ill, unknown, first", Cause::Illness, 1, false, Form::Plain, FIRST),
        ("ill, supervisor, first", Cause::Illness, 1, true, FIRST, Form::Correction(2)),
    ] {
        let mut agent = running(holds);
        see(&mut agent, drifted());
        hear(&mut agent, ill());
        if supervised {
            agent.note_supervised();
        }
        let treatment = Treatment { cause, orders, ..ordered(B, Order::Offer, 40) };
        assert_eq!(due_under(&agent, &treatment, &live()), Some((B, expected)), "{name}");
    }
}

#[test]
fn agent_that_does_not_have_its_revision_is_offered_it_as_it_is() {
    let mut group = live();
    group.assignment.apply_timeout = Some(std::time::Duration::from_mins(1));
    let mut agent = agent();
    agent.note_offer(hash(B), Form::Plain, at(0));
    hear(&mut agent, applied(C));
    agent.note_supervised();
    agent.judge_words(Some(&group), std::time::Duration::ZERO, at(100));
    assert_eq!(agent.told().map(|(class, _)| class), Some(DriftClass::Stale));
    assert_eq!(agent.due_offer(&group, at(100)).map(|offer| offer.form), None, "not without an order");
    let treatment = Treatment { orders: 3, ..ordered(B, Order::Offer, 40) };
    assert_eq!(due_under(&agent, &treatment, &group), Some((B, Form::Plain)));
    // It has the whole time to answer, and is not told to drift meanwhile.
    agent.treat(Some(&treatment), at(100));
    assert!(agent.take_offer(&group, at(101)).is_some());
    let mut told = |second| {
        agent.judge_words(Some(&group), std::time::Duration::ZERO, at(second));
        agent.told()
    };
    let stale = Some((DriftClass::Stale, at(161)));
    assert_eq!([101, 160, 161].map(&mut told), [None, None, stale]);
}

#[test]
fn order_is_carried_out_only_while_its_reason_is_seen() {
    type Change = fn(&mut Agent);
    let cases: [(&str, Change, [bool; 2]); 6] = [
        ("drifts and is ill", |_| (), [true, true]),
        ("is well", |agent| say(agent, Report { healthy: Some(true), ..heartbeat() }), [true, false]),
        ("is in sync", |agent| see(agent, Shown::InSync), [false, true]),
        ("nobody can tell", |agent| see(agent, Shown::Unknown), [false, true]),
        ("nobody has looked", |agent| assert!(agent.forget_sight()), [false, true]),
        ("drifted from another revision", |agent| say(agent, applied(C)), [false, true]),
    ];
    for (name, change, [drift, illness]) in cases {
        let mut agent = suffering();
        change(&mut agent);
        let is_due = |treatment: Treatment| due_under(&agent, &treatment, &live()).is_some();
        // An agent that runs another revision is offered its own, ordered or not.
        let anyway = agent.running() != Some(hash(B));
        let offers = [ordered(B, Order::Offer, 40), healing(B, Order::Offer, 40)].map(is_due);
        assert_eq!(offers, [drift || anyway, illness], "{name}");
    }
}

#[test]
fn order_counts_only_for_what_the_agent_is_assigned_and_while_it_is_pending() {
    type Change = fn(&mut Agent, &mut Treatment, &mut GroupView);
    let cases: [(&str, Change, bool); 12] = [
        ("as it should be", |_, _, _| (), true),
        ("of another content", |_, treatment, _| treatment.of = hash(A), false),
        ("carried out", |_, treatment, _| done(treatment, 45), false),
        ("quarantined", |_, treatment, _| treatment.quarantined = Some(at(45)), false),
        ("well again", |_, treatment, _| treatment.well = Some(at(45)), false),
        ("disconnected", |agent, _, _| assert!(agent.detach(SOCKET, at(45))), false),
        ("state incomplete", |agent, _, _| agent.complete = false, false),
        (
            "waits to be adopted",
            |agent, _, _| agent.adoptee = Some(crate::fleet::Adoptee { since: 0, waits: true }),
            false,
        ),
        ("group's generation ahead", |_, _, group| group.generation = 2, false),
        ("revisions not loaded", |_, _, group| group.assignment.loaded = false, false),
        ("takes none", |agent, _, _| agent.capabilities = Capabilities(ALL.0 & !2), false),
        (
            "is done here",
            |agent, _, _| agent.note_done(Some(Done { order: at(40).as_second(), at: at(41) })),
            false,
        ),
    ];
    for (name, change, expected) in cases {
        for order in [Order::Offer, Order::Restart] {
            let (mut agent, mut treatment, mut group) = (suffering(), healing(B, order, 40), live());
            change(&mut agent, &mut treatment, &mut group);
            let offered = due_under(&agent, &treatment, &group).is_some();
            agent.treat(Some(&treatment), at(50));
            let restarts = agent.is_to_restart(&group);
            let expected = [expected && order == Order::Offer, expected && order == Order::Restart];
            assert_eq!([offered, restarts], expected, "{name}, {order:?}");
        }
    }
}

fn done(treatment: &mut Treatment, second: i64) {
    treatment.last.iter_mut().for_each(|last| last.done = Some(at(second)));
}

#[test]
fn order_that_is_carried_out_is_noted_and_not_carried_out_again() {
    let mut agent = suffering();
    for (second, treatment) in [(50, ordered(B, Order::Offer, 40)), (90, healing(B, Order::Offer, 80))] {
        see(&mut agent, drifted());
        agent.treat(Some(&treatment), at(second));
        let (_, edge) = agent.take_offer(&live(), at(second)).expect("an offer");
        assert_eq!(edge, Edge::Urgent);
        assert_eq!(agent.done(), Some(Done { order: at(second - 10).as_second(), at: at(second) }));
        agent.treat(Some(&treatment), at(second + 1));
        see(&mut agent, drifted());
        assert!(agent.take_offer(&live(), at(second + 1)).is_none());
    }
    // A view without the treatment for a moment changes nothing; after an hour nobody needs to know.
    assert_eq!((agent.treat(None, at(100)), agent.done().is_some()), (Edge::None, true));
    agent.treat(Some(&healing(B, Order::Offer, 80)), at(101));
    assert!(agent.due_offer(&live(), at(101)).is_none());
    assert_eq!((agent.treat(None, at(90 + 3601)), agent.done()), (Edge::Slow, None));
}

#[test]
fn what_was_seen_does_not_count_after_an_order_and_its_baseline_only_if_nothing_is_applied_anew() {
    for (orders, form, sight) in [
        (1, Form::Plain, Some((Shown::Unknown, Some(Digest::from_bytes([1; 8]))))),
        (2, Form::Correction(1), None),
    ] {
        let mut agent = suffering();
        agent.treat(Some(&Treatment { orders, ..ordered(B, Order::Offer, 40) }), at(50));
        let (offer, _) = agent.take_offer(&live(), at(50)).expect("an offer");
        assert_eq!(offer.form, form);
        let seen = agent.sight().map(|sight| (sight.shown.clone(), sight.baseline));
        assert_eq!(seen, sight, "{form:?}");
        // The same message asks for it, unless the agent has to apply it first.
        assert_eq!(agent.ask_what_is_in_effect(&live(), at(50)), form == Form::Plain, "{form:?}");
        let mut say = |mut report: Report| {
            report.config.iter_mut().for_each(|config| config.form = form);
            hear(&mut agent, report);
        };
        say(applying(B));
        say(applied(B));
        assert!(agent.ask_what_is_in_effect(&live(), at(52)));
    }
}

#[test]
fn verdict_on_an_ordered_correction_counts_like_any_other() {
    let correct = || {
        let mut agent = suffering();
        agent.treat(Some(&Treatment { orders: 2, ..ordered(B, Order::Offer, 40) }), at(50));
        assert!(agent.take_offer(&live(), at(50)).is_some());
        agent
    };
    let mut agent = correct();
    assert_eq!(hear(&mut agent, corrected(1, applying(B))), Edge::Slow);
    assert_eq!(hear(&mut agent, corrected(1, applied(B))), Edge::Slow);
    assert_eq!((agent.running(), refuses(&agent)), (Some(hash(B)), [false; 3]));
    let mut agent = correct();
    hear(&mut agent, corrected(1, applying(B)));
    assert_eq!(hear(&mut agent, corrected(1, failed(B, "no"))), Edge::Urgent);
    assert_eq!((due(&agent, at(60)), refuses(&agent)), (Some(A), [false, true, false]));
}

#[test]
fn restart_is_commanded_only_to_an_unhealthy_agent_that_takes_the_command() {
    for (capabilities, healthy, expected) in [
        (ALL, Some(false), true),
        (ALL, Some(true), false),
        (ALL, None, false),
        (TAKES_CONFIG, Some(false), false),
    ] {
        let mut agent = running(Form::Plain);
        agent.capabilities = capabilities;
        agent.healthy = healthy;
        agent.treat(Some(&healing(B, Order::Restart, 40)), at(50));
        assert_eq!(agent.take_restart(&live(), at(50)), expected, "{capabilities:?}, {healthy:?}");
        assert_eq!(agent.done().is_some(), expected);
        assert!(!agent.take_restart(&live(), at(51)), "once");
        assert!(agent.due_offer(&live(), at(51)).is_none(), "and nothing else");
    }
}

#[test]
fn agent_that_starts_anew_by_order_has_not_faltered() {
    let start = |started| Report { healthy: Some(true), started: Some(started), ..heartbeat() };
    for order in [None, Some(Order::Restart), Some(Order::Offer)] {
        let mut agent = running(Form::Plain);
        agent.healthy = Some(false);
        if let Some(order) = order {
            agent.treat(Some(&healing(B, order, 40)), at(50));
            assert!(agent.take_restart(&live(), at(50)) || agent.take_offer(&live(), at(50)).is_some());
        }
        hear(&mut agent, start(200));
        assert_eq!(agent.steady.faltered().restarted.is_none(), order.is_some(), "{order:?}");
        hear(&mut agent, start(300));
        assert!(agent.steady.faltered().restarted.is_some(), "{order:?}: the next time it did");
    }
}

#[test]
fn correction_of_an_ill_agent_excuses_nothing() {
    for offered in [false, true] {
        let mut agent = running(Form::Plain);
        if offered {
            agent.note_offer(hash(B), Form::Plain, at(0));
        }
        hear(&mut agent, ill());
        agent.treat(Some(&healing(B, Order::Offer, 40)), at(50));
        assert!(agent.take_offer(&live(), at(50)).is_some());
        assert!(!agent.exempt, "it fell ill with what it runs");
        agent.treat(Some(&healing(B, Order::Stable, 60)), at(70));
        assert!(agent.take_offer(&live(), at(70)).is_some());
        assert!(agent.exempt, "it was ill before it got this");
    }
}

/// An agent that was sent back to stable at second 40.
fn sent_back() -> Agent {
    let mut agent = suffering();
    agent.treat(Some(&healing(B, Order::Stable, 40)), at(50));
    agent
}

fn offered(agent: &mut Agent, second: i64) -> Option<(u8, Edge)> {
    let (offer, edge): (Offer, Edge) = agent.take_offer(&live(), at(second))?;
    assert_eq!(offer.form, Form::Plain);
    Some((offer.hash().as_bytes()[0], edge))
}

#[test]
fn agent_that_is_sent_back_runs_stable_until_the_treatment_ends() {
    let mut agent = sent_back();
    assert_eq!(offered(&mut agent, 50), Some((A, Edge::Urgent)));
    assert_eq!(agent.done(), Some(Done { order: at(40).as_second(), at: at(50) }));
    assert_eq!(offered(&mut agent, 51), None);
    hear(&mut agent, Report { healthy: Some(true), ..applied(A) });
    assert_eq!(refuses(&agent), [false; 3], "it did not go back by itself");
    assert_eq!(agent.looked_for(&live()).map(|revision| revision.hash), Some(hash(A)));
    for ended in ["well", "quarantined"] {
        let mut treatment = healing(B, Order::Stable, 40);
        done(&mut treatment, 50);
        let time = if ended == "well" { &mut treatment.well } else { &mut treatment.quarantined };
        *time = Some(at(60));
        agent.treat(Some(&treatment), at(60));
        assert_eq!(agent.due_offer(&live(), at(61)).map(|_| ()), None, "{ended}");
    }
    agent.treat(None, at(70));
    assert_eq!(offered(&mut agent, 71).map(|(n, _)| n), Some(B), "the treatment is over");
}

#[test]
fn agent_that_another_replica_has_sent_back_did_not_return_by_itself() {
    for (treated, refused) in [(true, false), (false, true)] {
        let mut agent = agent();
        hear(&mut agent, applied(A));
        hear(&mut agent, applied(B));
        agent.treat(Some(&healing(B, Order::Stable, 40)).filter(|_| treated), at(50));
        hear(&mut agent, applied(A));
        assert_eq!(refuses(&agent), [false, refused, false]);
    }
}

#[test]
fn agent_that_was_sent_back_and_drifts_from_stable_is_offered_that_anew() {
    let mut agent = sent_back();
    assert!(offered(&mut agent, 50).is_some());
    hear(&mut agent, Report { healthy: Some(true), ..applied(A) });
    see(&mut agent, drifted());
    let drifts = Treatment { sent_back: true, orders: 2, ..ordered(B, Order::Offer, 60) };
    assert_eq!(due_under(&agent, &drifts, &live()), Some((A, Form::Correction(1))));
    let kept = Treatment { sent_back: true, orders: 0, last: None, ..ordered(B, Order::Offer, 60) };
    assert_eq!(due_under(&agent, &kept, &live()), None, "it keeps what it has");
}

#[test]
fn agent_that_was_sent_back_keeps_what_it_runs_when_the_target_becomes_stable() {
    let mut agent = sent_back();
    assert!(offered(&mut agent, 50).is_some());
    hear(&mut agent, applied(A));
    let completed = group("g", Some(B), Some(B));
    assert!(agent.due_offer(&completed, at(60)).is_none() && agent.looked_for(&completed).is_none());
    agent.treat(None, at(70));
    assert_eq!(agent.due_offer(&completed, at(70)).map(|offer| offer.hash()), Some(hash(B)));
}

#[test]
fn agent_outside_the_treatment_of_its_content_is_not_sent_back() {
    let mut agent = sent_back();
    assert_eq!(agent.due_offer(&group("g", Some(C), Some(A)), at(50)).map(|due| due.hash()), Some(hash(C)));
    agent.treat(Some(&healing(C, Order::Stable, 40)), at(50));
    assert!(agent.due_offer(&live(), at(50)).is_none());
}

#[test]
fn agent_that_runs_stable_already_has_carried_the_order_out() {
    let mut agent = running(Form::Plain);
    hear(&mut agent, failed(B, "no"));
    hear(&mut agent, applied(A));
    agent.ledger = crate::fleet::Ledger::default();
    agent.treat(Some(&healing(B, Order::Stable, 40)), at(50));
    assert_eq!(
        (agent.note_return(Some(&live()), at(50)), agent.note_return(Some(&live()), at(51))),
        (Edge::Urgent, Edge::None)
    );
    assert_eq!(agent.done(), Some(Done { order: at(40).as_second(), at: at(50) }));
    let mut other = sent_back();
    assert_eq!((other.note_return(Some(&live()), at(50)), other.done()), (Edge::None, None), "runs B");
}

#[test]
fn agent_is_not_sent_back_to_what_it_cannot_run() {
    let agent = sent_back();
    let nowhere = group("g", Some(B), None);
    assert!(agent.due_offer(&nowhere, at(50)).is_none() && agent.looked_for(&nowhere).is_none());

    let mut lacking = agent.clone();
    let needs =
        |types: &[&str]| Inventory::new([("receivers", types.iter().map(|t| (*t).to_owned()).collect())]);
    let (namespace, key) = ("ns".into(), BuildKey::of(b"build"));
    let mut builds = Builds::default();
    lacking.build = builds.get(&namespace, key);
    assert!(builds.learn(&namespace, key, needs(&["otlp"])));
    assert!(lacking.build.as_deref().and_then(Build::components).is_some());
    let mut group = live();
    let stable = group.assignment.stable.as_deref().cloned().expect("a revision");
    group.assignment.stable =
        Some(Arc::new(crate::fleet::Revision { needs: Some(needs(&["kafka"])), ..stable }));
    assert!(lacking.due_offer(&group, at(50)).is_none());
    assert!(agent.due_offer(&group, at(50)).is_some(), "of this one nothing is known");
}

#[test]
fn agent_is_sent_back_to_what_it_once_refused_but_only_once() {
    let mut agent = sent_back();
    agent.ledger.note(hash(A), Verdict::failed("long ago"), at(0));
    assert_eq!(offered(&mut agent, 50).map(|(n, _)| n), Some(A));
    agent.receive(failed(A, "again"), SOCKET, Some(&live()), at(55));
    assert_eq!(offered(&mut agent, 9999), None);
    assert_eq!(refuses(&agent), [true, false, false]);
}

/// A newer leader treats the agent in a way that is not known here: nothing is sent rather than something else.
#[test]
fn agent_that_a_newer_version_treats_is_offered_nothing_of_what_that_is_about() {
    let view = group("g", Some(B), Some(A));
    let last = Some(Ordered { order: Order::Other(9), given: at(5), done: None });
    for (of, expected) in [(B, None), (A, Some(hash(B)))] {
        let mut agent = agent();
        assert!(agent.due_offer(&view, at(6)).is_some());
        agent.treat(Some(&Treatment { last, ..ordered(of, Order::Offer, 5) }), at(6));
        assert_eq!(agent.due_offer(&view, at(7)).map(|offer| offer.hash()), expected, "about {of}");
        assert!(!agent.is_to_restart(&view));
    }
}
