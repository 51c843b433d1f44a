package integration_test

import (
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

func TestMySQLLogin(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor}, "")
		conn := s.conn(t, s.config())
		if user := text(t, conn, "SELECT CURRENT_USER()"); !strings.HasPrefix(user, "app@") {
			t.Errorf("user %s", user)
		}
		var name, cipher string
		if err := conn.QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil || cipher == "" {
			t.Errorf("no TLS: %q, %v", cipher, err)
		}
		if db := text(t, conn, "SELECT DATABASE()"); db != "app" {
			t.Errorf("database %q", db)
		}
	})
}
