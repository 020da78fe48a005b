//! Manifests with one thing wrong in each, and the words that the API server has for it.

use super::support::resources::{collector, group, inline, rollout};
use serde_json::{Value, json};

/// What is wrong, the manifest, and words of the refusal: where it is, what is wrong, what to do.
pub type Refusal = (&'static str, Value, Vec<&'static str>);

/// All of them.
pub fn all() -> Vec<Refusal> {
    [names_and_files(), sources(), strategies(), groups(), selectors()].concat()
}

const ONE_SOURCE: &str = "a file has exactly one of inline, configMapKeyRef and secretKeyRef";
const DURATION: &str = "a duration is numbers with units, for example 90s, 5m or 1h30m: write units";
const VALUES: &str = "In and NotIn want at least one of values, Exists and DoesNotExist want none";

/// A rollout of these files.
fn files(files: Value) -> Value {
    rollout("checkout", "edge", files)
}

/// A rollout of one file with these fields.
fn file(fields: Value) -> Value {
    files(Value::Array(vec![fields]))
}

/// A good rollout with another value at one place.
fn changed(pointer: &str, value: Value) -> Value {
    let mut manifest = files(inline(&collector("one")));
    *manifest.pointer_mut(pointer).expect("a field") = value;
    manifest
}

fn names_and_files() -> Vec<Refusal> {
    let many: Vec<Value> = (0..33).map(|index| json!({"name": format!("{index}"), "inline": ""})).collect();
    let twice = json!([{"name": "a", "inline": ""}, {"name": "a", "inline": "b: 1"}]);
    let too_long = "n".repeat(254);
    vec![
        (
            "a name of 53 characters",
            changed("/metadata/name", json!("n".repeat(53))),
            vec!["metadata.name has at most 52 characters", "choose a shorter one"],
        ),
        (
            "an empty groupName",
            changed("/spec/groupName", json!("")),
            vec!["spec.groupName", "at least 1 chars long"],
        ),
        ("no files", files(json!([])), vec!["spec.config.files", "at least 1 items"]),
        ("files left out", changed("/spec/config", json!({})), vec!["spec.config.files", "Required value"]),
        (
            "a file without a name",
            file(json!({"inline": ""})),
            vec!["spec.config.files[0].name", "Required value"],
        ),
        ("two files of one name", files(twice), vec!["spec.config.files[1]", "Duplicate value", "\"a\""]),
        ("33 files", files(json!(many)), vec!["spec.config.files", "Too many: 33", "at most 32 items"]),
        (
            "a file name of 254 characters",
            file(json!({"name": too_long, "inline": ""})),
            vec!["spec.config.files[0].name", "Too long", "253"],
        ),
        (
            "a body over 256 KiB",
            files(inline(&"x".repeat(256 * 1024 + 1))),
            vec!["spec.config.files[0].inline", "Too long", "262144"],
        ),
        (
            "an unknown format",
            changed("/spec/config", json!({"format": "Yaml", "files": inline("")})),
            vec!["spec.config.format", "Unsupported value: \"Yaml\"", "\"Collector\", \"Opaque\""],
        ),
    ]
}

fn sources() -> Vec<Refusal> {
    let key = json!({"name": "a", "key": "b"});
    let place = "spec.config.files[0]";
    vec![
        ("no source", file(json!({"name": "a"})), vec![place, ONE_SOURCE]),
        ("a source that is null", file(json!({"name": "a", "inline": null})), vec![place, ONE_SOURCE]),
        (
            "inline and a ConfigMap",
            file(json!({"name": "a", "inline": "", "configMapKeyRef": key})),
            vec![place, ONE_SOURCE],
        ),
        (
            "inline and a Secret",
            file(json!({"name": "a", "inline": "", "secretKeyRef": key})),
            vec![place, ONE_SOURCE],
        ),
        (
            "a ConfigMap and a Secret",
            file(json!({"name": "a", "configMapKeyRef": key, "secretKeyRef": key})),
            vec![place, ONE_SOURCE],
        ),
        (
            "all three",
            file(json!({"name": "a", "inline": "", "configMapKeyRef": key, "secretKeyRef": key})),
            vec![place, ONE_SOURCE],
        ),
        (
            "a reference without a key",
            file(json!({"name": "a", "secretKeyRef": {"name": "b"}})),
            vec!["secretKeyRef.key", "Required value"],
        ),
    ]
}

/// A good rollout with this strategy.
fn with_strategy(strategy: Value) -> Value {
    let mut manifest = files(inline(&collector("one")));
    manifest["spec"]["strategy"] = strategy;
    manifest
}

fn strategies() -> Vec<Refusal> {
    let phases = |phases: Value| with_strategy(json!({"phases": phases}));
    let agents = |shares: &[Value]| {
        let phase = |(n, agents): (usize, &Value)| json!({"name": format!("p{n}"), "agents": agents});
        phases(shares.iter().enumerate().map(phase).collect())
    };
    let place = "spec.strategy.phases";
    let last = "the last phase has agents 100% and no selector";
    let many: Vec<Value> = (0..200).map(|_| json!("100%")).collect();
    let edge = json!({"matchLabels": {"ring": "edge"}});
    vec![
        (
            "a percentage over 100",
            agents(&[json!("101%"), json!("100%")]),
            vec!["phases[0].agents", "should match"],
        ),
        ("a zero count", agents(&[json!(0), json!("100%")]), vec![place, "at least 1, or above 0%"]),
        ("zero percent", agents(&[json!("0%"), json!("100%")]), vec![place, "at least 1, or above 0%"]),
        ("a last phase below 100%", agents(&[json!("10%"), json!("50%")]), vec![place, last]),
        (
            "a last phase of a ring",
            phases(json!([{"name": "edge", "selector": edge, "agents": "100%"}])),
            vec![place, last],
        ),
        ("200 phases", agents(&many), vec![place, "must have at most 10 items"]),
        ("no phases", phases(json!([])), vec![place, "should have at least 1 items"]),
        (
            "two phases of one name",
            phases(json!([{"name": "a", "agents": 1}, {"name": "a", "agents": "100%"}])),
            vec!["phases[1]", "Duplicate value"],
        ),
        (
            "a threshold over 100%",
            with_strategy(json!({"failureThreshold": "200%"})),
            vec!["failureThreshold", "should match"],
        ),
        (
            "a limit below zero",
            with_strategy(json!({"maxInFlight": -1})),
            vec!["maxInFlight", "greater than or equal to 0"],
        ),
    ]
}

/// A good group with another value of one field.
fn spec(field: &str, value: Value) -> Value {
    let mut manifest = group("edge", "any");
    manifest["spec"][field] = value;
    manifest
}

fn groups() -> Vec<Refusal> {
    let mut refusals = vec![
        (
            "a priority above its range",
            spec("priority", json!(1001)),
            vec!["spec.priority", "less than or equal to 1000"],
        ),
        (
            "a priority below its range",
            spec("priority", json!(-1001)),
            vec!["spec.priority", "greater than or equal to -1000"],
        ),
    ];
    for pattern in ["", "::", "exporters::", "a::::b"] {
        refusals.push((
            "a bad pattern",
            spec("drift", json!({"ignore": [pattern]})),
            vec!["spec.drift.ignore[0]"],
        ));
    }
    for duration in ["", "90", "5 minutes", "1d", "1.5h", "-5s", "s", "99999999h"] {
        refusals.push((
            "a bad duration",
            spec("offlineAfter", json!(duration)),
            vec!["spec.offlineAfter", DURATION],
        ));
        refusals.push((
            "a bad duration",
            spec("forgetAfter", json!(duration)),
            vec!["spec.forgetAfter", DURATION],
        ));
    }
    refusals.extend(telemetry());
    refusals
}

fn telemetry() -> Vec<Refusal> {
    let to = |endpoint: &str| spec("telemetry", json!({"metrics": {"endpoint": endpoint}}));
    let place = "spec.telemetry.metrics.endpoint";
    let scheme = "an endpoint is a URL that begins with http:// or https://";
    let bare = "an endpoint has no user, no password, no fragment and no space";
    vec![
        (
            "telemetry without a signal",
            spec("telemetry", json!({})),
            vec!["spec.telemetry", "telemetry has at least one of metrics, logs and traces"],
        ),
        ("a host and port", to("otlp.example.org:4318"), vec![place, scheme]),
        ("gRPC", to("grpc://otlp.example.org:4317"), vec![place, scheme]),
        ("no host", to("https:///v1/metrics"), vec![place, scheme]),
        ("no text", to(""), vec![place, "at least 1 chars long"]),
        ("a password", to("https://me:secret@otlp.example.org/v1/metrics"), vec![place, bare]),
        ("a fragment", to("https://otlp.example.org/v1/metrics#x"), vec![place, bare]),
        ("a space", to("https://otlp.example.org/v1/me trics"), vec![place, bare]),
        (
            "a Secret without a key",
            spec("telemetry", json!({"logs": {"endpoint": "http://a/b", "headersSecretRef": {"name": "x"}}})),
            vec!["spec.telemetry.logs.headersSecretRef.key", "Required value"],
        ),
    ]
}

fn selectors() -> Vec<Refusal> {
    let expression = |expression: Value| spec("selector", json!({"matchExpressions": [expression]}));
    let place = "spec.selector.matchExpressions[0]";
    vec![
        ("In without values", expression(json!({"key": "a", "operator": "In"})), vec![place, VALUES]),
        (
            "NotIn with an empty list",
            expression(json!({"key": "a", "operator": "NotIn", "values": []})),
            vec![place, VALUES],
        ),
        (
            "Exists with values",
            expression(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            vec![place, VALUES],
        ),
        (
            "DoesNotExist with values",
            expression(json!({"key": "a", "operator": "DoesNotExist", "values": ["b"]})),
            vec![place, VALUES],
        ),
        (
            "an unknown operator",
            expression(json!({"key": "a", "operator": "Gt", "values": ["1"]})),
            vec!["operator", "Unsupported value: \"Gt\"", "\"In\", \"NotIn\", \"Exists\", \"DoesNotExist\""],
        ),
        (
            "an empty key",
            expression(json!({"key": "", "operator": "Exists"})),
            vec!["key", "at least 1 chars long"],
        ),
        (
            "a number as a label",
            spec("selector", json!({"matchLabels": {"a": 1}})),
            vec!["spec.selector.matchLabels.a", "must be of type string"],
        ),
    ]
}
