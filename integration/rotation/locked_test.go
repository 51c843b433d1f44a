package rotation_test

import (
	"context"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestLocked has somebody else lock what the change needs: it fails with the server's words,
// and has not happened when the lock is gone.
func TestLocked(t *testing.T) {
	for kind, tt := range map[string]struct{ hold, held, said string }{
		"postgres 18": {"BEGIN; ALTER ROLE app CONNECTION LIMIT 9; SELECT pg_sleep(300)",
			"SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "lock timeout"},
		"mysql": {"FLUSH TABLES WITH READ LOCK; DO SLEEP(300)",
			"SELECT count(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'", "Lock wait timeout"},
		"mariadb": {"FLUSH TABLES WITH READ LOCK; DO SLEEP(300)",
			"SELECT count(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'", "max_statement_time"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, kinds[kind](t))
			accounts := s.accounts(t)
			ctx, unlock := context.WithCancel(t.Context())
			defer unlock()
			held := make(chan error, 1)
			go func() { held <- s.exec(ctx, tt.hold) }()
			for n := "0"; n != "1"; {
				var err error
				n, err = s.query(t.Context(), tt.held)
				must(t, err)
				if len(held) > 0 {
					t.Fatal(<-held)
				}
			}
			out, err := s.run(t, "rotate", s.secret)
			if err == nil || !strings.Contains(out, "setSecret") || !strings.Contains(out, tt.said) {
				t.Errorf("%v\n%s", err, out)
			}
			unlock()
			<-held
			if s.accounts(t) != accounts {
				t.Error("the accounts have changed")
			}
			s.must(t, "rotate", s.secret)
			s.works(t, awsstub.Current)
		})
	}
}
