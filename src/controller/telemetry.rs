//! Where the agents of a group are to send their own telemetry: read, and told to more of them as time passes.

use super::context::{Basis, Error, Leader};
use super::lock::lock;
use crate::api::{CollectorGroup, CollectorGroupStatus, Conditions, Reason};
use crate::cluster::{TelemetryError, load_telemetry, telemetry_secrets};
use crate::fleet::ObservedAgent;
use crate::rollout::{TelemetryRules, Wanted, telemetry, telemetry_condition};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::time::Duration;

/// Says in a group's status which of its agents are told by now, of which something else disturbs so many; returns when to
/// look again, though nothing changes.
///
/// # Errors
/// When the API server does not answer as wanted; it is tried again.
pub async fn bring_on(
    leader: &Leader,
    group: &CollectorGroup,
    agents: &[&ObservedAgent],
    disturbed: usize,
    next: &mut CollectorGroupStatus,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let wanted = wanted(leader, group).await?;
    let rules = TelemetryRules {
        settle: leader.telemetry_settle,
        disturbed,
        watched_until: leader.observatory.watched_until(&group.namespace().unwrap_or_default()),
        now,
    };
    let Some(assignment) = &mut next.assignment else { return Ok(None) };
    let prior = assignment.telemetry.take();
    assignment.telemetry = telemetry(prior.as_ref(), &wanted, agents, &rules);
    let mut conditions = Conditions::new(std::mem::take(&mut next.conditions), next.observed_generation, now);
    let telling =
        telemetry_condition(&mut conditions, assignment.telemetry.as_ref(), &wanted, agents, disturbed);
    next.conditions = conditions.into_list();
    Ok(telling.then_some(leader.status_interval))
}

/// What the group's spec and its Secrets say. They are read again only when one of them has changed.
async fn wanted(leader: &Leader, group: &CollectorGroup) -> Result<Wanted, Error> {
    let id = group.uid().unwrap_or_default();
    let Some(spec) = &group.spec.telemetry else {
        lock(&leader.telemetry).remove(&id);
        return Ok(Wanted::Nothing);
    };
    let namespace = group.namespace().unwrap_or_default();
    let secrets = telemetry_secrets(spec).map(|name| {
        let found = leader.stores.secrets.get(&ObjectRef::new(name).within(&namespace));
        ("Secret", name.to_owned(), found.and_then(|object| object.resource_version()))
    });
    let basis = Basis { generation: group.metadata.generation, references: secrets.collect() };
    if let Some((_, hash)) = lock(&leader.telemetry).get(&id).filter(|(known, _)| *known == basis) {
        return Ok(Wanted::Told(*hash));
    }
    let problem = |reason, error: TelemetryError| Ok(Wanted::Unreadable(reason, error.to_string()));
    match load_telemetry(&leader.client, &namespace, spec).await {
        Ok(telemetry) => {
            let hash = telemetry.hash(&leader.key);
            lock(&leader.telemetry).insert(id, (basis, hash));
            Ok(Wanted::Told(hash))
        }
        Err(TelemetryError::Api(error)) => Err(error.into()),
        Err(error @ TelemetryError::Missing(_)) => problem(Reason::SourceNotFound, error),
        Err(error @ TelemetryError::NotShared(_)) => problem(Reason::SecretNotShared, error),
        Err(error @ TelemetryError::Headers { .. }) => problem(Reason::InvalidHeaders, error),
    }
}
