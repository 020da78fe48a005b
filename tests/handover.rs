//! Several replicas on a real API server: agents that move between them, and a replica that dies.

mod support;

use kube::ResourceExt;
use kube::api::ListParams;
use opamp_operator::api::{
    AgentSlice, CONTENT_LABEL, CollectorGroup, ConfigRevision, ConfigRollout, EXCEPTIONS, REPLICA_LABEL,
    RolloutState,
};
use opamp_operator::sim::{self, Access, Behaviour, Endpoint, Pace, Profile, Simulated};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::fleet::{Fleet, content};
use support::operator::Operator;
use support::resources::{Space, collector, events_of, group, inline, phased};
use support::switch::Switch;
use support::{eventually, within};

const HEARTBEAT: Duration = Duration::from_millis(100);

/// The slices with this label and value.
async fn slices(space: &Space, label: &str, value: &str) -> Vec<AgentSlice> {
    let those = ListParams::default().labels(&format!("{label}={value}"));
    space.api::<AgentSlice>().list(&those).await.expect("slices").items
}

/// Waits until the leader tells all replicas that so many agents refused something.
async fn refusals_are_told(space: &Space, agents: usize) {
    eventually(format!("{agents} refusals in slices of exceptions"), async || {
        let told = slices(space, CONTENT_LABEL, EXCEPTIONS).await;
        let refused = told.iter().flat_map(|slice| &slice.spec.agents);
        (refused.filter(|entry| !entry.verdicts.is_empty()).count() == agents).then_some(())
    })
    .await;
}

async fn hash(space: &Space, revision: &str) -> String {
    space.api::<ConfigRevision>().get(revision).await.expect("a revision").spec.hash
}

/// How often each agent of a fleet was offered this content.
fn times_offered(fleet: &Fleet, hash: &str) -> Vec<usize> {
    let times = |offers: Vec<_>| offers.iter().filter(|offer| content(offer) == hash).count();
    fleet.offers().into_iter().map(times).collect()
}

/// First the edge, for some seconds, then everybody.
fn edge_first() -> Value {
    json!([
        {"name": "edge", "agents": "100%", "selector": {"matchLabels": {"ring": "edge"}}, "duration": "5s"},
        {"name": "full", "agents": "100%"},
    ])
}

/// The leader dies in mid-soak, with all agents of the phase and one that has refused the target by going back from it,
/// which only that replica has seen.
#[tokio::test(flavor = "multi_thread")]
async fn replica_that_dies_takes_neither_refusals_nor_the_rollout_with_it() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "handover").await;
    let mut one = Operator::start_as(&plane, "handover", "replica-1").await;
    one.until_metrics(&["opamp_operator_leading 1"]).await;
    let two = Operator::start_as(&plane, "handover", "replica-2").await;
    let switch = Switch::start(&one.opamp).await;
    let mut edge = Fleet::new(&switch.websocket(), "all", 1, HEARTBEAT);
    edge.join_with(11, &Behaviour::Apply, &[("ring", "edge")]);
    edge.join_with(1, &Behaviour::Rollback, &[("ring", "edge")]);
    let mut core = Fleet::new(&two.websocket(), "all", 2, HEARTBEAT);
    core.join(10, &Behaviour::Apply);
    space.apply(group("all", "all")).await;
    space.group_has("all", 22).await;
    space.apply(phased("r", "all", inline(&collector("one")), edge_first())).await;
    space.rollout_is("r", RolloutState::Completed).await;

    space.apply(phased("r", "all", inline(&collector("two")), edge_first())).await;
    space.rollout_is("r", RolloutState::Soaking).await;
    refusals_are_told(&space, 1).await;
    let second = hash(&space, "r-2").await;
    let before = edge.connections();
    switch.turn(None);
    one.kill();
    // The other replica leads by now, and knows nothing of these agents but what the dead one wrote.
    space.group_has("all", 10).await;
    let state = space.api::<ConfigRollout>().get("r").await.expect("a rollout").status.expect("a status");
    let waits = matches!(state.state, RolloutState::Soaking | RolloutState::Progressing);
    assert!(waits && state.agents.failed == 1, "{state:?}");
    switch.turn(Some(&two.opamp));
    edge.return_after(&before).await;

    let done = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status");
    assert_eq!((done.agents.updated, done.agents.failed, done.agents.total), (21, 1, 22), "{done:?}");
    assert_eq!(done.stable_revision.as_deref(), Some("r-2"));
    eventually("the dead replica's slices to be gone", async || {
        slices(&space, REPLICA_LABEL, "replica-1").await.is_empty().then_some(())
    })
    .await;
    // Time to offer it to the one that refused it; and nothing that the deleted slices knew is missing.
    edge.hear(10).await;
    assert_eq!(times_offered(&edge, &second), [1; 12], "each agent once, whichever replica it came to");
    assert_eq!(edge.running(&second), (0..11).collect::<BTreeSet<_>>());
    let counts =
        space.api::<CollectorGroup>().get("all").await.expect("a group").status.expect("a status").agents;
    assert_eq!((counts.matched, counts.connected, counts.offline), (22, 22, 0), "{counts:?}");
    let told = events_of(&space, "r").await;
    assert!(
        told.iter().all(|(reason, _)| !reason.contains("RolledBack") && !reason.contains("RollingBack")),
        "{told:?}"
    );
    let kept = slices(&space, REPLICA_LABEL, "replica-2").await;
    assert!(kept.iter().all(|slice| slice.name_any().starts_with("replica-2-")));
}

/// Whether each of these replicas writes of so many agents that it has them, connected.
async fn have(space: &Space, replicas: &[&str], agents: usize) {
    for replica in replicas {
        eventually(format!("{agents} agents in the slices of {replica}"), async || {
            let told = slices(space, REPLICA_LABEL, replica).await;
            let entries = told.iter().flat_map(|slice| &slice.spec.agents);
            (entries.filter(|entry| entry.flags & 1 != 0).count() == agents).then_some(())
        })
        .await;
    }
}

/// No balancer keeps them at one replica: each poll goes to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn agents_that_poll_two_replicas_in_turn_are_counted_once_and_served_by_both() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "turns").await;
    let mut one = Operator::start_as(&plane, "turns", "replica-1").await;
    one.until_metrics(&["opamp_operator_leading 1"]).await;
    let two = Operator::start_as(&plane, "turns", "replica-2").await;
    space.apply(group("all", "all")).await;
    let beat = Duration::from_millis(600);
    let mut fleet = Fleet::new(&one.http(), "all", 1, beat).in_turn_with(&[&two.opamp]);
    fleet.join(11, &Behaviour::Apply);
    fleet.join(1, &Behaviour::Fail("no such component".to_owned()));
    space.group_has("all", 12).await;
    have(&space, &["replica-1", "replica-2"], 12).await;
    let whole = json!([{"name": "full", "agents": "100%"}]);
    space.apply(phased("r", "all", inline(&collector("one")), whole.clone())).await;
    let done = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status");
    assert_eq!((done.agents.updated, done.agents.failed, done.agents.total), (11, 1, 12), "{done:?}");
    let first = hash(&space, "r-1").await;
    fleet.hear(20).await;
    let times = times_offered(&fleet, &first);
    assert!(times.iter().all(|times| (1..=2).contains(times)), "at most once by each replica: {times:?}");
    for replica in [&one, &two] {
        let metrics = replica.get("/metrics").await.expect("metrics").1;
        let missed = metrics.lines().find_map(|line| line.strip_prefix("opamp_polls_missed_total "));
        let missed: usize = missed.expect("the metric").parse().expect("a number");
        assert!(missed >= 12 * 10, "{missed} of all its polls followed others elsewhere");
    }

    // The other replica has all of them, and knows whose refusal stands.
    one.kill();
    two.until_metrics(&["opamp_operator_leading 1"]).await;
    space.apply(phased("r", "all", inline(&collector("two")), whole)).await;
    let second = space
        .until::<ConfigRollout>("r", "completed again", |rollout| {
            rollout.status.as_ref().is_some_and(|status| {
                status.state == RolloutState::Completed && status.target_revision.as_deref() == Some("r-2")
            })
        })
        .await;
    let counts = second.status.expect("a status").agents;
    assert_eq!((counts.updated, counts.failed, counts.total), (11, 1, 12), "{counts:?}");
    assert_eq!(times_offered(&fleet, &first), times, "nor by the other when it was left alone");
}

const FIRST: &str = "first-0123456789abcdef0123456789abcdef";
const SECOND: &str = "second-0123456789abcdef0123456789abcdef";

/// An agent with this uid, which applies everything and comes with this token.
fn tokened(at: &Operator, uid: u8, token: &str) -> Simulated {
    let profile = Profile::new([uid; 16]).with("test", "all").with("host.name", token);
    let agent = sim::Agent::new(profile, Behaviour::Apply);
    let pace = Pace { heartbeat: HEARTBEAT, last_backoff: Duration::from_secs(1), ..Pace::default() };
    let shown = Access::default().by_headers([("authorization".to_owned(), format!("Bearer {token}"))]);
    let endpoint: Endpoint = at.websocket().parse().expect("an endpoint");
    sim::spawn(agent, endpoint.with(shown), pace)
}

/// Two holders of credentials, one uid, two replicas, of which neither knows of the other's agent.
#[tokio::test(flavor = "multi_thread")]
async fn agent_with_another_holders_uid_is_given_a_new_one_at_any_replica() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "whose").await;
    for (name, token) in [("first", FIRST), ("second", SECOND)] {
        space
            .apply(json!({
                "apiVersion": "v1", "kind": "Secret", "type": "fleet.opamp.dev/agent-token",
                "metadata": {"name": name, "labels": {"fleet.opamp.dev/credential": "true"}},
                "stringData": {"token": token},
            }))
            .await;
    }
    let one = Operator::start_guarded(&plane, "whose", &["--identity=replica-1"]).await;
    one.until_metrics(&["opamp_operator_leading 1"]).await;
    let two = Operator::start_guarded(&plane, "whose", &["--identity=replica-2"]).await;
    space.apply(group("all", "all")).await;
    let owner = tokened(&one, 9, FIRST);
    space.group_has("all", 1).await;
    let mut impostor = tokened(&two, 9, SECOND);
    let given = within("a new uid", impostor.until(|journal| !journal.uids.is_empty())).await;
    assert_ne!(given.uids[0], [9; 16]);
    space.group_has("all", 2).await;
    space
        .apply(phased("r", "all", inline(&collector("one")), json!([{"name": "full", "agents": "100%"}])))
        .await;
    let done = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status");
    assert_eq!((done.agents.updated, done.agents.total), (2, 2), "{done:?}");
    assert_eq!((owner.journal().uids.len(), impostor.journal().uids.len()), (0, 1));
    let uid = hex::encode([9; 16]);
    let others = slices(&space, REPLICA_LABEL, "replica-2").await;
    assert!(others.iter().flat_map(|slice| &slice.spec.agents).all(|entry| entry.uid != uid));
}
