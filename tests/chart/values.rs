//! What values do: each flag of the program has one, and what is wrong is refused with what to do.

use super::copies::{Values, each_leaf};
use super::helm::{NAMESPACE, SETS, chart, container, manifests, rendered, template, texts};
use super::support::pages::block;
use clap::{Arg, Args, Command, Parser};
use opamp_operator::settings::{Cli, Command as Wanted, RunArgs, Settings};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Flags that the pod's own name and namespace stand in for.
const BY_DOWNWARD_API: [&str; 2] = ["identity", "namespace"];
/// Values with keys that only Kubernetes knows.
const FREE: [&str; 7] = [
    "affinity",
    "global",
    "podSecurityContext",
    "resources.limits",
    "resources.requests",
    "securityContext",
    "topologySpreadConstraints[]",
];
/// Lists of Kubernetes objects.
const FREE_LISTS: [&str; 9] = [
    "extraEnv[]",
    "extraVolumeMounts[]",
    "extraVolumes[]",
    "httpRoute.parentRefs[]",
    "networkPolicy.adminFrom[]",
    "networkPolicy.agentsFrom[]",
    "networkPolicy.egress[]",
    "resources.claims[]",
    "tolerations[]",
];

/// The flags that people see.
fn flags() -> Vec<Arg> {
    let command = RunArgs::augment_args(Command::new("run"));
    let seen = command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set());
    seen.cloned().collect()
}

#[test]
fn every_flag_of_the_program_is_given_by_a_value() {
    let everything = manifests(&rendered("everything"));
    let given: BTreeSet<&str> = texts(&container(&everything)["args"])
        .into_iter()
        .filter_map(|arg| arg.strip_prefix("--")?.split_once('=').map(|(name, _)| name))
        .collect();
    let all = flags();
    assert!(all.len() > 15, "the flags are read");
    let missing: Vec<&str> =
        all.iter().filter_map(Arg::get_long).filter(|name| !given.contains(name)).collect();
    assert_eq!(missing, BY_DOWNWARD_API);
    for (name, field) in [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace")] {
        let environment = container(&everything)["env"].as_array().expect("variables").iter();
        let found = environment.clone().find(|variable| variable["name"] == name).expect(name);
        assert_eq!(found["valueFrom"]["fieldRef"]["fieldPath"], field);
    }
}

#[test]
fn defaults_of_the_values_are_those_of_the_flags() {
    let defaults = manifests(&rendered("defaults"));
    let given = texts(&container(&defaults)["args"]);
    let mut compared = 0;
    for flag in flags() {
        let name = flag.get_long().expect("a long flag");
        let of_flag: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !of_flag.is_empty() {
            let whole = format!("--{name}={}", of_flag.join(","));
            assert!(given.contains(&whole.as_str()), "{whole} is not in {given:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, given.len() - 1, "each flag that is given has a default: {given:?}");
}

#[test]
fn program_takes_the_flags_that_the_chart_gives() {
    for set in SETS {
        let rendered = manifests(&rendered(set));
        let command = [&["opamp-operator"], &texts(&container(&rendered)["args"])[..]].concat();
        let Wanted::Run(args) = Cli::try_parse_from(command).expect(set).command else {
            panic!("{set}: it does not run")
        };
        let environment = |name: &str| match name {
            "POD_NAME" => Some("opamp-operator-6c9f7d5b8d-x2x7z".to_owned()),
            "POD_NAMESPACE" => Some(NAMESPACE.to_owned()),
            _ => None,
        };
        let settings = Settings::new(&args, environment).expect(set);
        assert_eq!(settings.tls.is_some(), ["everything", "high-availability"].contains(&set), "{set}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_what_to_do() {
    for (values, words) in [
        (
            &["terminationGracePeriodSeconds=32"][..],
            "is 32 and has to be 33 at least: limits.drainPeriod (10s), 20 seconds",
        ),
        (&["limits.drainPeriod=17001ms"], "is 40 and has to be 41 at least: limits.drainPeriod (17001ms)"),
        (&["limits.drainPeriod=1h1m08s"], "has to be 3691 at least"),
        (&["limits.drainPeriod=1m30s", "terminationGracePeriodSeconds=112"], "has to be 113 at least"),
        (&["preStopSeconds=11"], "is 40 and has to be 41 at least: limits.drainPeriod (10s), 20 seconds"),
        (&["agents.auth={none,token}"], "none cannot be combined with other ways"),
        (
            &["tls.secret=a", "tls.certManager.enabled=true"],
            "tls.secret and tls.certManager.enabled are both set",
        ),
        (&["tls.certManager.enabled=true"], "name the issuer"),
        (&["tls.clientCA.secret=a"], "tls.clientCA needs tls.secret or tls.certManager.enabled"),
        (
            &["tls.secret=a", "tls.clientCA.secret=a", "tls.clientCA.configMap=a"],
            "tls.clientCA.configMap and",
        ),
        (&["agents.publicCA.secret=a", "agents.publicCA.configMap=a"], "agents.publicCA.configMap and"),
        (&["agents.publicCA.secret=a"], "agents.publicCA needs agents.publicEndpoint"),
        (&["agents.publicEndpoint=ws://a/v1/opamp"], "has to begin with wss:// or https://"),
        (&["agents.publicEndpoint=wss://a"], "to end with the path, /v1/opamp"),
        (&["agents.publicEndpoint=wss://a/"], "to end with the path, /v1/opamp"),
        (&["agents.publicEndpoint=wss://me:x@a/b"], "has to begin with wss:// or https://"),
        (&["ingress.enabled=true"], "ingress.host is not set"),
        (&["httpRoute.enabled=true"], "httpRoute.parentRefs is empty"),
        (&["ports.opamp=8080"], "ports.opamp and ports.admin are the same"),
        (&["image.repository="], "image.repository is not set: no image of opamp-operator is published yet"),
    ] {
        let said = refused(values);
        assert!(said.contains(words), "{values:?}: wanted {words:?}, got {said}");
    }
    for values in [
        &["terminationGracePeriodSeconds=33"][..],
        &["terminationGracePeriodSeconds=30", "preStopSeconds=0"],
        &["limits.drainPeriod=1m30s", "terminationGracePeriodSeconds=115", "preStopSeconds=5"],
        &["limits.drainPeriod=0s", "terminationGracePeriodSeconds=23"],
    ] {
        template(&set(values)).unwrap_or_else(|said| panic!("{values:?}: {said}"));
    }
}

#[test]
fn values_that_nobody_knows_or_of_a_wrong_type_are_refused() {
    for (value, place, words) in [
        ("replica=3", "''", "'replica' not allowed"),
        ("tls.certmanager.enabled=true", "'/tls'", "'certmanager' not allowed"),
        ("limits.maxAgent=3", "'/limits'", "'maxAgent' not allowed"),
        ("replicas=two", "'/replicas'", "want integer"),
        ("replicas=-1", "'/replicas'", "minimum"),
        ("crds.keep=maybe", "'/crds/keep'", "want boolean"),
        ("agents.auth={password}", "'/agents/auth/0'", "must be one of"),
        ("agents.auth=token", "'/agents/auth'", "want array"),
        ("limits.drainPeriod=10", "'/limits/drainPeriod'", "want string"),
        ("limits.drainPeriod=10 s", "'/limits/drainPeriod'", "pattern"),
        ("limits.maxMessageBytes=100", "'/limits/maxMessageBytes'", "minimum"),
        ("image.tag.a=b", "'/image/tag'", "want string"),
        ("podLabels.a=1", "'/podLabels/a'", "want string"),
        ("notifications.secret=x", "'/notifications'", "'secret' not allowed"),
        ("notifications.existingSecret.key=a/b", "'/notifications/existingSecret/key'", "pattern"),
        ("service.type=Loadbalancer", "'/service/type'", "must be one of"),
    ] {
        let said = refused(&[value]);
        assert!(
            said.contains(place) && said.contains(words),
            "{value}: wanted {place} {words:?}, got {said}"
        );
    }
}

#[test]
fn values_that_the_page_shows_are_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, block("install.md", "# not a resource: values.yaml")).expect("written");
    let shown = template(&["--values", file.to_str().expect("a path in UTF-8")]).expect("accepted");
    assert!(shown.contains("--drain-period=60s") && shown.contains("kind: NetworkPolicy"), "{shown}");
}

/// A chart that depends on this one gives it more.
#[test]
fn values_that_helm_gives_to_dependencies_are_accepted() {
    template(&set(&["global.anything=x", "enabled=true"])).expect("accepted");
}

#[test]
fn schema_knows_every_value_and_no_other() {
    let text = fs::read_to_string(chart().join("values.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let (mut places, mut loose) = (BTreeSet::new(), BTreeSet::new());
    walk("", &schema, &mut places, &mut loose);
    let free: BTreeSet<String> = [&FREE[..], &FREE_LISTS].concat().into_iter().map(str::to_owned).collect();
    assert_eq!(loose, free, "objects of which the schema does not know the keys");

    let mut values = BTreeSet::from(["enabled".to_owned(), "global".to_owned()]);
    each_leaf("", &Values::read().defaults, &mut |path| {
        // What is in an object that the schema leaves to Kubernetes.
        let owner = loose.iter().find(|owner| path.starts_with(&format!("{owner}.")));
        values.insert(owner.map_or(path, |owner| owner.as_str()).to_owned());
    });
    places.retain(|place| !place.contains("[]") && place != "resources.claims");
    assert_eq!(places, values);
}

/// Collects the leaves of a schema, and the objects in it that may have any key of any kind.
fn walk(path: &str, schema: &Value, places: &mut BTreeSet<String>, loose: &mut BTreeSet<String>) {
    let inner = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let kinds = ["type", "enum", "oneOf"].map(|word| schema.get(word).is_some());
    assert!(kinds.contains(&true), "{path}: any type is accepted");
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        assert_eq!(schema["additionalProperties"], false, "{path}: any key is accepted");
        properties.iter().for_each(|(key, schema)| walk(&inner(key), schema, places, loose));
    } else {
        places.insert(path.to_owned());
        if schema["type"] == "object" && !schema["additionalProperties"].is_object() {
            loose.insert(path.to_owned());
        }
    }
    if schema["type"] == "array" {
        walk(&format!("{path}[]"), &schema["items"], places, loose);
    }
}

/// These values as arguments of helm.
fn set<'a>(values: &[&'a str]) -> Vec<&'a str> {
    values.iter().flat_map(|value| ["--set", *value]).collect()
}

fn refused(values: &[&str]) -> String {
    match template(&set(values)) {
        Ok(_) => panic!("{values:?} is accepted"),
        Err(said) => said,
    }
}
