//! The comparison on real reports, on made-up ones, and on random ones.

use super::*;
use crate::config::{ConfigFile, Desired, Digest, HashKey, Ignore};

mod real;
mod rewritten;

fn key() -> HashKey {
    HashKey::try_from(&[7; 32][..]).expect("32 bytes")
}

fn desired(yaml: &str) -> Desired {
    Desired::collector(&[ConfigFile::new("a", "", yaml.as_bytes())])
        .unwrap_or_else(|| panic!("no YAML: {yaml}"))
}

fn looked(wanted: &str, effective: &str, ignore: &[&str]) -> Result<Finding, Reason> {
    let files = [ConfigFile::new("", "text/yaml", effective.as_bytes())];
    look(&desired(wanted), &files, &Ignore::new(ignore).expect("patterns"), &key())
}

fn found(wanted: &str, effective: &str) -> Finding {
    looked(wanted, effective, &[]).unwrap_or_else(|reason| panic!("{reason}: {effective}"))
}

/// A verdict as text: `Modified at exporters::otlp`.
fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::InSync => "InSync".to_owned(),
        Verdict::Drifted(class, path) => format!("{class} at {path}"),
        Verdict::Unknown(reason) => format!("Unknown: {reason}"),
    }
}

const WANTED: &str = "
exporters: {otlp: {endpoint: 'h:1', timeout: 5m, key: secret, quiet: true}, debug: }
service: {pipelines: {traces: {receivers: [nop], exporters: [otlp, debug]}}}
receivers: {nop: }
";

/// What a Collector would report of it.
const REPORTED: &str = "
connectors: {}
exporters: {otlp: {endpoint: 'h:1', timeout: 5m0s, key: '[REDACTED]', more: 1}, debug: {verbosity: Basic}}
extensions: {opamp: {ppid: 1, capabilities: {reports_health: true}}}
processors: {}
receivers: {nop: {}}
service:
  extensions: [opamp]
  pipelines: {traces: {exporters: [otlp, debug], processors: [], receivers: [nop]}}
  telemetry: {logs: {encoding: json}, metrics: {level: Normal}, resource: {pid: 1}}
";

/// The verdict on a change of [`REPORTED`], for an agent that reported it unchanged before.
fn after(from: &str, to: &str, ignore: &[&str]) -> String {
    assert!(REPORTED.contains(from), "{from}");
    let before = looked(WANTED, REPORTED, ignore).expect("a finding");
    let own = before.as_baseline();
    assert!(own.is_some());
    let now = looked(WANTED, &REPORTED.replacen(from, to, 1), ignore).expect("a finding");
    text(&now.verdict(Some(&Baseline::new(&before)), own))
}

#[test]
fn each_way_to_drift_has_its_class_and_its_path() {
    for (from, to, expected) in [
        ("h:1", "h:1", "InSync"),
        ("'h:1'", "h:2", "Modified at exporters::otlp::endpoint"),
        ("5m0s", "300s", "InSync"),
        ("timeout: 5m0s, ", "", "Modified at exporters::otlp::timeout"),
        ("key: '[REDACTED]', ", "", "Modified at exporters::otlp::key"),
        (", debug: {verbosity: Basic}", "", "Modified at exporters::debug"),
        (
            "exporters: [otlp, debug]",
            "exporters: [otlp]",
            "Modified at service::pipelines::traces::exporters::debug",
        ),
        (
            "exporters: [otlp, debug]",
            "exporters: [otlp, debug, evil/1]",
            "Foreign at service::pipelines::traces::exporters::evil/1",
        ),
        ("processors: [],", "processors: [evil],", "Foreign at service::pipelines::traces::processors::evil"),
        ("extensions: [opamp]", "extensions: [opamp, evil]", "Foreign at service::extensions::evil"),
        ("pipelines: {", "pipelines: {logs: {}, ", "Foreign at service::pipelines::logs"),
        ("more: 1", "more: 2", "Changed at "),
        ("verbosity: Basic", "verbosity: Detailed", "Changed at "),
        ("processors: {}", "processors: {batch: {a: 1}}", "Changed at "),
        ("ppid: 1", "ppid: 2", "InSync"),
        ("pid: 1}}\n", "pid: 2}}\n", "InSync"),
        // Where the agent was told to send its own telemetry.
        ("level: Normal", "level: Normal, readers: [{periodic: 1}]", "InSync"),
        ("encoding: json", "encoding: json, processors: [{batch: 1}]", "InSync"),
        ("logs: {", "traces: {level: Basic, processors: [{batch: 1}]}, logs: {", "InSync"),
        ("level: Normal", "level: Detailed", "Changed at "),
        ("level: Normal", "level: Normal, processors: [{batch: 1}]", "Changed at "),
    ] {
        assert_eq!(after(from, to, &[]), expected, "{from} to {to}");
    }
}

#[test]
fn ignored_places_are_seen_neither_by_the_comparison_nor_by_the_digest() {
    for (from, to, ignore, expected) in [
        ("'h:1'", "h:2", "exporters::otlp::endpoint", "InSync"),
        ("'h:1'", "h:2", "exporters::*::endpoint", "InSync"),
        ("'h:1'", "h:2", "exporters::otlp", "InSync"),
        ("'h:1'", "h:2", "exporters::debug", "Modified at exporters::otlp::endpoint"),
        ("more: 1", "more: 2", "exporters::otlp::more", "InSync"),
        ("more: 1", "more: 2", "exporters::otlp::endpoint", "Changed at "),
        ("timeout: 5m0s, ", "", "exporters::otlp::timeout", "InSync"),
        ("extensions: [opamp]", "extensions: [opamp, evil]", "service::extensions", "InSync"),
        ("extensions: [opamp]", "extensions: [opamp, evil]", "service::extensions::evil", "InSync"),
        ("[otlp, debug]", "[otlp]", "service::pipelines::*::exporters::debug", "InSync"),
    ] {
        assert_eq!(after(from, to, &[ignore]), expected, "{from} to {to}, ignoring {ignore}");
    }
}

#[test]
fn leaf_that_was_never_reported_proves_nothing() {
    let finding = found(WANTED, REPORTED);
    assert_eq!(finding.left_out().map(Path::as_str).collect::<Vec<_>>(), ["exporters::otlp::quiet"]);
    let own = finding.as_baseline();
    assert_eq!(finding.verdict(Some(&Baseline::new(&finding)), own), Verdict::InSync);
    assert_eq!(finding.verdict(None, own), Verdict::InSync, "nor does it where nobody reported before");
}

#[test]
fn leaf_that_one_agent_leaves_out_is_not_missed_in_others() {
    let whole = found(WANTED, &REPORTED.replace("more: 1", "more: 1, quiet: true"));
    let less = found(WANTED, REPORTED);
    let mut baseline = Baseline::new(&whole);
    let path = Path::new(&["exporters", "otlp", "quiet"]);
    assert_eq!(less.verdict(Some(&baseline), less.as_baseline()), Verdict::Drifted(Class::Modified, path));
    assert!(baseline.absorb(&less), "it is news");
    assert!(!baseline.absorb(&less), "and then it is not");
    assert_eq!(less.verdict(Some(&baseline), less.as_baseline()), Verdict::InSync);
}

#[test]
fn hidden_values_are_vouched_for_by_the_earlier_report_only() {
    let finding = found(WANTED, REPORTED);
    assert_eq!(finding.verdict(None, None), Verdict::Unknown(Reason::Hidden));
    assert_eq!(finding.verdict(None, finding.as_baseline()), Verdict::InSync);
    let other = Digest::from_bytes([0; 8]);
    assert_eq!(finding.verdict(None, Some(other)).class(), Some(Class::Changed));
    let open = found(&WANTED.replace("key: secret, ", ""), REPORTED);
    assert_eq!(open.verdict(None, None), Verdict::InSync, "all else can be seen");
}

#[test]
fn report_of_what_a_supervisor_gave_its_collector_is_no_baseline_and_is_not_judged_by_one() {
    let given = format!("{WANTED}\nextensions: {{opamp: {{ppid: 1}}}}")
        .replace("service: {", "service: {extensions: [opamp], ");
    let (given, reported) = (found(WANTED, &given), found(WANTED, REPORTED));
    assert_eq!(given.as_baseline(), None);
    let (baseline, own) = (Baseline::new(&reported), reported.as_baseline());
    assert_eq!(given.verdict(Some(&baseline), own), Verdict::InSync);
    let tampered = found(&WANTED.replace("h:1", "h:2"), REPORTED);
    assert_eq!(tampered.as_baseline(), None, "nor is one that shows drift");
}

#[test]
fn report_that_cannot_be_read_is_unknown() {
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            text.extend(["a", &level.to_string(), ": &a", &level.to_string(), " [", &list, "]\n"]);
        }
        text
    };
    let (deep, long) = ("[".repeat(100_000), format!("a: {}", "x".repeat(10_000_000)));
    for (effective, expected) in [
        ("", Reason::NotReported),
        ("[", Reason::Unreadable),
        ("- a list", Reason::Unreadable),
        ("{}", Reason::Unreadable),
        ("a: 1\na: 2", Reason::Unreadable),
        ("? {a: b}\n: c", Reason::Unreadable),
        ("a: *nowhere", Reason::Unreadable),
        (&*bomb, Reason::Unreadable),
        (&*deep, Reason::Unreadable),
        (&*long, Reason::Unreadable),
    ] {
        let shown: String = effective.chars().take(20).collect();
        assert_eq!(looked(WANTED, effective, &[]), Err(expected), "{shown}");
    }
    let bytes = [ConfigFile::new("", "", &b"\xff\xfe"[..])];
    assert_eq!(look(&desired(WANTED), &bytes, &Ignore::default(), &key()), Err(Reason::Unreadable));
    assert_eq!(look(&desired(WANTED), &[], &Ignore::default(), &key()), Err(Reason::NotReported));
}

#[test]
fn opaque_content_is_only_known_to_have_changed() {
    let desired = Desired::opaque(&[ConfigFile::new("a", "", &b"anything"[..])]);
    let look = |body: &str| {
        look(&desired, &[ConfigFile::new("b", "", body.as_bytes())], &Ignore::default(), &key())
            .expect("a finding")
    };
    for (before, now, expected) in [
        ("not: [yaml", "not: [yaml", "InSync"),
        ("not: [yaml", "not: [ yaml", "Changed at "),
        ("{a: 1, b: 2}", "{b: 2, a: 1}", "InSync"),
        ("{a: 1, b: 2}", "{b: 2, a: 2}", "Changed at "),
        ("{a: 1, extensions: {opamp: 1}}", "{a: 1, extensions: {opamp: 2}}", "InSync"),
    ] {
        let own = look(before).as_baseline();
        assert!(own.is_some());
        assert_eq!(text(&look(now).verdict(None, own)), expected, "{before}, then {now}");
    }
}

#[test]
fn nothing_of_a_drift_shows_a_value() {
    let secret = "VALUE_OF_SOMEBODY";
    for (from, to) in [
        ("'h:1'", secret.to_owned()),
        ("'h:1'", format!("{{{secret}: 1}}")),
        ("[otlp, debug]", format!("['{secret} is no name']")),
        ("more: 1", format!("more: {secret}")),
        ("extensions: [opamp]", format!("extensions: ['{secret} is no name']")),
    ] {
        let finding = found(WANTED, &REPORTED.replacen(from, &to, 1));
        let verdict = finding.verdict(None, Some(Digest::from_bytes([0; 8])));
        assert!(verdict.class().is_some(), "{to}");
        assert!(!format!("{finding:?} {verdict:?}").contains(secret), "{to}: {finding:?}");
    }
}
