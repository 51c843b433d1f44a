package failover_test

import (
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestMySQLReaders has clients of role reader, who get the replica though the name leads to the
// source, the new replica after a failover, and the source alone when there is no other.
func TestMySQLReaders(t *testing.T) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			t.Parallel()
			s := newPair(t, mySQL{flavor}).run(t, "role: reader", fmt.Sprintf("hosts: [%s, %s]", nameA, nameB), "failover: {monitor: 200ms, reader_fallback: writer}")
			visit := func(options ...mysql.Option) (at string, reader bool) {
				session := s.mySQL(t, options...)
				defer session.Close()
				must(t, session.QueryRowContext(t.Context(), "SELECT @@bind_address, @@global.read_only").Scan(&at, &reader))
				return at, reader
			}
			for range 4 {
				if at, reader := visit(mysql.EnableCompression(true)); at != s.replica || !reader {
					t.Errorf("at %s, a reader %v, want %s", at, reader, s.replica)
				}
			}
			s.handOver(t)
			s.heal(t)
			sidecar.Await(t, "use of the new replica", func() bool { // until then the writer will do
				at, reader := visit()
				return at == s.replica && reader
			})
			for range 4 {
				if at, reader := visit(); at != s.replica || !reader {
					t.Errorf("after a failover at %s, a reader %v, want %s", at, reader, s.replica)
				}
			}
			s.servers[s.replica].Stop()
			if at, reader := visit(); at != s.writer || reader {
				t.Errorf("without a replica at %s, a reader %v, want %s", at, reader, s.writer)
			}
		})
	}
}
