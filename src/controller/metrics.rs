//! What the leader tells in metrics: how groups and rollouts stand, what steps brought about, and how reconciles end.

use super::context::{Error, Leader, LeaseLost, claim};
use super::lock::lock;
use crate::api::{
    CollectorGroup, ConfigRollout, ConfigRolloutStatus, PhaseOutcome, Reason, RestartStatus,
    RolloutAgentCounts, RolloutState, Stage,
};
use crate::rollout::{Milestone, holder, milestones, stalled};
use crate::telemetry::{AttemptEnd, FleetMetrics, GroupCounts, RolloutCounts, RolloutMetrics};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The states that a rollout may be in, by their names in a status.
const STATES: [(&str, RolloutState); 10] = [
    ("Pending", RolloutState::Pending),
    ("Progressing", RolloutState::Progressing),
    ("Soaking", RolloutState::Soaking),
    ("AwaitingApproval", RolloutState::AwaitingApproval),
    ("Paused", RolloutState::Paused),
    ("RollingBack", RolloutState::RollingBack),
    ("Completed", RolloutState::Completed),
    ("RolledBack", RolloutState::RolledBack),
    ("Halted", RolloutState::Halted),
    ("Invalid", RolloutState::Invalid),
];
/// Why a rollout cannot go on though its state does not say so.
const STALLED: [Reason; 4] = [
    Reason::GroupTaken,
    Reason::RevisionRejected,
    Reason::ProgressDeadlineExceeded,
    Reason::ConnectivityLost,
];

/// Ends what is told of the fleet when it is dropped.
pub struct Silence {
    /// What is told of groups.
    pub fleet: FleetMetrics,
    /// What is told of rollouts.
    pub rollouts: RolloutMetrics,
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.fleet.tell([]);
        self.rollouts.tell(&[]);
    }
}

impl Leader {
    /// Tells in metrics what the statuses of groups and rollouts tell.
    pub(super) fn tell_metrics(&self) {
        let groups = self.stores.groups.state();
        let readable = groups.iter().filter_map(|group| group.0.as_ref().ok());
        let told: Vec<_> = readable.map(|group| group_states(group)).collect();
        self.fleet_metrics.tell(told.iter().map(|(namespace, group, states, drifted, quarantined)| {
            GroupCounts { namespace, group, states, drifted: *drifted, quarantined: *quarantined }
        }));
        let rollouts = self.stores.rollouts.state();
        let readable: Vec<&ConfigRollout> =
            rollouts.iter().filter_map(|rollout| rollout.0.as_ref().ok().map(|rollout| &**rollout)).collect();
        self.rollout_metrics.tell(&rollout_counts(&readable));
    }

    /// Takes in what a step that has been written brought about.
    pub(super) fn count_step(
        &self,
        rollout: &ConfigRollout,
        prior: &ConfigRolloutStatus,
        next: &ConfigRolloutStatus,
    ) {
        let id = rollout.uid().unwrap_or_default();
        let mut furthest = lock(&self.furthest);
        if !furthest.contains_key(&id) {
            // Those of rollouts that are no more go when another one comes.
            let stores = &self.stores.rollouts;
            furthest.retain(|id, _| stores.find(|known| known.uid().as_ref() == Some(id)).is_some());
        }
        let known = furthest.entry(id).or_default();
        let (now, reached) = milestones(*known, prior, next, Timestamp::now());
        *known = now;
        drop(furthest);
        for milestone in reached {
            count(&self.rollout_metrics, milestone);
        }
    }

    /// Takes in what became of agents whose restart a person had asked for, once it has been written.
    pub(super) fn count_restarts(&self, prior: Option<&RestartStatus>, next: Option<&RestartStatus>) {
        let Some(next) = next else { return };
        let prior = prior.filter(|prior| (&prior.token, &prior.seed) == (&next.token, &next.seed));
        let (restarted, failed) = prior.map_or((0, 0), |prior| (prior.restarted, prior.failed));
        let more = |now: i64, before: i64| u64::try_from(now - before).unwrap_or_default();
        self.fleet_metrics.restarted(more(next.restarted, restarted), more(next.failed, failed));
    }
}

/// Runs a reconcile, and counts it.
pub async fn counted(
    kind: &'static str,
    leader: Arc<Leader>,
    reconcile: impl Future<Output = Result<Action, Error>>,
) -> Result<Action, Error> {
    let began = Instant::now();
    let ended = reconcile.await;
    leader.control_metrics.reconciled(kind, began.elapsed(), ended.as_ref().err().map(reason));
    ended
}

type GroupStates = (String, String, [(&'static str, i64); 9], i64, i64);

fn group_states(group: &CollectorGroup) -> GroupStates {
    let agents = group.status.as_ref().map(|status| status.agents.clone()).unwrap_or_default();
    let states = [
        ("matched", agents.matched),
        ("connected", agents.connected),
        ("healthy", agents.healthy),
        ("in_sync", agents.in_sync),
        ("drifted", agents.drifted),
        ("failed", agents.failed),
        ("quarantined", agents.quarantined),
        ("unknown", agents.unknown),
        ("offline", agents.offline),
    ];
    let namespace = group.namespace().unwrap_or_default();
    (namespace, group.name_any(), states, agents.drifted, agents.quarantined)
}

/// What there is to tell of all rollouts.
fn rollout_counts(rollouts: &[&ConfigRollout]) -> Vec<RolloutCounts> {
    let mut by_group: BTreeMap<_, Vec<&ConfigRollout>> = BTreeMap::new();
    for rollout in rollouts {
        by_group.entry((&rollout.metadata.namespace, &rollout.spec.group_name)).or_default().push(rollout);
    }
    let of_group = |rollouts: Vec<&ConfigRollout>| {
        let claims = rollouts.iter().filter_map(|rollout| claim(rollout));
        let holder = holder(claims).map(str::to_owned);
        let holds = |rollout: &ConfigRollout| holder.is_some() && rollout.metadata.name == holder;
        rollouts.iter().map(|rollout| counts(rollout, holds(rollout))).collect::<Vec<_>>()
    };
    by_group.into_values().flat_map(of_group).collect()
}

fn counts(rollout: &ConfigRollout, holds: bool) -> RolloutCounts {
    let unwritten = ConfigRolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&unwritten);
    let reason = stalled(status);
    RolloutCounts {
        namespace: rollout.namespace().unwrap_or_default(),
        group: rollout.spec.group_name.clone(),
        states: STATES.map(|(name, state)| (name, i64::from(status.state == state))).to_vec(),
        held: status.cohort.as_ref().is_some_and(|cohort| cohort.stage == Stage::Held),
        stalled: STALLED.map(|why| (why.as_str(), i64::from(reason == Some(why.as_str())))).to_vec(),
        agents: if holds { agent_counts(&status.agents) } else { Vec::new() },
    }
}

fn agent_counts(agents: &RolloutAgentCounts) -> Vec<(&'static str, i64)> {
    vec![
        ("total", agents.total),
        ("eligible", agents.eligible),
        ("targeted", agents.targeted),
        ("updated", agents.updated),
        ("healthy", agents.healthy),
        ("failed", agents.failed),
        ("pending", agents.pending),
        ("offline", agents.offline),
        ("incompatible", agents.incompatible),
        ("adoptees", agents.adoptees),
        ("unverified", agents.unverified),
    ]
}

fn count(metrics: &RolloutMetrics, milestone: Milestone) {
    match milestone {
        Milestone::Applied(50, took) => metrics.applied("50", took),
        Milestone::Applied(99, took) => metrics.applied("99", took),
        Milestone::Applied(_, took) => metrics.applied("100", took),
        Milestone::PhaseEnded(outcome, took) => metrics.phase_ended(outcome == PhaseOutcome::Passed, took),
        Milestone::Ended(Stage::Completed) => metrics.ended(AttemptEnd::Completed),
        Milestone::Ended(Stage::RolledBack) => metrics.ended(AttemptEnd::RolledBack),
        Milestone::Ended(_) => metrics.ended(AttemptEnd::Halted),
        Milestone::Superseded => metrics.ended(AttemptEnd::Superseded),
    }
}

/// Why a reconcile failed, in one of few words.
fn reason(error: &Error) -> &'static str {
    if error.0.is::<LeaseLost>() {
        return "lease";
    }
    match error.0.chain().find_map(<dyn std::error::Error>::downcast_ref) {
        Some(kube::Error::Api(status)) => match status.code {
            409 => "conflict",
            401 | 403 => "forbidden",
            404 => "not_found",
            429 => "throttled",
            400..=499 => "invalid",
            _ => "server",
        },
        Some(kube::Error::HyperError(_) | kube::Error::Service(_)) => "unreachable",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Cohort;
    use kube::core::Status;

    #[test]
    fn failed_reconcile_is_told_by_what_the_api_server_said() {
        let api = |code| kube::Error::Api(Status { code, ..Status::default() }.boxed());
        let reasons = [401, 403, 404, 409, 422, 429, 500, 503].map(|code| reason(&api(code).into()));
        let expected =
            ["forbidden", "forbidden", "not_found", "conflict", "invalid", "throttled", "server", "server"];
        assert_eq!(reasons, expected);
        let wrapped = Error(anyhow::Error::from(api(409)).context("cannot write"));
        assert_eq!(reason(&wrapped), "conflict");
        assert_eq!(reason(&kube::Error::Service("no route".into()).into()), "unreachable");
        assert_eq!(reason(&Error(LeaseLost.into())), "lease");
        assert_eq!(reason(&Error(anyhow::anyhow!("no random numbers"))), "other");
    }

    fn rollout(name: &str, group: &str, created: i64) -> ConfigRollout {
        let created = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            Timestamp::from_second(created).expect("in range"),
        );
        let mut rollout: ConfigRollout = serde_json::from_value(serde_json::json!({
            "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "ConfigRollout",
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {"groupName": group, "config": {"files": []}},
        }))
        .expect("a rollout");
        rollout.metadata.creation_timestamp = Some(created);
        rollout
    }

    #[test]
    fn agents_of_a_group_are_counted_by_the_rollout_that_holds_it() {
        let (older, newer, other) = (rollout("b", "g", 1), rollout("a", "g", 2), rollout("a", "h", 3));
        let told = rollout_counts(&[&newer, &older, &other]);
        let told: Vec<_> =
            told.iter().map(|counts| (counts.group.as_str(), counts.agents.is_empty())).collect();
        assert_eq!(told, [("g", true), ("g", false), ("h", false)]);
    }

    /// Whoever pauses a rollout knows of it, whatever has failed by then.
    #[test]
    fn rollout_is_held_while_failures_have_stopped_it_and_not_when_a_person_has_paused_it() {
        for (stage, state, expected) in [
            (None, RolloutState::Paused, false),
            (Some(Stage::Running), RolloutState::Paused, false),
            (Some(Stage::Running), RolloutState::Progressing, false),
            (Some(Stage::Held), RolloutState::Paused, true),
            (Some(Stage::Held), RolloutState::Invalid, true),
            (Some(Stage::Halted), RolloutState::Halted, false),
            (Some(Stage::RolledBack), RolloutState::RolledBack, false),
        ] {
            let cohort = stage.map(|stage| Cohort { stage, ..Cohort::default() });
            let mut status = ConfigRolloutStatus { state, cohort, ..ConfigRolloutStatus::default() };
            status.agents.failed = 2;
            let rollout = ConfigRollout { status: Some(status), ..rollout("a", "g", 1) };
            assert_eq!(counts(&rollout, true).held, expected, "{stage:?} {state:?}");
        }
    }

    #[test]
    fn attempts_are_counted_by_how_they_ended_from_zero_on() {
        let metrics = RolloutMetrics::default();
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let told = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
            let lines = text.lines().filter_map(|line| line.strip_prefix("opamp_rollout_attempts_total"));
            lines.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let results = ["completed", "halted", "rolled_back", "superseded"];
        let with = |counts: [u64; 4]| {
            let lines = results.iter().zip(counts);
            lines.map(|(result, count)| format!("{{result=\"{result}\"}} {count}")).collect()
        };
        assert_eq!(told(), with([0; 4]));
        let stages = [Stage::Completed, Stage::Halted, Stage::RolledBack];
        for (times, end) in
            stages.map(Milestone::Ended).into_iter().chain([Milestone::Superseded]).enumerate()
        {
            (0..=times).for_each(|_| count(&metrics, end));
        }
        assert_eq!(told(), with([1, 2, 3, 4]));
    }

    #[test]
    fn every_state_of_a_rollout_has_its_name() {
        for (name, state) in STATES {
            assert_eq!(serde_json::to_value(state).expect("JSON"), name);
        }
    }
}
