package servers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

// TestLogAll writes more than Log shows, and finds the first and the last of it.
func TestLogAll(t *testing.T) {
	type server interface {
		Exec(ctx context.Context, sql string) error
		LogAll() (string, error)
		Stop()
	}
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, LogStatements: true})
	tests := map[string]server{"postgres": pg}
	for _, flavor := range servers.MySQLFlavors() {
		tests[flavor] = servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, LogStatements: true})
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			for n := range 3 {
				if err := s.Exec(t.Context(), fmt.Sprintf("SELECT '%d %s'", n, strings.Repeat("x", 50_000))); err != nil {
					t.Fatal(err)
				}
			}
			s.Stop()
			text, err := s.LogAll()
			if err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				if !strings.Contains(text, fmt.Sprintf("SELECT '%d %s'", n, strings.Repeat("x", 50_000))) {
					t.Errorf("statement %d is missing", n)
				}
			}
		})
	}
}
