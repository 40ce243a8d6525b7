{{- /* Names are fixed, because a cluster has one external.metrics.k8s.io and so one release of the chart. */ -}}

{{- define "depthgauge.labels" -}}
{{- if has .Release.Namespace (list "default" "kube-system") }}
{{- fail "depthgauge needs its own namespace, because a NetworkPolicy denies all other traffic in it: helm install -n depthgauge" }}
{{- end -}}
app.kubernetes.io/name: depthgauge
{{ include "depthgauge.helmLabels" . }}
{{- end }}

{{- /* The labels of every object. */ -}}
{{- define "depthgauge.helmLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Outside of service meshes (Istio by sidecar, Istio ambient, Linkerd): kube-apiserver is in none, and
     its requests would not arrive. A mesh's sidecar would keep the Job of an uninstall from ending. */ -}}
{{- define "depthgauge.podLabels" -}}
{{- merge (dict) .Values.podLabels (dict "sidecar.istio.io/inject" "false" "istio.io/dataplane-mode" "none") | toYaml }}
{{- end }}

{{- define "depthgauge.podAnnotations" -}}
{{- merge (dict) .Values.podAnnotations (dict "linkerd.io/inject" "disabled") | toYaml }}
{{- end }}

{{- /* Not empty where the APIService is this chart's and its caBundle is not added by depthgauge. */ -}}
{{- define "depthgauge.foreignCaBundle" -}}
{{- if and .Values.apiService.caBundle (not .Values.apiService.create) }}
{{- fail "apiService.caBundle needs apiService.create: true" }}
{{- end -}}
{{- if and .Values.apiService.caBundle .Values.certManager.enabled }}
{{- fail "apiService.caBundle: with certManager.enabled, cert-manager adds it" }}
{{- end -}}
{{- if and .Values.apiService.create (or .Values.certManager.enabled .Values.apiService.caBundle) }}true{{ end -}}
{{- end }}

{{- define "depthgauge.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* How every pod of the chart is confined. SCC restricted-v2 assigns user and groups itself, from the
     range of the namespace, and refuses pods that name others. */ -}}
{{- define "depthgauge.podSecurityContext" -}}
runAsNonRoot: true
{{- if not .Values.openshift.enabled }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "depthgauge.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* config.yaml: the user's config, and how to authenticate. */ -}}
{{- define "depthgauge.config" -}}
{{- $auth := dict "type" .Values.auth.type -}}
{{- if eq .Values.auth.type "apiKey" }}{{ $_ := set $auth "configFile" "/etc/oci/config" }}{{ end -}}
{{- $oci := merge (dict "auth" $auth) (.Values.config.oci | default dict) -}}
{{- $head := dict "apiVersion" "depthgauge.dev/v1alpha1" "kind" "Config" "oci" $oci -}}
{{- merge $head .Values.config | toYaml -}}
{{- end }}
