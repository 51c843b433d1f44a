package render_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/credproxy/credproxy/deploy/check/manifest"
)

const standalone = `
config: |
  databases:
    - name: orders
      listen: ":5432"
      client_tls: {cert_file: /etc/credproxy-tls/tls.crt, key_file: /etc/credproxy-tls/tls.key, client_ca_file: /etc/credproxy-tls/ca.crt}
      break_glass: {file: /etc/credproxy-break-glass}
      credentials: {secrets_manager: {secret_id: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf"}}
`

func load(t *testing.T, name string) *chart.Chart {
	t.Helper()
	c, err := loader.Load(folder + "helm/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// template is helm template: the manifests, and the notes.
func template(t *testing.T, c *chart.Chart, values string) (manifests, notes string, err error) {
	t.Helper()
	var given map[string]any
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	if err := chartutil.ProcessDependencies(c, given); err != nil {
		return "", "", err
	}
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: "orders", Namespace: "shop", IsInstall: true}, nil)
	if err != nil {
		return "", "", err
	}
	files, err := engine.Render(c, all)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) == ".yaml" {
			manifests += files[name] + "\n---\n"
		} else if filepath.Base(name) == "NOTES.txt" {
			notes += files[name]
		}
	}
	return manifests, notes, err
}

func TestHelmStandalone(t *testing.T) {
	for name, c := range map[string]struct {
		values                                         string
		accounts, policies, budgets, monitored, alerts int
	}{
		"default":  {"", 1, 1, 1, 0, 0},
		"all":      {"podMonitor: {enabled: true, labels: {release: kube-prometheus-stack}}\nprometheusRule: {enabled: true, labels: {release: kube-prometheus-stack}}\nopenshift: true\nnetworkPolicy: {clients: [{podSelector: {matchLabels: {app: shop}}}]}\nenv: [{name: AWS_REGION, value: eu-west-1}]\nnodeSelector: {disk: ssd}\ntolerations: [{key: a, operator: Exists}]\npodLabels: {a: b}\npodAnnotations: {c: d}\nimagePullSecrets: [{name: registry}]\nimage: {digest: 'sha256:" + strings.Repeat("ab", 32) + "'}\nserviceAccount: {annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/orders'}}\nvolumes: [{name: tls, secret: {secretName: tls}}]\nvolumeMounts: [{name: tls, mountPath: /tls}]\n", 1, 1, 1, 1, 1},
		"smallest": {"replicas: 1\nnetworkPolicy: {enabled: false}\n", 1, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			text, notes, err := template(t, load(t, "credproxy"), standalone+c.values)
			if err != nil {
				t.Fatal(err)
			}
			objects := accept(t, text)
			if got := []int{count[*apps.Deployment](objects), count[*core.Service](objects), count[*core.ServiceAccount](objects), count[*networking.NetworkPolicy](objects), count[*policy.PodDisruptionBudget](objects), count[*manifest.PodMonitor](objects), count[*manifest.PrometheusRule](objects)}; !slices.Equal(got, []int{1, 1, c.accounts, c.policies, c.budgets, c.monitored, c.alerts}) {
				t.Errorf("objects: %v\n%s", got, text)
			}
			if !strings.Contains(notes, "orders-credproxy.shop on port 5432, without a password and with a client certificate") {
				t.Errorf("notes: %s", notes)
			}
		})
	}
}

// TestHelmSidecar renders an application's chart that has credproxy's as a dependency.
func TestHelmSidecar(t *testing.T) {
	for values, want := range map[string]string{"": "native, first", "credproxy: {sidecar: {native: false}}": "classic"} {
		c := load(t, "example")
		c.AddDependency(load(t, "credproxy")) // as helm dependency update does
		text, _, err := template(t, c, values)
		if err != nil {
			t.Fatal(err)
		}
		objects := accept(t, text)
		if len(objects) != 3 {
			t.Errorf("%d objects\n%s", len(objects), text)
		}
		for _, object := range objects {
			if pod := manifest.PodTemplate(object); pod != nil && sidecar(&pod.Spec) != want {
				t.Errorf("%q: sidecar %s, want %s", values, sidecar(&pod.Spec), want)
			}
		}
	}
}

// TestHelmRefuses: what cannot work, and what would let everybody in, is told at once.
func TestHelmRefuses(t *testing.T) {
	open := strings.Replace(standalone, "client_tls: {", "access: {allow_remote: true}\n      #", 1)
	for values, want := range map[string]string{
		"":                             "config is empty",
		standalone + "mode: side\n":    "mode",
		standalone + "replica: 3\n":    "replica",
		standalone + "replicas: two\n": "replicas",
		standalone + "ports: [{name: a-name-that-is-too-long, port: 5432}]\n": "ports",
		strings.Replace(standalone, "client_ca_file", "x", 1):                 `database "orders" takes no clients from other pods`,
		open: `database "orders" has access.allow_remote`,
		open + "networkPolicy: {enforced: true}\n": "",
	} {
		_, _, err := template(t, load(t, "credproxy"), values)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", values, err, want)
		}
	}
}

// TestHelmOnOpenShift: its default security context constraint refuses a pod that names a user.
func TestHelmOnOpenShift(t *testing.T) {
	for values, want := range map[string]bool{"": true, "openshift: true\n": false} {
		text, _, err := template(t, load(t, "credproxy"), standalone+values)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range accept(t, text) {
			if pod := manifest.PodTemplate(object); pod != nil {
				s := pod.Spec.Containers[0].SecurityContext
				if (s.RunAsUser != nil) != want || (s.RunAsGroup != nil) != want {
					t.Errorf("%q: runs as %v, %v", values, s.RunAsUser, s.RunAsGroup)
				}
			}
		}
	}
}

// TestHelmHasTheAlerts: all of deploy/prometheus come out, and Helm leaves their braces alone.
func TestHelmHasTheAlerts(t *testing.T) {
	text, _, err := template(t, load(t, "credproxy"), standalone+"prometheusRule: {enabled: true}\n")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../prometheus/credproxy.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range accept(t, text) {
		if rule, ok := object.(*manifest.PrometheusRule); ok {
			if got, want := len(rule.Spec.Groups[0].Rules), strings.Count(string(file), "- alert: "); got != want || want == 0 {
				t.Errorf("%d alerts, want %d", got, want)
			}
			if summary := rule.Spec.Groups[0].Rules[0].Annotations["summary"]; !strings.HasPrefix(summary, "{{ $labels.instance }}: ") {
				t.Errorf("summary %q", summary)
			}
			return
		}
	}
	t.Error("no PrometheusRule")
}

// TestHelmLint is helm lint --strict.
func TestHelmLint(t *testing.T) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(standalone), &values); err != nil {
		t.Fatal(err)
	}
	found := lint.All(folder+"helm/credproxy", values, "shop", true)
	if len(found.Messages) == 0 {
		t.Error("lint has looked at nothing") // it says at least that there is no icon
	}
	for _, m := range found.Messages {
		if m.Severity > support.InfoSev {
			t.Error(m)
		}
	}
}
