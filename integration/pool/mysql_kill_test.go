package pool_test

import (
	"fmt"
	"io"
	"testing"
)

// TestMySQLKillsMeetNobodyElse has others kill the query, or the connection, of a client in
// the moment in which it leaves: the next one's statement must come to its end. The kills are
// sent before the client says good-bye; of those that are sent later nothing can be promised.
func TestMySQLKillsMeetNobodyElse(t *testing.T) {
	total := 500
	if soak() {
		total = 10_000
	}
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := runMySQL(t, flavor)
		for _, what := range []string{"QUERY", "CONNECTION"} {
			t.Run(what, func(t *testing.T) {
				killsMeetNobodyElse(t, mySQLStand(t, my, "pool: {mode: session, max_idle: 1}"), what, total)
			})
		}
	})
}

func killsMeetNobodyElse(t *testing.T, s *myStand, what string, total int) {
	var killers [2]*rawMySQL
	for i := range killers {
		killers[i] = s.raw(t, 0)
	}
	reused, met := 0, 0
	var last uint32
	for sent := 0; sent < total; sent += len(killers) {
		c := s.raw(t, 0)
		if c.id == last {
			reused++
		}
		last = c.id
		c.send(0, "\x03DO BENCHMARK(2000, SHA2('a', 256))")
		if p := c.packet(); p[0] != 0 {
			t.Fatalf("after %d kills of others: %q", sent, p)
		}
		c.send(0, "\x03DO 0") // which one of the kills may meet
		for _, k := range killers {
			k.send(0, fmt.Sprintf("\x03KILL %s %d", what, c.id))
		}
		head := make([]byte, 5)
		if _, err := io.ReadFull(c.r, head); err != nil || head[4] != 0 {
			met++
		}
		_, _ = io.WriteString(c.Conn, quit)
		c.end()
		for _, k := range killers {
			k.packet() // OK, or no such connection
		}
	}
	t.Logf("%d kills, of which %d met a command of their own; %d of %d clients on the session before", total, met, reused, total/len(killers))
	if reused+met == 0 {
		t.Error("none was close")
	}
}
