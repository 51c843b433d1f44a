package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// controlStand runs a credproxy of this test's user.
func controlStand(t *testing.T, admin string) *sidecar.Proxy {
	t.Helper()
	return sidecar.Run(t, sidecar.Options{
		Binary: binary, Env: []string{"A=app", "B=" + appPassword},
		Config: "admin: {" + admin + "}\ndatabases:\n" + database("main", "env: {username: A, password: B}", "engine: mysql", "host: localhost"),
	}, appPassword)
}

// askAs sends a request as another user, over TCP or a unix socket.
func askAs(t *testing.T, uid int, network, addr, method, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialAs(ctx, uid, network, addr)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

// TestControl asks for control as credproxy's own user, as one of admin.uids, and as one
// who is nobody here, over TCP, over the abstract socket and over one in the file system.
func TestControl(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	for _, tt := range []struct{ name, config string }{
		{"auto", "control: auto"}, {"file", fmt.Sprintf("control: %q", "unix:"+socket)}, {"none", `control: ""`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := controlStand(t, fmt.Sprintf("listen: '127.0.0.1:0', uids: [%d], %s", allowed, tt.config))
			admin, err := p.Admin()
			if err != nil {
				t.Fatal(err)
			}
			ways := map[string]string{"tcp": admin}
			switch tt.name {
			case "auto":
				ways["unix"] = "@credproxy/" + admin
			case "file":
				ways["unix"] = socket
				if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%v, %v", info.Mode(), err)
				}
			}
			for network, addr := range ways {
				for uid, want := range map[int]int{os.Getuid(): http.StatusOK, allowed: http.StatusOK, foreign: http.StatusForbidden} {
					if addr == socket && uid != os.Getuid() {
						if _, err := dialAs(t.Context(), uid, network, addr); !errors.Is(err, syscall.EACCES) {
							t.Errorf("the socket is open to %d: %v", uid, err)
						}
						continue
					}
					if code, answer := askAs(t, uid, network, addr, http.MethodGet, "/debug/pprof/"); code != want {
						t.Errorf("%d over %s %s: %d %s", uid, network, addr, code, answer)
					}
					for _, path := range []string{"/quitquitquit", "/break-glass"} {
						if uid != foreign {
							continue
						}
						if code, answer := askAs(t, uid, network, addr, http.MethodPost, path); code != want || !strings.Contains(answer, fmt.Sprintf("the user with id %d may not do this", foreign)) {
							t.Errorf("%s over %s: %d %s", path, network, code, answer)
						}
					}
				}
			}
			for _, path := range []string{"/readiness", "/metrics", "/status", "/"} {
				if code, answer := askAs(t, foreign, "tcp", admin, http.MethodGet, path); code == http.StatusForbidden {
					t.Errorf("%s is refused: %s", path, answer)
				}
			}
		})
	}
}

// TestControlCommands has the commands find the socket by themselves.
func TestControlCommands(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control.sock")
	for _, tt := range []struct{ listen, control string }{{"127.0.0.1:0", "auto"}, {"", "unix:" + socket}} {
		p := controlStand(t, fmt.Sprintf("listen: %q, control: %q", tt.listen, tt.control))
		p.AwaitLog(t, "control socket listens")
		args, env := []string{"shutdown"}, []string{"CREDPROXY_ADMIN_LISTEN=", "CREDPROXY_ADMIN_CONTROL=" + tt.control}
		if tt.listen != "" {
			admin, err := p.Admin()
			if err != nil {
				t.Fatal(err)
			}
			args, env = append(args, "--admin", admin), nil
		}
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = env
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v %s", args, err, out)
		}
		if code := p.Wait(); code != 0 {
			t.Errorf("status %d", code)
		}
	}
}
