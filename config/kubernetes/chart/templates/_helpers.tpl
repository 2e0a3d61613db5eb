{{/* Names and labels. `role` is gateway, rotator, egress or guard. */}}
{{- define "scoregate.name" -}}
{{ printf "%s-%s" (.root.Release.Name | trunc 48 | trimSuffix "-") .role }}
{{- end }}

{{- define "scoregate.selector" -}}
app.kubernetes.io/name: scoregate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "scoregate.labels" -}}
{{ include "scoregate.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* ConfigMap with scoregate.yaml: what the chart knows, and over it what the values say. A change reaches running pods, and the
gate reloads: nothing here makes a rollout of it. `added` is a dictionary. */}}
{{- define "scoregate.config" -}}
{{- $values := index .root.Values .role }}
{{- $timeouts := dict "lame_duck" (printf "%ds" (int .lameDuck)) "drain" (printf "%ds" (int .root.Values.drainSeconds)) }}
{{- $own := dict "version" 1 "health" (dict "address" "0.0.0.0:9902") "timeouts" $timeouts "log" (dict "format" "json") }}
{{- $config := mustMergeOverwrite $own .added (deepCopy $values.config) }}
{{- if not $config.endpoints }}{{ fail (printf "%s.config has no endpoints" .role) }}{{ end }}
{{- if ne .role "rotator" }}
{{- range $name, $endpoint := $config.endpoints }}
{{- if dig "rotation" "enabled" false $endpoint }}
{{- fail (printf "%s.config: endpoint `%s` has rotation enabled; exactly one process may rotate a service: the rotator" $.role $name) }}
{{- end }}
{{- end }}
{{- end }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "scoregate.name" . }}
  labels: {{- include "scoregate.labels" . | nindent 4 }}
data:
  scoregate.yaml: |
    {{- toYaml $config | nindent 4 }}
{{- end }}

{{- define "scoregate.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "scoregate.name" . }}
  labels: {{- include "scoregate.labels" . | nindent 4 }}
  {{- with (index .root.Values .role).clientId }}
  annotations:
    azure.workload.identity/client-id: {{ . | quote }}
  {{- end }}
# The token for Azure is mounted by the webhook of azure-workload-identity; nothing here talks to Kubernetes.
automountServiceAccountToken: false
{{- end }}

{{/* What every container of the gate has, but for its ports and mounts. */}}
{{- define "scoregate.container" -}}
name: scoregate
image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: [run, --config, /etc/scoregate/scoregate.yaml]
# Alive and serving; whether Azure is up is readiness, and no reason to start it again.
startupProbe:
  httpGet: { path: /livez, port: health }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: health }
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: health }
  periodSeconds: 2
  failureThreshold: 2
resources: {{- toYaml (index .root.Values .role).resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* The pod of a gate that stands alone. */}}
{{- define "scoregate.pod" -}}
serviceAccountName: {{ include "scoregate.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
# timeouts.lame_duck + timeouts.drain + 5 s. No preStop: lame_duck is the wait for endpoints to follow.
terminationGracePeriodSeconds: {{ add .lameDuck .root.Values.drainSeconds 5 }}
securityContext:
  runAsNonRoot: true
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Azure and its services, names, and not the machine's identity (169.254.169.254) or its host's wire server (168.63.129.16). */}}
{{- define "scoregate.egressRules" -}}
- to: [ { namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } } } ]
  ports: [ { port: 53, protocol: UDP }, { port: 53, protocol: TCP } ]
- to: [ { ipBlock: { cidr: 0.0.0.0/0, except: [169.254.169.254/32, 168.63.129.16/32] } } ]
  ports: [ { port: 443 }, { port: 80 } ]
{{- end }}
