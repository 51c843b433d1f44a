package integration_test

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/rotator"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// rotating is a secret that rotates, and a credproxy that logs in with it.
type rotating struct {
	*rotator.Rotator
	aws   *awsstub.Server
	calls atomic.Int64 // to AWS, all but the rotation function's
	start func() *sidecar.Proxy
	proxy *sidecar.Proxy
	// visit connects through credproxy, runs a query and leaves. It does each
	// once: nothing may hide a failure by trying again.
	visit func(ctx context.Context) (connected bool, err error)
}

const secretName = "prod/main"

// rotatingServer is a server that any number of secrets may rotate on.
type rotatingServer struct {
	rotator.Database
	name       string
	createUser func(t *testing.T, user string)
	secret     func(user string) string // its JSON, with appPassword
	config     func(arn string, more ...string) string
	visit      func(ctx context.Context, addr string) (connected bool, err error)
}

func rotatingPostgres(t *testing.T, o servers.PostgresOptions) *rotatingServer {
	t.Helper()
	o.Version = 15
	pg := servers.RunPostgres(t, o)
	return &rotatingServer{
		Database: rotator.Postgres{Postgres: pg}, name: "postgres",
		createUser: func(t *testing.T, user string) {
			t.Helper()
			if err := pg.CreateRole(t.Context(), user, appPassword); err != nil {
				t.Fatal(err)
			}
		},
		secret: func(user string) string { return secretJSON(pg, user, appPassword) },
		config: func(arn string, more ...string) string { return oneDatabase(pg, arn, more...) },
		visit:  visitPostgres,
	}
}

func rotatingMySQL(t *testing.T, flavor string) *rotatingServer {
	t.Helper()
	my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
	return &rotatingServer{
		Database: rotator.MySQL{MySQL: my}, name: flavor,
		createUser: func(t *testing.T, user string) {
			t.Helper()
			if err := my.CreateUser(t.Context(), user, appPassword, ""); err != nil {
				t.Fatal(err)
			}
		},
		secret: func(user string) string { return mySQLSecret(my, user, appPassword) },
		config: func(arn string, more ...string) string { return mySQLDatabase(my, arn, more...) },
		visit:  visitMySQL,
	}
}

// rotate makes a user, with alternating a second one, and a secret that holds the
// first, and starts a credproxy with more YAML of the database.
func (s *rotatingServer) rotate(t *testing.T, user string, alternating bool, o sidecar.Options, more ...string) *rotating {
	t.Helper()
	s.createUser(t, user)
	if alternating {
		s.createUser(t, user+"_clone")
	}
	r := &rotating{}
	r.aws = startAWS(t, awsstub.Options{OnCall: func(c awsstub.Call) {
		if c.AccessKeyID != rotator.AccessKeyID {
			r.calls.Add(1)
		}
	}})
	o.Binary, o.Env = binary, r.aws.Env()
	o.Config = s.config(r.aws.CreateSecret(secretName, s.secret(user)), more...)
	r.Rotator = &rotator.Rotator{Secrets: rotator.Client(r.aws), SecretID: secretName, Database: s, Alternating: alternating}
	r.start = func() *sidecar.Proxy { return sidecar.Run(t, o, appPassword) }
	r.restart(t)
	r.visit = func(ctx context.Context) (bool, error) { return s.visit(ctx, r.proxy.Addr(t, "main")) }
	return r
}

// restart has a credproxy that knows nothing take the place of the one before.
func (r *rotating) restart(t *testing.T) {
	t.Helper()
	if r.proxy != nil {
		r.proxy.Stop()
	}
	r.proxy = r.start()
	r.proxy.Addr(t, "main") // it listens
}

// rejected is how many logins the database has refused to credproxy.
func (r *rotating) rejected(t *testing.T) int {
	t.Helper()
	n, err := r.proxy.Metric("credproxy_login_attempts_total", `result="rejected"`)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// breakOff begins a rotation that fails after a step, and returns its version.
func (r *rotating) breakOff(t *testing.T, last rotator.Step) (versionID string) {
	t.Helper()
	fails := errors.New("the rotation function fails")
	r.After = func(_ context.Context, step rotator.Step) error {
		if step == last {
			return fails
		}
		return nil
	}
	versionID = r.aws.BeginRotation(secretName)
	if err := r.Rotate(t.Context(), versionID); !errors.Is(err, fails) {
		t.Fatal(err)
	}
	return versionID
}

// finish rotates to the end.
func (r *rotating) finish(t *testing.T) {
	t.Helper()
	r.After = nil
	if err := r.Rotate(t.Context(), r.aws.BeginRotation(secretName)); err != nil {
		t.Fatal(err)
	}
}

// set gives the database the password of a version.
func (r *rotating) set(t *testing.T, versionID string) {
	t.Helper()
	var value struct{ Username, Password string }
	if err := json.Unmarshal([]byte(*r.aws.Secret(secretName).Version(versionID).Text), &value); err != nil {
		t.Fatal(err)
	}
	if err := r.Database.SetPassword(t.Context(), value.Username, value.Password); err != nil {
		t.Fatal(err)
	}
}

// current is the version that AWSCURRENT is on.
func (r *rotating) current() string { return r.aws.Secret(secretName).Stage(awsstub.Current).ID }

func visitPostgres(ctx context.Context, addr string) (connected bool, err error) {
	conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://anybody@%s/?sslmode=disable", addr))
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	var one int
	return true, conn.QueryRow(ctx, "SELECT 1").Scan(&one)
}

func visitMySQL(ctx context.Context, addr string) (connected bool, err error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.Logger = "anybody", "tcp", addr, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return false, err
	}
	conn, err := connector.Connect(ctx) // database/sql would try again
	if err != nil {
		return false, err
	}
	defer conn.Close()
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, "SELECT 1", nil)
	if err != nil {
		return true, err
	}
	defer rows.Close()
	return true, rows.Next(make([]driver.Value, 1))
}

// clients visit a database over and over.
type clients struct {
	visits, failedConnections, failedQueries atomic.Int64

	stop context.CancelFunc
	all  sync.WaitGroup
}

// load starts n clients, who go on until end.
func (r *rotating) load(t *testing.T, n int) *clients {
	t.Helper()
	running, stop := context.WithCancel(t.Context())
	c := &clients{stop: stop}
	for range n {
		c.all.Go(func() {
			for running.Err() == nil {
				connected, err := r.visit(context.WithoutCancel(running))
				c.visits.Add(1)
				switch {
				case err != nil && connected:
					c.failedQueries.Add(1)
				case err != nil:
					c.failedConnections.Add(1)
				}
				if err != nil && c.failedQueries.Load()+c.failedConnections.Load() <= 3 {
					t.Errorf("a client heard: %v", err)
				}
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

// end waits until the clients have left.
func (c *clients) end() {
	c.stop()
	c.all.Wait()
}

// more waits until the clients have come and gone n more times.
func (c *clients) more(t *testing.T, n int64) {
	t.Helper()
	goal := c.visits.Load() + n
	sidecar.Await(t, fmt.Sprintf("%d more visits", n), func() bool { return c.visits.Load() >= goal })
}
