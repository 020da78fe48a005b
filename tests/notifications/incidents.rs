//! Incidents from their beginning to their end, on a real API server: of agents that are quarantined, and of rollouts and
//! groups that are deleted.

use super::support::control_plane::ControlPlane;
use super::support::eventually;
use super::support::fleet::{Fleet, Kind};
use super::support::resources::{Space, collector, group, inline, rollout};
use super::support::sink::Post;
use super::{Sinks, events, manifest, replica, replicas};
use opamp_operator::api::{CollectorGroup, ConfigRollout, RolloutState};
use opamp_operator::sim::{Behaviour, Habits};
use serde_json::{Value, json};
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

/// The agent undoes each correction, until it is left alone; it is released when it leaves the group; then it comes back,
/// and the group is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn quarantined_agents_are_told_and_are_over_when_they_are_released_and_when_the_group_is_deleted() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "told").await;
    let sinks = Sinks::start().await;
    let file = plane.dir().join("notifications.yaml");
    std::fs::write(&file, sinks.file()).expect("written");
    let operator = replica(&plane, "only", file.to_str().expect("a path in UTF-8")).await;
    let mut fleet = Fleet::new(&operator.websocket(), "yes", 1, HEARTBEAT);
    let reverting = Habits { reverts: true, ..Habits::default() };
    fleet.join_as(1, &Kind::showing_effective().with(reverting.clone()));
    let mut edge = group("edge", "yes");
    edge["spec"]["drift"] = json!({
        "scanInterval": "0s",
        "correction": {"maxAttempts": 2, "initialBackoff": "1s", "maxBackoff": "1s"},
    });
    space.apply(edge).await;
    space.group_has("edge", 1).await;
    space.apply(rollout("web", "edge", inline(&collector("one")))).await;
    space.rollout_is("web", RolloutState::Completed).await;

    fleet.tamper(0, &collector("tampered"));
    let posts = sinks.hook.until(3).await;
    assert_eq!(events(&posts), ["RolloutStarted", "RolloutCompleted", "AgentsQuarantined"]);
    let told = posts[2].json();
    assert_eq!(told["subject"], "namespaces/told/collectorgroups/edge");
    assert_eq!(told["data"]["severity"], "warning");
    assert_eq!(
        told["data"]["message"],
        "1 of 1 agents are left alone, because nothing that was tried has lasted"
    );
    let detail = &told["data"]["detail"]["group"];
    assert_eq!(detail["agents"], json!({"matched": 1, "connected": 1, "quarantined": 1}));
    assert_eq!(detail["quarantined"][0]["reason"], "Quarantined");
    let why = detail["quarantined"][0]["message"].as_str().expect("text");
    assert!(why.ends_with("2 corrections did not last"), "{why}");
    let pager = sinks.pager.until(2).await;
    assert_eq!(pager[1].json()["payload"]["class"], "agents");
    let slack = sinks.slack.until(3).await;
    let text = slack[2].json()["text"].as_str().expect("text").to_owned();
    assert!(text.starts_with("[test] Group told/edge has quarantined agents: 1 of 1"), "{text}");

    // Other content is another matter: it ends the quarantine, and the agent keeps it.
    fleet.set_habits(0, &Habits::default());
    space.apply(rollout("web", "edge", inline(&collector("two")))).await;
    space.rollout_is("web", RolloutState::Completed).await;
    let of_group = |posts: &[Post]| {
        let told = alerts(posts).into_iter().filter(|(_, key)| key.ends_with("collectorgroups/edge"));
        told.collect::<Vec<_>>()
    };
    let (opened, ended) =
        (alert("trigger", "collectorgroups/edge"), alert("resolve", "collectorgroups/edge"));
    let mut expected = vec![opened, ended];
    until_alerts(&sinks, &of_group, &expected).await;

    fleet.set_habits(0, &reverting);
    fleet.tamper(0, &collector("tampered again"));
    expected.push(expected[0].clone());
    until_alerts(&sinks, &of_group, &expected).await;
    space.delete::<CollectorGroup>("edge").await;
    expected.push(expected[1].clone());
    until_alerts(&sinks, &of_group, &expected).await;
    let released = eventually("a webhook to be told of the group's end", async || {
        let posts = sinks.hook.posts();
        let is_end = |post: &&Post| {
            post.json()["data"]["message"].as_str().is_some_and(|text| text.contains("deleted"))
        };
        posts.iter().find(is_end).map(Post::json)
    })
    .await;
    assert_eq!(released["data"]["event"], "AgentsReleased");
    assert_eq!(released["data"]["message"], "the group is deleted; 1 of its agents were left alone");
}

async fn until_alerts(
    sinks: &Sinks,
    chosen: &impl Fn(&[Post]) -> Vec<(String, String)>,
    expected: &[(String, String)],
) {
    let told = eventually(format!("{} alerts", expected.len()), async || {
        let told = chosen(&sinks.pager.posts());
        (told.len() >= expected.len()).then_some(told)
    })
    .await;
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_of_a_rollout_that_is_deleted_is_over_also_if_another_leader_had_opened_it() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "told").await;
    let sinks = Sinks::start().await;
    let (mut first, second) = replicas(&plane, &sinks).await;
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
