//! How the program starts, and how it says in one line why it does not.

mod support;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, PostParams};
use opamp_operator::api::{ConfigRevision, RolloutState};
use opamp_operator::sim::{self, Behaviour, Profile};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::{Operator, Options, binary};
use support::process::{Ending, Guarded, free_port};
use support::resources::{Space, collector, group, inline, rollout};

/// Runs the program until it ends by itself.
fn start(kubeconfig: &Path, flags: &[&str]) -> Output {
    Command::new(binary("opamp-operator"))
        .arg("run")
        .args(flags)
        .env("KUBECONFIG", kubeconfig)
        .env_remove("POD_NAME")
        .env_remove("POD_NAMESPACE")
        .env("RUST_LOG", "off")
        .output()
        .expect("the program runs")
}

const GOOD: &[&str] = &[
    "--agent-auth=none",
    "--identity=a",
    "--namespace=default",
    "--opamp-listen=127.0.0.1:0",
    "--admin-listen=127.0.0.1:0",
];

/// It fails, with one line that holds all the words.
fn fails_with(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it started: {error}");
    assert_eq!(error.lines().count(), 1, "not one line: {error}");
    assert!(error.starts_with("error: "), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in {error}");
    }
}

#[test]
fn flags_that_contradict_each_other_end_the_start_with_one_line() {
    for (flags, words) in [
        (&["--agent-auth=none,token"][..], &["--agent-auth none", "lets everybody in"][..]),
        (&["--tls-cert=c"], &["--tls-cert and --tls-key"]),
        (&["--client-ca=c"], &["--client-ca needs --tls-cert"]),
    ] {
        fails_with(&start(Path::new("/nonexistent"), &[&GOOD[1..], flags].concat()), words);
    }
}

#[test]
fn port_in_use_ends_the_start_with_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let flag = format!("--opamp-listen={address}");
    let flags = [&GOOD[..3], &[flag.as_str(), GOOD[4]]].concat();
    fails_with(&start(Path::new("/nonexistent"), &flags), &["cannot listen on", &address, "opamp", "in use"]);
}

#[tokio::test]
async fn api_server_that_is_not_there_ends_the_start_with_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubeconfig = dir.path().join("kubeconfig");
    let url = format!("https://127.0.0.1:{}", free_port());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).expect("written");
    fails_with(&start(&kubeconfig, GOOD), &["cannot be reached", &url]);
    fails_with(&start(Path::new("/nonexistent"), GOOD), &["KUBECONFIG"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_crds_old_crds_and_missing_rights_end_the_start_with_one_line_that_says_what_to_do() {
    let plane = ControlPlane::start_empty().await;
    let apply = "opamp-operator crds | kubectl apply";
    fails_with(&start(&plane.kubeconfig, GOOD), &["missing", "configrollouts.fleet.opamp.dev", apply]);

    support::control_plane::apply_crds(&plane.client).await;
    fails_with(
        &start(&plane.kubeconfig_without_rights(), GOOD),
        &["rights", "create agentslices", "update leases in default"],
    );

    plane
        .kubectl(&[
            "annotate",
            "--overwrite",
            "crd",
            "configrollouts.fleet.opamp.dev",
            "fleet.opamp.dev/schema=0",
        ])
        .expect("annotated");
    fails_with(&start(&plane.kubeconfig, GOOD), &["configrollouts.fleet.opamp.dev", "older", apply]);

    support::control_plane::apply_crds(&plane.client).await;
    let file = plane.dir().join("nothing.pem");
    std::fs::write(&file, "nothing").expect("written");
    let file = file.to_str().expect("UTF-8");
    let tls = [format!("--tls-cert={file}"), format!("--tls-key={file}")];
    let flags = [GOOD, &[tls[0].as_str(), tls[1].as_str()]].concat();
    fails_with(&start(&plane.kubeconfig, &flags), &["cannot use", file, "no certificate can be read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_are_served_and_a_lost_hash_key_is_told_and_nothing_is_offered() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "key").await;
    let mut operator = Operator::start(&plane, "key").await;
    assert_eq!(operator.get("/livez").await.expect("an answer"), (200, "ok\n".to_owned()));
    assert_eq!(operator.get("/other").await.expect("an answer").0, 404);
    let metrics = operator.get("/metrics").await.expect("an answer").1;
    for name in ["opamp_operator_build_info", "opamp_websocket_active_connections", "opamp_connected_agents"]
    {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");

    let agent = |operator: &Operator| {
        let pace = sim::Pace { heartbeat: Duration::from_millis(100), ..sim::Pace::default() };
        let profile = Profile::new([1; 16]).with("test", "yes");
        let endpoint = operator.websocket().parse().expect("an endpoint");
        sim::spawn(sim::Agent::new(profile, Behaviour::Apply), endpoint, pace)
    };
    let first = agent(&operator);
    space.apply(group("g", "yes")).await;
    space.group_has("g", 1).await;
    space.apply(rollout("r", "g", inline(&collector("one")))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    let hash = space.api::<ConfigRevision>().get("r-1").await.expect("r-1").spec.hash;
    drop(first);
    operator.end();

    let secrets: Api<Secret> = space.api();
    let mut key = secrets.get("opamp-operator-hash-key").await.expect("the key");
    assert_eq!(key.data.as_ref().expect("data")["key"].0.len(), 32);
    secrets.delete("opamp-operator-hash-key", &DeleteParams::default()).await.expect("deleted");
    let log = plane.dir().join("unready.log");
    let options = Options {
        kubeconfig: &plane.operator,
        namespace: "key",
        opamp: "127.0.0.1:0",
        time_scale: "10",
        log: &log,
    };
    let operator = Operator::launch_unready(&binary("opamp-operator"), &options).await;
    let report = eventually("the lost key to be told", async || {
        let (status, report) = operator.get("/readyz").await?;
        report.contains("HashKey: Secret key/opamp-operator-hash-key is missing").then_some((status, report))
    })
    .await;
    assert_eq!(report.0, 503);
    assert!(report.1.contains("restore it from a backup"), "{}", report.1);
    // A new agent is answered, and offered nothing.
    let mut second = agent(&operator);
    let answered = support::within("answers", second.until(|journal| journal.messages > 5)).await;
    assert!(answered.offers.is_empty());
    assert!(
        secrets.get_opt("opamp-operator-hash-key").await.expect("read").is_none(),
        "it makes no other key"
    );

    // Restored, it goes on, and the same content has the same hash.
    key.metadata = kube::api::ObjectMeta { name: key.metadata.name, ..Default::default() };
    secrets.create(&PostParams::default(), &key).await.expect("restored");
    let journal = support::within("the offer", second.until(|journal| !journal.offers.is_empty())).await;
    assert_eq!(hex::encode(&journal.offers[0].hash), hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_that_cannot_be_read_stops_no_other() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "unreadable").await;
    // As a newer program may have written it: the schema takes it, this program cannot read it.
    loosen_priority(&plane);
    let mut bad = group("bad", "other");
    bad["spec"]["priority"] = json!("high");
    eventually("the loosened schema to be served", async || space.try_apply(bad.clone()).await.ok()).await;
    let operator = Operator::start(&plane, "unreadable").await;
    let pace = sim::Pace { heartbeat: Duration::from_millis(100), ..sim::Pace::default() };
    let profile = Profile::new([1; 16]).with("test", "yes");
    let endpoint = operator.websocket().parse().expect("an endpoint");
    let _agent = sim::spawn(sim::Agent::new(profile, Behaviour::Apply), endpoint, pace);
    space.apply(group("g", "yes")).await;
    space.group_has("g", 1).await;
    space.apply(rollout("r", "g", inline(&collector("one")))).await;
    space.rollout_is("r", RolloutState::Completed).await;
    assert!(operator.log().contains("cannot read collector group"), "{}", operator.log());
}

/// Lets the API server take any value as a group's priority.
fn loosen_priority(plane: &ControlPlane) {
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/priority";
    let patch =
        json!([{"op": "replace", "path": field, "value": {"x-kubernetes-preserve-unknown-fields": true}}]);
    let crd = "collectorgroups.fleet.opamp.dev";
    plane.kubectl(&["patch", "crd", crd, "--type=json", "-p", &patch.to_string()]).expect("patched");
}

/// Container runtimes start programs with few open files, and let them have more.
#[tokio::test(flavor = "multi_thread")]
async fn start_takes_more_open_files_and_warns_when_there_are_too_few() {
    let plane = ControlPlane::start().await;
    for (limits, connections, few) in [("ulimit -Sn 64", 100, false), ("ulimit -n 250", 100, true)] {
        let log = plane.dir().join("files.log");
        let operator = binary("opamp-operator");
        let script = format!("{limits}; exec {} \"$@\"", operator.display());
        let connections = format!("--max-connections={connections}");
        let flags = [&["-c", &script, "sh", "run"], GOOD, &[&connections]].concat();
        let environment = [("KUBECONFIG", plane.operator.to_str().expect("a path in UTF-8"))];
        let process = Guarded::spawn_with(Path::new("sh"), &flags, &environment, &log, Ending::Terminate);
        let started = |log: &str| log.contains("listening");
        eventually("the start", async || started(&process.output()).then_some(())).await;
        assert_eq!(process.output().contains("too few open files"), few, "{}", process.output());
    }
}
