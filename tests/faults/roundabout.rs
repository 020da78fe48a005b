//! A balancer without affinity: passes each poll that comes to it on to the next replica, whoever sent it.

use crate::support::switch::Switch;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A running one.
pub struct Roundabout {
    /// The endpoint for agents.
    pub endpoint: String,
    turns: Arc<Turns>,
    task: JoinHandle<()>,
}

struct Turns {
    ways: Vec<String>,
    next: AtomicUsize,
}

impl Roundabout {
    /// Starts one that leads where these switches do, in turn.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(switches: &[Switch]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}/v1/opamp", listener.local_addr().expect("an address"));
        let ways = switches.iter().map(|switch| switch.address.clone()).collect();
        let turns = Arc::new(Turns { ways, next: AtomicUsize::default() });
        let task = tokio::spawn(accept(listener, turns.clone()));
        Self { endpoint, turns, task }
    }

    /// How many polls came by.
    pub fn polls(&self) -> usize {
        self.turns.next.load(Ordering::Relaxed)
    }
}

impl Drop for Roundabout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, turns: Arc<Turns>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let turns = turns.clone();
        connections.spawn(async move {
            let service = service_fn(|request| pass_on(request, &turns));
            // Whoever sent it sees that it ended.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass_on(request: Request<Incoming>, turns: &Turns) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let way = &turns.ways[turns.next.fetch_add(1, Ordering::Relaxed) % turns.ways.len()];
    let stream = TcpStream::connect(way).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let request = Request::from_parts(head, Full::new(body));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(head, Full::new(body)))
}
