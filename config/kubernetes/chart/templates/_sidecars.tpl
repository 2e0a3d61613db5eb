{{/* The parts of a sidecar, for a pod of this chart or of one that has this chart as a dependency: `(dict "root" $ "role" "egress")`. */}}

{{/* An entry of initContainers. */}}
{{- define "scoregate.egress.container" -}}
{{ include "scoregate.container" . }}
# A native sidecar (Kubernetes 1.29): it is there before the application and until after it.
restartPolicy: Always
ports:
  - { name: health, containerPort: 9902 }
volumeMounts:
  - { name: scoregate-config, mountPath: /etc/scoregate, readOnly: true }
  - { name: scoregate-run, mountPath: /run/scoregate }
{{- end }}

{{- define "scoregate.guard.container" -}}
{{ include "scoregate.container" . }}
restartPolicy: Always
ports:
  - { name: guard, containerPort: 8443 }
  - { name: health, containerPort: 9902 }
volumeMounts:
  - { name: scoregate-config, mountPath: /etc/scoregate, readOnly: true }
  - { name: scoregate-run, mountPath: /run/scoregate }
  - { name: scoregate-tls, mountPath: /secrets/tls, readOnly: true }
  - { name: scoregate-callers, mountPath: /secrets/callers, readOnly: true }
{{- end }}

{{/* Entries of volumes. */}}
{{- define "scoregate.sidecar.volumes" -}}
- name: scoregate-config
  configMap: { name: {{ include "scoregate.name" . }} }
- name: scoregate-run
  emptyDir: { medium: Memory, sizeLimit: 1Mi }
{{- with (index .root.Values .role).tlsSecret }}
- name: scoregate-tls
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- with (index .root.Values .role).callersSecret }}
- name: scoregate-callers
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- end }}
