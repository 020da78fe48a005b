//! Which group an agent belongs to, and what follows from that.

use crate::fleet::text::mask;
use crate::fleet::{
    Adoptee, Agent, AgentKey, Attributes, ConfigReport, Edge, GroupView, MAX_MESSAGE_BYTES, Outcome, View,
};
use jiff::Timestamp;
use std::time::Duration;

pub(super) fn group_of<'a>(view: &'a View, key: &AgentKey, agent: &Agent) -> Option<&'a GroupView> {
    view.group(&key.namespace, agent.group.as_deref()?)
}

/// Agents may repeat what they were sent: the texts of Secrets in the revision that they speak of, and in those of
/// their group, are masked before anything is kept. Of a revision that is not known here, before the first view
/// for example, nobody can tell what is secret, so no words are kept, only the verdict.
pub(super) fn mask_secrets(
    report: &mut ConfigReport,
    view: &View,
    namespace: &str,
    group: Option<&GroupView>,
) {
    let Outcome::Failed(message) = &mut report.outcome else { return };
    let Some(spoken_of) = report.hash.and_then(|hash| view.revision(namespace, hash)) else {
        message.clear();
        return;
    };
    let revisions = group.iter().flat_map(|group| group.assignment.revisions()).chain([spoken_of]);
    let told =
        group.iter().filter_map(|group| group.telemetry.as_ref()).flat_map(|telemetry| &telemetry.secrets);
    let secrets = revisions.flat_map(|revision| &revision.secrets).chain(told);
    let secrets: Vec<&str> = secrets.map(|text| &**text).collect();
    *message = mask(message, &secrets, MAX_MESSAGE_BYTES);
}

/// Finds the agent's group. An agent of which only an earlier run's slice is known keeps the group from there.
pub(super) fn regroup(agent: &mut Agent, namespace: &str, view: &View, now: Timestamp) -> Edge {
    if !agent.complete {
        return Edge::None;
    }
    let nothing = Attributes::default();
    let verified = agent.verified().unwrap_or(&nothing);
    let membership = view.membership(namespace, &agent.attributes, verified);
    let name = |group: Option<&GroupView>| group.map(|group| group.name.clone());
    let found = (name(membership.group), name(membership.overlapping));
    if (&agent.group, &agent.overlapping) == (&found.0, &found.1) {
        return Edge::None;
    }
    if agent.group != found.0 {
        agent.adoptee = None;
        // It was looked at by the rules of the group before.
        agent.forget_sight();
        agent.comes(now);
    }
    (agent.group, agent.overlapping) = found;
    Edge::Slow
}

/// Finds out whether the agent runs another group's revision, and whether it is admitted all the same.
pub(super) fn adopt(agent: &mut Agent, key: &AgentKey, view: &View, now: Timestamp) -> Edge {
    if !agent.complete {
        return Edge::None;
    }
    let foreign = match (&agent.group, agent.running()) {
        (Some(group), Some(content)) => view.is_foreign(&key.namespace, content, group),
        _ => false,
    };
    let admission = group_of(view, key, agent).and_then(|group| group.assignment.admission.as_ref());
    let before = agent.adoptee;
    agent.adoptee = Adoptee::next(before, foreign, admission, key.uid, now);
    if before.is_some_and(|before| before.waits) && agent.adoptee.is_none_or(|adoptee| !adoptee.waits) {
        agent.comes(now);
    }
    if agent.adoptee == before { Edge::None } else { Edge::Slow }
}

/// Looks again at what may change as time passes or with the view: whether the agent drifts by its own words, and
/// whether it has come back to stable.
pub(super) fn reconsider(
    agent: &mut Agent,
    key: &AgentKey,
    view: &View,
    polls: Duration,
    now: Timestamp,
) -> Edge {
    if agent.is_settled() && !agent.is_treated() {
        return Edge::None;
    }
    let group = group_of(view, key, agent);
    agent.judge_words(group, polls, now).max(agent.note_return(group, now))
}
