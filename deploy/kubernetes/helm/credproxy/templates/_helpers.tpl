{{- define "credproxy.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "credproxy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "credproxy.labels" -}}
{{ include "credproxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "credproxy.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "credproxy.fullname" .) }}
{{- end }}

{{/* The annotation that restarts pods when the configuration changes. */}}
{{- define "credproxy.checksum" -}}
credproxy.io/config: {{ .Values.config | sha256sum }}
{{- end }}

{{/* Of a pod: the volumes that the container mounts. */}}
{{- define "credproxy.volumes" -}}
- name: credproxy
  configMap: {name: {{ include "credproxy.fullname" . }}}
- name: break-glass # empty until somebody makes the Secret
  secret: {secretName: {{ .Values.breakGlassSecret | default (printf "%s-break-glass" (include "credproxy.fullname" .)) }}, optional: true}
{{- if and (eq .Values.mode "standalone") .Values.clientTLS.enabled }}
- name: client-tls
  secret: {secretName: {{ .Values.clientTLS.secretName | default (printf "%s-tls" (include "credproxy.fullname" .)) }}}
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The sidecar: an entry of initContainers, or of containers if it is not native. */}}
{{- define "credproxy.sidecar" -}}
{{ include "credproxy.container" . }}
{{- if .Values.sidecar.native }}
  restartPolicy: Always # what makes an init container a sidecar
{{- end }}
{{- end }}

{{- define "credproxy.container" -}}
- name: credproxy
  image: {{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [run, -c, /etc/credproxy/credproxy.yaml]
  env:
    - {name: CREDPROXY_ADMIN_LISTEN, value: ":{{ .Values.adminPort }}"}
    - {name: GOMEMLIMIT, value: {{ .Values.goMemoryLimit }}}
    {{- if or (eq .Values.mode "standalone") (not .Values.sidecar.native) }}
    - {name: CREDPROXY_SHUTDOWN_MIN_DELAY, value: {{ .Values.minDelaySeconds }}s}
    {{- end }}
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: credproxy-admin, containerPort: {{ .Values.adminPort }}}
    {{- if eq .Values.mode "standalone" }}
    {{- range .Values.ports }}
    - {name: {{ .name }}, containerPort: {{ .port }}}
    {{- end }}
    {{- end }}
  startupProbe:
    httpGet: {path: /startup, port: credproxy-admin}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /readiness, port: credproxy-admin}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /liveness, port: credproxy-admin}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    {{- if not .Values.openshift }}
    runAsUser: 65532
    runAsGroup: 65532
    {{- end }}
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    - {name: credproxy, mountPath: /etc/credproxy, readOnly: true}
    - {name: break-glass, mountPath: /etc/credproxy-break-glass, readOnly: true}
    {{- if and (eq .Values.mode "standalone") .Values.clientTLS.enabled }}
    - {name: client-tls, mountPath: /etc/credproxy-tls, readOnly: true}
    {{- end }}
    {{- with .Values.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Everybody in the cluster can reach a standalone credproxy: each database wants certificates of
its clients, or a network policy of which somebody has seen that it is enforced. */}}
{{- define "credproxy.checkClients" -}}
{{- range (.Values.config | fromYaml).databases }}
{{- if not (.client_tls | default dict).client_ca_file }}
{{- if not (.access | default dict).allow_remote }}
{{- fail (printf "database %q takes no clients from other pods: give it listen: :PORT and client_tls with client_ca_file (values.yaml, clientTLS)" .name) }}
{{- else if not $.Values.networkPolicy.enforced }}
{{- fail (printf "database %q has access.allow_remote and takes every client that the network lets through: use client_tls (values.yaml, clientTLS), or prove that the cluster enforces network policies (docs/kubernetes.md) and set networkPolicy.enforced: true" .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
