//! Two replicas: one leads, and the other takes over when the first ends or dies; what both do while the API server is
//! away; and what one does while a namespace takes no slices.

mod support;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;
use opamp_operator::api::{AgentSlice, CollectorGroup, ConfigRevision, ConfigRollout, RolloutState};
use opamp_operator::sim::Behaviour;
use serde_json::json;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::eventually;
use support::fleet::{Fleet, content};
use support::operator::Operator;
use support::resources::{Space, collector, events_of, group, inline, phased, rollout};
use support::switch::Switch;

const HEARTBEAT: Duration = Duration::from_millis(100);
const LEADING: &str = "opamp_operator_leading 1";

async fn replica(plane: &ControlPlane, identity: &str) -> Operator {
    let environment = [("OPAMP_OPERATOR_IDENTITY", identity)];
    Operator::start_guarded_with(plane, "replicas", &["--agent-auth=none"], &environment).await
}

/// Waits until a replica holds the leader's Lease and has stamped the group; its term.
async fn term_of(space: &Space, replica: &Operator, identity: &str, above: i64) -> i64 {
    replica.until_metrics(&[LEADING]).await;
    let leases: Api<Lease> = space.api();
    let lease = leases.get("opamp-operator-leader").await.expect("a lease");
    assert_eq!(lease.spec.expect("a spec").holder_identity.as_deref(), Some(identity));
    let stamped = |group: &CollectorGroup| {
        group.status.as_ref().and_then(|status| status.leader_term).is_some_and(|term| term > above)
    };
    let group = space.until("g", &format!("stamped above {above}"), stamped).await;
    group.status.and_then(|status| status.leader_term).expect("a term")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_leads_in_a_higher_term_after_a_clean_stop_and_after_a_kill() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "replicas").await;
    space.apply(group("g", "yes")).await;
    let mut first = replica(&plane, "first").await;
    let before = term_of(&space, &first, "first", 0).await;
    let mut second = replica(&plane, "second").await;
    second.until_metrics(&["opamp_operator_leading 0"]).await;

    first.end();
    assert!(!first.log().contains("cannot give the leader's lease back"), "{}", first.log());
    let after_stop = term_of(&space, &second, "second", before).await;

    let third = replica(&plane, "third").await;
    third.until_metrics(&["opamp_operator_leading 0"]).await;
    second.kill();
    term_of(&space, &third, "third", after_stop).await;

    // Neither what was given back nor what ran out stays for ever.
    let leases: Api<Lease> = space.api();
    eventually("the leases of the others to be gone", async || {
        let leases = leases.list(&ListParams::default()).await.expect("leases").items;
        let mut names: Vec<String> = leases.iter().map(ResourceExt::name_any).collect();
        names.sort();
        (names == ["opamp-operator-leader", "opamp-operator-replica-third"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_signal_ends_a_drain_at_once() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "twice").await;
    let mut operator = Operator::start_as(&plane, "twice", "replica-1").await;
    let mut fleet = Fleet::new(&operator.websocket(), "all", 1, HEARTBEAT);
    fleet.join(40, &Behaviour::Apply);
    space.apply(group("all", "all")).await;
    space.group_has("all", 40).await;
    // The drain would take a second, and end with the Lease given back.
    operator.send(Signal::SIGTERM);
    operator.send(Signal::SIGINT);
    eventually("the operator to end", async || operator.has_ended().then_some(())).await;
    assert!(operator.log().contains("stopped at once by a second signal"), "{}", operator.log());
    let lease = space.api::<Lease>().get("opamp-operator-replica-replica-1").await.expect("a lease");
    assert_eq!(lease.spec.and_then(|spec| spec.holder_identity).as_deref(), Some("replica-1"));
}

/// A minute, as fast as everything else here. It begins in mid-soak and takes longer than the rest of that.
#[tokio::test(flavor = "multi_thread")]
async fn api_server_that_is_away_for_a_minute_costs_no_connection_no_verdict_and_no_rollout() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "outage").await;
    let way = Switch::start(&plane.address().to_string()).await;
    let kubeconfig = plane.kubeconfig_over("cut", &format!("https://{}", way.address));
    let one = Operator::start_by(&plane, "outage", "replica-1", &kubeconfig).await;
    one.until_metrics(&[LEADING]).await;
    let two = Operator::start_by(&plane, "outage", "replica-2", &kubeconfig).await;
    let mut edge = Fleet::new(&one.websocket(), "all", 1, HEARTBEAT);
    edge.join_with(10, &Behaviour::Apply, &[("ring", "edge")]);
    let mut core = Fleet::new(&two.websocket(), "all", 2, HEARTBEAT);
    core.join(10, &Behaviour::Apply);
    space.apply(group("all", "all")).await;
    space.group_has("all", 20).await;
    space.apply(rollout("r", "all", inline(&collector("one")))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    let selector = json!({"matchLabels": {"ring": "edge"}});
    let phases = json!([
        {"name": "edge", "agents": "100%", "selector": selector, "duration": "5s"},
        {"name": "full", "agents": "100%"},
    ]);
    space.apply(phased("r", "all", inline(&collector("two")), phases)).await;
    space.rollout_is("r", RolloutState::Soaking).await;
    let second = space.api::<ConfigRevision>().get("r-2").await.expect("a revision").spec.hash;
    let connections = [edge.connections(), core.connections()];

    way.turn(None);
    for replica in [&one, &two] {
        eventually("the replica to tell that its lease is not held", async || {
            let (answer, why) = replica.get("/readyz").await?;
            (answer == 503 && why.contains("lease is not held")).then_some(())
        })
        .await;
    }
    // An agent falls ill and is well again, and nobody but its replica sees it.
    edge.fall_ill(0);
    edge.hear(3).await;
    edge.recover(0);
    // One that has nothing would be given a revision at once.
    let mut late = Fleet::new(&two.websocket(), "all", 3, HEARTBEAT);
    late.join(1, &Behaviour::Apply);
    late.hear(20).await;
    assert!(late.offers().iter().all(Vec::is_empty), "nothing new is offered without a lease");
    // A hundred heartbeats take longer than the soak, and each is answered.
    core.hear(100).await;
    edge.hear(1).await;
    let waits = space.api::<ConfigRollout>().get("r").await.expect("a rollout").status.expect("a status");
    assert_eq!(waits.state, RolloutState::Soaking, "{}", waits.message);
    assert!(core.offered(&second).is_empty());

    way.turn(Some(&plane.address().to_string()));
    let done = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status");
    assert_eq!(done.agents.failed, 1, "{done:?}");
    assert_eq!(
        done.failures[0].reason, "Unhealthy",
        "what happened meanwhile was written afterwards: {done:?}"
    );
    late.until_offered(&second, 1).await;
    assert_eq!([edge.connections(), core.connections()], connections, "no connection was lost");
    for (fleet, agents) in [(&edge, 10), (&core, 10), (&late, 1)] {
        let times = |offers: Vec<_>| offers.iter().filter(|offer| content(offer) == second).count();
        let times: Vec<usize> = fleet.offers().into_iter().map(times).collect();
        assert_eq!(times, vec![1; agents], "each agent once");
    }
    let told = events_of(&space, "r").await;
    assert!(told.iter().all(|(_, note)| !note.contains("rolled back")), "{told:?}");
}

/// Refuses every slice in one namespace, as a quota or somebody's webhook may.
fn refusal() -> serde_json::Value {
    let rule = json!({
        "apiGroups": ["fleet.opamp.dev"], "apiVersions": ["*"], "resources": ["agentslices"],
        "operations": ["CREATE", "UPDATE"],
    });
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "full"}});
    let metadata = json!({"name": "no-slices"});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": metadata,
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
            "validations": [{"expression": "false", "message": "this namespace is full"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata, "spec": {"policyName": "no-slices", "validationActions": ["Deny"]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [policy, binding]})
}

/// The namespace with two agents of its own that run a first revision.
async fn settled(plane: &ControlPlane, operator: &Operator, name: &str, key: u8) -> (Space, Fleet) {
    let space = Space::new(plane, name).await;
    let token = format!("{name}-token-of-at-least-32-characters");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "fleet.opamp.dev/agent-token",
        "metadata": {"name": "agents", "labels": {"fleet.opamp.dev/credential": "true"}},
        "stringData": {"a": token},
    });
    space.apply(secret).await;
    space.apply(group("g", name)).await;
    let mut fleet = Fleet::new(&operator.websocket(), name, key, HEARTBEAT).by_token(&token);
    fleet.join(2, &Behaviour::Apply);
    space.group_has("g", 2).await;
    space.apply(rollout("r", "g", inline(&collector("one")))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    (space, fleet)
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_that_takes_no_slices_waits_alone_and_goes_on_when_it_takes_them() {
    let plane = ControlPlane::start().await;
    let home = Space::new(&plane, "home").await;
    let environment = [("OPAMP_OPERATOR_IDENTITY", "one")];
    let operator = Operator::start_guarded_with(&plane, "home", &["--agent-auth=token"], &environment).await;
    let (full, mut waiting) = settled(&plane, &operator, "full", 1).await;
    let (other, going_on) = settled(&plane, &operator, "other", 2).await;

    let file = plane.dir().join("refusal.json");
    std::fs::write(&file, refusal().to_string()).expect("written");
    let file = file.to_str().expect("a path in UTF-8");
    plane.kubectl(&["apply", "-f", file]).expect("applied");
    let slice = json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "AgentSlice", "metadata": {"name": "probe"},
        "spec": {"formatVersion": 1, "replica": "probe"},
    });
    eventually("slices to be refused", async || full.try_apply(slice.clone()).await.err()).await;
    waiting.fall_ill(0);
    let behind = |lease: &Lease| lease.annotations().get("fleet.opamp.dev/behind").cloned();
    let leases = "opamp-operator-replica-one";
    home.until(leases, "behind", |lease: &Lease| behind(lease).as_deref() == Some("full")).await;
    operator.until_metrics(&["opamp_slices_behind_namespaces 1"]).await;

    // Nobody is believed to be where nobody can tell, and nobody is offered what could not be heard of again.
    full.group_has("g", 0).await;
    full.apply(rollout("r", "g", inline(&collector("two")))).await;
    other.apply(rollout("r", "g", inline(&collector("two")))).await;
    other.rollout_is("r", RolloutState::Completed).await;
    let second = other.api::<ConfigRevision>().get("r-2").await.expect("a revision").spec.hash;
    assert_eq!(going_on.running(&second).len(), 2);
    let theirs = full.until::<ConfigRevision>("r-2", "there", |_| true).await.spec.hash;
    waiting.hear(20).await;
    assert!(waiting.offered(&theirs).is_empty());
    assert_eq!(operator.get("/readyz").await.map(|(code, _)| code), Some(200));
    operator.until_metrics(&[LEADING, r#"opamp_lease_transitions_total{lease="replica",to="lost"} 0"#]).await;

    plane.kubectl(&["delete", "-f", file]).expect("deleted");
    home.until(leases, "behind no more", |lease: &Lease| behind(lease).is_none()).await;
    operator.until_metrics(&["opamp_slices_behind_namespaces 0"]).await;
    full.group_has("g", 2).await;
    waiting.recover(0);
    full.rollout_is("r", RolloutState::Completed).await;
    assert_eq!(waiting.running(&theirs).len(), 2);
    let mut written = Vec::new();
    for space in [&full, &other] {
        let slices = space.api::<AgentSlice>().list(&ListParams::default()).await.expect("slices").items;
        let own = slices.into_iter().filter(|slice| slice.spec.replica == "one");
        written.extend(own.map(|slice| slice.resource_version().expect("a version")));
    }
    let last = written.into_iter().max_by_key(|version| version.parse::<u64>().expect("a number"));
    let tells = |lease: &Lease| lease.annotations().get("fleet.opamp.dev/written").cloned() == last;
    home.until(leases, "telling of the slice that was written last", tells).await;
}
