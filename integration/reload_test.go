package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// reloads reads how often a configuration was read again.
func reloads(t *testing.T, p *sidecar.Proxy, result string) float64 {
	t.Helper()
	n, err := p.Metric("credproxy_config_reload_total", fmt.Sprintf("result=%q", result))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// swap replaces the file that path leads to as Kubernetes does with a ConfigMap:
// ..data, on the way to it, leads to another directory from now on.
func swap(t *testing.T, dir string, n int, content string) {
	t.Helper()
	fresh := filepath.Join(dir, fmt.Sprintf("..%d", n))
	link := filepath.Join(dir, "..fresh")
	err := os.Mkdir(fresh, 0o750)
	if err == nil {
		err = os.WriteFile(filepath.Join(fresh, "credproxy.yaml"), []byte(content), 0o600)
	}
	if err == nil {
		err = os.Symlink(filepath.Base(fresh), link)
	}
	if err == nil {
		err = os.Rename(link, filepath.Join(dir, "..data"))
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", n-1)))
}

// TestReload reads the configuration again 100 times under load, while databases
// come, change and go: no session of an unchanged database notices, a changed one
// refuses nobody, and nothing piles up.
func TestReload(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	dir := t.TempDir()
	path := filepath.Join(dir, "credproxy.yaml")
	if err := os.Symlink(filepath.Join("..data", "credproxy.yaml"), path); err != nil {
		t.Fatal(err)
	}
	config := func(n int) string {
		tls := "tls: " + tlsYAML("", pg.CAFile)
		yaml := "databases:\n" + smDatabase("same", arn, tls) +
			smDatabase("changing", arn, tls, fmt.Sprintf("limits: {max_connections: %d}", 100+n))
		if n%2 == 1 {
			yaml += smDatabase("passing", arn, tls)
		}
		return yaml
	}
	swap(t, dir, 0, config(0))
	w := watch(t, sidecar.Options{Args: []string{"-c", path}, Env: aws.Env()}, appPassword)
	same, changing := w.Addr(t, "same"), w.Addr(t, "changing")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var queries, logins atomic.Int64
	session := connect(t, same, "postgres")
	load.Go(func() {
		for ; ctx.Err() == nil; queries.Add(1) {
			if _, err := session.Exec(context.WithoutCancel(ctx), "SELECT 1"); err != nil {
				t.Errorf("a session of an unchanged database: %v", err)
				return
			}
		}
	})
	load.Go(func() {
		for ; ctx.Err() == nil; logins.Add(1) {
			if err := w.logIn(context.WithoutCancel(ctx), changing, "postgres"); err != nil {
				t.Errorf("a login at a database that changes: %v", err)
				return
			}
		}
	})
	const warm, last = 10, 100
	var before, after usage
	for n := 1; n <= last; n++ {
		swap(t, dir, n, config(n))
		if n%10 != 0 { // else the change alone must be noticed
			w.Signal(syscall.SIGHUP)
		}
		sidecar.Await(t, fmt.Sprintf("reload %d", n), func() bool {
			_, body, err := w.Get("/status")
			return err == nil && strings.Contains(body, fmt.Sprintf(`"limit": %d,`, 100+n)) && strings.Contains(body, `"passing"`) == (n%2 == 1)
		})
		if n == warm {
			before = measure(t, w.Proxy)
		}
	}
	sidecar.Await(t, "what was removed to be gone", func() bool {
		after = measure(t, w.Proxy)
		return after.goroutines <= before.goroutines+5 && after.objects <= 1.2*before.objects
	})
	if _, body, err := w.Get("/metrics"); err != nil || strings.Contains(body, `database="passing"`) {
		t.Errorf("the metrics of a removed database are still there, %v", err)
	}

	swap(t, dir, last+1, strings.Replace(config(last), "engine: postgres", "enginee: postgres", 1))
	sidecar.Await(t, "the broken file to be refused", func() bool { return reloads(t, w.Proxy, "refused") == 1 })
	w.AwaitLog(t, "new configuration refused")
	if !regexp.MustCompile(`credproxy.yaml:\d+:\d+: .*enginee`).MatchString(w.Log()) {
		t.Error("the log does not say where the mistake is")
	}
	if _, body, err := w.Get("/status"); err != nil || !strings.Contains(body, `"ok": false`) {
		t.Errorf("the status does not tell of the refusal, %v: %s", err, body)
	}
	swap(t, dir, last+2, config(last)) // what is in force, and yet the mistake is gone
	sidecar.Await(t, "the repaired file to be read", func() bool { return reloads(t, w.Proxy, "ok") > last })
	stop()
	load.Wait()
	t.Logf("%d queries, %d logins; %+v, then %+v", queries.Load(), logins.Load(), before, after)
}

// usage is what a leak would make grow.
type usage struct{ goroutines, objects float64 }

func measure(t *testing.T, p *sidecar.Proxy) (u usage) {
	t.Helper()
	_, _, err := p.Get("/debug/pprof/heap?gc=1") // collects garbage first
	if err == nil {
		u.goroutines, err = p.Metric("go_goroutines")
	}
	if err == nil {
		u.objects, err = p.Metric("go_memstats_heap_objects")
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}
