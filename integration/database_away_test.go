package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// stoppable is a server with a user app that can stop, and start again in the
// same place.
type stoppable struct {
	start  func() // the first time too
	stop   func()
	config func(arn string) string
	secret func() string
	logIn  func(w *watched) error
}

func stoppablePostgres(t *testing.T) *stoppable {
	var pg *servers.Postgres
	o := servers.PostgresOptions{Version: 15, CA: newCA(t)}
	return &stoppable{
		start:  func() { pg = newPostgres(t, o); o.Port = pg.Port },
		stop:   func() { pg.Stop() },
		config: func(arn string) string { return oneDatabase(pg, arn) },
		secret: func() string { return secretJSON(pg, "app", appPassword) },
		logIn:  func(w *watched) error { return w.logIn(t.Context(), w.Addr(t, "main"), "postgres") },
	}
}

func stoppableMySQL(t *testing.T, flavor string) *stoppable {
	var my *servers.MySQL
	o := servers.MySQLOptions{Flavor: flavor, CA: newCA(t)}
	return &stoppable{
		start:  func() { my = newMySQL(t, o); o.Port = my.Port },
		stop:   func() { my.Stop() },
		config: func(arn string) string { return mySQLDatabase(my, arn) },
		secret: func() string { return mySQLSecret(my, "app", appPassword) },
		logIn:  func(w *watched) error { return w.mySQL(t, "main", "") },
	}
}

// TestDatabaseAway stops a database and starts it again. Meanwhile clients hear at
// once that it is away, most without a dial; readiness does not change; and when it
// is back they get in, whoever comes first.
func TestDatabaseAway(t *testing.T) {
	for name, server := range map[string]func(*testing.T) *stoppable{
		"postgres": stoppablePostgres,
		"mysql":    func(t *testing.T) *stoppable { return stoppableMySQL(t, "mysql") },
		"mariadb":  func(t *testing.T) *stoppable { return stoppableMySQL(t, "mariadb") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			s.start()
			aws := startAWS(t, awsstub.Options{})
			arn := aws.CreateSecret("prod/main", s.secret())
			w := watch(t, sidecar.Options{Env: aws.Env(), Config: s.config(arn)}, appPassword)
			sidecar.Await(t, "readiness", func() bool { ready, _ := w.ready(t); return ready && s.logIn(w) == nil })
			s.stop()
			var err error
			sidecar.Await(t, "an open breaker", func() bool {
				err = s.logIn(w)
				if ready, why := w.ready(t); !ready {
					t.Fatalf("not ready while the database is away: %s", why)
				}
				open, _ := w.Metric("credproxy_database_breaker_open")
				return open == 1 && strings.Contains(fmt.Sprintf("%+v", err), "credproxy: the database at localhost port")
			})
			sidecar.Await(t, "a login that fails without a dial", func() bool {
				_ = s.logIn(w)
				return w.logged("main", `"msg":"session failed"`, "refuses connections", "not dialled again within 1s of a failure")
			})
			if state, why := w.databaseBreaker(t); state == "closed" || !strings.Contains(why, "refuses connections") {
				t.Errorf("status says of the breaker: %s %s", state, why)
			}
			s.start()
			sidecar.Await(t, "a login when the database is back", func() bool { return s.logIn(w) == nil })
			if state, why := w.databaseBreaker(t); state != "closed" || why != "" {
				t.Errorf("status says of the breaker when the database is back: %s %s", state, why)
			}
			awaitMetric(t, w.Proxy, 0, "credproxy_database_breaker_open")
			for _, line := range []string{"the database cannot be reached: logins fail at once", "the database can be reached again"} {
				w.AwaitLog(t, line)
				if n := strings.Count(w.Log(), line); n != 1 {
					t.Errorf("%d lines say that %s, want 1", n, line)
				}
			}
		})
	}
}

// databaseBreaker is what GET /status says of the only database's.
func (w *watched) databaseBreaker(t *testing.T) (state, why string) {
	t.Helper()
	var s struct {
		Databases []struct {
			Breaker struct{ State, Error string } `json:"database_breaker"`
		}
	}
	_, body, err := w.Get("/status")
	if err == nil {
		err = json.Unmarshal([]byte(body), &s)
	}
	if err != nil || len(s.Databases) != 1 {
		t.Fatalf("status: %v\n%s", err, body)
	}
	return s.Databases[0].Breaker.State, s.Databases[0].Breaker.Error
}

// TestDatabaseSilent has a database that answers no dial at all. After a few
// clients have waited for it the others need not.
func TestDatabaseSilent(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	full := newFullListener(t)
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: oneDatabase(pg, aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword)),
		"host: 127.0.0.1", fmt.Sprintf("port: %d", full.port()), "limits: {dial_timeout: 1s}")}, appPassword)
	const clients = 20
	w.crowd(t, clients)
	w.crowd(t, clients)
	if e := w.refused(t, "main", "postgres"); e.Code != "57P03" || !strings.Contains(e.Message, "does not answer") ||
		!strings.Contains(e.Hint, "Check security groups") {
		t.Errorf("a client is told %+v", e)
	}
	// One of the second crowd at most, and the last client, may have tried.
	sidecar.Await(t, "most of the clients to fail without a dial", func() bool {
		return strings.Count(w.Log(), "not dialled again within") >= clients-1
	})
	startTap(t, full.open(t), pg.Addr())
	w.recovers(t, "main", "postgres")
}

// crowd has n clients connect at once, who all fail.
func (w *watched) crowd(t *testing.T, n int) {
	t.Helper()
	addr := w.Addr(t, "main")
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if err := w.logIn(t.Context(), addr, "postgres"); err == nil {
				t.Error("logged in to a silent database")
			}
		})
	}
	all.Wait()
}
