//! One seed from beginning to end: a control plane, replicas, agents, a rollout, its faults, and what must hold.

use super::agents::{Agents, NAME};
use super::calm::{Account, Disturbance};
use super::evidence::too_little;
use super::inject::Victims;
use super::oracle::{self, History, Log, Truth, untrue};
use super::plan::{Content, Fault, Plan, REPLICAS, When};
use super::recorder::Recorder;
use super::replicas::Replicas;
use crate::support::control_plane::ControlPlane;
use crate::support::resources::{Space, collector, group, inline, phased};
use jiff::Timestamp;
use kube::api::ListParams;
use opamp_operator::api::{
    AgentSlice, ConfigRevision, ConfigRollout, ConfigRolloutStatus, REPLICA_LABEL, RevisionState,
    RolloutState,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the rollout may take for anything that is waited for, and all to be quiet after it. Generous: on a machine
/// that is busy with other things a Lease of 3 s is lost again and again.
const PATIENCE: Duration = Duration::from_mins(4);
/// How often it is looked.
const EVERY: Duration = Duration::from_millis(50);
/// For how long the counts must stay true, and how often it must be seen: a machine that stands still sees nothing.
const QUIET: Duration = Duration::from_secs(2);
const LOOKS: usize = 20;

/// How many answers each agent gets that has moved before it is judged: so many chances to offer it something.
const HEARD: usize = 3;

const SPACE: &str = "faults";
const ROLLOUT: &str = "r";

/// What came of a seed.
pub struct Report {
    /// The plan, and when what of it happened.
    pub told: String,
    /// What did not hold.
    pub wrong: Vec<String>,
    /// The machine kept up for long enough.
    pub conclusive: bool,
}

/// Runs a plan.
pub async fn run(plan: &Plan) -> Report {
    let mut plane = ControlPlane::start().await;
    let space = Space::new(&plane, SPACE).await;
    let replicas = Replicas::start(&plane, SPACE).await;
    let agents = Agents::start(plan, &replicas.switches).await;
    space.apply(group(NAME, NAME)).await;
    let recorder = Recorder::start(&plane.client, SPACE, ROLLOUT, NAME);
    let mut run = Run {
        plan,
        space,
        agents,
        recorder,
        told: plan.to_string(),
        disturbances: Vec::new(),
        began: Instant::now(),
        began_at: Timestamp::now(),
        target: None,
    };
    let outcome = run.through(&mut plane, replicas).await;
    let wrong = match outcome {
        Ok(()) => Vec::new(),
        Err(wrong) => wrong,
    };
    let wrong = [wrong, panics(&plane)].concat();
    let account = run.account();
    run.tell_what_was_excused(&account);
    if !wrong.is_empty() || std::env::var_os("KEEP").is_some() {
        run.keep(&plane);
        plane.keep_files();
        run.tell(&format!("the files are in {}", plane.dir().display()));
    }
    Report { told: run.told, wrong, conclusive: account.is_conclusive() }
}

struct Run<'a> {
    plan: &'a Plan,
    space: Space,
    agents: Agents,
    recorder: Recorder,
    told: String,
    disturbances: Vec<Disturbance>,
    began: Instant,
    began_at: Timestamp,
    /// The hash of the content that is rolled out under faults.
    target: Option<String>,
}

/// What is wrong, or that nothing is.
type Outcome = Result<(), Vec<String>>;

impl Run<'_> {
    async fn through(&mut self, plane: &mut ControlPlane, mut replicas: Replicas) -> Outcome {
        let stable = self.roll_out("one", self.plan.agents).await?;
        self.agents.refuse(self.plan);
        self.apply("two").await;
        let target = self.hash("r-2").await?;
        self.target = Some(target.clone());
        for fault in &self.plan.faults {
            self.reached(fault, &target).await?;
            self.tell(&format!("begins: {fault}"));
            let mut victims = Victims { plane, replicas: &mut replicas, agents: &self.agents };
            let disturbance = victims.undergo(fault).await;
            self.disturbances.push(disturbance);
            self.tell("ended");
            let wrong = [self.broken(&target), replicas.ended()].concat();
            if !wrong.is_empty() {
                return Err(wrong);
            }
        }
        let over = async |run: &Self| run.status().is_some_and(|status| is_over(&status));
        self.until("the rollout to end", over).await?;
        self.tell("the rollout has ended");
        self.ends_in_truth(&stable, &target).await?;
        self.tell("all is quiet");
        // Whoever refused the target refuses it everywhere, and whoever has what it must run is offered nothing. By
        // now all of that is known, so that nothing is excused.
        let moved_at = Timestamp::now();
        for home in 0..REPLICAS {
            replicas.lead_elsewhere(home);
            self.agents.moved(home);
        }
        self.agents.are_heard(HEARD).await;
        self.ends_in_truth(&stable, &target).await?;
        self.tell("all is quiet after every agent has moved to another replica");
        assert!(self.agents.roaming_polls() > REPLICAS, "some agents poll at all replicas in turn");
        let logs = self.agents.logs();
        let seen = self.recorder.with(|history| too_little(self.plan, &logs, &target, history, moved_at));
        let known = oracle::offered_although_known(&logs, moved_at);
        let wrong =
            [self.broken(&target), known, seen, self.left_behind(&replicas).await, replicas.ended()].concat();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Rolls a content out to everybody, without any fault.
    async fn roll_out(&mut self, mark: &str, agents: usize) -> Result<String, Vec<String>> {
        let connected = async |run: &Self| run.agents.connected() == agents;
        self.until("all agents to connect", connected).await?;
        self.space
            .apply(phased(
                ROLLOUT,
                NAME,
                inline(&collector(mark)),
                json!([{"name": "full", "agents": "100%"}]),
            ))
            .await;
        let hash = self.hash("r-1").await?;
        let all = async |run: &Self| {
            run.agents.running(&hash) == agents && run.state() == Some(RolloutState::Completed)
        };
        self.until("the first content to be everywhere", all).await?;
        self.tell("the first content is everywhere");
        Ok(hash)
    }

    async fn apply(&self, mark: &str) {
        let phases = json!([
            {"name": "canary", "agents": "5%", "duration": "2s"},
            {"name": "early", "agents": "25%", "duration": "2s"},
            {"name": "full", "agents": "100%"},
        ]);
        let mut manifest: Value = phased(ROLLOUT, NAME, inline(&collector(mark)), phases);
        manifest["spec"]["strategy"]["failureThreshold"] = json!(super::plan::THRESHOLD);
        manifest["spec"]["strategy"]["maxInFlight"] = json!(self.plan.max_in_flight);
        self.space.apply(manifest).await;
    }

    /// The hash of a revision, once it is there.
    async fn hash(&mut self, revision: &str) -> Result<String, Vec<String>> {
        let api = self.space.api::<ConfigRevision>();
        let there = async |_: &Self| api.get_opt(revision).await.is_ok_and(|found| found.is_some());
        self.until("the revision", there).await?;
        Ok(api.get(revision).await.map_err(|error| vec![error.to_string()])?.spec.hash)
    }

    /// Waits for the moment of a fault, or the end of the rollout.
    async fn reached(&self, fault: &Fault, target: &str) -> Outcome {
        let here = async |run: &Self| {
            let status = run.status().filter(|status| status.target_revision.as_deref() == Some("r-2"));
            let Some(status) = status else { return false };
            let phase = status.current_phase.as_ref().map_or(-1, |current| current.index);
            is_over(&status)
                || match fault.when {
                    When::Phase(index) => phase >= i64::try_from(index).expect("few phases"),
                    When::Offered(agents) => run.agents.offered(target) >= agents,
                    When::Updated(agents) => run.agents.running(target) >= agents,
                    When::RollingBack => status.state == RolloutState::RollingBack,
                    When::Over => false,
                }
        };
        self.until(&format!("the moment when {}", fault.when), here).await
    }

    /// Waits until the rollout has ended as it must, every agent runs what it must, and the counts say so and stay.
    async fn ends_in_truth(&self, stable: &str, target: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let (mut true_since, mut looks) = (Instant::now(), 0);
        loop {
            let wrong = self.untruths(stable, target).await;
            if !wrong.is_empty() {
                (true_since, looks) = (Instant::now(), 0);
            } else if looks >= LOOKS && true_since.elapsed() > QUIET {
                return Ok(());
            } else {
                looks += 1;
            }
            if Instant::now() > deadline {
                return Err(wrong);
            }
            sleep(EVERY).await;
        }
    }

    async fn untruths(&self, stable: &str, target: &str) -> Vec<String> {
        let logs = self.agents.logs();
        let back = self.plan.content == Content::Bad;
        let truth = Truth {
            agents: self.plan.agents,
            updated: logs.iter().filter(|log| log.runs() == Some(target)).count(),
            refused: logs.iter().filter(|log| log.refused(target)).count(),
            may_be_lost: if back { oracle::may_be_lost(&logs, target, &self.disturbances()) } else { 0 },
            state: if back { RolloutState::RolledBack } else { RolloutState::Completed },
        };
        let mut wrong = Vec::new();
        for log in &logs {
            let refuses = self.plan.refusers.contains(&log.agent);
            let wanted = if back || refuses { stable } else { target };
            if log.runs() != Some(wanted) || !log.is_connected() {
                wrong.push(format!(
                    "agent {} should run {wanted} and runs {:?}; connected: {}",
                    log.agent,
                    log.runs(),
                    log.is_connected()
                ));
            }
        }
        if wrong.len() > 5 {
            let more = wrong.len() - 5;
            wrong.truncate(5);
            wrong.push(format!("and {more} more"));
        }
        let (rollout, group) = self.recorder.with(|history| (last_status(history), last_group(history)));
        let (Some(rollout), Some(group)) = (rollout, group) else { return vec!["no status".to_owned()] };
        wrong.extend(untrue(&rollout, &group, &truth));
        let names = (rollout.target_revision.as_deref(), rollout.stable_revision.as_deref());
        let wanted = (Some("r-2"), Some(if back { "r-1" } else { "r-2" }));
        if names != wanted {
            wrong.push(format!("target and stable are {names:?} and should be {wanted:?}"));
        }
        let state = if back { RevisionState::Rejected } else { RevisionState::Proven };
        match self.space.api::<ConfigRevision>().get("r-2").await.map(|revision| revision.status) {
            Ok(Some(status)) if status.state == state => {}
            other => wrong.push(format!("the state of r-2 should be {state:?}: {other:?}")),
        }
        wrong
    }

    /// Slices of replicas that are no more, which the leader deletes.
    async fn left_behind(&self, replicas: &Replicas) -> Vec<String> {
        let names = replicas.identities();
        let api = self.space.api::<AgentSlice>();
        let gone = async |_: &Self| {
            let Ok(slices) = api.list(&ListParams::default().labels(REPLICA_LABEL)).await else {
                return false;
            };
            let mut owners =
                slices.items.iter().filter_map(|slice| slice.metadata.labels.as_ref()?.get(REPLICA_LABEL));
            owners.all(|owner| names.contains(&owner.as_str()))
        };
        self.until("the slices of replicas that are no more to be gone", gone).await.err().unwrap_or_default()
    }

    /// What must hold at any moment.
    fn broken(&self, target: &str) -> Vec<String> {
        let logs: Vec<Log> = self.agents.logs();
        let outside = self.recorder.with(|history| {
            history.last_of("r-2").map(|status| oracle::outside_the_cohort(&logs, target, status))
        });
        [
            outside.unwrap_or_default(),
            oracle::offered_twice(&logs),
            oracle::offered_after_a_refusal(&logs, &self.disturbances()),
            self.recorder.with(|history| history.wrong(&logs)),
        ]
        .concat()
    }

    /// Tells how much of the oracle's judgement was excused.
    fn tell_what_was_excused(&mut self, account: &Account) {
        self.tell(&account.to_string());
        let logs = self.agents.logs();
        let Some(target) = self.target.clone() else { return };
        let refused = logs.iter().filter(|log| log.refused(&target)).count();
        let by_faults = oracle::may_be_lost(&logs, &target, &self.disturbances);
        let all = oracle::may_be_lost(&logs, &target, &self.disturbances());
        self.tell(&format!(
            "{refused} agents refused the target; it is excused that {by_faults} of these refusals were not told in \
             time because of faults, and {} more because of the machine, until all moved in the end",
            all.saturating_sub(by_faults)
        ));
    }

    /// How much of the time was disturbed, and by what.
    fn account(&self) -> Account {
        Account::new(self.began_at, Timestamp::now(), &self.disturbances, &self.recorder.slow())
    }

    /// The faults, and what the machine did by itself.
    fn disturbances(&self) -> Vec<Disturbance> {
        [self.disturbances.clone(), self.recorder.slow()].concat()
    }

    fn status(&self) -> Option<ConfigRolloutStatus> {
        self.recorder.with(last_status)
    }

    fn state(&self) -> Option<RolloutState> {
        self.status().map(|status| status.state)
    }

    async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self).await {
            if Instant::now() > deadline {
                let status = self.status().map(|status| status.message);
                return Err(vec![format!(
                    "waited {} s for {what}; the rollout says {status:?}",
                    PATIENCE.as_secs()
                )]);
            }
            sleep(EVERY).await;
        }
        Ok(())
    }

    /// Writes down beside the replicas' logs what was seen, for a person to look at.
    fn keep(&self, plane: &ControlPlane) {
        let lines = |states: Vec<String>| states.join("\n");
        let rollouts = self.recorder.with(|history| {
            lines(history.rollouts.iter().filter_map(|state| serde_json::to_string(state).ok()).collect())
        });
        let groups = self.recorder.with(|history| {
            lines(history.groups.iter().filter_map(|state| serde_json::to_string(state).ok()).collect())
        });
        let entry = |entry: &oracle::Entry| format!("  {} {:?}", entry.at, entry.what);
        let of =
            |log: &Log| format!("agent {}\n{}", log.agent, lines(log.entries.iter().map(entry).collect()));
        let agents = lines(self.agents.logs().iter().map(of).collect());
        // Not there if the API server is not.
        let slices = plane.kubectl(&["get", "agentslices", "--all-namespaces", "--output=json"]);
        let slices = slices.unwrap_or_else(|error| error);
        for (name, text) in [
            ("rollouts.json", rollouts),
            ("groups.json", groups),
            ("agents.txt", agents),
            ("slices.json", slices),
        ] {
            // Whoever looks misses it; the run has failed for another reason.
            let _ = std::fs::write(plane.dir().join(name), text);
        }
    }

    fn tell(&mut self, what: &str) {
        let _ = writeln!(self.told, "  {:5.1} s {what}", self.began.elapsed().as_secs_f64());
    }
}

fn last_status(history: &History) -> Option<ConfigRolloutStatus> {
    history.rollouts.last().and_then(|rollout: &ConfigRollout| rollout.status.clone())
}

fn last_group(history: &History) -> Option<opamp_operator::api::CollectorGroupStatus> {
    history.groups.last().and_then(|group| group.status.clone())
}

fn is_over(status: &ConfigRolloutStatus) -> bool {
    matches!(status.state, RolloutState::Completed | RolloutState::RolledBack | RolloutState::Halted)
}

/// Replicas that have panicked, by their logs.
fn panics(plane: &ControlPlane) -> Vec<String> {
    let files = std::fs::read_dir(plane.dir()).into_iter().flatten().flatten();
    let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("operator-"));
    let panicked = |file: &std::fs::DirEntry| {
        std::fs::read(file.path()).is_ok_and(|log| String::from_utf8_lossy(&log).contains("panicked"))
    };
    logs.filter(panicked).map(|file| format!("a replica panicked: {}", file.path().display())).collect()
}
