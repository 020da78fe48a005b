//! Our `.proto` files describe the same wire as those of opamp-go, the reference implementation.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::Path,
    process::Command,
};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};

/// Prints the descriptors that the pinned opamp-go was built with, as a `FileDescriptorSet`.
const DESCRIPTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/bin/opamp-descriptors");

const OUR_PACKAGE: &str = "opamp.proto.v1";

/// opamp-go v0.23 follows spec v0.16; v0.18 put the version into the package's name.
const THEIR_PACKAGE: &str = "opamp.proto";

type Renamed = &'static [(&'static str, &'static str)];

/// Their name and ours: spec v0.20 renamed it.
const RENAMED: Renamed = &[("AgentConfigFile", "AgentConfigObject")];

/// What came with spec v0.19.
const ONLY_OURS: [&str; 2] = ["AgentConfigObject.role", "ComponentHealth.attributes"];

#[test]
fn proto_files_match_the_descriptors_of_opamp_go() -> Result<(), Box<dyn Error>> {
    let ours = facts(&our_descriptors()?, OUR_PACKAGE, &[]);
    let theirs = their_descriptors()?;
    let their_messages = || theirs.file.iter().flat_map(|file| &file.message_type);
    for (old, _) in RENAMED {
        let used = their_messages().any(|message| message.name() == *old);
        assert!(used, "opamp-go has no {old} any more: take it off RENAMED");
    }
    let theirs = facts(&theirs, THEIR_PACKAGE, RENAMED);
    let mut unmet: BTreeSet<&str> = ONLY_OURS.into();
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differences: Vec<String> = names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .filter(|name| theirs.contains_key(*name) || !unmet.remove(name.as_str()))
        .map(|name| format!("{name}\n  ours:   {:?}\n  theirs: {:?}", ours.get(name), theirs.get(name)))
        .collect();
    assert!(differences.is_empty(), "not as in opamp-go:\n{}", differences.join("\n"));
    assert!(unmet.is_empty(), "opamp-go has these by now, or we do not: take {unmet:?} off ONLY_OURS");
    Ok(())
}

fn our_descriptors() -> Result<FileDescriptorSet, Box<dyn Error>> {
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    Ok(protox::compile(["opamp/v1/anyvalue.proto", "opamp/v1/opamp.proto"], [include])?)
}

fn their_descriptors() -> Result<FileDescriptorSet, Box<dyn Error>> {
    assert!(Path::new(DESCRIPTORS).exists(), "{DESCRIPTORS} is missing: run 'make tools'");
    let output = Command::new(DESCRIPTORS).output()?;
    assert!(output.status.success(), "opamp-descriptors: {}", String::from_utf8_lossy(&output.stderr));
    Ok(FileDescriptorSet::decode(output.stdout.as_slice())?)
}

/// Everything that both sides must agree on, one line of text by full name; package and renamed
/// messages as we call them.
fn facts(set: &FileDescriptorSet, package: &str, renamed: Renamed) -> BTreeMap<String, String> {
    let mut facts = Facts { prefix: format!(".{package}."), renamed, found: BTreeMap::new() };
    for file in &set.file {
        assert_eq!(file.package(), package, "package of {}", file.name());
        facts.add_file(file);
    }
    facts.found
}

struct Facts {
    prefix: String,
    renamed: Renamed,
    found: BTreeMap<String, String>,
}

impl Facts {
    fn add_file(&mut self, file: &FileDescriptorProto) {
        assert_eq!(file.syntax(), "proto3", "syntax of {}", file.name());
        for message in &file.message_type {
            self.add_message("", message);
        }
        for enumeration in &file.enum_type {
            self.add_enum("", enumeration);
        }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}{}", self.our_name(message.name()));
        let map_entry = message.options.as_ref().is_some_and(MessageOptions::map_entry);
        let reserved = (&message.reserved_range, &message.reserved_name);
        self.add(name.clone(), format!("message, map entry {map_entry}, reserved {reserved:?}"));
        let scope = format!("{name}.");
        self.add_fields(&scope, message);
        for nested in &message.nested_type {
            self.add_message(&scope, nested);
        }
        for enumeration in &message.enum_type {
            self.add_enum(&scope, enumeration);
        }
    }

    fn add_fields(&mut self, scope: &str, message: &DescriptorProto) {
        for field in &message.field {
            let oneof =
                field.oneof_index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
            let fact = format!(
                "{}: {} {} {}, json {}, in {}, presence {}, packed {:?}",
                field.number(),
                field.label().as_str_name(),
                field.r#type().as_str_name(),
                self.our_type(field.type_name()),
                field.json_name(),
                oneof.map_or("no oneof", |oneof| oneof.name()),
                field.proto3_optional(),
                field.options.as_ref().and_then(|options| options.packed),
            );
            self.add(format!("{scope}{}", field.name()), fact);
        }
    }

    fn add_enum(&mut self, scope: &str, enumeration: &EnumDescriptorProto) {
        let name = format!("{scope}{}", enumeration.name());
        let reserved = (&enumeration.reserved_range, &enumeration.reserved_name);
        self.add(name.clone(), format!("enum, reserved {reserved:?}"));
        for value in &enumeration.value {
            self.add(format!("{name}.{}", value.name()), value.number().to_string());
        }
    }

    fn add(&mut self, name: String, fact: String) {
        self.found.insert(name, fact);
    }

    fn our_type(&self, type_name: &str) -> String {
        match type_name.strip_prefix(&self.prefix) {
            Some(name) => self.our_name(name).to_owned(),
            None => type_name.to_owned(),
        }
    }

    fn our_name<'n>(&self, name: &'n str) -> &'n str {
        self.renamed.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| ours)
    }
}
