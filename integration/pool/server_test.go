package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestServerEndsIdleSessions has the server end the session that is kept: the next client
// notices nothing.
func TestServerEndsIdleSessions(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 15})
	must(t, pg.CreateRole(t.Context(), "app", appPassword))
	super, err := pg.Superuser(t.Context())
	must(t, err)
	defer super.Close(context.Background())
	s := postgresStand(t, pg, "pool: {mode: session, max_idle: 1}")
	for round := range 30 {
		var params []string
		if round%10 == 0 {
			params = []string{"idle_session_timeout=500"}
		}
		a := s.connect(t, params...)
		was := ask(t, a, pid)
		s.leave(t, a)
		if params == nil {
			_, err := super.Exec(t.Context(), "SELECT pg_terminate_backend($1::text::int)", was)
			must(t, err)
		}
		sidecar.Await(t, "end of the server's session", func() bool {
			return ask(t, super, "SELECT count(*)::text FROM pg_stat_activity WHERE pid = "+was) == "0"
		})
		b := s.connect(t, params...)
		if got := ask(t, b, pid); got == was {
			t.Error("a session that is no more")
		}
		s.leave(t, b)
	}
}

// TestMoreClientsThanSessions has clients wait for a session, and too long for one.
func TestMoreClientsThanSessions(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	must(t, pg.CreateRole(t.Context(), "app", appPassword))
	super, err := pg.Superuser(t.Context())
	must(t, err)
	defer super.Close(context.Background())
	s := postgresStand(t, pg, "pool: {mode: session, max_idle: 2, max_server_connections: 2, wait_timeout: 15s}")
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() {
			for range 5 {
				conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://anybody@%s/postgres?sslmode=disable&application_name=load%d", s.addr, i%3))
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				// A session that has ended may be seen for a moment.
				if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'load%' AND state = 'active'").Scan(&n); err != nil || n > 2 {
					t.Errorf("%d at work, %v", n, err)
				}
				_ = conn.Close(t.Context())
			}
		})
	}
	clients.Wait()

	short := postgresStand(t, pg, "pool: {mode: session, max_idle: 1, max_server_connections: 1, wait_timeout: 200ms}")
	first := short.connect(t)
	_, err = pgx.Connect(t.Context(), "postgres://anybody@"+short.addr+"/postgres?sslmode=disable")
	if said := new(pgconn.PgError); !errors.As(err, &said) || said.Code != "53300" {
		t.Errorf("one too many: %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		conn, err := pgx.Connect(context.Background(), "postgres://anybody@"+short.addr+"/postgres?sslmode=disable")
		if err == nil {
			err = conn.Close(context.Background())
		}
		waiting <- err
	}()
	short.leave(t, first)
	if err := <-waiting; err != nil {
		t.Errorf("the next: %v", err)
	}
}

// TestWarm has sessions be there before the clients that get them.
func TestWarm(t *testing.T) {
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18})
	must(t, pg.CreateRole(t.Context(), "app", appPassword))
	s := postgresStand(t, pg, "pool: {mode: session, max_idle: 3, warm: 2}")
	first := s.connect(t)
	sidecar.Await(t, "sessions ahead of clients", func() bool { return s.metric(t, "idle") == 2 })
	for n := 1; n <= 3; n++ {
		next := s.connect(t)
		defer next.Close(context.Background())
		if ask(t, next, pid) == ask(t, first, pid) || s.metric(t, "reused_total") != n {
			t.Errorf("client %d has a session that was not there", n)
		}
		sidecar.Await(t, "more sessions", func() bool { return s.metric(t, "idle") == 2 })
	}
	must(t, first.Close(t.Context()))
}
