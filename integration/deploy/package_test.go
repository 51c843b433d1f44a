package deploy_test

import (
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// makePackages makes both packages of a version in a folder of the test's.
func makePackages(t *testing.T, version string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if out, err := run(t, ".ci/package", version, runtime.GOARCH, binary, folder); err != nil {
		t.Fatal(out, err)
	}
	return folder
}

// packaged is the one package that matches.
func packaged(t *testing.T, folder, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

const packagedConfig = "etc/credproxy/credproxy.yaml"

// tool installs one format: what it runs on a machine, or with the root folder before it.
type tool struct {
	pattern                string // of the package's file
	database               string // a shell command that prepares an empty one
	install, remove, purge []string
	inRoot                 []string // in a root folder, without scripts that look at this machine's systemd
}

func tools() map[string]tool {
	dpkg := []string{"dpkg", "--admindir=/run/dpkg", "--log=/run/dpkg.log"}
	rpm := []string{"rpm", "--dbpath=/run/rpm"}
	return map[string]tool{
		"deb": {"*.deb", `mkdir -p /run/dpkg/updates /run/dpkg/info && cd /run/dpkg && # with whose folders those are that stay
			printf 'Package: base-files\nStatus: install ok installed\nMaintainer: x\nArchitecture: all\nVersion: 1\nDescription: x\n\n' >status &&
			printf '%s\n' /. /etc /usr /usr/bin /usr/lib /usr/lib/systemd /usr/lib/systemd/system /usr/share /usr/share/doc >info/base-files.list`,
			append(slices.Clip(dpkg), "--install"), append(slices.Clip(dpkg), "--remove", "credproxy"), append(slices.Clip(dpkg), "--purge", "credproxy"),
			[]string{"dpkg", "--force-script-chrootless", "--log=/dev/null", "--install", "--root="}},
		"rpm": {"*.rpm", "mkdir -p /run/rpm", // --nodeps: nobody has told this database of a shell
			append(slices.Clip(rpm), "--upgrade", "--nodeps"), append(slices.Clip(rpm), "--erase", "--nodeps", "credproxy"), nil,
			[]string{"rpm", "--noscripts", "--nodeps", "--install", "--root="}},
	}
}

// TestPackages makes both packages twice, installs them in a root folder, and lives with them where
// systemd runs: installs, upgrades, removes. Where no systemd can be booted it says so and is
// content, as TestSystemdRuns is.
func TestPackages(t *testing.T) {
	first, second, next := makePackages(t, "v1.2.3"), makePackages(t, "v1.2.3"), makePackages(t, "v1.2.4")
	for name, tool := range tools() {
		t.Run(name, func(t *testing.T) {
			file := packaged(t, first, tool.pattern)
			if out, err := run(t, "cmp", file, packaged(t, second, tool.pattern)); err != nil {
				t.Errorf("two builds differ: %s", out)
			}
			tool.installInFolder(t, file)
			m, err := boot(t)
			if err != nil {
				t.Log("no systemd can be booted here:", err)
				return
			}
			for version, file := range map[string]string{"v1.2.3": file, "v1.2.4": packaged(t, next, tool.pattern)} {
				if out, err := run(t, "cp", file, filepath.Join(m.root, "run", version)); err != nil {
					t.Fatal(out)
				}
			}
			tool.live(t, &installed{machine: m})
		})
	}
}

// installInFolder looks at the files that come out.
func (tool tool) installInFolder(t *testing.T, file string) {
	t.Helper()
	dest := t.TempDir()
	if out, err := run(t, "mkdir", "-p", dest+"/var/lib/dpkg/updates", dest+"/var/lib/dpkg/info", dest+"/var/lib/rpm"); err != nil {
		t.Fatal(out)
	}
	write(t, dest+"/var/lib/dpkg/status", "")
	last := len(tool.inRoot) - 1
	if out, err := run(t, tool.inRoot[0], append(append(slices.Clone(tool.inRoot[1:last]), tool.inRoot[last]+dest), file)...); err != nil {
		t.Fatal(out, err)
	}
	files, err := run(t, "find", dest, "-path", dest+"/var", "-prune", "-o", "-type", "f", "-printf", "%P %m %u\n")
	if err != nil {
		t.Fatal(files, err)
	}
	for _, want := range []string{"usr/bin/credproxy 755 root\n", "usr/lib/systemd/system/credproxy.service 644 root\n", packagedConfig + " 644 root\n"} {
		if !strings.Contains(files, want) {
			t.Errorf("no %q in\n%s", want, files)
		}
	}
	if out, err := run(t, "cmp", binary, dest+"/usr/bin/credproxy"); err != nil {
		t.Error(out)
	}
}

// live installs, upgrades and removes /run/v1.2.3 and /run/v1.2.4 of a machine.
func (tool tool) live(t *testing.T, s *installed) {
	t.Helper()
	s.must(t, "sh", "-c", tool.database)
	pkg := func(args []string, more ...string) { t.Helper(); s.must(t, append(slices.Clone(args), more...)...) }

	pkg(tool.install, "/run/v1.2.3")
	if state, _ := s.run(t, "systemctl", "is-enabled", service); state != "disabled" || s.show(t, "ActiveState") != "inactive" {
		t.Errorf("after the installation it is %s and %s: its configuration is not written yet", state, s.show(t, "ActiveState"))
	}
	pkg(tool.install, "/run/v1.2.4")
	if s.show(t, "ActiveState") != "inactive" {
		t.Error("the upgrade started it")
	}
	const config = "admin: {listen: \"\", control: \"unix:/run/credproxy/control.sock\"}\ndatabases:\n  - name: orders\n    engine: postgres\n    host: 127.0.0.1\n    listen: unix:/run/credproxy/s\n    credentials: {file: {path: /etc/credproxy/none.json}}\n"
	s.write(t, "/"+packagedConfig, config, 0o644)
	s.must(t, "systemctl", "enable", "--now", service)
	before := s.show(t, "MainPID")
	downgrade := tool.install
	if tool.pattern == "*.rpm" {
		downgrade = append(slices.Clone(downgrade), "--oldpackage")
	}
	pkg(downgrade, "/run/v1.2.3")
	now := s.show(t, "MainPID")
	if now == before || s.show(t, "ActiveState") != "active" || !strings.Contains(s.must(t, "journalctl", "--unit="+service), "upgrade: this process serves now") {
		t.Errorf("after another version it is %s, process %s, before %s", s.show(t, "ActiveState"), now, before)
	}
	// One that cannot be asked is restarted.
	s.write(t, "/"+packagedConfig, strings.Replace(config, "control.sock", "other.sock", 1), 0o644)
	pkg(tool.install, "/run/v1.2.4")
	if again := s.show(t, "MainPID"); again == now || s.show(t, "ActiveState") != "active" {
		t.Errorf("where nobody can be asked it is %s, process %s", s.show(t, "ActiveState"), again)
	}
	s.write(t, "/"+packagedConfig, config, 0o644)
	if got := s.must(t, "cat", "/"+packagedConfig); got != strings.TrimSpace(config) {
		t.Errorf("the configuration is %s", got)
	}
	pkg(tool.remove)
	if state, _ := s.run(t, "systemctl", "is-active", service); state != "inactive" {
		t.Errorf("after the removal it is %s", state)
	}
	// dpkg keeps a configuration until the purge, rpm one that was edited, under another name.
	if kept := s.must(t, "sh", "-c", "ls /etc/credproxy"); !strings.HasPrefix(kept, "credproxy.yaml") {
		t.Errorf("kept is %q", kept)
	}
	const left = "ls -d /usr/bin/credproxy /usr/lib/systemd/system/credproxy* /etc/systemd/system/*.wants/credproxy* /run/credproxy 2>/dev/null || :"
	if files := s.must(t, "sh", "-c", left); files != "" {
		t.Errorf("left is %s", files)
	}
	if tool.purge != nil {
		pkg(tool.purge)
		if files := s.must(t, "sh", "-c", "ls -d /etc/credproxy 2>/dev/null || :"); files != "" {
			t.Errorf("after the purge there is %s", files)
		}
	}
}
