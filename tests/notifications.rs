//! Notifications: posted to local servers that stand for Slack, PagerDuty and a webhook, by couriers alone and by the
//! real operator on a real API server.

#[path = "notifications/incidents.rs"]
mod incidents;
#[path = "notifications/proxied.rs"]
mod proxied;
mod support;

use jiff::Timestamp;
use opamp_operator::api::{AgentCounts, CollectorGroupStatus, RolloutState};
use opamp_operator::notify::{
    Metrics, Notice, Origin, Outbox, Proxies, Receivers, Route, Trust, group_notices, parse,
};
use opamp_operator::sim::Behaviour;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use support::authority::Authority;
use support::control_plane::ControlPlane;
use support::fleet::Fleet;
use support::operator::Operator;
use support::pages::block;
use support::resources::{Space, collector, group, inline, phased};
use support::sink::{Post, Reply, Sink};
use support::{eventually, within};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";
const OK: Reply = Reply::Status(200, None);

/// Couriers that are under way, and what they count.
struct Couriers {
    outbox: Outbox,
    metrics: Metrics,
    task: JoinHandle<()>,
}

impl Couriers {
    fn start(receivers: &str, trust: &Trust) -> Self {
        Self::start_through(receivers, trust, Proxies::none())
    }

    fn start_through(receivers: &str, trust: &Trust, proxies: Proxies) -> Self {
        let metrics = Metrics::default();
        let outbox = Outbox::new(metrics.clone(), proxies);
        outbox.take(routes(receivers, trust));
        let serving = outbox.clone();
        let task = tokio::spawn(async move { serving.serve().await });
        Self { outbox, metrics, task }
    }

    /// Waits until nothing is to be told any more.
    async fn are_idle(&self) {
        within("all notifications to be told", self.outbox.emptied()).await;
    }

    /// The lines of the metrics that are not zero.
    fn counts(&self) -> Vec<String> {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let counted = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        let mut counted: Vec<String> = counted.map(str::to_owned).collect();
        counted.sort();
        counted
    }
}

impl Drop for Couriers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn routes(receivers: &str, trust: &Trust) -> Vec<Route> {
    let Receivers(receivers) = parse(receivers).unwrap_or_else(|error| panic!("{error}: {receivers}"));
    receivers.into_iter().map(|receiver| Route { receiver, trust: trust.clone() }).collect()
}

fn system() -> Trust {
    Trust::of_system().expect("TLS")
}

/// A notice of the group with this name.
fn quarantined(name: &str) -> Vec<Notice> {
    let origin = Origin {
        namespace: "shop".into(),
        name: name.into(),
        uid: name.into(),
        version: "1".into(),
        time: Timestamp::UNIX_EPOCH,
    };
    let agents = AgentCounts { matched: 9, quarantined: 1, ..AgentCounts::default() };
    let after = CollectorGroupStatus { agents, ..CollectorGroupStatus::default() };
    group_notices(&origin, &CollectorGroupStatus::default(), &after)
}

fn webhook(sink: &Sink) -> String {
    format!(
        "receivers: [{{name: hook, webhook: {{url: '{}', signingKeys: [{KEY}]}}}}]",
        sink.url("/hook?a=b")
    )
}

/// The groups of which was told, in order.
fn told(posts: &[Post]) -> Vec<String> {
    let name = |post: &Post| post.json()["data"]["object"]["name"].as_str().expect("a name").to_owned();
    posts.iter().map(name).collect()
}

/// What the page's script says of a post to somebody who has this key.
async fn verified(post: &Post, key: &str) -> bool {
    let script = block("notifications.md", "# verify.py");
    let mut python = tokio::process::Command::new("python3")
        .args(["-c", &script])
        .env("WEBHOOK_KEY", key)
        .env("WEBHOOK_ID", &post.headers["webhook-id"])
        .env("WEBHOOK_TIMESTAMP", &post.headers["webhook-timestamp"])
        .env("WEBHOOK_SIGNATURE", &post.headers["webhook-signature"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("python3");
    let mut input = python.stdin.take().expect("its input");
    // It may say no before it has read all.
    drop(input.write_all(&post.body).await);
    drop(input);
    within("python3", python.wait()).await.expect("an end").success()
}

#[tokio::test]
async fn post_is_what_its_receiver_expects_and_is_signed_with_every_key() {
    let sink = Sink::start(&[], OK).await;
    let both = webhook(&sink).replace(&format!("[{KEY}]"), &format!("[{KEY}, {OTHER_KEY}]"));
    let couriers = Couriers::start(&both, &system());
    couriers.outbox.tell(quarantined("edge"));
    let post = sink.until(1).await.remove(0);
    assert_eq!(post.line, "POST /hook?a=b");
    assert_eq!(post.headers["host"], sink.address);
    assert_eq!(post.headers["content-type"], "application/cloudevents+json; charset=utf-8");
    assert_eq!(post.headers["content-length"], post.body.len().to_string());
    assert!(post.headers["user-agent"].starts_with("opamp-operator/"));
    assert_eq!(post.json()["id"], post.headers["webhook-id"].as_str());
    for key in [KEY, OTHER_KEY] {
        assert!(verified(&post, key).await, "by the page's script");
    }
    assert!(!verified(&post, "whsec_BAECAwQFBgcICQoLDA0ODxAREhMUFRYX").await, "another key");
    let mut other = post.clone();
    other.body.push(b' ');
    assert!(!verified(&other, KEY).await, "another body");
    let mut old = post.clone();
    old.headers.insert("webhook-timestamp".into(), "1600000000".into());
    assert!(!verified(&old, KEY).await, "another time");
    couriers.are_idle().await;
    assert_eq!(
        couriers.counts(),
        [
            r#"opamp_notification_attempts_total{receiver_type="webhook",result="ok"} 1"#,
            r#"opamp_notifications_total{receiver_type="webhook",result="delivered"} 1"#,
        ]
    );
}

#[tokio::test]
async fn what_fails_is_tried_again_as_late_as_the_receiver_asks_and_what_is_refused_is_not() {
    let busy = Reply::Status(429, Some(("retry-after", "2")));
    let moved = Reply::Status(308, Some(("location", "/elsewhere")));
    let replies =
        [busy, OK, Reply::Status(500, None), OK, Reply::Close, OK, moved, Reply::Status(404, None), OK];
    let sink = Sink::start(&replies, OK).await;
    let couriers = Couriers::start(&webhook(&sink), &system());
    for name in ["busy", "broken", "closing", "moved", "unknown", "last"] {
        couriers.outbox.tell(quarantined(name));
    }
    couriers.are_idle().await;
    let posts = sink.posts();
    let expected = ["busy", "busy", "broken", "broken", "closing", "closing", "moved", "unknown", "last"];
    assert_eq!(told(&posts), expected);
    assert!(posts[1].at - posts[0].at >= Duration::from_secs(2), "as it asked");
    assert!(posts[3].at - posts[2].at >= Duration::from_millis(500), "after a pause");
    assert_eq!(posts[0].headers["webhook-id"], posts[1].headers["webhook-id"], "it is the same message");
    assert!(posts.iter().all(|post| post.line == "POST /hook?a=b"), "no redirect is followed");
    assert_eq!(posts[8].json()["data"]["leftOut"], 2);
    assert_eq!(
        couriers.counts(),
        [
            r#"opamp_notification_attempts_total{receiver_type="webhook",result="failed"} 3"#,
            r#"opamp_notification_attempts_total{receiver_type="webhook",result="ok"} 4"#,
            r#"opamp_notification_attempts_total{receiver_type="webhook",result="refused"} 2"#,
            r#"opamp_notifications_total{receiver_type="webhook",result="delivered"} 4"#,
            r#"opamp_notifications_total{receiver_type="webhook",result="refused"} 2"#,
        ]
    );
}

#[tokio::test]
async fn receiver_that_hangs_holds_up_neither_others_nor_whoever_tells_and_its_oldest_notices_are_left_out() {
    let (hung, well) = (Sink::start(&[], Reply::Hang).await, Sink::start(&[], OK).await);
    let one = |name: &str, sink: &Sink| {
        format!(
            "- {{name: {name}, maxPerMinute: 600, webhook: {{url: '{}', signingKeys: [{KEY}]}}}}\n",
            sink.url("/")
        )
    };
    let couriers =
        Couriers::start(&format!("receivers:\n{}{}", one("hung", &hung), one("well", &well)), &system());
    couriers.outbox.tell(quarantined("first"));
    hung.until(1).await;
    well.until(1).await;
    // The runtime has one thread, and it is here until all are told.
    (0..103).for_each(|n| couriers.outbox.tell(quarantined(&format!("group-{n}"))));
    let overflowed = r#"opamp_notifications_total{receiver_type="webhook",result="overflowed"} 6"#;
    assert!(couriers.counts().contains(&overflowed.to_owned()), "three for each: {:?}", couriers.counts());
    let posts = well.until(101).await;
    assert_eq!(told(&posts)[0], "first");
    assert_eq!(hung.posts().len(), 1, "which is still waited for");
    // Now nothing else is to be done, so the time passes at once.
    tokio::time::pause();
    eventually("the post to be given up", async || {
        couriers.counts().iter().any(|line| line.contains(r#"result="failed"} 1"#)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn receivers_of_a_new_file_keep_what_waits_for_them_and_those_that_are_gone_drop_it() {
    let (wrong, right) = (Sink::start(&[], Reply::Status(503, None)).await, Sink::start(&[], OK).await);
    let file = |sink: &Sink, gone: &str| {
        let key = "0123456789abcdef0123456789abcdef";
        format!("{}{gone}]", webhook(sink).trim_end_matches(']')).replace("GONE", key)
    };
    let gone = format!(", {{name: pager, pagerduty: {{routingKey: GONE, url: '{}'}}}}", wrong.url("/pager"));
    let couriers = Couriers::start(&file(&wrong, &gone), &system());
    couriers.outbox.tell(quarantined("edge"));
    wrong.until(2).await;
    couriers.outbox.take(routes(&file(&right, ""), &system()));
    couriers.are_idle().await;
    assert_eq!(told(&right.posts()), ["edge"]);
    let counts = couriers.counts();
    let removed = r#"opamp_notifications_total{receiver_type="pagerduty",result="removed"} 1"#;
    assert!(counts.contains(&removed.to_owned()), "{counts:?}");
    couriers.outbox.tell(quarantined("later"));
    couriers.are_idle().await;
    assert_eq!(told(&right.posts()), ["edge", "later"]);
}

#[tokio::test]
async fn certificate_counts_if_the_given_authority_has_signed_it_for_this_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(&folder.path().join("one"));
    let other = Authority::new(&folder.path().join("other"));
    let for_host = Sink::start_tls(acceptor(&authority.sign("host", &["127.0.0.1"]))).await;
    let for_another = Sink::start_tls(acceptor(&authority.sign("another", &["192.0.2.1"]))).await;
    let trust = |authority: &Authority| Trust::of_file(authority.pem.as_bytes()).expect("PEM");
    for (sink, trust, expected) in [
        (&for_host, trust(&authority), "ok"),
        (&for_host, trust(&other), "failed"),
        (&for_host, system(), "failed"),
        (&for_another, trust(&authority), "failed"),
    ] {
        let couriers = Couriers::start(&webhook(sink).replace("http://", "https://"), &trust);
        couriers.outbox.tell(quarantined("edge"));
        let counted = format!(r#"receiver_type="webhook",result="{expected}"}} "#);
        eventually(format!("an attempt that is {expected}"), async || {
            couriers
                .counts()
                .iter()
                .any(|line| line.contains(&counted) && line.contains("attempts"))
                .then_some(())
        })
        .await;
    }
    assert_eq!((for_host.posts().len(), for_another.posts().len()), (1, 0));
    assert!(Trust::of_file(b"no PEM").is_err());
}

fn acceptor((certificate, key): &(String, String)) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(certificate).expect("a file").map(|one| one.expect("PEM"));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), PrivateKeyDer::from_pem_file(key).expect("a key"))
            .expect("a pair");
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// Receivers of each kind, and one that never answers.
struct Sinks {
    slack: Sink,
    pager: Sink,
    hook: Sink,
    hung: Sink,
}

impl Sinks {
    async fn start() -> Self {
        Self {
            slack: Sink::start(&[], OK).await,
            pager: Sink::start(&[], Reply::Status(202, None)).await,
            hook: Sink::start(&[], OK).await,
            hung: Sink::start(&[], Reply::Hang).await,
        }
    }

    fn file(&self) -> String {
        format!(
            "cluster: test\nreceivers:\n\
             - {{name: hung, slack: {{url: '{}'}}}}\n\
             - {{name: chat, slack: {{url: '{}'}}, namespaces: ['told*']}}\n\
             - {{name: pager, pagerduty: {{url: '{}', routingKey: {ROUTING_KEY}}}}}\n\
             - {{name: hook, webhook: {{url: '{}', signingKeys: [{KEY}]}}}}\n",
            self.hung.url("/services/hidden"),
            self.slack.url("/services/hidden"),
            self.pager.url("/v2/enqueue"),
            self.hook.url("/hook"),
        )
    }
}

async fn replica(plane: &ControlPlane, identity: &str, file: &str) -> Operator {
    let (identity, file) = (format!("--identity={identity}"), format!("--notifications-file={file}"));
    let flags = ["--agent-auth=none", "--agent-namespace=told", &identity, &file];
    Operator::start_guarded(plane, "told", &flags).await
}

/// A rollout of this content, to one agent first, whose next phase a person has to let begin.
fn manifest(content: &str, approval: &str) -> Value {
    let phases =
        json!([{"name": "canary", "agents": 1, "approval": approval}, {"name": "full", "agents": "100%"}]);
    phased("web", "edge", inline(&collector(content)), phases)
}

/// The events of which a webhook was told.
fn events(posts: &[Post]) -> Vec<String> {
    posts.iter().map(|post| post.json()["data"]["event"].as_str().expect("an event").to_owned()).collect()
}

/// Has one agent take a rollout, of whose beginning and end this sink is told.
async fn rollout_is_told(operator: &Operator, space: &Space, sink: &Sink) {
    let mut fleet = Fleet::new(&operator.websocket(), "yes", 1, Duration::from_millis(100));
    fleet.join(1, &Behaviour::Apply);
    space.apply(group("edge", "yes")).await;
    space.group_has("edge", 1).await;
    space.apply(manifest("one", "Automatic")).await;
    assert_eq!(events(&sink.until(2).await), ["RolloutStarted", "RolloutCompleted"]);
}

/// Two replicas that tell these sinks. The first one leads.
async fn replicas(plane: &ControlPlane, sinks: &Sinks) -> (Operator, Operator) {
    let file = plane.dir().join("notifications.yaml");
    std::fs::write(&file, sinks.file()).expect("written");
    let file = file.to_str().expect("a path in UTF-8");
    let first = replica(plane, "first", file).await;
    first.until_metrics(&["opamp_operator_leading 1"]).await;
    (first, replica(plane, "second", file).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_are_told_to_receivers_of_each_kind_once_also_when_the_leader_is_killed_meanwhile() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "told").await;
    let sinks = Sinks::start().await;
    let (mut first, second) = replicas(&plane, &sinks).await;
    // They are at the one that does not lead.
    let mut fleet = Fleet::new(&second.websocket(), "yes", 1, Duration::from_millis(100));
    fleet.join(4, &Behaviour::Apply);
    space.apply(group("edge", "yes")).await;
    space.group_has("edge", 4).await;

    space.apply(manifest("one", "Automatic")).await;
    space.rollout_is("web", RolloutState::Completed).await;
    (0..4).for_each(|agent| fleet.set_behaviour(agent, &Behaviour::Refuse("no <such> exporter".into())));
    space.apply(manifest("two", "Automatic")).await;
    space.rollout_is("web", RolloutState::RolledBack).await;
    (0..4).for_each(|agent| fleet.set_behaviour(agent, &Behaviour::Apply));
    space.apply(manifest("three", "Manual")).await;
    space.rollout_is("web", RolloutState::AwaitingApproval).await;
    assert!(!sinks.hung.posts().is_empty(), "one receiver was asked first, and never answers");
    let mut expected = vec![
        "RolloutStarted",
        "RolloutCompleted",
        "RolloutStarted",
        "RolloutFailed",
        "RolloutRolledBack",
        "RolloutStarted",
        "RolloutAwaitingApproval",
    ];
    assert_eq!(events(&sinks.hook.until(expected.len()).await), expected);

    first.kill();
    second.until_metrics(&["opamp_operator_leading 1"]).await;
    let go = ["-n", "told", "annotate", "configrollout", "web", "fleet.opamp.dev/promote=go"];
    plane.kubectl(&go).expect("annotated");
    space.rollout_is("web", RolloutState::Completed).await;
    expected.push("RolloutCompleted");
    let posts = sinks.hook.until(expected.len()).await;
    assert_eq!(events(&posts), expected, "each once");
    for post in &posts {
        assert!(verified(post, KEY).await);
        let event = post.json();
        assert_eq!(
            (&event["specversion"], &event["source"]),
            (&json!("1.0"), &json!("/opamp-operator/test"))
        );
        assert_eq!(event["subject"], "namespaces/told/configrollouts/web");
    }
    assert_eq!(posts[4].json()["type"], "dev.opamp.fleet.rollout.rolledback.v1");
    assert_eq!(posts[7].json()["data"]["detail"]["rollout"]["agents"]["updated"], 4);

    // The rollback may take the place of the failure, if that still waits.
    let action = |post: &Post| post.json()["event_action"].clone();
    let posts = eventually("the pager to be told of two ends", async || {
        let posts = sinks.pager.posts();
        (posts.iter().filter(|post| action(post) == "resolve").count() == 2).then_some(posts)
    })
    .await;
    let actions: Vec<Value> = posts.iter().map(action).collect();
    assert_eq!((&actions[0], actions.last()), (&json!("resolve"), Some(&json!("resolve"))), "{actions:?}");
    assert!(actions[1..actions.len() - 1].iter().all(|action| action == "trigger"), "{actions:?}");
    for post in &posts {
        let event = post.json();
        assert_eq!((post.line.as_str(), &event["routing_key"]), ("POST /v2/enqueue", &json!(ROUTING_KEY)));
        assert_eq!(event["dedup_key"], "opamp-operator/test/namespaces/told/configrollouts/web");
    }
    assert_eq!(posts[1].json()["payload"]["severity"], "error");

    let posts = sinks.slack.until(expected.len()).await;
    assert_eq!(posts.len(), expected.len());
    let failed = posts[3].json();
    assert!(failed["text"].as_str().expect("text").starts_with("[test] Rollout told/web has failed: web-2"));
    assert!(failed.to_string().contains("no &lt;such&gt; exporter"), "{failed}");
    let waits = posts[6].json().to_string();
    assert!(waits.contains("fleet.opamp.dev/promote=web-3/"), "{waits}");

    for text in [first.log(), second.log(), second.get("/metrics").await.expect("metrics").1] {
        for secret in ["hidden", ROUTING_KEY, "MfKQ9r8G"] {
            assert!(!text.contains(secret), "{secret} is told");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_is_read_when_it_changes_and_a_wrong_one_is_told_and_keeps_the_one_before() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "told").await;
    let sink = Sink::start(&[], OK).await;
    let file = plane.dir().join("notifications.yaml");
    let operator = replica(&plane, "only", file.to_str().expect("a path in UTF-8")).await;
    let state = |refused: u8, reads: (&str, u8)| {
        let (result, count) = reads;
        [
            format!("opamp_notifications_file_refused {refused}"),
            format!("opamp_notifications_file_reloads_total{{result=\"{result}\"}} {count}"),
        ]
    };
    let until = async |lines: [String; 2]| operator.until_metrics(&[&lines[0], &lines[1]]).await;
    // At once and as a whole, as a kubelet does it.
    let replace = |text: &str| {
        let new = file.with_extension("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &file).expect("moved");
    };
    // It is not there, and the operator runs.
    until(state(1, ("refused", 1))).await;
    replace(&webhook(&sink));
    until(state(0, ("ok", 1))).await;
    replace(&webhook(&sink).replace("name: hook", "nam: hook"));
    until(state(1, ("refused", 2))).await;
    assert!(
        operator.log().contains("line 1: receivers[0]: a key on this line is not known"),
        "{}",
        operator.log()
    );

    rollout_is_told(&operator, &space, &sink).await;
}
