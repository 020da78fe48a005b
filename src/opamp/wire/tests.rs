use super::*;
use crate::opamp::proto::{
    AgentConfigObject, AgentDescription, AgentToServer, AnyValue, AvailableComponents, ComponentDetails,
    ComponentHealth, KeyValue, PackageStatus,
};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The name of a part's message in `proto/`.
fn name(part: Part) -> &'static str {
    match part {
        Part::AgentToServer => "AgentToServer",
        Part::Description => "AgentDescription",
        Part::Attribute => "KeyValue",
        Part::Value => "AnyValue",
        Part::Values => "ArrayValue",
        Part::Attributes => "KeyValueList",
        Part::Health => "ComponentHealth",
        Part::HealthEntry => "ComponentHealth.ComponentHealthMapEntry",
        Part::EffectiveConfig => "EffectiveConfig",
        Part::ConfigMap => "AgentConfigMap",
        Part::Packages => "PackageStatuses",
        Part::Components => "AvailableComponents",
        Part::Component => "ComponentDetails",
        Part::ComponentEntry => "ComponentEntry",
        Part::Capabilities => "CustomCapabilities",
    }
}

/// All messages of `proto/`, those of map entries included, under their names without the package.
fn messages() -> BTreeMap<String, DescriptorProto> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = ["opamp/v1/anyvalue.proto", "opamp/v1/opamp.proto"];
    let descriptors = protox::compile(files, [include]).expect("the protocol");
    let mut found = BTreeMap::new();
    for message in descriptors.file.into_iter().flat_map(|file| file.message_type) {
        for nested in &message.nested_type {
            found.insert(format!("{}.{}", message.name(), nested.name()), nested.clone());
        }
        found.insert(message.name().to_owned(), message);
    }
    found
}

/// The message that a field holds.
fn held(field: &FieldDescriptorProto) -> Option<&str> {
    (field.r#type() == Type::Message).then(|| field.type_name().trim_start_matches(".opamp.proto.v1."))
}

/// Whether something in this message, or in a part of it, may come any number of times.
fn multiplies(messages: &BTreeMap<String, DescriptorProto>, name: &str, seen: &mut BTreeSet<String>) -> bool {
    seen.insert(name.to_owned())
        && messages[name].field.iter().any(|field| {
            field.label() == Label::Repeated
                || held(field).is_some_and(|held| multiplies(messages, held, seen))
        })
}

#[test]
fn parts_are_those_of_the_protocol_in_which_something_comes_any_number_of_times() {
    let messages = messages();
    // Both have the same fields, and so one part.
    let alias = |held: &str| match held {
        "AvailableComponents.ComponentsEntry" | "ComponentDetails.SubComponentMapEntry" => {
            "ComponentEntry".to_owned()
        }
        held => held.to_owned(),
    };
    let message = |part: Part| match part {
        Part::ComponentEntry => &messages["ComponentDetails.SubComponentMapEntry"],
        part => &messages[name(part)],
    };
    assert_eq!(
        messages["AvailableComponents.ComponentsEntry"].field[1].type_name(),
        messages["ComponentDetails.SubComponentMapEntry"].field[1].type_name()
    );
    let (mut parts, mut done) = (vec![Part::AgentToServer], Vec::new());
    while let Some(part) = parts.pop() {
        if done.contains(&part) {
            continue;
        }
        done.push(part);
        for field in &message(part).field {
            let number = field.number().unsigned_abs();
            let expected = held(field).filter(|held| multiplies(&messages, held, &mut BTreeSet::new()));
            let found = part.within(number);
            assert_eq!(found.map(name), expected.map(alias).as_deref(), "{part:?}, field {number}");
            parts.extend(found);
        }
    }
    assert_eq!(done.len(), 15);
}

fn attributes(count: usize) -> AgentToServer {
    let identifying_attributes = vec![KeyValue::default(); count];
    let description = AgentDescription { identifying_attributes, ..Default::default() };
    AgentToServer { agent_description: Some(description), ..Default::default() }
}

fn health(count: usize) -> AgentToServer {
    let part = |number: usize| (format!("{number:x}"), ComponentHealth::default());
    let health =
        ComponentHealth { component_health_map: (0..count).map(part).collect(), ..Default::default() };
    AgentToServer { health: Some(health), ..Default::default() }
}

fn components(count: usize) -> AgentToServer {
    let part = |number: usize| (format!("{number:x}"), ComponentDetails::default());
    let all = ComponentDetails { sub_component_map: (0..count).map(part).collect(), ..Default::default() };
    let components = [("receivers".to_owned(), all)].into();
    let available = AvailableComponents { components, ..Default::default() };
    AgentToServer { available_components: Some(available), ..Default::default() }
}

#[test]
fn message_is_decoded_up_to_the_limit_of_fields() {
    // The description itself is a field as well.
    assert!(!has_too_many_fields(&attributes(MAX_FIELDS - 1).encode_to_vec()));
    assert!(has_too_many_fields(&attributes(MAX_FIELDS).encode_to_vec()));
    // An entry, and its key.
    for of in [health, components] {
        assert!(!has_too_many_fields(&of(MAX_FIELDS / 2 - 10).encode_to_vec()));
        assert!(has_too_many_fields(&of(MAX_FIELDS / 2 + 10).encode_to_vec()));
    }
}

/// What one field of so many bytes in memory takes at most: a list is copied while it grows to twice its size, a map's
/// nodes are half empty at worst, and each entry of a map has a key of its own beside the entry itself.
#[test]
fn no_field_takes_more_than_it_is_counted_for() {
    const COUNTED_FOR: usize = 300;
    const KEY: usize = size_of::<String>() + 32;
    for (what, size) in [
        ("attribute", size_of::<KeyValue>() * 3),
        ("value", size_of::<AnyValue>() * 3),
        ("capability", size_of::<String>() * 3),
        ("health", (KEY + size_of::<ComponentHealth>()) * 5 / 2 / 2),
        ("component", (KEY + size_of::<ComponentDetails>()) * 5 / 2 / 2),
        ("file", (KEY + size_of::<AgentConfigObject>()) * 5 / 2 / 2),
        ("package", (KEY + size_of::<PackageStatus>()) * 5 / 2 / 2),
    ] {
        assert!(size <= COUNTED_FOR, "{what}: {size} bytes");
    }
}

#[test]
fn one_thousand_attributes_and_a_large_collector_are_far_below_the_limit() {
    let large = AgentToServer {
        health: health(1000).health,
        available_components: components(1000).available_components,
        ..attributes(1000)
    };
    let fields = large.encode_to_vec().repeat(10);
    assert!(!has_too_many_fields(&fields));
}

#[test]
fn many_fields_are_found_however_they_are_hidden() {
    let many = attributes(MAX_FIELDS).encode_to_vec();
    // A part that breaks off, behind them and before them.
    let broken = [0x1a, 2, 0x0a, 5];
    assert!(has_too_many_fields(&[&many[..], &broken].concat()));
    assert!(has_too_many_fields(&[&broken[..], &many].concat()));
    assert!(has_too_many_fields(&[&many[..], &[0xff]].concat()));
    // In two halves, which the decoder joins.
    let half = attributes(MAX_FIELDS / 2).encode_to_vec();
    assert!(!has_too_many_fields(&half));
    assert!(has_too_many_fields(&half.repeat(2)));
    // Nested as deep as they are many, which takes no stack.
    let mut nested = Vec::new();
    let mut lists = 0;
    while nested.len() < 60_000 {
        let mut wrapped = vec![if lists % 2 == 0 { 0x2a } else { 0x0a }];
        prost::encoding::encode_varint(nested.len() as u64, &mut wrapped);
        wrapped.extend_from_slice(&nested);
        nested = wrapped;
        lists += 1;
    }
    let _ = has_too_many_fields(&nested);
}

#[test]
fn noise_never_panics() {
    for seed in 0_u32..2000 {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let noise: Vec<u8> = (0..seed % 97)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_be_bytes()[0]
            })
            .collect();
        assert!(!has_too_many_fields(&noise));
    }
}
