package integration_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// openFolder is a folder that every user of the machine can look into.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "credproxy-open-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fileDatabase is a configuration with one database, which nobody logs in to.
func fileDatabase(path string, more ...string) string {
	return "databases:\n" + database("main", fmt.Sprintf("file: {path: %q}", path), append(more, "engine: postgres", "host: localhost")...)
}

// asForeign runs a command as the user foreign.
func asForeign(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runAs(cmd, foreign)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestHardened looks at a credproxy that runs as an ordinary user: other processes
// of that user see nothing of what it holds, and it still measures itself.
func TestHardened(t *testing.T) {
	dir := openFolder(t)
	writeFiles(t, dir, map[string]string{"login.json": `{"username":"app","password":"` + appPassword + `"}`})
	config := filepath.Join(dir, "credproxy.yaml")
	wrapper, own := filepath.Join(dir, "as-user"), filepath.Join(dir, "credproxy")
	copyFile(t, binary, own)
	for path, text := range map[string]string{
		config:  fileDatabase(filepath.Join(dir, "login.json")),
		wrapper: fmt.Sprintf("#!/bin/sh\nulimit -c unlimited\nexec setpriv --reuid=%d --clear-groups %s \"$@\"\n", foreign, own),
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "login.json"), foreign, 0); err != nil {
		t.Fatal(err)
	}
	p := sidecar.Run(t, sidecar.Options{Binary: wrapper, Args: []string{"-c", config}}, appPassword)
	p.Addr(t, "main")
	proc := fmt.Sprintf("/proc/%d/", p.PID())
	for file, want := range map[string]string{
		"limits": `Max core file size +0 +0 `,
		"status": fmt.Sprintf(`(?s)Umask:\s0077.*Uid:\s%d\s`, foreign),
	} {
		text, err := os.ReadFile(proc + file)
		if err != nil || !regexp.MustCompile(want).Match(text) {
			t.Errorf("%s, %v: %s\nwant %s", file, err, text, want)
		}
	}
	for _, args := range [][]string{{"cat", proc + "environ"}, {"head", "-c1", proc + "mem"}, {"ls", proc + "fd"}} {
		if out, err := asForeign(t, args[0], args[1:]...); err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("%s: %v: %s", args, err, out)
		}
	}
	// What is not hardened can be seen.
	if out, err := asForeign(t, "sh", "-c", "sleep 60 & cat /proc/$!/environ >/dev/null && ls /proc/$!/fd; s=$?; kill $!; exit $s"); err != nil {
		t.Errorf("a process like any other: %v: %s", err, out)
	}
	for _, metric := range []string{"process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"} {
		if n, err := p.Metric(metric); err != nil || n <= 0 {
			t.Errorf("%s: %v, %v", metric, n, err)
		}
	}
	if code, heap, err := p.Get("/debug/pprof/heap?debug=1"); err != nil || code != 200 || !strings.Contains(heap, "heap profile") {
		t.Errorf("profile: %d, %v", code, err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
}

// TestWorldReadableFile starts credproxy with a credential that every user may read.
// $1 is the folder of the credential, $2 the credential; what follows is credproxy.
func TestWorldReadableFile(t *testing.T) {
	const (
		write  = `set -e; printf %s "$2" >"$1/login.json"; chmod 644 "$1/login.json"; `
		volume = `mount -t tmpfs -o mode=755 none "$1"; ` + write // as the kubelet mounts secrets
		start  = `shift 2; exec "$@"`
	)
	for name, tc := range map[string]struct {
		script  string
		folder  string // "": a new one
		more    string
		refused bool
	}{
		"on disk":                                {script: write, refused: true},
		"on disk, told so":                       {script: write, more: ", world_readable: true"},
		"in a closed folder":                     {script: write + `chmod 700 "$1"; `},
		"volume of a pod":                        {script: volume + `mount -o remount,ro "$1"; `},
		"volume that can be written":             {script: volume, refused: true},
		"disk that is mounted read-only":         {script: write + `mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; `, refused: true},
		"the machine's own tmpfs, in a sandbox":  {script: volume + `mount -o remount,bind,ro "$1"; `, folder: "/run", refused: true},
		"another volume below the machine's own": {script: `mount -t tmpfs -o mode=755 none /run; mkdir "$1"; ` + volume + `mount -o remount,ro "$1"; `, folder: "/run/login"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := tc.folder
			if folder == "" {
				folder = openFolder(t)
			}
			path := filepath.Join(folder, "login.json")
			config := filepath.Join(t.TempDir(), "credproxy.yaml")
			text := strings.Replace(fileDatabase(path), fmt.Sprintf("%q}", path), fmt.Sprintf("%q%s}", path, tc.more), 1)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", tc.script+start, "sh",
				folder, `{"username":"app","password":"`+appPassword+`"}`, binary, "check", "-c", config)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			out, _ := cmd.CombinedOutput() // there is no database: a later step fails
			if strings.Contains(string(out), appPassword) {
				t.Errorf("the password is shown: %s", out)
			}
			want := `ok +credential +user app,`
			if tc.refused {
				want = `failed +configuration +credentials.file.path: credential file: ` + path + ` \(mode 0644\): every user of this machine can read it\n.*→ Chmod o-r`
			}
			if !regexp.MustCompile(want).Match(out) {
				t.Errorf("got %s\nwant %s", out, want)
			}
		})
	}
}

// TestWorldReadableFileStopsRun: run ends at once, as it does for an emergency credential.
func TestWorldReadableFileStopsRun(t *testing.T) {
	dir := openFolder(t)
	writeFiles(t, dir, map[string]string{"login.json": `{"username":"app","password":"` + appPassword + `"}`, "closed.json": `{"username":"app","password":"` + appPassword + `"}`})
	if err := os.Chmod(filepath.Join(dir, "login.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	open, closed := filepath.Join(dir, "login.json"), filepath.Join(dir, "closed.json")
	for key, text := range map[string]string{
		"credentials.file.path": fileDatabase(open),
		"break_glass.file":      fileDatabase(closed, fmt.Sprintf("break_glass: {file: %q}", open)),
	} {
		for _, command := range []string{"run", "check"} {
			writeFiles(t, dir, map[string]string{"credproxy.yaml": text})
			code, out, errs := credproxy(t, nil, command, "-c", filepath.Join(dir, "credproxy.yaml"))
			if want := key + ": credential file: " + open + " (mode 0644): every user"; code != 2 || !strings.Contains(out+errs, want) {
				t.Errorf("%s: status %d, %s%s\nwant %s", command, code, out, errs, want)
			}
		}
	}
}

// TestChildrenInheritNoSecret: AWS's credential_process gets the environment of
// credproxy without the password that was there.
func TestChildrenInheritNoSecret(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	dir := t.TempDir()
	seen, script, shared := filepath.Join(dir, "seen"), filepath.Join(dir, "process"), filepath.Join(dir, "aws")
	keys := map[string]string{}
	var env []string
	for _, v := range aws.Env() {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN":
			keys[name] = value
		case "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE":
		default:
			env = append(env, v)
		}
	}
	answer := fmt.Sprintf(`{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q,"SessionToken":%q}`,
		keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"])
	for path, text := range map[string]string{
		script: "#!/bin/sh\n(env; cat /proc/self/cmdline; cat /proc/$PPID/cmdline) >" + seen + "\necho '" + answer + "'\n",
		shared: "[default]\ncredential_process = " + script + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env = append(env, "AWS_CONFIG_FILE="+shared, "DB_USER=app", "DB_PASSWORD="+appPassword, "MARK=inherited")
	config := "databases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile)) +
		database("laptop", "env: {username: DB_USER, password: DB_PASSWORD}", "tls: "+tlsYAML("", pg.CAFile), "engine: postgres", "host: localhost", fmt.Sprintf("port: %d", pg.Port))
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: env}, appPassword)
	for _, name := range []string{"main", "laptop"} {
		ask(t, connect(t, p.Addr(t, name), "postgres"), "SELECT 1")
	}
	text, err := os.ReadFile(seen)
	if err != nil || !strings.Contains(string(text), "MARK=inherited") || !strings.Contains(string(text), "DB_USER=app") {
		t.Fatalf("%v: %s", err, text)
	}
	if strings.Contains(string(text), appPassword) || strings.Contains(string(text), "DB_PASSWORD") {
		t.Errorf("the child has %s", text)
	}
}
