//! Undo, dry runs and Events on a real API server, with simulated agents.

mod support;

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use opamp_operator::api::{ConfigRevision, ConfigRollout, ConfigRolloutStatus, RevisionState, RolloutState};
use opamp_operator::sim::{self, Behaviour, Profile, Simulated};
use serde_json::{Value, json};
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased};

const AGENTS: u8 = 50;

fn start(operator: &Operator, number: u8, behaviour: Behaviour) -> Simulated {
    let profile = Profile::new([number; 16]).with("test", "yes").with("host.name", &format!("host-{number}"));
    let pace = sim::Pace { heartbeat: Duration::from_millis(100), ..sim::Pace::default() };
    let endpoint = operator.websocket().parse().expect("an endpoint");
    sim::spawn(sim::Agent::new(profile, behaviour), endpoint, pace)
}

/// A rollout of this content, to 10% first.
fn manifest(content: &str) -> Value {
    let phases =
        json!([{"name": "canary", "agents": "10%", "duration": "1s"}, {"name": "full", "agents": "100%"}]);
    phased("r", "g", inline(&collector(content)), phases)
}

fn annotate(plane: &ControlPlane, space: &Space, annotation: &str) {
    plane
        .kubectl(&["-n", &space.name, "annotate", "--overwrite", "configrollout", "r", annotation])
        .expect("annotated");
}

/// Waits until the rollout's status is as wanted, for the spec as it is.
async fn until(
    space: &Space,
    what: &str,
    wanted: impl Fn(&ConfigRolloutStatus) -> bool,
) -> ConfigRolloutStatus {
    let fits = |rollout: &ConfigRollout| {
        rollout
            .status
            .as_ref()
            .is_some_and(|status| status.observed_generation == rollout.metadata.generation && wanted(status))
    };
    space.until("r", what, fits).await.status.expect("a status")
}

async fn completed(space: &Space, revision: &str) -> ConfigRolloutStatus {
    let done = |status: &ConfigRolloutStatus| {
        status.state == RolloutState::Completed && status.target_revision.as_deref() == Some(revision)
    };
    until(space, &format!("completed with {revision}"), done).await
}

/// Waits for an Event of this reason whose note has this text.
async fn told(space: &Space, reason: &str, text: &str) {
    support::eventually(format!("an Event {reason} with {text:?}"), async || {
        let events = space.api::<Event>().list(&ListParams::default()).await.ok()?;
        let fits = |event: &Event| {
            event.reason.as_deref() == Some(reason)
                && event.note.as_ref().is_some_and(|note| note.contains(text))
        };
        events.items.iter().any(fits).then_some(())
    })
    .await;
}

async fn hash(space: &Space, name: &str) -> String {
    space.api::<ConfigRevision>().get(name).await.expect("a revision").spec.hash
}

/// How many agents have this content as the last that they were offered.
fn last_offered(agents: &[Simulated], hash: &str) -> usize {
    let last = |agent: &&Simulated| {
        agent.journal().offers.last().is_some_and(|offer| hex::encode(&offer.hash) == hash)
    };
    agents.iter().filter(last).count()
}

fn pin(status: &ConfigRolloutStatus) -> Option<(&str, &str)> {
    status.pinned.as_ref().map(|pinned| (pinned.revision.as_str(), pinned.instead.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_pins_the_old_revision_over_manifests_and_a_restart_until_the_content_changes() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "undo").await;
    let mut operator = Operator::start(&plane, "undo").await;
    let agents: Vec<Simulated> = (1..=AGENTS).map(|n| start(&operator, n, Behaviour::Apply)).collect();
    space.apply(group("g", "yes")).await;
    space.group_has("g", i64::from(AGENTS)).await;
    space.apply(manifest("one")).await;
    completed(&space, "r-1").await;
    space.apply(manifest("two")).await;
    completed(&space, "r-2").await;
    // Each phase is told by an Event of its own, also by the same reason within a short time.
    for (reason, text) in [
        ("PhaseStarted", "phase 1 of 2 (canary) of r-2 started: 5 of 50 agents"),
        ("Soaking", "phase 1 of 2 (canary) of r-2 soaks until"),
        ("PhasePassed", "phase 1 of 2 (canary) of r-2 passed: 5 agents updated, 5 healthy, 0 failed"),
        ("PhaseStarted", "phase 2 of 2 (full) of r-2 started: 50 of 50 agents"),
        ("PhasePassed", "phase 2 of 2 (full) of r-2 passed: 50 agents updated, 50 healthy, 0 failed"),
        ("Completed", "r-2 completed: 50 of 50 agents updated"),
    ] {
        told(&space, reason, text).await;
    }

    annotate(&plane, &space, "fleet.opamp.dev/undo=r-9/no");
    told(&space, "RequestRefused", "r-9 does not exist; proven are r-1").await;
    annotate(&plane, &space, "fleet.opamp.dev/undo=back");
    let back = completed(&space, "r-1").await;
    assert_eq!(pin(&back), Some(("r-1", "r-2")));
    assert_eq!(back.handled.expect("handled").undo.as_deref(), Some("back"));
    assert_eq!(last_offered(&agents, &hash(&space, "r-1").await), usize::from(AGENTS));
    told(&space, "RequestHandled", "r-1 is rolled out").await;

    // The same manifest, another strategy, another leader: none of them is other content.
    space.apply(manifest("two")).await;
    let mut quicker = manifest("two");
    quicker["spec"]["strategy"]["applyTimeout"] = json!("30s");
    space.apply(quicker).await;
    let kept = completed(&space, "r-1").await;
    assert_eq!(pin(&kept), Some(("r-1", "r-2")));
    let (address, term) = (operator.opamp.clone(), kept.leader_term);
    operator.end();
    operator = Operator::start_on(&plane, "undo", &address).await;
    let led = |status: &ConfigRolloutStatus| {
        status.leader_term > term && status.agents.eligible == i64::from(AGENTS)
    };
    let kept = until(&space, "led again", led).await;
    assert_eq!((pin(&kept), kept.target_revision.as_deref()), (Some(("r-1", "r-2")), Some("r-1")));
    let second = space.api::<ConfigRevision>().get("r-2").await.expect("r-2").status.expect("a status");
    assert_eq!(second.state, RevisionState::Proven, "an undo rejects nothing");

    space.apply(manifest("three")).await;
    let forth = completed(&space, "r-3").await;
    assert_eq!((pin(&forth), forth.agents.updated), (None, i64::from(AGENTS)));
    told(&space, "Unpinned", "r-1 is no longer pinned").await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_tells_what_new_content_would_do_and_starts_nothing() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "dry").await;
    let operator = Operator::start(&plane, "dry").await;
    let agents: Vec<Simulated> = (1..=AGENTS).map(|n| start(&operator, n, Behaviour::Apply)).collect();
    space.apply(group("g", "yes")).await;
    space.group_has("g", i64::from(AGENTS)).await;
    let mut dry = manifest("one");
    dry["metadata"]["annotations"] = json!({"fleet.opamp.dev/dry-run": "true"});
    // A ring, of which nobody knows anything before the plan has asked the replicas.
    dry["spec"]["strategy"]["phases"] = json!([
        {"name": "canary", "agents": "10%"},
        {"name": "ring", "agents": "100%", "selector": {"matchLabels": {"host.name": "host-7"}}},
        {"name": "full", "agents": "100%"},
    ]);
    space.apply(dry).await;
    let planned = |status: &ConfigRolloutStatus| {
        status.state == RolloutState::Paused && status.phases.iter().all(|step| step.planned.is_some())
    };
    let plan = until(&space, "planned", planned).await;
    let numbers: Vec<i64> = plan.phases.iter().filter_map(|step| step.planned).collect();
    assert_eq!((numbers[0], numbers.iter().sum::<i64>()), (5, i64::from(AGENTS)), "{}", plan.message);
    assert!(numbers[1] <= 1, "the ring has one agent, which may be a canary: {numbers:?}");
    assert_eq!((plan.agents.unchanged, plan.agents.incompatible, plan.target_revision), (Some(0), 0, None));
    let ready = plan.conditions.iter().find(|c| c.type_ == "Ready").expect("a condition");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "DryRun"));
    let waits = |revision: &ConfigRevision| {
        revision.status.as_ref().is_some_and(|status| status.state == RevisionState::Candidate)
    };
    space.until("r-1", "a candidate", waits).await;
    assert!(agents.iter().all(|agent| agent.journal().offers.is_empty()), "nothing was started");
    annotate(&plane, &space, "fleet.opamp.dev/dry-run-");
    let done = completed(&space, "r-1").await;
    assert_eq!((done.agents.unchanged, done.agents.updated), (None, i64::from(AGENTS)));
    assert!(done.phases.iter().all(|step| step.planned.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_gate_tells_of_the_first_failure_in_its_event_and_its_message() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "gate").await;
    let operator = Operator::start(&plane, "gate").await;
    let words = "no such exporter";
    let agents: Vec<Simulated> =
        (1..=4).map(|n| start(&operator, n, Behaviour::Fail(words.into()))).collect();
    space.apply(group("g", "yes")).await;
    space.group_has("g", agents.len().try_into().expect("few")).await;
    space.apply(manifest("one")).await;
    let halted = space.rollout_is("r", RolloutState::Halted).await.status.expect("a status");
    let host = &halted.failures[0].host;
    let why = format!(
        "1 of 1 agents failed, more than failureThreshold 10% allows; the first: {host}: Failed, {words}"
    );
    assert!(halted.message.contains(&why), "{}", halted.message);
    told(&space, "PhaseFailed", &format!("phase 1 of 2 (canary) of r-1 failed: {why}")).await;
    told(&space, "TooManyFailures", "r-1 is halted, with nothing to go back to").await;
}

/// The shell blocks of docs/rollouts.md that begin with this line, one after the other.
fn documented(first: &str) -> String {
    let text = include_str!("../docs/rollouts.md");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.starts_with(first)).collect()
}

/// The pipeline's account and rights, as docs/rollouts.md has them.
fn documented_account() -> Vec<Value> {
    let text = include_str!("../docs/rollouts.md");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let account =
        blocks.filter(|block| block.contains("kind: ServiceAccount")).flat_map(|block| block.split("---\n"));
    account.map(|manifest| serde_saphyr::from_str(manifest).expect("YAML")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_without_kubectl_starts_watches_and_drives_a_rollout_as_documented() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "pipeline").await;
    let operator = Operator::start(&plane, "pipeline").await;
    let _agents: Vec<Simulated> = (1..=4).map(|n| start(&operator, n, Behaviour::Apply)).collect();
    space.apply(group("g", "yes")).await;
    space.group_has("g", 4).await;
    for mut manifest in documented_account() {
        if manifest["kind"] == "RoleBinding" {
            manifest["subjects"][0]["namespace"] = json!(space.name);
        }
        space.apply(manifest).await;
    }
    let token = plane.kubectl(&["-n", &space.name, "create", "token", "pipeline"]).expect("a token");
    let config: Value =
        serde_json::from_slice(&std::fs::read(&plane.kubeconfig).expect("a file")).expect("a kubeconfig");
    let cluster = &config["clusters"][0]["cluster"];
    let run = async |body: &str, steps: &str| {
        let mut rollout = manifest("");
        rollout["spec"]["config"]["files"] = inline(body);
        rollout["metadata"]["name"] = json!("checkout");
        rollout["spec"]["strategy"]["phases"][0]["approval"] = json!("Manual");
        std::fs::write(plane.dir().join("rollout.yaml"), rollout.to_string()).expect("written");
        let script = documented("# with curl: what") + steps;
        let shell = tokio::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(plane.dir())
            .env("SERVER", cluster["server"].as_str().expect("an address"))
            .env("CA", cluster["certificate-authority"].as_str().expect("a path"))
            .env("TOKEN", token.trim())
            .env("NAMESPACE", &space.name)
            .env("WATCH_SECONDS", "2")
            .kill_on_drop(true)
            .output();
        support::within("the pipeline; it needs curl 7.76", shell).await.expect("a shell")
    };
    let [start, wait, drive, all, undo, watch] = ["start", "wait", "drive", "all together", "undo", "watch"]
        .map(|step| documented(&format!("# with curl: {step}\n")));
    let first = run(&collector("one"), &format!("{start}{wait}{drive}{all}")).await;
    assert!(first.status.success(), "{first:?}");
    // The token has been used, so another one is; then everything back.
    let second = all.replace("go-1", "go-2");
    let back = format!("{start}{wait}{drive}{second}{}wait_for AwaitingApproval\nask promote go-3\n", {
        undo.lines().filter(|line| !line.starts_with("wait_for")).collect::<Vec<_>>().join("\n") + "\n"
    });
    let second = run(&collector("two"), &format!("{back}wait_for Completed\n{watch}")).await;
    assert!(second.status.success(), "{second:?}");
    assert_eq!(String::from_utf8_lossy(&second.stdout).lines().next().map(str::trim), Some("Completed"));
    let status = space.api::<ConfigRollout>().get("checkout").await.expect("there").status.expect("a status");
    assert_eq!(pin(&status), Some(("checkout-1", "checkout-2")));
    let broken = run("service: [", &format!("{start}{wait}wait_for Completed\n")).await;
    assert!(!broken.status.success(), "{broken:?}");
    assert!(String::from_utf8_lossy(&broken.stderr).contains("not sent"), "{broken:?}");
}
