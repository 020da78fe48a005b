//! Agents are told where to send their own telemetry: once over each connection, and in the leader's order.

use super::*;
use crate::api::TelemetryStatus;
use crate::fleet::moving::{Part, wire_hash};
use crate::fleet::{
    Capabilities, Principal, Rank, SettingsReport, Successor, TelemetryView, TokenName, Tokens,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const REPORTS_METRICS: Capabilities = Capabilities(TAKES_CONFIG.0 | 0x40);

fn telemetry(n: u8, boundary: &str) -> Arc<TelemetryView> {
    let status = TelemetryStatus {
        hash: hash(n).to_string(),
        boundary: boundary.to_owned(),
        began: Time(at(0)),
        since: Time(at(0)),
    };
    TelemetryView::new(hash(n), vec![n].into(), ["s3cret-header".into()].into(), &status)
        .expect("a view")
        .into()
}

fn telling(n: u8, boundary: &str) -> Arc<View> {
    view([GroupView { telemetry: Some(telemetry(n, boundary)), ..group("g", None, None) }])
}

fn everybody() -> String {
    Rank::ALL.to_string()
}

fn reporting() -> Report {
    Report { capabilities: Some(REPORTS_METRICS), ..full() }
}

/// What an agent is told now.
fn told(roster: &mut Roster, n: u32) -> Option<(u8, ConfigHash)> {
    roster.take_telemetry(&key(n)).map(|told| (told.payload[0], told.hash))
}

#[test]
fn agent_is_told_with_its_first_answer_then_of_changes_and_again_when_it_returns() {
    let mut roster = roster();
    roster.set_view(telling(A, &everybody()), at(0));
    roster.receive(&key(1), reporting(), SOCKET, at(1));
    assert_eq!(told(&mut roster, 1), Some((A, hash(A))));
    assert_eq!(told(&mut roster, 1), None);
    assert_eq!(roster.set_view(telling(B, &everybody()), at(2)), [key(1)], "its socket is woken");
    assert_eq!(told(&mut roster, 1), Some((B, hash(B))));
    assert_eq!(roster.set_view(telling(B, &everybody()), at(3)), []);
    roster.receive(&key(1), Report::default(), OTHER_SOCKET, at(4));
    assert_eq!(told(&mut roster, 1), Some((B, hash(B))), "it may have lost it");
}

#[test]
fn only_agents_that_report_telemetry_and_are_known_are_told_and_nobody_while_nothing_is_offered() {
    for (report, expected) in [
        (reporting(), true),
        (Report { capabilities: Some(Capabilities(TAKES_CONFIG.0 | 0x20)), ..full() }, true),
        (Report { capabilities: Some(Capabilities(0x1 | 0x80)), ..full() }, true),
        (full(), false),
        (Report { full: false, ..reporting() }, false),
    ] {
        let shown = format!("{report:?}");
        let mut roster = roster();
        roster.set_view(telling(A, &everybody()), at(0));
        roster.receive(&key(1), report, SOCKET, at(1));
        roster.suspend(true, at(1));
        assert_eq!(told(&mut roster, 1), None);
        roster.suspend(false, at(1));
        assert_eq!(told(&mut roster, 1).is_some(), expected, "{shown}");
    }
    let mut roster = serving(None, None);
    roster.receive(&key(1), reporting(), SOCKET, at(1));
    assert_eq!(told(&mut roster, 1), None, "the group says nothing of it");
}

#[test]
fn agent_beyond_the_boundary_is_told_when_it_is_raised() {
    let ranks = |n: u32| crate::fleet::order_of(hash(A)).rank(uid(n));
    let (low, high) = if ranks(1) < ranks(2) { (1, 2) } else { (2, 1) };
    let mut roster = roster();
    roster.set_view(telling(A, &ranks(low).to_string()), at(0));
    for n in [1, 2] {
        roster.receive(&key(n), reporting(), Link::Socket(n.into()), at(1));
    }
    assert!(told(&mut roster, high).is_none());
    assert!(told(&mut roster, low).is_some());
    assert_eq!(roster.set_view(telling(A, &ranks(high).to_string()), at(2)), [key(high)]);
    assert!(told(&mut roster, high).is_some());
}

#[test]
fn status_of_other_settings_than_were_read_makes_no_view() {
    let status = TelemetryStatus {
        hash: hash(A).to_string(),
        boundary: everybody(),
        began: Time(at(0)),
        since: Time(at(0)),
    };
    assert!(TelemetryView::new(hash(B), vec![B].into(), Box::default(), &status).is_none());
    let garbled = TelemetryStatus { boundary: "x".to_owned(), ..status };
    assert!(TelemetryView::new(hash(A), vec![A].into(), Box::default(), &garbled).is_none());
}

#[test]
fn agent_that_says_that_it_has_these_settings_or_refuses_them_is_not_told_again() {
    for (reported, failed, expected) in [(A, false, false), (A, true, false), (B, false, true)] {
        let mut roster = roster();
        roster.set_view(telling(A, &everybody()), at(0));
        roster.receive(&key(1), reporting(), SOCKET, at(1));
        let settings = Some(SettingsReport { hash: Some(hash(reported)), failed }.into());
        roster.receive(&key(1), Report { settings, ..Report::default() }, SOCKET, at(2));
        assert_eq!(told(&mut roster, 1).is_some(), expected, "{reported:x} {failed}");
    }
}

#[test]
fn refusal_of_a_token_is_told_from_one_of_telemetry() {
    let token = TokenName { secret: "edge".into(), key: "a".into() };
    let holder = Arc::new(Principal::new("ns", "ns/edge", attributes(&[])).by(token));
    let successor = Successor { key: "b".into(), hash: hash(C), payload: vec![C].into() };
    let tokens =
        Tokens { known: Vec::new(), successors: [(holder.mark().expect("a mark"), successor)].into() };
    let capabilities = Capabilities(REPORTS_METRICS.0 | Capabilities::ACCEPTS_CONNECTION_SETTINGS.0);
    let mut roster = roster();
    roster.set_view(telling(A, &everybody()), at(0));
    roster.set_tokens(tokens);
    let comes = || Report { principal: Some(holder.clone()), capabilities: Some(capabilities), ..full() };
    roster.receive(&key(1), comes(), SOCKET, at(1));
    let [connection, telemetry] =
        [Part::Connection, Part::Telemetry].map(|part| wire_hash(part, Some(hash(C)), Some(hash(A))));
    assert_ne!(connection, telemetry);
    assert_eq!(told(&mut roster, 1), Some((A, telemetry)));
    let refuses =
        |hash| Report { settings: Some(SettingsReport { hash: Some(hash), failed: true }.into()), ..comes() };
    roster.receive(&key(1), refuses(telemetry), SOCKET, at(2));
    roster.expire(at(3));
    assert_eq!(roster.take_move(&key(1), at(3)).map(|(hash, _)| hash), Some(connection));
    roster.receive(&key(1), refuses(connection), OTHER_SOCKET, at(4));
    roster.expire(at(9999));
    assert!(roster.take_move(&key(1), at(9999)).is_none());
    assert!(told(&mut roster, 1).is_some());
}

#[test]
fn header_in_a_failure_is_masked() {
    let mut roster = roster();
    let telemetry = Some(telemetry(B, &everybody()));
    roster.set_view(view([GroupView { telemetry, ..group("g", None, Some(A)) }]), at(0));
    roster.receive(&key(1), reporting(), SOCKET, at(1));
    roster.receive(&key(1), failed(A, "cannot send s3cret-header"), SOCKET, at(2));
    let Some(Verdict::Failed(words)) = ledger(&roster, 1).get(hash(A)) else { panic!("not failed") };
    assert_eq!(&**words, "cannot send [REDACTED]");
}
