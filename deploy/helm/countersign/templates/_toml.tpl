{{/* TOML from values. JSON's strings, numbers, booleans and lists of them are TOML; only tables differ. */}}

{{- define "countersign.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end }}
{{- end }}

{{/* One value on one line. */}}
{{- define "countersign.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{ $sep := "" }}{{ range $k, $v := . }}{{ if not (kindIs "invalid" $v) }}{{ $sep }}{{ include "countersign.toml.key" $k }} = {{ include "countersign.toml.value" $v }}{{ $sep = ", " }}{{ end }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $i, $v := . }}{{ if $i }}, {{ end }}{{ include "countersign.toml.value" $v }}{{ end }}]
{{- else -}}
{{ toRawJson . }}
{{- end }}
{{- end }}

{{/* A table's plain keys, then its tables. Arguments: path, table, and "[" or "[[". */}}
{{- define "countersign.toml.table" -}}
{{- $path := .path }}
{{- if $path }}{{ if .array }}
[[{{ $path }}]]{{ else }}
[{{ $path }}]{{ end }}{{ end }}
{{- range $k, $v := .table }}
{{- if not (or (kindIs "map" $v) (kindIs "invalid" $v)) }}
{{ include "countersign.toml.key" $k }} = {{ include "countersign.toml.value" $v }}
{{- end }}
{{- end }}
{{- range $k, $v := .table }}
{{- if kindIs "map" $v }}
{{- $key := include "countersign.toml.key" $k }}
{{- $below := $key }}{{ if $path }}{{ $below = printf "%s.%s" $path $key }}{{ end }}
{{ include "countersign.toml.table" (dict "path" $below "table" $v) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The configuration file. Keys that the chart sets take precedence over `config`. */}}
{{- define "countersign.config" -}}
{{- $store := dict }}
{{- if eq .Values.store.kind "embedded" }}
{{- $_ := set $store "url" "embedded:/var/lib/countersign" }}
{{- else }}
{{- $_ := set $store "durability" .Values.store.redis.durability }}
{{- $_ := set $store "confirm" .Values.store.redis.confirm }}
{{- if .Values.store.redis.urlKey }}
{{- $_ := set $store "url_file" (printf "/run/secrets/countersign/%s" .Values.store.redis.urlKey) }}
{{- else }}
{{- $_ := set $store "url" .Values.store.redis.url }}
{{- end }}
{{- end }}
{{- $own := dict
      "public_url" .Values.publicUrl
      "listen" (printf "%s:8080" (include "countersign.anyAddress" .))
      "operator_listen" (printf "%s:9090" (include "countersign.anyAddress" .))
      "key_file" "/run/secrets/countersign/key"
      "trusted_proxies" .Values.trustedProxies
      "store" $store
      "log" (pick .Values.log "format" "level")
      "shutdown" (dict
        "drain_delay" (printf "%ds" (int (include "countersign.leaving" . | fromYaml).drainDelay))
        "grace" (printf "%ds" (int .Values.shutdown.graceSeconds))) }}
{{- $table := mergeOverwrite (deepCopy .Values.config) $own }}
{{- include "countersign.toml.table" (dict "path" "" "table" $table) | trim }}
{{- range .Values.instances }}
{{ include "countersign.toml.table" (dict "path" "instance" "table" . "array" true) }}
{{- end }}
{{- end }}
