package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const maxExposure = 2.0

// TestSystemdUnit holds the unit, with and without each drop-in, against
// systemd's own checks.
func TestSystemdUnit(t *testing.T) {
	dropIns, err := filepath.Glob(filepath.Join(root, "deploy/systemd/examples/*.conf"))
	if err != nil || len(dropIns) == 0 {
		t.Fatal("no drop-ins", err)
	}
	for _, dropIn := range append([]string{""}, dropIns...) {
		t.Run(filepath.Base(dropIn), func(t *testing.T) {
			// verify wants the program to exist: in an image, it does.
			image := t.TempDir()
			units := filepath.Join(image, "etc/systemd/system")
			for _, file := range []struct{ mode, from, to string }{
				{"0755", binary, filepath.Join(image, "usr/bin/credproxy")},
				{"0755", "/bin/kill", filepath.Join(image, "bin/kill")},
				{"0644", "deploy/systemd/credproxy.socket", filepath.Join(units, "credproxy.socket")},
				{"0644", "deploy/systemd/credproxy.service", filepath.Join(units, "credproxy.service")},
				{"0644", dropIn, filepath.Join(units, "credproxy.service.d", filepath.Base(dropIn))},
			} {
				if file.from == "" {
					continue
				}
				if out, err := run(t, "install", "-D", "-m", file.mode, file.from, file.to); err != nil {
					t.Fatal(out, err)
				}
			}
			// The units that ours names, as this machine has them.
			if out, err := run(t, "install", "-d", filepath.Join(image, "usr/lib/systemd")); err != nil {
				t.Fatal(out, err)
			}
			if out, err := run(t, "cp", "-r", "/lib/systemd/system", filepath.Join(image, "usr/lib/systemd")); err != nil {
				t.Fatal(out, err)
			}
			if err := os.Symlink("usr/lib", filepath.Join(image, "lib")); err != nil {
				t.Fatal(err)
			}
			if out, err := run(t, "systemd-analyze", "verify", "--root="+image, "credproxy.service", "credproxy.socket"); err != nil || strings.Contains(out, "credproxy") {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			out, err := run(t, "systemd-analyze", "security", "--offline=true", "--root="+image, "credproxy.service")
			if err != nil {
				t.Fatal(out, err)
			}
			m := regexp.MustCompile(`Overall exposure level for credproxy.service: ([0-9.]+)`).FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("systemd-analyze security gives no score:\n%s", out)
			}
			if score, err := strconv.ParseFloat(m[1], 64); err != nil || score > maxExposure {
				t.Errorf("exposure is %s, want %v at most:\n%s", m[1], maxExposure, out)
			}
			t.Log(m[0])
		})
	}
}

// TestInstallScript installs into a folder, again, over a changed configuration,
// and removes.
func TestInstallScript(t *testing.T) {
	dest := t.TempDir()
	script := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(root, "deploy/systemd/install.sh"), args...)
		cmd.Env = append(os.Environ(), "DESTDIR="+dest)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("install.sh %q: %v\n%s", args, err, out)
		}
	}
	has := func(want ...string) {
		t.Helper()
		files, err := run(t, "find", dest, "-type", "f", "-printf", "%P %m\n")
		if err != nil {
			t.Fatal(err)
		}
		got := strings.FieldsFunc(files, func(r rune) bool { return r == '\n' })
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("installed are %q, want %q", got, want)
		}
	}
	const config = "etc/credproxy/credproxy.yaml"
	all := []string{config + " 644", "etc/systemd/system/credproxy.service 644", "usr/bin/credproxy 755"}
	script("install", binary)
	has(all...)
	if err := os.WriteFile(filepath.Join(dest, config), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script("install", binary)
	has(all...)
	if got, err := os.ReadFile(filepath.Join(dest, config)); err != nil || string(got) != "mine\n" {
		t.Errorf("the second installation changed the configuration: %q, %v", got, err)
	}
	script("remove")
	has(config + " 644")
	const socket = "etc/systemd/system/credproxy.socket"
	shipped, err := os.ReadFile(filepath.Join(root, "deploy/systemd/credproxy.socket"))
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{append(shipped, "# mine\n"...), shipped} { // edited, and as it came
		if err := os.WriteFile(filepath.Join(dest, socket), content, 0o644); err != nil {
			t.Fatal(err)
		}
		script("remove")
		if _, err := os.Stat(filepath.Join(dest, socket)); (err == nil) != (len(content) > len(shipped)) {
			t.Errorf("the socket unit of %d bytes, %d as it came: %v", len(content), len(shipped), err)
		}
	}
	script("install", binary)
	script("purge")
	has()
	script("purge")
}
