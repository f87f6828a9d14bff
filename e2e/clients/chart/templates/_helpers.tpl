{{- define "shop.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "shop.container" -}}
name: main
image: {{ .Values.image }}:{{ .Values.tag }}
imagePullPolicy: IfNotPresent
resources: {{- toYaml .Values.resources | nindent 2 }}
{{- end }}
{{- define "shop.idle" -}}
command: [/bin/sh, -c, "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done"]
{{- end }}
