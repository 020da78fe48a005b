//! The operator as a process.

use super::control_plane::ControlPlane;
use super::eventually;
use super::process::{Ending, Guarded};
use std::path::{Path, PathBuf};

/// How much of its log an operator shows when a test fails.
const LAST_LINES: usize = 60;

/// A running operator.
pub struct Operator {
    process: Guarded,
    /// Where agents connect, `127.0.0.1:PORT`.
    pub opamp: String,
    /// Where probes and metrics are served.
    pub admin: String,
}

impl Operator {
    /// Starts one against a control plane, five times faster than usual, for agents of `namespace`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(plane: &ControlPlane, namespace: &str) -> Self {
        // Not 127.0.0.1: while the operator is down, a connection of anybody's could take the free port as its own,
        // and then the operator could not have it again.
        Self::start_on(plane, namespace, "127.0.0.2:0").await
    }

    /// Starts one of several replicas, with an identity of its own.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_as(plane: &ControlPlane, namespace: &str, identity: &str) -> Self {
        let (agents, identity) = (format!("--agent-namespace={namespace}"), format!("--identity={identity}"));
        Self::start_guarded(plane, namespace, &["--agent-auth=none", &agents, &identity]).await
    }

    /// Starts one of several replicas that reaches the API server by a way of its own.
    ///
    /// # Panics
    /// When it does not listen. It need not be ready: the API server may be away.
    pub async fn start_by(plane: &ControlPlane, namespace: &str, identity: &str, kubeconfig: &Path) -> Self {
        let log = plane.dir().join(format!("operator-{identity}-{}.log", uuid::Uuid::now_v7()));
        let (agents, identity) = (format!("--agent-namespace={namespace}"), format!("--identity={identity}"));
        let options = Options { kubeconfig, namespace, opamp: "127.0.0.2:0", time_scale: "5", log: &log };
        let flags = ["--agent-auth=none", &agents, &identity];
        Self::spawn(&binary("opamp-operator"), &options, &flags, &[]).await
    }

    /// Starts one on a fixed address: so that agents find it again after a restart.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_on(plane: &ControlPlane, namespace: &str, opamp: &str) -> Self {
        is_free(opamp).await;
        let log = plane.dir().join(format!("operator-{}.log", uuid::Uuid::now_v7()));
        let options = Options { kubeconfig: &plane.operator, namespace, opamp, time_scale: "5", log: &log };
        Self::launch(&binary("opamp-operator"), &options).await
    }

    /// Starts one whose agents have to prove who they are, with these further flags.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_guarded(plane: &ControlPlane, namespace: &str, flags: &[&str]) -> Self {
        Self::start_guarded_with(plane, namespace, flags, &[]).await
    }

    /// The same, with this in its environment.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_guarded_with(
        plane: &ControlPlane,
        namespace: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        Self::start_guarded_on(plane, namespace, "127.0.0.2:0", flags, environment).await
    }

    /// The same, on a fixed address.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_guarded_on(
        plane: &ControlPlane,
        namespace: &str,
        opamp: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = plane.dir().join(format!("operator-{}.log", uuid::Uuid::now_v7()));
        let options = Options { kubeconfig: &plane.operator, namespace, opamp, time_scale: "5", log: &log };
        let operator = Self::spawn(&binary("opamp-operator"), &options, flags, environment).await;
        operator.is_ready(&log).await;
        operator
    }

    /// Starts a program with these options, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn launch(program: &Path, options: &Options<'_>) -> Self {
        let operator = Self::launch_unready(program, options).await;
        operator.is_ready(options.log).await;
        operator
    }

    /// Starts one of several replicas as fast as it is in production, that reaches the API server by a way of its own.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_unhurried(
        plane: &ControlPlane,
        namespace: &str,
        identity: &str,
        kubeconfig: &Path,
    ) -> Self {
        let log = plane.dir().join(format!("operator-{identity}.log"));
        let (agents, identity) = (format!("--agent-namespace={namespace}"), format!("--identity={identity}"));
        let options = Options { kubeconfig, namespace, opamp: "127.0.0.2:0", time_scale: "1", log: &log };
        let flags = ["--agent-auth=none", &agents, &identity];
        let operator = Self::spawn(&binary("opamp-operator"), &options, &flags, &[]).await;
        operator.is_ready(&log).await;
        operator
    }

    /// Starts a program with these options and flags, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn launch_with(program: &Path, options: &Options<'_>, flags: &[&str]) -> Self {
        let operator = Self::spawn(program, options, flags, &[]).await;
        operator.is_ready(options.log).await;
        operator
    }

    async fn is_ready(&self, log: &Path) {
        eventually(format!("the operator to be ready, log: {}", log.display()), async || {
            (self.get("/readyz").await?.0 == 200).then_some(())
        })
        .await;
    }

    /// Starts a program with these options, and waits until it listens.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn launch_unready(program: &Path, options: &Options<'_>) -> Self {
        let namespace = format!("--agent-namespace={}", options.namespace);
        Self::spawn(program, options, &["--agent-auth=none", &namespace], &[]).await
    }

    async fn spawn(
        program: &Path,
        options: &Options<'_>,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let (namespace, opamp, time_scale) = (
            format!("--namespace={}", options.namespace),
            format!("--opamp-listen={}", options.opamp),
            format!("--time-scale={}", options.time_scale),
        );
        let args = ["run", &namespace, &opamp, "--admin-listen=127.0.0.1:0"];
        let drains = flags.iter().any(|flag| flag.starts_with("--drain-period"));
        let drain: &[&str] = if drains { &[] } else { &["--drain-period=1s"] };
        let args = [&args[..], &["--log-format=json", &time_scale], drain, flags].concat();
        let kubeconfig = options.kubeconfig.to_str().expect("a path in UTF-8");
        let identity = "OPAMP_OPERATOR_IDENTITY";
        let environment = [&[("KUBECONFIG", kubeconfig), (identity, "replica-1")], environment].concat();
        Self::listening(program, &args, &environment, options.log).await
    }

    /// Starts the program with exactly these arguments and this environment, as a pod would, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn start_container(args: &[&str], environment: &[(&str, &str)], log: &Path) -> Self {
        let operator = Self::listening(&binary("opamp-operator"), args, environment, log).await;
        operator.is_ready(log).await;
        operator
    }

    async fn listening(program: &Path, args: &[&str], environment: &[(&str, &str)], log: &Path) -> Self {
        let mut process = Guarded::spawn_with(program, args, environment, log, Ending::Terminate);
        let (opamp, admin) = eventually("the operator to listen", async || {
            assert!(!process.has_ended(), "the operator ended: {}", process.output());
            Some((address(&process.output(), "opamp")?, address(&process.output(), "admin")?))
        })
        .await;
        Self { process, opamp, admin }
    }

    /// The endpoint for agents over WebSocket.
    pub fn websocket(&self) -> String {
        format!("ws://{}/v1/opamp", self.opamp)
    }

    /// The endpoint for agents over plain HTTP.
    pub fn http(&self) -> String {
        format!("http://{}/v1/opamp", self.opamp)
    }

    /// Asks the admin listener; status and body.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.admin, path).await
    }

    /// Waits until its metrics have each of these lines: they follow what it writes.
    ///
    /// # Panics
    /// When that takes too long; with the metrics as they stand.
    pub async fn until_metrics(&self, lines: &[&str]) {
        let mut served = String::new();
        let told = tokio::time::timeout(super::PATIENCE, async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
            while !lines.iter().all(|line| served.lines().any(|found| found == *line)) {
                ticks.tick().await;
                served = self.get("/metrics").await.expect("metrics").1;
            }
        });
        let told = told.await.is_ok();
        assert!(told, "waited for {lines:?} in {served}");
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Sends it a signal, and does not wait for what comes of it.
    pub fn send(&self, signal: nix::sys::signal::Signal) {
        self.process.send(signal);
    }

    /// Asks it to end as Kubernetes does, and waits for nothing.
    pub fn ask_to_end(&mut self) {
        self.process.ask_to_end();
    }

    /// Ends it as Kubernetes does.
    pub fn end(&mut self) {
        self.process.end();
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it as it stands, until [`Operator::resume`].
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Whether it stands still.
    pub fn is_frozen(&self) -> bool {
        self.process.is_frozen()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }
}

impl Drop for Operator {
    /// A test that fails shows what the operator had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last = log.lines().rev().take(LAST_LINES).collect::<Vec<_>>();
            eprintln!("the operator's last lines:");
            last.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// What an operator is started with.
pub struct Options<'a> {
    /// The cluster, and the operator's account there.
    pub kubeconfig: &'a Path,
    /// The operator's own namespace, and the agents'.
    pub namespace: &'a str,
    /// Where agents connect.
    pub opamp: &'a str,
    /// Divides the times that the design fixes.
    pub time_scale: &'a str,
    /// Where the log goes.
    pub log: &'a Path,
}

/// A program of this package: next to the test's own, one or two folders up.
///
/// # Panics
/// When it is not built.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path of its own");
    let found = own.ancestors().skip(1).take(3).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built next to {}: run 'cargo build'", own.display()))
}

/// Waits until an address can be listened on: a process that was killed may hold its port a moment longer.
pub async fn is_free(address: &str) {
    let bind = async || std::net::TcpListener::bind(address).ok().map(drop);
    eventually(format!("{address} to be free"), bind).await;
}

/// The address that the log says a door listens on.
fn address(log: &str, door: &str) -> Option<String> {
    log.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "listening" && line["door"] == door)
            .then(|| line["address"].as_str().map(str::to_owned))?
    })
}

/// One request over HTTP; status and body.
pub async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    use http_body_util::{BodyExt, Empty};
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request =
        hyper::Request::get(path).header("host", address).body(Empty::<bytes::Bytes>::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}
