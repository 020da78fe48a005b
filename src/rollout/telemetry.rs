//! How far the agents of a group are told where to send their own telemetry: a tenth at a time, because a supervisor
//! starts its Collector anew for it, and the next when those are well.

use crate::api::{ConditionType, Conditions, Reason, TelemetryStatus};
use crate::config::ConfigHash;
use crate::fleet::{ObservedAgent, Rank, most_at_once, order_of, signed};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// What the agents of a group are to be told.
pub enum Wanted {
    /// The group says nothing of it.
    Nothing,
    /// These settings.
    Told(ConfigHash),
    /// It cannot be read; whoever was told something goes on with that.
    Unreadable(Reason, String),
}

/// What the next step is judged by.
pub struct TelemetryRules {
    /// How long the agents of a step must be well before the next.
    pub settle: Duration,
    /// So many agents are put right or restarted, which together with those that are told are to be a tenth at most.
    pub disturbed: usize,
    /// Until when every living replica is known to have watched its agents.
    pub watched_until: Option<Timestamp>,
    /// The time.
    pub now: Timestamp,
}

/// How far agents are to be told, given how far they were.
pub fn telemetry(
    prior: Option<&TelemetryStatus>,
    wanted: &Wanted,
    agents: &[&ObservedAgent],
    rules: &TelemetryRules,
) -> Option<TelemetryStatus> {
    let hash = match wanted {
        Wanted::Nothing => return None,
        Wanted::Unreadable(..) => return prior.cloned(),
        Wanted::Told(hash) => *hash,
    };
    let same = prior.filter(|prior| prior.hash == hash.to_string());
    let reached = same.and_then(|same| Rank::parse(&same.boundary));
    if let Some((same, reached)) = same.zip(reached)
        && (reached == Rank::ALL || !may_go_on(same, hash, reached, agents, rules))
    {
        return Some(same.clone());
    }
    // Where there is no room, those who were told something go on with that.
    let Some(boundary) = next_boundary(hash, reached, agents, rules.disturbed) else { return prior.cloned() };
    Some(TelemetryStatus {
        hash: hash.to_string(),
        boundary: boundary.to_string(),
        began: same.map_or(Time(rules.now), |same| same.began.clone()),
        since: Time(rules.now),
    })
}

/// Whether the agents that were told have had their time, and none of them has fallen ill since the first was.
fn may_go_on(
    prior: &TelemetryStatus,
    hash: ConfigHash,
    reached: Rank,
    agents: &[&ObservedAgent],
    rules: &TelemetryRules,
) -> bool {
    let Ok(until) = prior.since.0.checked_add(signed(rules.settle)) else { return false };
    let watched = rules.now >= until && rules.watched_until.is_some_and(|watched| watched >= until);
    watched && ill(prior, hash, reached, agents).next().is_none()
}

/// The agents that were told and have fallen ill since the first was.
fn ill<'a>(
    prior: &'a TelemetryStatus,
    hash: ConfigHash,
    reached: Rank,
    agents: &'a [&'a ObservedAgent],
) -> impl Iterator<Item = &'a ObservedAgent> {
    let told = move |agent: &&ObservedAgent| order_of(hash).rank(agent.uid) <= reached;
    let fell = |agent: &&ObservedAgent| {
        agent.connected && agent.healthy == Some(false) && agent.health_since >= prior.began.0
    };
    agents.iter().copied().filter(told).filter(fell)
}

/// The boundary that lets a tenth of the connected agents in beyond those that it has reached, less those that something
/// else disturbs; nothing if there is nobody left of the tenth.
fn next_boundary(
    hash: ConfigHash,
    reached: Option<Rank>,
    agents: &[&ObservedAgent],
    disturbed: usize,
) -> Option<Rank> {
    let order = order_of(hash);
    let connected = agents.iter().filter(|agent| agent.connected);
    let mut ranks: Vec<Rank> = connected.map(|agent| order.rank(agent.uid)).collect();
    ranks.sort_unstable();
    let step = most_at_once(ranks.len()).saturating_sub(disturbed);
    let outside: Vec<Rank> =
        ranks.into_iter().filter(|rank| reached.is_none_or(|reached| *rank > reached)).collect();
    if outside.len() <= step { Some(Rank::ALL) } else { outside.get(step.checked_sub(1)?).copied() }
}

/// Tells people of it; true while agents are being told, or are to be. `disturbed` is as in the rules.
pub fn telemetry_condition(
    list: &mut Conditions,
    next: Option<&TelemetryStatus>,
    wanted: &Wanted,
    agents: &[&ObservedAgent],
    disturbed: usize,
) -> bool {
    let kind = ConditionType::TelemetryOffered;
    let hash = match wanted {
        Wanted::Nothing => {
            list.clear(kind);
            return false;
        }
        Wanted::Unreadable(reason, message) => {
            list.set(
                kind,
                false,
                *reason,
                &format!("{message}; agents are told nothing new of their telemetry"),
            );
            return false;
        }
        Wanted::Told(hash) => *hash,
    };
    let next = next.filter(|next| next.hash == hash.to_string());
    let reached = next.and_then(|next| Rank::parse(&next.boundary));
    if reached == Some(Rank::ALL) {
        let message = "agents that report their own telemetry are told where to send it";
        list.set(kind, true, Reason::AllTold, message);
        return false;
    }
    let order = order_of(hash);
    let connected = || agents.iter().filter(|agent| agent.connected);
    let told = connected().filter(|agent| Some(order.rank(agent.uid)) <= reached).count();
    let ill = next.zip(reached).map_or(0, |(next, reached)| ill(next, hash, reached, agents).count());
    let waits = match ill {
        0 if disturbed >= most_at_once(connected().count()) => {
            "; waiting for others that are put right or restarted".to_owned()
        }
        0 => String::new(),
        ill => format!("; waiting for {ill} of them that have fallen ill since"),
    };
    let all = connected().count();
    let message =
        format!("{told} of {all} connected agents are told where to send their own telemetry{waits}");
    list.set(kind, false, Reason::TellingAgents, &message);
    true
}

#[cfg(test)]
mod tests;
