{{/* What no single value shows to be wrong, each with what to do. */}}

{{- define "opamp-operator.checks" -}}
{{- with .Values -}}
{{- $drain := include "opamp-operator.milliseconds" .limits.drainPeriod | int64 -}}
{{- $needed := add (div (add $drain 999) 1000) 20 .preStopSeconds -}}
{{- if lt (int64 .terminationGracePeriodSeconds) (int64 $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d and has to be %d at least: limits.drainPeriod (%s), 20 seconds to write what is known, and preStopSeconds (%d)" (int64 .terminationGracePeriodSeconds) $needed .limits.drainPeriod (int64 .preStopSeconds)) -}}
{{- end -}}
{{- if and (has "none" .agents.auth) (gt (len .agents.auth) 1) -}}
{{- fail "agents.auth: none cannot be combined with other ways: it lets everybody in" -}}
{{- end -}}
{{- if and .tls.secret .tls.certManager.enabled -}}
{{- fail "tls.secret and tls.certManager.enabled are both set: take the certificate from a Secret of yours or from cert-manager" -}}
{{- end -}}
{{- if and .tls.certManager.enabled (not .tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is not set: name the issuer of the certificate" -}}
{{- end -}}
{{- $tls := or .tls.secret .tls.certManager.enabled -}}
{{- if and (or .tls.clientCA.configMap .tls.clientCA.secret) (not $tls) -}}
{{- fail "tls.clientCA needs tls.secret or tls.certManager.enabled: without TLS no agent can show a certificate" -}}
{{- end -}}
{{- range $name, $from := dict "tls.clientCA" .tls.clientCA "agents.publicCA" .agents.publicCA -}}
{{- if and $from.configMap $from.secret -}}
{{- fail (printf "%s.configMap and %s.secret are both set: one is read" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and .agents.publicEndpoint (not (regexMatch "^(wss|https)://[^/@]+/." .agents.publicEndpoint)) -}}
{{- fail "agents.publicEndpoint has to begin with wss:// or https:// and to end with the path, /v1/opamp: agents are sent tokens there" -}}
{{- end -}}
{{- if and (or .agents.publicCA.configMap .agents.publicCA.secret) (not .agents.publicEndpoint) -}}
{{- fail "agents.publicCA needs agents.publicEndpoint" -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.host) -}}
{{- fail "ingress.host is not set: say by which name agents connect" -}}
{{- end -}}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the gateway" -}}
{{- end -}}
{{- if eq (int64 .ports.opamp) (int64 .ports.admin) -}}
{{- fail "ports.opamp and ports.admin are the same" -}}
{{- end -}}
{{- end -}}
{{- end -}}
