//! Agents that change their group, on a real API server, with simulated agents.

mod support;

use opamp_operator::api::{CollectorGroup, ConfigRevision, RolloutState};
use opamp_operator::sim::{self, Behaviour, Profile, Simulated};
use serde_json::json;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout};

const AGENTS: u8 = 50;

fn start(operator: &Operator, number: u8, test: &str) -> Simulated {
    let profile = Profile::new([number; 16]).with("test", test).with("host.name", &format!("host-{number}"));
    let pace = sim::Pace { heartbeat: Duration::from_millis(200), ..sim::Pace::default() };
    let endpoint = operator.websocket().parse().expect("an endpoint");
    sim::spawn(sim::Agent::new(profile, Behaviour::Apply), endpoint, pace)
}

/// How many agents were ever offered a revision.
fn offered(agents: &[Simulated], hash: &str) -> usize {
    let had =
        |agent: &&Simulated| agent.journal().offers.iter().any(|offer| hex::encode(&offer.hash) == hash);
    agents.iter().filter(had).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_another_group_are_admitted_in_steps_also_over_a_restart() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "adoption").await;
    let mut operator = Operator::start(&plane, "adoption").await;
    let mut agents: Vec<Simulated> = (1..=AGENTS).map(|n| start(&operator, n, "yes")).collect();
    space.apply(group("old", "yes")).await;
    space.group_has("old", i64::from(AGENTS)).await;
    space.apply(rollout("theirs", "old", inline(&collector("one")))).await;
    space.rollout_is("theirs", RolloutState::Completed).await;

    // A second group of its own agents, with a stable revision.
    let mut ours = group("new", "nobody");
    ours["spec"]["priority"] = json!(10);
    space.apply(ours.clone()).await;
    space.apply(rollout("ours", "new", inline(&collector("two")))).await;
    let _native = start(&operator, 101, "nobody");
    space.rollout_is("ours", RolloutState::Completed).await;

    // An edited selector moves everybody at once; one of fifty is admitted.
    let both = json!({"matchExpressions": [{"key": "test", "operator": "In", "values": ["yes", "nobody"]}]});
    ours["spec"]["selector"] = both;
    space.apply(ours).await;
    space.group_has("new", i64::from(AGENTS) + 1).await;
    let adopting = |group: &CollectorGroup| {
        let conditions = group.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.type_ == "Ready" && c.reason == "Adopting")
    };
    space.until("new", "adopting", adopting).await;
    let hash = space.api::<ConfigRevision>().get("ours-1").await.expect("a revision").spec.hash;
    let admitted = async |agents: &[Simulated]| (offered(agents, &hash) > 0).then_some(());
    eventually("the first agent to be admitted", async || admitted(&agents).await).await;

    let address = operator.opamp.clone();
    operator.end();
    operator = Operator::start_on(&plane, "adoption", &address).await;
    space.group_has("new", i64::from(AGENTS) + 1).await;
    // A new agent, which runs nothing of ours, does not wait.
    agents.push(start(&operator, 200, "yes"));
    let new = agents.split_off(usize::from(AGENTS));
    eventually("the new agent to take its revision", async || admitted(&new).await).await;
    assert_eq!(offered(&agents, &hash), 1, "2% of {AGENTS}");
    space.until("new", "still adopting", adopting).await;
}
