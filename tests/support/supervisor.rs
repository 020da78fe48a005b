//! A real supervisor with a real Collector.

use super::pages::replaced;
use super::process::{Ending, Guarded};
use super::tool;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opamp_operator::opamp::proto::AgentRemoteConfig;
use prost::Message;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A running supervisor. It ends, with its Collector, when this is dropped.
pub struct Supervisor {
    process: Guarded,
    storage: PathBuf,
}

impl Supervisor {
    /// Starts one that reports these attributes; its files go into `dir`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(dir: &Path, name: &str, endpoint: &str, attributes: &[(&str, &str)]) -> Self {
        Self::start_with(dir, name, &json!({"endpoint": endpoint}), attributes)
    }

    /// The same, of one that does not say what becomes of a configuration.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_mute(dir: &Path, name: &str, endpoint: &str, attributes: &[(&str, &str)]) -> Self {
        let capabilities = json!({"reports_remote_config": false});
        Self::launch(dir, name, &json!({"endpoint": endpoint}), attributes, &capabilities)
    }

    /// Starts one that finds its server so: endpoint, headers, files for TLS.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(dir: &Path, name: &str, server: &Value, attributes: &[(&str, &str)]) -> Self {
        Self::launch(dir, name, server, attributes, &json!({}))
    }

    /// The same, by a shell script that starts `opampsupervisor` with a configuration at `/etc/opamp/`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_by(
        script: &str,
        dir: &Path,
        name: &str,
        server: &Value,
        attributes: &[(&str, &str)],
    ) -> Self {
        let (file, storage) = configure(dir, name, server, attributes, &json!({}), &json!({}));
        let (program, path) = (tool("opampsupervisor"), dir.join(format!("{name}.sh")));
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let changes = [
            ("opampsupervisor --config", &*format!("{} --config", text(&program))),
            ("/etc/opamp/supervisor.yaml", &text(&file)),
        ];
        std::fs::write(&path, replaced(script, &changes)).expect("written");
        let log = dir.join(format!("{name}.log"));
        Self { process: Guarded::spawn(Path::new("sh"), &[path], &log, Ending::Terminate), storage }
    }

    /// The same, of one whose Collector has this environment.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in(
        environment: &Value,
        dir: &Path,
        name: &str,
        server: &Value,
        attributes: &[(&str, &str)],
    ) -> Self {
        Self::run(dir, name, configure(dir, name, server, attributes, &json!({}), environment))
    }

    /// The same, of one with these capabilities switched on or off.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(
        dir: &Path,
        name: &str,
        server: &Value,
        attributes: &[(&str, &str)],
        capabilities: &Value,
    ) -> Self {
        Self::run(dir, name, configure(dir, name, server, attributes, capabilities, &json!({})))
    }

    /// Starts one with this `supervisor.yaml` and environment, which keeps its things in `storage`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_from(
        config: &str,
        environment: &[(&str, &str)],
        dir: &Path,
        name: &str,
        storage: PathBuf,
    ) -> Self {
        let (file, log) = (dir.join(format!("{name}.yaml")), dir.join(format!("{name}.log")));
        std::fs::write(&file, config).expect("written");
        let args = ["--config".into(), file.into_os_string()];
        let program = tool("opampsupervisor");
        let process = Guarded::spawn_with(&program, &args, environment, &log, Ending::Interrupt);
        Self { process, storage }
    }

    fn run(dir: &Path, name: &str, (file, storage): (PathBuf, PathBuf)) -> Self {
        let args = ["--config".into(), file.into_os_string()];
        let log = dir.join(format!("{name}.log"));
        // It ends its Collector only when it is interrupted.
        Self { process: Guarded::spawn(&tool("opampsupervisor"), &args, &log, Ending::Interrupt), storage }
    }

    /// The offer that it stored, as it came over the wire.
    pub fn stored_offer(&self) -> Option<AgentRemoteConfig> {
        let bytes = std::fs::read(self.storage.join("last_recv_remote_config.dat")).ok()?;
        AgentRemoteConfig::decode(bytes.as_slice()).ok()
    }

    /// The configuration that its Collector was started with.
    pub fn effective(&self) -> String {
        std::fs::read_to_string(self.effective_path()).unwrap_or_default()
    }

    /// The file with the configuration that its Collector was started with.
    pub fn effective_path(&self) -> PathBuf {
        self.storage.join("effective.yaml")
    }

    /// Starts its Collector anew with another configuration, as whoever has a shell on its host can do.
    ///
    /// # Panics
    /// When the supervisor does not run.
    pub fn tamper(&self, configuration: &str) {
        let running = self.effective();
        std::fs::write(self.effective_path(), configuration).expect("written");
        let parent = running.lines().find_map(|line| line.trim().strip_prefix("ppid: ")).expect("a process");
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).expect("a running supervisor");
        let children = threads.map(|thread| thread.expect("a thread").path().join("children"));
        let children: String =
            children.map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
        for child in children.split_whitespace() {
            kill(Pid::from_raw(child.parse().expect("a process")), Signal::SIGKILL).expect("ended");
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }
}

/// Writes a configuration; its file, and the folder where the supervisor keeps things.
fn configure(
    dir: &Path,
    name: &str,
    server: &Value,
    attributes: &[(&str, &str)],
    capabilities: &Value,
    environment: &Value,
) -> (PathBuf, PathBuf) {
    let storage = dir.join(name);
    std::fs::create_dir_all(&storage).expect("a folder");
    let attributes: serde_json::Map<String, serde_json::Value> =
        attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let mut config = serde_json::json!({
        "server": server,
        "capabilities": {
            "reports_effective_config": true,
            "reports_own_metrics": false,
            "reports_health": true,
            "reports_available_components": true,
            "reports_heartbeat": true,
            "accepts_remote_config": true,
            "reports_remote_config": true,
            "accepts_restart_command": true,
        },
        "agent": {
            "executable": tool("otelcol"),
            // Else every Collector wants port 8888, the supervisor's bootstrap included.
            "args": ["--set=service::telemetry::metrics::level=none"],
            "bootstrap_timeout": "30s",
            // The verdict comes when this is over.
            "config_apply_timeout": "3s",
            "env": environment,
            "description": {"non_identifying_attributes": attributes},
        },
        "storage": {"directory": storage},
        "telemetry": {"logs": {"level": "info", "output_paths": ["stderr"]}},
    });
    for (capability, value) in capabilities.as_object().into_iter().flatten() {
        config["capabilities"][capability] = value.clone();
    }
    let file = dir.join(format!("{name}.yaml"));
    // JSON is YAML.
    std::fs::write(&file, config.to_string()).expect("written");
    (file, storage)
}
