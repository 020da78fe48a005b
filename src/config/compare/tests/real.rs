//! A configuration that a real Collector was given, and what it reports of it (0.149, `otelcol print-config`, which
//! prints what the Collector hands to its extensions as the effective configuration).

use super::departures;

const GIVEN: &str = r#"
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:14317
        keepalive: {server_parameters: {max_connection_age: 60s}}
      http:
        include_metadata: true
        cors: {allowed_origins: ["https://*.example.com"]}
  nop:
processors:
  batch:
    timeout: 300ms
    send_batch_size: 512
  memory_limiter:
    check_interval: 1s
    limit_mib: 64
  attributes:
    actions: [{key: mark, value: "${env:HOME}", action: insert}, {key: n, value: 5, action: upsert}]
exporters:
  debug:
    verbosity: detailed
  debug/basic: {verbosity: basic, sampling_initial: 5}
  nop: {}
connectors:
  forward:
extensions:
  health_check: {endpoint: "127.0.0.1:13133", path: /status}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}, logs: {level: WARN}, resource: {a.b: c, price: "$$5"}}
  pipelines:
    traces: {receivers: [otlp, nop], processors: [memory_limiter, batch], exporters: [debug, forward]}
    traces/2: {receivers: [forward], processors: [attributes], exporters: [nop]}
    metrics: {receivers: [otlp], exporters: [debug/basic]}
"#;

const REPORTED: &str = r#"
connectors:
    forward: {}
exporters:
    debug:
        output_paths: []
        sampling_initial: 2
        sampling_thereafter: 1
        sending_queue: null
        use_internal_logger: true
        verbosity: Detailed
    debug/basic:
        output_paths: []
        sampling_initial: 5
        sampling_thereafter: 1
        sending_queue: null
        use_internal_logger: true
    nop: {}
extensions:
    health_check:
        check_collector_pipeline:
            enabled: false
            exporter_failure_threshold: 5
            interval: 5m
        component_health: null
        cors: null
        endpoint: 127.0.0.1:13133
        grpc: null
        http: null
        idle_timeout: 0s
        path: /status
        read_header_timeout: 0s
        response_body: null
        tls: null
        transport: tcp
        use_v2: false
        write_timeout: 0s
processors:
    attributes:
        actions:
            - action: insert
              converted_type: ""
              default_value: null
              from_attribute: ""
              from_context: ""
              key: mark
              pattern: ""
              value: /root
            - action: upsert
              converted_type: ""
              default_value: null
              from_attribute: ""
              from_context: ""
              key: "n"
              pattern: ""
              value: 5
        exclude: null
        include: null
    batch:
        metadata_cardinality_limit: 1000
        metadata_keys: []
        send_batch_max_size: 0
        send_batch_size: 512
        timeout: 300ms
    memory_limiter:
        check_interval: 1s
        limit_mib: 64
        limit_percentage: 0
        min_gc_interval_when_hard_limited: 0s
        min_gc_interval_when_soft_limited: 10s
        spike_limit_mib: 0
        spike_limit_percentage: 0
receivers:
    nop: {}
    otlp:
        protocols:
            grpc:
                endpoint: 127.0.0.1:14317
                keepalive:
                    enforcement_policy: {}
                    server_parameters:
                        max_connection_age: 1m0s
                read_buffer_size: 524288
                transport: tcp
            http:
                cors:
                    allowed_origins:
                        - https://*.example.com
                endpoint: localhost:4318
                idle_timeout: 0s
                include_metadata: true
                keep_alives_enabled: true
                logs_url_path: /v1/logs
                metrics_url_path: /v1/metrics
                read_header_timeout: 0s
                tls: null
                traces_url_path: /v1/traces
                transport: tcp
                write_timeout: 0s
service:
    extensions:
        - health_check
    pipelines:
        metrics:
            exporters:
                - debug/basic
            processors: []
            receivers:
                - otlp
        traces:
            exporters:
                - debug
                - forward
            processors:
                - memory_limiter
                - batch
            receivers:
                - otlp
                - nop
        traces/2:
            exporters:
                - nop
            processors:
                - attributes
            receivers:
                - forward
    telemetry:
        logs:
            encoding: console
            error_output_paths:
                - stderr
            level: warn
            output_paths:
                - stderr
            sampling:
                enabled: true
                initial: 10
                thereafter: 100
                tick: 10s
        metrics:
            level: None
            readers:
                - pull:
                    exporter:
                        prometheus:
                            host: localhost
                            port: 8888
                            without_scope_info: true
                            without_type_suffix: true
                            without_units: true
        resource:
            a.b: c
            price: $5

"#;

#[test]
fn real_report_departs_only_by_leaves_that_it_leaves_out() {
    assert_eq!(
        departures(GIVEN, REPORTED),
        ["exporters::debug/basic::verbosity Unreported", "processors::attributes::actions::0::value Hidden"]
    );
}

#[test]
fn every_change_of_a_real_report_is_found() {
    for (from, to, expected) in [
        (
            "max_connection_age: 1m0s",
            "max_connection_age: 1m1s",
            "receivers::otlp::protocols::grpc::keepalive::server_parameters::max_connection_age Different",
        ),
        ("verbosity: Detailed", "verbosity: Basic", "exporters::debug::verbosity Different"),
        ("    nop: {}\nextensions", "extensions", "exporters::nop Missing"),
        ("value: 5", "value: 6", "processors::attributes::actions::1::value Different"),
        (
            "                - debug/basic\n",
            "                - debug/basic\n                - nop\n",
            "service::pipelines::metrics::exporters::nop Foreign",
        ),
        (
            "        traces/2:",
            "        traces/3:",
            "service::pipelines::traces/2 Missing, service::pipelines::traces/3 Foreign",
        ),
        ("        - health_check\n", "", "service::extensions::health_check Missing"),
    ] {
        assert!(REPORTED.contains(from), "{from}");
        let found = departures(GIVEN, &REPORTED.replacen(from, to, 1));
        let told = found.iter().filter(|found| !found.ends_with("Unreported") && !found.ends_with("Hidden"));
        assert_eq!(told.map(String::as_str).collect::<Vec<_>>().join(", "), expected, "{to}");
    }
}
