//! What the leader tells of the whole fleet, by group. Other replicas tell nothing here.

use super::series::{Counts, Told};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

/// The fleet's metrics; clones count together.
#[derive(Clone, Debug)]
pub struct FleetMetrics {
    agents: Told<StateLabels>,
    drifted: Told<GroupLabels>,
    quarantined: Told<GroupLabels>,
    corrections: Counts<1>,
    heals: Counts<2>,
    restarts: Counts<1>,
}

/// One group's agents.
#[derive(Clone, Debug)]
pub struct GroupCounts<'a> {
    /// The group's namespace.
    pub namespace: &'a str,
    /// The group's name.
    pub group: &'a str,
    /// How many are in each state.
    pub states: &'a [(&'static str, i64)],
    /// How many drift.
    pub drifted: i64,
    /// How many are quarantined.
    pub quarantined: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct GroupLabels {
    namespace: String,
    group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct StateLabels {
    namespace: String,
    group: String,
    state: &'static str,
}

/// What came of an attempt to put an agent right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It has helped.
    Helped,
    /// It has not.
    Failed,
    /// Nobody can tell.
    Unverified,
}

impl Default for FleetMetrics {
    fn default() -> Self {
        Self {
            agents: Told::default(),
            drifted: Told::default(),
            quarantined: Told::default(),
            corrections: Counts::new([("result", &["corrected", "failed", "unverified"])]),
            heals: Counts::new([
                ("step", &["restart", "offer", "stable"]),
                ("result", &["recovered", "failed", "unverified"]),
            ]),
            restarts: Counts::new([("result", &["restarted", "failed"])]),
        }
    }
}

impl FleetMetrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.agents.register(registry, "opamp_agents", "Agents of a group by state");
        self.drifted.register(
            registry,
            "opamp_config_drifted_agents",
            "Agents of a group that do not run their assigned revision though they had the time",
        );
        self.quarantined.register(
            registry,
            "opamp_quarantined_agents",
            "Agents of a group that are left alone, because nothing that was tried has lasted",
        );
        let help = "Corrections of drift, by what came of them";
        self.corrections.register(registry, "opamp_drift_corrections", help);
        let help = "Steps to heal unhealthy agents, by what came of them";
        self.heals.register(registry, "opamp_heals", help);
        let help = "Agents that were started anew because a person asked for it, by what came of it";
        self.restarts.register(registry, "opamp_restarts", help);
    }

    /// Counts an attempt to put drift right.
    pub fn corrected(&self, attempt: Attempt) {
        self.corrections.inc([attempt.result("corrected")]);
    }

    /// Counts a step to heal an agent.
    pub fn healed(&self, step: &'static str, attempt: Attempt) {
        self.heals.inc([step, attempt.result("recovered")]);
    }

    /// Counts agents that came back from a restart that was asked for, and those that did not in time.
    pub fn restarted(&self, restarted: u64, failed: u64) {
        for (result, count) in [("restarted", restarted), ("failed", failed)] {
            if count > 0 {
                self.restarts.add([result], count);
            }
        }
    }

    /// Tells of exactly these groups from now on.
    pub fn tell<'a>(&self, groups: impl IntoIterator<Item = GroupCounts<'a>>) {
        let groups: Vec<GroupCounts<'a>> = groups.into_iter().collect();
        let labels = |counts: &GroupCounts<'_>| GroupLabels {
            namespace: counts.namespace.to_owned(),
            group: counts.group.to_owned(),
        };
        self.agents.tell(groups.iter().flat_map(|counts| {
            counts.states.iter().map(move |(state, count)| {
                let GroupLabels { namespace, group } = labels(counts);
                (StateLabels { namespace, group, state }, *count)
            })
        }));
        self.drifted.tell(groups.iter().map(|counts| (labels(counts), counts.drifted)));
        self.quarantined.tell(groups.iter().map(|counts| (labels(counts), counts.quarantined)));
    }
}

impl Attempt {
    fn result(self, helped: &'static str) -> &'static str {
        match self {
            Self::Helped => helped,
            Self::Failed => "failed",
            Self::Unverified => "unverified",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn counts<'a>(group: &'a str, states: &'a [(&'static str, i64)]) -> GroupCounts<'a> {
        GroupCounts { namespace: "ns", group, states, drifted: 2, quarantined: 1 }
    }

    fn told(metrics: &FleetMetrics) -> Vec<String> {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let groups = text.lines().filter(|line| line.contains("group=") || line.contains(" 1"));
        let mut lines: Vec<String> = groups.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn groups_are_told_by_state_and_no_more_once_they_are_gone() {
        let metrics = FleetMetrics::default();
        metrics.tell([counts("a", &[("connected", 3)]), counts("b", &[("connected", 4)])]);
        metrics.tell([counts("a", &[("connected", 5)])]);
        assert_eq!(
            told(&metrics),
            [
                r#"opamp_agents{namespace="ns",group="a",state="connected"} 5"#,
                r#"opamp_config_drifted_agents{namespace="ns",group="a"} 2"#,
                r#"opamp_quarantined_agents{namespace="ns",group="a"} 1"#,
            ]
        );
        metrics.tell([]);
        assert!(told(&metrics).is_empty());
    }

    #[test]
    fn attempts_are_counted_under_the_names_that_rules_use() {
        let metrics = FleetMetrics::default();
        metrics.corrected(Attempt::Helped);
        metrics.healed("restart", Attempt::Failed);
        metrics.healed("stable", Attempt::Unverified);
        assert_eq!(
            told(&metrics),
            [
                r#"opamp_drift_corrections_total{result="corrected"} 1"#,
                r#"opamp_heals_total{step="restart",result="failed"} 1"#,
                r#"opamp_heals_total{step="stable",result="unverified"} 1"#,
            ]
        );
    }
}
