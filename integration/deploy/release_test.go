package deploy_test

import (
	"archive/zip"
	"debug/buildinfo"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestRelease makes a release for the machine's own platform, twice, and holds it against
// what the linker wrote into the binaries. That two builds are the same on another machine,
// with an empty cache, is make release-check's to show, which takes minutes.
func TestRelease(t *testing.T) {
	checkout := copyOfSource(t)
	if out, err := release(t, checkout, "022", "1.2"); err == nil || !strings.Contains(out, "such as v1.2.3") {
		t.Errorf("version 1.2: %v\n%s", err, out)
	}
	first, err := release(t, checkout, "022", "v1.2.3", "linux/amd64")
	if err != nil {
		t.Fatalf("%v\n%s", err, first)
	}
	if second, err := release(t, copyOfSource(t), "077", "v1.2.3", "linux/amd64"); err != nil || second != first {
		t.Errorf("%v: another folder gives\n%s, not\n%s", err, second, first)
	}
	const name = "credproxy_v1.2.3_linux_amd64"
	dist := filepath.Join(checkout, "dist")
	if out, err := run(t, "sh", "-c", "cd "+dist+" && sha256sum --check --strict SHA256SUMS && ls | wc -l"); err != nil || !strings.HasSuffix(out, "\n7\n") {
		t.Errorf("checksums: %v\n%s", err, out)
	}
	if out, err := run(t, filepath.Join(dist, name), "version"); err != nil || !strings.HasPrefix(out, "credproxy v1.2.3\ncommit 0123abcd\ngo1.") {
		t.Errorf("version: %v\n%s", err, out)
	}
	checkBuild(t, filepath.Join(dist, name), filepath.Join(dist, name+".cdx.json"))
	const function = "credproxy-rotation_v1.2.3_linux_amd64"
	checkBuild(t, bootstrap(t, filepath.Join(dist, function+".zip")), filepath.Join(dist, function+".cdx.json"))
}

// copyOfSource is a checkout to build in: dist/ of ours is not the test's.
func copyOfSource(t *testing.T) (checkout string) {
	t.Helper()
	checkout = t.TempDir()
	ignored, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{".ci", "deploy", "tools"}
	for line := range strings.Lines(string(ignored)) { // what the product is built from
		if part, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok && !strings.Contains(part, "/") {
			parts = append(parts, part)
		}
	}
	for _, part := range parts {
		if out, err := run(t, "cp", "-r", part, checkout); err != nil {
			t.Fatal(out)
		}
	}
	return checkout
}

func release(t *testing.T, checkout, umask string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `umask "$0" && exec .ci/release "$@"`, umask}, args...)...)
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), "COMMIT=0123abcd", "GOAMD64=v3", "CGO_ENABLED=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// bootstrap unpacks a zip for Lambda, which unpacked may have 250 MB; ours stays far below.
func bootstrap(t *testing.T, path string) (binary string) {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	info, err := os.Stat(path)
	if err != nil || info.Size() > 15<<20 {
		t.Errorf("%s has %d bytes: %v", path, info.Size(), err)
	}
	if len(archive.File) != 1 || archive.File[0].Name != "bootstrap" || archive.File[0].Mode() != 0o755 {
		t.Fatalf("%s holds %v", path, archive.File)
	}
	content, err := fs.ReadFile(archive, "bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(t.TempDir(), "bootstrap")
	write(t, binary, string(content))
	return binary
}

// checkBuild holds a binary and the list of what it was made of against what the linker
// wrote into it.
func checkBuild(t *testing.T, binary, list string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if want, checked := map[string]string{"GOAMD64": "v1", "CGO_ENABLED": "0", "-trimpath": "true"}[s.Key]; checked && s.Value != want {
			t.Errorf("built with %s=%s", s.Key, s.Value)
		}
	}
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		BOMFormat, SpecVersion string
		Components             []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &sbom); err != nil || sbom.BOMFormat != "CycloneDX" || sbom.SpecVersion != "1.5" {
		t.Errorf("%v: %.300s", err, text)
	}
	listed := map[string]bool{}
	for _, c := range sbom.Components {
		listed[c.PURL] = true
	}
	if len(listed) != len(info.Deps)+1 || !listed["pkg:golang/std@"+strings.TrimPrefix(info.GoVersion, "go")] {
		t.Errorf("%d components for %d modules and Go", len(listed), len(info.Deps))
	}
	for _, m := range info.Deps {
		if !listed["pkg:golang/"+m.Path+"@"+m.Version] {
			t.Errorf("%s %s is not listed", m.Path, m.Version)
		}
	}
}

// TestReleaseWorkflow holds that the workflow uses no action, gives the token to no step
// that does not need it, and that each script is one that bash can read.
func TestReleaseWorkflow(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".github", "workflows", "release.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Permissions map[string]string
		Jobs        map[string]struct {
			Steps []struct {
				Name, Uses, Run string
				Env             map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &workflow); err != nil {
		t.Fatal(err)
	}
	if workflow.Permissions == nil || len(workflow.Permissions) > 0 {
		t.Errorf("by default a job may %v", workflow.Permissions)
	}
	scripts := regexp.MustCompile(`(?m)^\.ci/\S+|\s\.ci/\S+`)
	for _, step := range workflow.Jobs["release"].Steps {
		if step.Uses != "" || step.Run == "" {
			t.Errorf("step %s uses %q", step.Name, step.Uses)
		}
		if strings.Contains(step.Run, "${{") {
			t.Errorf("step %s: an expression in a script is not quoted; pass it by env", step.Name)
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-n")
		cmd.Stdin = strings.NewReader(step.Run)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("step %s: %s", step.Name, out)
		}
		for _, script := range scripts.FindAllString(step.Run, -1) {
			if info, err := os.Stat(filepath.Join(root, strings.TrimSpace(script))); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("step %s: %s cannot be run: %v", step.Name, script, err)
			}
			if step.Env["GH_TOKEN"] != "" {
				t.Errorf("step %s gives the token to our scripts", step.Name)
			}
		}
	}
	if len(workflow.Jobs["release"].Steps) < 5 {
		t.Error("steps are missing")
	}
}
