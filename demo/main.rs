//! The main job, shown: a control plane, the operator and three real supervised Collectors; a group and a rollout
//! are applied, and reach them. A good change goes through its phases; a bad one stops at the first Collector, which
//! refuses it, and is rolled back. A Collector that somebody tampers with is put right. Run it with `make demo`.

#[path = "../tests/support/mod.rs"]
mod support;

mod cluster;

use cluster::Cluster;
use futures::FutureExt;
use opamp_operator::api::{CollectorGroup, ConfigRollout, ConfigRolloutStatus, RolloutState};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use support::operator::{Operator, Options, binary};
use support::resources::Space;
use support::supervisor::Supervisor;
use support::tool;

/// The namespace of everything that the demo makes.
const NAMESPACE: &str = "fleet-demo";
/// The `deployment.environment.name` of the three Collectors.
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];
/// The exporters less talkative.
const GOOD: &str = r#"{"data": {"exporters.yaml": "exporters: {debug: {verbosity: basic}}"}}"#;
/// The same with a key that no exporter has. Only a Collector can know that, so it is sent.
const BAD: &str = r#"{"data": {"exporters.yaml": "exporters: {debug: {verbosity: basic, colour: red}}"}}"#;

#[tokio::main]
async fn main() -> ExitCode {
    let logs = tempfile::Builder::new().prefix("fleet-demo-").tempdir_in("/tmp").expect("a temporary folder");
    let failed = tokio::select! {
        ended = AssertUnwindSafe(show(logs.path())).catch_unwind() => ended.is_err(),
        _ = tokio::signal::ctrl_c() => false,
    };
    if failed {
        eprintln!("\ndemo: failed; the logs are in {}", logs.keep().display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The whole show. Everything that it starts ends when it returns, panics or is dropped.
async fn show(dir: &Path) {
    let started = Instant::now();
    let cluster = Cluster::get(dir).await;
    let space = cluster.prepare().await;
    say("starting the operator");
    let log = dir.join("operator.log");
    let options = Options {
        kubeconfig: &cluster.operator,
        namespace: NAMESPACE,
        opamp: "127.0.0.1:0",
        time_scale: "1",
        log: &log,
    };
    let operator = Operator::launch(&binary("opamp-operator"), &options).await;
    say("starting three supervisors, each with a Collector");
    let start = |environment: &&str| {
        let attributes = [("deployment.environment.name", *environment)];
        Supervisor::start(dir, environment, &operator.websocket(), &attributes)
    };
    let supervisors: Vec<Supervisor> = ENVIRONMENTS.iter().map(start).collect();

    first_rollout(&cluster, &space, &supervisors[0]).await;
    good_change(&cluster, &space).await;
    assert_all_run("verbosity: basic", &supervisors);
    bad_change(&cluster, &space).await;
    assert_all_run("verbosity: basic", &supervisors);
    tampering(&cluster, &space, &supervisors[0]).await;
    assert_all_run("timeout: 5s", &supervisors);
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        look_around(&cluster, &operator, dir).await;
    }
    drop(supervisors);
    drop(operator);
    cluster.clean_up();
    say(&format!(
        "done in {} s: the good change reached all three Collectors; the bad one stopped at one and was rolled back; the Collector that was tampered with was put right; all three run checkout-2",
        started.elapsed().as_secs()
    ));
}

fn say(line: &str) {
    println!("\ndemo: {line}");
}

/// A group and a rollout, from nothing.
async fn first_rollout(cluster: &Cluster, space: &Space, production: &Supervisor) {
    cluster.show(&["apply", "-f", "examples/first/"]);
    say(
        "waiting until the three agents are connected and in the group (replicas write such edges within 10 s)",
    );
    space.group_has("checkout", 3).await;
    say(
        "waiting until one agent, the canary, has applied the configuration and soaked, and then the other two",
    );
    cluster.watch(&["Completed", "checkout-1"]).await;
    let completed = reached(space, "checkout-1", RolloutState::Completed).await;
    say(&format!("completed: {}", completed.message));
    cluster.show(&["get", "collectorgroups,configrollouts,configrevisions"]);
    say("what the Collector in production runs now (storage/effective.yaml of its supervisor):");
    print_effective(production);
}

/// Other content in a ConfigMap that the rollout refers to.
async fn good_change(cluster: &Cluster, space: &Space) {
    say("a good change: other content in the ConfigMap is a new revision, which starts at the first phase");
    cluster.show(&["patch", "configmap", "exporters", "--type=merge", "-p", GOOD]);
    say("waiting until it has gone through its phases: one agent, a soak of 3 s, then the other two");
    cluster.watch(&["Completed", "checkout-2"]).await;
    let completed = reached(space, "checkout-2", RolloutState::Completed).await;
    say(&format!("completed: {}; checkout-2 is the last known good now", completed.message));
}

/// Content that the operator cannot know to be wrong.
async fn bad_change(cluster: &Cluster, space: &Space) {
    say("a bad change: a key that the exporter does not have; only a Collector can tell, and it exits");
    cluster.show(&["patch", "configmap", "exporters", "--type=merge", "-p", BAD]);
    say("waiting until the canary has refused it and runs checkout-2 again; the other two never see it");
    cluster.watch(&["RolledBack", "checkout-3"]).await;
    let rolled_back = reached(space, "checkout-3", RolloutState::RolledBack).await;
    assert_eq!(rolled_back.stable_revision.as_deref(), Some("checkout-2"));
    assert_eq!(
        rolled_back.phases.first().and_then(|phase| phase.count),
        Some(1),
        "only the canary was let in"
    );
    say(&format!("rolled back: {}", rolled_back.message));
    say("waiting until all three are healthy and in sync with the last known good again");
    space.until::<CollectorGroup>("checkout", "healthy and in sync", all_in_sync).await;
    cluster.show(&["get", "collectorgroups,configrollouts,configrevisions"]);
    say("what was told of it, as Events:");
    cluster.show(&["events", "--for=configrollout/checkout"]);
}

/// Somebody edits a running Collector's configuration behind the operator's back.
async fn tampering(cluster: &Cluster, space: &Space, production: &Supervisor) {
    say(
        "somebody with a shell in production edits what the Collector runs, storage/effective.yaml, and starts it anew:",
    );
    let running = production.effective();
    assert!(running.contains("timeout: 5s"), "a Collector runs {running}");
    println!("    processors: {{batch: {{timeout: 5s}}}}  ->  processors: {{batch: {{timeout: 50s}}}}");
    production.tamper(&running.replacen("timeout: 5s", "timeout: 50s", 1));
    say("waiting until the operator finds it in what the Collector reports as effective");
    let drifts = |group: &CollectorGroup| {
        let status = group.status.as_ref();
        let mut problems = status.into_iter().flat_map(|status| &status.problems);
        problems.any(|problem| problem.message.starts_with("Modified at processors::batch::timeout"))
    };
    space.until::<CollectorGroup>("checkout", "drifted", drifts).await;
    cluster.show(&["get", "collectorgroups"]);
    say("waiting until the Collector has been offered its revision anew and reports that it runs that");
    space.until::<CollectorGroup>("checkout", "in sync", all_in_sync).await;
    cluster.show(&["get", "collectorgroups"]);
    say("what was told of it, as Events:");
    cluster.show(&["events", "--for=collectorgroup/checkout"]);
}

fn all_in_sync(group: &CollectorGroup) -> bool {
    let agents = group.status.as_ref().map(|status| &status.agents);
    agents.is_some_and(|agents| (agents.in_sync, agents.healthy, agents.drifted) == (3, 3, 0))
}

async fn reached(space: &Space, revision: &str, state: RolloutState) -> ConfigRolloutStatus {
    let there = |rollout: &ConfigRollout| {
        rollout.status.as_ref().is_some_and(|status| {
            status.state == state && status.target_revision.as_deref() == Some(revision)
        })
    };
    space.until("checkout", &format!("{state:?} with {revision}"), there).await.status.expect("a status")
}

fn assert_all_run(text: &str, supervisors: &[Supervisor]) {
    for supervisor in supervisors {
        let effective = supervisor.effective();
        assert!(effective.contains(text) && !effective.contains("colour"), "a Collector runs {effective}");
    }
}

fn print_effective(supervisor: &Supervisor) {
    let effective = supervisor.effective();
    assert!(effective.contains("otlphttp/backend"), "the Collector does not run the rollout's configuration");
    for line in effective.lines() {
        println!("    {line}");
    }
}

/// Leaves everything up for a person to look at.
async fn look_around(cluster: &Cluster, operator: &Operator, dir: &Path) {
    let kubectl =
        format!("{} --kubeconfig {} -n {NAMESPACE}", tool("kubectl").display(), cluster.kubeconfig.display());
    say("everything is left running; look around with:");
    println!("    {kubectl} get fleet");
    println!("    {kubectl} describe configrollout checkout");
    println!("    {kubectl} edit configmap exporters");
    println!("    {kubectl} annotate configrollout checkout fleet.opamp.dev/retry=once-more");
    println!("    curl http://{}/metrics", operator.admin);
    println!(
        "    {} --endpoint {} --agents 10 --attribute deployment.environment.name=staging",
        binary("fleetsim").display(),
        operator.websocket()
    );
    println!("    ls {}", dir.display());
    say("press Ctrl-C to end everything");
    std::future::pending::<()>().await;
}
