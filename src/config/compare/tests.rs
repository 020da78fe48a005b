//! What a Collector reports of what it was given, and what counts as a departure from it.

use super::*;
use crate::config::parse;

mod real;

fn value(yaml: &str) -> Value {
    parse(yaml.as_bytes()).unwrap_or_else(|error| panic!("{error}: {yaml}"))
}

/// The departures as text: `path departure`.
fn departures(desired: &str, effective: &str) -> Vec<String> {
    let found = differences(&value(desired), &value(effective));
    found.iter().map(|found| format!("{} {:?}", found.path.join("::"), found.departure)).collect()
}

#[test]
fn values_that_mean_the_same_are_no_difference() {
    for (desired, effective) in [
        ("5m", "5m0s"),
        ("60s", "1m0s"),
        ("1h30m", "1h30m0s"),
        ("0.5s", "500ms"),
        ("1.5h", "1h30m0s"),
        ("100us", "100µs"),
        ("30s", "30000000000"),
        ("30000000000", "30s"),
        ("-5s", "-5s"),
        ("0s", "0"),
        ("detailed", "Detailed"),
        ("INFO", "info"),
        ("64KiB", "65536"),
        ("1 mb", "1000000"),
        ("1.5k", "1500"),
        ("2GiB", "2048MiB"),
        ("$${env:X}", "${env:X}"),
        ("'${env:X}'", "'${env:X}'"),
        ("'5'", "5"),
        ("5", "'5'"),
        ("5", "5.0"),
        ("1e3", "1000"),
        ("0x10", "16"),
        ("true", "'true'"),
        ("'true'", "true"),
        ("18446744073709551615", "'18446744073709551615'"),
        ("$$5", "$5"),
        ("a$$b", "a$$b"),
        ("''", "null"),
        ("'a, b'", "[a, b]"),
        ("a", "[a]"),
        ("null", "{a: 1}"),
        ("{}", "{a: 1}"),
        ("[{a: 1}]", "[{a: 1, b: default}]"),
        ("{a: x, b: y}", "[{name: b, value: y}, {name: a, value: x}, {name: c, value: z}]"),
    ] {
        let (desired, effective) = (format!("leaf: {desired}"), format!("leaf: {effective}"));
        assert_eq!(departures(&desired, &effective), [""; 0], "{desired} beside {effective}");
    }
}

#[test]
fn what_only_the_agent_can_know_is_hidden() {
    for (desired, effective, at) in [
        ("${env:X}", "anything", "leaf"),
        ("${env:X}", "{a: map}", "leaf"),
        ("https://${env:HOST}:4317", "https://h:4317", "leaf"),
        ("secret", "'[REDACTED]'", "leaf"),
        ("{a: b}", "'[REDACTED]'", "leaf"),
        ("[a, b]", "'[REDACTED]'", "leaf"),
        ("h:4317", "${env:ENDPOINT}", "leaf"),
        ("['${env:X}', b]", "[a, b]", "leaf::0"),
        ("{a: x}", "[{name: a, value: '[REDACTED]'}]", "leaf::a"),
    ] {
        let (desired, effective) = (format!("leaf: {desired}"), format!("leaf: {effective}"));
        let expected = [format!("{at} Hidden")];
        assert_eq!(departures(&desired, &effective), expected, "{desired} beside {effective}");
    }
}

#[test]
fn section_without_content_is_unreported_where_none_is_reported() {
    for (desired, effective) in [
        ("null", "null"),
        ("null", "[]"),
        ("{}", "null"),
        ("[]", "null"),
        ("[]", "{}"),
        ("bytes", "{}"),
        ("{a: 1, b: 2}", "{a: {}, b: 2}"),
    ] {
        let (desired, effective) = (format!("leaf: {desired}"), format!("leaf: {effective}"));
        let found = departures(&desired, &effective);
        assert!(found.len() == 1 && found[0].ends_with(" Unreported"), "{desired}, {effective}: {found:?}");
    }
}

#[test]
fn leaf_with_another_value_is_different() {
    for (desired, effective) in [
        ("a", "b"),
        ("5m", "5m1s"),
        ("5m", "5"),
        ("5", "6"),
        ("5ms", "5m"),
        ("1.5", "1.25"),
        ("9007199254740993", "9007199254740992"),
        ("true", "false"),
        ("a", "null"),
        ("a", "{b: c}"),
        ("a", "[a, b]"),
        ("[a]", "[a, b]"),
        ("[a]", "a"),
        ("[a]", "null"),
        ("{a: b}", "b"),
        ("{a: b}", "[{a: b}]"),
        ("s", "5s"),
        ("5x", "5y"),
        (".s", "0s"),
        ("/Path", "/path"),
        ("$${env:A}", "${env:B}"),
        ("5k", "5"),
        ("64KiB", "64000"),
    ] {
        let (desired, effective) = (format!("leaf: {desired}"), format!("leaf: {effective}"));
        assert_eq!(departures(&desired, &effective), ["leaf Different"], "{desired} beside {effective}");
    }
}

#[test]
fn difference_has_the_path_that_leads_to_it() {
    let desired = "{exporters: {otlp/b: {headers: {x: y}, list: [{a: 1}, {a: 2}]}}}";
    let effective = "{exporters: {otlp/b: {headers: [{name: x, value: z}], list: [{a: 1}, {a: 3}]}}}";
    assert_eq!(
        departures(desired, effective),
        ["exporters::otlp/b::headers::x Different", "exporters::otlp/b::list::1::a Different"]
    );
}

#[test]
fn leaf_that_is_not_reported_is_told_apart_from_a_component_that_is_not() {
    for (desired, effective, expected) in [
        ("{receivers: {a: {b: {c: 1}}}}", "{receivers: {a: {}}}", &["receivers::a::b::c Unreported"][..]),
        ("{receivers: {a: {b: {c: 1}}}}", "{receivers: {a: }}", &["receivers::a::b::c Unreported"]),
        ("{receivers: {a: {b: }, c: }}", "{receivers: {c: {}}}", &["receivers::a Missing"]),
        ("{receivers: {a: , b: {}}}", "{}", &["receivers::a Missing", "receivers::b Missing"]),
        ("{extensions: {a: }}", "{extensions: }", &["extensions::a Missing"]),
        ("{connectors: {}}", "{}", &["connectors Unreported"]),
        (
            "{service: {pipelines: {traces: {receivers: [a]}}}}",
            "{service: }",
            &["service::pipelines::traces Missing"],
        ),
        (
            "{service: {telemetry: {logs: {level: warn}}}}",
            "{}",
            &["service::telemetry::logs::level Unreported"],
        ),
        ("{other: {a: }}", "{}", &["other::a Unreported"]),
        ("{other: {a: []}}", "{}", &["other::a Unreported"]),
    ] {
        assert_eq!(departures(desired, effective), expected, "{desired} beside {effective}");
    }
}

#[test]
fn only_components_that_are_started_count_beyond_what_is_desired() {
    let extensions = |list: &str| format!("{{service: {{extensions: {list}}}}}");
    let pipeline = |list: &str| format!("{{service: {{pipelines: {{traces: {{exporters: {list}}}}}}}}}");
    let at = "service::pipelines::traces::exporters";
    for (desired, effective, expected) in [
        (extensions("[a, b]"), extensions("[opamp, b, a]"), vec![]),
        (extensions("[a, b]"), extensions("[opamp, a]"), vec!["service::extensions::b Missing".to_owned()]),
        (extensions("[a]"), extensions("[opamp, a, c]"), vec!["service::extensions::c Foreign".to_owned()]),
        (extensions(""), extensions("[opamp, c]"), vec!["service::extensions::c Foreign".to_owned()]),
        ("{}".to_owned(), extensions("[opamp, c]"), vec![]),
        ("{service: {}}".to_owned(), extensions("[c]"), vec!["service::extensions::c Foreign".to_owned()]),
        (extensions("['${env:X}']"), extensions("[opamp, c]"), vec!["service::extensions Hidden".to_owned()]),
        (extensions("['${env:X}']"), extensions("[b, c]"), vec!["service::extensions Foreign".to_owned()]),
        (pipeline("[a]"), pipeline("[a, b/2]"), vec![format!("{at}::b/2 Foreign")]),
        (pipeline("[a, opamp]"), pipeline("[a]"), vec![format!("{at}::opamp Missing")]),
        (pipeline("[a]"), pipeline("[a, opamp]"), vec![format!("{at}::opamp Foreign")]),
        (pipeline("[a]"), pipeline("[c]"), vec![format!("{at}::a Missing"), format!("{at}::c Foreign")]),
        (pipeline("[a, b]"), pipeline("[b, a]"), vec![format!("{at} Different")]),
        (pipeline("[a]"), pipeline("b"), vec![format!("{at} Different")]),
        (pipeline("[a]"), pipeline("[a, 'no name, a text']"), vec![format!("{at} Foreign")]),
        (pipeline("['${env:X}', b]"), pipeline("[c, b]"), vec![format!("{at} Hidden")]),
        (
            pipeline("['${env:X}', b]"),
            pipeline("[c, d]"),
            vec![format!("{at}::b Missing"), format!("{at} Hidden")],
        ),
        (
            pipeline("[a]"),
            pipeline("[a]").replace("traces: {", "logs: {}, traces: {receivers: [r], "),
            vec![
                "service::pipelines::traces::receivers::r Foreign".to_owned(),
                "service::pipelines::logs Foreign".to_owned(),
            ],
        ),
        ("{service: }".to_owned(), pipeline("[a]"), vec!["service::pipelines::traces Foreign".to_owned()]),
        ("{service: '${file:x}'}".to_owned(), pipeline("[a]"), vec!["service Hidden".to_owned()]),
    ] {
        assert_eq!(departures(&desired, &effective), expected, "{desired} beside {effective}");
    }
}
