//! The operator is restarted in the middle of each state of a rollout, on a real API server, with fifty simulated
//! agents in each group: the rollout goes on where it was.

mod support;

use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use opamp_operator::api::{ConfigRevision, ConfigRollout, ConfigRolloutStatus, RolloutState};
use opamp_operator::sim::Behaviour;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use support::control_plane::ControlPlane;
use support::fleet::{Fleet, content};
use support::operator::Operator;
use support::resources::{Space, collector, group, inline, phased};

const AGENTS: usize = 50;
/// The canaries: 10%.
const CANARIES: usize = 5;
/// Often enough to wait for a few, and seldom enough for so many agents.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The states, each with the name of its group and rollout, and what its agents do with configurations.
fn states() -> [(RolloutState, &'static str, Behaviour); 10] {
    let fails = Behaviour::Fail("no such exporter".to_owned());
    [
        (RolloutState::Pending, "pending", Behaviour::Apply),
        (RolloutState::Progressing, "progressing", Behaviour::Silent),
        (RolloutState::Soaking, "soaking", Behaviour::Apply),
        (RolloutState::AwaitingApproval, "awaiting", Behaviour::Apply),
        (RolloutState::Paused, "paused", Behaviour::Apply),
        (RolloutState::RollingBack, "rolling-back", Behaviour::Apply),
        (RolloutState::Completed, "completed", Behaviour::Apply),
        (RolloutState::RolledBack, "rolled-back", Behaviour::Rollback),
        (RolloutState::Halted, "halted", fails),
        (RolloutState::Invalid, "invalid", Behaviour::Apply),
    ]
}

/// One group with its rollout.
struct Staged<'a> {
    space: &'a Space,
    state: RolloutState,
    fleet: Fleet,
}

/// What is known of a group and its rollout before a restart.
struct Before {
    status: ConfigRolloutStatus,
    offers: Vec<Vec<String>>,
    connections: Vec<usize>,
}

impl Staged<'_> {
    /// Applies a configuration, to the canaries first.
    async fn apply(&self, body: &str, canary: Value, paused: bool) {
        let mut first = json!({"name": "canary", "agents": "10%"});
        first.as_object_mut().expect("an object").extend(canary.as_object().cloned().expect("an object"));
        let phases = json!([first, {"name": "full", "agents": "100%"}]);
        let mut manifest = phased(&self.fleet.name, &self.fleet.name, inline(body), phases);
        manifest["spec"]["strategy"]["applyTimeout"] = json!("1h");
        manifest["spec"]["paused"] = json!(paused);
        self.space.apply(manifest).await;
    }

    async fn request(&self, what: &str, token: &str) {
        let annotations = json!({format!("fleet.opamp.dev/{what}"): token});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let rollouts = self.space.api::<ConfigRollout>();
        rollouts.patch(&self.fleet.name, &PatchParams::default(), &patch).await.expect("annotated");
    }

    /// Waits until the status is as wanted, for the spec as it is.
    async fn until(&self, what: &str, wanted: impl Fn(&ConfigRolloutStatus) -> bool) -> ConfigRolloutStatus {
        let fits = |rollout: &ConfigRollout| {
            let status = rollout.status.as_ref();
            status.is_some_and(|status| {
                status.observed_generation == rollout.metadata.generation && wanted(status)
            })
        };
        self.space.until(&self.fleet.name, what, fits).await.status.expect("a status")
    }

    async fn is(&self, state: RolloutState) -> ConfigRolloutStatus {
        self.until(&format!("{state:?}"), |status| status.state == state).await
    }

    async fn completed(&self, revision: usize) -> ConfigRolloutStatus {
        let name = format!("{}-{revision}", self.fleet.name);
        let done = |status: &ConfigRolloutStatus| {
            status.state == RolloutState::Completed && status.target_revision.as_ref() == Some(&name)
        };
        self.until(&format!("completed with {name}"), done).await
    }

    async fn hash(&self, revision: usize) -> String {
        let name = format!("{}-{revision}", self.fleet.name);
        self.space.api::<ConfigRevision>().get(&name).await.expect("a revision").spec.hash
    }

    /// The content that is being rolled out, or was last.
    async fn target(&self) -> String {
        let first = matches!(
            self.state,
            RolloutState::Progressing
                | RolloutState::Halted
                | RolloutState::Completed
                | RolloutState::Invalid
        );
        self.hash(if first { 1 } else { 2 }).await
    }

    /// Brings the rollout into its state.
    async fn arrange(&mut self) -> ConfigRolloutStatus {
        let (one, two) = (collector("one"), collector("two"));
        let manual = json!({"approval": "Manual"});
        let long = json!({"duration": "1h"});
        match self.state {
            RolloutState::Pending | RolloutState::Progressing | RolloutState::Halted => {
                self.apply(&one, manual, false).await;
            }
            state => {
                self.apply(&one, json!({}), false).await;
                self.completed(1).await;
                match state {
                    RolloutState::Soaking => self.apply(&two, long, false).await,
                    RolloutState::AwaitingApproval => self.apply(&two, manual, false).await,
                    RolloutState::RolledBack => self.apply(&two, json!({}), false).await,
                    RolloutState::Invalid => self.apply("{ not yaml", json!({}), false).await,
                    RolloutState::Paused => {
                        self.apply(&two, long.clone(), false).await;
                        self.is(RolloutState::Soaking).await;
                        self.apply(&two, long, true).await;
                    }
                    RolloutState::RollingBack => self.roll_back_slowly(&two, long).await,
                    _ => {}
                }
            }
        }
        self.is(self.state).await
    }

    /// The canaries hang, so that going back takes as long as they do.
    async fn roll_back_slowly(&mut self, body: &str, soak: Value) {
        self.apply(body, soak, false).await;
        self.is(RolloutState::Soaking).await;
        let canaries = self.fleet.offered(&self.hash(2).await);
        self.fleet.start_anew(&canaries, &Behaviour::Silent).await;
        self.fleet.hear(1).await;
        self.request("abort", "stop").await;
    }

    /// What is known before a restart.
    async fn before(&mut self) -> Before {
        self.fleet.hear(3).await;
        self.assert_offered().await;
        let status = self.is(self.state).await;
        Before { status, offers: contents(&self.fleet), connections: self.fleet.connections() }
    }

    /// Asserts that nothing is different after a restart, once all agents are back.
    async fn assert_as(&mut self, before: &Before) {
        self.fleet.return_after(&before.connections).await;
        self.stands_as(&before.status).await;
        self.fleet.hear(5).await;
        self.assert_offered().await;
        self.assert_not_offered_again(&before.offers);
    }

    /// Asserts that the status is what it was before the restart, and that its counts are true.
    async fn stands_as(&self, before: &ConfigRolloutStatus) {
        let state = self.state;
        let all = if state == RolloutState::Pending { 0 } else { AGENTS };
        let updated = match state {
            RolloutState::Pending => 0,
            _ => self.fleet.running(&self.target().await).len(),
        };
        let counted = |status: &ConfigRolloutStatus| {
            let agents = &status.agents;
            status.leader_term > before.leader_term
                && [agents.total, agents.eligible, agents.updated].map(usize::try_from)
                    == [Ok(all), Ok(all), Ok(updated)]
        };
        let what = format!("led anew, with {all} agents, {updated} of them updated");
        let after = self.until(&what, counted).await;
        let phase = |status: &ConfigRolloutStatus| {
            let current = status.current_phase.clone();
            current.map(|phase| (phase.index, phase.started_at, phase.soak_until, phase.paused_at))
        };
        assert_eq!(after.state, state, "{}", after.message);
        assert_eq!(after.cohort, before.cohort, "{state:?}: seed, terms and stage are kept");
        assert_eq!(phase(&after), phase(before), "{state:?}: no timer is lost or started anew");
        assert_eq!(after.phases, before.phases, "{state:?}");
        assert_eq!(after.target_revision, before.target_revision, "{state:?}");
        assert_eq!(after.stable_revision, before.stable_revision, "{state:?}");
        assert_eq!(after.agents.failed, before.agents.failed, "{state:?}: {}", after.message);
        assert_eq!(after.handled, before.handled, "{state:?}");
    }

    /// Who was offered the target: the cohort, and nobody else.
    async fn assert_offered(&self) {
        let expected = match self.state {
            RolloutState::Pending => 0,
            RolloutState::Completed | RolloutState::Invalid => AGENTS,
            _ => CANARIES,
        };
        if expected > 0 {
            let offered = self.fleet.offered(&self.target().await);
            assert_eq!(offered.len(), expected, "{:?}", self.state);
        }
    }

    /// Asserts that nothing was offered since but what had not been answered, and that once.
    fn assert_not_offered_again(&self, before: &[Vec<String>]) {
        for (agent, (now, before)) in contents(&self.fleet).iter().zip(before).enumerate() {
            let new = &now[before.len()..];
            let open = if self.fleet.has_answered(agent) { &[][..] } else { last(before) };
            assert!(new.is_empty() || new == open, "{:?}: agent {agent} was offered {new:?}", self.state);
        }
    }

    /// Brings the rollout out of its state.
    async fn go_on(&mut self, before: &ConfigRolloutStatus) {
        let everybody: BTreeSet<usize> = (0..AGENTS).collect();
        match self.state {
            RolloutState::Pending => {
                self.fleet.join(AGENTS, &Behaviour::Apply);
                self.is(RolloutState::AwaitingApproval).await;
                assert_eq!(self.fleet.offered(&self.hash(1).await).len(), CANARIES);
            }
            RolloutState::Progressing => {
                let canaries = self.fleet.offered(&self.hash(1).await);
                self.fleet.start_anew(&canaries, &Behaviour::Apply).await;
                self.is(RolloutState::AwaitingApproval).await;
                assert_eq!(self.fleet.running(&self.hash(1).await), canaries);
            }
            RolloutState::Soaking | RolloutState::AwaitingApproval => self.promote().await,
            RolloutState::Paused => {
                self.apply(&collector("two"), json!({"duration": "1h"}), false).await;
                let soaking = self.is(RolloutState::Soaking).await;
                let until = |status: &ConfigRolloutStatus| {
                    status.current_phase.clone().expect("a phase").soak_until.expect("a time")
                };
                assert!(until(&soaking) > until(before), "no soak time passed while it stood still");
                self.promote().await;
            }
            RolloutState::RollingBack => {
                let canaries = self.fleet.offered(&self.hash(2).await);
                self.fleet.start_anew(&canaries, &Behaviour::Apply).await;
                let back = self.is(RolloutState::RolledBack).await;
                assert_eq!(self.fleet.running(&self.hash(1).await), everybody, "{}", back.message);
            }
            RolloutState::Completed | RolloutState::Invalid => {
                self.apply(&collector("three"), json!({}), false).await;
                self.completed(2).await;
                assert_eq!(self.fleet.running(&self.hash(2).await), everybody);
            }
            RolloutState::RolledBack | RolloutState::Halted => self.retry(before).await,
            RolloutState::Unknown => unreachable!("this version writes no state that it does not know"),
        }
    }

    async fn promote(&self) {
        self.request("promote", "go").await;
        let completed = self.completed(2).await;
        assert_eq!(completed.agents.updated, 50, "{}", completed.message);
        let hash = self.hash(2).await;
        assert_eq!((self.fleet.running(&hash).len(), self.fleet.times_offered(&hash)), (AGENTS, AGENTS));
    }

    /// What was refused is offered again on request alone: after a rollback in a new attempt, else to the same agents.
    async fn retry(&self, before: &ConfigRolloutStatus) {
        let hash = self.target().await;
        let (offered, cohort) = (self.fleet.offered(&hash), before.cohort.clone().expect("a cohort"));
        self.request("retry", "again").await;
        let what = "what was refused to be offered again";
        support::eventually(what, async || (self.fleet.times_offered(&hash) >= 2 * CANARIES).then_some(()))
            .await;
        let retried = |status: &ConfigRolloutStatus| {
            status.handled.as_ref().is_some_and(|handled| handled.retry.as_deref() == Some("again"))
        };
        let after = self.until("retried", retried).await.cohort.expect("a cohort");
        if self.state == RolloutState::Halted {
            assert_eq!((after.attempt, after.seed, after.terms), (cohort.attempt, cohort.seed, cohort.terms));
            assert_eq!(self.fleet.offered(&hash), offered);
        } else {
            assert_eq!(after.attempt, cohort.attempt + 1);
            assert_ne!(after.seed, cohort.seed, "other agents are to suffer");
        }
    }
}

fn last(contents: &[String]) -> &[String] {
    &contents[contents.len().saturating_sub(1)..]
}

/// The contents that each agent was offered.
fn contents(fleet: &Fleet) -> Vec<Vec<String>> {
    fleet.offers().iter().map(|offers| offers.iter().map(content).collect()).collect()
}

/// Agents that are there before their rollout is.
async fn gather<'a>(
    space: &'a Space,
    operator: &Operator,
    key: u8,
    state: (RolloutState, &str, Behaviour),
) -> Staged<'a> {
    let (state, name, behaviour) = state;
    let mut fleet = Fleet::new(&operator.websocket(), name, key, HEARTBEAT);
    space.apply(group(name, name)).await;
    if state != RolloutState::Pending {
        fleet.join(AGENTS, &behaviour);
        space.group_has(name, AGENTS.try_into().expect("few")).await;
    }
    Staged { space, state, fleet }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_in_any_state_goes_on_where_it_was_after_the_operator_ends_and_after_it_is_killed() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "restarts").await;
    let mut operator = Operator::start(&plane, "restarts").await;
    let gathering = (1..).zip(states()).map(|(key, state)| gather(&space, &operator, key, state));
    let mut staged = join_all(gathering).await;
    join_all(staged.iter_mut().map(Staged::arrange)).await;

    for end in [Operator::end, Operator::kill] {
        let before = join_all(staged.iter_mut().map(Staged::before)).await;
        end(&mut operator);
        operator = Operator::start_on(&plane, "restarts", &operator.opamp.clone()).await;
        join_all(staged.iter_mut().zip(&before).map(|(one, before)| one.assert_as(before))).await;
    }
    let going_on = staged.iter_mut().map(async |one| {
        let before = one.is(one.state).await;
        one.go_on(&before).await;
    });
    join_all(going_on).await;
}
