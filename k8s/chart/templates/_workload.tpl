{{/* What the pods of all components have in common. Each takes (list $ "component"). */}}

{{- define "tollgate.podSettings" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
serviceAccountName: {{ include "tollgate.name" . }}
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ include "tollgate.gracePeriod" $values }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tollgate.selector" . | nindent 8 }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* How long the kubelet waits for the end of a process: for as long as its configuration says, and a little. */}}
{{- define "tollgate.gracePeriod" -}}
{{- $shutdown := dig "shutdown" dict (.config | default dict) | default dict -}}
{{- $start := toDate "2006-01-02" "2000-01-01" -}}
{{- $end := $start | dateModify (toString ($shutdown.delay | default "5s")) | dateModify (toString ($shutdown.deadline | default "20s")) -}}
{{- add 5 (sub (unixEpoch $end | int64) (unixEpoch $start | int64)) -}}
{{- end -}}

{{- define "tollgate.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
labels:
  {{- include "tollgate.labels" . | nindent 2 }}
  tollgate.dev/inject: "false"
  {{- if eq (index . 1) "injector" }}
  # The API server is outside of every mesh; strict mTLS would lock it out.
  sidecar.istio.io/inject: "false"
  kuma.io/sidecar-injection: disabled
  {{- end }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $inMesh := ne (index . 1) "injector" }}
{{- if or $values.config $values.podAnnotations (not $inMesh) }}
annotations:
  {{- if not $inMesh }}
  linkerd.io/inject: disabled
  {{- end }}
  {{- with $values.config }}
  checksum/config: {{ toYaml . | sha256sum }}
  {{- end }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "tollgate.containerSettings" -}}
{{- $root := index . 0 -}}
image: {{ include "tollgate.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
# Everything must have been there once. Later an outage of what all replicas share must not take them all out of their Service:
# keys, metadata and public paths need none of it.
startupProbe: { httpGet: { path: /readyz, port: admin }, periodSeconds: 1, failureThreshold: 300 }
readinessProbe: { httpGet: { path: "/readyz?exclude=store&exclude=replay-guard", port: admin }, periodSeconds: 5, failureThreshold: 2 }
livenessProbe: { httpGet: { path: /livez, port: admin }, periodSeconds: 20, failureThreshold: 3 }
resources:
  {{- toYaml (index $root.Values (index . 1)).resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/* Replicas, unless an autoscaler has the say. */}}
{{- define "tollgate.replicas" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- if not (and $values.autoscaling $values.autoscaling.enabled) -}}
replicas: {{ int $values.replicas }}
{{- end -}}
{{- end -}}

{{/* "true" if there may be more than one replica. */}}
{{- define "tollgate.several" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- if $values.autoscaling.enabled -}}
{{- if gt (int $values.autoscaling.maxReplicas) 1 -}}true{{- end -}}
{{- else if gt (int $values.replicas) 1 -}}true
{{- end -}}
{{- end -}}

{{/* Objects beside the pods that are the same for every component. */}}
{{- define "tollgate.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "tollgate.metadata" . | nindent 2 }}
automountServiceAccountToken: false # nothing here calls the API of Kubernetes
{{- end -}}

{{- define "tollgate.podDisruptionBudget" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- if $values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "tollgate.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ $values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "tollgate.selector" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "tollgate.autoscaler" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- if $values.autoscaling.enabled -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling: minReplicas is more than maxReplicas" (index . 1)) -}}
{{- end -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "tollgate.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ include "tollgate.name" . }} }
  minReplicas: {{ int $values.autoscaling.minReplicas }}
  maxReplicas: {{ int $values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: { type: Utilization, averageUtilization: {{ int $values.autoscaling.targetCPUUtilizationPercentage }} }
{{- end -}}
{{- end -}}

{{/* One rule of a NetworkPolicy: (list peers "port"). No peers is anybody. */}}
{{- define "tollgate.ingressRule" -}}
- ports: [{ port: {{ index . 1 }} }]
{{- with index . 0 }}
  from:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}
