use super::{ComponentId, InvalidId, PipelineId};

#[test]
fn component_id_is_accepted_as_the_collector_does() {
    let long = format!("otlp/{}", "n".repeat(1024));
    let ids = [
        ("otlp", "otlp"),
        ("otlp/backend", "otlp/backend"),
        ("k8s_cluster", "k8s_cluster"),
        ("otlp/a/b", "otlp/a/b"),
        ("  otlp / backend ", "otlp/backend"),
        ("otlp/größe-1.2:3", "otlp/größe-1.2:3"),
        (long.as_str(), long.as_str()),
    ];
    for (text, spelling) in ids {
        assert_eq!(text.parse::<ComponentId>().map(|id| id.to_string()), Ok(spelling.to_owned()));
    }
}

#[test]
fn component_id_is_refused_as_the_collector_does() {
    let long_type = "t".repeat(64);
    let long_name = format!("otlp/{}", "n".repeat(1025));
    let texts = [
        "",
        " ",
        "/backend",
        "otlp/",
        "otlp/ ",
        "1otlp",
        "_otlp",
        "ot lp",
        "ot-lp",
        "größe",
        "otlp/a b",
        "otlp/a\tb",
        "otlp/a\u{0}b",
        "otlp/a$b",
        "otlp/a=b",
        &long_type,
        &long_name,
    ];
    for text in texts {
        assert_eq!(text.parse::<ComponentId>(), Err(InvalidId), "{text:?}");
    }
}

#[test]
fn pipeline_id_is_accepted_for_each_signal() {
    for text in ["traces", "metrics", "logs", "profiles", "traces/edge", " logs / 2 "] {
        let id = text.parse::<PipelineId>().unwrap();
        assert_eq!(id.as_str(), text.replace(' ', ""));
    }
}

#[test]
fn pipeline_id_is_refused_for_anything_else() {
    for text in ["", "trace", "Traces", "otlp", "traces/", "/traces", "traces/a b"] {
        assert_eq!(text.parse::<PipelineId>(), Err(InvalidId), "{text:?}");
    }
}
