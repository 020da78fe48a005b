//! The program `fleetsim`, as people start it.

use super::gate::Tokens;
use super::server::{Server, group, revision};
use super::within;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opamp_operator::opamp::Limits;
use opamp_operator::opamp::tls::Identity;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

#[path = "../support/authority.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod authority;

/// A `fleetsim` that runs, and what it says.
struct Sim {
    process: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Sim {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fleetsim"))
            .args(arguments)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("fleetsim");
        let said = BufReader::new(process.stderr.take().expect("piped")).lines();
        Self { process, said }
    }

    /// Waits for a line that holds this.
    async fn says(&mut self, text: &str) -> String {
        within(text, async {
            loop {
                let line = self.said.next_line().await.expect("text");
                let line = line.unwrap_or_else(|| panic!("it ended without {text:?}"));
                if line.contains(text) {
                    return line;
                }
            }
        })
        .await
    }

    /// Waits for the end, which must be a good one.
    async fn ends(mut self) {
        assert!(within("the end", self.process.wait()).await.expect("a status").success());
    }
}

#[tokio::test]
async fn fleet_applies_fails_and_says_goodbye_on_a_signal() {
    for (scheme, signal) in [("ws", Signal::SIGTERM), ("http", Signal::SIGINT)] {
        let server = Server::new().await;
        server.assign([group(Some(revision(1)), None)]);
        let endpoint = server.endpoint(scheme).to_string();
        let share = ["--agents", "5", "--fail-share", "20%", "--apply-delay", "1ms"];
        let mut sim = Sim::start(&[&["--endpoint", &endpoint][..], &share].concat());
        sim.says("connected 5/5, applied 4, failed 1, offers 5").await;
        let id = sim.process.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
        kill(Pid::from_raw(id), signal).expect("signalled");
        let last = sim.says(&format!("ended by {signal}")).await;
        assert!(last.ends_with("connected 5/5, applied 4, failed 1, offers 5"), "{last}");
        sim.ends().await;
        assert_eq!(server.hub.with_roster(|roster| roster.connected()), 0);
    }
}

#[tokio::test]
async fn fleet_without_a_server_says_why_it_waits() {
    let server = Server::new().await;
    let endpoint = server.endpoint("ws").to_string();
    within("the server", server.stop()).await.expect("no panic");
    let mut sim = Sim::start(&["--endpoint", &endpoint, "--agents", "1", "--for", "2s"]);
    let line = sim.says("last error").await;
    assert!(line.starts_with("connected 0/1") && line.contains("refused"), "{line}");
    sim.says("ended by --for").await;
    sim.ends().await;
}

#[tokio::test]
async fn fleet_shows_a_token_over_tls_and_is_told_that_a_wrong_one_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = authority::Authority::new(dir.path());
    let (certificate, key) = authority.sign("door", &["127.0.0.1"]);
    let read = |path| std::fs::read(path).expect("a file");
    let identity = Identity::new(&read(certificate), &read(key), true).expect("an identity");
    let (_identity, shown) = watch::channel(Arc::new(identity));
    let tokens = Arc::new(Tokens::default());
    tokens.give("good", "one");
    let server = Server::behind_tls(Limits::default(), tokens, shown).await;
    let (file, pair) = (authority.path("ca.crt"), authority.sign("agent", &["agent"]));
    let access = ["--ca-file", &file, "--cert-file", &pair.0, "--key-file", &pair.1, "--agents", "2"];
    for scheme in ["wss", "https"] {
        let endpoint = server.endpoint(scheme).to_string();
        let start = |more: &[&str]| Sim::start(&[&["--endpoint", &endpoint][..], &access, more].concat());
        start(&["--header", "Authorization=Bearer good"]).says("connected 2/2").await;
        start(&["--token", "good"]).says("connected 2/2").await;
        let refused = start(&["--token", "bad"]).says("last error").await;
        assert!(refused.starts_with("connected 0/2") && refused.contains("401"), "{refused}");
    }
    let endpoint = server.endpoint("wss").to_string();
    let mut without = Sim::start(&["--endpoint", &endpoint]);
    without.says(&format!("{endpoint} needs --ca-file")).await;
}
