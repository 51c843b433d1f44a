package deploy_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

// TestBreakGlassInAPod breaks the glass as docs/runbook.md says for Kubernetes: the root is
// read-only, the optional Secret's volume is empty until the Secret is made, its files have
// the mode 0644, and the command runs in the container, as its user.
func TestBreakGlassInAPod(t *testing.T) {
	f := readDockerfile(t)
	dir := layOut(t, f)
	aws, err := awsstub.Start(awsstub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer aws.Close()
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 15})
	if err := pg.CreateRole(t.Context(), "emergency", password); err != nil {
		t.Fatal(err)
	}
	arn := aws.CreateSecret("prod/orders", fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":"nobody","password":"wrong"}`, pg.Host, pg.Port))
	var ports [2]int
	for i := range ports {
		if ports[i], err = servers.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := os.ReadFile(pg.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	const volume = "etc/credproxy-break-glass"
	for _, folder := range []string{"etc/credproxy", volume} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"ca.pem": string(ca), "credproxy.yaml": fmt.Sprintf(`admin: {listen: ":%d"}
databases:
  - name: orders
    listen: 127.0.0.1:%d
    credentials: {secrets_manager: {secret_id: %q}}
    break_glass: {file: /%s}
    tls: {ca_file: /etc/credproxy/ca.pem}
`, ports[0], ports[1], arn, volume)} {
		if err := os.WriteFile(filepath.Join(dir, "etc/credproxy", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	node := t.TempDir() // where the kubelet writes
	const script = `mount -t tmpfs tmpfs "$3" && mount --bind "$0" "$0" && mount --bind "$3" "$0/$2" && mount -o remount,bind,ro "$0/$2" &&
		mount -o remount,bind,ro "$0" && exec chroot --userspec="$1" "$0" /usr/bin/credproxy run -c /etc/credproxy/credproxy.yaml`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "bash", "-c", script, dir, f.user, volume, node)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, aws.Env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
		}
	}()
	inPod := func(args ...string) (string, error) {
		return run(t, "nsenter", append([]string{"--mount", "--target=" + strconv.Itoa(cmd.Process.Pid), "--"}, args...)...)
	}
	login := func() (user string, err error) {
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://anybody@127.0.0.1:%d/postgres?sslmode=disable", ports[1]))
		if err != nil {
			return "", err
		}
		defer conn.Close(t.Context())
		return user, conn.QueryRow(t.Context(), "SELECT current_user").Scan(&user)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err = login(); err != nil && strings.Contains(err.Error(), "SQLSTATE") {
			break // credproxy's own answer
		} else if time.Now().After(deadline) {
			t.Fatalf("credproxy does not answer: %v", err)
		}
	}
	kubectlExec := []string{"chroot", "--userspec=" + f.user, dir, "/usr/bin/credproxy", "break-glass", "-c", "/etc/credproxy/credproxy.yaml"}
	if out, err := inPod(append(kubectlExec, "--reason", "too early")...); err == nil {
		t.Errorf("without the Secret: %s", out)
	}
	if out, err := inPod("sh", "-c", `umask 022; printf emergency >"$0/username"; printf "$1" >"$0/password"`, node, password); err != nil {
		t.Fatal(out, err)
	}
	if out, err := inPod(append(kubectlExec, "--reason", "INC-1234", "--duration", "30m")...); err != nil {
		t.Fatal(out, err)
	}
	if user, err := login(); err != nil || user != "emergency" {
		t.Errorf("with the emergency credential: %q, %v", user, err)
	}
	if out, err := inPod(append(kubectlExec, "--end")...); err != nil {
		t.Error(out, err)
	}
	if _, err := login(); err == nil {
		t.Error("a login after the end")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-logged
	if err := cmd.Wait(); err != nil {
		t.Errorf("credproxy ended: %v\n%s", err, &log)
	}
	if strings.Contains(log.String(), password) {
		t.Error("the password is in the log")
	}
}
