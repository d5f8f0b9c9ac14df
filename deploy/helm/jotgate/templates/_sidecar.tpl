{{/*
The gate as a sidecar of another chart's pod. That chart depends on this one with edge.enabled: false and includes, each
with (include "jotgate.scope" .) done by itself:

  spec:
    securityContext: {fsGroup: 65532}
    {{- include "jotgate.sidecar.init" . | nindent 6 }}
    containers:
      - name: app
        {{- include "jotgate.sidecar.lifecycle" . | nindent 8 }}
        …
      {{- include "jotgate.sidecar.plain" . | nindent 6 }}
    volumes:
      {{- include "jotgate.sidecar.volumes" . | nindent 6 }}

The values are those of the dependency (jotgate: in the parent's values).
*/}}

{{/* What the other templates take as their scope: the dependency's values and chart. */}}
{{- define "jotgate.sidecar.scope" -}}
{{- $scope := dict "Values" .Values.jotgate "Release" .Release "Chart" (dict "Name" "jotgate" "Version" "" "AppVersion" .Subcharts.jotgate.Chart.AppVersion) }}
{{- toYaml $scope }}
{{- end }}

{{/* A native sidecar: starts before the app, ends after it. */}}
{{- define "jotgate.sidecar.init" -}}
{{- $scope := include "jotgate.sidecar.scope" . | fromYaml }}
{{- if $scope.Values.sidecar.native }}
initContainers:
  - restartPolicy: Always
    {{- include "jotgate.container" $scope | nindent 4 }}
{{- end }}
{{- end }}

{{/* A container like the app's, for clusters without native sidecars. */}}
{{- define "jotgate.sidecar.plain" -}}
{{- $scope := include "jotgate.sidecar.scope" . | fromYaml }}
{{- if not $scope.Values.sidecar.native }}
- {{- include "jotgate.container" $scope | nindent 2 }}
{{- end }}
{{- end }}

{{/*
For the app's container: it stays up while requests that the gate has still come. A native sidecar is told to end when
the app has ended; a plain one together with the app, so that the app waits until it has drained.
*/}}
{{- define "jotgate.sidecar.lifecycle" -}}
{{- $scope := include "jotgate.sidecar.scope" . | fromYaml }}
lifecycle:
  preStop:
    sleep: {seconds: {{ $scope.Values.sidecar.appDrainSeconds }}}
{{- end }}

{{- define "jotgate.sidecar.volumes" -}}
{{- include "jotgate.volumes" (include "jotgate.sidecar.scope" . | fromYaml) }}
{{- end }}
