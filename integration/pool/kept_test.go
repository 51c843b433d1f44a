package pool_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

// TestKept holds what docs/pool.md says a reset leaves: all that the next client can see of
// the one before.
func TestKept(t *testing.T) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprintf("server%d", version), func(t *testing.T) {
			t.Parallel()
			o := newOracle(t, version)
			for i, k := range o.kept() {
				if k.from > version {
					continue
				}
				t.Run(k.name, func(t *testing.T) {
					packet := o.packets.of(pair{"application_name", fmt.Sprint("kept ", i)})
					if k.after != "" {
						defer func() { must(t, o.pg.Exec(t.Context(), k.after)) }()
					}
					fresh := connectRaw(t, o.addrs["plain"], packet)
					before := told(fresh, k.ask)
					fresh.leave()
					if k.first != "" {
						must(t, o.pg.Exec(t.Context(), k.first))
					}
					a := connectRaw(t, o.addrs["pooled"], packet)
					for _, sql := range k.do {
						if _, code := a.query(sql); code != "" {
							t.Fatalf("%s: %s", sql, code)
						}
					}
					want := k.want
					if want == "" {
						want = before
					}
					a.leave()
					o.settle(t, "pooled")
					if k.meanwhile != "" {
						must(t, o.pg.Exec(t.Context(), k.meanwhile))
					}
					b := connectRaw(t, o.addrs["pooled"], packet)
					if b.pid() != a.pid() {
						t.Fatal("the session is not used again")
					}
					if got := told(b, k.ask); got != want {
						t.Errorf("%s, want %s", got, want)
					}
					if k.want != "" && before == want {
						t.Error("a fresh session says the same")
					}
					b.leave()
					o.settle(t, "pooled")
				})
			}
		})
	}
}

// kept is something that a reset leaves.
type kept struct {
	name      string
	from      int    // version of the server
	first     string // of the superuser
	do        []string
	meanwhile string // of the superuser, while the session is idle
	ask       string
	want      string // what the next client is told, rows and code of an error; "": what it was told before meanwhile
	after     string
}

// told is the answer, in which a code of an error may follow.
func told(r *raw, sql string) string {
	rows, code := r.query(sql)
	return strings.Join(rows, "\n") + code
}

func (o *oracle) kept() []kept {
	local := fmt.Sprintf("host=%s port=%d dbname=postgres user=postgres", o.pg.SocketDir, o.pg.Port)
	return []kept{
		{name: "random seed", do: []string{"SELECT setseed(0.5)"}, ask: "SELECT random() = 0.9851677175347999", want: "t"},
		{name: "loaded library", do: []string{"LOAD 'auto_explain'"}, ask: "SELECT count(*) > 0 FROM pg_settings WHERE name LIKE 'auto_explain.%'", want: "t"},
		{name: "dblink", do: []string{fmt.Sprintf("SELECT dblink_connect('c', '%s')", local)}, ask: "SELECT dblink_get_connections()", want: "{c}"},
		{name: "foreign data wrapper", first: fmt.Sprintf("CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%d', dbname 'postgres'); CREATE USER MAPPING FOR app SERVER away OPTIONS (user 'postgres', password_required 'false'); CREATE FOREIGN TABLE far (n int) SERVER away OPTIONS (table_name 't')", o.pg.SocketDir, o.pg.Port),
			do: []string{"SELECT * FROM far"}, ask: "SELECT server_name FROM postgres_fdw_get_connections()", want: "away", after: "DROP SERVER away CASCADE"},
		{name: "temporary replication slot", do: []string{"SELECT pg_create_logical_replication_slot('passing', 'test_decoding', true)"},
			ask: "SELECT slot_name FROM pg_replication_slots WHERE active_pid = pg_backend_pid()", want: "passing"},
		{name: "base backup", do: []string{"SELECT pg_backup_start('x', true)"}, ask: "SELECT pg_backup_stop(false) IS NOT NULL", want: "t"},
		{name: "custom setting", do: []string{"SET my.app = 'secret'"}, ask: "SELECT current_setting('my.app', true) = ''", want: "t"},
		{name: "temporary schema", do: []string{"CREATE TEMPORARY TABLE x ()"}, ask: "SELECT pg_my_temp_schema() <> 0", want: "t"},
		{name: "temp_buffers", do: []string{"SET temp_buffers = '1MB'", "CREATE TEMPORARY TABLE x AS SELECT 1", "SELECT * FROM x"}, ask: "SET temp_buffers = '2MB'", want: "22023"},
		{name: "settings of the role", do: []string{"SELECT 1"}, meanwhile: "ALTER ROLE app SET work_mem = '7MB'", ask: "SHOW work_mem", after: "ALTER ROLE app RESET work_mem"},
		{name: "settings of the database", do: []string{"SELECT 1"}, meanwhile: "ALTER DATABASE postgres SET work_mem = '7MB'", ask: "SHOW work_mem", after: "ALTER DATABASE postgres RESET work_mem"},
		{name: "right to log in", do: []string{"SELECT 1"}, meanwhile: "ALTER ROLE app NOLOGIN VALID UNTIL '2001-01-01'", ask: "SELECT 1", after: "ALTER ROLE app LOGIN VALID UNTIL 'infinity'"},
		{name: "login trigger", from: 17, first: "CREATE TABLE logins (n int); GRANT ALL ON logins TO PUBLIC; CREATE FUNCTION on_login() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.logins VALUES (pg_backend_pid()); END$$; CREATE EVENT TRIGGER on_login ON login EXECUTE FUNCTION on_login()",
			ask: "SELECT count(*) FROM logins WHERE n = pg_backend_pid()", want: "1", after: "DROP EVENT TRIGGER on_login; DROP FUNCTION on_login(); DROP TABLE logins"},
	}
}
