// The custom resource definitions of the Gateway API, for manifests in docs/.
module fleet.opamp.dev/tools/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.3
