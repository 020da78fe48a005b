//! Three replicas behind a real nginx that keeps no agent anywhere: real supervisors whose leader is killed in the
//! middle of the demo's rollout, and a rolling restart of the operator in the middle of another.

mod support;

use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use opamp_operator::api::{
    AgentSlice, CollectorGroup, ConfigRevision, ConfigRollout, ConfigRolloutStatus, REPLICA_LABEL,
    RolloutState,
};
use opamp_operator::sim::Behaviour;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::eventually;
use support::fleet::Fleet;
use support::resources::{Space, collector, events_of, group, inline, phased, until_events};
use support::supervisor::Supervisor;
use support::tap::Tap;
use support::trio::Trio;
use tokio::task::JoinHandle;

const NAMESPACE: &str = "trio";
/// How many simulated agents there are, in so many fleets.
const AGENTS: usize = 300;
const FLEETS: usize = 3;
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
    plane.kubectl(&["-n", NAMESPACE, "apply", "-f", "examples/"]).expect("applied");
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
fn fleets(trio: &Trio) -> Vec<Fleet> {
    let heartbeat = Duration::from_secs(1);
    let fleet = |key| {
        let mut fleet = Fleet::new(&trio.websocket(), "all", key, heartbeat);
        fleet.join(AGENTS / FLEETS, &Behaviour::Apply);
        fleet
    };
    (1..=u8::try_from(FLEETS).expect("few")).map(fleet).collect()
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
    let mut fleets = fleets(&trio);
    let all = i64::try_from(AGENTS).expect("few");
    space.apply(group("all", "all")).await;
    space.group_has("all", all).await;
    space.apply(soaking("one")).await;
    promoted(&space, "one").await;

    space.apply(soaking("two")).await;
    let is_soaking = |rollout: &ConfigRollout| {
        rollout.status.as_ref().is_some_and(|status| {
            status.state == RolloutState::Soaking && status.target_revision.as_deref() == Some("r-2")
        })
    };
    let before = space.until("r", "soaking with r-2", is_soaking).await.status.expect("a status");
    let history = History::of(&space, "r");
    let leader = trio.leader().await;
    let mut order: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    order.insert(if leader_first { 0 } else { 2 }, leader);
    for place in order {
        trio.replace(&plane, NAMESPACE, place).await;
    }
    for fleet in &mut fleets {
        fleet.are_connected().await;
    }
    let settled = |group: &CollectorGroup| counts(group) == Some([all, all, all, 0]);
    space.until::<CollectorGroup>("all", "as before", settled).await;
    eventually("the slices of replicas that have ended to be gone", async || {
        let slices = space.api::<AgentSlice>().list(&ListParams::default()).await.expect("slices").items;
        let of: BTreeSet<String> =
            slices.iter().filter_map(|slice| slice.labels().get(REPLICA_LABEL).cloned()).collect();
        of.iter()
            .all(|replica| ["replica-4", "replica-5", "replica-6"].contains(&replica.as_str()))
            .then_some(())
    })
    .await;
    let second = hash(&space, "r-2").await;
    let half = fleets.iter().map(|fleet| fleet.running(&second).len()).sum::<usize>();
    assert_eq!(half, AGENTS / 2);

    let done = promoted(&space, "two").await;
    assert_eq!((done.agents.updated, done.agents.failed, done.agents.total), (all, 0, all), "{done:?}");
    let soak = |status: &ConfigRolloutStatus| {
        let phase = status.current_phase.as_ref().filter(|phase| phase.index == 0);
        phase.map(|phase| phase.soak_until.clone())
    };
    for status in history.all() {
        assert_eq!((attempt(&status), status.agents.failed), (attempt(&before), 0), "{status:?}");
        assert!(soak(&status).is_none_or(|until| Some(until) == soak(&before)), "{status:?}");
    }
    for fleet in &fleets {
        assert!(fleet.offers().iter().all(|offers| offers.len() == 2), "each revision once");
        let connections = fleet.connections();
        assert!(connections.iter().all(|times| *times <= 4), "three replicas were ended: {connections:?}");
    }
    // Nobody is told twice by a leader that has just come into office.
    let told = until_events(&space, "r", &["Completed", "Soaking"], 2).await;
    assert_eq!(told.len(), 14, "{told:?}");
    nothing_was_rolled_back(&space, "r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_with_the_leader_first_changes_nothing_of_a_rollout() {
    rolling_restart(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_with_the_leader_last_changes_nothing_of_a_rollout() {
    rolling_restart(false).await;
}
