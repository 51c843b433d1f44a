package integration_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

// newPostgres runs a server with the role app.
func newPostgres(t testing.TB, o servers.PostgresOptions) *servers.Postgres {
	t.Helper()
	pg := servers.RunPostgres(t, o)
	if err := pg.CreateRole(t.Context(), "app", appPassword); err != nil {
		t.Fatal(err)
	}
	return pg
}

// poolVariable, if set, has all tests of this package use server sessions again, of which one
// is kept, unless they say otherwise.
const poolVariable = "CREDPROXY_TEST_POOL"

// pooled reports whether tests do. A client of MySQL may then be told the id of another
// connection than its own (docs/pool.md).
func pooled() bool { return os.Getenv(poolVariable) != "" }

// withPool adds a pool to the lines of a database, if poolVariable says so.
func withPool(lines []string) []string {
	if !pooled() || slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "pool:") }) {
		return lines
	}
	return append(slices.Clip(lines), "pool: {mode: session, max_idle: 1}")
}

// database is the YAML of one database that listens on a free port; each of more
// is a line of it.
func database(name, credentials string, more ...string) string {
	yaml := fmt.Sprintf("  - name: %s\n    listen: 127.0.0.1:0\n    credentials: {%s}\n", name, credentials)
	for _, line := range withPool(more) {
		yaml += "    " + line + "\n"
	}
	return yaml
}

// smDatabase is a PostgreSQL database whose credential is a secret of Secrets
// Manager.
func smDatabase(name, secretID string, more ...string) string {
	return database(name, fmt.Sprintf("secrets_manager: {secret_id: %q}", secretID), append(more, "engine: postgres")...)
}

// tlsYAML is a database's tls section; an empty mode or file is left out.
func tlsYAML(mode, caFile string) string {
	yaml, comma := "{", ""
	if mode != "" {
		yaml, comma = yaml+"mode: "+mode, ", "
	}
	if caFile != "" {
		yaml += fmt.Sprintf("%sca_file: %q", comma, caFile)
	}
	return yaml + "}"
}
