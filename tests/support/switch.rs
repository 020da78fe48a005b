//! A switch between agents and replicas: what connects here is passed on to one replica, until it is turned to another.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running switch.
pub struct Switch {
    /// Where agents connect, `127.0.0.1:PORT`.
    pub address: String,
    upstream: watch::Sender<Option<String>>,
    task: JoinHandle<()>,
}

impl Switch {
    /// Starts one that passes on to this address.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let upstream = watch::Sender::new(Some(to.to_owned()));
        let turned = upstream.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                tokio::spawn(pass_on(agent, turned.clone()));
            }
        });
        Self { address, upstream, task }
    }

    /// The endpoint for agents over WebSocket.
    pub fn websocket(&self) -> String {
        format!("ws://{}/v1/opamp", self.address)
    }

    /// The endpoint for agents over plain HTTP.
    pub fn http(&self) -> String {
        format!("http://{}/v1/opamp", self.address)
    }

    /// Cuts every connection; who connects from now on comes to this address, or nowhere.
    pub fn turn(&self, to: Option<&str>) {
        self.upstream.send_replace(to.map(str::to_owned));
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on until either side ends or the switch is turned.
async fn pass_on(mut agent: TcpStream, mut turned: watch::Receiver<Option<String>>) {
    let Some(to) = turned.borrow_and_update().clone() else { return };
    let Ok(mut replica) = TcpStream::connect(to).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut agent, &mut replica) => {}
        _ = turned.changed() => {}
    }
}
