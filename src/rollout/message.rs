//! The sentences that a rollout's status tells people.

use crate::api::RolloutAgentCounts;

/// Where an attempt stands.
pub fn progressing(counts: &RolloutAgentCounts) -> String {
    if counts.targeted == 0 {
        return format!("no agent of the group is reachable{}; the target waits for them", apart(counts));
    }
    let mut parts = vec![format!("{} of {} agents updated", counts.updated, counts.targeted)];
    let unhealthy = counts.updated - counts.healthy;
    if unhealthy > 0 {
        parts.push(format!("{unhealthy} of them not healthy"));
    }
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    if counts.pending > 0 {
        parts.push(format!("waiting for {}", counts.pending));
    }
    parts.join(", ") + &apart(counts)
}

/// That every agent with a verdict has failed or is done, and somebody failed.
pub fn failed(counts: &RolloutAgentCounts) -> String {
    format!(
        "{} of {} agents refused the target and were not offered it again; see status.failures, and change spec.config",
        counts.failed, counts.targeted
    )
}

/// That the rollout is done.
pub fn completed(counts: &RolloutAgentCounts) -> String {
    format!("{} of {} agents updated and healthy{}", counts.healthy, counts.targeted, apart(counts))
}

/// That there is nobody to start with.
pub fn nobody(counts: &RolloutAgentCounts) -> String {
    let all = counts.total;
    if all == 0 {
        return "no agent matches the group; the rollout starts when one connects".to_owned();
    }
    format!("none of the group's {all} agents can take a configuration{}", apart(counts))
}

/// The agents that are in no count of the outcome.
fn apart(counts: &RolloutAgentCounts) -> String {
    let kinds = [
        (counts.offline, "offline"),
        (counts.incompatible, "without AcceptsRemoteConfig"),
        (counts.unverified, "without ReportsRemoteConfig"),
    ];
    let named: Vec<String> =
        kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{n} {kind}")).collect();
    if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
}
