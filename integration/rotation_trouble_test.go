package integration_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/rotator"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// troubleClients is how many visit the database meanwhile.
const troubleClients = 4

// TestRotationTrouble leaves secret and database at odds, in the ways a rotation
// that fails or is undone does. In each state clients go on as if nothing were,
// and so they do with a credproxy that has just started.
func TestRotationTrouble(t *testing.T) {
	postgres, mysql := rotatingPostgres(t, servers.PostgresOptions{}), rotatingMySQL(t, "mysql")
	tests := []struct {
		name     string
		server   *rotatingServer
		events   func(t *testing.T, r *rotating) []func()
		rejected int // logins of all clients, at most
	}{
		{"stale", postgres, staleForGood, troubleClients + 4},
		{"stale_on_mysql", mysql, staleForGood, troubleClients + 4},
		{"undone_database_first", postgres, undoneDatabaseFirst, 2 * (troubleClients + 4)},
		{"undone_label_first", postgres, undoneLabelFirst, 2 * (troubleClients + 4)},
		{"promoted_early", postgres, promotedEarly, troubleClients + 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.server.rotate(t, tt.name, false, sidecar.Options{}, "rotation: {refresh: 300ms}")
			load := r.load(t, troubleClients)
			load.more(t, troubleClients)
			for _, event := range tt.events(t, r) {
				event()
				refreshed := r.calls.Load() + 2
				sidecar.Await(t, "two refreshes", func() bool { return r.calls.Load() >= refreshed })
				load.more(t, 3*troubleClients)
			}
			load.end()
			if n := r.rejected(t); n > tt.rejected {
				t.Errorf("the database refused %d logins, want %d at most", n, tt.rejected)
			}
		})
		t.Run(tt.name+"_cold", func(t *testing.T) {
			r := tt.server.rotate(t, tt.name+"_cold", false, sidecar.Options{})
			for i, event := range tt.events(t, r) {
				event()
				r.restart(t)
				load := r.load(t, troubleClients)
				load.more(t, 3*troubleClients)
				load.end()
				if n := r.rejected(t); n > 3 {
					t.Errorf("state %d: the database refused %d logins, want one for each version at most", i, n)
				}
			}
		})
	}
}

// staleForGood is a rotation that fails after setSecret and is never tried again.
func staleForGood(t *testing.T, r *rotating) []func() {
	return []func(){func() { r.breakOff(t, rotator.Set) }}
}

// undoneDatabaseFirst puts the old password back in the database, and then has
// AWSCURRENT follow.
func undoneDatabaseFirst(t *testing.T, r *rotating) []func() {
	first := r.current()
	return []func(){
		func() { r.finish(t) },
		func() { r.set(t, first) },
		func() { r.aws.MoveLabel(secretName, awsstub.Current, first) },
	}
}

func undoneLabelFirst(t *testing.T, r *rotating) []func() {
	first := r.current()
	return []func(){
		func() { r.finish(t) },
		func() { r.aws.MoveLabel(secretName, awsstub.Current, first) },
		func() { r.set(t, first) },
	}
}

// promotedEarly has AWSCURRENT name a password that the database learns later.
func promotedEarly(t *testing.T, r *rotating) []func() {
	var next string
	return []func(){
		func() {
			next = r.breakOff(t, rotator.Create)
			r.aws.MoveLabel(secretName, awsstub.Current, next)
		},
		func() { r.set(t, next) },
	}
}

// TestRotationsInALoginStorm rotates twice, without a pause, while many clients
// connect.
func TestRotationsInALoginStorm(t *testing.T) {
	const n = 64
	r := rotatingPostgres(t, servers.PostgresOptions{}).rotate(t, "app", false, sidecar.Options{})
	load := r.load(t, n)
	load.more(t, n)
	r.finish(t)
	r.finish(t)
	load.more(t, 2*n)
	load.end()
	if got := r.rejected(t); got > 2*(n+4) {
		t.Errorf("the database refused %d logins of %d clients", got, n)
	}
}

// TestStormInTheWindow has 500 clients connect at once, when the database already
// wants the next password and AWSCURRENT names the old one: one of them finds out,
// the others wait for it.
func TestStormInTheWindow(t *testing.T) {
	server := rotatingPostgres(t, servers.PostgresOptions{Settings: map[string]string{"max_connections": "600"}})
	for _, cold := range []bool{false, true} {
		name := map[bool]string{false: "known", true: "cold"}[cold]
		t.Run(name, func(t *testing.T) {
			// The machine is small: the last of so many waits long for it.
			r := server.rotate(t, name, false, sidecar.Options{}, "limits: {login_timeout: 60s, dial_timeout: 60s}")
			if _, err := r.visit(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.breakOff(t, rotator.Set)
			if cold {
				r.restart(t)
			} else if err := rotator.Wait(t.Context(), 1100*time.Millisecond); err != nil {
				t.Fatal(err) // for a second after a login others follow it unasked
			}
			rejected, calls := r.rejected(t), r.calls.Load()
			r.storm(t, 500)
			if rejected, calls = r.rejected(t)-rejected, r.calls.Load()-calls; rejected > 4 || calls > 6 {
				t.Errorf("%d failed logins at the database, %d API calls", rejected, calls)
			}
		})
	}
}

// storm has n clients visit at once.
func (r *rotating) storm(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ready := make(chan struct{})
	errs := make(chan error, n)
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			<-ready
			if _, err := r.visit(ctx); err != nil {
				errs <- err
			}
		})
	}
	close(ready)
	all.Wait()
	if failed := len(errs); failed > 0 {
		t.Errorf("%d of %d clients failed, one with: %v", failed, n, <-errs)
	}
}
