//! The main job, shown: a control plane, the operator and three real supervised Collectors; a group and a rollout
//! are applied, and reach them. Run it with `make demo`.

#[path = "../tests/support/mod.rs"]
mod support;

use futures::FutureExt;
use opamp_operator::api::{ConfigRollout, RolloutState};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;
use support::control_plane::{ControlPlane, apply_crds, client, kubectl};
use support::operator::{Operator, Options, binary};
use support::resources::Space;
use support::supervisor::Supervisor;
use support::{tool, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The namespace of everything that the demo makes.
const NAMESPACE: &str = "fleet-demo";
/// The `deployment.environment.name` of the three Collectors.
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];

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
    cluster.show(&["apply", "-f", "examples/"]);
    say(
        "waiting until the three agents are connected and in the group (replicas write such edges within 10 s)",
    );
    space.group_has("checkout", 3).await;
    say("waiting until every agent has applied the configuration and is healthy");
    follow(&cluster, &space).await;
    cluster.show(&["get", "collectorgroups,configrollouts,configrevisions"]);
    say("what the Collector in production runs now (storage/effective.yaml of its supervisor):");
    print_effective(&supervisors[0]);
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        look_around(&cluster, &operator, dir).await;
    }
    drop(supervisors);
    drop(operator);
    cluster.clean_up();
    say(&format!("done in {} s: three real Collectors run revision checkout-1", started.elapsed().as_secs()));
}

fn say(line: &str) {
    println!("\ndemo: {line}");
}

/// The cluster that the demo runs against: its own, or the one that `FLEET_KUBECONFIG` names.
struct Cluster {
    kubeconfig: PathBuf,
    operator: PathBuf,
    own: Option<ControlPlane>,
}

impl Cluster {
    async fn get(dir: &Path) -> Self {
        if let Some(kubeconfig) = std::env::var_os("FLEET_KUBECONFIG").map(PathBuf::from) {
            let context =
                kubectl(&kubeconfig, &["config", "current-context"]).expect("FLEET_KUBECONFIG has a context");
            say(&format!("using context {} of {}", context.trim(), kubeconfig.display()));
            apply_crds(&client(&kubeconfig).await).await;
            say("the admission policies are left out there: they would act on everybody's rollouts");
            return Self { operator: kubeconfig.clone(), kubeconfig, own: None };
        }
        say("starting a control plane: etcd and kube-apiserver, with the CRDs and the admission policies");
        let plane = ControlPlane::start().await;
        std::fs::copy(&plane.kubeconfig, dir.join("kubeconfig")).expect("copied");
        Self { kubeconfig: plane.kubeconfig.clone(), operator: plane.operator.clone(), own: Some(plane) }
    }

    async fn prepare(&self) -> Space {
        let client = client(&self.kubeconfig).await;
        let there = kubectl(&self.kubeconfig, &["get", "namespace", NAMESPACE]).is_ok();
        assert!(!there, "namespace {NAMESPACE} exists already: delete it first");
        Space::create(client, NAMESPACE).await
    }

    /// Runs kubectl as a person would, and shows it.
    fn show(&self, args: &[&str]) {
        println!("\n$ kubectl -n {NAMESPACE} {}", args.join(" "));
        let all: Vec<&str> = ["-n", NAMESPACE].iter().chain(args).copied().collect();
        match kubectl(&self.kubeconfig, &all) {
            Ok(output) => print!("{output}"),
            Err(error) => panic!("kubectl failed: {error}"),
        }
    }

    /// Somebody else's cluster is left as it was, but for the CRDs.
    fn clean_up(&self) {
        if self.own.is_none() {
            say(&format!("deleting namespace {NAMESPACE}; the CRDs stay"));
            kubectl(&self.kubeconfig, &["delete", "namespace", NAMESPACE, "--wait=false"]).expect("deleted");
        }
    }
}

/// Shows the rollout as `kubectl get -w` shows it, until it is completed.
async fn follow(cluster: &Cluster, space: &Space) {
    let args = ["-n", NAMESPACE, "get", "configrollouts", "-w"];
    println!("\n$ kubectl {}", args.join(" "));
    let mut watching = Command::new(tool("kubectl"))
        .arg("--kubeconfig")
        .arg(&cluster.kubeconfig)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    let shown = async {
        while let Ok(Some(line)) = lines.next_line().await {
            println!("{line}");
            if line.contains("Completed") {
                return;
            }
        }
    };
    within("the rollout to be completed", shown).await;
    let rollout: ConfigRollout = space.rollout_is("checkout", RolloutState::Completed).await;
    let message = rollout.status.map(|status| status.message).unwrap_or_default();
    say(&format!("completed: {message}"));
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
    println!("    {kubectl} edit configrollout checkout");
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
