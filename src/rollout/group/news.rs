//! What to tell people of a group's conditions: a function of the status before a change and after it.

use crate::api::{CollectorGroupStatus, ConditionType, ProblemKind, Reason, RestartState, RestartStatus};
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
    told.extend(restart_news(prior, next));
    if turns(prior, next, ConditionType::Degraded) {
        told.extend(match holding(next, ConditionType::Degraded) {
            Some(condition) if condition.reason == Reason::RestartStopped.as_str() => None,
            Some(condition) => Some(News {
                warning: true,
                reason: Reason::parse(&condition.reason).unwrap_or(Reason::AgentsNotInSync),
                note: condition.message.clone(),
            }),
            None => Some(News {
                warning: false,
                reason: Reason::NotDegraded,
                note: "the group serves as it should again".to_owned(),
            }),
        });
    }
    told
}

/// That a restart that was asked for is over.
fn restart_news(prior: &CollectorGroupStatus, next: &CollectorGroupStatus) -> Option<News> {
    let state = |status: &CollectorGroupStatus| {
        status.restart.as_ref().map(|restart| (restart.requested_at.clone(), restart.state))
    };
    let restart = next.restart.as_ref().filter(|_| state(prior) != state(next))?;
    let RestartStatus { token, ordered, restarted, failed, message, .. } = restart;
    match restart.state {
        RestartState::Running | RestartState::Unknown => None,
        RestartState::Completed => {
            let note =
                format!("restart {token}: {restarted} of {ordered} agents came back, {failed} did not");
            Some(News { warning: *failed > 0, reason: Reason::RestartCompleted, note })
        }
        RestartState::Stopped => {
            let note = format!("restart {token} has stopped: {message}");
            Some(News { warning: true, reason: Reason::RestartStopped, note })
        }
    }
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
    fn end_of_a_restart_is_told_once() {
        let restart = |state, failed| {
            let why = if state == RestartState::Stopped { "why" } else { "" };
            let requested = Time(Timestamp::UNIX_EPOCH);
            let restart = serde_json::json!({
                "token": "now", "requestedAt": requested, "seed": "", "state": format!("{state:?}"), "message": why,
                "ordered": 9, "restarted": 9 - failed, "failed": failed,
            });
            let restart = serde_json::from_value(restart).expect("a restart");
            CollectorGroupStatus { restart: Some(restart), ..status(&[]) }
        };
        let running = restart(RestartState::Running, 0);
        assert_eq!(told(&status(&[]), &running), []);
        for (over, warning, reason, note) in [
            (
                restart(RestartState::Completed, 0),
                false,
                Reason::RestartCompleted,
                "restart now: 9 of 9 agents came back, 0 did not",
            ),
            (
                restart(RestartState::Completed, 2),
                true,
                Reason::RestartCompleted,
                "restart now: 7 of 9 agents came back, 2 did not",
            ),
            (restart(RestartState::Stopped, 3), true, Reason::RestartStopped, "restart now has stopped: why"),
        ] {
            assert_eq!(told(&running, &over), [(warning, reason, note.to_owned())]);
            assert_eq!(told(&over, &over), []);
        }
        let degraded = status(&[(ConditionType::Degraded, Reason::RestartStopped, "why")]);
        assert_eq!(told(&status(&[]), &degraded), [], "that has been told");
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
