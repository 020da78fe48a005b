//! Two replicas: one leads, and the other takes over when the first ends or dies.

mod support;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use opamp_operator::api::CollectorGroup;
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, group};

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
