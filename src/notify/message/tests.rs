use super::super::file::{Receivers, parse};
use super::super::notice::{
    Detail, GroupCounts, GroupDetail, Kind, Named, Origin, RolloutCounts, RolloutDetail, Severity,
};
use super::*;
use serde_json::Value;
use strum::IntoEnumIterator;

fn receivers(more: &str) -> Vec<Receiver> {
    let text = format!(
        "cluster: eu-1\nreceivers:\n\
         - name: chat\n  slack: {{url: 'https://hooks.example.com/x'}}\n\
         - name: pager\n  pagerduty: {{routingKey: 0123456789abcdef0123456789abcdef{more}}}\n\
         - name: hook\n  webhook: {{url: 'https://example.com/x', signingKeys: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}}\n"
    );
    let Receivers(receivers) = parse(&text).expect("a file");
    receivers
}

fn notice(kind: Kind) -> Notice {
    let origin = Origin {
        namespace: "shop".into(),
        name: "web".into(),
        uid: "5f1d".into(),
        version: "4711".into(),
        time: "2026-01-02T03:04:05Z".parse().expect("a time"),
    };
    let named = Named {
        agent: "0190c3f5".into(),
        host: "web-1".into(),
        reason: "Failed".into(),
        message: "unknown type: \"<!channel> & *co*\"".into(),
    };
    let agents = matches!(kind, Kind::AgentsQuarantined | Kind::AgentsReleased);
    let detail = if agents {
        let agents = GroupCounts { matched: 100, connected: 98, quarantined: 3 };
        Detail::Group(GroupDetail { agents, quarantined: vec![named] })
    } else {
        Detail::Rollout(RolloutDetail {
            group: "edge".into(),
            state: "RollingBack".into(),
            attempt: Some(2),
            phase: Some("1/4 canary".into()),
            target_revision: Some("web-3".into()),
            stable_revision: Some("web-2".into()),
            agents: RolloutCounts { total: 100, targeted: 2, updated: 1, healthy: 1, failed: 1 },
            failures: vec![named],
        })
    };
    let severity =
        if kind.turn() == super::super::notice::Turn::Trouble { Severity::Error } else { Severity::Info };
    Notice::new(&origin, kind, severity, "TooManyFailures", detail)
        .saying("web-3 is rolled back to web-2: 1 of 2 agents failed <https://evil|here>".into())
}

fn shown(receiver: &Receiver, kind: Kind, left_out: u64) -> String {
    let now = "2026-01-02T03:04:06Z".parse().expect("a time");
    let Message { headers, body } = message(receiver, &notice(kind), left_out, now);
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let headers: Vec<String> = headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{}\n\n{}", headers.join("\n"), serde_json::to_string_pretty(&body).expect("JSON"))
}

#[test]
fn messages_for_slack_are_as_they_were_looked_at() {
    let chat = &receivers("")[0];
    insta::assert_snapshot!("slack_failed", shown(chat, Kind::RolloutFailed, 4));
    insta::assert_snapshot!("slack_approval", shown(chat, Kind::RolloutAwaitingApproval, 0));
    insta::assert_snapshot!("slack_quarantined", shown(chat, Kind::AgentsQuarantined, 0));
}

#[test]
fn events_for_pagerduty_are_as_they_were_looked_at() {
    let pager = &receivers("")[1];
    insta::assert_snapshot!("pagerduty_failed", shown(pager, Kind::RolloutFailed, 4));
    insta::assert_snapshot!("pagerduty_quarantined", shown(pager, Kind::AgentsQuarantined, 0));
    insta::assert_snapshot!("pagerduty_completed", shown(pager, Kind::RolloutCompleted, 4));
}

#[test]
fn events_for_webhooks_are_as_they_were_looked_at() {
    let hook = &receivers("")[2];
    insta::assert_snapshot!("webhook_failed", shown(hook, Kind::RolloutFailed, 4));
    insta::assert_snapshot!("webhook_quarantined", shown(hook, Kind::AgentsQuarantined, 0));
}

#[test]
fn what_begins_with_one_key_ends_with_it_whatever_it_was() {
    let pager = &receivers("")[1];
    let key = |kind| {
        let Message { body, .. } = message(pager, &notice(kind), 0, Timestamp::UNIX_EPOCH);
        let event: Value = serde_json::from_slice(&body).expect("JSON");
        (event["dedup_key"].as_str().expect("a key").to_owned(), event["event_action"].clone())
    };
    let rollout = "opamp-operator/eu-1/namespaces/shop/configrollouts/web";
    let group = "opamp-operator/eu-1/namespaces/shop/collectorgroups/web";
    for kind in Kind::iter().filter(|kind| pager.wants(&notice(*kind))) {
        let (expected, action) = match kind {
            Kind::RolloutFailed | Kind::RolloutRolledBack | Kind::RolloutStalled => (rollout, "trigger"),
            Kind::RolloutCompleted | Kind::RolloutResumed | Kind::RolloutAbandoned => (rollout, "resolve"),
            Kind::AgentsQuarantined => (group, "trigger"),
            Kind::AgentsReleased => (group, "resolve"),
            Kind::RolloutStarted | Kind::RolloutAwaitingApproval => panic!("{kind:?} is none of a pager's"),
        };
        assert_eq!(key(kind), (expected.to_owned(), action.into()), "{kind:?}");
    }
    let long = Notice { name: "n".repeat(253), ..notice(Kind::AgentsQuarantined) };
    let short = super::super::pagerduty::dedup_key(&long, "eu-1");
    assert!(short.len() <= 255 && short != super::super::pagerduty::dedup_key(&long, "eu-2"), "{short}");
}

#[test]
fn severities_of_the_file_come_before_those_of_the_notice() {
    let severity = |more: &str, kind| {
        let Message { body, .. } = message(&receivers(more)[1], &notice(kind), 0, Timestamp::UNIX_EPOCH);
        serde_json::from_slice::<Value>(&body).expect("JSON")["payload"]["severity"].clone()
    };
    let mapped = ", severities: {RolloutFailed: critical}";
    assert_eq!(severity("", Kind::RolloutFailed), "error");
    assert_eq!(severity(mapped, Kind::RolloutFailed), "critical");
    assert_eq!(severity(mapped, Kind::RolloutStalled), "error");
}

#[test]
fn receivers_are_told_what_they_want_of_the_namespaces_that_they_want() {
    let wants = |filter: &str, namespace: &str, kind: Kind| {
        let text = format!("receivers: [{{name: a, {filter}}}]");
        let receiver = parse(&text).expect("a file").0.remove(0);
        receiver.wants(&Notice { namespace: namespace.into(), ..notice(kind) })
    };
    let slack = "slack: {url: 'https://a/'}";
    let pager = "pagerduty: {routingKey: 0123456789abcdef0123456789abcdef}";
    for (filter, namespace, kind, expected) in [
        (slack.to_owned(), "any", Kind::RolloutStarted, true),
        (format!("{slack}, namespaces: [shop]"), "shop", Kind::RolloutStarted, true),
        (format!("{slack}, namespaces: [shop]"), "shop-2", Kind::RolloutStarted, false),
        (format!("{slack}, namespaces: ['shop*']"), "shop-2", Kind::RolloutStarted, true),
        (format!("{slack}, namespaces: ['*']"), "any", Kind::RolloutStarted, true),
        (format!("{slack}, namespaces: [a, 'b-*']"), "b", Kind::RolloutStarted, false),
        (format!("{slack}, events: [RolloutFailed]"), "any", Kind::RolloutFailed, true),
        (format!("{slack}, events: [RolloutFailed]"), "any", Kind::RolloutCompleted, false),
        (pager.to_owned(), "any", Kind::RolloutStarted, false),
        (format!("{pager}, events: [RolloutFailed]"), "any", Kind::RolloutStalled, false),
        (format!("{pager}, events: [RolloutFailed]"), "any", Kind::RolloutCompleted, true),
        (format!("{pager}, namespaces: [shop]"), "any", Kind::RolloutCompleted, false),
    ] {
        assert_eq!(wants(&filter, namespace, kind), expected, "{filter} {namespace} {kind:?}");
    }
}

/// What people write their receivers by.
#[test]
fn event_of_the_page_is_one() {
    let page = include_str!("../../../docs/notifications.md");
    let (_, rest) = page.split_once("```json\n").expect("a block");
    let (shown, _) = rest.split_once("```").expect("its end");
    let notice = notice(Kind::RolloutFailed);
    let shown = shown.replace("msg_WEBHOOK_ID", &notice.id);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(super::super::webhook::payload(&notice, "eu-1", 4), shown);
}
