use super::*;
use crate::fleet::InstanceUid;
use crate::fleet::fixtures::seen;
use proptest::prelude::*;

const SETTLE: i64 = 30;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn hash(n: u8) -> ConfigHash {
    ConfigHash::from_bytes([n; 32])
}

fn uid(n: u8) -> InstanceUid {
    InstanceUid::new([n; 16])
}

/// Healthy agents since long ago.
fn agents(count: u8) -> Vec<ObservedAgent> {
    (0..count).map(|n| seen(uid(n), at(0))).collect()
}

fn rules(now: i64) -> TelemetryRules {
    TelemetryRules {
        settle: Duration::from_secs(SETTLE.unsigned_abs()),
        disturbed: 0,
        watched_until: Some(at(now)),
        now: at(now),
    }
}

fn step(
    prior: Option<&TelemetryStatus>,
    n: u8,
    agents: &[ObservedAgent],
    rules: &TelemetryRules,
) -> Option<TelemetryStatus> {
    telemetry(prior, &Wanted::Told(hash(n)), &agents.iter().collect::<Vec<_>>(), rules)
}

/// The agents that are told.
fn told(status: &TelemetryStatus, agents: &[ObservedAgent]) -> Vec<InstanceUid> {
    let (order, reached) = (order_of(status.hash.parse().expect("a hash")), Rank::parse(&status.boundary));
    let inside = |agent: &&ObservedAgent| Some(order.rank(agent.uid)) <= reached;
    agents.iter().filter(inside).map(|agent| agent.uid).collect()
}

#[test]
fn agents_are_told_a_tenth_at_a_time_and_newcomers_when_all_are() {
    for (count, expected) in
        [(25, &[2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 25][..]), (3, &[1, 2, 3]), (1, &[1]), (0, &[0])]
    {
        let agents = agents(count);
        let mut status: Option<TelemetryStatus> = None;
        let mut counts = Vec::new();
        for turn in 0.. {
            status = step(status.as_ref(), 1, &agents, &rules(100 + turn * SETTLE));
            let status = status.as_ref().expect("told");
            counts.push(told(status, &agents).len());
            if status.boundary == Rank::ALL.to_string() {
                break;
            }
        }
        assert_eq!(counts, expected, "{count}");
        assert_eq!(step(status.as_ref(), 1, &agents, &rules(9999)), status, "nothing is left to do");
    }
}

#[test]
fn next_agents_wait_until_the_time_is_over_and_was_watched() {
    let agents = agents(20);
    let first = step(None, 1, &agents, &rules(100)).expect("told");
    let waits = |rules: TelemetryRules| step(Some(&first), 1, &agents, &rules).as_ref() == Some(&first);
    assert!(waits(rules(129)));
    assert!(waits(TelemetryRules { watched_until: Some(at(129)), ..rules(140) }));
    assert!(waits(TelemetryRules { watched_until: None, ..rules(140) }));
    assert!(!waits(TelemetryRules { watched_until: Some(at(130)), ..rules(140) }));
}

/// What puts agents right starts them anew as well: together they are a tenth.
#[test]
fn agents_that_something_else_disturbs_are_left_out_of_the_tenth_that_is_told() {
    let agents = agents(30);
    let disturbed = |disturbed, now| TelemetryRules { disturbed, ..rules(now) };
    assert_eq!(step(None, 1, &agents, &disturbed(3, 100)), None, "nobody yet");
    let first = step(None, 1, &agents, &disturbed(2, 100)).expect("told");
    assert_eq!(told(&first, &agents).len(), 1);
    for others in [3, 4, 30] {
        assert_eq!(
            step(Some(&first), 1, &agents, &disturbed(others, 130)).as_ref(),
            Some(&first),
            "{others}"
        );
        assert_eq!(
            step(Some(&first), 2, &agents, &disturbed(others, 130)).as_ref(),
            Some(&first),
            "others wait too"
        );
    }
    let second = step(Some(&first), 1, &agents, &disturbed(1, 130)).expect("told");
    assert_eq!(told(&second, &agents).len(), 3);
    let all: Vec<&ObservedAgent> = agents.iter().collect();
    let shown = |status, n, disturbed| {
        let mut list = Conditions::new(Vec::new(), Some(1), at(0));
        let waits = telemetry_condition(&mut list, status, &Wanted::Told(hash(n)), &all, disturbed);
        assert!(waits, "it is looked at again");
        list.into_list().pop().expect("a condition").message
    };
    let words = "of 30 connected agents are told where to send their own telemetry";
    let waiting = "; waiting for others that are put right or restarted";
    assert_eq!(shown(None, 1, 3), format!("0 {words}{waiting}"));
    assert_eq!(shown(Some(&first), 1, 3), format!("1 {words}{waiting}"));
    assert_eq!(shown(Some(&first), 2, 2), format!("0 {words}"), "of the others");
}

#[test]
fn agent_that_has_fallen_ill_since_it_was_told_stops_all_others_until_it_is_well() {
    let mut agents = agents(20);
    let first = step(None, 1, &agents, &rules(100)).expect("told");
    let victim = told(&first, &agents)[0];
    let waits =
        |agents: &[ObservedAgent]| step(Some(&first), 1, agents, &rules(130)).as_ref() == Some(&first);
    let place = agents.iter().position(|agent| agent.uid == victim).expect("there");
    for (healthy, since, connected, expected) in [
        (Some(false), 100, true, true),
        (Some(false), 99, true, false),
        (Some(true), 110, true, false),
        (None, 110, true, false),
        (Some(false), 110, false, false),
    ] {
        agents[place].healthy = healthy;
        agents[place].health_since = at(since);
        agents[place].connected = connected;
        assert_eq!(waits(&agents), expected, "{healthy:?} since {since}, connected: {connected}");
    }
    // Whoever was not told is no reason to wait.
    agents[place] = seen(victim, at(0));
    let other = agents.iter().position(|agent| !told(&first, &agents).contains(&agent.uid)).expect("there");
    agents[other].healthy = Some(false);
    agents[other].health_since = at(120);
    assert!(!waits(&agents));
}

#[test]
fn other_settings_begin_anew_and_what_cannot_be_read_changes_nothing() {
    let agents = agents(20);
    let all: Vec<&ObservedAgent> = agents.iter().collect();
    let first = step(None, 1, &agents, &rules(100)).expect("told");
    let second = step(Some(&first), 1, &agents, &rules(130)).expect("told");
    assert_eq!((second.began.0, second.since.0), (at(100), at(130)));
    let other = step(Some(&second), 2, &agents, &rules(131)).expect("told");
    assert_eq!((told(&other, &agents).len(), other.began.0), (2, at(131)));
    let unreadable = Wanted::Unreadable(Reason::SourceNotFound, "Secret x is missing".to_owned());
    assert_eq!(telemetry(Some(&second), &unreadable, &all, &rules(999)).as_ref(), Some(&second));
    assert_eq!(telemetry(None, &unreadable, &all, &rules(999)), None);
    assert_eq!(telemetry(Some(&second), &Wanted::Nothing, &all, &rules(999)), None);
}

fn condition(status: Option<&TelemetryStatus>, wanted: &Wanted, agents: &[ObservedAgent]) -> Option<String> {
    let mut list = Conditions::new(Vec::new(), Some(1), at(0));
    telemetry_condition(&mut list, status, wanted, &agents.iter().collect::<Vec<_>>(), 0);
    list.into_list().pop().map(|set| format!("{} {} {}: {}", set.type_, set.status, set.reason, set.message))
}

#[test]
fn condition_says_how_far_it_is_and_what_it_waits_for() {
    let mut agents = agents(20);
    let wanted = Wanted::Told(hash(1));
    let first = step(None, 1, &agents, &rules(100)).expect("told");
    let shown = |agents: &[ObservedAgent]| condition(Some(&first), &wanted, agents).expect("a condition");
    assert_eq!(
        shown(&agents),
        "TelemetryOffered False TellingAgents: 2 of 20 connected agents are told where to send their own telemetry"
    );
    let place = agents.iter().position(|agent| told(&first, &agents).contains(&agent.uid)).expect("there");
    agents[place].healthy = Some(false);
    agents[place].health_since = at(110);
    assert!(shown(&agents).ends_with("; waiting for 1 of them that have fallen ill since"));
    let all = TelemetryStatus { boundary: Rank::ALL.to_string(), ..first.clone() };
    assert!(
        condition(Some(&all), &wanted, &agents).expect("set").starts_with("TelemetryOffered True AllTold")
    );
    let unreadable = Wanted::Unreadable(Reason::SourceNotFound, "Secret x is missing".to_owned());
    let expected = "TelemetryOffered False SourceNotFound: Secret x is missing; agents are told nothing new of their telemetry";
    assert_eq!(condition(Some(&first), &unreadable, &agents).as_deref(), Some(expected));
    assert_eq!(condition(None, &Wanted::Nothing, &agents), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn never_more_than_a_tenth_is_told_at_once_and_nobody_is_taken_back(
        turns in prop::collection::vec((0_i64..60, 1_u8..3, prop::collection::vec(any::<bool>(), 30)), 1..40)
    ) {
        let mut agents = agents(30);
        let (mut now, mut status): (i64, Option<TelemetryStatus>) = (100, None);
        for (passed, wanted, healthy) in turns {
            now += passed;
            for (agent, healthy) in agents.iter_mut().zip(healthy) {
                if agent.healthy != Some(healthy) {
                    (agent.healthy, agent.health_since) = (Some(healthy), at(now));
                }
            }
            let next = step(status.as_ref(), wanted, &agents, &rules(now)).expect("told");
            let same = status.as_ref().filter(|before| before.hash == next.hash);
            let before = same.map(|before| told(before, &agents)).unwrap_or_default();
            let after = told(&next, &agents);
            prop_assert!(before.iter().all(|uid| after.contains(uid)));
            prop_assert!(after.len() <= before.len() + 3, "{} after {}", after.len(), before.len());
            if let Some(before) = same.filter(|before| before.boundary != next.boundary) {
                prop_assert!(now >= before.since.0.as_second() + SETTLE);
            }
            status = Some(next);
        }
    }
}
