//! Incidents from their beginning to their end, on a real API server: of rollouts that are deleted.

use super::support::control_plane::ControlPlane;
use super::support::fleet::Fleet;
use super::support::resources::{Space, group};
use super::support::sink::Post;
use super::{Sinks, events, manifest, replica};
use opamp_operator::api::{ConfigRollout, RolloutState};
use opamp_operator::sim::Behaviour;
use serde_json::Value;
use std::time::Duration;

const HEARTBEAT: Duration = Duration::from_millis(100);

/// What the pager was told: what to do with which alert.
fn alerts(posts: &[Post]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let alert = |post: &Post| (text(&post.json()["event_action"]), text(&post.json()["dedup_key"]));
    posts.iter().map(alert).collect()
}

fn alert(action: &str, object: &str) -> (String, String) {
    (action.to_owned(), format!("opamp-operator/test/namespaces/told/{object}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_of_a_rollout_that_is_deleted_is_over_also_if_another_leader_had_opened_it() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "told").await;
    let sinks = Sinks::start().await;
    let file = plane.dir().join("notifications.yaml");
    std::fs::write(&file, sinks.file()).expect("written");
    let file_path = file.to_str().expect("a path in UTF-8");
    let mut first = replica(&plane, "first", file_path).await;
    first.until_metrics(&["opamp_operator_leading 1"]).await;
    let second = replica(&plane, "second", file_path).await;
    let mut fleet = Fleet::new(&second.websocket(), "yes", 1, HEARTBEAT);
    fleet.join(1, &Behaviour::Fail("no such exporter".into()));
    space.apply(group("edge", "yes")).await;
    space.group_has("edge", 1).await;
    space.apply(manifest("one", "Automatic")).await;
    space.rollout_is("web", RolloutState::Halted).await;
    let mut expected = vec![alert("trigger", "configrollouts/web")];
    assert_eq!(alerts(&sinks.pager.until(1).await), expected);

    first.end();
    second.until_metrics(&["opamp_operator_leading 1"]).await;
    space.delete::<ConfigRollout>("web").await;
    expected.push(alert("resolve", "configrollouts/web"));
    assert_eq!(alerts(&sinks.pager.until(2).await), expected);

    // One that is complete has told its end, and says nothing when it is deleted.
    fleet.set_behaviour(0, &Behaviour::Apply);
    for content in ["two", "three"] {
        space.apply(manifest(content, "Automatic")).await;
        space.rollout_is("web", RolloutState::Completed).await;
        space.delete::<ConfigRollout>("web").await;
        expected.push(alert("resolve", "configrollouts/web"));
    }
    let run = ["RolloutStarted", "RolloutCompleted"];
    let told = [&["RolloutStarted", "RolloutFailed", "RolloutAbandoned"][..], &run, &run].concat();
    let posts = sinks.hook.until(told.len()).await;
    assert_eq!(events(&posts), told);
    let deleted = posts[2].json();
    assert_eq!(deleted["type"], "dev.opamp.fleet.rollout.abandoned.v1");
    assert_eq!(deleted["data"]["reason"], "RolloutDeleted");
    let text = deleted["data"]["message"].as_str().expect("text");
    assert!(
        text.starts_with("it was deleted, and agents keep what they run; the rollout was Halted: "),
        "{text}"
    );
    assert_eq!(alerts(&sinks.pager.until(expected.len()).await), expected, "each once");
}
