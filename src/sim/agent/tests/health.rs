//! When an agent is well, and what makes it so.

use super::*;

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

/// A restart command, in a message with all that it makes an agent overlook.
fn restart() -> ServerToAgent {
    ServerToAgent {
        command: Some(ServerToAgentCommand { r#type: CommandType::Restart.into() }),
        flags: ServerToAgentFlags::ReportFullState as u64,
        agent_identification: Some(AgentIdentification { new_instance_uid: vec![8; 16] }),
        ..offer(9)
    }
}

fn start_time(message: &AgentToServer) -> u64 {
    message.health.as_ref().expect("health").start_time_unix_nano
}

#[test]
fn restart_is_seen_by_its_time_and_the_rest_of_its_message_is_not_looked_at() {
    let mut agent = Agent::new(Profile::new(UID).accepting_restarts(), Behaviour::Apply).started_at(100);
    assert_eq!(start_time(&agent.hello()), 100_000_000_000);
    for second in 101..104 {
        let said = agent.receive(&restart());
        assert_eq!(said.iter().map(start_time).collect::<Vec<_>>(), [second * 1_000_000_000]);
        assert_eq!(said[0].agent_description, None);
    }
    assert_eq!((agent.uid(), agent.is_applying()), (UID, false));
    assert_eq!(start_time(&agent.full_state()), 103_000_000_000);
}

#[test]
fn restart_cures_whom_it_is_to_cure() {
    for (cure, expected) in [
        (Cure::Restart, true),
        (Cure::Nothing, false),
        (Cure::AnyOffer, false),
        (Cure::Content(content(9)), false),
    ] {
        let profile = Profile::new(UID).accepting_restarts();
        let mut agent = Agent::new(profile, Behaviour::Apply).with(Habits { cure, ..Habits::default() });
        agent.set_healthy(false);
        assert_eq!(health(agent.receive(&restart())), [expected], "{cure:?}");
    }
}

#[test]
fn restart_does_not_undo_tampering_or_end_what_is_being_applied() {
    let profile = Profile::new(UID).accepting_restarts().showing_effective();
    let mut agent = Agent::new(profile, Behaviour::Apply);
    agent.receive(&files(1, "a: 1"));
    let tampered = agent.tamper("a: 2").expect("a report").effective_config;
    agent.receive(&restart());
    assert!(agent.is_applying());
    assert!(agent.full_state().effective_config == tampered);
}

#[test]
fn agent_that_accepts_no_restart_overlooks_the_command_and_its_message() {
    let mut agent = agent(Behaviour::Apply).with(Habits { cure: Cure::Restart, ..Habits::default() });
    agent.set_healthy(false);
    assert!(agent.receive(&restart()).is_empty() && !agent.is_healthy() && agent.uid() == UID);
    assert_eq!(start_time(&agent.full_state()), 0);
}

#[test]
fn command_that_nobody_knows_is_overlooked() {
    let mut agent = Agent::new(Profile::new(UID).accepting_restarts(), Behaviour::Apply);
    let message = ServerToAgent { command: Some(ServerToAgentCommand { r#type: 7 }), ..restart() };
    assert!(agent.receive(&message).is_empty());
}
