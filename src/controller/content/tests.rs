use super::*;
use crate::api::Body;
use std::collections::BTreeMap;

const PIPELINE: &str = "receivers: {nop: {}}\nexporters: {nop: {}}\n\
                        service: {pipelines: {traces: {receivers: [nop], exporters: [nop]}}}\n";

fn inline(name: &str, body: &str) -> FileSpec {
    FileSpec { name: name.into(), inline: Some(Body(body.into())), ..Default::default() }
}

fn key() -> KeyRef {
    KeyRef { name: "object".into(), key: "file".into() }
}

fn from_map() -> FileSpec {
    FileSpec { name: "f".into(), config_map_key_ref: Some(key()), ..Default::default() }
}

fn from_secret_ref() -> FileSpec {
    FileSpec { name: "f".into(), secret_key_ref: Some(key()), ..Default::default() }
}

fn spec(files: &[FileSpec]) -> ConfigSpec {
    ConfigSpec { format: ConfigFormat::Collector, files: files.to_vec() }
}

/// A `ConfigMap` and a shared Secret, each with the pipeline under the key.
fn fetched() -> Fetched {
    let map = ConfigMap { data: Some([("file".into(), PIPELINE.into())].into()), ..Default::default() };
    let mut secret =
        Secret { data: Some([("file".into(), ByteString(PIPELINE.into()))].into()), ..Default::default() };
    secret.metadata.labels = Some([(DELIVER_LABEL.to_owned(), "true".to_owned())].into());
    let named = "object".to_owned();
    Fetched { config_maps: [(named.clone(), Some(map))].into(), secrets: [(named, Some(secret))].into() }
}

/// What a configuration comes to where it is no revision.
fn refused(spec: &ConfigSpec, fetched: &Fetched) -> Content {
    match resolve(spec, fetched) {
        Ok(_) => panic!("it was resolved"),
        Err(content) => content,
    }
}

fn edit_secret(change: impl FnOnce(&mut Secret)) -> Fetched {
    let mut fetched = fetched();
    change(fetched.secrets.get_mut("object").and_then(Option::as_mut).expect("the secret"));
    fetched
}

fn edit_map(change: impl FnOnce(&mut ConfigMap)) -> Fetched {
    let mut fetched = fetched();
    change(fetched.config_maps.get_mut("object").and_then(Option::as_mut).expect("the map"));
    fetched
}

#[test]
fn each_source_gives_its_body_and_says_where_it_is_from() {
    for (file, source, reference) in [
        (inline("f", PIPELINE), FileSource::Inline, None),
        (from_map(), FileSource::ConfigMap, Some(key())),
        (from_secret_ref(), FileSource::Secret, Some(key())),
    ] {
        let Ok(files) = resolve(&spec(&[file]), &fetched()) else { panic!("{source:?} was not resolved") };
        assert_eq!(&*files[0].file.body, PIPELINE.as_bytes());
        assert_eq!((files[0].source, &files[0].reference), (source, &reference));
    }
}

#[test]
fn files_come_in_bytewise_order_of_name() {
    let files = spec(&[inline("b", PIPELINE), inline("", "x: {}"), inline("B", ""), inline("a/b", "")]);
    let Ok(files) = resolve(&files, &fetched()) else { panic!("it was not resolved") };
    let names: Vec<&str> = files.iter().map(|resolved| resolved.file.name.as_str()).collect();
    assert_eq!(names, ["", "B", "a/b", "b"]);
}

#[test]
fn what_is_missing_is_named() {
    let nothing = Fetched::default();
    let other = edit_map(|map| map.data = Some([("other".into(), String::new())].into()));
    let keyless = edit_secret(|secret| secret.data = Some(BTreeMap::new()));
    for (file, fetched, expected) in [
        (from_map(), &nothing, "ConfigMap object"),
        (from_secret_ref(), &nothing, "Secret object"),
        (from_map(), &other, "key \"file\" of ConfigMap object"),
        (from_secret_ref(), &keyless, "key \"file\" of Secret object"),
    ] {
        assert_eq!(refused(&spec(&[file]), fetched), Content::Missing(expected.to_owned()));
    }
}

#[test]
fn secret_that_is_not_shared_is_never_read_to_an_agent() {
    for labels in [None, Some(("fleet.opamp.dev/deliver", "false")), Some(("deliver", "true"))] {
        let fetched = edit_secret(|secret| {
            secret.metadata.labels = labels.map(|(key, value)| [(key.to_owned(), value.to_owned())].into());
        });
        let Content::Invalid(reason, text) = refused(&spec(&[from_secret_ref()]), &fetched) else {
            panic!("it was not refused as invalid")
        };
        assert_eq!(reason, Reason::SecretNotShared);
        assert!(text.contains("Secret object") && text.contains("fleet.opamp.dev/deliver"), "{text}");
    }
}

#[test]
fn body_from_a_secret_stays_as_it_is_even_if_it_is_no_text() {
    let bytes = b"\xff\x00".to_vec();
    let fetched =
        edit_secret(|secret| secret.data = Some([("file".into(), ByteString(bytes.clone()))].into()));
    let opaque = ConfigSpec { format: ConfigFormat::Opaque, ..spec(&[from_secret_ref()]) };
    let Ok(files) = resolve(&opaque, &fetched) else { panic!("it was not resolved") };
    assert_eq!(&*files[0].file.body, bytes);
}

#[test]
fn body_from_a_config_map_that_is_no_text_is_invalid() {
    let fetched = edit_map(|map| {
        map.data = None;
        map.binary_data = Some([("file".into(), ByteString(vec![0xff]))].into());
    });
    let opaque = ConfigSpec { format: ConfigFormat::Opaque, ..spec(&[from_map()]) };
    assert!(
        matches!(refused(&opaque, &fetched), Content::Invalid(Reason::InvalidConfig, text) if text.contains("not text"))
    );
}

#[test]
fn collector_configuration_is_checked_and_an_opaque_one_is_not() {
    let files = [inline("f", "service: {}")];
    let Content::Invalid(reason, text) = refused(&spec(&files), &fetched()) else { panic!("not invalid") };
    assert_eq!(reason, Reason::InvalidConfig);
    assert!(text.contains("pipeline"), "{text}");
    let opaque = ConfigSpec { format: ConfigFormat::Opaque, ..spec(&files) };
    assert!(resolve(&opaque, &fetched()).is_ok());
}

#[test]
fn all_bodies_together_are_bounded() {
    let half = "a".repeat(MAX_CONFIG_BYTES / 2);
    let opaque = |last: &str| ConfigSpec {
        format: ConfigFormat::Opaque,
        files: vec![inline("a", &half), inline("b", &half), inline("c", last)],
    };
    assert!(resolve(&opaque(""), &fetched()).is_ok());
    let Content::Invalid(reason, text) = refused(&opaque("x"), &fetched()) else { panic!("not invalid") };
    assert_eq!(reason, Reason::ConfigTooLarge);
    assert!(text.contains("262145") && text.contains("262144"), "{text}");
}
