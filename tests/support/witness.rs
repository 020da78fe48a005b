//! Independent OpAMP clients, each a program that prints what happens to it, a JSON object a line.

use super::process::{Ending, Guarded};
use super::{eventually, tool};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The `opamp-go` client.
    Go,
    /// The npm package `@elastic/opamp-client-node`.
    Node,
    /// The PyPI package `opentelemetry-opamp-client`.
    Python,
}

impl Client {
    fn program(self) -> PathBuf {
        tool(match self {
            Self::Go => "opamp-go-client",
            Self::Node => "opamp-node-client",
            Self::Python => "opamp-python-client",
        })
    }
}

/// A running client.
pub struct Witness {
    process: Guarded,
}

impl Witness {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(client: Client, dir: &Path, name: &str, endpoint: &str, mode: &str, test: &str) -> Self {
        Self::start_with(client, dir, name, endpoint, &["--mode", mode], test)
    }

    /// Starts one with these further arguments, such as what it shows to be let in.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(
        client: Client,
        dir: &Path,
        name: &str,
        endpoint: &str,
        more: &[&str],
        test: &str,
    ) -> Self {
        let uid = uuid::Uuid::now_v7().to_string();
        let attribute = format!("test={test}");
        let args = ["--endpoint", endpoint, "--uid", &uid, "--attr", &attribute, "--interval-ms", "200"];
        let args = [&args, more].concat();
        let log = dir.join(format!("{name}.log"));
        Self { process: Guarded::spawn(&client.program(), &args, &log, Ending::Terminate) }
    }

    /// Everything that happened so far.
    pub fn events(&self) -> Vec<Value> {
        self.process.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What happened of this kind.
    pub fn named(&self, event: &str) -> Vec<Value> {
        self.events().into_iter().filter(|happened| happened["event"] == event).collect()
    }

    /// The offers that it received: hash, and files by name.
    pub fn offers(&self) -> Vec<(String, BTreeMap<String, Vec<u8>>)> {
        let offers = self.events().into_iter().filter(|event| event["event"] == "remote_config");
        offers
            .map(|offer| (offer["hash"].as_str().unwrap_or_default().to_owned(), files(&offer["files"])))
            .collect()
    }

    /// Waits for its first offer.
    pub async fn first_offer(&self) -> (String, BTreeMap<String, Vec<u8>>) {
        eventually("the client's first offer", async || self.offers().into_iter().next()).await
    }

    /// Whether it could not connect, or something is wrong with its arguments.
    pub fn has_failed(&self) -> bool {
        let failed = |event: &Value| event["event"] == "connect_failed" || event["event"] == "server_error";
        self.output().contains("-client: ") || self.events().iter().any(failed)
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

fn files(files: &Value) -> BTreeMap<String, Vec<u8>> {
    let body =
        |file: &Value| BASE64_STANDARD.decode(file["body"].as_str().unwrap_or_default()).unwrap_or_default();
    let files = files.as_object().into_iter().flatten();
    files.map(|(name, file)| (name.clone(), body(file))).collect()
}
