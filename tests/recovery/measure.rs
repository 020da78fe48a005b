//! Measures how long it takes until all is as before when something fails: two replicas as fast as in production, with
//! the times that the design fixes, a hundred simulated agents, and a real API server. Run it with `make recovery`; the
//! example takes the parts to run as arguments: `away`, `store`, `cut`, `mute`, `killed`, `stopped`, `frozen`.
//!
//! Agents connect over a switch to each replica, which is turned to the other one in the moment when its replica is
//! killed: what a balancer takes to notice comes on top.

#[path = "../support/mod.rs"]
mod support;

use nix::sys::signal::Signal;
use opamp_operator::api::CollectorGroup;
use opamp_operator::sim::{self, Behaviour, Pace, Profile, Simulated};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::control_plane::ControlPlane;
use support::eventually;
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, rollout};
use support::switch::Switch;

const NAMESPACE: &str = "recovery";
/// Of each replica.
const AGENTS: u8 = 50;
/// How often each is measured, a different time after the Lease was renewed.
const RUNS: usize = 5;
/// How often what takes minutes is.
const FEW_RUNS: usize = 2;
/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(4);

/// A replica, the way that agents take to it, and its own to the API server.
struct Replica {
    operator: Operator,
    door: Switch,
    way: Switch,
    kubeconfig: PathBuf,
}

struct World {
    plane: ControlPlane,
    space: Space,
    replicas: [Replica; 2],
    /// The agents that connect over the door of each.
    agents: [Vec<Simulated>; 2],
    started: usize,
}

/// What is away.
#[derive(Clone, Copy)]
enum Away {
    Server,
    Store,
}

#[tokio::main]
async fn main() {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let mut world = World::start().await;
    println!("{}\n", machine());
    println!("| what | runs | median | least | most |\n| --- | --- | --- | --- | --- |");
    // First: to a leader that takes over, replicas that were killed are alive until their Leases have run out anew.
    for (part, what, name, away) in [
        ("away", Away::Server, "API server away", 20),
        ("away", Away::Server, "API server away", 60),
        ("store", Away::Store, "API server without etcd", 20),
        ("store", Away::Store, "API server without etcd", 60),
    ] {
        let mut right = Vec::new();
        for _ in (0..FEW_RUNS).filter(|_| wanted(part)) {
            world.take_away(what, Duration::from_secs(away), &mut right).await;
        }
        print(&format!("{name} for {away} s: the group's status is right after it answers again"), &right);
    }
    let (mut decided, mut right) = Default::default();
    for run in (0..RUNS).filter(|_| wanted("cut")) {
        world.cut_leader(run, &mut decided, &mut right).await;
    }
    print("leader cut off from the API server: another one has stamped its term", &decided);
    print(
        "replica cut off from the API server: its agents count as connected again after its return",
        &right,
    );
    let (mut known, mut returned) = Default::default();
    for _ in (0..FEW_RUNS).filter(|_| wanted("mute")) {
        world.mute_agents(&mut known, &mut returned).await;
    }
    print("network between agents and a replica silent: all of them count as disconnected", &known);
    print(
        "network between agents and a replica silent: they count as connected again after its return",
        &returned,
    );
    let (mut killed, mut back, mut stopped, mut frozen) = Default::default();
    for run in (0..RUNS).filter(|_| wanted("killed")) {
        world.kill_leader(run, &mut killed, &mut back).await;
    }
    print("leader killed: another one has stamped its term", &killed);
    print("replica killed: 95% of its agents are connected elsewhere", &back);
    for _ in (0..RUNS).filter(|_| wanted("stopped")) {
        world.stop_leader(&mut stopped).await;
    }
    print("leader stopped cleanly: another one has stamped its term", &stopped);
    for run in (0..RUNS).filter(|_| wanted("frozen")) {
        world.freeze_leader(run, &mut frozen).await;
    }
    print("leader frozen: another one has stamped its term", &frozen);
}

impl World {
    async fn start() -> Self {
        let plane = ControlPlane::start().await;
        let space = Space::new(&plane, NAMESPACE).await;
        let mut replicas = Vec::new();
        for number in 0..2 {
            let way = Switch::start(&plane.address().to_string()).await;
            let url = format!("https://{}", way.address);
            let kubeconfig = plane.kubeconfig_over(&format!("way-{number}"), &url);
            let identity = format!("replica-{number}");
            let operator = Operator::start_unhurried(&plane, NAMESPACE, &identity, &kubeconfig).await;
            let door = Switch::start(&operator.opamp).await;
            replicas.push(Replica { operator, door, way, kubeconfig });
        }
        let replicas: [Replica; 2] = replicas.try_into().ok().expect("two");
        let agents = [0, 1].map(|replica: usize| {
            (0..AGENTS).map(|number| agent(replica, number, &replicas[replica].door)).collect()
        });
        space.apply(group("all", "recovery")).await;
        let mut world = Self { plane, space, replicas, agents, started: 2 };
        world.space.apply(rollout("r", "all", inline(&collector("one")))).await;
        world.settle().await;
        world
    }

    /// Waits until all agents are connected, and the leader says so.
    async fn settle(&mut self) {
        let all: usize = self.agents.iter().map(Vec::len).sum();
        until("all agents to be connected", async || self.connected(0) + self.connected(1) == all).await;
        self.group_says(i64::try_from(all).expect("few")).await;
    }

    async fn group_says(&self, connected: i64) {
        until("the group's status to be right", async || {
            self.group()
                .await
                .is_some_and(|group| group.status.is_some_and(|status| status.agents.connected == connected))
        })
        .await;
    }

    async fn group(&self) -> Option<CollectorGroup> {
        self.space.api::<CollectorGroup>().get("all").await.ok()
    }

    fn connected(&self, replica: usize) -> usize {
        self.agents[replica].iter().filter(|agent| agent.journal().connected).count()
    }

    async fn leader(&self) -> usize {
        eventually("a leader", async || {
            for (at, replica) in self.replicas.iter().enumerate() {
                let served = replica.operator.get("/metrics").await.unwrap_or_default().1;
                if served.lines().any(|line| line == "opamp_operator_leading 1") {
                    return Some(at);
                }
            }
            None
        })
        .await
    }

    async fn term(&self) -> i64 {
        self.group().await.and_then(|group| group.status?.leader_term).unwrap_or_default()
    }

    /// How long it takes from `start` until another term is stamped.
    async fn another_term(&self, before: i64, start: Instant) -> Duration {
        until("another term", async || self.term().await > before).await;
        start.elapsed()
    }

    /// Waits for a while, so that what follows does not always come at the same time after a renewal.
    async fn wait(&self, run: usize) {
        tokio::time::sleep(Duration::from_millis(1000 * u64::try_from(run).expect("few"))).await;
    }

    async fn kill_leader(&mut self, run: usize, decided: &mut Vec<Duration>, back: &mut Vec<Duration>) {
        let (leader, before) = (self.leader().await, self.term().await);
        let other = 1 - leader;
        self.wait(run).await;
        let lives: Vec<usize> = self.agents[leader].iter().map(|agent| agent.journal().connections).collect();
        let start = Instant::now();
        self.replicas[leader].operator.kill();
        self.replicas[leader].door.turn(Some(&self.replicas[other].operator.opamp));
        let returned = async {
            until("95% of the agents to be back", async || {
                let agents = self.agents[leader].iter().map(Simulated::journal).zip(&lives);
                let back = agents.filter(|(now, before)| now.connected && now.connections > **before).count();
                back * 100 >= self.agents[leader].len() * 95
            })
            .await;
            start.elapsed()
        };
        let (term, agents) = tokio::join!(self.another_term(before, start), returned);
        decided.push(term);
        back.push(agents);
        self.replace(leader).await;
    }

    async fn stop_leader(&mut self, decided: &mut Vec<Duration>) {
        let (leader, before) = (self.leader().await, self.term().await);
        let start = Instant::now();
        self.replicas[leader].operator.send(Signal::SIGTERM);
        decided.push(self.another_term(before, start).await);
        self.replicas[leader].operator.end();
        self.replace(leader).await;
    }

    async fn freeze_leader(&mut self, run: usize, decided: &mut Vec<Duration>) {
        let (leader, before) = (self.leader().await, self.term().await);
        self.wait(run).await;
        let start = Instant::now();
        self.replicas[leader].operator.freeze();
        decided.push(self.another_term(before, start).await);
        self.replicas[leader].operator.resume();
        self.replicas[leader].operator.until_metrics(&["opamp_operator_leading 0"]).await;
        self.settle().await;
    }

    /// Cuts the replicas off from the API server, or that from its store; some agents leave meanwhile, which nobody can
    /// write.
    async fn take_away(&mut self, what: Away, time: Duration, right: &mut Vec<Duration>) {
        match what {
            Away::Server => self.replicas.iter().for_each(|replica| replica.way.turn(None)),
            Away::Store => self.plane.kill_store(),
        }
        for agents in &mut self.agents {
            agents.pop().expect("more agents than runs").stop().await;
        }
        tokio::time::sleep(time).await;
        match what {
            Away::Server => self.replicas.iter().for_each(|replica| replica.way.turn(Some(&self.server()))),
            // Until the API server answers again, which takes its own time to find its store.
            Away::Store => self.plane.start_store().await,
        }
        let (all, start) = (self.agents.iter().map(Vec::len).sum::<usize>(), Instant::now());
        self.group_says(i64::try_from(all).expect("few")).await;
        right.push(start.elapsed());
        self.settle().await;
    }

    fn server(&self) -> String {
        self.plane.address().to_string()
    }

    /// Cuts the leader alone off from the API server, until another one leads and its agents count as out of reach.
    async fn cut_leader(&mut self, run: usize, decided: &mut Vec<Duration>, right: &mut Vec<Duration>) {
        let (leader, before) = (self.leader().await, self.term().await);
        self.wait(run).await;
        let start = Instant::now();
        self.replicas[leader].way.turn(None);
        decided.push(self.another_term(before, start).await);
        self.group_says(i64::try_from(self.agents[1 - leader].len()).expect("few")).await;
        let start = Instant::now();
        self.replicas[leader].way.turn(Some(&self.server()));
        let all: usize = self.agents.iter().map(Vec::len).sum();
        self.group_says(i64::try_from(all).expect("few")).await;
        right.push(start.elapsed());
        self.settle().await;
    }

    /// Loses all that passes between a replica and its agents, and cuts no connection.
    async fn mute_agents(&mut self, known: &mut Vec<Duration>, back: &mut Vec<Duration>) {
        let start = Instant::now();
        self.replicas[0].door.silence();
        self.group_says(i64::try_from(self.agents[1].len()).expect("few")).await;
        known.push(start.elapsed());
        let start = Instant::now();
        self.replicas[0].door.turn(Some(&self.replicas[0].operator.opamp));
        self.settle().await;
        back.push(start.elapsed());
    }

    /// Starts another replica in the place of one that has ended, under another name as pods have it.
    async fn replace(&mut self, at: usize) {
        let identity = format!("replica-{}", self.started);
        self.started += 1;
        let kubeconfig = &self.replicas[at].kubeconfig;
        let operator = Operator::start_unhurried(&self.plane, NAMESPACE, &identity, kubeconfig).await;
        self.replicas[at].door.turn(Some(&operator.opamp));
        self.replicas[at].operator = operator;
        self.settle().await;
    }
}

fn agent(replica: usize, number: u8, door: &Switch) -> Simulated {
    let mut uid = [u8::try_from(replica).expect("two") + 1; 16];
    uid[15] = number;
    let profile = Profile::new(uid).with("test", "recovery");
    let endpoint = door.websocket().parse().expect("an endpoint");
    sim::spawn(sim::Agent::new(profile, Behaviour::Apply), endpoint, Pace::default())
}

/// Looks again and again until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    assert!(found.is_ok(), "waited {} s for {what}", PATIENCE.as_secs());
}

fn print(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let [least, .., most] = times[..] else { return };
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2;
    let (median, least, most) = (seconds(median), seconds(least), seconds(most));
    println!("| {what} | {} | {median} | {least} | {most} |", times.len());
}

/// What it was measured on.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores of {model}, load {load} before the start")
}
