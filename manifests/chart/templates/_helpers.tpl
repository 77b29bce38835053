{{- /* The labels of every object. */}}
{{- define "dbupgrade.labels" -}}
app.kubernetes.io/name: dbupgrade
app.kubernetes.io/part-of: dbupgrade
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "dbupgrade.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* self-managed, and there is a webhook to make certificates for: "true" or "". */}}
{{- define "dbupgrade.keepsCertificates" -}}
{{- if and .Values.webhook.enabled (eq .Values.certificates.mode "self-managed") }}true{{ end }}
{{- end }}

{{- /* The part of a pod's spec that decides where it runs, of (list . "reconciler" or "webhook"). */}}
{{- define "dbupgrade.placement" -}}
{{- $component := index . 1 }}
{{- with index . 0 }}
{{- $process := index .Values $component }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.priorityClass.name }}
priorityClassName: {{ . }}
{{- end }}
nodeSelector:
  {{- toYaml (merge (dict "kubernetes.io/os" "linux") $process.nodeSelector) | nindent 2 }}
{{- with $process.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $process.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $process.topologySpreadConstraints }}
topologySpreadConstraints:
{{- toYaml $process.topologySpreadConstraints | nindent 0 }}
{{- else if gt (int $process.replicas) 1 }}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      app.kubernetes.io/name: dbupgrade
      app.kubernetes.io/component: {{ $component }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The probes of both processes. */}}
{{- define "dbupgrade.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 2
  timeoutSeconds: 5
{{- end }}

{{- /* A PodDisruptionBudget, of (list . "reconciler" or "webhook"). */}}
{{- define "dbupgrade.disruptionBudget" -}}
{{- $component := index . 1 }}
{{- with index . 0 }}
{{- if gt (int (index .Values $component).replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: dbupgrade-{{ $component }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "dbupgrade.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      app.kubernetes.io/name: dbupgrade
      app.kubernetes.io/component: {{ $component }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What migrations need: the rules of a Role or ClusterRole. */}}
{{- define "dbupgrade.migrationRules" -}}
- apiGroups: [dbupgrade.subbug.learning]
  resources: [dbupgrades]
  verbs: [get, list, watch]
- apiGroups: [dbupgrade.subbug.learning]
  resources: [dbupgrades/status]
  verbs: [patch]
# For ownerReferences with blockOwnerDeletion, where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [dbupgrade.subbug.learning]
  resources: [dbupgrades/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# To see that the database URL is there. No list and no watch: Secrets cannot be enumerated.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# list: why a Job has no pod (quota, Pod Security) is only said in its events.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch, list]
{{- end }}
