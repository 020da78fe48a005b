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
        ("null", "[]"),
        ("{}", "null"),
        ("[]", "null"),
        ("[]", "{}"),
        ("{}", "{a: 1}"),
        ("[{a: 1}]", "[{a: 1, b: default}]"),
        ("{a: x, b: y}", "[{name: b, value: y}, {name: a, value: x}, {name: c, value: z}]"),
        ("{a: x}", "[{name: a, value: '[REDACTED]'}]"),
    ] {
        let (desired, effective) = (format!("leaf: {desired}"), format!("leaf: {effective}"));
        assert_eq!(departures(&desired, &effective), [""; 0], "{desired} beside {effective}");
    }
}

#[test]
fn what_only_the_agent_can_know_is_no_difference() {
    for (desired, effective) in [
        ("${env:X}", "anything"),
        ("${env:X}", "{a: map}"),
        ("https://${env:HOST}:4317", "https://h:4317"),
        ("secret", "'[REDACTED]'"),
        ("{a: b}", "'[REDACTED]'"),
        ("[a, b]", "'[REDACTED]'"),
        ("h:4317", "${env:ENDPOINT}"),
        ("['${env:X}', b]", "[a, b]"),
    ] {
        let (desired, effective) = (format!("leaf: {desired}"), format!("leaf: {effective}"));
        assert_eq!(departures(&desired, &effective), [""; 0], "{desired} beside {effective}");
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
        ("{connectors: {}}", "{}", &[]),
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
        ("{other: {a: }}", "{}", &[]),
        ("{other: {a: []}}", "{}", &[]),
    ] {
        assert_eq!(departures(desired, effective), expected, "{desired} beside {effective}");
    }
}

#[test]
fn extensions_may_have_more_and_pipelines_may_not() {
    let extensions = |list: &str| format!("{{service: {{extensions: {list}}}}}");
    assert_eq!(departures(&extensions("[a, b]"), &extensions("[opamp, b, a]")), [""; 0]);
    assert_eq!(
        departures(&extensions("[a, b]"), &extensions("[opamp, a]")),
        ["service::extensions Different"]
    );
    let pipeline = |list: &str| format!("{{service: {{pipelines: {{traces: {{exporters: {list}}}}}}}}}");
    assert_eq!(
        departures(&pipeline("[a]"), &pipeline("[a, b]")),
        ["service::pipelines::traces::exporters Different"]
    );
}
