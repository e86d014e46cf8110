{{- define "countersign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "countersign.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- $name := include "countersign.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "countersign.selectorLabels" -}}
app.kubernetes.io/name: {{ include "countersign.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: daemon
{{- end }}

{{- define "countersign.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "countersign.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Seconds that a pod still serves while it is taken out. With the embedded store there is no other one to go to. */}}
{{- define "countersign.leaving" -}}
{{- if eq .Values.store.kind "embedded" -}}
{preStop: 0, drainDelay: 0}
{{- else -}}
{preStop: {{ int .Values.shutdown.preStopSeconds }}, drainDelay: {{ int .Values.shutdown.drainDelaySeconds }}}
{{- end }}
{{- end }}

{{/* The name contains a digest of the configuration, so that a pod never mounts that of another revision. */}}
{{- define "countersign.configMapName" -}}
{{- printf "%s-%s" (include "countersign.fullname" .) (include "countersign.config" . | sha256sum | trunc 10) }}
{{- end }}

{{- define "countersign.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "countersign.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "countersign.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The host name of publicUrl. */}}
{{- define "countersign.host" -}}
{{- (urlParse .Values.publicUrl).host | regexFind "^[^:]+" }}
{{- end }}

{{/* Every address of the pod. An IPv6 socket takes IPv4 as well, but needs IPv6 in the node's kernel. */}}
{{- define "countersign.anyAddress" -}}
{{- if has "IPv6" .Values.ipFamilies }}[::]{{ else }}0.0.0.0{{ end }}
{{- end }}

{{/* For both Services. Nothing by default: the cluster's own choice. */}}
{{- define "countersign.ipFamilies" -}}
{{- with .Values.ipFamilies }}
ipFamilies: {{ toJson . }}
ipFamilyPolicy: {{ if eq (len .) 1 }}SingleStack{{ else }}RequireDualStack{{ end }}
{{- end }}
{{- end }}

{{- define "countersign.replicas" -}}
{{- if eq .Values.store.kind "embedded" }}1{{ else if .Values.autoscaling.enabled }}{{ .Values.autoscaling.minReplicas }}{{ else }}{{ .Values.replicaCount | default 2 }}{{ end }}
{{- end }}

{{/* Networks that callbacks may reach: callback_allow_networks of all instances. */}}
{{- define "countersign.callbackNetworks" -}}
{{- $networks := list }}
{{- with .Values.config.instance_default }}{{ $networks = concat $networks (.callback_allow_networks | default list) }}{{ end }}
{{- range .Values.instances }}{{ $networks = concat $networks (.callback_allow_networks | default list) }}{{ end }}
{{- $networks | uniq | sortAlpha | toJson }}
{{- end }}
