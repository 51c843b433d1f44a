// Package render_test renders the Helm charts and the Kustomize component of
// deploy/kubernetes with the libraries of helm and kustomize, and checks what comes out
// as package manifest checks what lies there.
//
// It takes minutes to compile: "make check-deploy" runs it, "make test" does not.
package render_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/credproxy/credproxy/deploy/check/manifest"
)

const folder = "../../kubernetes/"

// accept wants manifests that are right, and configurations in them that load.
func accept(t *testing.T, text string) []meta.Object {
	t.Helper()
	objects, err := manifest.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, wrong := range manifest.Check(objects) {
		t.Errorf("%s\n%s", wrong, text)
	}
	configs := 0
	for _, object := range objects {
		if text, found := manifest.Config(object); found {
			configs++
			loads(t, text)
		}
	}
	if configs != 1 {
		t.Errorf("%d configurations\n%s", configs, text)
	}
	return objects
}

// loads wants credproxy to take a configuration. The command that prints its policy
// reads it and goes nowhere; its status is 2 for a configuration that is wrong.
func loads(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} { // of the Secret that the chart mounts
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text = strings.ReplaceAll(text, "/etc/credproxy-tls/", dir+"/")
	file := filepath.Join(dir, "credproxy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), credproxy, "policy", "-c", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s%s", err, out, text)
	}
}

// credproxy is the binary.
var credproxy string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "credproxy-render")
	if err != nil {
		panic(err)
	}
	credproxy = filepath.Join(dir, "credproxy")
	build := exec.Command("go", "build", "-o", credproxy, "./cmd/credproxy")
	build.Dir = "../../.."
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// count counts objects by type.
func count[T meta.Object](objects []meta.Object) (n int) {
	for _, object := range objects {
		if _, ok := object.(T); ok {
			n++
		}
	}
	return n
}

// sidecar is where credproxy is in a pod.
func sidecar(pod *core.PodSpec) string {
	for i, c := range pod.InitContainers {
		if c.Name == "credproxy" && i == 0 && c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways {
			return "native, first"
		}
	}
	for _, c := range pod.Containers {
		waits := func(v core.EnvVar) bool { return v.Name == "CREDPROXY_SHUTDOWN_MIN_DELAY" && v.Value == "15s" }
		if c.Name == "credproxy" && slices.ContainsFunc(c.Env, waits) && c.RestartPolicy == nil {
			return "classic"
		}
	}
	return "none"
}
