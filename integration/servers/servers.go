// Package servers starts real database servers for tests, as setup.sh has
// fetched them, and hands the logins of IAM users to a verifier of the test.
//
// A server has a folder, a port on an address of loopback and a superuser of its own, and
// lives no longer than the test process: a test that fails, panics or is killed
// leaves neither process nor folder behind. A server that cannot start fails the
// test. Nothing here knows what stands between a client and the server.
package servers

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cache is where setup.sh puts the servers.
const cache = "/var/cache/credproxy-test"

// pamService is the PAM service, installed by setup.sh, that asks a TokenVerifier.
func pamService(server string) string { return "credproxy-test-" + server }

// installed returns the path of something setup.sh installs.
func installed(elem ...string) (string, error) {
	path := filepath.Join(append([]string{cache}, elem...)...)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is missing: run integration/setup.sh", path)
	} else if err != nil {
		return "", err
	}
	return path, nil
}

// unprivileged is whom servers run as: nobody when we are root, for which they
// refuse to run, else (nil) ourselves.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("look up the user servers run as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user id of nobody: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("group id of nobody: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// FreePort names a port that nobody listens on at any address of this machine, and that the kernel
// gives to nobody who leaves the choice to it, client or server: it lies below the
// range that those come from (ip_local_port_range of ip(7)). Another FreePort may
// still name it again: see portTaken.
func FreePort() (int, error) {
	const lowest, attempts = 15000, 100
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, err
	}
	var first int
	if _, err := fmt.Sscan(string(text), &first); err != nil {
		return 0, fmt.Errorf("ip_local_port_range: %w", err)
	}
	if first <= lowest {
		return 0, fmt.Errorf("ip_local_port_range begins at %d: no room below it", first)
	}
	for attempt := 1; ; attempt++ {
		port := lowest + rand.IntN(first-lowest)
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err == nil {
			return port, l.Close()
		}
		if attempt == attempts {
			return 0, err
		}
	}
}

// hostOr is the address wanted, or 127.0.0.1 if that is empty.
func hostOr(wanted string) string { return cmp.Or(wanted, "127.0.0.1") }

// portOr is the port wanted, or a free one if that is 0.
func portOr(wanted int) (int, error) {
	if wanted != 0 {
		return wanted, nil
	}
	return FreePort()
}

// atFreePort repeats a start that lost the race for its port.
func atFreePort[Server any](start func() (Server, error)) (Server, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		server, err := start()
		if err == nil || attempt == attempts || !portTaken(err.Error()) {
			return server, err
		}
	}
}

// portTaken reads in a server's log whether it lost the race for its port.
func portTaken(log string) bool { return strings.Contains(log, "Address already in use") }
