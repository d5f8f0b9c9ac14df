{{- define "jotgate.name" -}}
{{- default "jotgate" .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "jotgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "jotgate.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "jotgate.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "jotgate.selector" -}}
app.kubernetes.io/name: {{ include "jotgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "jotgate.labels" -}}
{{ include "jotgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "jotgate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "jotgate.configmap" -}}
{{- .Values.existingConfigMap | default (include "jotgate.fullname" .) }}
{{- end }}

{{- define "jotgate.serviceaccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "jotgate.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* The config, with what the values of redis add. */}}
{{- define "jotgate.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if .Values.redis.enabled }}
{{- $redis := dict "url" .Values.redis.url }}
{{- if .Values.redis.passwordKey }}
{{- $_ := set $redis "password" (printf "${file:/run/secrets/jotgate/%s}" .Values.redis.passwordKey) }}
{{- end }}
{{- $config = mustMergeOverwrite $config (dict "redis" $redis "replay" (dict "store" "redis")) }}
{{- if $config.issuer }}
{{- $_ := set $config.issuer "code_secrets" (list (printf "${file:/run/secrets/jotgate/%s}" .Values.redis.codeSecretKey)) }}
{{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "jotgate.volumes" -}}
- name: jotgate-config
  configMap:
    name: {{ include "jotgate.configmap" . }}
{{- if .Values.existingSecret }}
- name: jotgate-secrets
  secret:
    secretName: {{ .Values.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* The container, without its name's indentation. */}}
{{- define "jotgate.container" -}}
name: gate
image: {{ include "jotgate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/jotgate/config.yaml]
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: http, containerPort: 8080}
  - {name: metrics, containerPort: 9090}
  - {name: health, containerPort: 9091}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  # Whole folders, not subPath: only these follow a change, which the gate loads by itself.
  - {name: jotgate-config, mountPath: /etc/jotgate, readOnly: true}
  {{- if .Values.existingSecret }}
  - {name: jotgate-secrets, mountPath: /run/secrets/jotgate, readOnly: true}
  {{- end }}
{{- end }}
