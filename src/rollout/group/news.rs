//! What to tell people of a group's conditions: a function of the status before a change and after it.

use crate::api::{CollectorGroupStatus, ConditionType, ProblemKind, Reason};
use crate::rollout::News;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// What there is to tell of the change from one status to the next; nothing where nothing has passed.
pub fn group_news(prior: &CollectorGroupStatus, next: &CollectorGroupStatus) -> Vec<News> {
    let mut told = Vec::new();
    if turns(prior, next, ConditionType::Drifted) {
        told.push(match holding(next, ConditionType::Drifted) {
            Some(condition) => {
                let note = format!("{}{}", condition.message, first_drifted(next));
                News { warning: true, reason: Reason::AgentsDrifted, note }
            }
            None => {
                News { warning: false, reason: Reason::NoDrift, note: "no agent drifts any more".to_owned() }
            }
        });
    }
    if turns(prior, next, ConditionType::Degraded) {
        told.push(match holding(next, ConditionType::Degraded) {
            Some(condition) => News {
                warning: true,
                reason: Reason::parse(&condition.reason).unwrap_or(Reason::AgentsNotInSync),
                note: condition.message.clone(),
            },
            None => News {
                warning: false,
                reason: Reason::NotDegraded,
                note: "the group serves as it should again".to_owned(),
            },
        });
    }
    told
}

fn first_drifted(status: &CollectorGroupStatus) -> String {
    let first = status.problems.iter().find(|problem| problem.kind == ProblemKind::Drifted);
    first.map_or_else(String::new, |first| {
        let on = if first.host.is_empty() { String::new() } else { format!(" on {}", first.host) };
        format!("; first: agent {}{on}: {}", first.agent, first.message)
    })
}

fn holding(status: &CollectorGroupStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str() && condition.status == "True")
}

/// Whether the condition, or its reason, is another one than before.
fn turns(prior: &CollectorGroupStatus, next: &CollectorGroupStatus, kind: ConditionType) -> bool {
    let reason = |status| holding(status, kind).map(|condition| condition.reason.clone());
    reason(prior) != reason(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Conditions, Problem};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn status(conditions: &[(ConditionType, Reason, &str)]) -> CollectorGroupStatus {
        let mut list = Conditions::new(Vec::new(), None, Timestamp::UNIX_EPOCH);
        for (kind, reason, message) in conditions {
            list.set(*kind, true, *reason, message);
        }
        let problem = Problem {
            agent: "0a".into(),
            host: "web-1".into(),
            kind: ProblemKind::Drifted,
            message: "Changed".into(),
            since: Time(Timestamp::UNIX_EPOCH),
        };
        let problems = if conditions.is_empty() { Vec::new() } else { vec![problem] };
        CollectorGroupStatus { conditions: list.into_list(), problems, ..CollectorGroupStatus::default() }
    }

    fn told(prior: &CollectorGroupStatus, next: &CollectorGroupStatus) -> Vec<(bool, Reason, String)> {
        group_news(prior, next).into_iter().map(|news| (news.warning, news.reason, news.note)).collect()
    }

    #[test]
    fn drift_and_degradation_are_told_once_when_they_begin_change_and_end() {
        let well = status(&[]);
        let one = status(&[(ConditionType::Drifted, Reason::AgentsDrifted, "1 agents drift")]);
        let two = status(&[(ConditionType::Drifted, Reason::AgentsDrifted, "2 agents drift")]);
        let first = "1 agents drift; first: agent 0a on web-1: Changed".to_owned();
        assert_eq!(told(&well, &one), [(true, Reason::AgentsDrifted, first)]);
        assert_eq!(told(&one, &two), [], "one more is no transition");
        assert_eq!(told(&two, &well), [(false, Reason::NoDrift, "no agent drifts any more".to_owned())]);

        let degraded = |reason| status(&[(ConditionType::Degraded, reason, "why")]);
        let quarantined = degraded(Reason::AgentsQuarantined);
        let deleted = degraded(Reason::RolloutDeleted);
        let why = "why".to_owned();
        assert_eq!(told(&well, &quarantined), [(true, Reason::AgentsQuarantined, why.clone())]);
        assert_eq!(told(&quarantined, &deleted), [(true, Reason::RolloutDeleted, why)]);
        let again = "the group serves as it should again".to_owned();
        assert_eq!(told(&deleted, &well), [(false, Reason::NotDegraded, again)]);
    }
}
