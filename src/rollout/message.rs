//! The sentences that a rollout's status tells people.

use super::tally::Tally;
use crate::api::{ConfigRolloutStatus, FailureEntry, PhaseOutcome, RolloutAgentCounts, Share, Stage};
use crate::fleet::clean;
use jiff::{SignedDuration, Timestamp};

/// Where the phase under way stands: `phase 2 of 4 (early-adopters): 10 of 10 agents updated and healthy`.
pub fn phase(status: &ConfigRolloutStatus, counts: &RolloutAgentCounts) -> String {
    if let Some(waiting) = waiting_for_ring(status).filter(|_| counts.eligible > 0) {
        return format!(
            "phase {waiting} begins once every replica has told which agents its selector matches"
        );
    }
    let Some(current) = &status.current_phase else { return agents(counts) };
    format!("phase {} of {} ({}): {}", current.index + 1, status.phases.len(), current.name, agents(counts))
}

/// After so long a person may wonder what a soak waits for that is over: renewals come each five seconds.
const LATE: SignedDuration = SignedDuration::from_secs(15);

/// Until when a phase soaks, and where that time is over, what it waits for.
pub fn soaking(
    status: &ConfigRolloutStatus,
    counts: &RolloutAgentCounts,
    until: Timestamp,
    now: Timestamp,
) -> String {
    let late = if now.duration_since(until) < LATE {
        ""
    } else {
        "; not every replica has told yet what it saw until then"
    };
    format!("{}; soaking until {}{late}", phase(status, counts), clock(until))
}

/// Where a person has stopped the rollout.
pub fn paused(status: &ConfigRolloutStatus, counts: &RolloutAgentCounts) -> String {
    match &status.current_phase {
        Some(_) => format!("paused in {}", phase(status, counts)),
        None => "paused before the first phase".to_owned(),
    }
}

/// The phase that cannot begin, because it is not known yet who is in its ring.
fn waiting_for_ring(status: &ConfigRolloutStatus) -> Option<&str> {
    if status.cohort.as_ref().is_none_or(|cohort| cohort.stage != Stage::Running) {
        return None;
    }
    let running = status.phases.iter().any(|phase| phase.outcome == PhaseOutcome::Running);
    let next = status.phases.iter().find(|phase| phase.outcome == PhaseOutcome::Waiting)?;
    (!running && next.phase.selector.is_some()).then_some(&next.phase.name)
}

fn agents(counts: &RolloutAgentCounts) -> String {
    if counts.targeted == 0 && counts.unverified > 0 {
        return format!("no agent can show what became of it, so only a person can judge{}", apart(counts));
    }
    if counts.targeted == 0 {
        return format!("no agent of the phase is reachable{}", apart(counts));
    }
    if counts.healthy == counts.targeted {
        return format!(
            "{} of {} agents updated and healthy{}",
            counts.healthy,
            counts.targeted,
            apart(counts)
        );
    }
    let mut parts = vec![format!("{} of {} agents updated", counts.updated, counts.targeted)];
    for (number, what) in [
        (counts.updated - counts.healthy, "of them not healthy"),
        (counts.failed, "failed"),
        (counts.pending, "still to answer"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    parts.join(", ") + &apart(counts)
}

/// Why the gate failed.
pub fn tripped(tally: &Tally, base: usize, threshold: Share) -> String {
    format!(
        "{} of {base} agents failed, more than failureThreshold {threshold} allows{}",
        tally.counts.failed,
        first_failure(&tally.failures)
    )
}

/// Most of an agent's words in a sentence, in bytes: it stands in several conditions, and `failures` has the whole.
const MAX_WORDS_BYTES: usize = 120;

/// The first of the failures, which come latest first: `; the first: host-7: Failed, no such exporter`.
pub fn first_failure(failures: &[FailureEntry]) -> String {
    let Some(FailureEntry { agent, host, reason, message, .. }) = failures.last() else {
        return String::new();
    };
    let host = if host.is_empty() { agent } else { host };
    let comma = if message.is_empty() { "" } else { ", " };
    format!("; the first: {host}: {reason}{comma}{}", clean(message, MAX_WORDS_BYTES))
}

/// That the rollout is done.
pub fn completed(counts: &RolloutAgentCounts) -> String {
    agents(counts)
}

/// A time of day, as people read it.
pub fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%SZ").to_string()
}

/// That there is nobody to start with.
pub fn nobody(counts: &RolloutAgentCounts) -> String {
    let all = counts.total;
    if all == 0 {
        return "no agent matches the group; the rollout starts when one connects".to_owned();
    }
    let blind = if counts.unverified > 0 {
        "; phases with approval: Manual reach those that cannot show it"
    } else {
        ""
    };
    format!("none of the group's {all} agents can take a configuration and show it{}{blind}", apart(counts))
}

/// The agents that are in no count of the outcome.
pub fn apart(counts: &RolloutAgentCounts) -> String {
    let kinds = [
        (counts.offline, "offline"),
        (counts.incompatible, "incompatible"),
        (counts.adoptees, "to be admitted from another group"),
        (counts.unverified, "without ReportsRemoteConfig and ReportsEffectiveConfig"),
    ];
    let named: Vec<String> =
        kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{n} {kind}")).collect();
    if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
}
