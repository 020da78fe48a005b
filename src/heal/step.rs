//! All agents of a group.

use super::Rules;
use super::course::{Case, Happened, Next, next};
use super::symptom::{Symptom, symptom};
use crate::fleet::{
    Cause, InstanceUid, Live, ObservedAgent, Restarts, ToRun, Treatment, Treatments, most_at_once,
};
use jiff::Timestamp;

/// What comes of a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Who is treated from now on, and how.
    pub treatments: Treatments,
    /// What has come to pass.
    pub news: Vec<News>,
    /// When to look again, though nothing changes until then.
    pub wake: Option<Timestamp>,
}

/// What has come to pass with one agent's treatment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The agent.
    pub uid: InstanceUid,
    /// The host that it runs on, as it says.
    pub host: String,
    /// In what way and where it drifts; empty if it does not.
    pub place: String,
    /// Which attempt it is.
    pub attempt: String,
    /// What.
    pub what: Happened,
}

/// Brings all treatments of a group on. `is_judged` says of an agent whether a rollout or an adoption waits for its
/// answer, or watches it.
///
/// At most a tenth of the agents, and at least one, are under treatment, being restarted or disturbed by something else at
/// the same time: every order disturbs its agent. Those in `restarts` are left alone until they are back, or missed.
pub fn step(
    prior: &Treatments,
    restarts: &Restarts,
    agents: &[&ObservedAgent],
    live: &Live<'_>,
    is_judged: impl Fn(&ObservedAgent) -> bool,
    rules: &Rules,
) -> Step {
    let case = |agent| case(agent, prior.get(&agent.uid), live, &is_judged);
    let mut cases: Vec<Case<'_>> = agents.iter().map(|agent| case(agent)).collect();
    // Who is treated goes on; of the others who has waited longest comes first.
    cases.sort_by_key(|case| (!is_active(prior, case), waiting_since(case), case.agent.uid));
    let limit = most_at_once(agents.len());
    let restarts = |uid| restarts.get(&uid).is_some_and(|restart| restart.missed.is_none());
    let restarting = agents.iter().filter(|agent| restarts(agent.uid)).count();
    let mut under_treatment = rules.disturbed + restarting;
    let mut result = Step::default();
    for case in &cases {
        let uid = case.agent.uid;
        let active = is_active(prior, case);
        let Next { treatment, happened, wake } =
            next(prior.get(&uid), case, active || under_treatment < limit && !restarts(uid), rules);
        under_treatment +=
            usize::from(treatment.as_ref().is_some_and(|t| t.is_active() && case.agent.connected));
        let orders = treatment.as_ref().map_or(0, |treatment| treatment.orders);
        let news = |what| News {
            uid,
            host: case.agent.host.clone(),
            place: case.agent.drift_from(case.wanted).map(|drift| drift.to_string()).unwrap_or_default(),
            attempt: format!("attempt {orders} of {}", rules.max_attempts),
            what,
        };
        result.news.extend(happened.into_iter().map(news));
        result.wake = [result.wake, wake].into_iter().flatten().min();
        result.treatments.extend(treatment.map(|treatment| (uid, treatment)));
    }
    result
}

fn case<'a>(
    agent: &'a ObservedAgent,
    treatment: Option<&Treatment>,
    live: &Live<'_>,
    is_judged: &impl Fn(&ObservedAgent) -> bool,
) -> Case<'a> {
    let ToRun { assigned, wanted, fallback } = live.to_run(agent, treatment);
    Case {
        agent,
        assigned: assigned.filter(|_| !agent.waits()),
        wanted,
        drifts_since: agent.drift_from(wanted).map(|drift| drift.since),
        fallback,
        is_judged: agent.adoptee.is_some() || is_judged(agent),
    }
}

fn is_active(prior: &Treatments, case: &Case<'_>) -> bool {
    prior.get(&case.agent.uid).is_some_and(Treatment::is_active)
}

fn waiting_since(case: &Case<'_>) -> Timestamp {
    let symptoms = [Cause::Drift, Cause::Illness].map(|cause| symptom(case, cause));
    let since = symptoms.into_iter().filter_map(|symptom| match symptom {
        Symptom::Present(since) => Some(since),
        Symptom::Gone | Symptom::Unclear => None,
    });
    since.min().unwrap_or(Timestamp::MAX)
}
