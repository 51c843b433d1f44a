package manifest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/credproxy/credproxy/deploy/check/manifest"
)

const folder = "../../kubernetes/"

func read(t *testing.T, files ...string) (all []meta.Object) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(folder + file)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := manifest.Decode(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(objects) == 0 {
			t.Fatalf("%s holds nothing", file)
		}
		all = append(all, objects...)
	}
	return all
}

// TestManifests checks each file together with those that it says it needs.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob(folder + "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	account := "serviceaccount-irsa.yaml"
	for _, path := range files {
		file := filepath.Base(path)
		t.Run(file, func(t *testing.T) {
			with := []string{file}
			switch file {
			case "secrets-store-csi.yaml":
				with = append(with, account)
			case "deployment-native-sidecar.yaml", "deployment-classic-sidecar.yaml", "job.yaml":
				with = append(with, account, "config.yaml")
			case "networkpolicy.yaml", "podmonitor.yaml", "prometheusrule.yaml":
				with = append(with, account, "config.yaml", "deployment-native-sidecar.yaml")
			}
			for _, wrong := range manifest.Check(read(t, with...)) {
				t.Error(wrong)
			}
		})
	}
}

// TestSidecarKinds: what makes credproxy end with its job, and outlive its application.
func TestSidecarKinds(t *testing.T) {
	native := func(pod *core.PodSpec) bool {
		for _, c := range pod.InitContainers {
			if c.Name == "credproxy" {
				return c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways
			}
		}
		return false
	}
	for file, want := range map[string]bool{
		"deployment-native-sidecar.yaml": true, "job.yaml": true, "secrets-store-csi.yaml": true, "deployment-classic-sidecar.yaml": false,
	} {
		for _, object := range read(t, file) {
			pod := manifest.PodTemplate(object)
			if pod == nil {
				continue
			}
			if native(&pod.Spec) != want {
				t.Errorf("%s: native sidecar: %v", file, !want)
			}
			if _, isJob := object.(*batch.Job); isJob && pod.Spec.RestartPolicy != core.RestartPolicyNever {
				t.Errorf("%s: restart policy %q", file, pod.Spec.RestartPolicy)
			}
		}
	}
}

// TestMistakes: what may go wrong in a manifest is found.
func TestMistakes(t *testing.T) {
	findMistakes(t, []string{"config.yaml", "serviceaccount-irsa.yaml", "deployment-classic-sidecar.yaml", "networkpolicy.yaml", "podmonitor.yaml"}, [][2]string{
		{"startupProbe:", "startProbe:"},
		{"periodSeconds: 5", "periodseconds: 5"},
		{"replicas: 2\n", "replicas: two\n"},
		{"replicas: 2\n", "replicas: 2\n  replicas: 3\n"},
		{"apiVersion: apps/v1", "apiVersion: apps/v2"},
		{"serviceAccountName: orders", "serviceAccountName: order"},
		{"configMap: {name: credproxy}", "configMap: {name: proxy}"},
		{"name: credproxy, mountPath", "name: config, mountPath"},
		{"mountPath: /etc/credproxy", "mountPath: /config"},
		{"path: /readiness", "path: /ready"},
		{"path: /liveness, port: credproxy-admin", "path: /liveness, port: admin"},
		{"{name: credproxy-admin", "{name: credproxy-admin2"},
		{"limits: {memory: 192Mi}", "limits: {}"},
		{"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"},
		{"drop: [ALL]", "drop: []"},
		{"value: 15s", "value: 45s"},
		{"- name: credproxy\n", "- name: proxy\n"},
		{"matchLabels: {app.kubernetes.io/name: orders}\n  policyTypes", "matchLabels: {app.kubernetes.io/name: order}\n  policyTypes"},
		{"{protocol: TCP, port: 9090}", "{protocol: TCP, port: 9091}"},
		{"- port: credproxy-admin", "- port: admin"},
		{"skip-containers: app", "skip-containers: credproxy"},
		{"secret: {secretName: credproxy-break-glass, optional: true}", "secret: {secretName: credproxy-break-glass}"},
		{"mountPath: /etc/credproxy-break-glass, readOnly: true", "mountPath: /etc/credproxy-break-glass"},
		{"replacement: credproxy", "replacement: proxy"},
		{"  labels: {release: kube-prometheus-stack}\nspec:\n  selector", "spec:\n  selector"},
	})
}

// TestMistakesInCertificates: what may go wrong between certificates and issuers is found.
func TestMistakesInCertificates(t *testing.T) {
	findMistakes(t, []string{"standalone-certificates.yaml"}, [][2]string{
		{"issuerRef: {kind: Issuer, name: credproxy-ca}", "issuerRef: {kind: Issuer, name: ca}"},
		{"ca: {secretName: credproxy-ca}", "ca: {secretName: ca}"},
		{"isCA: true", "isCA: false"},
		{"dnsNames:", "dnsnames:"},
	})
}

// TestMistakesInRotation: what may go wrong in the CronJob is found.
func TestMistakesInRotation(t *testing.T) {
	findMistakes(t, []string{"rotation-cronjob.yaml"}, [][2]string{
		{"concurrencyPolicy: Forbid", "concurrencyPolicy: Allow"},
		{"concurrencyPolicy: Forbid", "concurrency: Forbid"},
		{"backoffLimit: 2", "backoffLimit: 6"},
		{"backoffLimit: 2 ", "# "},
		{"activeDeadlineSeconds: 900", "completions: 1"},
		{"restartPolicy: Never", "restartPolicy: OnFailure"},
		{"17 3 1 * *", "17 3 1 *"},
		{"args: [rotate,", "args: [run,"},
		{"serviceAccountName: orders-rotation", "serviceAccountName: orders"},
		{"allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"},
		{"limits: {memory: 128Mi}", "limits: {}"},
	})
}

// findMistakes makes one mistake after the other in files that have none.
func findMistakes(t *testing.T, files []string, mistakes [][2]string) {
	t.Helper()
	text := ""
	for _, file := range files {
		one, err := os.ReadFile(folder + file)
		if err != nil {
			t.Fatal(err)
		}
		text += string(one) + "---\n"
	}
	find := func(text string) []string {
		objects, err := manifest.Decode([]byte(text))
		if err != nil {
			return []string{err.Error()}
		}
		return manifest.Check(objects)
	}
	if wrong := find(text); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for _, m := range mistakes {
		changed := strings.Replace(text, m[0], m[1], 1)
		if changed == text {
			t.Errorf("%q is not there", m[0])
		}
		if wrong := find(changed); len(wrong) == 0 {
			t.Errorf("%q for %q: nothing is found", m[1], m[0])
		}
	}
}
