//! The examples, by the commands of their READMEs, on a real API server: agents connect with the tokens that the
//! commands make and the attributes that the shown `supervisor.yaml` says, until every rollout is `Completed`.

mod support;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use opamp_operator::api::{CollectorGroup, ConfigRollout, RolloutState};
use opamp_operator::sim::Behaviour;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::fleet::Fleet;
use support::operator::Operator;
use support::pages::{block, replaced};
use support::resources::Space;
use support::shell::{commands, run};
use support::supervisor::Supervisor;
use support::{eventually, tool};

/// What takes minutes or hours in the examples, and what several Collectors of one host cannot share.
const CHANGES: [(&str, &str); 6] = [
    ("duration: 5m", "duration: 1s"),
    ("duration: 30m", "duration: 1s"),
    ("duration: 1h", "duration: 1s"),
    ("endpoint: 0.0.0.0:4317", "endpoint: 127.0.0.1:0"),
    ("endpoint: 0.0.0.0:4318", "endpoint: 127.0.0.1:0"),
    ("endpoint: 127.0.0.1:4317", "endpoint: 127.0.0.1:0"),
];

/// The examples as they are applied here, and the operator that serves them.
struct World {
    plane: ControlPlane,
    operator: Operator,
    folder: tempfile::TempDir,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_is_completed_by_the_commands_of_its_readme() {
    let plane = ControlPlane::start().await;
    let operator = Operator::start_guarded(&plane, "default", &["--agent-auth=token"]).await;
    let folder = tempfile::Builder::new().prefix("examples-").tempdir_in("/tmp").expect("a folder");
    copy(Path::new(env!("CARGO_MANIFEST_DIR")), Path::new("examples"), folder.path());
    let world = World { plane, operator, folder };
    tokio::join!(first(&world), gateway(&world), edge(&world), tenants(&world));
}

async fn first(world: &World) {
    let space = world.space("first");
    let environments = ["production", "staging", "development"];
    let environment = |which: &&str| vec![("deployment.environment.name".to_owned(), (*which).to_owned())];
    let follow = async {
        let token = token(&space, "agents", "first").await;
        let agents: Vec<Vec<(String, String)>> = environments.iter().map(environment).collect();
        world.agents("first", 1, &token, &agents)
    };
    let (_agents, ()) = tokio::join!(follow, world.run("first"));
    completed(&space, "checkout", 3).await;
}

async fn gateway(world: &World) {
    let space = world.space("gateway");
    let follow = async {
        let token = token(&space, "agents", "token").await;
        let shown = eventually("the supervisor's ConfigMap", async || {
            let map = space.api::<ConfigMap>().get_opt("supervisor").await.ok()??;
            map.data?.remove("supervisor.yaml")
        })
        .await;
        let secret = world.file("gateway-token", &token);
        let changes = [
            ("ws://opamp-operator.opamp-operator.svc:4320/v1/opamp", world.operator.websocket()),
            ("/var/run/secrets/opamp/token", secret),
        ];
        let real = world.supervisor("gateway", &shown, "/var/lib/supervisor", &changes);
        (real, world.agents("gateway", 2, &token, &vec![attributes(&shown); 2]))
    };
    let (_agents, ()) = tokio::join!(follow, world.run("gateway"));
    completed(&space, "gateway", 3).await;
}

async fn edge(world: &World) {
    let space = world.space("edge");
    let shown = world.text("examples/edge/hosts/supervisor.yaml");
    let follow = async {
        let first = token(&space, "plant-1", "token").await;
        let second = token(&space, "plant-2", "token").await;
        let secret = world.file("edge-token", &first);
        let tls = "  tls:\n    ca_file: /etc/opamp/ca.crt # the authority of the operator's certificate\n";
        let changes = [
            ("wss://opamp.example.org:4320/v1/opamp", world.operator.websocket()),
            ("/etc/opamp/token", secret),
            (tls, String::new()),
        ];
        let real = world.supervisor("edge", &shown, "/var/lib/otelcol/supervisor", &changes);
        let agents =
            (world.agents("edge", 3, &first, &[vec![]]), world.agents("edge", 4, &second, &[vec![], vec![]]));
        (real, agents)
    };
    let (_agents, ()) = tokio::join!(follow, world.run("edge"));
    let rollout = completed(&space, "edge", 4).await;
    let counts: Vec<_> = rollout.status.expect("a status").phases.iter().map(|phase| phase.count).collect();
    assert_eq!(counts.first(), Some(&Some(2)), "the hosts of the first plant are the ring: {counts:?}");
}

async fn tenants(world: &World) {
    let shown = world.text("examples/tenants/hosts/supervisor.yaml");
    let (a, b) = (world.space("team-a"), world.space("team-b"));
    let follow = async {
        let (first, second) = (token(&a, "agents", "token").await, token(&b, "agents", "token").await);
        let agents = vec![attributes(&shown); 2];
        (world.agents("team-a", 5, &first, &agents), world.agents("team-b", 6, &second, &agents[..1]))
    };
    let (_agents, ()) = tokio::join!(follow, world.run("tenants"));
    completed(&a, "collectors", 2).await;
    completed(&b, "collectors", 1).await;
    let matched = async |space: &Space| {
        let group = space.api::<CollectorGroup>().get("collectors").await.expect("a group");
        group.status.expect("a status").agents.matched
    };
    assert_eq!(
        (matched(&a).await, matched(&b).await),
        (2, 1),
        "a group of all has its own namespace's agents"
    );
}

impl World {
    /// Runs the commands of an example's README, one after the other.
    async fn run(&self, example: &str) {
        let commands = commands(&self.text(&format!("examples/{example}/README.md"))).join("\n");
        run(&commands, &self.plane.kubeconfig, self.folder.path()).await;
    }

    /// Agents with this token, one for each list of attributes.
    fn agents(&self, name: &str, key: u8, token: &str, all: &[Vec<(String, String)>]) -> Fleet {
        let endpoint = self.operator.websocket();
        let mut fleet = Fleet::new(&endpoint, name, key, Duration::from_secs(1)).by_token(token);
        for attributes in all {
            let attributes: Vec<(&str, &str)> = attributes.iter().map(|(k, v)| (&**k, &**v)).collect();
            fleet.join_with(1, &Behaviour::Apply, &attributes);
        }
        fleet
    }

    /// A real supervisor with a real Collector, with the shown configuration but for places on this machine.
    fn supervisor(&self, name: &str, shown: &str, storage: &str, changes: &[(&str, String)]) -> Supervisor {
        let (own, program) = (self.plane.dir().join(format!("{name}-storage")), tool("otelcol"));
        let places =
            [(storage, own.display().to_string()), ("/usr/local/bin/otelcol", program.display().to_string())];
        let changes = places.iter().chain(changes).map(|(from, to)| (*from, to.as_str())).collect::<Vec<_>>();
        Supervisor::start_from(&replaced(shown, &changes), &[], self.plane.dir(), name, own)
    }

    /// A file with this text, by its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.plane.dir().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join(path)).expect(path)
    }

    fn space(&self, name: &str) -> Space {
        Space { client: self.plane.client.clone(), name: name.to_owned() }
    }
}

/// The token that a README's commands have made.
async fn token(space: &Space, secret: &str, key: &str) -> String {
    let secrets: Api<Secret> = space.api();
    let token = eventually(format!("Secret {secret} in {}", space.name), async || {
        secrets.get_opt(secret).await.ok()??.data?.remove(key)
    });
    String::from_utf8(token.await.0).expect("text")
}

/// The rollout, which has reached so many agents.
async fn completed(space: &Space, name: &str, agents: i64) -> ConfigRollout {
    let rollout = space.rollout_is(name, RolloutState::Completed).await;
    let counts = &rollout.status.as_ref().expect("a status").agents;
    assert_eq!((counts.updated, counts.total, counts.failed), (agents, agents, 0), "{} {name}", space.name);
    rollout
}

/// What a supervisor with this configuration says of itself.
fn attributes(supervisor: &str) -> Vec<(String, String)> {
    let config: Value = serde_saphyr::from_str(supervisor).expect("YAML");
    let said = config["agent"]["description"]["non_identifying_attributes"].as_object().cloned();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    said.unwrap_or_default().iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// Copies a folder's files with the changes that this test needs.
fn copy(from: &Path, path: &Path, to: &Path) {
    fs::create_dir_all(to.join(path)).expect("a folder");
    for entry in fs::read_dir(from.join(path)).expect("a folder") {
        let entry: PathBuf = path.join(entry.expect("an entry").file_name());
        if from.join(&entry).is_dir() {
            copy(from, &entry, to);
        } else {
            let text = fs::read_to_string(from.join(&entry)).expect("text");
            let text = CHANGES.iter().fold(text, |text, (from, to)| text.replace(from, to));
            fs::write(to.join(&entry), text).expect("written");
        }
    }
}

/// The examples' configurations of a supervisor differ in how they connect, which docs/security.md shows as well. A real
/// supervisor takes that with a certificate in tests/credentials.rs.
#[test]
fn supervisor_with_a_certificate_is_that_of_the_documentation() {
    let read = |name: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        serde_saphyr::from_str(&fs::read_to_string(path).expect(name)).expect("YAML")
    };
    let shown: Value =
        serde_saphyr::from_str(&block("security.md", "# not a resource: supervisor.yaml with a certificate"))
            .expect("YAML");
    let (token, certificate) = (read("edge/hosts/supervisor.yaml"), read("edge/hosts/supervisor-mtls.yaml"));
    assert_eq!(certificate["server"], shown["server"]);
    let rest = |mut config: Value| {
        config.as_object_mut().expect("a mapping").remove("server");
        config
    };
    assert_eq!(rest(certificate), rest(token.clone()));
    assert_eq!(read("tenants/hosts/supervisor.yaml"), token);
}

/// The check before sending knows no component's own fields; a real Collector does.
#[test]
fn configurations_of_the_examples_are_valid_for_a_real_collector() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for example in ["first", "gateway", "edge", "tenants"] {
        let objects = objects(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example));
        for rollout in objects.iter().filter(|object| object["kind"] == "ConfigRollout") {
            let mut collector = Command::new(tool("otelcol"));
            collector.arg("validate");
            for file in rollout["spec"]["config"]["files"].as_array().expect("files") {
                count += 1;
                let path = folder.path().join(format!("{count}.yaml"));
                fs::write(&path, body(file, &objects)).expect("written");
                collector.arg("--config").arg(path);
            }
            let output = collector.output().expect("otelcol runs");
            assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_eq!(count, 8, "files of configurations");
}

/// The objects of a folder.
fn objects(folder: &Path) -> Vec<Value> {
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let yaml = files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    let texts: Vec<String> = yaml.map(|path| fs::read_to_string(path).expect("text")).collect();
    let documents = texts.iter().flat_map(|text| text.split("\n---\n"));
    documents
        .map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect()
}

/// The body of a file, from where it says.
fn body<'a>(file: &'a Value, objects: &'a [Value]) -> &'a str {
    let of = |kind: &str, data: &str, key: &Value| {
        let named = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == key["name"];
        let object = objects.iter().find(named).unwrap_or_else(|| panic!("{key} is not in the example"));
        &object[data][key["key"].as_str().expect("a key")]
    };
    let body = match (&file["inline"], &file["configMapKeyRef"], &file["secretKeyRef"]) {
        (Value::Null, Value::Null, key) => of("Secret", "stringData", key),
        (Value::Null, key, _) => of("ConfigMap", "data", key),
        (inline, ..) => inline,
    };
    body.as_str().expect("text")
}
