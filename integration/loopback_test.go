package integration_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestLoopback: a database that lists no address, and one that lists localhost, is on both
// loopback addresses at one port. It keeps what it has through reloads that write the same
// in other words.
func TestLoopback(t *testing.T) {
	inOwnNetwork(t, func() {
		s := newLoopbackStand(t)
		mysql := s.entry("mysql", "mysql", "")
		s.run(t, mysql+s.entry("named", "postgres", ", listen: localhost:5432")+s.entry("next", "postgres", ""))
		want := map[string][]string{"mysql": {"127.0.0.1:3306", "[::1]:3306"}, "named": {"127.0.0.1:5432", "[::1]:5432"}, "next": {"127.0.0.1:5433", "[::1]:5433"}}
		s.listens(t, want)
		for listen, addrs := range map[string][]string{
			`"[::1]:5432"`: {"[::1]:5432"}, `["[::1]:5432", 127.0.0.1:5432]`: {"[::1]:5432", "127.0.0.1:5432"}, "127.0.0.1:5432": {"127.0.0.1:5432"},
		} {
			was := maps.Clone(want)
			s.reload(t, mysql+s.entry("named", "postgres", ", listen: "+listen)+s.entry("next", "postgres", ""))
			want["named"] = addrs
			s.listens(t, want)
			s.reload(t, mysql+s.entry("named", "postgres", "")+s.entry("next", "postgres", ""))
			s.listens(t, was)
			want = was
		}
	})
}

// TestLoopbackWithoutIPv6: on a machine without IPv6 localhost is 127.0.0.1, and that is no
// mistake.
func TestLoopbackWithoutIPv6(t *testing.T) {
	inOwnNetwork(t, func() {
		const off = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
		if err := os.WriteFile(off, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.WriteFile(off, []byte("0"), 0) }) // of the machine, if this is its network
		s := newLoopbackStand(t)
		s.run(t, s.entry("mysql", "mysql", "")+s.entry("named", "postgres", ", listen: localhost:5432")+s.entry("next", "postgres", ""))
		s.listens(t, map[string][]string{"mysql": {"127.0.0.1:3306"}, "named": {"127.0.0.1:5432"}, "next": {"127.0.0.1:5433"}})
	})
}

// loopbackStand is a credproxy whose databases nobody needs to reach.
type loopbackStand struct {
	*sidecar.Proxy
	dir string
}

func newLoopbackStand(t *testing.T) *loopbackStand {
	t.Helper()
	s := &loopbackStand{dir: t.TempDir()}
	writeFiles(t, s.dir, map[string]string{"login.json": `{"username":"app","password":"` + appPassword + `"}`})
	return s
}

// entry is a database, with more keys.
func (s *loopbackStand) entry(name, engine, more string) string {
	return fmt.Sprintf("  - {name: %s, engine: %s, host: localhost, port: 1, credentials: {file: {path: %s/login.json}}%s}\n", name, engine, s.dir, more)
}

func (s *loopbackStand) write(t *testing.T, databases string) (path string) {
	t.Helper()
	writeFiles(t, s.dir, map[string]string{"credproxy.yaml": "databases:\n" + databases})
	return filepath.Join(s.dir, "credproxy.yaml")
}

func (s *loopbackStand) run(t *testing.T, databases string) {
	t.Helper()
	s.Proxy = sidecar.Run(t, sidecar.Options{Binary: binary, Args: []string{"-c", s.write(t, databases)}}, appPassword)
}

func (s *loopbackStand) reload(t *testing.T, databases string) {
	t.Helper()
	s.write(t, databases)
	s.Signal(syscall.SIGHUP)
}

// listens waits until each database listens where it should.
func (s *loopbackStand) listens(t *testing.T, want map[string][]string) {
	t.Helper()
	sidecar.Await(t, fmt.Sprint("listeners ", want), func() bool {
		var status struct {
			Databases []struct {
				Name      string
				Listeners []string
			}
		}
		_, body, err := s.Get("/status")
		if err != nil || json.Unmarshal([]byte(body), &status) != nil {
			return false
		}
		got := map[string][]string{}
		for _, db := range status.Databases {
			got[db.Name] = db.Listeners
		}
		return maps.EqualFunc(got, want, slices.Equal)
	})
}
