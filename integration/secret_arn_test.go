package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestRunSecretARN runs credproxy with nothing but secrets: it listens on the
// engine's own port, and for the second secret of the same engine on the next.
func TestRunSecretARN(t *testing.T) {
	inOwnNetwork(t, func() {
		pg := newPostgres(t, servers.PostgresOptions{Version: 15})
		if err := pg.CreateRole(t.Context(), "clerk", appPassword); err != nil {
			t.Fatal(err)
		}
		aws := startAWS(t, awsstub.Options{})
		arns := []string{
			aws.CreateSecret("prod/orders", secretJSON(pg, "app", appPassword)),
			aws.CreateSecret("prod/stock", secretJSON(pg, "clerk", appPassword)),
		}
		// No region but the ARNs', and the system's roots to trust.
		env := append(aws.Env(), "AWS_REGION=", "SSL_CERT_FILE="+pg.CAFile)
		w := watch(t, sidecar.Options{Args: arns, Env: env}, appPassword)
		for _, want := range []struct {
			name, user string
			addrs      []string
		}{
			{"prod-orders", "app", []string{"127.0.0.1:5432", "[::1]:5432"}},
			{"prod-stock", "clerk", []string{"127.0.0.1:5433", "[::1]:5433"}},
		} {
			if addrs, err := w.Addrs(want.name, len(want.addrs)); !slices.Equal(addrs, want.addrs) {
				t.Errorf("%s listens on %v, want %v: %v", want.name, addrs, want.addrs, err)
			}
			for _, addr := range want.addrs {
				conn := connect(t, addr, "") // the secret names the database
				if got := ask(t, conn, "SELECT current_user || ' ' || current_database() || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != want.user+" postgres true" {
					t.Errorf("at %s: %s", addr, got)
				}
			}
		}

		// A port that is taken is not exchanged for another behind the user's back.
		code, _, stderr := credproxy(t, env, "run", "--admin-listen=", arns[0])
		if code != 1 || !containsAll(stderr, []string{"127.0.0.1:5432", "the port is in use"}) {
			t.Errorf("with 5432 taken: status %d\n%s", code, stderr)
		}
	})
}

// inOwnNetwork calls f in another run of this test, in a network of its own
// where every port is free. Where that is not allowed it calls f here.
func inOwnNetwork(t *testing.T, f func()) {
	t.Helper()
	const inside = "CREDPROXY_TEST_IN_OWN_NETWORK"
	if os.Getenv(inside) != "" {
		raiseLoopback(t)
		f()
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", fmt.Sprintf("-test.v=%v", testing.Verbose()))
	cmd.Env = append(os.Environ(), inside+"=1", binaryVariable+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 { // then only within a user namespace
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC):
		t.Logf("no network of its own (%v): using the machine's", err)
		f()
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
}

func raiseLoopback(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatalf("raise the loopback interface: %v", err)
	}
}
