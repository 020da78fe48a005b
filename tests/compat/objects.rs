//! Objects that earlier versions wrote, as YAML: nothing in them is lost on this one, and they mean what they meant.

use super::{kind, releases};
use jiff::Timestamp;
use opamp_operator::api::{AgentSlice, CollectorGroup, ConfigRevision, ConfigRollout};
use opamp_operator::fleet::{
    Bindings, Cause, Excepted, InstanceUid, News, ObservedAgent, Order, Replica, SliceSource, merge,
    unpack_exceptions,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The objects of a version by the name of their file.
fn objects(version: &str) -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/objects").join(version);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("text");
        let object = serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
        (entry.file_name().to_string_lossy().trim_end_matches(".yaml").to_owned(), object)
    };
    files.map(|entry| read(entry.expect("an entry"))).collect()
}

fn object<K: serde::de::DeserializeOwned>(version: &str, name: &str) -> K {
    serde_json::from_value(objects(version)[name].clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// An object as this program understands it, written again.
fn understood(object: &Value) -> serde_json::Result<Value> {
    fn again<K: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) -> serde_json::Result<Value> {
        serde_json::to_value(serde_json::from_value::<K>(object.clone())?)
    }
    match object["kind"].as_str() {
        Some("ConfigRollout") => again::<ConfigRollout>(object),
        Some("CollectorGroup") => again::<CollectorGroup>(object),
        Some("ConfigRevision") => again::<ConfigRevision>(object),
        Some("AgentSlice") => again::<AgentSlice>(object),
        other => panic!("no kind of ours: {other:?}"),
    }
}

/// The places of a value that another one has not, or has otherwise. What is empty may be left out.
fn lost(path: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    let empty = [Value::from(""), Value::Null, Value::Array(Vec::new())];
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            for (key, value) in was {
                lost(&format!("{path}.{key}"), value, is.get(key).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (index, (was, is)) in was.iter().zip(is).enumerate() {
                lost(&format!("{path}[{index}]"), was, is, found);
            }
        }
        (was, is) if was == is || empty.contains(was) && is.is_null() => {}
        (was, is) => found.push(format!("{path}: {was} is read as {is}")),
    }
}

#[test]
fn objects_of_every_released_version_are_read_without_loss() {
    let mut found = Vec::new();
    for (version, _) in releases() {
        let objects = objects(&version);
        assert!(objects.len() >= 5, "{version} has one of each");
        for (name, object) in objects {
            let read = understood(&object).unwrap_or_else(|error| panic!("{version}/{name}: {error}"));
            lost(&format!("{version}/{name}"), &object, &read, &mut found);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// An object that lacks a field says nothing of how that is read.
#[test]
fn objects_of_a_version_have_every_field_of_its_schema() {
    for (version, crds) in releases() {
        let objects = objects(&version);
        for crd in crds.values() {
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let mut fields = BTreeSet::new();
            each_field("", schema, &mut fields);
            for object in objects.values().filter(|object| object["kind"] == crd["spec"]["names"]["kind"]) {
                fields.retain(|field| !has(object, field));
            }
            assert!(fields.is_empty(), "{version}: no {} has these: {fields:?}", kind(crd));
        }
    }
}

fn each_field(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{path}/{name}");
        each_field(&place, field, found);
        found.insert(place);
    }
    if schema["items"]["properties"].is_object() {
        each_field(&format!("{path}/[]"), &schema["items"], found);
    }
}

fn has(object: &Value, field: &str) -> bool {
    !values(object, field).is_empty()
}

/// Every value at a place, in each entry of the lists on the way.
fn values<'a>(object: &'a Value, place: &str) -> Vec<&'a Value> {
    let Some((name, rest)) = place.trim_start_matches('/').split_once('/') else {
        let name = place.trim_start_matches('/');
        return object.get(name).filter(|value| !value.is_null()).into_iter().collect();
    };
    match name {
        "[]" => object.as_array().into_iter().flatten().flat_map(|entry| values(entry, rest)).collect(),
        name => object.get(name).map(|inner| values(inner, rest)).unwrap_or_default(),
    }
}

/// Every field with a fixed set of values, one after the other, with a value that a later version may add.
#[test]
fn objects_with_values_that_are_not_known_are_read() {
    let (version, crds) = releases().pop().expect("a release");
    let objects = objects(&version);
    let mut looked_at = 0;
    for crd in crds.values() {
        let mut places = BTreeSet::new();
        each_enumeration("", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut places);
        for place in places {
            let of_kind = objects.values().filter(|object| object["kind"] == crd["spec"]["names"]["kind"]);
            let newer = of_kind.filter_map(|object| with_newer(object, &place));
            for object in newer {
                looked_at += 1;
                let read = understood(&object);
                assert!(read.is_ok(), "{}{place} is closed to later versions: {:?}", kind(crd), read.err());
            }
        }
    }
    assert!(looked_at > 15, "only {looked_at} fields were looked at");
}

fn each_enumeration(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    if schema["enum"].is_array() {
        found.insert(path.to_owned());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        each_enumeration(&format!("{path}/{name}"), field, found);
    }
    if schema["items"].is_object() {
        each_enumeration(&format!("{path}/[]"), &schema["items"], found);
    }
}

/// The object with a value that is not known at the first such place; nothing if it has none.
fn with_newer(object: &Value, place: &str) -> Option<Value> {
    let mut copy = object.clone();
    let slot = place.trim_start_matches('/').split('/').try_fold(&mut copy, |value, name| match name {
        "[]" => value.as_array_mut()?.iter_mut().next(),
        name => value.get_mut(name),
    })?;
    *slot = "FromALaterVersion".into();
    Some(copy)
}

/// A status or a slice that lacks what later versions of it have.
#[test]
fn objects_without_a_status_or_with_the_least_that_they_need_are_read() {
    let (version, _) = releases().pop().expect("a release");
    for (name, mut object) in objects(&version) {
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        assert!(understood(&object).is_ok(), "{name}");
    }
}

fn uid(last: u8) -> InstanceUid {
    InstanceUid::from_hex(&format!("0193a1b2c3d47e5f8a9b0000000000{last:02x}")).expect("a uid")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

#[test]
fn slice_of_the_first_version_means_what_it_meant() {
    let slice: AgentSlice = object("0.1.0", "slice");
    let source =
        SliceSource { name: "replica-1-0", replica: Replica::Alive(at(1_794_000_000)), slice: &slice.spec };
    let agents = merge([source], &Bindings::new());
    let [first, second, third] = &agents[..] else { panic!("three agents: {agents:?}") };
    let hash = |text: &str| text.repeat(32).parse().ok();

    assert_eq!(
        (first.uid, first.host.as_str(), first.group.as_deref()),
        (uid(1), "host-1", Some("production"))
    );
    assert_eq!((first.overlapping.as_deref(), first.running), (Some("catch-all"), hash("02")));
    let flags = |agent: &ObservedAgent| {
        let sees = [agent.connected, agent.accepts_config, agent.reports_config, agent.reports_effective];
        (sees, agent.healthy, agent.exempt, agent.polling, agent.waits(), agent.accepts_restart)
    };
    assert_eq!(flags(first), ([true; 4], Some(true), true, false, true, true));
    assert_eq!(flags(second), ([true, true, true, false], None, false, false, false, false));
    assert_eq!(flags(third), ([false, true, true, false], None, false, false, false, false));
    assert!(first.build.is_some() && first.ledger.refusal(hash("03").expect("a hash"), None).is_some());
    let (class, path, since) = first.drift().expect("it drifts");
    assert_eq!(
        (format!("{class:?}").as_str(), path, since),
        ("Modified", "exporters::otlp::endpoint", at(1_795_000_030))
    );
    assert_eq!(first.done.map(|done| (done.order, done.at)), Some((1_795_000_100, at(1_795_000_102))));
    assert_eq!(
        (first.faltered.fell_ill, first.faltered.restarted),
        (Some(at(1_795_000_060)), Some(at(1_795_000_070)))
    );
    let news = News { at: at(1_795_000_015), number: 4711 };
    assert_eq!((first.bound_since, first.news), (1_794_999_960, news));
    assert_eq!((first.since, first.health_since), (at(1_795_000_000), at(1_795_000_020)));
    assert_eq!(
        (first.started, first.adoptee.map(|adoptee| adoptee.since)),
        (Some(1_794_999_900), Some(1_795_000_005))
    );
    assert_eq!((second.group.as_deref(), second.running), (None, None));
    assert!(third.ledger.refusal(hash("03").expect("a hash"), None).is_some(), "it went back by itself");
    assert!(agents.iter().all(|agent| !agent.newer));
}

#[test]
fn exceptions_of_the_first_version_mean_what_they_meant() {
    let slice: AgentSlice = object("0.1.0", "exceptions");
    let Excepted { treatments, restarts, refusals, .. } = unpack_exceptions([&slice.spec]);
    let treatments: Vec<_> = treatments.into_iter().collect();
    let [(agent, treatment)] = &treatments[..] else { panic!("one treatment: {treatments:?}") };
    assert_eq!((*agent, treatment.cause, treatment.orders), (uid(1), Cause::Illness, 3));
    let last = treatment.last.expect("an order");
    assert_eq!(
        (last.order, last.given, last.done),
        (Order::Stable, at(1_795_000_010), Some(at(1_795_000_012)))
    );
    assert_eq!((treatment.sent_back, treatment.began), (true, at(1_795_000_000)));
    assert_eq!((treatment.well, treatment.quarantined), (Some(at(1_795_000_030)), Some(at(1_795_000_040))));
    let restarts: Vec<_> = restarts.into_iter().collect();
    let [(agent, restart)] = &restarts[..] else { panic!("one restart: {restarts:?}") };
    assert_eq!(
        (*agent, restart.asked, restart.ordered.given),
        (uid(1), at(1_795_000_200), at(1_795_000_210))
    );
    assert_eq!((restart.started, restart.missed), (Some(1_794_990_000), Some(at(1_795_000_300))));
    let refused: Vec<_> = refusals.iter().map(|(uid, ledger)| (*uid, ledger.iter().count())).collect();
    assert_eq!(refused, [(uid(1), 1), (uid(2), 1)]);
}
