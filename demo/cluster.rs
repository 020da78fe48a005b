//! The cluster that the demo runs against, and kubectl as a person would type it.

use super::support::control_plane::{ControlPlane, apply_crds, client, kubectl};
use super::support::resources::Space;
use super::support::{tool, within};
use super::{NAMESPACE, say};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The demo's own cluster, or the one that `FLEET_KUBECONFIG` names.
pub struct Cluster {
    /// Full access.
    pub kubeconfig: PathBuf,
    /// The operator's account.
    pub operator: PathBuf,
    own: Option<ControlPlane>,
}

impl Cluster {
    /// Starts or finds it.
    pub async fn get(dir: &Path) -> Self {
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

    /// Makes the demo's namespace.
    pub async fn prepare(&self) -> Space {
        let client = client(&self.kubeconfig).await;
        let there = kubectl(&self.kubeconfig, &["get", "namespace", NAMESPACE]).is_ok();
        assert!(!there, "namespace {NAMESPACE} exists already: delete it first");
        Space::create(client, NAMESPACE).await
    }

    /// Runs kubectl, and shows it.
    pub fn show(&self, args: &[&str]) {
        print_command(args);
        let all: Vec<&str> = ["-n", NAMESPACE].iter().chain(args).copied().collect();
        match kubectl(&self.kubeconfig, &all) {
            Ok(output) => print!("{output}"),
            Err(error) => panic!("kubectl failed: {error}"),
        }
    }

    /// Shows the rollout as it changes, until a line has all of these words.
    pub async fn watch(&self, until: &[&str]) {
        let args = ["get", "configrollouts", "-w"];
        print_command(&args);
        let mut watching = Command::new(tool("kubectl"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["-n", NAMESPACE])
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
                if until.iter().all(|word| line.split_whitespace().any(|part| part == *word)) {
                    return;
                }
            }
        };
        within(format!("the rollout to be {}", until.join(" with ")), shown).await;
    }

    /// Somebody else's cluster is left as it was, but for the CRDs.
    pub fn clean_up(&self) {
        if self.own.is_none() {
            say(&format!("deleting namespace {NAMESPACE}; the CRDs stay"));
            kubectl(&self.kubeconfig, &["delete", "namespace", NAMESPACE, "--wait=false"]).expect("deleted");
        }
    }
}

/// What a person would type; words with spaces are quoted.
fn print_command(args: &[&str]) {
    let quoted = |arg: &&str| {
        if arg.contains([' ', '"', '{']) { format!("'{arg}'") } else { (*arg).to_owned() }
    };
    let args: Vec<String> = args.iter().map(quoted).collect();
    println!("\n$ kubectl -n {NAMESPACE} {}", args.join(" "));
}
