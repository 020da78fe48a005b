use super::*;
use crate::opamp::proto::{AgentConfigMap, AgentConfigObject, AgentIdentification};
use RemoteConfigStatuses::{Applied, Applying, Failed};

mod effective;
mod health;

const UID: [u8; 16] = [7; 16];

fn agent(behaviour: Behaviour) -> Agent {
    Agent::new(Profile::new(UID), behaviour)
}

fn offer(hash: u8) -> ServerToAgent {
    let remote_config = AgentRemoteConfig { config: None, config_hash: vec![hash; 32].into() };
    ServerToAgent { instance_uid: UID.to_vec(), remote_config: Some(remote_config), ..Default::default() }
}

/// An offer with one file.
fn files(hash: u8, text: &'static str) -> ServerToAgent {
    let mut message = offer(hash);
    let file = AgentConfigObject { body: text.into(), ..Default::default() };
    let config = AgentConfigMap { config_map: [("collector.yaml".to_owned(), file)].into() };
    message.remote_config.as_mut().expect("an offer").config = Some(config);
    message
}

/// All that the agent reports of the configurations that it is offered one after the other.
fn reports(behaviour: Behaviour, hashes: &[u8]) -> Vec<(u8, RemoteConfigStatuses)> {
    let mut agent = agent(behaviour);
    let mut said = Vec::new();
    for hash in hashes {
        said.extend(agent.receive(&offer(*hash)));
        said.extend(agent.finish());
    }
    let statuses = said.into_iter().filter_map(|message| message.remote_config_status);
    statuses.map(|status| (status.last_remote_config_hash[0], status.status())).collect()
}

#[test]
fn behaviours_report_what_real_supervisors_report() {
    for (behaviour, expected) in [
        (Behaviour::Apply, &[(1, Applying), (1, Applied), (2, Applying), (2, Applied)][..]),
        (Behaviour::Fail("no".into()), &[(1, Applying), (1, Failed), (2, Applying), (2, Failed)]),
        (Behaviour::Rollback, &[(1, Applying), (1, Applied), (2, Applying), (2, Failed), (1, Applied)]),
        (Behaviour::Silent, &[]),
    ] {
        assert_eq!(reports(behaviour.clone(), &[1, 2]), expected, "{behaviour:?}");
    }
}

#[test]
fn agent_that_refuses_says_so_of_what_is_new_and_takes_back_what_it_had() {
    let said = reports(Behaviour::Refuse("no".into()), &[1, 2, 1, 2]);
    let (takes, refuses) = ([(1, Applying), (1, Applied)], [(2, Applying), (2, Failed)]);
    assert_eq!(said, [takes, refuses, takes, refuses].concat());
}

#[test]
fn offer_with_the_last_hash_is_not_applied_again() {
    assert_eq!(reports(Behaviour::Apply, &[1, 1]), [(1, Applying), (1, Applied)]);
}

#[test]
fn newer_offer_replaces_the_one_that_is_being_applied() {
    let mut agent = agent(Behaviour::Apply);
    agent.receive(&offer(1));
    agent.receive(&offer(2));
    let finished = agent.finish();
    assert_eq!(finished.len(), 1);
    assert_eq!(agent.config().last_remote_config_hash, [2; 32]);
    assert!(agent.finish().is_empty());
}

#[test]
fn messages_are_numbered_without_gaps_over_reconnects() {
    let mut agent = agent(Behaviour::Apply);
    let said = [agent.hello(), agent.heartbeat(), agent.hello(), agent.goodbye()];
    assert_eq!(said.each_ref().map(|message| message.sequence_num), [0, 1, 2, 3]);
    assert_eq!(
        said.each_ref().map(|message| message.agent_description.is_some()),
        [true, false, false, false]
    );
}

#[test]
fn full_state_and_new_uid_are_given_when_asked() {
    let mut agent = agent(Behaviour::Apply);
    let new_instance_uid = vec![8; 16];
    let message = ServerToAgent {
        instance_uid: UID.to_vec(),
        flags: ServerToAgentFlags::ReportFullState as u64,
        agent_identification: Some(AgentIdentification { new_instance_uid }),
        ..Default::default()
    };
    let replies = agent.receive(&message);
    assert!(replies.len() == 1 && replies[0].agent_description.is_some());
    assert_eq!((agent.uid(), &replies[0].instance_uid[..]), ([8; 16], &[8; 16][..]));
}

#[test]
fn message_for_another_agent_is_ignored() {
    let message = ServerToAgent { instance_uid: vec![9; 16], ..offer(1) };
    assert!(agent(Behaviour::Apply).receive(&message).is_empty());
}
