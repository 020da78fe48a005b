//! Offers of content that an agent has already received, on a real supervisor and Collector.

mod support;

use opamp_operator::api::{ConfigRevision, ConfigRollout, RolloutState};
use std::net::TcpListener;
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, group, inline, rollout};
use support::supervisor::Supervisor;
use support::tap::Tap;

/// A configuration that fails while something else listens on the port.
fn listening_on(port: u16) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
         exporters: {{nop: {{}}}}\n\
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_a_real_collector_rejected_is_taken_after_a_retry_once_its_cause_is_gone() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "retry").await;
    let operator = Operator::start(&plane, "retry").await;
    let tap = Tap::start(&operator.opamp).await;
    let supervisor = Supervisor::start(plane.dir(), "supervisor", &tap.endpoint, &[("test", "retry")]);
    space.apply(group("edge", "retry")).await;
    space.group_has("edge", 1).await;

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let body = listening_on(port);
    space.apply(rollout("r", "edge", inline(&body))).await;
    let halted = space.rollout_is("r", RolloutState::Halted).await.status.expect("a status");
    assert_eq!(halted.failures[0].reason, "Failed", "{}", halted.failures[0].message);
    let hash = space.api::<ConfigRevision>().get("r-1").await.expect("the revision").spec.hash;
    let retry = |token: &str| {
        let annotation = format!("fleet.opamp.dev/retry={token}");
        plane
            .kubectl(&["-n", "retry", "annotate", "--overwrite", "configrollout", "r", &annotation])
            .expect("annotated")
    };

    // Tried again with the cause still there: it fails again, and that is seen.
    retry("one");
    let again = space
        .until("r", "halted by the second attempt", |rollout: &ConfigRollout| {
            let status = rollout.status.as_ref();
            status.is_some_and(|status| {
                status.state == RolloutState::Halted
                    && status.failures.first().is_some_and(|failure| failure.at.0 > halted.failures[0].at.0)
            })
        })
        .await;
    assert_eq!(again.status.expect("a status").failures[0].reason, "Failed");
    drop(taken);
    retry("two");
    let completed = space.rollout_is("r", RolloutState::Completed).await.status.expect("a status");
    assert_eq!((completed.progress.as_str(), completed.stable_revision.as_deref()), ("1/1", Some("r-1")));

    // One offer for each attempt, each with another hash, and with the files as they were written.
    let offers = tap.offers();
    let forms: Vec<(String, usize)> = offers
        .iter()
        .map(|offer| {
            let hash = hex::encode(&offer.config_hash);
            (hash, offer.config.as_ref().expect("a config map").config_map.len())
        })
        .collect();
    assert_eq!(forms, [(hash.clone(), 1), (format!("{hash}01"), 2), (format!("{hash}02"), 1)]);
    for offer in &offers {
        let files = &offer.config.as_ref().expect("a config map").config_map;
        assert_eq!(&files["collector.yaml"].body[..], body.as_bytes());
    }
    let stored = supervisor.stored_offer().expect("a stored offer");
    assert_eq!(hex::encode(&stored.config_hash), format!("{hash}02"));
    eventually("the receiver to listen", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
    })
    .await;
}
