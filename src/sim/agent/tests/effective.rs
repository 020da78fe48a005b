//! What an agent shows to be in effect, also when somebody has tampered with it.

use super::*;

const ONE: &str = "receivers: {one: }";
const TWO: &str = "receivers: {two: }";
const OTHER: &str = "receivers: {other: }";

fn showing(behaviour: Behaviour, habits: Habits) -> Agent {
    Agent::new(Profile::new(UID).showing_effective(), behaviour).with(habits)
}

/// What a message says of what is in effect, and of an offer.
type Shown = (String, Option<(u8, RemoteConfigStatuses)>);

/// A message does not say what is in effect.
const UNSAID: &str = "unsaid";
/// There is nothing in effect.
const NOTHING: &str = "";

fn shown(message: &AgentToServer) -> Shown {
    let text = |body: &[u8]| str::from_utf8(body).expect("text").to_owned();
    let files = message.effective_config.as_ref().map(|effective| {
        let map = effective.config_map.as_ref().expect("a map");
        let files = map.config_map.iter().map(|(name, file)| format!("<{name}> {}", text(&file.body)));
        files.collect::<Vec<_>>().join("\n")
    });
    let status = message.remote_config_status.as_ref();
    let first = |hash: &[u8]| hash.first().copied().unwrap_or(0);
    let status = status.map(|status| (first(&status.last_remote_config_hash), status.status()));
    (files.unwrap_or_else(|| UNSAID.to_owned()), status)
}

fn all_shown(messages: impl IntoIterator<Item = AgentToServer>) -> Vec<Shown> {
    messages.into_iter().map(|message| shown(&message)).collect()
}

/// The files of an offer, as the agent shows them.
fn offered(text: &str) -> String {
    format!("<collector.yaml> {text}")
}

/// A configuration that somebody put in their place.
fn tampered(text: &str) -> String {
    format!("<> {text}")
}

/// Offers a configuration and returns all that the agent says of it.
fn deliver(agent: &mut Agent, message: &ServerToAgent) -> Vec<Shown> {
    let begun = agent.receive(message);
    let ended = agent.finish();
    all_shown(begun.into_iter().chain(ended))
}

#[test]
fn agent_shows_the_files_that_it_has_applied_and_the_old_ones_until_then() {
    let mut agent = showing(Behaviour::Apply, Habits::default());
    assert_eq!(shown(&agent.hello()), (NOTHING.to_owned(), Some((0, RemoteConfigStatuses::Unset))));
    let first = [(NOTHING.to_owned(), Some((1, Applying))), (offered(ONE), Some((1, Applied)))];
    assert_eq!(deliver(&mut agent, &files(1, ONE)), first);
    let second = [(offered(ONE), Some((2, Applying))), (offered(TWO), Some((2, Applied)))];
    assert_eq!(deliver(&mut agent, &files(2, TWO)), second);
    assert_eq!(shown(&agent.full_state()), (offered(TWO), Some((2, Applied))));
    assert_eq!(shown(&agent.heartbeat()), (UNSAID.to_owned(), None));
}

#[test]
fn agent_that_could_not_apply_shows_what_it_had() {
    let fails = Behaviour::Fail("no".into());
    for (behaviour, ends) in
        [(fails, &[(2, Failed)][..]), (Behaviour::Rollback, &[(2, Failed), (1, Applied)])]
    {
        let mut agent = showing(Behaviour::Apply, Habits::default());
        deliver(&mut agent, &files(1, ONE));
        agent.set_behaviour(behaviour);
        let said = deliver(&mut agent, &files(2, TWO));
        let statuses = [(2, Applying)].into_iter().chain(ends.iter().copied());
        assert_eq!(said, statuses.map(|status| (offered(ONE), Some(status))).collect::<Vec<_>>());
    }
}

#[test]
fn tampering_is_reported_at_once_and_in_each_full_state_until_a_configuration_is_applied() {
    let mut agent = showing(Behaviour::Apply, Habits::default());
    deliver(&mut agent, &files(1, ONE));
    assert_eq!(all_shown(agent.tamper(OTHER)), [(tampered(OTHER), None)]);
    assert_eq!(shown(&agent.full_state()), (tampered(OTHER), Some((1, Applied))));
    assert!(deliver(&mut agent, &files(1, ONE)).is_empty(), "it has that hash");
    let corrected = [(tampered(OTHER), Some((2, Applying))), (offered(ONE), Some((2, Applied)))];
    assert_eq!(deliver(&mut agent, &files(2, ONE)), corrected);
    assert_eq!(shown(&agent.full_state()), (offered(ONE), Some((2, Applied))));
}

#[test]
fn agent_that_reverts_shows_each_correction_in_one_report() {
    let mut agent = showing(Behaviour::Apply, Habits { reverts: true, ..Habits::default() });
    let applied = [(NOTHING.to_owned(), Some((1, Applying))), (offered(ONE), Some((1, Applied)))];
    assert_eq!(deliver(&mut agent, &files(1, ONE)), applied, "nobody has tampered yet");
    agent.tamper(OTHER);
    for hash in 2..5 {
        let expected = [
            (tampered(OTHER), Some((hash, Applying))),
            (offered(ONE), Some((hash, Applied))),
            (tampered(OTHER), None),
        ];
        assert_eq!(deliver(&mut agent, &files(hash, ONE)), expected);
        assert_eq!(shown(&agent.full_state()), (tampered(OTHER), Some((hash, Applied))));
    }
}

#[test]
fn broken_configuration_leaves_tampering_alone_and_going_back_ends_it() {
    for (behaviour, expected) in
        [(Behaviour::Fail("no".into()), tampered(OTHER)), (Behaviour::Rollback, offered(ONE))]
    {
        let mut agent = showing(Behaviour::Apply, Habits::default());
        deliver(&mut agent, &files(1, ONE));
        agent.tamper(OTHER);
        agent.set_behaviour(behaviour);
        deliver(&mut agent, &files(2, TWO));
        assert_eq!(shown(&agent.full_state()).0, expected);
    }
}

#[test]
fn agent_that_does_not_report_what_is_in_effect_says_nothing_of_tampering() {
    let mut agent = agent(Behaviour::Apply);
    deliver(&mut agent, &files(1, ONE));
    assert!(agent.tamper(OTHER).is_none());
    assert_eq!(shown(&agent.full_state()), (UNSAID.to_owned(), Some((1, Applied))));
}

/// What an agent with this habit says to the same configuration under these hashes, after somebody has tampered with
/// what it applied under hash 1, and what it shows then.
fn offered_again(takes: Takes, hash: u8, text: &'static str) -> (Vec<(u8, RemoteConfigStatuses)>, Shown) {
    let mut agent = showing(Behaviour::Apply, Habits { takes, ..Habits::default() });
    deliver(&mut agent, &files(1, ONE));
    agent.tamper(OTHER);
    let said = deliver(&mut agent, &files(hash, text));
    let statuses = said.into_iter().filter_map(|(_, status)| status).collect();
    (statuses, shown(&agent.full_state()))
}

#[test]
fn habit_decides_what_is_applied_when_the_same_is_offered_again() {
    let same = "# The same.\nreceivers: {one: null}";
    for (takes, hash, text, expected, shows) in [
        (Takes::NewHash, 1, ONE, &[][..], tampered(OTHER)),
        (Takes::NewHash, 2, ONE, &[(2, Applying), (2, Applied)], offered(ONE)),
        (Takes::NewContent, 1, TWO, &[], tampered(OTHER)),
        (Takes::NewContent, 2, ONE, &[(2, Applied)], tampered(OTHER)),
        (Takes::NewContent, 2, same, &[(2, Applied)], tampered(OTHER)),
        (Takes::NewContent, 2, TWO, &[(2, Applying), (2, Applied)], offered(TWO)),
        (Takes::Everything, 1, ONE, &[(1, Applying), (1, Applied)], offered(ONE)),
    ] {
        let (said, shown) = offered_again(takes, hash, text);
        assert_eq!((&said[..], shown), (expected, (shows, Some((hash, Applied)))), "{takes:?} {hash} {text}");
    }
}

#[test]
fn supervisor_takes_what_differs_by_an_empty_section_and_then_what_does_not() {
    let mut agent = showing(Behaviour::Apply, Habits { takes: Takes::NewContent, ..Habits::default() });
    let padded = "{receivers: {one: }, connectors: {}}";
    for (hash, text) in [(1, ONE), (2, padded), (3, ONE)] {
        agent.tamper(OTHER);
        assert_eq!(deliver(&mut agent, &files(hash, text)).len(), 2);
        assert_eq!(shown(&agent.full_state()), (offered(text), Some((hash, Applied))));
    }
}

#[test]
fn supervisor_claims_to_have_applied_what_has_failed_and_is_offered_again() {
    let habits = Habits { takes: Takes::NewContent, ..Habits::default() };
    let mut agent = showing(Behaviour::Fail("no".into()), habits);
    let statuses = |said: Vec<Shown>| said.into_iter().filter_map(|(_, status)| status).collect::<Vec<_>>();
    assert_eq!(statuses(deliver(&mut agent, &files(1, ONE))), [(1, Applying), (1, Failed)]);
    assert_eq!(deliver(&mut agent, &files(2, ONE)), [(NOTHING.to_owned(), Some((2, Applied)))]);
}

#[test]
fn supervisor_that_is_applying_does_not_claim_to_have_applied() {
    let mut agent = showing(Behaviour::Apply, Habits { takes: Takes::NewContent, ..Habits::default() });
    agent.receive(&files(1, ONE));
    let said = deliver(&mut agent, &files(2, ONE));
    assert_eq!(said, [(NOTHING.to_owned(), Some((2, Applying))), (offered(ONE), Some((2, Applied)))]);
}

#[test]
fn supervisor_that_went_back_holds_what_it_went_back_to() {
    let mut agent = showing(Behaviour::Rollback, Habits { takes: Takes::NewContent, ..Habits::default() });
    let mut statuses = |hash, text| {
        let said = deliver(&mut agent, &files(hash, text));
        said.into_iter().filter_map(|(_, status)| status).collect::<Vec<_>>()
    };
    assert_eq!(statuses(1, ONE), [(1, Applying), (1, Applied)]);
    assert_eq!(statuses(2, TWO), [(2, Applying), (2, Failed), (1, Applied)]);
    assert_eq!(statuses(3, TWO), [(3, Applying), (3, Failed), (1, Applied)]);
    assert_eq!(statuses(4, ONE), [(4, Applied)]);
}
