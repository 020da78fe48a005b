//! A switch between agents and replicas: what connects here is passed on to one replica, until it is turned to another.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running switch.
pub struct Switch {
    /// Where agents connect, `127.0.0.1:PORT`.
    pub address: String,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

/// Where what connects is passed on to.
#[derive(Clone, Debug)]
enum Way {
    To(String),
    /// Who connects is cut off at once.
    Nowhere,
    /// What is connected stays so, and nothing passes any more in either direction.
    Silent,
}

impl Switch {
    /// Starts one that passes on to this address.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let way = watch::Sender::new(Way::To(to.to_owned()));
        let turned = way.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                tokio::spawn(pass_on(agent, turned.clone()));
            }
        });
        Self { address, way, task }
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
        self.way.send_replace(to.map_or(Way::Nowhere, |to| Way::To(to.to_owned())));
    }

    /// Lets nothing pass any more, and cuts nothing: as a network that loses every packet.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on until either side ends or the switch is turned.
async fn pass_on(mut agent: TcpStream, mut turned: watch::Receiver<Way>) {
    let way = turned.borrow_and_update().clone();
    if let Way::To(to) = way {
        let Ok(mut replica) = TcpStream::connect(to).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut agent, &mut replica) => {}
            _ = turned.changed() => is_heard_again(&mut turned).await,
        }
    } else {
        is_heard_again(&mut turned).await;
    }
}

/// Waits for as long as nothing passes.
async fn is_heard_again(turned: &mut watch::Receiver<Way>) {
    // There is no more switch.
    let _ = turned.wait_for(|way| !matches!(way, Way::Silent)).await;
}
