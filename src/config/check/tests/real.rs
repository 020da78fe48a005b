//! Configurations as people write them, from the Collector's and its components' documentation.

use super::{checked, id};
use crate::config::{Reason, Role};

const OTLP: &str = "\
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317
      http:
        endpoint: 0.0.0.0:4318
processors:
  memory_limiter:
    check_interval: 1s
    limit_percentage: 75
  batch:
exporters:
  debug:
    verbosity: detailed
  otlp/backend:
    endpoint: ${env:BACKEND}
    headers:
      authorization: Bearer ${env:TOKEN}
    sending_queue: {enabled: true, queue_size: 5000}
service:
  pipelines:
    traces: &all
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [debug, otlp/backend]
    metrics: *all
    logs:
      <<: *all
      exporters: [otlp/backend]
";

const CONNECTORS: &str = "\
receivers:
  otlp:
    protocols:
      grpc:
exporters:
  prometheusremotewrite:
    endpoint: http://localhost:9090/api/v1/write
  otlp/eu: {endpoint: eu:4317}
  otlp/us: {endpoint: us:4317}
connectors:
  spanmetrics:
    histogram: {explicit: {buckets: [100us, 1ms, 2ms, 6ms, 10ms]}}
    dimensions:
      - name: http.method
        default: GET
  forward/in:
  routing:
    default_pipelines: [traces/us]
    table:
      - context: resource
        statement: route() where attributes[\"region\"] == \"eu\"
        pipelines: [traces/eu]
service:
  pipelines:
    traces/in: {receivers: [otlp], exporters: [forward/in]}
    traces: {receivers: [forward/in], exporters: [spanmetrics, routing]}
    traces/eu: {receivers: [routing], exporters: [otlp/eu]}
    traces/us: {receivers: [routing], exporters: [otlp/us]}
    metrics: {receivers: [spanmetrics], exporters: [prometheusremotewrite]}
";

const EXTENSIONS: &str = "\
extensions:
  health_check: {endpoint: localhost:13133}
  file_storage/queue:
    directory: /var/lib/otelcol
  oauth2client:
    client_id: ${env:CLIENT}
    client_secret: ${env:SECRET}
service:
  extensions: [health_check, file_storage/queue, oauth2client]
  telemetry:
    resource: {service.namespace: edge}
    logs: {level: warn, sampling: {enabled: false}}
    metrics:
      readers:
        - periodic:
            exporter:
              otlp: {protocol: http/protobuf, endpoint: https://backend:4318}
";

const HOST_METRICS: &str = "\
receivers:
  hostmetrics:
    collection_interval: 30s
    scrapers: {cpu: , memory: , load: {cpu_average: true}}
  filelog/app:
    include: [/var/log/app/*.log]
    operators:
      - type: regex_parser
        regex: '^(?P<time>\\S+) (?P<sev>[A-Z]*) (?P<msg>.*)$'
service:
  extensions: [zpages]
  pipelines:
    metrics/host: {receivers: [hostmetrics], exporters: [otlp/backend]}
    logs/app: {receivers: [filelog/app], exporters: [otlp/backend]}
extensions:
  zpages:
";

#[test]
fn typical_otlp_configuration_is_accepted() {
    assert_eq!(checked(&[("collector.yaml", OTLP)]), Ok(()));
}

#[test]
fn configuration_with_connectors_is_accepted() {
    assert_eq!(checked(&[("", CONNECTORS)]), Ok(()));
}

#[test]
fn configuration_split_over_files_is_accepted() {
    let files = [("10-base.yaml", OTLP), ("20-extensions.yaml", EXTENSIONS), ("30-host.yaml", HOST_METRICS)];
    assert_eq!(checked(&files), Ok(()));
    let (head, tail) = OTLP.split_at(OTLP.find("service:").unwrap());
    assert_eq!(checked(&[("service", tail), ("components", head)]), Ok(()));
}

#[test]
fn part_of_a_split_configuration_is_refused_alone() {
    let error = checked(&[("30-host.yaml", HOST_METRICS)]).unwrap_err();
    let undefined = Reason::Undefined { role: Role::Exporter, id: id("otlp/backend") };
    assert!(error.problems.iter().all(|problem| problem.reason == undefined));
    assert_eq!(error.problems.len(), 2);
}
