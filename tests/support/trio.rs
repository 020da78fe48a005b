//! Three replicas behind a real nginx that gives each connection to the next of them, whoever connects.

use super::control_plane::ControlPlane;
use super::eventually;
use super::nginx::Nginx;
use super::operator::{Operator, is_free};
use super::pages::{block, replaced};
use super::process::free_port;

/// The first line of the page's configuration for an nginx that ends TLS.
const PAGE: &str = "# /etc/nginx/conf.d/opamp.conf";

/// Running replicas, each at an address that it keeps, and what stands in front of them.
pub struct Trio {
    /// Where agents connect, `127.0.0.1:PORT`.
    pub address: String,
    replicas: [Operator; 3],
    started: usize,
    _nginx: Nginx,
}

impl Trio {
    /// Starts them for the agents of a namespace; the first one leads.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start(plane: &ControlPlane, namespace: &str) -> Self {
        Self::start_with(plane, namespace, &[]).await
    }

    /// The same, each of them with these further flags.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start_with(plane: &ControlPlane, namespace: &str, flags: &[&str]) -> Self {
        let first = start(plane, namespace, 1, "127.0.0.2:0", flags).await;
        first.until_metrics(&["opamp_operator_leading 1"]).await;
        let second = start(plane, namespace, 2, "127.0.0.2:0", flags).await;
        let third = start(plane, namespace, 3, "127.0.0.2:0", flags).await;
        let replicas = [first, second, third];
        let port = free_port();
        let proxy = [configuration(port, replicas.each_ref().map(|replica| replica.opamp.as_str()))];
        let nginx = Nginx::start(plane.dir(), "nginx", &proxy, "", &[port]).await;
        Self { address: format!("127.0.0.1:{port}"), replicas, started: 3, _nginx: nginx }
    }

    /// The endpoint for agents over WebSocket.
    pub fn websocket(&self) -> String {
        format!("ws://{}/v1/opamp", self.address)
    }

    /// A replica.
    pub fn replica(&mut self, which: usize) -> &mut Operator {
        &mut self.replicas[which]
    }

    /// The place of the replica that leads.
    pub async fn leader(&self) -> usize {
        eventually("a replica to lead", async || {
            for (place, replica) in self.replicas.iter().enumerate() {
                if leads(replica).await {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    /// Kills a replica.
    pub fn kill(&mut self, which: usize) {
        self.replicas[which].kill();
    }

    /// Ends a replica as Kubernetes does, and starts another one in its place: it has the address, as behind a
    /// Service, and nothing else of it.
    pub async fn replace(&mut self, plane: &ControlPlane, namespace: &str, which: usize) {
        self.replicas[which].end();
        self.start_again(plane, namespace, which).await;
    }

    /// Starts another replica in the place of one that has ended.
    pub async fn start_again(&mut self, plane: &ControlPlane, namespace: &str, which: usize) {
        self.started += 1;
        let address = self.replicas[which].opamp.clone();
        is_free(&address).await;
        self.replicas[which] = start(plane, namespace, self.started, &address, &[]).await;
    }
}

/// Whether a replica runs and says that it leads.
async fn leads(replica: &Operator) -> bool {
    let metrics = replica.get("/metrics").await.map(|(_, metrics)| metrics).unwrap_or_default();
    metrics.lines().any(|line| line == "opamp_operator_leading 1")
}

async fn start(
    plane: &ControlPlane,
    namespace: &str,
    number: usize,
    address: &str,
    more: &[&str],
) -> Operator {
    let (agents, identity) =
        (format!("--agent-namespace={namespace}"), format!("--identity=replica-{number}"));
    let flags = [&["--agent-auth=none", &agents, &identity], more].concat();
    Operator::start_guarded_on(plane, namespace, address, &flags, &[]).await
}

/// The page's configuration in front of three replicas, with neither TLS nor what keeps an agent at one of them.
fn configuration(port: u16, upstream: [&str; 3]) -> String {
    let page = block("exposing.md", PAGE);
    let tls = |line: &&str| !line.contains("ssl_");
    let page = page.lines().filter(tls).collect::<Vec<_>>().join("\n");
    let [first, second, third] = upstream;
    replaced(
        &page,
        &[
            ("    hash $opamp_agent consistent;\n", ""),
            ("listen 443 ssl", &format!("listen 127.0.0.1:{port}")),
            ("https://", "http://"),
            ("10.0.0.11:4320", first),
            ("10.0.0.12:4320", &format!("{second} max_fails=0;\n    server {third}")),
        ],
    )
}
