//! When an agent is well, and what makes it so.

use super::*;
use crate::sim::Cure;

const NOTHING: [bool; 0] = [];

fn content(hash: u8) -> ConfigHash {
    ConfigHash::from_bytes([hash; 32])
}

/// The health that the messages report, in order.
fn health(messages: impl IntoIterator<Item = AgentToServer>) -> Vec<bool> {
    messages.into_iter().filter_map(|message| Some(message.health?.healthy)).collect()
}

fn ill(habits: Habits) -> Agent {
    let mut agent = agent(Behaviour::Apply).with(habits);
    assert_eq!(health([agent.hello()]), [true]);
    assert_eq!(health(agent.set_healthy(false)), [false]);
    agent
}

/// The health that the agent reports of itself while it applies an offer.
fn deliver(agent: &mut Agent, offer: &ServerToAgent) -> Vec<bool> {
    assert_eq!(health(agent.receive(offer)), NOTHING);
    health(agent.finish())
}

/// An offer of the same content in another form.
fn correction(hash: u8) -> ServerToAgent {
    let mut message = offer(hash);
    message.remote_config.as_mut().expect("an offer").config_hash = vec![hash; 33].into();
    message
}

#[test]
fn illness_is_reported_once_and_in_each_full_state_until_it_ends() {
    let mut agent = ill(Habits::default());
    assert_eq!(health(agent.set_healthy(false)), NOTHING);
    assert_eq!(health([agent.full_state(), agent.heartbeat()]), [false]);
    assert_eq!(health(agent.set_healthy(true)), [true]);
    assert_eq!(health([agent.full_state()]), [true]);
}

#[test]
fn applied_content_cures_whom_it_is_to_cure() {
    for (cure, offers, expected) in [
        (Cure::Nothing, [offer(1), offer(2)], [&[][..], &[]]),
        (Cure::Restart, [offer(1), offer(2)], [&[], &[]]),
        (Cure::AnyOffer, [offer(1), offer(2)], [&[true], &[]]),
        (Cure::Content(content(2)), [offer(1), offer(2)], [&[], &[true]]),
        (Cure::Content(content(2)), [offer(1), correction(2)], [&[], &[true]]),
    ] {
        let mut agent = ill(Habits { cure, ..Habits::default() });
        assert_eq!(offers.map(|offer| deliver(&mut agent, &offer)), expected, "{cure:?}");
        assert_eq!(agent.is_healthy(), expected.concat() == [true], "{cure:?}");
    }
}

#[test]
fn content_that_is_not_applied_cures_nobody() {
    let cured = Habits { cure: Cure::AnyOffer, ..Habits::default() };
    let mut fails = ill(cured.clone());
    fails.set_behaviour(Behaviour::Fail("no".into()));
    assert_eq!(deliver(&mut fails, &offer(1)), NOTHING);
    let mut silent = ill(cured.clone());
    silent.set_behaviour(Behaviour::Silent);
    assert_eq!(deliver(&mut silent, &offer(1)), NOTHING);

    let mut supervisor = ill(Habits { takes: Takes::NewContent, ..cured });
    assert_eq!(deliver(&mut supervisor, &files(1, "a: 1")), [true]);
    supervisor.set_healthy(false);
    assert_eq!(deliver(&mut supervisor, &files(2, "a: 1")), NOTHING, "it only claims to have applied that");
    assert_eq!(deliver(&mut supervisor, &files(3, "a: 2")), [true]);
}

#[test]
fn content_makes_ill_whom_it_is_to_make_ill_and_any_other_makes_it_well() {
    let mut agent = agent(Behaviour::Apply).with(Habits { ill_with: Some(content(2)), ..Habits::default() });
    for (offer, expected) in [
        (offer(1), &[][..]),
        (offer(2), &[false]),
        (correction(2), &[]),
        (offer(3), &[true]),
        (correction(2), &[false]),
    ] {
        assert_eq!(deliver(&mut agent, &offer), expected);
    }
}

#[test]
fn agent_that_does_not_report_its_health_says_nothing_of_it() {
    let mut profile = Profile::new(UID);
    profile.capabilities &= !(AgentCapabilities::ReportsHealth as u64);
    let mut agent = Agent::new(profile, Behaviour::Apply);
    assert_eq!(health([agent.hello()]), NOTHING);
    assert_eq!((health(agent.set_healthy(false)), agent.is_healthy()), (NOTHING.to_vec(), false));
}
