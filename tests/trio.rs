//! Three replicas behind a real nginx that keeps no agent anywhere: real supervisors whose leader is killed in the
//! middle of the demo's rollout, and a rolling restart of the operator in the middle of another. And one replica whose
//! agents all come back to it at the same time.

mod support;

use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use opamp_operator::api::{
    AgentSlice, CollectorGroup, ConfigRevision, ConfigRollout, ConfigRolloutStatus, CurrentPhase,
    REPLICA_LABEL, RolloutState,
};
use opamp_operator::sim::{Behaviour, Refused};
use serde_json::{Value, json};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::control_plane::ControlPlane;
use support::eventually;
use support::fleet::Fleet;
use support::operator::{Operator, is_free};
use support::resources::{Space, collector, events_of, group, inline, phased};
use support::supervisor::Supervisor;
use support::tap::Tap;
use support::trio::Trio;
use tokio::task::JoinHandle;

const NAMESPACE: &str = "trio";
/// How many simulated agents there are, in so many fleets.
const AGENTS: usize = 300;
const FLEETS: usize = 3;
const ALL: i64 = 300;
/// By how much they divide the pauses that they are told: those are half a minute to one.
const HASTE: u32 = 60;
/// How many connections a replica lets in within a second, where that is limited; ten times as many at once.
const RATE: u32 = 10;
/// The environments of the demo's three Collectors, and its good and its bad change.
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];
const GOOD: &str = r#"{"data": {"exporters.yaml": "exporters: {debug: {verbosity: basic}}"}}"#;
const BAD: &str = r#"{"data": {"exporters.yaml": "exporters: {debug: {verbosity: basic, colour: red}}"}}"#;

/// A real supervisor with a real Collector, and what is said on its connections.
struct Agent {
    supervisor: Supervisor,
    tap: Tap,
}

impl Agent {
    async fn start(plane: &ControlPlane, trio: &Trio, environment: &str) -> Self {
        let tap = Tap::start(&trio.address).await;
        let attributes = [("deployment.environment.name", environment)];
        Self { supervisor: Supervisor::start(plane.dir(), environment, &tap.endpoint, &attributes), tap }
    }

    /// What it was offered, oldest first.
    fn offered(&self) -> Vec<String> {
        let content = |hash: &[u8]| hex::encode(hash.get(..32).unwrap_or_default());
        self.tap.offers().iter().map(|offer| content(&offer.config_hash)).collect()
    }
}

async fn reached(space: &Space, revision: &str, state: RolloutState) -> ConfigRolloutStatus {
    let there = |rollout: &ConfigRollout| {
        rollout.status.as_ref().is_some_and(|status| {
            status.state == state && status.target_revision.as_deref() == Some(revision)
        })
    };
    space.until("checkout", &format!("{state:?} with {revision}"), there).await.status.expect("a status")
}

async fn hash(space: &Space, revision: &str) -> String {
    space.api::<ConfigRevision>().get(revision).await.expect("a revision").spec.hash
}

/// Waits until the group counts three agents that are well and in sync, and nobody else.
async fn all_are_well(space: &Space) {
    let well = |group: &CollectorGroup| {
        group.status.as_ref().is_some_and(|status| {
            let agents = &status.agents;
            let counts = [agents.matched, agents.connected, agents.healthy, agents.in_sync];
            counts == [3; 4] && (agents.drifted, agents.offline) == (0, 0)
        })
    };
    space.until::<CollectorGroup>("checkout", "three agents, well and in sync", well).await;
}

fn change(plane: &ControlPlane, patch: &str) {
    let args = ["-n", NAMESPACE, "patch", "configmap", "exporters", "--type=merge", "-p", patch];
    plane.kubectl(&args).expect("patched");
}

/// The demo, whose leader is killed while the good change soaks on the canary, and whose next leader is killed while the
/// canary tries the bad one.
#[tokio::test(flavor = "multi_thread")]
async fn demos_rollouts_end_as_ever_when_their_leaders_are_killed() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, NAMESPACE).await;
    let mut trio = Trio::start(&plane, NAMESPACE).await;
    let mut agents = Vec::new();
    for environment in ENVIRONMENTS {
        agents.push(Agent::start(&plane, &trio, environment).await);
    }
    plane.kubectl(&["-n", NAMESPACE, "apply", "-f", "examples/first/"]).expect("applied");
    reached(&space, "checkout-1", RolloutState::Completed).await;
    let first = hash(&space, "checkout-1").await;

    change(&plane, GOOD);
    let before = reached(&space, "checkout-2", RolloutState::Soaking).await;
    let dead = kill_leader(&mut trio, &space, RolloutState::Completed).await;
    let after = reached(&space, "checkout-2", RolloutState::Completed).await;
    assert!(after.leader_term > before.leader_term, "another replica has completed it: {after:?}");
    assert_eq!((after.agents.updated, after.agents.failed, after.agents.total), (3, 0, 3), "{after:?}");
    assert_eq!(attempt(&after), attempt(&before));
    assert_eq!(after.stable_revision.as_deref(), Some("checkout-2"));
    all_are_well(&space).await;
    let second = hash(&space, "checkout-2").await;
    for agent in &agents {
        assert_eq!(agent.offered(), [&*first, &second], "each once, whichever replica the agent came to");
    }
    assert_all_run_the_good_change(&agents);
    nothing_was_rolled_back(&space, "checkout").await;

    trio.start_again(&plane, NAMESPACE, dead).await;
    change(&plane, BAD);
    let begun = |rollout: &ConfigRollout| {
        let status = rollout.status.as_ref().filter(|status| status.current_phase.is_some());
        status.is_some_and(|status| status.target_revision.as_deref() == Some("checkout-3"))
    };
    space.until("checkout", "under way with checkout-3", begun).await;
    kill_leader(&mut trio, &space, RolloutState::RolledBack).await;
    let rolled_back = reached(&space, "checkout-3", RolloutState::RolledBack).await;
    assert!(rolled_back.leader_term > after.leader_term, "another replica has ended it: {rolled_back:?}");
    assert_eq!(rolled_back.stable_revision.as_deref(), Some("checkout-2"));
    all_are_well(&space).await;
    let third = hash(&space, "checkout-3").await;
    let mut offered: Vec<_> = agents.iter().map(Agent::offered).collect();
    offered.sort_by_key(Vec::len);
    let all = [&*first, &second, &third, &second];
    assert_eq!(offered, [&all[..2], &all[..2], &all], "one agent alone was offered the bad change, and once");
    assert_all_run_the_good_change(&agents);
}

/// Kills the replica that leads, before the rollout has come to this state; its place.
async fn kill_leader(trio: &mut Trio, space: &Space, end: RolloutState) -> usize {
    let leader = trio.leader().await;
    trio.kill(leader);
    let status = space.api::<ConfigRollout>().get("checkout").await.expect("a rollout").status;
    assert_ne!(status.map(|status| status.state), Some(end), "the leader was to die in mid-rollout");
    leader
}

fn assert_all_run_the_good_change(agents: &[Agent]) {
    for agent in agents {
        let effective = agent.supervisor.effective();
        let good = effective.contains("verbosity: basic") && !effective.contains("colour");
        assert!(good, "a Collector runs {effective}");
    }
}

async fn nothing_was_rolled_back(space: &Space, rollout: &str) {
    let told = events_of(space, rollout).await;
    assert!(told.iter().all(|(_, note)| !note.contains("rolled back")), "{told:?}");
}

fn attempt(status: &ConfigRolloutStatus) -> Option<i64> {
    status.cohort.as_ref().map(|cohort| cohort.attempt)
}

/// Every status that a rollout has had since this was started.
struct History {
    seen: Arc<Mutex<Vec<ConfigRolloutStatus>>>,
    task: JoinHandle<()>,
}

impl History {
    fn of(space: &Space, rollout: &str) -> Self {
        let seen: Arc<Mutex<Vec<ConfigRolloutStatus>>> = Arc::default();
        let (api, only) =
            (space.api::<ConfigRollout>(), Config::default().fields(&format!("metadata.name={rollout}")));
        let writer = seen.clone();
        let task = tokio::spawn(async move {
            let mut changes = pin!(watcher(api, only).applied_objects());
            while let Some(change) = changes.next().await {
                // A watch that broke off begins again.
                let status = change.ok().and_then(|rollout| rollout.status);
                writer.lock().expect("not poisoned").extend(status);
            }
        });
        Self { seen, task }
    }

    fn all(&self) -> Vec<ConfigRolloutStatus> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// So many simulated agents in several fleets.
fn fleets(endpoint: &str) -> Vec<Fleet> {
    let heartbeat = Duration::from_secs(1);
    let fleet = |key| {
        let mut fleet = Fleet::new(endpoint, "all", key, heartbeat).hasty(HASTE);
        fleet.join(AGENTS / FLEETS, &Behaviour::Apply);
        fleet
    };
    (1..=u8::try_from(FLEETS).expect("few")).map(fleet).collect()
}

/// A rollout in mid-soak, and the simulated agents that it goes to.
struct Soak {
    fleets: Vec<Fleet>,
    before: ConfigRolloutStatus,
    history: History,
}

impl Soak {
    /// Waits until half of the agents soak with a second revision; all run the first.
    async fn begin(space: &Space, fleets: Vec<Fleet>) -> Self {
        space.apply(group("all", "all")).await;
        space.group_has("all", ALL).await;
        space.apply(soaking("one")).await;
        promoted(space, "one").await;
        space.apply(soaking("two")).await;
        let is_soaking = |rollout: &ConfigRollout| {
            rollout.status.as_ref().is_some_and(|status| {
                status.state == RolloutState::Soaking && status.target_revision.as_deref() == Some("r-2")
            })
        };
        let before = space.until("r", "soaking with r-2", is_soaking).await.status.expect("a status");
        Self { fleets, before, history: History::of(space, "r") }
    }

    /// Waits until replicas with these identities have all agents and nobody else is left, and asserts that nothing
    /// has become of the rollout meanwhile; then it goes on to its end. An agent has connected so often at most.
    async fn assert_as_before(mut self, space: &Space, identities: &[&str], most_connections: usize) {
        for fleet in &mut self.fleets {
            fleet.are_connected().await;
        }
        let settled = |group: &CollectorGroup| counts(group) == Some([ALL, ALL, ALL, 0]);
        space.until::<CollectorGroup>("all", "as before", settled).await;
        eventually("the slices of replicas that have ended to be gone", async || {
            let slices = space.api::<AgentSlice>().list(&ListParams::default()).await.expect("slices").items;
            let mut of = slices.iter().filter_map(|slice| slice.labels().get(REPLICA_LABEL));
            of.all(|replica| identities.contains(&replica.as_str())).then_some(())
        })
        .await;
        let second = hash(space, "r-2").await;
        assert_eq!(self.fleets.iter().map(|fleet| fleet.running(&second).len()).sum::<usize>(), AGENTS / 2);
        let done = promoted(space, "two").await;
        assert_eq!((done.agents.updated, done.agents.failed, done.agents.total), (ALL, 0, ALL), "{done:?}");
        let soak_until = first_phase(&self.before).and_then(|phase| phase.soak_until.clone());
        for status in self.history.all() {
            assert_eq!((attempt(&status), status.agents.failed), (attempt(&self.before), 0), "{status:?}");
            let stays = |phase: &CurrentPhase| phase.soak_until == soak_until;
            assert!(first_phase(&status).is_none_or(stays), "{status:?}");
        }
        for fleet in &self.fleets {
            assert!(fleet.offers().iter().all(|offers| offers.len() == 2), "each revision once");
            let connections = fleet.connections();
            assert!(connections.iter().all(|times| *times <= most_connections), "{connections:?}");
        }
        let told = eventually("the end to be told", async || {
            let told = events_of(space, "r").await;
            told.iter()
                .any(|(reason, note)| reason == "Completed" && note.starts_with("r-2 "))
                .then_some(told)
        })
        .await;
        // Seven of each revision. One who is killed may not tell the last; nobody who comes into office tells it again.
        assert!(told.len() <= 14, "{told:?}");
        nothing_was_rolled_back(space, "r").await;
    }
}

/// The first phase, while it is under way.
fn first_phase(status: &ConfigRolloutStatus) -> Option<&CurrentPhase> {
    status.current_phase.as_ref().filter(|phase| phase.index == 0)
}

/// A rollout that soaks until somebody promotes it: how long a restart takes does not matter then.
fn soaking(mark: &str) -> Value {
    let phases =
        json!([{"name": "half", "agents": "50%", "duration": "10m"}, {"name": "full", "agents": "100%"}]);
    phased("r", "all", inline(&collector(mark)), phases)
}

async fn promoted(space: &Space, token: &str) -> ConfigRolloutStatus {
    space.rollout_is("r", RolloutState::Soaking).await;
    let promote = json!({"metadata": {"annotations": {"fleet.opamp.dev/promote": format!("full-{token}")}}});
    let rollouts = space.api::<ConfigRollout>();
    rollouts.patch("r", &PatchParams::default(), &Patch::Merge(promote)).await.expect("promoted");
    space.rollout_is("r", RolloutState::Completed).await.status.expect("a status")
}

/// The group's counts: matched, connected, healthy, offline.
fn counts(group: &CollectorGroup) -> Option<[i64; 4]> {
    let agents = &group.status.as_ref()?.agents;
    Some([agents.matched, agents.connected, agents.healthy, agents.offline])
}

/// Replaces each replica by another one, the leader first or last, while half of the agents soak.
async fn rolling_restart(leader_first: bool) {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, NAMESPACE).await;
    let mut trio = Trio::start(&plane, NAMESPACE).await;
    let soak = Soak::begin(&space, fleets(&trio.websocket())).await;
    let leader = trio.leader().await;
    let mut order: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    order.insert(if leader_first { 0 } else { 2 }, leader);
    for place in order {
        trio.replace(&plane, NAMESPACE, place).await;
    }
    // Once, and once again for each replica that has ended.
    soak.assert_as_before(&space, &["replica-4", "replica-5", "replica-6"], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_with_the_leader_first_changes_nothing_of_a_rollout() {
    rolling_restart(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_with_the_leader_last_changes_nothing_of_a_rollout() {
    rolling_restart(false).await;
}

fn number(agents: usize) -> f64 {
    f64::from(u32::try_from(agents).expect("few"))
}

/// How many WebSockets a replica has.
async fn sockets(replica: &Operator) -> Option<usize> {
    let (_, metrics) = replica.get("/metrics").await?;
    metrics.lines().find_map(|line| line.strip_prefix("opamp_websocket_active_connections ")?.parse().ok())
}

/// A pod that is deleted: it turns unready at once, and ends one connection after the other.
#[tokio::test(flavor = "multi_thread")]
async fn replica_that_is_told_to_stop_turns_unready_and_hands_over_one_agent_after_the_other() {
    let period = Duration::from_secs(3);
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, NAMESPACE).await;
    let mut trio = Trio::start_with(&plane, NAMESPACE, &["--drain-period=3s"]).await;
    let mut fleets = fleets(&trio.websocket());
    space.apply(group("all", "all")).await;
    space.group_has("all", ALL).await;
    let leaving = trio.replica(1);
    let its = sockets(leaving).await.expect("metrics");
    assert!(its > AGENTS / 6, "agents are spread: {its}");
    let begin = Instant::now();
    leaving.ask_to_end();
    let unready = eventually("the replica to turn unready", async || {
        let (code, why) = leaving.get("/readyz").await?;
        (code != 200).then_some((code, why))
    })
    .await;
    assert!(unready.0 == 503 && unready.1.contains("told to stop"), "{unready:?}");
    assert!(sockets(leaving).await.is_some_and(|left| left > 0), "agents are served until their turn comes");
    let pause = (period / u32::try_from(its).expect("few")).min(Duration::from_millis(50));
    eventually("each of its agents to be with another replica", async || {
        let moved = fleets.iter().flat_map(Fleet::connections).sum::<usize>() - AGENTS;
        // However slow this is: the first at once, and then one after each pause.
        let most = begin.elapsed().as_secs_f64() / pause.as_secs_f64() + 1.0;
        assert!(number(moved) <= most, "{moved} have moved, and {most} may have");
        (moved == its && leaving.has_ended()).then_some(())
    })
    .await;
    for fleet in &mut fleets {
        fleet.are_connected().await;
        assert!(fleet.connections().iter().all(|times| *times <= 2), "one reconnect each");
    }
    let settled = |group: &CollectorGroup| counts(group) == Some([ALL, ALL, ALL, 0]);
    space.until::<CollectorGroup>("all", "as before", settled).await;
}

async fn replica(plane: &ControlPlane, identity: &str, address: &str, rate: u32) -> Operator {
    let flags = [
        "--agent-auth=none".to_owned(),
        format!("--agent-namespace={NAMESPACE}"),
        format!("--identity={identity}"),
        format!("--max-connection-rate={rate}"),
    ];
    let flags = flags.each_ref().map(String::as_str);
    Operator::start_guarded_on(plane, NAMESPACE, address, &flags, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_lose_their_server_come_back_within_its_limit_and_nothing_else_changes() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, NAMESPACE).await;
    let mut first = replica(&plane, "replica-1", "127.0.0.2:0", 1000).await;
    let soak = Soak::begin(&space, fleets(&first.websocket())).await;
    first.kill();
    let begin = Instant::now();
    is_free(&first.opamp).await;
    let _second = replica(&plane, "replica-2", &first.opamp, RATE).await;
    eventually("everybody to be back", async || {
        let back: usize = soak.fleets.iter().flat_map(Fleet::connections).map(|times| times - 1).sum();
        // However slow this is: so many may come at once, and so many in each second since.
        let most = f64::from(RATE) * (10.0 + begin.elapsed().as_secs_f64());
        assert!(number(back) <= most, "{back} are back, and {most} may be");
        (back == AGENTS).then_some(())
    })
    .await;
    let refusals: Vec<Refused> = soak.fleets.iter().flat_map(Fleet::refusals).collect();
    assert!(!refusals.is_empty());
    for refusal in refusals {
        let told = refusal.retry_after.is_some_and(|pause| (30..=60).contains(&pause.as_secs()));
        assert!(refusal.status == 503 && told, "{refusal:?}");
    }
    soak.assert_as_before(&space, &["replica-2"], 2).await;
}
