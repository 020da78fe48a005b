{{/* Names, labels, and what several manifests share. */}}

{{- define "opamp-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Most objects' name. A pod's has up to 17 characters more, and 63 at most: it is the name of a replica. */}}
{{- define "opamp-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $release .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "opamp-operator.serviceAccount" -}}
{{- $made := .Values.serviceAccount.create | ternary (include "opamp-operator.fullname" .) "default" -}}
{{- default $made .Values.serviceAccount.name -}}
{{- end -}}

{{/* The user that the operator is for the API server. */}}
{{- define "opamp-operator.user" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "opamp-operator.serviceAccount" .) -}}
{{- end -}}

{{- define "opamp-operator.selector" -}}
app.kubernetes.io/name: {{ include "opamp-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "opamp-operator.labels" -}}
{{- $own := include "opamp-operator.selector" . | fromYaml -}}
{{- $own = merge $own (dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")) -}}
{{- toYaml (merge $own .Values.labels) -}}
{{- end -}}

{{/* Without the chart's version: another one alone is no reason to start the pods anew. */}}
{{- define "opamp-operator.podLabels" -}}
{{- toYaml (merge (include "opamp-operator.selector" . | fromYaml) .Values.labels .Values.podLabels) -}}
{{- end -}}

{{- define "opamp-operator.image" -}}
{{- $repository := required "image.repository is not set: no image of opamp-operator is published yet; build one, push it, and say where it is" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate of the agents' port; nothing without one. */}}
{{- define "opamp-operator.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "opamp-operator.fullname" . }}-tls
{{- else -}}
{{ .Values.tls.secret }}
{{- end -}}
{{- end -}}

{{/* Milliseconds of a duration such as 90s or 1m30s. */}}
{{- define "opamp-operator.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $number := regexFind "[0-9]+" . | atoi -}}
{{- $sum = add $sum (mul $number (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* A volume of authorities from a ConfigMap or a Secret: name, and a dict with configMap, secret and key. */}}
{{- define "opamp-operator.authority" -}}
{{- $source := dict "items" (list (dict "key" .from.key "path" "ca.crt")) -}}
{{- if .from.configMap -}}
{{- toYaml (list (dict "name" .name "configMap" (merge $source (dict "name" .from.configMap)))) -}}
{{- else if .from.secret -}}
{{- toYaml (list (dict "name" .name "secret" (merge $source (dict "secretName" .from.secret)))) -}}
{{- end -}}
{{- end -}}
