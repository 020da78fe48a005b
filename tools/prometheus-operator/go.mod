// The custom resource definitions of the Prometheus Operator, for the chart's manifests.
module fleet.opamp.dev/tools/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
