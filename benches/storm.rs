//! What a storm of reconnects comes to: `make storm`.
//!
//! Ten thousand simulated agents are in the middle of a rollout when their only replica is killed, and another one
//! takes its address, with a limit on new connections. They come back as `opamp-go` clients do: after a pause that
//! grows, or after what `Retry-After` says if that is longer. The clock runs as it does in production. It fails if the
//! limit is not kept, if somebody does not come back, or if a minute later anything of the rollout or of the counts is
//! other than before.

#[path = "../tests/support/mod.rs"]
mod support;

use kube::api::{Patch, PatchParams};
use opamp_operator::api::{CollectorGroup, ConfigRollout, ConfigRolloutStatus, RolloutState};
use opamp_operator::sim::{Behaviour, Fleet, Pace, Share, Tally, run_fleet};
use serde_json::json;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::control_plane::ControlPlane;
use support::operator::{Operator, Options, binary, is_free};
use support::resources::{Space, collector, group, inline, phased};
use tokio::sync::watch;
use tokio::time::{interval, sleep};

const NAMESPACE: &str = "storm";
const AGENTS: usize = 10_000;
/// The limits that are tried, in connections a second. Ten times as many may come at once: with the second, which is
/// the default, that is everybody.
const RATES: [u32; 2] = [200, 1000];
const RUNS: usize = 3;
/// Open files of this program beside those of its agents.
const OTHER_FILES: usize = 200;
/// How long everybody may take to be back: twice what the lower limit makes of it, and the longest pause.
const PATIENCE: Duration = Duration::from_secs(200);
/// When a person might look again.
const LATER: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> ExitCode {
    let files = open_files();
    if files < AGENTS + OTHER_FILES {
        eprintln!("{files} open files are too few: run 'ulimit -n {}' first", AGENTS + OTHER_FILES);
        return ExitCode::FAILURE;
    }
    println!("{AGENTS} agents; {}", machine());
    println!(
        "{:>6}{:>10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>10}",
        "limit", "ready s", "1 s later", "95% s", "all s", "told", "refused", "peak MB"
    );
    for _ in 0..RUNS {
        run().await;
    }
    println!("the limit was kept, and a minute later no verdict, no soak and no count was other than before");
    ExitCode::SUCCESS
}

/// A fleet from nothing, and one storm for each limit.
async fn run() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, NAMESPACE).await;
    let mut replica = replica(&plane, 0, "127.0.0.2:0", 1000).await;
    let tally = Arc::new(Tally::default());
    let (stop, stopped) = watch::channel(false);
    let agents = tokio::spawn(run_fleet(fleet(&replica), tally.clone(), stopped));
    space.apply(group("all", "all")).await;
    settled(&space).await;
    rollout(&space, "one").await;
    promote(&space).await;
    rollout(&space, "two").await;
    let before = soaking(&space).await;
    for (number, rate) in (1..).zip(RATES) {
        replica = storm(&plane, replica, &tally, number, rate).await;
        sleep(LATER).await;
        settled(&space).await;
        let after = soaking(&space).await;
        let rest = |status: &ConfigRolloutStatus| {
            let soak = status.current_phase.as_ref().and_then(|phase| phase.soak_until.clone());
            (soak, status.cohort.as_ref().map(|cohort| cohort.attempt), status.agents.clone())
        };
        assert_eq!(rest(&after), rest(&before));
        let offers = usize::try_from(tally.counts().offers).expect("a count");
        assert_eq!(offers, AGENTS + AGENTS / 2, "nobody was offered anything again");
    }
    stop.send_replace(true);
    let _ = agents.await;
}

/// Kills a replica and starts another one in its place, with this limit; prints what became of it.
async fn storm(plane: &ControlPlane, mut old: Operator, tally: &Tally, number: usize, rate: u32) -> Operator {
    let told_before = tally.counts().refusals;
    old.kill();
    let killed = Instant::now();
    is_free(&old.opamp).await;
    let begin = Instant::now();
    let new = replica(plane, number, &old.opamp, rate).await;
    let ready = killed.elapsed();
    let (mut soon, mut most) = (None, None);
    let mut ticks = interval(Duration::from_millis(50));
    let all = loop {
        ticks.tick().await;
        let connected = usize::try_from(tally.counts().connected).unwrap_or_default();
        let limit = f64::from(rate) * (10.0 + begin.elapsed().as_secs_f64());
        assert!(share(connected) <= limit, "{connected} of {limit}");
        if killed.elapsed() >= ready + Duration::from_secs(1) {
            soon.get_or_insert(connected);
        }
        if connected * 100 >= AGENTS * 95 {
            most.get_or_insert(killed.elapsed());
        }
        if connected == AGENTS {
            break killed.elapsed();
        }
        assert!(
            killed.elapsed() < PATIENCE,
            "only {connected} are back; last error: {:?}",
            tally.last_error()
        );
    };
    let metrics = new.get("/metrics").await.map(|(_, metrics)| metrics).unwrap_or_default();
    let refused = "opamp_connections_refused_total{reason=\"too_fast\"} ";
    let refused = metrics.lines().find_map(|line| line.strip_prefix(refused)).unwrap_or("0").to_owned();
    println!(
        "{rate:>6}{:>10.1}{:>12}{:>12.1}{:>12.1}{:>12}{refused:>12}{:>10}",
        ready.as_secs_f64(),
        soon.map_or("all".to_owned(), |soon| soon.to_string()),
        most.unwrap_or(all).as_secs_f64(),
        all.as_secs_f64(),
        tally.counts().refusals - told_before,
        peak_memory(&identity(number)) / 1024,
    );
    new
}

#[expect(clippy::cast_precision_loss, reason = "no fleet is so large")]
fn share(agents: usize) -> f64 {
    agents as f64
}

fn identity(number: usize) -> String {
    format!("storm-{number}")
}

async fn replica(plane: &ControlPlane, number: usize, opamp: &str, rate: u32) -> Operator {
    let log = plane.dir().join(format!("{}.log", identity(number)));
    let options =
        Options { kubeconfig: &plane.operator, namespace: NAMESPACE, opamp, time_scale: "1", log: &log };
    let flags = [
        "--agent-auth=none".to_owned(),
        format!("--agent-namespace={NAMESPACE}"),
        format!("--identity={}", identity(number)),
        format!("--max-connection-rate={rate}"),
    ];
    let flags = flags.each_ref().map(String::as_str);
    Operator::launch_with(&binary("opamp-operator"), &options, &flags).await
}

fn fleet(replica: &Operator) -> Fleet {
    Fleet {
        endpoint: replica.websocket().parse().expect("an endpoint"),
        agents: AGENTS,
        behaviour: Behaviour::Apply,
        failing: Share::Count(0),
        shows_effective: false,
        attributes: vec![("test".to_owned(), "all".to_owned())],
        seed: 1,
        pace: Pace::default(),
    }
}

/// Half of the agents first, for longer than this takes.
async fn rollout(space: &Space, mark: &str) {
    let phases =
        json!([{"name": "half", "agents": "50%", "duration": "2h"}, {"name": "full", "agents": "100%"}]);
    space.apply(phased("r", "all", inline(&collector(mark)), phases)).await;
}

async fn promote(space: &Space) {
    soaking(space).await;
    let promote = json!({"metadata": {"annotations": {"fleet.opamp.dev/promote": "full-storm"}}});
    let rollouts = space.api::<ConfigRollout>();
    rollouts.patch("r", &PatchParams::default(), &Patch::Merge(promote)).await.expect("promoted");
    space.rollout_is("r", RolloutState::Completed).await;
}

async fn soaking(space: &Space) -> ConfigRolloutStatus {
    space.rollout_is("r", RolloutState::Soaking).await.status.expect("a status")
}

/// Waits until the group counts everybody, and nobody else.
async fn settled(space: &Space) {
    let all = i64::try_from(AGENTS).expect("few");
    let counted = |group: &CollectorGroup| {
        group.status.as_ref().is_some_and(|status| {
            let agents = &status.agents;
            [agents.matched, agents.connected, agents.healthy, agents.offline] == [all, all, all, 0]
        })
    };
    let groups = space.api::<CollectorGroup>();
    let counting = async {
        let mut ticks = interval(Duration::from_secs(1));
        while !groups.get("all").await.is_ok_and(|group| counted(&group)) {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE * 2, counting)
        .await
        .expect("the group counts all agents, all of them well");
}

/// The most memory that a replica has had, in kilobytes.
fn peak_memory(identity: &str) -> u64 {
    let flag = format!("--identity={identity}");
    let mut peaks = std::fs::read_dir("/proc").expect("processes").filter_map(|process| {
        let path = process.ok()?.path();
        let read = |file| std::fs::read_to_string(path.join(file)).ok();
        let is_it =
            read("comm")?.trim() == "opamp-operator" && read("cmdline")?.split('\0').any(|word| word == flag);
        let status = read("status").filter(|_| is_it)?;
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
    });
    peaks.next().expect("the replica runs")
}

/// How many files this program and what it starts may have open, each.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(usize::MAX)
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{processors} processors, {}", model.map_or("unknown", |(_, model)| model))
}
