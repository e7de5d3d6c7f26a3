{{/* The Secret with tls.crt and tls.key of the webhook. */}}
{{- define "tollgate.certificateSecret" -}}
{{- if eq .Values.injector.certificates.from "secret" -}}
{{- required "injector.certificates.existingSecret names the Secret with tls.crt and tls.key" .Values.injector.certificates.existingSecret -}}
{{- else -}}
{{- printf "%s-tls" (include "tollgate.name" (list . "injector")) -}}
{{- end -}}
{{- end -}}

{{/*
The certificate that the chart makes, as YAML with ca, certificate and key, each in base64. One that is in the cluster is kept:
a new one with every upgrade would fail admissions until each pod had read it.
*/}}
{{- define "tollgate.certificate" -}}
{{- $there := lookup "v1" "Secret" .Release.Namespace (include "tollgate.certificateSecret" .) -}}
{{- if and $there $there.data (index $there.data "ca.crt") -}}
ca: {{ index $there.data "ca.crt" }}
certificate: {{ index $there.data "tls.crt" }}
key: {{ index $there.data "tls.key" }}
{{- else -}}
{{- $service := include "tollgate.name" (list . "injector") -}}
{{- $name := printf "%s.%s.svc" $service .Release.Namespace -}}
{{- $ca := genCA (printf "%s CA" $service) 3650 -}}
{{- $leaf := genSignedCert $name nil (list $name (printf "%s.cluster.local" $name)) 3650 $ca -}}
ca: {{ $ca.Cert | b64enc }}
certificate: {{ $leaf.Cert | b64enc }}
key: {{ $leaf.Key | b64enc }}
{{- end -}}
{{- end -}}
