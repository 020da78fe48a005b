//! A server that takes posts as a receiver of notifications does: it keeps what comes and answers as it is told.

use super::{eventually, within};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a post gets for an answer.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// A status, and one more header.
    Status(u16, Option<(&'static str, &'static str)>),
    /// The connection is closed.
    Close,
    /// Nothing, ever.
    Hang,
}

/// What was posted.
#[derive(Clone)]
pub struct Post {
    /// The method and the path.
    pub line: String,
    /// The headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it came.
    pub at: Instant,
}

impl Post {
    /// The body, as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A running server.
pub struct Sink {
    /// Where it is, `127.0.0.1:PORT`.
    pub address: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    posts: Vec<Post>,
    /// The answers to the next posts; after them, `then`.
    replies: VecDeque<Reply>,
    then: Reply,
}

impl Sink {
    /// One that answers the first posts so, and all others with `then`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(replies: &[Reply], then: Reply) -> Self {
        Self::serve(replies, then, None).await
    }

    /// The same, over TLS.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::serve(&[], Reply::Status(200, None), Some(acceptor)).await
    }

    async fn serve(replies: &[Reply], then: Reply, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = State { posts: Vec::new(), replies: replies.iter().copied().collect(), then };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state, task }
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that was posted.
    ///
    /// # Panics
    /// When the server has.
    pub fn posts(&self) -> Vec<Post> {
        self.state.lock().expect("a lock").posts.clone()
    }

    /// Waits until so many posts have come.
    pub async fn until(&self, posts: usize) -> Vec<Post> {
        let what = format!("{posts} posts");
        eventually(what, async || Some(self.posts()).filter(|found| found.len() >= posts)).await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, state: Arc<Mutex<State>>) {
    let answer = service_fn(|request| take(request, state.clone()));
    // Whoever closes the connection ends it.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
}

async fn take(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Empty<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let body = within("the whole body", body.collect()).await.map_err(std::io::Error::other)?;
    let line = format!("{} {}", head.method, head.uri);
    let post = Post { line, headers, body: body.to_bytes().to_vec(), at: Instant::now() };
    let reply = {
        let mut state = state.lock().expect("a lock");
        state.posts.push(post);
        state.replies.pop_front().unwrap_or(state.then)
    };
    match reply {
        Reply::Status(status, header) => {
            let mut response = Response::builder().status(status);
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            response.body(Empty::new()).map_err(std::io::Error::other)
        }
        Reply::Close => Err(std::io::Error::other("closed")),
        Reply::Hang => std::future::pending().await,
    }
}
