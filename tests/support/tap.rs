//! A WebSocket proxy between an agent and the operator that keeps every message: what was really said.

use futures::{SinkExt, StreamExt};
use opamp_operator::opamp::proto::{AgentConfigMap, AgentRemoteConfig, AgentToServer, ServerToAgent};
use prost::Message as _;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

/// A running proxy.
pub struct Tap {
    /// Where agents connect.
    pub endpoint: String,
    heard: Arc<Mutex<Heard>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    from_agent: Vec<AgentToServer>,
    from_server: Vec<ServerToAgent>,
}

impl Tap {
    /// Starts one in front of an operator, `127.0.0.1:PORT`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(operator: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("ws://{}/v1/opamp", listener.local_addr().expect("an address"));
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let task = tokio::spawn(accept(listener, operator.to_owned(), heard.clone()));
        Self { endpoint, heard, task }
    }

    /// The offers that went by.
    pub fn offers(&self) -> Vec<AgentRemoteConfig> {
        let heard = self.heard.lock().expect("not poisoned");
        heard.from_server.iter().filter_map(|message| message.remote_config.clone()).collect()
    }

    /// How many commands went by.
    pub fn commands(&self) -> usize {
        let heard = self.heard.lock().expect("not poisoned");
        heard.from_server.iter().filter(|message| message.command.is_some()).count()
    }

    /// When the agent's process was started, as it reported, each time once.
    pub fn starts(&self) -> Vec<u64> {
        let heard = self.heard.lock().expect("not poisoned");
        let health = heard.from_agent.iter().filter_map(|message| message.health.as_ref());
        let mut starts: Vec<u64> =
            health.map(|health| health.start_time_unix_nano).filter(|at| *at > 0).collect();
        starts.dedup();
        starts
    }

    /// The effective configurations that the agent reported.
    pub fn effective(&self) -> Vec<AgentConfigMap> {
        let heard = self.heard.lock().expect("not poisoned");
        heard.from_agent.iter().filter_map(|message| message.effective_config.clone()?.config_map).collect()
    }

    /// How many messages the agent has sent.
    pub fn messages(&self) -> usize {
        self.heard.lock().expect("not poisoned").from_agent.len()
    }

    /// The verdicts that the agent gave: hash, status and message.
    pub fn verdicts(&self) -> Vec<(Vec<u8>, i32, String)> {
        let heard = self.heard.lock().expect("not poisoned");
        let statuses = heard.from_agent.iter().filter_map(|message| message.remote_config_status.clone());
        statuses.map(|status| (status.last_remote_config_hash, status.status, status.error_message)).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, operator: String, heard: Arc<Mutex<Heard>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(relay(stream, operator.clone(), heard.clone()));
    }
}

/// Passes messages both ways until either side ends; the agent reconnects by itself.
async fn relay(stream: TcpStream, operator: String, heard: Arc<Mutex<Heard>>) -> Option<()> {
    let upstream = TcpStream::connect(&operator).await.ok()?;
    let (agent, server) = (accept_async(stream).await.ok()?, upstream);
    let (server, _) = client_async(format!("ws://{operator}/v1/opamp"), server).await.ok()?;
    let (mut to_agent, mut from_agent) = agent.split();
    let (mut to_server, mut from_server) = server.split();
    let up = async {
        while let Some(Ok(message)) = from_agent.next().await {
            if let Some(decoded) = body(&message).and_then(|body| AgentToServer::decode(body).ok()) {
                heard.lock().expect("not poisoned").from_agent.push(decoded);
            }
            to_server.send(message).await.ok()?;
        }
        Some(())
    };
    let down = async {
        while let Some(Ok(message)) = from_server.next().await {
            if let Some(decoded) = body(&message).and_then(|body| ServerToAgent::decode(body).ok()) {
                heard.lock().expect("not poisoned").from_server.push(decoded);
            }
            to_agent.send(message).await.ok()?;
        }
        Some(())
    };
    tokio::select! { ended = up => ended, ended = down => ended }
}

/// The protobuf part of a frame: behind a header of one zero byte.
fn body(message: &Message) -> Option<&[u8]> {
    match message {
        Message::Binary(bytes) => bytes.strip_prefix(&[0]),
        _ => None,
    }
}
