package integration_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/rotator"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// soak is how long TestRotationsUnderLoad goes on.
type soak struct {
	rotations int           // of each secret
	window    time.Duration // at most, between setSecret and finishSecret
	gap       time.Duration // at most, between two rotations
	keepLog   int           // bytes of credproxy's log
}

// planSoak is short unless the environment names a number of rotations, as `make
// soak` does.
func planSoak(t *testing.T) soak {
	t.Helper()
	const variable = "CREDPROXY_SOAK"
	text := os.Getenv(variable)
	if text == "" {
		return soak{rotations: 3, window: time.Second, gap: time.Second}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is no number of rotations", variable, text)
	}
	return soak{rotations: n, window: 5 * time.Second, gap: 2 * time.Second, keepLog: 1 << 20}
}

// soakClients is how many there are at a time, and mayFail how many failed logins a
// rotation may put on the database: one of each client, whom the new password
// overtakes while it logs in, and a few to find out what works.
const (
	soakClients = 8
	mayFail     = soakClients + 4
)

// TestRotationsUnderLoad has clients come and go while secrets rotate. None may
// notice.
func TestRotationsUnderLoad(t *testing.T) {
	plan := planSoak(t)
	for _, server := range []*rotatingServer{
		rotatingPostgres(t, servers.PostgresOptions{}), rotatingMySQL(t, "mysql"), rotatingMySQL(t, "mariadb"),
	} {
		for user, alternating := range map[string]bool{"single": false, "alternating": true} {
			t.Run(server.name+"/"+user, func(t *testing.T) {
				t.Parallel()
				plan.run(t, server.rotate(t, user, alternating, sidecar.Options{KeepLog: plan.keepLog}))
			})
		}
	}
}

func (plan soak) run(t *testing.T, r *rotating) {
	load := r.load(t, soakClients)
	load.more(t, soakClients)
	worst, before := 0, 0
	for n := range plan.rotations {
		r.After = rotator.Pause(rand.N(plan.window), rotator.Set)
		if err := r.Rotate(t.Context(), r.aws.BeginRotation(secretName)); err != nil {
			t.Fatalf("rotation %d: %v", n+1, err)
		}
		if err := rotator.Wait(t.Context(), rand.N(plan.gap)); err != nil {
			t.Fatal(err)
		}
		now := r.rejected(t)
		worst, before = max(worst, now-before), now
		if worst > 2*mayFail { // some may be of the rotation before
			t.Fatalf("rotation %d: the database refused %d logins of %d clients", n+1, worst, soakClients)
		}
	}
	load.end()
	if n := r.rejected(t); n > plan.rotations*mayFail {
		t.Errorf("%d rotations: the database refused %d logins of %d clients", plan.rotations, n, soakClients)
	}
	if connections, queries := load.failedConnections.Load(), load.failedQueries.Load(); connections+queries > 0 {
		t.Errorf("%d connections and %d queries failed", connections, queries)
	}
	t.Logf("%d rotations, %d connections, %d failed logins at the database, about %d at most in a rotation, %d API calls",
		plan.rotations, load.visits.Load(), r.rejected(t), worst, r.calls.Load())
}
