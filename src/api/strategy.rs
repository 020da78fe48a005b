//! How carefully a rollout goes: its phases, and when to stop.

use super::{AttributeSelector, Duration, Share};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How carefully a configuration is brought to a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// The steps, one after the other; copied at the start of an attempt, so a change acts from the next one.
    /// Shares are cumulative. Default: canary 2% 5m, early-adopters 10% 5m, majority 50% 3m, full 100%.
    #[serde(default = "default_phases")]
    #[schemars(length(min = 1, max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[x_kube(
        validation = Rule::new("self[size(self) - 1].agents == '100%' && !has(self[size(self) - 1].selector)")
            .message("the last phase has agents 100% and no selector: what it completes becomes stable for everybody; to stop before it, give it approval Manual"),
        validation = Rule::new("self.all(p, type(p.agents) == int ? int(p.agents) >= 1 : !(string(p.agents) in ['0%', '0.0%', '00%', '00.0%']))")
            .message("agents of a phase is at least 1, or above 0%")
    )]
    pub phases: Vec<Phase>,
    /// How many agents may fail, as a count or a share of those that were to take the target. One more, and
    /// `onFailure` happens at once.
    #[serde(default = "default_threshold")]
    pub failure_threshold: Share,
    /// An agent that was offered the target and gives no verdict for so long has failed. For agents that poll, in
    /// effect the larger of this and three times their interval.
    #[serde(default = "default_apply_timeout")]
    pub apply_timeout: Duration,
    /// Without progress in a phase for so long, the rollout is marked as stalled.
    #[serde(default = "default_deadline")]
    pub progress_deadline: Duration,
    /// Most agents that are offered the target and have not answered, at any time; 0: no limit. A rollback has none.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub max_in_flight: u32,
    /// What happens when too many agents fail. `Rollback`: every agent that was to take the target gets the stable
    /// revision again. `Pause`: nothing more happens until a person decides.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Strategy {
    /// The first phase that wants less than the one before it. Shares are cumulative, and compared between neighbours
    /// of the same selector and unit only (design, section 5). The API server's rules are too short-winded for it.
    pub fn falling_phase(&self) -> Option<&Phase> {
        let falls = |pair: &&[Phase]| {
            pair[0].selector == pair[1].selector
                && match (pair[0].agents, pair[1].agents) {
                    (Share::Count(before), Share::Count(after))
                    | (Share::PerMille(before), Share::PerMille(after)) => after < before,
                    _ => false,
                }
        };
        self.phases.windows(2).find(falls).map(|pair| &pair[1])
    }
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// The step's name.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Only agents with these attributes, a ring; absent: all of the group. Agents that are in by an earlier step stay
    /// in, and are not subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<AttributeSelector>,
    /// How many of the group's agents, or of those that `selector` matches, have the target after this step: a count,
    /// or a percentage, rounded up. Between neighbours of the same selector and unit it must not fall.
    pub agents: Share,
    /// How long its agents must stay healthy before the next step. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Who lets the next step begin. `Automatic`: nobody needs to. `Manual`: a person, with annotation
    /// `fleet.opamp.dev/promote`.
    #[serde(default)]
    pub approval: Approval,
}

/// Who lets the step after a phase begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Nobody needs to.
    #[default]
    Automatic,
    /// A person, with annotation `fleet.opamp.dev/promote`.
    Manual,
    /// A way that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// What happens when too many agents fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Every agent that was to take the target gets the stable revision again.
    #[default]
    Rollback,
    /// Nothing more happens until a person decides.
    Pause,
    /// An answer that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

fn constant<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a constant")
}

/// The default of [`Strategy::phases`].
fn default_phases() -> Vec<Phase> {
    let phase = |name: &str, agents: &str, duration: Option<&str>| Phase {
        name: name.to_owned(),
        agents: constant(agents),
        selector: None,
        duration: duration.map(constant),
        approval: Approval::Automatic,
    };
    vec![
        phase("canary", "2%", Some("5m")),
        phase("early-adopters", "10%", Some("5m")),
        phase("majority", "50%", Some("3m")),
        phase("full", "100%", None),
    ]
}

/// The default of [`Strategy::failure_threshold`].
fn default_threshold() -> Share {
    constant("10%")
}

/// The default of [`Strategy::apply_timeout`].
fn default_apply_timeout() -> Duration {
    constant("60s")
}

/// The default of [`Strategy::progress_deadline`].
fn default_deadline() -> Duration {
    constant("15m")
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            phases: default_phases(),
            failure_threshold: default_threshold(),
            apply_timeout: default_apply_timeout(),
            progress_deadline: default_deadline(),
            max_in_flight: 0,
            on_failure: OnFailure::default(),
        }
    }
}

/// A step as an attempt goes through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseStatus {
    /// The step as it was when the attempt began.
    #[serde(flatten)]
    pub phase: Phase,
    /// How many agents had the target, or were to take it, when the step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// In a dry run: how many agents the step would let in for the new content that no earlier step has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<i64>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// What became of it. `Waiting`: it has not begun. `Running`: it is under way. `Passed`: its agents applied the
    /// target and stayed healthy. `Skipped`: it added no agent. `Failed`: too many agents failed in it.
    #[serde(default)]
    pub outcome: PhaseOutcome,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PhaseOutcome {
    /// It has not begun.
    #[default]
    Waiting,
    /// It is under way.
    Running,
    /// Its agents applied the target and stayed healthy.
    Passed,
    /// It added no agent.
    Skipped,
    /// Too many agents failed in it.
    Failed,
    /// An outcome that a newer version writes. Never written.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// The step that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentPhase {
    /// Its place in `phases`, from 0.
    pub index: i64,
    /// Its name.
    pub name: String,
    /// Place and name for printing: `2/4 early-adopters`.
    pub display: String,
    /// When it began.
    pub started_at: Time,
    /// When its count of updated agents last grew; `progressDeadline` counts from here.
    pub progress_at: Time,
    /// The rank up to which it has still to let agents in, 16 lower-case hex digits; absent: it has let in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    /// When `maxInFlight` last let agents in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_at: Option<Time>,
    /// Until when its agents must stay healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_until: Option<Time>,
    /// Since when the rollout is paused: the soak clock stands still meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Time>,
}
