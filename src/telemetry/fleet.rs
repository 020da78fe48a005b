//! What the leader tells of the whole fleet, by group. Other replicas tell nothing here.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The fleet's metrics; clones count together.
#[derive(Clone, Debug, Default)]
pub struct FleetMetrics {
    agents: Family<StateLabels, Gauge>,
    drifted: Family<GroupLabels, Gauge>,
    quarantined: Family<GroupLabels, Gauge>,
    corrections: Family<ResultLabels, Counter>,
    heals: Family<HealLabels, Counter>,
    /// All series of `agents` that are told.
    told: Arc<Mutex<BTreeSet<StateLabels>>>,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealLabels {
    step: &'static str,
    result: &'static str,
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

impl FleetMetrics {
    /// Puts the metrics into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("opamp_agents", "Agents of a group by state", self.agents.clone());
        registry.register(
            "opamp_config_drifted_agents",
            "Agents of a group that do not run their assigned revision though they had the time",
            self.drifted.clone(),
        );
        registry.register(
            "opamp_quarantined_agents",
            "Agents of a group that are left alone, because nothing that was tried has lasted",
            self.quarantined.clone(),
        );
        registry.register(
            "opamp_drift_corrections",
            "Corrections of drift, by what came of them",
            self.corrections.clone(),
        );
        registry.register(
            "opamp_heals",
            "Steps to heal unhealthy agents, by what came of them",
            self.heals.clone(),
        );
        // A rate needs the zero before the first.
        for result in ["corrected", "failed", "unverified"] {
            drop(self.corrections.get_or_create(&ResultLabels { result }));
        }
        for step in ["restart", "offer", "stable"] {
            for result in ["recovered", "failed", "unverified"] {
                drop(self.heals.get_or_create(&HealLabels { step, result }));
            }
        }
    }

    /// Counts an attempt to put drift right.
    pub fn corrected(&self, attempt: Attempt) {
        let result = match attempt {
            Attempt::Helped => "corrected",
            Attempt::Failed => "failed",
            Attempt::Unverified => "unverified",
        };
        self.corrections.get_or_create(&ResultLabels { result }).inc();
    }

    /// Counts a step to heal an agent.
    pub fn healed(&self, step: &'static str, attempt: Attempt) {
        let result = match attempt {
            Attempt::Helped => "recovered",
            Attempt::Failed => "failed",
            Attempt::Unverified => "unverified",
        };
        self.heals.get_or_create(&HealLabels { step, result }).inc();
    }

    /// Tells of exactly these groups from now on.
    pub fn tell<'a>(&self, groups: impl IntoIterator<Item = GroupCounts<'a>>) {
        let mut now = BTreeSet::new();
        for GroupCounts { namespace, group, states, drifted, quarantined } in groups {
            let labels = GroupLabels { namespace: namespace.to_owned(), group: group.to_owned() };
            self.drifted.get_or_create(&labels).set(drifted);
            self.quarantined.get_or_create(&labels).set(quarantined);
            for (state, count) in states {
                let labels = StateLabels { namespace: namespace.to_owned(), group: group.to_owned(), state };
                self.agents.get_or_create(&labels).set(*count);
                now.insert(labels);
            }
        }
        // Only what is gone is taken away: a scrape in between finds the others.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in told.difference(&now) {
            self.agents.remove(gone);
            let group = GroupLabels { namespace: gone.namespace.clone(), group: gone.group.clone() };
            self.drifted.remove(&group);
            self.quarantined.remove(&group);
        }
        *told = now;
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
