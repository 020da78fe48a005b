//! A private control plane: etcd, kube-apiserver and, where objects must be collected, kube-controller-manager.

use super::process::{Ending, Guarded, free_port};
use super::{eventually, policies, tool};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, ResourceExt};
use opamp_operator::api;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Mutex;

/// A running control plane. It ends, and its files go, when this is dropped.
pub struct ControlPlane {
    /// Full access, for kubectl.
    pub kubeconfig: PathBuf,
    /// The operator's own account.
    pub operator: PathBuf,
    /// Full access.
    pub client: Client,
    port: u16,
    // In the order in which they end: the controller manager first, the folder last.
    controllers: Option<Guarded>,
    server: Guarded,
    store: Guarded,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts one, with this project's CRDs and admission policies in it.
    ///
    /// # Panics
    /// When a part is missing or does not come up.
    pub async fn start() -> Self {
        let plane = Self::start_empty().await;
        // Policies first: they take a moment, and so do the CRDs.
        policies::apply(&plane.kubeconfig, plane.dir());
        apply_crds(&plane.client).await;
        policies::are_in_force(&plane).await;
        plane
    }

    /// Starts one with a controller manager, which collects objects whose owners are gone.
    ///
    /// # Panics
    /// When a part is missing or does not come up.
    pub async fn start_with_controllers() -> Self {
        Self::start().await.with_controllers()
    }

    /// Adds a controller manager, which also gives the roles of Kubernetes what others add to them.
    #[must_use]
    pub fn with_controllers(mut self) -> Self {
        self.controllers = Some(controllers(self.dir.path(), &self.kubeconfig));
        self
    }

    /// Starts one without this project's CRDs and policies.
    ///
    /// # Panics
    /// When a part is missing or does not come up.
    pub async fn start_empty() -> Self {
        Self::start_in(folder()).await
    }

    /// The same, whose API server records what it is asked for as this audit policy says: in the file
    /// [`AUDIT_LOG`] of its folder.
    ///
    /// # Panics
    /// When a part is missing or does not come up.
    pub async fn start_recorded(policy: &str) -> Self {
        let dir = folder();
        std::fs::write(dir.path().join(AUDIT_POLICY), policy).expect("written");
        Self::start_in(dir).await
    }

    async fn start_in(dir: TempDir) -> Self {
        let port = free_port();
        write_credentials(dir.path());
        let store = store(dir.path());
        let mut server = server(dir.path(), port);
        eventually("the API server's certificate", async || {
            assert!(!server.has_ended(), "the API server ended: {}", server.output());
            // It is there before it is whole.
            let certificate = std::fs::read_to_string(dir.path().join("certs/apiserver.crt")).ok()?;
            certificate.ends_with("-----END CERTIFICATE-----\n").then_some(())
        })
        .await;
        let kubeconfig = write_kubeconfig(dir.path(), "kubeconfig", port, TOKEN);
        let operator = write_kubeconfig(dir.path(), "operator", port, OPERATOR_TOKEN);
        let client = client(&kubeconfig).await;
        eventually("the API server to be ready", async || {
            assert!(!server.has_ended(), "the API server ended: {}", server.output());
            is_ready(&client).await.then_some(())
        })
        .await;
        Self { kubeconfig, operator, client, port, controllers: None, server, store, dir }
    }

    /// A kubeconfig of a user without any rights.
    pub fn kubeconfig_without_rights(&self) -> PathBuf {
        write_kubeconfig(self.dir.path(), "nobody", self.port, NOBODY_TOKEN)
    }

    /// A kubeconfig of the operator's own account that leads to the API server over a proxy at this URL.
    pub fn kubeconfig_over(&self, name: &str, url: &str) -> PathBuf {
        write_kubeconfig_to(self.dir.path(), name, url, OPERATOR_TOKEN)
    }

    /// Where the API server listens.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Kills the API server.
    pub fn kill_server(&mut self) {
        self.server.kill();
    }

    /// Starts the API server again, on the same port and store, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_server(&mut self) {
        self.server = server(self.dir.path(), self.port);
        self.is_ready().await;
    }

    /// Kills the store.
    pub fn kill_store(&mut self) {
        self.store.kill();
    }

    /// Starts the store again with what it has kept, and waits until the API server reaches it.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_store(&mut self) {
        self.store = store(self.dir.path());
        self.is_ready().await;
    }

    /// Stops the store as it stands, until [`ControlPlane::resume_store`].
    pub fn freeze_store(&self) {
        self.store.freeze();
    }

    /// Lets the store go on, and waits until the API server reaches it.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn resume_store(&mut self) {
        self.store.resume();
        self.is_ready().await;
    }

    /// Whether the API server answers, and has its store.
    pub async fn answers(&self) -> bool {
        is_ready(&self.client).await
    }

    async fn is_ready(&mut self) {
        eventually("the API server to be ready again", async || {
            assert!(!self.server.has_ended(), "the API server ended: {}", self.server.output());
            assert!(!self.store.has_ended(), "the store ended: {}", self.store.output());
            self.answers().await.then_some(())
        })
        .await;
    }

    /// A client of another user: the administrator impersonates them.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        let mut config = config(&self.kubeconfig).await;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
        Client::try_from(config).expect("a client")
    }

    /// A folder for logs and the like, which goes with the control plane.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A kubeconfig of whoever has this token.
    pub fn kubeconfig_by(&self, token: &str, name: &str) -> PathBuf {
        write_kubeconfig(self.dir.path(), name, self.port, token)
    }

    /// Keeps the folder, for a person to look at.
    pub fn keep_files(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// Runs kubectl, and returns what it printed.
    ///
    /// # Errors
    /// With what it printed, when it fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        kubectl(&self.kubeconfig, args)
    }
}

/// One control plane for the tests of a file that run at the same time; the last of them ends it. Each needs a client
/// of its own, since a client ends with the runtime that made it.
///
/// # Panics
/// When a part is missing or does not come up.
pub async fn shared() -> Arc<ControlPlane> {
    static RUNNING: Mutex<Weak<ControlPlane>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(plane) = running.upgrade() {
        return plane;
    }
    let plane = Arc::new(ControlPlane::start().await);
    *running = Arc::downgrade(&plane);
    plane
}

/// Runs kubectl, and returns what it printed.
///
/// # Errors
/// With what it printed, when it fails.
pub fn kubectl(kubeconfig: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(tool("kubectl")).arg("--kubeconfig").arg(kubeconfig).args(args).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Whether the API server says soon that it is ready.
async fn is_ready(client: &Client) -> bool {
    let asked = client.request_text(http_get("/readyz"));
    matches!(tokio::time::timeout(Duration::from_secs(1), asked).await, Ok(Ok(_)))
}

/// What an API server is to record, and its record, in its folder.
const AUDIT_POLICY: &str = "audit-policy.yaml";
/// One event a line, as JSON.
pub const AUDIT_LOG: &str = "audit.log";

/// A short path: etcd's sockets are in it, and their names have 100 bytes at most.
fn folder() -> TempDir {
    tempfile::Builder::new().prefix("fleet-").tempdir_in("/tmp").expect("a temporary folder")
}

const TOKEN: &str = "admin-token";
const NOBODY_TOKEN: &str = "nobody-token";
const OPERATOR_TOKEN: &str = "operator-token";

fn write_credentials(dir: &Path) {
    let tokens = format!(
        "{TOKEN},admin,admin,\"system:masters\"\n{NOBODY_TOKEN},nobody,nobody,\"\"\n\
         {OPERATOR_TOKEN},{},operator,\"system:serviceaccounts\"\n",
        policies::OPERATOR
    );
    std::fs::write(dir.join("tokens.csv"), tokens).expect("written");
    let key = rcgen::KeyPair::generate().expect("a key pair");
    std::fs::write(dir.join("sa.key"), key.serialize_pem()).expect("written");
    std::fs::write(dir.join("sa.pub"), key.public_key_pem()).expect("written");
}

fn store(dir: &Path) -> Guarded {
    let d = dir.display();
    let args = [
        "--name=t".to_owned(),
        format!("--data-dir={d}/etcd"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls=unix://{d}/etcd.sock"),
        format!("--advertise-client-urls=unix://{d}/etcd.sock"),
        format!("--listen-peer-urls=unix://{d}/peer.sock"),
        // Nobody dials it: there is one member.
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=t=http://127.0.0.1:2380".to_owned(),
    ];
    Guarded::spawn(&tool("etcd"), &args, &dir.join("etcd.log"), Ending::Kill)
}

fn server(dir: &Path, port: u16) -> Guarded {
    let d = dir.display();
    let args = [
        format!("--etcd-servers=unix://{d}/etcd.sock"),
        format!("--cert-dir={d}/certs"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={d}/tokens.csv"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={d}/sa.pub"),
        format!("--service-account-signing-key-file={d}/sa.key"),
        "--endpoint-reconciler-type=none".to_owned(),
    ];
    let record =
        [format!("--audit-policy-file={d}/{AUDIT_POLICY}"), format!("--audit-log-path={d}/{AUDIT_LOG}")];
    let record = if dir.join(AUDIT_POLICY).exists() { &record[..] } else { &[] };
    let args = [&args[..], record].concat();
    // With an open watch it takes a minute to end by itself.
    Guarded::spawn(&tool("kube-apiserver"), &args, &dir.join("kube-apiserver.log"), Ending::Kill)
}

fn controllers(dir: &Path, kubeconfig: &Path) -> Guarded {
    let args = [
        format!("--kubeconfig={}", kubeconfig.display()),
        "--secure-port=0".to_owned(),
        "--leader-elect=false".to_owned(),
        "--controllers=garbage-collector-controller,namespace-controller,clusterrole-aggregation-controller"
            .to_owned(),
        "--concurrent-gc-syncs=4".to_owned(),
        // As in a real cluster: the policies know the collector and the namespace controller by their accounts.
        "--use-service-account-credentials".to_owned(),
    ];
    Guarded::spawn(&tool("kube-controller-manager"), &args, &dir.join("controllers.log"), Ending::Kill)
}

fn write_kubeconfig(dir: &Path, name: &str, port: u16, token: &str) -> PathBuf {
    write_kubeconfig_to(dir, name, &format!("https://127.0.0.1:{port}"), token)
}

fn write_kubeconfig_to(dir: &Path, name: &str, url: &str, token: &str) -> PathBuf {
    let path = dir.join(name);
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "private",
        "clusters": [{"name": "private", "cluster": {
            "server": url,
            "certificate-authority": dir.join("certs/apiserver.crt"),
        }}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "private", "context": {"cluster": "private", "user": "user"}}],
    });
    std::fs::write(&path, config.to_string()).expect("written");
    path
}

/// A client from a kubeconfig.
///
/// # Panics
/// When the file is not one.
pub async fn client(kubeconfig: &Path) -> Client {
    Client::try_from(config(kubeconfig).await).expect("a client")
}

async fn config(kubeconfig: &Path) -> Config {
    let file = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await;
    let mut config = config.expect("a complete kubeconfig");
    // A proxy of the environment is not for what runs on this machine.
    config.proxy_url = None;
    config
}

fn http_get(path: &str) -> hyper::Request<Vec<u8>> {
    hyper::Request::get(path).body(Vec::new()).expect("a request")
}

/// Applies this project's CRDs and waits until they are served.
///
/// # Panics
/// When the API server does not take them.
pub async fn apply_crds(client: &Client) {
    // At the same time: each takes a second until it is served.
    futures::future::join_all(api::crds().iter().map(|crd| apply_crd(client, crd))).await;
}

async fn apply_crd(client: &Client, crd: &CustomResourceDefinition) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd.name_any();
    let apply = PatchParams::apply("tests").force();
    crds.patch(&name, &apply, &Patch::Apply(crd)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    is_served(client, crd).await;
}

/// Waits until this project's CRDs, which somebody has applied, are served.
///
/// # Panics
/// When that takes too long.
pub async fn crds_are_served(client: &Client) {
    futures::future::join_all(api::crds().iter().map(|crd| is_served(client, crd))).await;
}

async fn is_served(client: &Client, crd: &CustomResourceDefinition) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd.name_any();
    let established = await_condition(crds, &name, conditions::is_crd_established());
    super::within(format!("CRD {name} to be established"), established).await.expect("watched");
    // A list may answer 429 for a moment while the storage of a new kind is made ready.
    let path = format!("/apis/{}/{}/{}", api::GROUP, api::VERSION, crd.spec.names.plural);
    eventually(format!("{name} to be listed"), async || client.request_text(http_get(&path)).await.ok())
        .await;
}
