//! What makes a rollout careful, on a real API server, with simulated agents: rings, a bounded number of agents in
//! flight, the way back from a Secret that was rotated to something bad, and an agent that does not go back.

mod support;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use opamp_operator::api::{
    CollectorGroup, ConfigRevision, ConfigRollout, ConfigRolloutStatus, ProblemKind, RevisionState,
    RolloutState,
};
use opamp_operator::sim::Behaviour;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::fleet::{Fleet, content};
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased, rollout, until_events};

const AGENTS: usize = 50;
/// Those of them that are in the ring.
const EDGE: usize = 12;

/// A group with its agents and its rollout, all of one name.
struct Case<'a> {
    space: &'a Space,
    name: &'a str,
    fleet: Fleet,
}

impl<'a> Case<'a> {
    /// A group without agents.
    async fn new(space: &'a Space, operator: &Operator, name: &'a str, key: u8) -> Self {
        space.apply(group(name, name)).await;
        let fleet = Fleet::new(&operator.websocket(), name, key, Duration::from_millis(100));
        Self { space, name, fleet }
    }

    async fn apply(&self, files: Value, phases: Value) {
        self.space.apply(phased(self.name, self.name, files, phases)).await;
    }

    fn revision(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// Waits until a revision, by its number, has brought the rollout into a state.
    async fn is(&self, number: usize, state: RolloutState) -> ConfigRolloutStatus {
        let revision = self.revision(number);
        let there = |rollout: &ConfigRollout| {
            let status = rollout.status.as_ref();
            status.is_some_and(|status| {
                status.state == state && status.target_revision.as_ref() == Some(&revision)
            })
        };
        let found = self.space.until(self.name, &format!("{state:?} with {revision}"), there).await;
        found.status.expect("a status")
    }

    async fn waits_after(&self, phase: &str) -> ConfigRolloutStatus {
        let waiting = |rollout: &ConfigRollout| {
            let status = rollout.status.as_ref();
            status.is_some_and(|status| {
                status.state == RolloutState::AwaitingApproval
                    && status.current_phase.as_ref().is_some_and(|current| current.name == phase)
            })
        };
        let found = self.space.until(self.name, &format!("waiting after {phase}"), waiting).await;
        found.status.expect("a status")
    }

    async fn hash(&self, number: usize) -> String {
        self.space.api::<ConfigRevision>().get(&self.revision(number)).await.expect("a revision").spec.hash
    }

    async fn promote(&self, token: &str) {
        self.ask("promote", token).await;
    }

    async fn ask(&self, request: &str, token: &str) {
        let annotation = format!("fleet.opamp.dev/{request}");
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: token}}}));
        let rollouts = self.space.api::<ConfigRollout>();
        rollouts.patch(self.name, &PatchParams::default(), &patch).await.expect("annotated");
    }
}

/// One operator for all of them: a cluster has one.
#[tokio::test(flavor = "multi_thread")]
async fn rings_pace_and_rotated_secrets_are_handled_with_care() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "careful").await;
    let mut operator = Operator::start(&plane, "careful").await;
    tokio::join!(
        phase_with_a_selector_reaches_exactly_its_ring(Case::new(&space, &operator, "rings", 1).await),
        no_more_agents_than_max_in_flight_have_not_answered(Case::new(&space, &operator, "pace", 2).await),
    );
    let mut rotation = Case::new(&space, &operator, "rotation", 3).await;
    let hurt = bad_rotation_of_a_secret_is_rolled_back(&mut rotation).await;
    // A new process of the operator, which has never seen the old bytes.
    let address = operator.opamp.clone();
    operator.end();
    operator = Operator::start_on(&plane, "careful", &address).await;
    space.group_has("rotation", 50).await;
    whoever_starts_anew_gets_the_old_bytes(rotation, hurt).await;
    drop(operator);
}

async fn phase_with_a_selector_reaches_exactly_its_ring(mut case: Case<'_>) {
    case.fleet.join_with(AGENTS - EDGE, &Behaviour::Apply, &[("ring", "core")]);
    case.fleet.join_with(EDGE, &Behaviour::Apply, &[("ring", "edge")]);
    case.space.group_has(case.name, 50).await;
    let phases = json!([
        {"name": "canary", "agents": 1, "approval": "Manual"},
        {"name": "edge", "agents": "100%", "selector": {"matchLabels": {"ring": "edge"}}, "approval": "Manual"},
        {"name": "full", "agents": "100%"},
    ]);
    case.apply(inline(&collector("one")), phases).await;
    case.waits_after("canary").await;
    let hash = case.hash(1).await;
    let canary = case.fleet.offered(&hash);
    assert_eq!(canary.len(), 1);

    case.promote("ring").await;
    let status = case.waits_after("edge").await;
    let expected: BTreeSet<usize> = canary.into_iter().chain(AGENTS - EDGE..AGENTS).collect();
    assert_eq!(case.fleet.offered(&hash), expected, "{}", status.message);
    assert_eq!(status.phases[1].count.and_then(|count| count.try_into().ok()), Some(expected.len()));

    // Whoever joins the ring now takes the target at once.
    case.fleet.join_with(1, &Behaviour::Apply, &[("ring", "edge")]);
    case.fleet.until_offered(&hash, expected.len() + 1).await;
    case.fleet.hear(5).await;
    assert_eq!(case.fleet.offered(&hash), expected.iter().copied().chain([AGENTS]).collect());

    case.promote("full").await;
    let completed = case.is(1, RolloutState::Completed).await;
    assert_eq!(completed.agents.updated, 51, "{}", completed.message);
    assert_eq!((case.fleet.running(&hash).len(), case.fleet.times_offered(&hash)), (51, 51));
}

async fn no_more_agents_than_max_in_flight_have_not_answered(mut case: Case<'_>) {
    const IN_FLIGHT: usize = 20;
    case.fleet.join(AGENTS, &Behaviour::Silent);
    case.space.group_has(case.name, 50).await;
    let mut manifest = rollout(case.name, case.name, inline(&collector("one")));
    manifest["spec"]["strategy"]["maxInFlight"] = json!(IN_FLIGHT);
    manifest["spec"]["strategy"]["applyTimeout"] = json!("1h");
    case.space.apply(manifest).await;
    case.is(1, RolloutState::Progressing).await;
    let hash = case.hash(1).await;
    // They say nothing until they are started anew; only then the next ones are let in.
    let mut answered = BTreeSet::new();
    for expected in [20, 40, 50] {
        let offered = case.fleet.until_offered(&hash, expected).await;
        let pending = i64::try_from(expected - answered.len()).expect("few");
        let counted = |rollout: &ConfigRollout| {
            rollout.status.as_ref().is_some_and(|status| status.agents.pending == pending)
        };
        case.space.until(case.name, &format!("waiting for {pending} agents"), counted).await;
        // Longer than the second after which more would be let in.
        case.fleet.hear(15).await;
        assert_eq!(case.fleet.offered(&hash), offered, "{IN_FLIGHT} at once");
        assert_eq!(offered.len(), expected);
        let silent: BTreeSet<usize> = offered.difference(&answered).copied().collect();
        case.fleet.start_anew(&silent, &Behaviour::Apply).await;
        answered = offered;
    }
    let completed = case.is(1, RolloutState::Completed).await;
    assert_eq!(
        (completed.agents.updated, case.fleet.running(&hash).len()),
        (50, AGENTS),
        "{}",
        completed.message
    );
}

/// A configuration as people write it: comments, odd spacing and all.
fn old_bytes() -> String {
    let body = collector("swordfish-1").replace("nop: {}", "nop:   {}");
    format!("# the token of last month\n{body}\n\n")
}

fn secret(body: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "backend", "labels": {"fleet.opamp.dev/deliver": "true"}},
        "stringData": {"c.yaml": body},
    })
}

/// Returns the agents that were offered the bad bytes.
async fn bad_rotation_of_a_secret_is_rolled_back(case: &mut Case<'_>) -> BTreeSet<usize> {
    // Each takes its first configuration, and refuses the next.
    case.fleet.join(AGENTS, &Behaviour::Rollback);
    case.space.group_has(case.name, 50).await;
    let old = old_bytes();
    case.space.apply(secret(&old)).await;
    let files = json!([{"name": "c.yaml", "contentType": "text/yaml", "secretKeyRef": {"name": "backend", "key": "c.yaml"}}]);
    let phases =
        json!([{"name": "canary", "agents": "10%", "duration": "1h"}, {"name": "full", "agents": "100%"}]);
    case.apply(files, phases).await;
    case.is(1, RolloutState::Soaking).await;
    case.promote("go").await;
    case.is(1, RolloutState::Completed).await;

    case.space.apply(secret(&collector("swordfish-2"))).await;
    let status = case.is(2, RolloutState::RolledBack).await;
    assert_eq!(status.stable_revision.as_deref(), Some("rotation-1"));
    assert!(!status.message.contains("swordfish"), "{}", status.message);
    let second = case.space.api::<ConfigRevision>().get(&case.revision(2)).await.expect("a revision");
    assert_eq!(second.spec.author.as_deref(), Some("secret/backend"));
    let rejected = |revision: &ConfigRevision| {
        revision.status.as_ref().is_some_and(|status| status.state == RevisionState::Rejected)
    };
    case.space.until(&case.revision(2), "rejected", rejected).await;
    // Agents go by the group's assignment, which follows the rollout's status.
    let back = |group: &CollectorGroup| {
        let assignment = group.status.as_ref().and_then(|status| status.assignment.as_ref());
        assignment.is_some_and(|assignment| assignment.terms.is_empty())
    };
    case.space.until::<CollectorGroup>(case.name, "without a cohort", back).await;
    let hurt = case.fleet.offered(&second.spec.hash);
    assert_eq!(hurt.len(), 5, "10% of {AGENTS}: {}", status.message);

    hurt
}

/// The Secret still holds the bad bytes: whoever starts anew gets the old ones all the same, the agents that were hurt
/// and a new one.
async fn whoever_starts_anew_gets_the_old_bytes(mut case: Case<'_>, hurt: BTreeSet<usize>) {
    let old = old_bytes();
    let before: Vec<usize> = case.fleet.offers().iter().map(Vec::len).collect();
    case.fleet.start_anew(&hurt, &Behaviour::Apply).await;
    case.fleet.join(1, &Behaviour::Apply);
    let first = case.hash(1).await;
    support::eventually("everybody to run the first revision", async || {
        (case.fleet.running(&first).len() == AGENTS + 1).then_some(())
    })
    .await;
    for (agent, offers) in case.fleet.offers().iter().enumerate() {
        let new = &offers[before.get(agent).copied().unwrap_or_default()..];
        let contents: Vec<String> = new.iter().map(content).collect();
        let expected = vec![first.clone(); usize::from(hurt.contains(&agent) || agent == AGENTS)];
        assert_eq!(contents, expected, "agent {agent}");
        assert!(new.iter().all(|offer| offer.files["c.yaml"] == old.as_bytes()), "agent {agent}");
    }
    assert_eq!(case.fleet.offered(&case.hash(2).await), hurt);
    let held = case.space.api::<Secret>().get("backend").await.expect("the Secret").data.expect("data");
    assert_eq!(held["c.yaml"].0, collector("swordfish-2").as_bytes());

    // Rotated back, the content is proven already.
    case.space.apply(secret(&old)).await;
    case.is(1, RolloutState::Soaking).await;
}

/// Whether a group tells that a rollback is not complete, and whom it still misses.
fn misses(group: &CollectorGroup) -> (bool, Vec<String>) {
    let Some(status) = &group.status else { return (false, Vec::new()) };
    let is_told = status.conditions.iter().any(|condition| {
        condition.type_ == "Degraded"
            && condition.status == "True"
            && condition.reason == "RollbackIncomplete"
    });
    let left = status.problems.iter().filter(|problem| problem.kind == ProblemKind::NotRolledBack);
    (is_told, left.map(|problem| problem.host.clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_takes_no_rollback_is_told_of_until_it_runs_the_stable_revision() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "incomplete").await;
    let operator = Operator::start(&plane, "incomplete").await;
    let mut case = Case::new(&space, &operator, "left", 4).await;
    case.fleet.join(10, &Behaviour::Apply);
    case.space.group_has(case.name, 10).await;
    case.apply(inline(&collector("one")), json!([{"name": "full", "agents": "100%"}])).await;
    case.is(1, RolloutState::Completed).await;
    let phases =
        json!([{"name": "canary", "agents": 5, "duration": "1h"}, {"name": "full", "agents": "100%"}]);
    let mut manifest = phased(case.name, case.name, inline(&collector("two")), phases);
    manifest["spec"]["strategy"]["progressDeadline"] = json!("5s");
    case.space.apply(manifest).await;
    case.is(2, RolloutState::Soaking).await;

    // One of the canaries takes what it is sent from now on, and does nothing with it.
    let (first, second) = (case.hash(1).await, case.hash(2).await);
    let canaries = case.fleet.running(&second);
    assert_eq!(canaries.len(), 5);
    let left = *canaries.first().expect("a canary");
    case.fleet.set_behaviour(left, &Behaviour::Silent);
    case.ask("abort", "enough").await;
    let status = case.is(2, RolloutState::RolledBack).await;
    assert!(status.message.contains("1 of 5 agents are not back"), "{}", status.message);
    let host = format!("host-{left}");
    let told = |group: &CollectorGroup| misses(group) == (true, vec![host.clone()]);
    let group = case.space.until::<CollectorGroup>(case.name, "without one agent", told).await;
    let status = group.status.expect("a status");
    assert_eq!((status.agents.connected, status.agents.in_sync), (10, 9));
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    assert_eq!(ready.map(|ready| ready.status.as_str()), Some("False"));
    let events = until_events(&space, case.name, &["RolledBack"], 1).await;
    let note = events.iter().find(|(reason, _)| reason == "RolledBack").map(|(_, note)| note.as_str());
    assert!(note.is_some_and(|note| note.contains("1 of 5 agents are not back")), "{events:?}");
    assert_eq!(case.fleet.running(&second), BTreeSet::from([left]));

    // It comes back right, and is forgotten.
    case.fleet.start_anew(&BTreeSet::from([left]), &Behaviour::Apply).await;
    let whole = |group: &CollectorGroup| {
        misses(group) == (false, Vec::new())
            && group.status.as_ref().is_some_and(|status| status.agents.in_sync == 10)
    };
    case.space.until::<CollectorGroup>(case.name, "whole again", whole).await;
    assert_eq!((case.fleet.running(&first).len(), case.fleet.running(&second).len()), (10, 0));
}
