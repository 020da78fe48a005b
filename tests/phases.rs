//! Phases, gates and requests on a real API server, with simulated agents.

mod support;

use opamp_operator::api::{ConfigRevision, ConfigRollout, ConfigRolloutStatus, RevisionState, RolloutState};
use opamp_operator::sim::{self, Behaviour, Profile, Simulated};
use serde_json::json;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased, rollout};
use support::within;

const AGENTS: u8 = 50;

fn start(operator: &Operator, number: u8, behaviour: Behaviour) -> Simulated {
    let profile = Profile::new([number; 16]).with("test", "yes").with("host.name", &format!("host-{number}"));
    let pace = sim::Pace { heartbeat: Duration::from_millis(100), ..sim::Pace::default() };
    let endpoint = operator.websocket().parse().expect("an endpoint");
    sim::spawn(sim::Agent::new(profile, behaviour), endpoint, pace)
}

/// How many agents were ever offered a revision.
fn offered(agents: &[Simulated], hash: &str) -> usize {
    let had =
        |agent: &&Simulated| agent.journal().offers.iter().any(|offer| hex::encode(&offer.hash) == hash);
    agents.iter().filter(had).count()
}

fn status(rollout: ConfigRollout) -> ConfigRolloutStatus {
    rollout.status.expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configuration_hurts_only_the_canaries_and_a_good_one_goes_through_its_phases_over_a_restart() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "phases").await;
    let mut operator = Operator::start(&plane, "phases").await;
    // Every agent takes its first configuration, and goes back from the next one.
    let mut agents: Vec<Simulated> = (1..=AGENTS).map(|n| start(&operator, n, Behaviour::Rollback)).collect();
    space.apply(group("g", "yes")).await;
    space.group_has("g", i64::from(AGENTS)).await;
    space.apply(rollout("r", "g", inline(&collector("one")))).await;
    space.rollout_is("r", RolloutState::Completed).await;

    let phases =
        json!([{"name": "canary", "agents": "10%", "duration": "1s"}, {"name": "full", "agents": "100%"}]);
    space.apply(phased("r", "g", inline(&collector("two")), phases.clone())).await;
    let rolled_back = status(space.rollout_is("r", RolloutState::RolledBack).await);
    let hash =
        async |name: &str| space.api::<ConfigRevision>().get(name).await.expect("a revision").spec.hash;
    assert_eq!(offered(&agents, &hash("r-2").await), 5, "10% of {AGENTS}: {}", rolled_back.message);
    assert_eq!(rolled_back.stable_revision.as_deref(), Some("r-1"));
    assert_eq!(rolled_back.phases[0].count, Some(5));
    let rejected = |revision: &ConfigRevision| {
        revision.status.as_ref().is_some_and(|status| status.state == RevisionState::Rejected)
    };
    space.until("r-2", "rejected", rejected).await;

    // The same content again waits for a retry; other content does not.
    space.apply(phased("r", "g", inline(&collector("three")), phases.clone())).await;
    space.rollout_is("r", RolloutState::RolledBack).await;
    space.apply(phased("r", "g", inline(&collector("two")), phases)).await;
    let stalled = |rollout: &ConfigRollout| {
        let conditions = rollout.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.type_ == "Stalled" && c.reason == "RevisionRejected")
    };
    space.until("r", "stalled", stalled).await;

    // Good agents from here on. A long soak outlives a restart of the operator, and a person ends it.
    drop(agents);
    space.group_has("g", 0).await;
    agents = (101..=100 + AGENTS).map(|n| start(&operator, n, Behaviour::Apply)).collect();
    space.group_has("g", i64::from(AGENTS)).await;
    let long = json!([
        {"name": "canary", "agents": 3, "duration": "1h"},
        {"name": "half", "agents": "50%", "approval": "Manual"},
        {"name": "full", "agents": "100%"},
    ]);
    space.apply(phased("r", "g", inline(&collector("four")), long)).await;
    let soaking = status(space.rollout_is("r", RolloutState::Soaking).await);
    let until = soaking.current_phase.clone().expect("a phase").soak_until.expect("a time");
    let address = operator.opamp.clone();
    operator.end();
    let term = soaking.leader_term;
    operator = Operator::start_on(&plane, "phases", &address).await;
    let returned = |rollout: &ConfigRollout| {
        let status = rollout.status.as_ref();
        status.is_some_and(|status| status.leader_term > term && status.agents.eligible == i64::from(AGENTS))
    };
    space.until("r", "led again, with all agents back", returned).await;
    let fourth = hash("r-4").await;
    let soaking = status(space.rollout_is("r", RolloutState::Soaking).await);
    assert_eq!(
        soaking.current_phase.expect("a phase").soak_until,
        Some(until),
        "the soak goes on where it was"
    );
    assert_eq!(offered(&agents, &fourth), 3);

    let promote = |token: &str| {
        let annotation = format!("fleet.opamp.dev/promote={token}");
        plane
            .kubectl(&["-n", "phases", "annotate", "--overwrite", "configrollout", "r", &annotation])
            .expect("annotated")
    };
    promote("r-3/wrong");
    let refused = |events: &str| events.contains("RequestRefused") && events.contains("r-4 is the target");
    support::eventually("an event that tells of the refusal", async || {
        let events = plane.kubectl(&["-n", "phases", "get", "events"]).expect("events");
        refused(&events).then_some(())
    })
    .await;
    promote("r-4/go");
    let waiting = status(space.rollout_is("r", RolloutState::AwaitingApproval).await);
    assert_eq!(offered(&agents, &fourth), 25, "{}", waiting.message);
    assert_eq!(waiting.handled.expect("handled").promote.as_deref(), Some("r-4/go"));
    promote("again");
    let completed = status(space.rollout_is("r", RolloutState::Completed).await);
    assert_eq!((completed.agents.updated, completed.progress.as_str()), (50, "50/50"));
    for agent in &mut agents {
        within("the last offers", agent.until(|journal| !journal.offers.is_empty())).await;
    }
    assert_eq!(offered(&agents, &fourth), 50);
    let twice = agents.iter().filter(|agent| {
        agent.journal().offers.iter().filter(|offer| hex::encode(&offer.hash) == fourth).count() > 1
    });
    assert_eq!(twice.count(), 0, "an agent was offered the revision twice; log: {}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_agents_time_out_and_abort_and_pause_do_what_they_say() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "stops").await;
    let operator = Operator::start(&plane, "stops").await;
    let agents: Vec<Simulated> = (1..=AGENTS).map(|n| start(&operator, n, Behaviour::Silent)).collect();
    space.apply(group("g", "yes")).await;
    space.group_has("g", i64::from(AGENTS)).await;
    let one = json!([{"name": "canary", "agents": 1}, {"name": "full", "agents": "100%"}]);
    let mut manifest = phased("r", "g", inline(&collector("one")), one.clone());
    manifest["spec"]["strategy"]["applyTimeout"] = json!("5s");
    space.apply(manifest).await;
    let halted = status(space.rollout_is("r", RolloutState::Halted).await);
    assert_eq!(halted.failures[0].reason, "TimedOut");
    let first = space.api::<ConfigRevision>().get("r-1").await.expect("r-1").spec.hash;
    assert_eq!(offered(&agents, &first), 1);

    let mut paused = phased("r", "g", inline(&collector("two")), one);
    paused["spec"]["strategy"]["applyTimeout"] = json!("1h");
    space.apply(paused.clone()).await;
    space.rollout_is("r", RolloutState::Progressing).await;
    paused["spec"]["paused"] = json!(true);
    space.apply(paused).await;
    space.rollout_is("r", RolloutState::Paused).await;
    plane
        .kubectl(&["-n", "stops", "annotate", "configrollout", "r", "fleet.opamp.dev/abort=stop"])
        .expect("annotated");
    let aborted = status(space.rollout_is("r", RolloutState::Halted).await);
    assert!(aborted.message.contains("aborted by request"), "{}", aborted.message);
}
