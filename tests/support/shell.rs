//! The commands that pages show, run as a person would who stands in the project's folder.

use super::{PATIENCE, tool};
use std::path::Path;
use tokio::process::Command;

/// The blocks of shell in a text, in order.
///
/// # Panics
/// When there are none.
pub fn commands(markdown: &str) -> Vec<String> {
    let fenced = markdown.split("\n```").skip(1).step_by(2);
    let blocks: Vec<String> =
        fenced.filter_map(|block| Some(block.strip_prefix("sh\n")?.to_owned())).collect();
    assert!(!blocks.is_empty(), "there is no shell on the page");
    blocks
}

/// Runs commands in a folder, with the real kubectl and helm set to a cluster, until one of them fails; returns what
/// they printed.
///
/// # Panics
/// When one fails, or they take very long.
pub async fn run(script: &str, kubeconfig: &Path, folder: &Path) -> String {
    let home = tempfile::tempdir().expect("a folder");
    let tools = tool("kubectl").parent().expect("a folder").to_owned();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(folder);
    bash.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").expect("PATH")));
    bash.env("KUBECONFIG", kubeconfig).env("KUBECACHEDIR", home.path().join("kubectl"));
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        bash.env(name, home.path().join("helm"));
    }
    let running = bash.kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(4 * PATIENCE, running).await else {
        panic!("these take too long: {script}");
    };
    let output = output.expect("bash runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
