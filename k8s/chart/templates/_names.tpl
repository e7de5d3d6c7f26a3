{{/* What objects are called. */}}
{{- define "tollgate.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a component: (list $ "gate"). The issuer is the release itself. */}}
{{- define "tollgate.name" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if eq $component "issuer" -}}
{{- include "tollgate.fullname" $root -}}
{{- else -}}
{{- printf "%s-%s" (include "tollgate.fullname" $root) $component -}}
{{- end -}}
{{- end -}}

{{/* The Service of the issuer with what is for the cluster only. */}}
{{- define "tollgate.internalName" -}}
{{- printf "%s-internal" (include "tollgate.fullname" .) -}}
{{- end -}}

{{/* How the authorization server is called by whoever is in front of it. */}}
{{- define "tollgate.scheme" -}}
{{- if dig "listen" "public" "tls" false .Values.issuer.config -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{/* What selects the pods of a component: it never changes. */}}
{{- define "tollgate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: tollgate
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "tollgate.labels" -}}
{{- $root := index . 0 -}}
{{ include "tollgate.selector" . }}
app.kubernetes.io/part-of: tollgate
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object that is called as its component is. */}}
{{- define "tollgate.metadata" -}}
name: {{ include "tollgate.name" . }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "tollgate.labels" . | nindent 2 }}
{{- end -}}

{{- define "tollgate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}
