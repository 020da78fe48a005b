//! What agents report as effective is looked at, once they have applied their revision.

use super::*;
use crate::config::{Desired, HashKey, Ignore};
use crate::fleet::{DriftClass, DriftRules, GroupView, Shown};
use crate::opamp::proto::{
    AgentConfigMap, AgentConfigObject, EffectiveConfig, RemoteConfigStatuses, ServerToAgentFlags,
};

const WANTED: &str = "
receivers: {nop: }
exporters: {otlp: {endpoint: 'h:1', key: secret}}
service: {pipelines: {traces: {receivers: [nop], exporters: [otlp]}}}
";
pub const REPORTED: &str = "
connectors: {}
exporters: {otlp: {endpoint: 'h:1', key: '[REDACTED]', more: 1}}
processors: {}
receivers: {nop: {}}
service:
  pipelines: {traces: {exporters: [otlp], processors: [], receivers: [nop]}}
  telemetry: {logs: {level: info}, metrics: {level: Normal}}
";

/// A hub that looks for drift in agents that are to run [`WANTED`].
pub fn watching() -> Arc<Hub> {
    let hub = hub();
    hub.know(HashKey::try_from(&[1; 32][..]).expect("32 bytes"));
    hub.set_view(Arc::new(wanted()));
    hub
}

pub fn wanted() -> View {
    wanted_under(DriftRules::default())
}

/// The same, where drift is looked for in this way.
pub fn wanted_under(drift: DriftRules) -> View {
    let file = ConfigFile::new("", "", WANTED.as_bytes());
    let payload =
        Payload { files: encode_files(std::slice::from_ref(&file)).expect("a file"), ..Payload::default() };
    let target = Revision { payload, desired: Desired::collector(&[file]), ..revision() };
    let group = GroupView { drift, ..GroupView::of_all("all", Some(Arc::new(target)), None) };
    View::new([("default".into(), group)])
}

/// A message with what is in effect, and a word on the revision.
pub fn says(sequence_num: u64, status: RemoteConfigStatuses, effective: Option<&str>) -> Bytes {
    let object = |body: &str| AgentConfigObject { body: body.to_owned().into(), ..Default::default() };
    let config = |body| AgentConfigMap { config_map: [(String::new(), object(body))].into() };
    let message = AgentToServer {
        instance_uid: vec![UID; 16],
        sequence_num,
        agent_description: Some(AgentDescription::default()),
        capabilities: 0x1007,
        remote_config_status: Some(RemoteConfigStatus {
            last_remote_config_hash: vec![1; 32],
            status: status.into(),
            ..Default::default()
        }),
        effective_config: effective.map(|body| EffectiveConfig { config_map: Some(config(body)) }),
        ..Default::default()
    };
    message.encode_to_vec().into()
}

pub fn asks(answer: &Encoded) -> bool {
    read(answer).flags & ServerToAgentFlags::ReportFullState as u64 != 0
}

pub fn shown(hub: &Hub) -> Option<Shown> {
    hub.with_roster(|roster| Some(roster.agent(&key())?.sight()?.shown.clone()))
}

#[test]
fn agent_is_asked_once_what_is_in_effect_when_it_has_applied_its_revision() {
    let (hub, applied) = (watching(), RemoteConfigStatuses::Applied);
    let socket = attach(&hub);
    assert!(!asks(&socket.receive(says(0, RemoteConfigStatuses::Applying, Some(REPORTED)))));
    assert_eq!(shown(&hub), None, "what it reports while it applies is no evidence");
    assert!(asks(&socket.receive(says(1, applied, None))));
    assert_eq!(shown(&hub), None, "nobody has looked yet");
    assert!(!asks(&socket.receive(says(2, applied, None))), "some never tell");
    socket.receive(says(3, applied, Some(REPORTED)));
    assert_eq!(shown(&hub), Some(Shown::InSync));
}

#[test]
fn drift_is_seen_with_its_place_and_its_end_too() {
    let (hub, applied) = (watching(), RemoteConfigStatuses::Applied);
    let socket = attach(&hub);
    let reports = [
        (REPORTED.to_owned(), Shown::InSync),
        (
            REPORTED.replace("h:1", "h:2"),
            Shown::Drifted(DriftClass::Modified, "exporters::otlp::endpoint".into()),
        ),
        (REPORTED.to_owned(), Shown::InSync),
        (
            REPORTED.replace("key: '[REDACTED]', ", ""),
            Shown::Drifted(DriftClass::Modified, "exporters::otlp::key".into()),
        ),
        (
            REPORTED.replace("processors: []", "processors: [evil]"),
            Shown::Drifted(DriftClass::Foreign, "service::pipelines::traces::processors::evil".into()),
        ),
        (REPORTED.replace("more: 1", "more: 2"), Shown::Drifted(DriftClass::Changed, "".into())),
        ("[".to_owned(), Shown::Unknown),
        (REPORTED.to_owned(), Shown::InSync),
    ];
    for (number, (effective, expected)) in (0..).zip(reports) {
        socket.receive(says(number, applied, Some(&effective)));
        assert_eq!(shown(&hub), Some(expected), "{effective}");
    }
}

#[test]
fn drift_is_written_soon_and_survives_a_restart_with_its_baseline() {
    let (hub, applied) = (watching(), RemoteConfigStatuses::Applied);
    let socket = attach(&hub);
    socket.receive(says(0, applied, Some(REPORTED)));
    let later = Timestamp::now() + Duration::from_mins(1);
    hub.with_roster(|roster| roster.take_due(later));
    socket.receive(says(1, applied, Some(REPORTED)));
    assert_eq!(hub.with_roster(|roster| roster.next_due()), None, "the same again is no news");
    socket.receive(says(2, applied, Some(&REPORTED.replace("more: 1", "more: 2"))));
    let soon = Timestamp::now() + Duration::from_secs(1);
    let written = hub.with_roster(|roster| roster.take_due(soon));
    let [slice] = &written[..] else { panic!("{} slices are due", written.len()) };

    let restarted = watching();
    restarted.with_roster(|roster| roster.restore(&slice.id, slice.spec.as_ref().expect("agents"), later));
    let socket = attach(&restarted);
    socket.receive(says(0, applied, None));
    let changed = Shown::Drifted(DriftClass::Changed, "".into());
    assert_eq!(shown(&restarted), Some(changed.clone()));
    socket.receive(says(1, applied, Some(&REPORTED.replace("more: 1", "more: 3"))));
    assert_eq!(shown(&restarted), Some(changed), "what was there from the start is known");
    socket.receive(says(2, applied, Some(REPORTED)));
    assert_eq!(shown(&restarted), Some(Shown::InSync));
}

#[test]
fn nobody_looks_for_drift_without_the_key() {
    let hub = hub();
    hub.set_view(Arc::new(wanted()));
    let socket = attach(&hub);
    socket.receive(says(0, RemoteConfigStatuses::Applied, Some(&REPORTED.replace("h:1", "h:2"))));
    assert_eq!(shown(&hub), None);
}

#[test]
fn drift_at_an_ignored_place_is_none_and_other_rules_begin_anew() {
    let (hub, applied) = (watching(), RemoteConfigStatuses::Applied);
    let socket = attach(&hub);
    let drifted = REPORTED.replace("h:1", "h:2");
    socket.receive(says(0, applied, Some(REPORTED)));
    socket.receive(says(1, applied, Some(&drifted)));
    assert!(matches!(shown(&hub), Some(Shown::Drifted(..))));
    let ignore = Ignore::new(&["exporters::*::endpoint"]).expect("a pattern");
    hub.set_view(Arc::new(wanted_under(DriftRules { ignore, ..DriftRules::default() })));
    assert_eq!(shown(&hub), None, "what was seen before does not count");
    assert!(asks(&socket.receive(says(2, applied, None))));
    socket.receive(says(3, applied, Some(&drifted)));
    assert_eq!(shown(&hub), Some(Shown::InSync));
    hub.set_view(Arc::new(wanted()));
    socket.receive(says(4, applied, Some(&drifted)));
    assert!(matches!(shown(&hub), Some(Shown::Drifted(..))));
}

#[test]
fn drift_is_not_looked_for_where_it_is_switched_off() {
    let (hub, applied) = (watching(), RemoteConfigStatuses::Applied);
    let socket = attach(&hub);
    socket.receive(says(0, applied, Some(REPORTED)));
    let off = DriftRules { off: true, ..DriftRules::default() };
    hub.set_view(Arc::new(wanted_under(off)));
    assert!(!asks(&socket.receive(says(1, applied, Some(&REPORTED.replace("h:1", "h:2"))))));
    assert_eq!(shown(&hub), None);
}
