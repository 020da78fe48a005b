//! What the leader tells of rollouts, by group. Other replicas tell nothing here.

use super::{Counts, Durations, Told};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::time::Duration;

/// Times of rollouts, in seconds: from a small fleet without a soak to one that waits for people.
const SECONDS: [f64; 15] =
    [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0];

/// The rollouts' metrics; clones count together.
#[derive(Clone, Debug)]
pub struct RolloutMetrics {
    rollouts: Told<StateLabels>,
    stalled: Told<ReasonLabels>,
    held: Told<GroupLabels>,
    agents: Told<StateLabels>,
    attempts: Counts<1>,
    applied: Durations<1>,
    phases: Durations<1>,
}

/// What there is to tell of one rollout.
#[derive(Clone, Debug)]
pub struct RolloutCounts {
    /// Its namespace.
    pub namespace: String,
    /// The name of its group.
    pub group: String,
    /// 1 for the state that it is in, 0 for all others.
    pub states: Vec<(&'static str, i64)>,
    /// 1 for the reason that it is stalled for, 0 for all others.
    pub stalled: Vec<(&'static str, i64)>,
    /// Whether failures have stopped it, until a person decides.
    pub held: bool,
    /// Its agents; nothing unless it holds the group.
    pub agents: Vec<(&'static str, i64)>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// All phases have passed.
    Completed,
    /// The cohort has the stable revision again.
    RolledBack,
    /// It ended with nothing to go back to.
    Halted,
    /// Another attempt of the rollout took its place.
    Superseded,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct StateLabels {
    namespace: String,
    group: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ReasonLabels {
    namespace: String,
    group: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct GroupLabels {
    namespace: String,
    group: String,
}

impl Default for RolloutMetrics {
    fn default() -> Self {
        let empty = || Histogram::new(SECONDS);
        Self {
            rollouts: Told::default(),
            stalled: Told::default(),
            held: Told::default(),
            agents: Told::default(),
            attempts: Counts::new([("result", &["completed", "rolled_back", "halted", "superseded"])]),
            applied: Durations::new([("share", &["50", "99", "100"])], empty),
            phases: Durations::new([("outcome", &["passed", "failed"])], empty),
        }
    }
}

impl RolloutMetrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.rollouts.register(registry, "opamp_rollouts", "Rollouts for a group by state");
        let help = "Rollouts for a group that cannot go on though their state does not say so, by reason";
        self.stalled.register(registry, "opamp_stalled_rollouts", help);
        let help = "Rollouts for a group that failures have stopped, until a person decides";
        self.held.register(registry, "opamp_held_rollouts", help);
        let help = "Agents as the rollout that holds a group counts them";
        self.agents.register(registry, "opamp_rollout_agents", help);
        self.attempts.register(registry, "opamp_rollout_attempts", "Attempts that ended, by result");
        let help = "From the beginning of an attempt until a share of the eligible agents had applied it";
        self.applied.register(registry, "opamp_rollout_time_to_applied", help);
        let help = "From a phase's beginning to its end, by outcome";
        self.phases.register(registry, "opamp_rollout_phase_duration", help);
    }

    /// Tells of exactly these rollouts from now on. Those for the same group are added up.
    pub fn tell(&self, rollouts: &[RolloutCounts]) {
        let states = |of: fn(&RolloutCounts) -> &[(&'static str, i64)]| {
            let mut sums: BTreeMap<StateLabels, i64> = BTreeMap::new();
            for rollout in rollouts {
                for (state, count) in of(rollout) {
                    let (namespace, group) = (rollout.namespace.clone(), rollout.group.clone());
                    *sums.entry(StateLabels { namespace, group, state }).or_default() += count;
                }
            }
            sums
        };
        self.rollouts.tell(states(|rollout| &rollout.states));
        self.agents.tell(states(|rollout| &rollout.agents));
        let reasons = states(|rollout| &rollout.stalled).into_iter();
        self.stalled.tell(reasons.map(|(StateLabels { namespace, group, state }, count)| {
            (ReasonLabels { namespace, group, reason: state }, count)
        }));
        let mut held: BTreeMap<GroupLabels, i64> = BTreeMap::new();
        for rollout in rollouts {
            let (namespace, group) = (rollout.namespace.clone(), rollout.group.clone());
            *held.entry(GroupLabels { namespace, group }).or_default() += i64::from(rollout.held);
        }
        self.held.tell(held);
    }

    /// Counts the end of an attempt.
    pub fn ended(&self, end: AttemptEnd) {
        self.attempts.inc([match end {
            AttemptEnd::Completed => "completed",
            AttemptEnd::RolledBack => "rolled_back",
            AttemptEnd::Halted => "halted",
            AttemptEnd::Superseded => "superseded",
        }]);
    }

    /// Takes in how long it took until this share of the agents, `50`, `99` or `100` percent, had applied a revision.
    pub fn applied(&self, share: &'static str, took: Duration) {
        self.applied.observe([share], took.as_secs_f64());
    }

    /// Takes in how long a phase took.
    pub fn phase_ended(&self, passed: bool, took: Duration) {
        self.phases.observe([if passed { "passed" } else { "failed" }], took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn rollout(group: &str, states: &[(&'static str, i64)], agents: &[(&'static str, i64)]) -> RolloutCounts {
        RolloutCounts {
            namespace: "ns".to_owned(),
            group: group.to_owned(),
            states: states.to_vec(),
            stalled: vec![("GroupTaken", 1)],
            held: states.contains(&("Paused", 1)),
            agents: agents.to_vec(),
        }
    }

    fn told(metrics: &RolloutMetrics) -> Vec<String> {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.contains("group=")).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn rollouts_for_a_group_are_added_up_and_no_more_told_once_they_are_gone() {
        let metrics = RolloutMetrics::default();
        let (pending, taken) = (&[("Paused", 0), ("Pending", 1)], &[("Paused", 1), ("Pending", 0)]);
        metrics.tell(&[
            rollout("a", pending, &[("total", 7)]),
            rollout("a", taken, &[]),
            rollout("b", pending, &[]),
        ]);
        metrics.tell(&[rollout("a", pending, &[("total", 7)]), rollout("a", taken, &[])]);
        assert_eq!(
            told(&metrics),
            [
                r#"opamp_held_rollouts{namespace="ns",group="a"} 1"#,
                r#"opamp_rollout_agents{namespace="ns",group="a",state="total"} 7"#,
                r#"opamp_rollouts{namespace="ns",group="a",state="Paused"} 1"#,
                r#"opamp_rollouts{namespace="ns",group="a",state="Pending"} 1"#,
                r#"opamp_stalled_rollouts{namespace="ns",group="a",reason="GroupTaken"} 2"#,
            ]
        );
        metrics.tell(&[]);
        assert!(told(&metrics).is_empty());
    }
}
