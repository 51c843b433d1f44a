package deploy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

const maxImage = 30_000_000 // bytes

// finalStage is what the Dockerfile's last stage says.
type finalStage struct {
	from, user      string
	copies          [][2]string // source, destination
	entrypoint, cmd []string
	healthcheck     []string
}

func readDockerfile(t *testing.T) (f finalStage) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		args := words[1:]
		switch words[0] {
		case "FROM":
			f = finalStage{from: args[0]}
		case "COPY":
			if strings.HasPrefix(args[0], "--from=") {
				args = args[1:]
			}
			for _, src := range args[:len(args)-1] {
				f.copies = append(f.copies, [2]string{src, args[len(args)-1]})
			}
		case "USER":
			f.user = args[0]
		case "ENTRYPOINT":
			f.entrypoint = execForm(t, line)
		case "CMD":
			f.cmd = execForm(t, line)
		case "HEALTHCHECK":
			f.healthcheck = execForm(t, line)
		}
	}
	return f
}

func execForm(t *testing.T, line string) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(line[strings.Index(line, "["):]), &words); err != nil {
		t.Fatalf("%s: not the exec form, and the image has no shell: %v", line, err)
	}
	return words
}

// layOut puts the files of the last stage, and no others, into a folder. The
// build stage is this machine: its certificates and a binary built alike.
func layOut(t *testing.T, f finalStage) string {
	t.Helper()
	dir := t.TempDir()
	for _, c := range f.copies {
		src := filepath.Join(root, c[0])
		switch c[0] {
		case "/out/credproxy":
			src = binary
		case "/etc/ssl/certs/ca-certificates.crt":
			src = c[0]
		}
		if out, err := run(t, "install", "-D", "-m", modeOf(t, src), src, filepath.Join(dir, c[1])); err != nil {
			t.Fatalf("COPY %s %s: %v\n%s", c[0], c[1], err, out)
		}
	}
	return dir
}

func modeOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode()&0o100 != 0 {
		return "0755"
	}
	return "0644"
}

// TestImage lays out the image's files and runs its entry point on them, as its
// user, in a chroot that is mounted read-only.
func TestImage(t *testing.T) {
	f := readDockerfile(t)
	if f.from != "scratch" || f.user != "65532:65532" {
		t.Errorf("last stage is from %q as %q", f.from, f.user)
	}
	dir := layOut(t, f)

	var size int64
	var files []string
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		size += info.Size()
		files = append(files, strings.TrimPrefix(path, dir))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes: %q", size, files)
	if size > maxImage {
		t.Errorf("the image has %d bytes, more than %d", size, maxImage)
	}
	if len(files) != 4 || !slices.Contains(files, f.entrypoint[0]) {
		t.Errorf("the image holds %q", files)
	}

	aws, err := awsstub.Start(awsstub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer aws.Close()
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 15})
	if err := pg.CreateRole(t.Context(), "app", "never-shown"); err != nil {
		t.Fatal(err)
	}
	arn := aws.CreateSecret("prod/orders", fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":"app","password":"never-shown"}`, pg.Host, pg.Port))
	// What the user of the image mounts.
	config := filepath.Join(dir, f.cmd[len(f.cmd)-1])
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(pg.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "ca.pem"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	text := "admin: {listen: \"127.0.0.1:0\"}\ndatabases:\n  - name: orders\n    listen: 127.0.0.1:0\n    credentials: {secrets_manager: {secret_id: \"" + arn + "\"}}\n" +
		"    tls: {ca_file: " + filepath.Join(filepath.Dir(f.cmd[len(f.cmd)-1]), "ca.pem") + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := inImage(t, dir, f, []string{"CREDPROXY_ADMIN_LISTEN=127.0.0.1:1"}, f.healthcheck).CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing listens on 127.0.0.1:1 ") {
		t.Errorf("the health check of an image that has not started: %v\n%s", err, out)
	}
	for _, user := range []string{f.user, "1000680000:0"} { // OpenShift gives a pod any user, of group 0
		f.user = user
		t.Logf("as %s ready after %v", user, startImage(t, dir, f, aws.Env()))
	}
}

// inImage is a command in the image, as its user, in a chroot that is mounted read-only.
func inImage(t *testing.T, dir string, f finalStage, env, args []string) *exec.Cmd {
	t.Helper()
	const script = `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec chroot --userspec="$1" "$0" "${@:2}"`
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "bash", "-c", script, dir, f.user}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// startImage starts the image, waits until it says that it is ready, asks its health
// check, looks at the process, stops it, and returns how long ready took.
func startImage(t *testing.T, dir string, f finalStage, env []string) time.Duration {
	t.Helper()
	cmd := inImage(t, dir, f, env, append(f.entrypoint, f.cmd...))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the image ended: %v", err)
		}
	}()
	log, admin := "", ""
	lines := bufio.NewScanner(stderr)
	for admin == "" && lines.Scan() {
		log += lines.Text() + "\n"
		var entry struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "admin server listens" {
			admin = entry.Address
		}
	}
	if admin == "" {
		t.Fatalf("the image did not start:\n%s", log)
	}
	go func() {
		for lines.Scan() {
		}
	}()
	for {
		res, err := http.Get("http://" + admin + "/readiness")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("not ready after 10 s: status %d", res.StatusCode)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	if out, err := inImage(t, dir, f, []string{"CREDPROXY_ADMIN_LISTEN=" + admin}, f.healthcheck).CombinedOutput(); err != nil || string(out) != "ready\n" {
		t.Errorf("the health check: %v\n%s", err, out)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	uid, gid, _ := strings.Cut(f.user, ":")
	for _, want := range []string{"Uid:" + strings.Repeat("\t"+uid, 4) + "\n", "Gid:" + strings.Repeat("\t"+gid, 4) + "\n", "CapEff:\t0000000000000000\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the process has not %q:\n%s", want, status)
		}
	}
	return took
}
