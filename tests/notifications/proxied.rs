//! Receivers that are reached through a proxy only: it is here, and knows where they are.

use super::support::authority::Authority;
use super::support::control_plane::ControlPlane;
use super::support::eventually;
use super::support::operator::Operator;
use super::support::resources::Space;
use super::support::sink::Sink;
use super::{Couriers, KEY, acceptor, quarantined, rollout_is_told, told, webhook};
use opamp_operator::notify::{Proxies, Trust};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A receiver's name, which nobody but the proxy can look up.
const NAME: &str = "receiver.test";

/// A proxy that keeps what it is asked for.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// One that gives these answers first, an empty one by closing the connection. Then it connects everybody with `to`,
    /// whatever they ask for.
    async fn start(answers: &[&'static str], to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, to) = (asked.clone(), to.to_owned());
        let mut answers: VecDeque<&'static str> = answers.iter().copied().collect();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, answers.pop_front(), to.clone(), kept.clone()));
            }
        });
        Self { address, asked, task }
    }

    /// All that it was asked for, head by head.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a lock").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(
    mut stream: TcpStream,
    answer: Option<&'static str>,
    to: String,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    asked.lock().expect("a lock").push(String::from_utf8(head).expect("text"));
    match answer {
        Some("") => {}
        Some(status) => {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            drop(stream.write_all(answer.as_bytes()).await);
        }
        None => {
            let mut receiver = TcpStream::connect(to).await.expect("the receiver");
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.expect("it listens");
            drop(copy_bidirectional(&mut stream, &mut receiver).await);
        }
    }
}

/// A receiver with a certificate for [`NAME`] and its address, and who has signed that.
async fn receiver(plane: &std::path::Path) -> (Sink, Authority) {
    let authority = Authority::new(&plane.join("authority"));
    let sink = Sink::start_tls(acceptor(&authority.sign("receiver", &[NAME, "127.0.0.1"]))).await;
    (sink, authority)
}

/// The file for a webhook at this host and port.
fn at(address: &str) -> String {
    format!("receivers: [{{name: hook, webhook: {{url: 'https://{address}/hook', signingKeys: [{KEY}]}}}}]")
}

fn through(proxy: String, direct: &'static str) -> Proxies {
    Proxies::of(move |name| match name {
        "HTTPS_PROXY" => Some(proxy.clone()),
        "NO_PROXY" => Some(direct.to_owned()),
        _ => None,
    })
}

#[tokio::test]
async fn receiver_is_reached_through_the_proxy_unless_the_environment_excepts_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sink, authority) = receiver(folder.path()).await;
    let plain = Sink::start(&[], super::OK).await;
    let proxy = Proxy::start(&[], &sink.address).await;
    let trust = Trust::of_file(authority.pem.as_bytes()).expect("PEM");
    let way = || through(format!("http://me:hid%40den@{}", proxy.address), "127.0.0.0/8,example.com");
    for (file, name) in
        [(at(&format!("{NAME}:8443")), "proxied"), (at(&sink.address), "direct"), (webhook(&plain), "own")]
    {
        let couriers = Couriers::start_through(&file, &trust, way());
        couriers.outbox.tell(quarantined(name));
        couriers.are_idle().await;
    }
    assert_eq!(
        (told(&sink.posts()), told(&plain.posts())),
        (vec!["proxied".to_owned(), "direct".to_owned()], vec!["own".to_owned()])
    );
    assert_eq!(sink.posts()[0].headers["host"], format!("{NAME}:8443"));
    assert!(!sink.posts()[0].headers.contains_key("proxy-authorization"), "that is for the proxy alone");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let lines: Vec<String> = asked[0].lines().map(str::to_lowercase).collect();
    for line in [
        "connect receiver.test:8443 http/1.1",
        "host: receiver.test:8443",
        "proxy-authorization: basic bwu6aglkqgrlbg==",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} in {lines:?}");
    }
}

#[tokio::test]
async fn certificate_is_the_receivers_also_behind_a_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sink, authority) = receiver(folder.path()).await;
    let proxy = Proxy::start(&[], &sink.address).await;
    let trust = Trust::of_file(authority.pem.as_bytes()).expect("PEM");
    let way = through(format!("http://{}", proxy.address), "");
    let couriers = Couriers::start_through(&at("another.test"), &trust, way);
    couriers.outbox.tell(quarantined("edge"));
    eventually("an attempt that has failed", async || {
        couriers.counts().iter().any(|line| line.contains(r#"result="failed"}"#)).then_some(())
    })
    .await;
    assert!(proxy.asked()[0].starts_with("CONNECT another.test:443 HTTP/1.1\r\n"), "{:?}", proxy.asked());
    assert!(told(&sink.posts()).is_empty());
}

#[tokio::test]
async fn nothing_is_posted_past_a_proxy_that_cannot_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sink, authority) = receiver(folder.path()).await;
    let trust = Trust::of_file(authority.pem.as_bytes()).expect("PEM");
    let way = through("socks5://127.0.0.1:1080".to_owned(), "");
    let couriers = Couriers::start_through(&at(&sink.address), &trust, way);
    couriers.outbox.tell(quarantined("edge"));
    eventually("an attempt that has failed", async || {
        couriers.counts().iter().any(|line| line.contains(r#"result="failed"}"#)).then_some(())
    })
    .await;
    assert!(told(&sink.posts()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_tells_through_a_proxy_that_refuses_at_first_and_asks_the_api_server_without_it() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "told").await;
    let (sink, authority) = receiver(plane.dir()).await;
    let refusals = ["403 Forbidden", "407 Proxy Authentication Required", ""];
    let proxy = Proxy::start(&refusals, &sink.address).await;
    let (file, pem) = (plane.dir().join("notifications.yaml"), plane.dir().join("receiver.pem"));
    std::fs::write(&pem, &authority.pem).expect("written");
    let trusting = format!("hook', caFile: '{}'", pem.display());
    std::fs::write(&file, at(&format!("{NAME}:8443")).replace("hook'", &trusting)).expect("written");
    let file = format!("--notifications-file={}", file.display());
    let flags = ["--agent-auth=none", "--agent-namespace=told", &file];
    let named = format!("http://me:hidden@{}", proxy.address);
    let environment = [("HTTPS_PROXY", named.as_str()), ("NO_PROXY", "example.com")];
    let operator = Operator::start_guarded_with(&plane, "told", &flags, &environment).await;

    rollout_is_told(&operator, &space, &sink).await;
    let asked = proxy.asked();
    assert_eq!(asked.len(), refusals.len() + 2, "{asked:?}");
    let is_for_receiver = |head: &String| head.starts_with("CONNECT receiver.test:8443 HTTP/1.1\r\n");
    assert!(asked.iter().all(is_for_receiver), "{asked:?}");
    let log = operator.log();
    for why in [
        "the proxy does not let it through: status 403",
        "the proxy wants a user and a password (status 407), or others",
        "the proxy closed the connection",
    ] {
        assert!(log.contains(why), "{why} in {log}");
    }
    for secret in ["hidden", "bWU6aGlkZGVu"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}
