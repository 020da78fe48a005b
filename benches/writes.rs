//! What the operator writes to the API server, by the API server's own count: `make bench-writes`.
//!
//! A control plane, one operator and simulated agents: they come, are quiet, one in a hundred changes its health each
//! minute, and a rollout of four phases reaches all. It prints the writes and their bytes for each of these, and fails
//! where a budget of the design (section 11) is not kept. Writes are counted, not timed, so the machine hardly matters;
//! how long the agents of a phase take to answer does, because a slice is written a second after the first of them.

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "writes/counts.rs"]
mod counts;

use counts::{Counts, Kind};
use kube::api::ListParams;
use opamp_operator::api::{AgentSlice, CollectorGroup, ConfigRollout, RolloutState};
use opamp_operator::sim::Behaviour;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::fleet::Fleet;
use support::operator::{Operator, Options, binary};
use support::resources::{Space, collector, group, inline, phased, rollout};

const NAMESPACE: &str = "writes";
/// A name as clouds give it: what an agent's entry is mostly made of.
const HOST: &str = "ip-10-0-200-200.eu-central-1.compute.internal";
const PHASES: usize = 4;
/// The budgets: writes of a slice in a phase, of a slice in a minute of which one agent in a hundred changes, and bytes
/// of a status.
const OF_A_PHASE: f64 = 3.0;
const OF_A_MINUTE: f64 = 2.5;
const STATUS_BYTES: usize = 8 * 1024;
/// Most slice writes of a replica in a second.
const IN_A_SECOND: f64 = 20.0;

#[tokio::main]
async fn main() -> ExitCode {
    let number = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let sizes: Vec<usize> =
        number("AGENTS", "1000 10000").split(' ').map(|size| size.parse().expect("a number")).collect();
    let runs: usize = number("RUNS", "3").parse().expect("a number");
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("{} processors, profile {profile}, {runs} runs of each", processors());
    let mut kept = true;
    for agents in sizes {
        for run in 1..=runs {
            println!("\n{agents} agents, run {run}");
            kept &= Box::pin(measure(agents)).await;
        }
    }
    println!("\nbudgets {}", if kept { "kept" } else { "not kept" });
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

async fn measure(agents: usize) -> bool {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, NAMESPACE).await;
    space.apply(group("g", "yes")).await;
    let log = plane.dir().join("operator.log");
    let options = Options {
        kubeconfig: &plane.operator,
        namespace: NAMESPACE,
        opamp: "127.0.0.2:0",
        time_scale: "1",
        log: &log,
    };
    let operator = Operator::launch(&binary("opamp-operator"), &options).await;
    let mut fleets = Fleets::new(&operator.websocket());
    let connected = i64::try_from(agents).expect("few enough");

    let mut before = Counts::read(&plane.client).await;
    fleets.join(agents);
    until(&space, "g", "connected", |group: &CollectorGroup| {
        group.status.as_ref().is_some_and(|status| status.agents.connected == connected)
    })
    .await;
    quiet().await;
    before = tell("they come", &plane, before).await.0;

    space.apply(rollout("first", "g", inline(&collector("one")))).await;
    completed(&space, "first", connected).await;
    quiet().await;
    let (now, _) = tell("the first rollout, to all at once", &plane, before).await;
    before = now;
    let slices = space.api::<AgentSlice>().list(&ListParams::default()).await.expect("slices").items;

    tokio::time::sleep(Duration::from_mins(1)).await;
    let (now, idle) = tell("a minute without any change", &plane, before).await;
    before = now;

    for which in 0..agents / 100 {
        fleets.fall_ill(which * 100);
        tokio::time::sleep(Duration::from_mins(1) / u32::try_from(agents / 100).expect("few")).await;
    }
    quiet().await;
    let (now, minute) = tell("a minute in which one in a hundred changes", &plane, before).await;
    before = now;
    (0..agents / 100).for_each(|which| fleets.recover(which * 100));
    quiet().await;
    before = tell("and all of these at once", &plane, before).await.0;

    let phases = json!([
        {"name": "canary", "agents": "2%", "duration": "15s"},
        {"name": "early-adopters", "agents": "10%", "duration": "15s"},
        {"name": "majority", "agents": "50%", "duration": "15s"},
        {"name": "full", "agents": "100%"},
    ]);
    space.apply(phased("first", "g", inline(&collector("two")), phases)).await;
    let started = tokio::time::Instant::now();
    completed(&space, "first", connected).await;
    let seconds = started.elapsed().as_secs_f64();
    quiet().await;
    let (_, rollout) = tell("a rollout of four phases", &plane, before).await;

    let bytes = sizes(&space).await;
    let count = slices.len();
    let of_a_phase = per(rollout.of(Kind::Slices).writes, count * PHASES);
    let of_a_minute = per(minute.of(Kind::Slices).writes, count);
    let in_a_second = per(rollout.of(Kind::Slices).writes, 1) / seconds;
    println!(
        "  {count} slices: {of_a_phase:.2} writes of each in a phase, {of_a_minute:.2} in a minute of one in a \
         hundred, {:.2} in a quiet one; {in_a_second:.1} in a second of the rollout",
        per(idle.of(Kind::Slices).writes, count)
    );
    println!("  largest slice {} bytes, largest status {} bytes", bytes.slice, bytes.status);
    of_a_phase <= OF_A_PHASE
        && of_a_minute <= OF_A_MINUTE
        && in_a_second <= IN_A_SECOND
        && bytes.status < STATUS_BYTES
        && bytes.slice <= 64 * 1024
}

/// The harness has few agents to a fleet.
struct Fleets {
    endpoint: String,
    all: Vec<Fleet>,
}

impl Fleets {
    const EACH: usize = 250;

    fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), all: Vec::new() }
    }

    fn join(&mut self, agents: usize) {
        for first in (0..agents).step_by(Self::EACH) {
            let key = u8::try_from(self.all.len()).expect("few fleets");
            let mut fleet = Fleet::new(&self.endpoint, "yes", key, Duration::from_secs(30));
            fleet.join_with(Self::EACH.min(agents - first), &Behaviour::Apply, &[("host.name", HOST)]);
            self.all.push(fleet);
        }
    }

    fn fall_ill(&self, agent: usize) {
        self.all[agent / Self::EACH].fall_ill(agent % Self::EACH);
    }

    fn recover(&self, agent: usize) {
        self.all[agent / Self::EACH].recover(agent % Self::EACH);
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per(writes: u64, parts: usize) -> f64 {
    writes as f64 / parts as f64
}

/// Until everything that is due has been written.
async fn quiet() {
    tokio::time::sleep(Duration::from_secs(15)).await;
}

/// Prints what was written since; that, and the count as it is now.
async fn tell(what: &str, plane: &ControlPlane, before: Counts) -> (Counts, Counts) {
    let now = Counts::read(&plane.client).await;
    let since = now.since(&before);
    println!("  {what}: {since}");
    (now, since)
}

async fn completed(space: &Space, name: &str, agents: i64) {
    until(space, name, "completed", |rollout: &ConfigRollout| {
        rollout.status.as_ref().is_some_and(|status| {
            status.state == RolloutState::Completed
                && status.agents.updated == agents
                && status.observed_generation == rollout.metadata.generation
        })
    })
    .await;
}

/// As the tests' harness waits, with more patience: ten thousand agents on a busy machine.
async fn until<K>(space: &Space, name: &str, what: &str, wanted: impl Fn(&K) -> bool)
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    for _ in 0..600 {
        if space.api::<K>().get(name).await.is_ok_and(|found| wanted(&found)) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("{name} is not {what} after ten minutes");
}

struct Sizes {
    slice: usize,
    status: usize,
}

async fn sizes(space: &Space) -> Sizes {
    let list = ListParams::default();
    let slices = space.api::<AgentSlice>().list(&list).await.expect("slices").items;
    let groups = space.api::<CollectorGroup>().list(&list).await.expect("groups").items;
    let rollouts = space.api::<ConfigRollout>().list(&list).await.expect("rollouts").items;
    let statuses = groups.iter().map(|group| bytes(&group.status));
    let statuses = statuses.chain(rollouts.iter().map(|rollout| bytes(&rollout.status)));
    Sizes {
        slice: slices.iter().map(|slice| bytes(&slice)).max().unwrap_or_default(),
        status: statuses.max().unwrap_or_default(),
    }
}

fn bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).expect("JSON").len()
}
