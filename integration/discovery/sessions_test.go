package discovery_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// session is a client of one database that asks it again and again.
type session interface {
	id(context.Context) (string, error) // of the server's session
	close()
}

type pgSession struct{ *pgx.Conn }

func (s pgSession) id(ctx context.Context) (id string, err error) {
	return id, s.QueryRow(ctx, "SELECT pg_backend_pid()::text").Scan(&id)
}

func (s pgSession) close() { _ = s.Close(context.Background()) }

type mySession struct {
	*sql.Conn
	db *sql.DB
}

func (s mySession) id(ctx context.Context) (id string, err error) {
	return id, s.QueryRowContext(ctx, "SELECT connection_id()").Scan(&id)
}

func (s mySession) close() { _, _ = s.Conn.Close(), s.db.Close() }

// connect is a client without a password, by the database's name alone.
func (s *stand) connect(ctx context.Context, name, engine string) (session, error) {
	if engine == "postgres" {
		conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s/%s port=5432 user=anybody database=postgres sslmode=disable", s.dir, name))
		if err != nil {
			return nil, err
		}
		return pgSession{conn}, nil
	}
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr = "anybody", "unix", fmt.Sprintf("%s/%s/.s.PGSQL.5432", s.dir, name)
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return mySession{conn, db}, nil
}

// clients are sessions that run queries all the time.
type clients struct {
	mu      sync.Mutex
	ended   map[string]error // by database
	queries map[string]int
	stop    map[string]context.CancelFunc
	running sync.WaitGroup
}

func newClients(t *testing.T) *clients {
	c := &clients{ended: map[string]error{}, queries: map[string]int{}, stop: map[string]context.CancelFunc{}}
	t.Cleanup(func() {
		for _, stop := range c.stop {
			stop()
		}
		c.running.Wait()
	})
	return c
}

// begin opens a session of a database, which must stay the same.
func (c *clients) begin(t *testing.T, s *stand, name, engine string) {
	t.Helper()
	conn, err := s.connect(t.Context(), name, engine)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	first, err := conn.id(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop[name] = cancel
	c.running.Go(func() {
		defer conn.close()
		for ctx.Err() == nil {
			id, err := conn.id(context.Background())
			if err == nil && id != first {
				err = fmt.Errorf("session %s became %s", first, id)
			}
			c.mu.Lock()
			c.queries[name]++
			if err != nil {
				c.ended[name] = err
			}
			c.mu.Unlock()
			if err != nil {
				return
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
}

// whole checks that each session has gone on since the call, but those of databases that
// are gone.
func (c *clients) whole(t *testing.T, gone map[string]bool) {
	t.Helper()
	c.mu.Lock()
	before := maps.Clone(c.queries)
	c.mu.Unlock()
	sidecar.Await(t, "one more query of each session", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for name, queries := range before {
			if err := c.ended[name]; err != nil && !gone[name] {
				t.Fatalf("the session of %s broke: %v", name, err)
			}
			if c.queries[name] == queries && !gone[name] {
				return false
			}
		}
		return true
	})
}

// total is how many queries were answered.
func (c *clients) total() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, queries := range c.queries {
		n += queries
	}
	return n
}
