//! Records what a real supervisor and its Collector report of each configuration in `src/drift/fixtures`, beside it.
//! Run it with `make fixtures`. A Collector uses port 8888, so nothing else may.
//!
//! Of each configuration two reports are kept: `merged.yaml` is the file that the supervisor gives its Collector, and
//! reports itself until that has started; `effective.yaml` is the report once the configuration was applied.

#[path = "../support/mod.rs"]
mod support;

use futures::{SinkExt, StreamExt};
use opamp_operator::opamp::proto::{
    AgentConfigMap, AgentConfigObject, AgentRemoteConfig, AgentToServer, EffectiveConfig, RemoteConfigStatus,
    RemoteConfigStatuses, ServerToAgent, ServerToAgentFlags,
};
use prost::Message;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use support::process::{Ending, Guarded};
use support::{tool, within};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

/// What the configurations expand.
const ENVIRONMENT: [(&str, &str); 12] = [
    ("FLEET_TEXT", "some-text"),
    ("FLEET_PORT", "24317"),
    ("FLEET_NUMBER", "12"),
    ("FLEET_SECONDS", "90"),
    ("FLEET_TRUTH", "true"),
    ("FLEET_MAP", "{server_parameters: {max_connection_age: 60s}}"),
    ("FLEET_LIST", "[one, two]"),
    ("FLEET_VERBOSITY", "detailed"),
    ("FLEET_COMPONENT", "nop"),
    ("FLEET_EXPORTER", "debug"),
    ("FLEET_KEY", "not-really-a-secret"),
    ("FLEET_HOST", "localhost"),
];

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/drift/fixtures"));
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let _supervisor = start(dir.path(), &format!("ws://127.0.0.1:{port}/v1/opamp"));
    let (socket, _) = within("the supervisor", listener.accept()).await.expect("accepted");
    let socket = tokio_tungstenite::accept_async(socket).await.expect("a WebSocket");
    let mut agent = Agent { socket, uid: Vec::new(), merged: dir.path().join("storage/effective.yaml") };
    let mut failed = 0;
    for fixture in folders(&fixtures) {
        let name = fixture.file_name().expect("a name").to_string_lossy().into_owned();
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        match within(&name, agent.record(&fixture)).await {
            Ok(()) => println!("{name}: recorded"),
            Err(why) => {
                failed += 1;
                println!("{name}: {why}");
            }
        }
    }
    assert_eq!(failed, 0, "these configurations were refused");
}

fn folders(fixtures: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures).expect("the fixtures").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn start(dir: &Path, endpoint: &str) -> Guarded {
    let config = json!({
        "server": {"endpoint": endpoint},
        "capabilities": {
            "reports_effective_config": true,
            "reports_own_metrics": false,
            "reports_health": true,
            "accepts_remote_config": true,
            "reports_remote_config": true,
        },
        "agent": {
            "executable": tool("otelcol"),
            "bootstrap_timeout": "30s",
            "config_apply_timeout": "3s",
            "description": {"non_identifying_attributes": {"deployment.environment.name": "fixtures"}},
        },
        "storage": {"directory": dir.join("storage")},
    });
    let file = dir.join("supervisor.yaml");
    fs::write(&file, config.to_string()).expect("written");
    let args = ["--config".into(), file.into_os_string()];
    let log = dir.join("supervisor.log");
    Guarded::spawn_with(&tool("opampsupervisor"), &args, &ENVIRONMENT, &log, Ending::Interrupt)
}

/// The supervisor, as its server has it.
struct Agent {
    socket: WebSocketStream<TcpStream>,
    uid: Vec<u8>,
    /// The file that it gives its Collector.
    merged: PathBuf,
}

impl Agent {
    /// Offers a configuration, and keeps what is reported of it.
    async fn record(&mut self, fixture: &Path) -> Result<(), String> {
        let hash = fixture.as_os_str().as_encoded_bytes().to_vec();
        while self.uid.is_empty() {
            self.next().await;
        }
        let offer = AgentRemoteConfig { config: Some(files(fixture)), config_hash: hash.clone().into() };
        self.send(ServerToAgent { remote_config: Some(offer), ..Default::default() }).await;
        loop {
            let status = self.next().await.remote_config_status.filter(|status| is_of(status, &hash));
            match status.and_then(|status| outcome(&status)) {
                Some(Ok(())) => break,
                Some(Err(why)) => return Err(why),
                None => {}
            }
        }
        self.send(ServerToAgent { flags: ServerToAgentFlags::ReportFullState as u64, ..Default::default() })
            .await;
        let effective = loop {
            if let Some(effective) = self.next().await.effective_config {
                break text(effective);
            }
        };
        let merged = fs::read_to_string(&self.merged).expect("the supervisor's file");
        keep(&fixture.join("merged.yaml"), "what the supervisor gave its Collector", &merged);
        keep(&fixture.join("effective.yaml"), "what it reported once this was applied", &effective);
        Ok(())
    }

    async fn send(&mut self, mut message: ServerToAgent) {
        message.instance_uid.clone_from(&self.uid);
        let mut bytes = vec![0];
        bytes.extend(message.encode_to_vec());
        self.socket.send(Frame::Binary(bytes.into())).await.expect("sent");
    }

    /// The next message, answered as every server does.
    async fn next(&mut self) -> AgentToServer {
        loop {
            let frame = self.socket.next().await.expect("the supervisor is there").expect("a frame");
            let Frame::Binary(bytes) = frame else { continue };
            let message = AgentToServer::decode(bytes.slice(1..)).expect("a message");
            self.uid.clone_from(&message.instance_uid);
            self.send(ServerToAgent::default()).await;
            return message;
        }
    }
}

fn is_of(status: &RemoteConfigStatus, hash: &[u8]) -> bool {
    status.last_remote_config_hash == hash
}

fn outcome(status: &RemoteConfigStatus) -> Option<Result<(), String>> {
    match status.status() {
        RemoteConfigStatuses::Applied => Some(Ok(())),
        RemoteConfigStatuses::Failed => Some(Err(status.error_message.clone())),
        RemoteConfigStatuses::Unset | RemoteConfigStatuses::Applying => None,
    }
}

fn files(fixture: &Path) -> AgentConfigMap {
    let entries = fs::read_dir(fixture.join("desired")).expect("desired files");
    let file = |entry: fs::DirEntry| {
        let body = fs::read(entry.path()).expect("a file");
        let object =
            AgentConfigObject { body: body.into(), content_type: "text/yaml".into(), ..Default::default() };
        (entry.file_name().to_string_lossy().into_owned(), object)
    };
    AgentConfigMap { config_map: entries.map(|entry| file(entry.expect("an entry"))).collect() }
}

fn text(effective: EffectiveConfig) -> String {
    let files = effective.config_map.into_iter().flat_map(|map| map.config_map);
    let bodies: Vec<String> =
        files.map(|(_, file)| String::from_utf8_lossy(&file.body).into_owned()).collect();
    assert_eq!(bodies.len(), 1, "one file is reported");
    bodies.concat()
}

fn keep(path: &Path, what: &str, text: &str) {
    let head = format!("# Recorded by make fixtures: {what}.\n");
    fs::write(path, head + text).expect("written");
}
