//! What to tell of a group: a function of its status before a write and after it.

use super::notice::{Detail, GroupCounts, GroupDetail, Kind, MAX_NAMED, Named, Notice, Origin, Severity};
use crate::api::{CollectorGroupStatus, ProblemKind, Reason};

/// What there is to tell of the change from one status of a group to the next. Quarantined agents are told when there
/// are some, and again whenever there are twice as many: a fleet whose agents go one by one is told in few notices.
pub fn group_notices(
    origin: &Origin,
    before: &CollectorGroupStatus,
    after: &CollectorGroupStatus,
) -> Vec<Notice> {
    let (was, is) = (before.agents.quarantined, after.agents.quarantined);
    let told = if is == 0 && was > 0 {
        let message = format!("no agent is left alone any more; it was {was}");
        Some((Kind::AgentsReleased, Severity::Info, Reason::Released, message))
    } else if magnitude(is) > magnitude(was) {
        let message = format!(
            "{is} of {} agents are left alone, because nothing that was tried has lasted",
            after.agents.matched
        );
        Some((Kind::AgentsQuarantined, Severity::Warning, Reason::AgentsQuarantined, message))
    } else {
        None
    };
    let notice = |(kind, severity, reason, message): (_, _, Reason, _)| {
        Notice::new(origin, kind, severity, reason.as_str(), Detail::Group(detail(after))).saying(message)
    };
    told.map(notice).into_iter().collect()
}

/// What there is to tell of a group that was deleted with this status: nobody speaks for its agents any more.
pub fn group_farewell(origin: &Origin, last: &CollectorGroupStatus) -> Option<Notice> {
    let was = last.agents.quarantined;
    let message = format!("the group is deleted; {was} of its agents were left alone");
    let told = || {
        let (kind, reason) = (Kind::AgentsReleased, Reason::Released.as_str());
        Notice::new(origin, kind, Severity::Info, reason, Detail::Group(detail(last))).saying(message)
    };
    (was > 0).then(told)
}

/// How many binary digits a number has.
fn magnitude(number: i64) -> u32 {
    i64::BITS - number.max(0).leading_zeros()
}

fn detail(status: &CollectorGroupStatus) -> GroupDetail {
    let quarantined = status.problems.iter().filter(|problem| problem.kind == ProblemKind::Quarantined);
    let named = quarantined.take(MAX_NAMED).map(|problem| Named {
        agent: problem.agent.clone(),
        host: problem.host.clone(),
        reason: "Quarantined".to_owned(),
        message: problem.message.clone(),
    });
    GroupDetail {
        agents: GroupCounts {
            matched: status.agents.matched,
            connected: status.agents.connected,
            quarantined: status.agents.quarantined,
        },
        quarantined: named.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AgentCounts, Problem};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn status(quarantined: i64) -> CollectorGroupStatus {
        let problem = |n: i64| Problem {
            agent: format!("agent-{n}"),
            host: format!("host-{n}"),
            kind: ProblemKind::Quarantined,
            message: "Modified at exporters".to_owned(),
            since: Time(Timestamp::UNIX_EPOCH),
        };
        CollectorGroupStatus {
            agents: AgentCounts { matched: 100, connected: 90, quarantined, ..AgentCounts::default() },
            problems: (0..quarantined.min(10)).map(problem).collect(),
            ..CollectorGroupStatus::default()
        }
    }

    fn origin() -> Origin {
        Origin {
            namespace: "shop".into(),
            name: "edge".into(),
            uid: "u".into(),
            version: "7".into(),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    fn told(was: i64, is: i64) -> Vec<Notice> {
        group_notices(&origin(), &status(was), &status(is))
    }

    #[test]
    fn group_that_is_deleted_has_no_quarantined_agents_any_more() {
        assert_eq!(group_farewell(&origin(), &status(0)), None);
        let notice = group_farewell(&origin(), &status(3)).expect("something to tell");
        assert_eq!((notice.kind, notice.reason.as_str()), (Kind::AgentsReleased, "Released"));
        assert_eq!(notice.message, "the group is deleted; 3 of its agents were left alone");
    }

    #[test]
    fn quarantined_agents_are_told_when_they_begin_double_and_end() {
        let kinds = |was, is| told(was, is).iter().map(|notice| notice.kind).collect::<Vec<_>>();
        for (was, is) in [(0, 1), (1, 2), (3, 4), (0, 50), (60, 64)] {
            assert_eq!(kinds(was, is), [Kind::AgentsQuarantined], "{was} to {is}");
        }
        for (was, is) in [(0, 0), (2, 3), (4, 7), (7, 4), (2, 1), (64, 100)] {
            assert_eq!(kinds(was, is), [], "{was} to {is}");
        }
        assert_eq!(kinds(5, 0), [Kind::AgentsReleased]);
        let one_by_one = (0..1000).map(|n| kinds(n, n + 1).len()).sum::<usize>();
        assert_eq!(one_by_one, 10, "a thousand agents, one by one");
    }

    #[test]
    fn few_of_the_quarantined_agents_are_named() {
        let notice = told(0, 50).remove(0);
        let Detail::Group(detail) = &notice.detail else { panic!("of a group") };
        assert_eq!((detail.quarantined.len(), detail.quarantined[0].host.as_str()), (MAX_NAMED, "host-0"));
        assert_eq!(
            notice.message,
            "50 of 100 agents are left alone, because nothing that was tried has lasted"
        );
        assert_eq!((notice.severity, notice.reason.as_str()), (Severity::Warning, "AgentsQuarantined"));
        assert_eq!(notice.title(), "Group shop/edge has quarantined agents");
    }
}
