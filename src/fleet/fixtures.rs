//! What this module's tests share: short ways to make hashes, revisions, groups and agents.

use super::{
    Agent, AgentKey, Attributes, Capabilities, Cause, ConfigReport, Delays, Description, Faltered, GroupView,
    InstanceUid, Ledger, Link, News, ObservedAgent, Order, Ordered, Outcome, Payload, Report, Revision,
    Rings, Roster, Treatment, View,
};
use crate::api::AttributeSelector;
use crate::config::{ConfigFile, ConfigHash, Desired, Form};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Two revisions.
pub const A: u8 = 0xaa;
pub const B: u8 = 0xbb;
pub const C: u8 = 0xcc;
/// What a supervisor is able to do.
pub const TAKES_CONFIG: Capabilities =
    Capabilities(Capabilities::ACCEPTS_REMOTE_CONFIG.0 | Capabilities::REPORTS_REMOTE_CONFIG.0);
pub const SOCKET: Link = Link::Socket(1);
pub const OTHER_SOCKET: Link = Link::Socket(2);

pub fn hash(n: u8) -> ConfigHash {
    ConfigHash::from_bytes([n; 32])
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("in range")
}

pub fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub fn revision(n: u8) -> Arc<Revision> {
    secret_revision(n, &[])
}

pub fn secret_revision(n: u8, secrets: &[&str]) -> Arc<Revision> {
    let secrets = secrets.iter().map(|text| Box::from(*text)).collect();
    let payload = Payload { files: vec![n].into(), ..Payload::default() };
    Arc::new(Revision {
        name: format!("r-{n:x}").into(),
        hash: hash(n),
        payload,
        desired: Some(desired(n)),
        needs: None,
        secrets,
    })
}

/// What such a revision wants: a receiver with its number.
pub fn desired(n: u8) -> Desired {
    Desired::collector(&[effective(n)]).expect("YAML")
}

/// What an agent that runs such a revision reports as effective.
pub fn effective(n: u8) -> ConfigFile {
    ConfigFile::new("", "", format!("receivers: {{nop: {{number: {n}}}}}").into_bytes())
}

/// A group of all agents, with this assignment.
pub fn group(name: &str, target: Option<u8>, stable: Option<u8>) -> GroupView {
    GroupView::of_all(name, target.map(revision), stable.map(revision))
}

pub fn selector(key: &str, value: &str) -> AttributeSelector {
    AttributeSelector { match_labels: [(key.into(), value.into())].into(), ..Default::default() }
}

/// A view of these groups of the namespace `ns`.
pub fn view(groups: impl IntoIterator<Item = GroupView>) -> Arc<View> {
    Arc::new(View::new(groups.into_iter().map(|group| ("ns".into(), group))))
}

pub fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    Attributes::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())), [])
}

pub fn uid(n: u32) -> InstanceUid {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    InstanceUid::new(bytes)
}

pub fn key(n: u32) -> AgentKey {
    AgentKey { namespace: "ns".into(), uid: uid(n) }
}

/// A full state of a supervisor that was never given a configuration.
pub fn full() -> Report {
    Report {
        full: true,
        description: Some(describe("host")),
        capabilities: Some(TAKES_CONFIG),
        ..config(None, Outcome::Unset)
    }
}

pub fn describe(host: &str) -> Description {
    Description { attributes: attributes(&[("host.name", host)]) }
}

/// A message that says what became of a configuration.
pub fn config(n: Option<u8>, outcome: Outcome) -> Report {
    Report { config: Some(reported(n, outcome)), ..Report::default() }
}

pub fn reported(n: Option<u8>, outcome: Outcome) -> ConfigReport {
    ConfigReport { hash: n.map(hash), form: Form::Plain, outcome }
}

/// The same of a correction.
pub fn corrected(counter: u8, mut report: Report) -> Report {
    report.config.iter_mut().for_each(|config| config.form = Form::Correction(counter));
    report
}

pub fn applied(n: u8) -> Report {
    config(Some(n), Outcome::Applied)
}

pub fn applying(n: u8) -> Report {
    config(Some(n), Outcome::Applying)
}

pub fn failed(n: u8, message: &str) -> Report {
    config(Some(n), Outcome::Failed(message.to_owned()))
}

/// An agent that has just connected and sent its full state.
pub fn agent() -> Agent {
    let mut agent = Agent::new(uid(1), at(0));
    agent.receive(full(), SOCKET, None, at(0));
    agent
}

/// A healthy agent of the group `g` as the leader sees it, connected at this time, which runs nothing of ours.
pub fn seen(uid: InstanceUid, now: Timestamp) -> ObservedAgent {
    ObservedAgent {
        uid,
        bound: None,
        bound_since: now.as_second(),
        contested: false,
        host: "host".into(),
        group: Some("g".into()),
        rings: Rings::default(),
        overlapping: None,
        connected: true,
        healthy: Some(true),
        accepts_config: true,
        reports_config: true,
        reports_effective: false,
        running: None,
        ledger: Ledger::default(),
        since: now,
        news: News { at: now, number: 0 },
        visits: false,
        reachable_since: now,
        health_since: now,
        started: None,
        build: None,
        adoptee: None,
        faltered: Faltered::default(),
        told: None,
        sight: None,
        done: None,
        accepts_restart: false,
        exempt: false,
        exempt_of: None,
        polling: false,
        unreachable: None,
        newer: false,
    }
}

/// An agent that is to run this drifts, and that was ordered at this second.
pub fn ordered(of: u8, order: Order, second: i64) -> Treatment {
    Treatment {
        of: hash(of),
        cause: Cause::Drift,
        began: at(second),
        orders: 1,
        last: Some(Ordered { order, given: at(second), done: None }),
        sent_back: order == Order::Stable,
        well: None,
        quarantined: None,
    }
}

/// The same of an agent that stays unhealthy.
pub fn healing(of: u8, order: Order, second: i64) -> Treatment {
    Treatment { cause: Cause::Illness, ..ordered(of, order, second) }
}

/// An empty roster of the replica `r`.
pub fn roster() -> Roster {
    let delays = Delays {
        urgent: Duration::from_secs(1),
        slow: Duration::from_secs(10),
        assumed_interval: Duration::from_secs(30),
    };
    Roster::new("r", delays)
}
