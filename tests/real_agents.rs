//! The main job on real parts: a real API server, real supervisors with real Collectors, and independent OpAMP
//! clients as witnesses.

mod support;

use opamp_operator::api::{CollectorGroup, ConfigRevision, ConfigRollout, RolloutState};
use opamp_operator::config::{Value, parse};
use serde_json::json;
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout};
use support::supervisor::Supervisor;
use support::tap::Tap;
use support::witness::{Client, Witness};

/// The status of a rollout.
fn status(rollout: &ConfigRollout) -> opamp_operator::api::ConfigRolloutStatus {
    rollout.status.clone().expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_reaches_a_real_collector_byte_for_byte_and_a_rejected_one_is_told_and_not_offered_again() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "real").await;
    let mut operator = Operator::start(&plane, "real").await;
    let tap = Tap::start(&operator.opamp).await;
    let supervisor = Supervisor::start(plane.dir(), "supervisor", &tap.endpoint, &[("test", "real")]);
    space.apply(group("edge", "real")).await;
    space.group_has("edge", 1).await;

    // A configuration as people write it: comments, odd spacing and all.
    let body = format!("# what we run\n{}\n\n", collector("one").replace("nop: {}", "nop:   {}"));
    space.apply(rollout("checkout", "edge", inline(&body))).await;
    let completed = status(&space.rollout_is("checkout", RolloutState::Completed).await);
    assert_eq!(completed.target_revision.as_deref(), Some("checkout-1"));
    assert_eq!(completed.stable_revision.as_deref(), Some("checkout-1"));
    assert_eq!(completed.progress, "1/1");

    let revision = space.api::<ConfigRevision>().get("checkout-1").await.expect("the revision");
    let stored = supervisor.stored_offer().expect("a stored offer");
    assert_eq!(hex::encode(&stored.config_hash), revision.spec.hash);
    let files = &stored.config.as_ref().expect("a config map").config_map;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["collector.yaml"]);
    assert_eq!(&files["collector.yaml"].body[..], body.as_bytes());
    assert_eq!(files["collector.yaml"].content_type, "text/yaml");
    assert_reported_leaves(&body, &tap).await;

    // An unknown key passes our own checks; only the Collector knows it.
    let bad = collector("two").replace("exporters: {nop: {}}", "exporters: {nop: {no_such_key: 1}}");
    space.apply(rollout("checkout", "edge", inline(&bad))).await;
    let failed = status(&space.rollout_is("checkout", RolloutState::RolledBack).await);
    assert_eq!(failed.target_revision.as_deref(), Some("checkout-2"));
    assert_eq!(failed.stable_revision.as_deref(), Some("checkout-1"), "the last known good is kept");
    let message = &failed.failures[0].message;
    assert!(message.contains("exited unexpectedly"), "{message}");
    let printed = plane.kubectl(&["-n", "real", "get", "configrollouts"]).expect("kubectl");
    let row: Vec<&str> = printed.lines().nth(1).expect("a row").split_whitespace().collect();
    let expected = ["checkout", "edge", "RolledBack", "1/1", "full", "0/1", "1", "checkout-2"];
    assert_eq!(&row[..8], expected, "{printed}");

    // The agent has stable again, and the refused revision is not offered again.
    space
        .until::<CollectorGroup>("edge", "back in sync with stable", |group| {
            group
                .status
                .as_ref()
                .is_some_and(|status| status.agents.in_sync == 1 && status.agents.healthy == 1)
        })
        .await;
    let offers: Vec<String> = tap.offers().iter().map(|offer| hex::encode(&offer.config_hash)).collect();
    let second = space.api::<ConfigRevision>().get("checkout-2").await.expect("the revision").spec.hash;
    assert_eq!(offers, [revision.spec.hash.clone(), second, revision.spec.hash], "one offer for each change");

    // An operator restart, now that the verdicts are in, offers nothing twice.
    let (address, before) = (operator.opamp.clone(), tap.messages());
    operator.end();
    let restarted = Operator::start_on(&plane, "real", &address).await;
    space.group_has("edge", 0).await;
    space.group_has("edge", 1).await;
    eventually("the agent to speak again", async || (tap.messages() > before + 1).then_some(())).await;
    assert_eq!(tap.offers().len(), 3, "nothing was offered after the restart");

    // Deleting the rollout, then the group, sends nothing.
    space.delete::<ConfigRollout>("checkout").await;
    space
        .until::<CollectorGroup>("edge", "without its rollout", |group| {
            let conditions = group.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.reason == "RolloutDeleted")
        })
        .await;
    space.delete::<CollectorGroup>("edge").await;
    assert!(supervisor.effective().contains("one"), "the agent keeps what it runs");
    // Its last words go by, and nothing else; simulated agents with faster heartbeats show the same for longer.
    let said = tap.messages();
    drop(supervisor);
    eventually("the agent's last words", async || (tap.messages() > said).then_some(())).await;
    assert_eq!(tap.offers().len(), 3, "deleting sent something; log: {}", restarted.log());
}

/// Every leaf of the desired configuration that the Collector reports has the same value.
async fn assert_reported_leaves(desired: &str, tap: &Tap) {
    let desired = parse(desired.as_bytes()).expect("YAML");
    let effective = eventually("an effective configuration with the pipeline", async || {
        let maps = tap.effective();
        let body = &maps.last()?.config_map.get("")?.body;
        let effective = parse(body).ok()?;
        effective.at(&["service", "pipelines", "traces"])?;
        effective.at(&["processors", "attributes", "actions"]).is_some().then_some(effective)
    })
    .await;
    let mut compared = 0;
    compare(&desired, &effective, &mut Vec::new(), &mut compared);
    assert!(compared >= 5, "only {compared} leaves were reported");
}

fn compare(desired: &Value, effective: &Value, path: &mut Vec<String>, compared: &mut usize) {
    match (desired, effective) {
        (Value::Map(desired), Value::Map(effective)) => {
            for (key, value) in desired {
                path.push(key.to_string());
                if let Some(reported) = effective.get(key) {
                    compare(value, reported, path, compared);
                }
                path.pop();
            }
        }
        (Value::List(desired), Value::List(effective)) => {
            // The supervisor puts its own extension in front; nothing else is added to lists.
            assert_eq!(desired.len(), effective.len(), "{}", path.join("::"));
            for (value, reported) in desired.iter().zip(effective) {
                compare(value, reported, path, compared);
            }
        }
        (Value::Null, _) => {}
        (desired, effective) => {
            assert!(desired == effective, "{} is reported with another value", path.join("::"));
            *compared += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn independent_clients_receive_the_exact_bytes_and_their_verdicts_are_counted() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "clients").await;
    let operator = Operator::start(&plane, "clients").await;
    let witnesses = [
        Witness::start(Client::Go, plane.dir(), "go-ws", &operator.websocket(), "apply", "clients"),
        Witness::start(Client::Go, plane.dir(), "go-http", &operator.http(), "apply", "clients"),
        Witness::start(Client::Node, plane.dir(), "node", &operator.http(), "apply", "clients"),
        Witness::start(Client::Python, plane.dir(), "python", &operator.http(), "fail", "clients"),
    ];
    space.apply(group("all", "clients")).await;
    space.group_has("all", 4).await;
    // Not UTF-8, so only a Secret can hold it, and only as opaque content.
    let odd: &[u8] = b"\xff\x00\r\n odd bytes";
    space
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "backend", "labels": {"fleet.opamp.dev/deliver": "true"}},
            "data": {"blob": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, odd)},
        }))
        .await;
    let files = json!([
        {"name": "", "inline": "plain: text\n"},
        {"name": "blob", "contentType": "application/octet-stream", "secretKeyRef": {"name": "backend", "key": "blob"}},
    ]);
    let mut manifest = rollout("bytes", "all", files);
    manifest["spec"]["config"]["format"] = json!("Opaque");
    space.apply(manifest).await;

    let counted = |rollout: &ConfigRollout| {
        let agents = rollout.status.as_ref().map(|status| &status.agents);
        agents.is_some_and(|agents| agents.updated == 3 && agents.failed == 1 && agents.pending == 0)
    };
    let done = status(&space.until("bytes", "judged by all clients", counted).await);
    assert_eq!(
        done.state,
        RolloutState::Halted,
        "one refused it, and there is nothing to go back to: {}",
        done.message
    );
    let hash = space.api::<ConfigRevision>().get("bytes-1").await.expect("the revision").spec.hash;
    for witness in &witnesses {
        let (offered, files) = witness.first_offer().await;
        assert_eq!(offered, hash, "{}", witness.output());
        assert_eq!(files["blob"], odd);
        assert_eq!(files[""], b"plain: text\n");
        assert_eq!(files.len(), 2);
        assert_eq!(witness.offers().len(), 1, "offered once: {}", witness.output());
    }
}
