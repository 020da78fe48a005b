//! What is done so that agents run what they are to run, healthy: a group's `drift` and `health`.

use super::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How it is looked whether agents run what they report as applied, and what is done if they do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftSpec {
    /// What is done about it. `Correct`: the agent is offered its revision anew, until it runs it or is quarantined.
    /// `Detect`: it is told, in counts, `problems` and condition Drifted. `Off`: it is not looked for.
    #[serde(default)]
    pub mode: DriftMode,
    /// How often each agent is asked for its full state, besides the look at every report; the agents' turns are spread
    /// over this time. `0s`: never.
    #[serde(default = "default_scan_interval")]
    pub scan_interval: Duration,
    /// Places in configurations at which drift does not count, each with all that is below it, in the Collector's own
    /// notation: keys with two colons between them. `*` stands for any one key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 256), regex(pattern = "^[^:]+(:[^:]+)*(::[^:]+(:[^:]+)*)*$"))
    )]
    pub ignore: Vec<String>,
    /// How often and how fast an agent is put right, drift and health together.
    #[serde(default)]
    pub correction: CorrectionSpec,
}

/// What is done about drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftMode {
    /// It is put right.
    #[default]
    Correct,
    /// It is told.
    Detect,
    /// It is not looked for.
    Off,
    /// A mode that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// How often and how fast an agent is put right before it is quarantined: then it is left alone, and told in
/// `problems` and condition Degraded, until it is well by itself, a `retry`, or another revision. At most a tenth of a
/// group's agents, and at least one, are put right at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorrectionSpec {
    /// After so many attempts that did not last the agent is quarantined. One that stays well for `maxBackoff` starts
    /// again at 0.
    #[serde(default = "default_max_attempts")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: i64,
    /// The pause after the first attempt. Each further one is twice as long, and up to a quarter shorter by chance.
    #[serde(default = "default_initial_backoff")]
    pub initial_backoff: Duration,
    /// The longest pause.
    #[serde(default = "default_max_backoff")]
    pub max_backoff: Duration,
}

/// What is done about agents that stay unhealthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthSpec {
    /// An agent that reports to be unhealthy for longer than this is healed.
    #[serde(default = "default_unhealthy_after")]
    pub unhealthy_after: Duration,
    /// What is done. `Heal`: the agent is started anew if it takes that command, then offered its revision anew, then
    /// the stable revision for it alone, each only if the step before did not help, within
    /// `drift.correction.maxAttempts`; then it is quarantined. `Report`: it is told in `problems`. An agent whose
    /// answer a rollout is waiting for, or whose soak is not over, is left to the rollout.
    #[serde(default)]
    pub on_unhealthy: OnUnhealthy,
}

/// What is done about agents that stay unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnUnhealthy {
    /// They are healed, in steps.
    #[default]
    Heal,
    /// They are told.
    Report,
    /// An answer that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// The default of [`DriftSpec::scan_interval`].
fn default_scan_interval() -> Duration {
    Duration::constant("5m")
}

/// The default of [`CorrectionSpec::max_attempts`].
fn default_max_attempts() -> i64 {
    5
}

/// The default of [`CorrectionSpec::initial_backoff`].
fn default_initial_backoff() -> Duration {
    Duration::constant("10s")
}

/// The default of [`CorrectionSpec::max_backoff`].
fn default_max_backoff() -> Duration {
    Duration::constant("5m")
}

/// The default of [`HealthSpec::unhealthy_after`].
fn default_unhealthy_after() -> Duration {
    Duration::constant("2m")
}

impl Default for DriftSpec {
    fn default() -> Self {
        Self {
            mode: DriftMode::default(),
            scan_interval: default_scan_interval(),
            ignore: Vec::new(),
            correction: CorrectionSpec::default(),
        }
    }
}

impl Default for CorrectionSpec {
    fn default() -> Self {
        Self {
            max_attempts: default_max_attempts(),
            initial_backoff: default_initial_backoff(),
            max_backoff: default_max_backoff(),
        }
    }
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self { unhealthy_after: default_unhealthy_after(), on_unhealthy: OnUnhealthy::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_specs_read_as_the_defaults_that_are_documented() {
        let drift: DriftSpec = serde_json::from_value(json!({})).expect("a spec");
        let health: HealthSpec = serde_json::from_value(json!({})).expect("a spec");
        assert_eq!((&drift, &health), (&DriftSpec::default(), &HealthSpec::default()));
        let correction = &drift.correction;
        let seconds = [
            &drift.scan_interval,
            &correction.initial_backoff,
            &correction.max_backoff,
            &health.unhealthy_after,
        ];
        assert_eq!(seconds.map(|duration| duration.get().as_secs()), [300, 10, 300, 120]);
        assert_eq!((drift.mode, health.on_unhealthy), (DriftMode::Correct, OnUnhealthy::Heal));
        assert_eq!(correction.max_attempts, 5);
    }
}
