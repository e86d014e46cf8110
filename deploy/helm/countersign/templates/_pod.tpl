{{/* The pod, the same for both kinds of workload. */}}
{{- define "countersign.pod" -}}
metadata:
  labels:
    {{- include "countersign.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "countersign.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- $leaving := include "countersign.leaving" . | fromYaml }}
  terminationGracePeriodSeconds: {{ add $leaving.preStop $leaving.drainDelay .Values.shutdown.graceSeconds 10 }}
  securityContext:
    {{- $pod := dict
          "runAsNonRoot" true
          "fsGroupChangePolicy" "OnRootMismatch"
          "seccompProfile" (dict "type" "RuntimeDefault") }}
    {{- if not .Values.openshift }}
    {{- $pod = merge $pod (dict "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532) }}
    {{- end }}
    {{- toYaml (mergeOverwrite $pod .Values.podSecurityContext) | nindent 4 }}
  containers:
    - name: countersign
      image: {{ include "countersign.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/countersign/config.toml]
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- $container := dict
              "allowPrivilegeEscalation" false
              "readOnlyRootFilesystem" true
              "capabilities" (dict "drop" (list "ALL")) }}
        {{- toYaml (mergeOverwrite $container .Values.securityContext) | nindent 8 }}
      ports:
        - name: http
          containerPort: 8080
          protocol: TCP
        - name: operator
          containerPort: 9090
          protocol: TCP
      # Liveness depends on the process only: an unavailable store must not restart every replica.
      startupProbe:
        httpGet: {path: /livez, port: operator}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: operator}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # Readiness requires a reachable store and a running worker; the daemon tolerates a fail-over of the store.
      readinessProbe:
        httpGet: {path: /readyz, port: operator}
        periodSeconds: 2
        timeoutSeconds: 3
        failureThreshold: 1
      {{- if and $leaving.preStop (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $leaving.preStop }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/countersign
          readOnly: true
        - name: secrets
          mountPath: /run/secrets/countersign
          readOnly: true
        {{- if eq .Values.store.kind "embedded" }}
        - name: data
          mountPath: /var/lib/countersign
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "countersign.configMapName" . }}
    - name: secrets
      projected:
        defaultMode: 288 # 0440
        sources:
          {{- range prepend .Values.extraExistingSecrets .Values.existingSecret }}
          - secret:
              name: {{ . }}
          {{- end }}
    {{- if and (eq .Values.store.kind "embedded") .Values.store.embedded.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.store.embedded.existingClaim }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if .Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- if .Values.topologySpread.constraints }}
    {{- toYaml .Values.topologySpread.constraints | nindent 4 }}
    {{- else }}
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "countersign.selectorLabels" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
