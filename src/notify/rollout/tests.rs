use super::super::notice::Turn;
use super::*;
use crate::api::{Cohort, Conditions, CurrentPhase, FailureEntry, RolloutAgentCounts};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

fn origin() -> Origin {
    Origin {
        namespace: "shop".into(),
        name: "web".into(),
        uid: "0a".into(),
        version: "41".into(),
        time: Timestamp::UNIX_EPOCH,
    }
}

/// The status of an attempt in this stage, which the state shows.
fn at(attempt: i64, stage: Stage) -> ConfigRolloutStatus {
    let (shown, reason) = match stage {
        Stage::Running | Stage::Unknown => (RolloutState::Progressing, Reason::Progressing),
        Stage::Held => (RolloutState::Paused, Reason::TooManyFailures),
        Stage::RollingBack => (RolloutState::RollingBack, Reason::TooManyFailures),
        Stage::RolledBack => (RolloutState::RolledBack, Reason::TooManyFailures),
        Stage::Halted => (RolloutState::Halted, Reason::TooManyFailures),
        Stage::Completed => (RolloutState::Completed, Reason::Completed),
    };
    let ended = if has_failed(stage) { "3 of 10 agents failed".to_owned() } else { String::new() };
    let status = ConfigRolloutStatus {
        target_revision: Some("web-2".into()),
        stable_revision: Some("web-1".into()),
        cohort: Some(Cohort { attempt, stage, ended, ..Cohort::default() }),
        agents: RolloutAgentCounts {
            total: 100,
            eligible: 98,
            targeted: 10,
            failed: 3,
            ..Default::default()
        },
        ..ConfigRolloutStatus::default()
    };
    showing(status, shown, reason, matches!(stage, Stage::RolledBack | Stage::Halted))
}

/// The same with another state, for this reason.
fn showing(
    status: ConfigRolloutStatus,
    state: RolloutState,
    reason: Reason,
    stalled: bool,
) -> ConfigRolloutStatus {
    let mut conditions = Conditions::new(Vec::new(), None, Timestamp::UNIX_EPOCH);
    conditions.set(ConditionType::Ready, state == RolloutState::Completed, reason, "words");
    if stalled {
        conditions.set(ConditionType::Stalled, true, reason, "words");
    }
    ConfigRolloutStatus { state, message: "words".into(), conditions: conditions.into_list(), ..status }
}

fn stuck(status: ConfigRolloutStatus, reason: Reason) -> ConfigRolloutStatus {
    let state = status.state;
    showing(status, state, reason, true)
}

fn in_phase(index: i64, state: RolloutState) -> ConfigRolloutStatus {
    let time = Time(Timestamp::UNIX_EPOCH);
    let phase = CurrentPhase {
        index,
        name: "canary".into(),
        display: format!("{}/2 canary", index + 1),
        started_at: time.clone(),
        progress_at: time,
        boundary: None,
        raised_at: None,
        soak_until: None,
        paused_at: None,
    };
    let running = at(1, Stage::Running);
    ConfigRolloutStatus { state, current_phase: Some(phase), ..running }
}

fn told(before: &ConfigRolloutStatus, after: &ConfigRolloutStatus) -> Vec<Kind> {
    rollout_notices(&origin(), "edge", before, after).iter().map(|notice| notice.kind).collect()
}

#[test]
fn each_turn_of_a_rollout_is_told_once() {
    use Kind::{
        RolloutAwaitingApproval as Awaits, RolloutCompleted as Completed, RolloutFailed as Failed,
        RolloutResumed as Resumed, RolloutRolledBack as RolledBack, RolloutStalled as Stalled,
        RolloutStarted as Started,
    };
    let none = ConfigRolloutStatus::default();
    let pending = showing(none.clone(), RolloutState::Pending, Reason::NoReachableAgents, false);
    let invalid = showing(none.clone(), RolloutState::Invalid, Reason::InvalidConfig, true);
    let running = at(1, Stage::Running);
    let slow = stuck(running.clone(), Reason::ProgressDeadlineExceeded);
    let lost = stuck(running.clone(), Reason::ConnectivityLost);
    let rejected = showing(at(1, Stage::RolledBack), RolloutState::Pending, Reason::RevisionRejected, true);
    let approval = RolloutState::AwaitingApproval;
    for (what, before, after, expected) in vec![
        ("nobody is there yet", none.clone(), pending.clone(), vec![]),
        ("the first attempt", pending.clone(), running.clone(), vec![Started]),
        ("another attempt", at(1, Stage::Completed), at(2, Stage::Running), vec![Started]),
        ("more agents have it", running.clone(), in_phase(0, RolloutState::Soaking), vec![]),
        ("a person is asked", in_phase(0, RolloutState::Soaking), in_phase(0, approval), vec![Awaits]),
        ("of the next phase too", in_phase(0, approval), in_phase(1, approval), vec![Awaits]),
        ("the last phase has passed", running.clone(), at(1, Stage::Completed), vec![Completed]),
        ("it is over at once", pending.clone(), at(1, Stage::Completed), vec![Started, Completed]),
        ("the gate fails", running.clone(), at(1, Stage::RollingBack), vec![Failed]),
        ("all are back", at(1, Stage::RollingBack), at(1, Stage::RolledBack), vec![RolledBack]),
        ("nobody has to go back", running.clone(), at(1, Stage::RolledBack), vec![Failed, RolledBack]),
        ("it is held", running.clone(), at(1, Stage::Held), vec![Failed]),
        ("it is halted", running.clone(), at(1, Stage::Halted), vec![Failed]),
        ("a held one is aborted", at(1, Stage::Held), at(1, Stage::RollingBack), vec![Failed]),
        ("a held one is retried", at(1, Stage::Held), running.clone(), vec![Resumed]),
        ("a halted one is retried", at(1, Stage::Halted), running.clone(), vec![Resumed]),
        ("new content after a rollback", at(1, Stage::RolledBack), at(2, Stage::Running), vec![Started]),
        ("it is stuck", running.clone(), slow.clone(), vec![Stalled]),
        ("it is stuck otherwise", slow.clone(), lost.clone(), vec![Stalled]),
        ("it goes on", slow.clone(), running.clone(), vec![Resumed]),
        ("it completes after all", slow.clone(), at(1, Stage::Completed), vec![Completed]),
        ("it fails while it is stuck", slow.clone(), at(1, Stage::RollingBack), vec![Failed]),
        ("new content while it is stuck", slow.clone(), at(2, Stage::Running), vec![Started, Resumed]),
        ("content that cannot be sent", none.clone(), invalid.clone(), vec![Stalled]),
        ("it is mended", invalid.clone(), running.clone(), vec![Started, Resumed]),
        ("content was rejected before", at(1, Stage::RolledBack), rejected.clone(), vec![Stalled]),
        ("and is put aside, which mends nothing", rejected.clone(), at(1, Stage::RolledBack), vec![]),
    ] {
        assert_eq!(told(&before, &after), expected, "{what}");
        assert_eq!(told(&after, &after), [], "{what}, and nothing more");
    }
}

/// A new leader stamps its term on every status, and decides the rest anew.
#[test]
fn nothing_is_told_again_when_the_leader_changes() {
    for stage in
        [Stage::Running, Stage::Held, Stage::RollingBack, Stage::RolledBack, Stage::Halted, Stage::Completed]
    {
        for before in [
            at(1, stage),
            stuck(at(1, stage), Reason::ConnectivityLost),
            in_phase(0, RolloutState::AwaitingApproval),
        ] {
            let mut after = before.clone();
            after.leader_term = Some(9);
            after.observed_generation = Some(4);
            after.agents.updated += 1;
            assert_eq!(told(&before, &after), [], "{stage:?}");
        }
    }
}

/// Also if the incident is older than what the status shows: another attempt is under way.
#[test]
fn rollout_that_is_deleted_is_told_unless_it_was_complete_or_never_began() {
    let none = ConfigRolloutStatus::default();
    let pending = showing(none.clone(), RolloutState::Pending, Reason::NoReachableAgents, false);
    let completed = at(1, Stage::Completed);
    let farewell = |status: &ConfigRolloutStatus| rollout_farewell(&origin(), "edge", status);
    for (last, expected) in [
        (&none, false),
        (&pending, false),
        (&completed, false),
        (&stuck(pending.clone(), Reason::GroupTaken), true),
        (&stuck(completed.clone(), Reason::RevisionRejected), true),
        (&at(1, Stage::Running), true),
        (&in_phase(0, RolloutState::AwaitingApproval), true),
        (&at(1, Stage::Held), true),
        (&at(1, Stage::RollingBack), true),
        (&at(1, Stage::RolledBack), true),
        (&at(1, Stage::Halted), true),
        (&at(2, Stage::Running), true),
    ] {
        assert_eq!(farewell(last).is_some(), expected, "{last:?}");
    }
    let notice = farewell(&at(1, Stage::Halted)).expect("something to tell");
    assert_eq!((notice.kind, notice.kind.turn()), (Kind::RolloutAbandoned, Turn::Relief));
    assert_eq!((notice.reason.as_str(), notice.severity), ("RolloutDeleted", Severity::Info));
    assert_eq!(notice.title(), "Rollout shop/web is abandoned");
    assert_eq!(
        notice.message,
        "it was deleted, and agents keep what they run; the rollout was Halted: words"
    );
}

/// Nothing becomes of it then, and nothing can be done about it but to delete it too.
#[test]
fn what_is_open_is_over_when_the_group_is_deleted_and_what_has_failed_is_told_again_when_it_is_back() {
    let without =
        |status: ConfigRolloutStatus| showing(status, RolloutState::Pending, Reason::GroupNotFound, false);
    let slow = stuck(at(1, Stage::Running), Reason::ProgressDeadlineExceeded);
    let failed = [Kind::RolloutFailed];
    for (before, ends, again) in [
        (ConfigRolloutStatus::default(), false, &[][..]),
        (at(1, Stage::Completed), false, &[]),
        (at(1, Stage::Running), true, &[]),
        (slow, true, &[Kind::RolloutStalled]),
        (at(1, Stage::Held), true, &failed),
        (at(1, Stage::Halted), true, &failed),
        (at(1, Stage::RollingBack), true, &failed),
        (at(1, Stage::RolledBack), true, &[Kind::RolloutFailed, Kind::RolloutRolledBack]),
    ] {
        let gone = without(before.clone());
        let expected = if ends { vec![Kind::RolloutAbandoned] } else { vec![] };
        assert_eq!(told(&before, &gone), expected, "{before:?}");
        assert_eq!(told(&gone, &gone), [], "once");
        assert_eq!(rollout_farewell(&origin(), "edge", &gone), None, "nor again when it is deleted too");
        assert_eq!(told(&gone, &before), again, "{before:?}");
    }
    let halted = at(1, Stage::Halted);
    let notice = rollout_notices(&origin(), "edge", &halted, &without(halted.clone())).remove(0);
    assert_eq!(notice.reason, "GroupNotFound");
    assert_eq!(
        notice.message,
        "its group edge was deleted, and agents keep what they run; the rollout was Halted: words"
    );
}

/// Whatever opened an incident is followed by what ends it.
#[test]
fn every_trouble_that_is_over_is_told_to_be_over() {
    let running = at(1, Stage::Running);
    let slow = stuck(running.clone(), Reason::ProgressDeadlineExceeded);
    for course in [
        vec![running.clone(), slow.clone(), running.clone()],
        vec![running.clone(), slow.clone(), at(1, Stage::Completed)],
        vec![running.clone(), slow, at(2, Stage::Running)],
        vec![running.clone(), at(1, Stage::Held), running.clone()],
        vec![
            running.clone(),
            at(1, Stage::RollingBack),
            at(1, Stage::RolledBack),
            at(2, Stage::Running),
            at(2, Stage::Completed),
        ],
        vec![running.clone(), at(1, Stage::Halted), at(2, Stage::Running), at(2, Stage::Completed)],
    ] {
        let turns = course.windows(2).flat_map(|pair| told(&pair[0], &pair[1]));
        let turns: Vec<Turn> = turns.map(Kind::turn).filter(|turn| *turn != Turn::Course).collect();
        assert_eq!((turns.first(), turns.last()), (Some(&Turn::Trouble), Some(&Turn::Relief)), "{turns:?}");
    }
}

#[test]
fn notice_has_what_a_person_needs_and_how_bad_it_is() {
    let failure = |n: usize| FailureEntry {
        agent: format!("agent-{n}"),
        host: format!("host-{n}"),
        reason: "Failed".into(),
        message: "no such exporter".into(),
        at: Time(Timestamp::UNIX_EPOCH),
    };
    let mut failed = at(1, Stage::RollingBack);
    failed.failures = (0..5).rev().map(failure).collect();
    let notice = rollout_notices(&origin(), "edge", &at(1, Stage::Running), &failed).remove(0);
    assert_eq!(notice.title(), "Rollout shop/web has failed");
    assert_eq!(notice.message, "web-2 is rolled back to web-1: 3 of 10 agents failed");
    assert_eq!((notice.reason.as_str(), notice.severity), ("TooManyFailures", Severity::Error));
    let Detail::Rollout(detail) = &notice.detail else { panic!("of a rollout") };
    let hosts: Vec<&str> = detail.failures.iter().map(|failure| failure.host.as_str()).collect();
    assert_eq!(hosts, ["host-0", "host-1", "host-2"], "the first ones");
    assert_eq!((detail.group.as_str(), detail.agents.total, detail.agents.failed), ("edge", 100, 3));

    let severity = |stage, reason| {
        let after = showing(at(1, stage), at(1, stage).state, reason, false);
        rollout_notices(&origin(), "edge", &at(1, Stage::Running), &after)[0].severity
    };
    for (stage, reason, expected) in [
        (Stage::Held, Reason::TooManyFailures, Severity::Error),
        (Stage::Halted, Reason::TooManyFailures, Severity::Critical),
        (Stage::Halted, Reason::Aborted, Severity::Warning),
        (Stage::RollingBack, Reason::Aborted, Severity::Warning),
        (Stage::Completed, Reason::Completed, Severity::Info),
    ] {
        assert_eq!(severity(stage, reason), expected, "{stage:?} {reason:?}");
    }
}

#[test]
fn id_of_a_notice_is_that_of_the_write_and_the_kind() {
    let (before, after) = (at(1, Stage::Running), at(1, Stage::RolledBack));
    let ids = |origin: &Origin| {
        let notices = rollout_notices(origin, "edge", &before, &after);
        notices.into_iter().map(|notice| notice.id).collect::<Vec<_>>()
    };
    let first = ids(&origin());
    assert_eq!(first, ids(&Origin { time: Timestamp::MAX, ..origin() }), "whoever tells it, and when");
    assert_ne!(first[0], first[1]);
    for other in [Origin { version: "42".into(), ..origin() }, Origin { uid: "0b".into(), ..origin() }] {
        assert!(ids(&other).iter().all(|id| !first.contains(id)));
    }
    assert!(
        first[0].starts_with("msg_") && !first[0].contains('.'),
        "as the signature's scheme wants it: {}",
        first[0]
    );
}
