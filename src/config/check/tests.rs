use super::{CheckError, Problem, Reason, Role, check};
use crate::config::{ComponentId, ConfigFile, Fault, Kind, ParseError, Position};

mod hostile;
mod real;

/// Valid, with something in every section that the check looks at.
const GOOD: &str = "\
receivers:
  otlp:
    protocols: {grpc: {endpoint: s3cr3t}}
processors:
  batch:
exporters:
  debug: {verbosity: s3cr3t}
  otlp/backend: {headers: {authorization: s3cr3t}}
connectors:
  forward:
extensions:
  zpages: {endpoint: s3cr3t}
service:
  extensions: [zpages]
  telemetry: {logs: {level: s3cr3t}}
  pipelines:
    traces: {receivers: [otlp], processors: [batch], exporters: [forward]}
    traces/out: {receivers: [forward], exporters: [debug, otlp/backend]}
";

fn checked(files: &[(&str, &str)]) -> Result<(), CheckError> {
    let file = |(name, body): &(&str, &str)| ConfigFile::new(*name, "text/yaml", body.as_bytes());
    check(&files.iter().map(file).collect::<Vec<_>>())
}

/// The problems of [`GOOD`] with one text replaced, as (path, reason).
fn problems(from: &str, to: &str) -> Vec<(String, Reason)> {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    let error = checked(&[("c.yaml", &GOOD.replace(from, to))]).expect_err(to);
    assert!(error.problems.iter().all(|problem| problem.file.as_deref() == Some("c.yaml")));
    error.problems.into_iter().map(|problem| (problem.path, problem.reason)).collect()
}

#[track_caller]
fn assert_refused(from: &str, to: &str, path: &str, reason: Reason) {
    assert_eq!(problems(from, to), [(path.to_owned(), reason)], "{to}");
}

#[track_caller]
fn assert_accepted(from: &str, to: &str) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    assert_eq!(checked(&[("c.yaml", &GOOD.replace(from, to))]), Ok(()), "{to}");
}

fn id(text: &str) -> ComponentId {
    text.parse().unwrap()
}

#[test]
fn valid_configuration_is_accepted() {
    assert_eq!(checked(&[("c.yaml", GOOD)]), Ok(()));
}

#[test]
fn unreadable_file_is_refused_with_its_position() {
    let reason = |line, column, fault| {
        Reason::Unreadable(ParseError { position: Some(Position { line, column }), fault })
    };
    let twice = reason(6, 1, Fault::DuplicateKey("receivers".to_owned()));
    assert_refused("exporters:\n  debug", "receivers:\n  debug", "", twice);
    let unquoted = reason(17, 27, Fault::UnquotedExpansion);
    assert_refused("[otlp]", "[${env:RECEIVER}]", "", unquoted);
    let error = check(&[ConfigFile::new("c.yaml", "", *b"\xff")]).unwrap_err();
    assert_eq!(error.problems[0].reason, reason(1, 1, Fault::NotUtf8));
}

#[test]
fn file_without_sections_is_refused() {
    for (body, found) in [("[a]", Kind::List), ("text", Kind::String), ("${env:X}", Kind::String)] {
        let error = checked(&[("a", GOOD), ("b", body)]).unwrap_err();
        let reason = Reason::NoSections { found };
        let expected = Problem { file: Some("b".to_owned()), path: String::new(), reason };
        assert_eq!(error.problems, [expected]);
    }
}

#[test]
fn configuration_without_pipelines_is_refused() {
    let none: [&[(&str, &str)]; 6] = [
        &[],
        &[("a", "")],
        &[("a", "# nothing\n"), ("b", "")],
        &[("a", "receivers: {nop: }")],
        &[("a", "service:")],
        &[("a", "service: {pipelines: {}}")],
    ];
    for files in none {
        let error = checked(files).unwrap_err();
        let [problem] = error.problems.as_slice() else { panic!("{error}") };
        assert_eq!((problem.path.as_str(), &problem.reason), ("service::pipelines", &Reason::NoPipelines));
    }
}

#[test]
fn key_without_a_value_that_would_take_the_supervisors_extension_away_is_refused() {
    let only = |path: &str, instead| vec![(path.to_owned(), Reason::WithoutSupervisor { instead })];
    assert_eq!(problems("[zpages]", "~"), only("service::extensions", "[]"));
    assert_eq!(problems("[zpages]", ""), only("service::extensions", "[]"));
    for nothing in ["[]", "[zpages]"] {
        assert_accepted("[zpages]", nothing);
    }
    let without = GOOD
        .replace("extensions:\n  zpages: {endpoint: s3cr3t}\n", "")
        .replace("  extensions: [zpages]\n", "");
    assert_eq!(checked(&[("a", &without)]), Ok(()));
    for (file, path, instead) in [
        ("extensions:", "extensions", "{}"),
        ("extensions: null", "extensions", "{}"),
        ("service:", "service", "{}"),
        ("service: {extensions: }", "service::extensions", "[]"),
    ] {
        // It is merged first or last: what others say there does not bring the supervisor's own back.
        for name in ["0", ""] {
            let error = checked(&[("a", &without), (name, file)])
                .map_or_else(|error| error.problems, |()| Vec::new());
            let found: Vec<_> = error
                .into_iter()
                .filter(|problem| problem.reason != Reason::NoPipelines)
                .map(|problem| (problem.file.unwrap_or_default(), problem.path, problem.reason))
                .collect();
            let last = name.is_empty() && path == "service";
            let expected = (name.to_owned(), path.to_owned(), Reason::WithoutSupervisor { instead });
            assert_eq!(found, if last { vec![] } else { vec![expected] }, "{file} in {name:?}");
        }
    }
    for file in ["extensions: {}", "service: {}", "service: {extensions: []}"] {
        assert_eq!(checked(&[("a", &without), ("", file)]), Ok(()), "{file}");
    }
}

#[test]
fn node_of_another_kind_is_refused() {
    let (map, list) = (Kind::Map, Kind::List);
    let cases = [
        ("processors:\n  batch:", "processors: [batch]", "processors", map, list),
        ("connectors:\n  forward:", "connectors: forward", "connectors", map, Kind::String),
        ("batch:\n", "batch: [1]\n", "processors::batch", map, list),
        ("batch:\n", "batch: true\n", "processors::batch", map, Kind::Bool),
        ("batch:\n", "batch: 1\n", "processors::batch", map, Kind::Number),
        ("[zpages]", "zpages", "service::extensions", list, Kind::String),
        ("[zpages]", "{zpages: }", "service::extensions", list, map),
        ("[otlp]", "otlp", "service::pipelines::traces::receivers", list, Kind::String),
        (
            "{receivers: [otlp], processors: [batch], exporters: [forward]}",
            "[otlp]",
            "service::pipelines::traces",
            map,
            list,
        ),
    ];
    for (from, to, path, wanted, found) in cases {
        assert_refused(from, to, path, Reason::WrongKind { wanted, found });
    }
}

#[test]
fn service_and_pipelines_of_another_kind_are_refused() {
    for (body, path) in [("service: [x]", "service"), ("service: {pipelines: [x]}", "service::pipelines")] {
        let error = checked(&[("a", body)]).unwrap_err();
        let reason = Reason::WrongKind { wanted: Kind::Map, found: Kind::List };
        let expected = Problem { file: Some("a".to_owned()), path: path.to_owned(), reason };
        assert_eq!(error.problems, [expected]);
    }
}

#[test]
fn pipeline_with_an_invalid_id_is_refused() {
    for key in ["otlp/out", "traces/", "Traces/out", "\"\""] {
        let path = format!("service::pipelines::{}", key.trim_matches('"'));
        assert_refused("traces/out:", &format!("{key}:"), &path, Reason::PipelineId);
    }
}

#[test]
fn every_signal_is_accepted_as_a_pipeline() {
    for key in ["metrics", "logs/2", "profiles/cpu"] {
        assert_accepted("traces/out:", &format!("{key}:"));
    }
}

#[test]
fn component_with_an_invalid_id_is_refused() {
    assert_refused("  batch:\n", "  batch:\n  a b:\n", "processors::a b", Reason::ComponentId);
    assert_refused("  zpages:", "  1/x:\n  zpages:", "extensions::1/x", Reason::ComponentId);
}

#[test]
fn list_element_that_is_no_id_is_refused() {
    let path = "service::pipelines::traces::processors";
    for (element, position) in [("1", 1), ("[batch]", 1), ("~", 1), ("batch, a b", 2), ("batch, ''", 2)] {
        assert_refused("[batch]", &format!("[{element}]"), path, Reason::Element { position });
    }
}

#[test]
fn pipeline_without_receivers_or_exporters_is_refused() {
    let receivers = "service::pipelines::traces::receivers";
    let missing = Reason::Missing { role: Role::Receiver };
    for (from, to) in [("receivers: [otlp], ", ""), ("[otlp]", "[]"), ("[otlp]", "~")] {
        assert_refused(from, to, receivers, missing.clone());
    }
    let exporters = "service::pipelines::traces/out::exporters";
    let missing = Reason::Missing { role: Role::Exporter };
    assert_refused("[debug, otlp/backend]", "[]", exporters, missing.clone());
    let both = problems("{receivers: [forward], exporters: [debug, otlp/backend]}", "");
    let reasons: Vec<_> = both.into_iter().map(|(_, reason)| reason).collect();
    let unused = Reason::OneSided { id: id("forward"), used: Role::Exporter, missing: Role::Receiver };
    assert_eq!(reasons, [Reason::Missing { role: Role::Receiver }, missing, unused]);
}

#[test]
fn component_that_is_not_defined_is_refused() {
    let cases = [
        ("[otlp]", "[otlp, kafka]", "service::pipelines::traces::receivers", Role::Receiver, "kafka"),
        (
            "[otlp]",
            "[otlp, otlp/backend]",
            "service::pipelines::traces::receivers",
            Role::Receiver,
            "otlp/backend",
        ),
        ("[batch]", "[batch, otlp]", "service::pipelines::traces::processors", Role::Processor, "otlp"),
        ("[batch]", "[batch, forward]", "service::pipelines::traces::processors", Role::Processor, "forward"),
        ("[forward]}", "[forward, otlp]}", "service::pipelines::traces::exporters", Role::Exporter, "otlp"),
        ("[zpages]", "[zpages, pprof, pprof]", "service::extensions", Role::Extension, "pprof"),
    ];
    for (from, to, path, role, undefined) in cases {
        assert_refused(from, to, path, Reason::Undefined { role, id: id(undefined) });
    }
}

#[test]
fn component_named_with_white_space_around_its_id_is_found() {
    assert_accepted("[batch]", "[' batch ']");
}

#[test]
fn processor_named_twice_in_one_pipeline_is_refused() {
    let path = "service::pipelines::traces::processors";
    assert_refused("[batch]", "[batch, batch, batch]", path, Reason::Repeated { id: id("batch") });
    assert_accepted("[otlp]", "[otlp, otlp]");
}

#[test]
fn connector_that_shares_its_id_is_refused() {
    let cases = [("receivers:\n", Role::Receiver), ("exporters:\n", Role::Exporter)];
    for (section, role) in cases {
        let reason = Reason::Ambiguous { id: id("forward"), role };
        assert_refused(section, &format!("{section}  forward:\n"), "connectors::forward", reason);
    }
}

#[test]
fn connector_used_on_one_side_only_is_refused() {
    let (exporter, receiver) = (Role::Exporter, Role::Receiver);
    let one_sided = |used, missing| Reason::OneSided { id: id("forward"), used, missing };
    assert_refused(
        "receivers: [forward]",
        "receivers: [otlp]",
        "service::pipelines::traces::exporters",
        one_sided(exporter, receiver),
    );
    assert_refused(
        "exporters: [forward]",
        "exporters: [debug]",
        "service::pipelines::traces/out::receivers",
        one_sided(receiver, exporter),
    );
}

#[test]
fn connector_that_is_not_used_at_all_is_accepted() {
    assert_accepted("  forward:\n", "  forward:\n  forward/unused:\n");
}

#[test]
fn expansion_is_given_the_benefit_of_the_doubt() {
    let cases = [
        ("receivers:\n  otlp:\n    protocols: {grpc: {endpoint: s3cr3t}}", "receivers: ${file:r.yaml}"),
        ("connectors:\n  forward:", "connectors: ${env:C}"),
        ("batch:\n", "batch: ${env:BATCH}\n"),
        ("[zpages]", "${env:EXTENSIONS}"),
        ("[zpages]", "[zpages, '${env:EXTENSION}']"),
        ("[otlp]", "'${env:RECEIVERS}'"),
        ("[otlp]", "['${env:RECEIVER}']"),
        ("receivers: [forward]", "receivers: ['${env:RECEIVER}']"),
        ("exporters: [forward]", "exporters: '${env:EXPORTERS}'"),
        ("{receivers: [forward], exporters: [debug, otlp/backend]}", "${file:out.yaml}"),
    ];
    for (from, to) in cases {
        assert_accepted(from, to);
    }
    for body in ["service: ${file:s.yaml}", "service: {pipelines: '${file:p.yaml}'}"] {
        assert_eq!(checked(&[("a", body)]), Ok(()));
    }
}

#[test]
fn escaped_expansion_is_plain_text() {
    let reason = Reason::WrongKind { wanted: Kind::List, found: Kind::String };
    assert_refused("[zpages]", "$${env:X}", "service::extensions", reason);
}

#[test]
fn what_only_a_collector_can_know_is_left_to_it() {
    assert_accepted("  debug:", "  no_such_exporter: {no_such_key: 1}\n  debug:");
    assert_accepted("service:\n", "no_such_section: [1]\nservice:\n  no_such_key: 1\n");
    assert_accepted("telemetry: {logs: {level: s3cr3t}}", "telemetry: [1]");
}

#[test]
fn problem_names_the_file_that_decides_the_path() {
    let service = "service: {extensions: [zpages, pprof], pipelines: {traces: {receivers: [kafka]}}}";
    let above = "service: {extensions: [oidc], pipelines: {traces: {exporters: [debug]}}}";
    let error =
        checked(&[("a", "extensions: {zpages: }\nexporters: {debug: }"), ("b", service), ("c", above)]);
    let found: Vec<_> = error
        .unwrap_err()
        .problems
        .into_iter()
        .map(|problem| (problem.file.unwrap_or_default(), problem.path))
        .collect();
    let expected = [
        ("c", "service::extensions"),
        ("b", "service::extensions"),
        ("b", "service::pipelines::traces::receivers"),
    ];
    assert_eq!(found, expected.map(|(file, path)| (file.to_owned(), path.to_owned())));
}

#[test]
fn section_emptied_by_a_later_file_is_empty() {
    let error = checked(&[("a", GOOD), ("b", "processors:\n")]).unwrap_err();
    assert_eq!(error.problems[0].reason, Reason::Undefined { role: Role::Processor, id: id("batch") });
}

#[test]
fn text_of_one_problem_says_where_what_and_what_to_do() {
    let error = checked(&[("c.yaml", &GOOD.replace("[batch]", "[tail]"))]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "file \"c.yaml\": service::pipelines::traces::processors: \
         the processor tail is not defined; add it under processors or remove it here"
    );
}

#[test]
fn text_of_several_problems_numbers_them() {
    let error = checked(&[("a", "["), ("", "a: '")]).unwrap_err().to_string();
    assert!(error.starts_with("(1) file \"a\": line 1, column 1: not valid YAML: "), "{error}");
    assert!(error.contains(" (2) file \"\": line 1, column "), "{error}");
}
