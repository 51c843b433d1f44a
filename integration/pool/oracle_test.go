package pool_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// deed is what a client does before it leaves.
type deed struct {
	name   string
	params []pair   // of its startup packet
	first  string   // of the superuser, before it logs in
	sql    []string // each a Query; "57014: ..." fails with that code, "18: ..." is for that version on
	do     func(t *testing.T, a *raw)
	away   bool // do has ended the connection
	after  string
	// closed says that the session must not be used again; else it must.
	closed bool
	// unseen says that what was done leaves nothing in the session to begin with.
	unseen bool
	kept   []string // what of the session may differ afterwards, which docs/pool.md says
	role   bool     // by the databases of the configuration that have a role
}

// oracle is a credproxy with databases that keep one session (pooled, pooled-role) and
// such that keep none.
type oracle struct {
	*stand
	pg      *servers.Postgres
	packets packets
	addrs   map[string]string
}

func newOracle(t *testing.T, version int) *oracle {
	t.Helper()
	pg := servers.RunPostgres(t, servers.PostgresOptions{Version: version, Settings: map[string]string{"max_prepared_transactions": "5"}})
	must(t, pg.CreateRole(t.Context(), "app", appPassword, "SUPERUSER REPLICATION"))
	for _, sql := range []string{
		"CREATE ROLE other", "CREATE ROLE another", "GRANT other TO app", "CREATE SEQUENCE s", "CREATE SEQUENCE cached CACHE 100", "CREATE TABLE t (n int)", "CREATE SCHEMA elsewhere",
		"CREATE EXTENSION dblink", "CREATE EXTENSION postgres_fdw", "GRANT USAGE, CREATE ON SCHEMA public TO other",
	} {
		must(t, pg.Exec(t.Context(), sql))
	}
	aws, err := awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(aws.Close)
	aws.CreateSecret(secretName, secret(pg, "app", appPassword))
	config, names := "databases:\n", []string{"pooled", "plain", "pooled-role", "plain-role"}
	for i, more := range []string{"pool: {mode: session, max_idle: 1}", "pool: {mode: off}", "pool: {mode: session, max_idle: 1}\n    session: {role: other}", "session: {role: other}"} {
		config += fmt.Sprintf("  - name: %s\n    listen: 127.0.0.1:0\n    credentials: {secrets_manager: {secret_id: %s}}\n    tls: {ca_file: %q}\n    %s\n", names[i], secretName, pg.CAFile, more)
	}
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env()}, appPassword)
	o := &oracle{stand: &stand{aws: aws, proxy: p}, pg: pg, packets: packets{}, addrs: map[string]string{}}
	for _, name := range names {
		o.addrs[name] = p.Addr(t, name)
	}
	return o
}

// TestOracle has one client do something and leave, and the next one look around: it must
// see what it would see in a fresh session, or be in one.
func TestOracle(t *testing.T) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprintf("server%d", version), func(t *testing.T) {
			t.Parallel()
			o := newOracle(t, version)
			all := slices.Concat(settingDeeds(), sqlDeeds(), wireDeeds())
			if len(all) < 120 {
				t.Errorf("only %d deeds", len(all))
			}
			for i, d := range all {
				if d.name == "" {
					d.name = strings.Join(d.sql, "; ")
				}
				// A name of its own keeps it from sessions that others left.
				d.params = append(slices.Clone(d.params), pair{"application_name", fmt.Sprint("deed ", i)})
				t.Run(d.name, func(t *testing.T) { o.try(t, d) })
			}
		})
	}
}

// try judges one deed.
func (o *oracle) try(t *testing.T, d deed) {
	pooled, plain := "pooled", "plain"
	if d.role {
		pooled, plain = "pooled-role", "plain-role"
	}
	if d.first != "" {
		must(t, o.pg.Exec(t.Context(), d.first))
	}
	if d.after != "" {
		defer func() { must(t, o.pg.Exec(t.Context(), d.after)) }()
	}
	packet := o.packets.of(d.params...)
	a := connectRaw(t, o.addrs[pooled], packet)
	o.perform(t, a, d)
	if !d.away {
		a.leave()
	}
	o.settle(t, pooled)
	b := connectRaw(t, o.addrs[pooled], packet)
	defer func() { b.leave(); o.settle(t, pooled) }()
	if again := b.pid() == a.pid(); again == d.closed {
		t.Fatalf("the session was used again: %v", again)
	}
	fresh := connectRaw(t, o.addrs[plain], packet)
	want := facts(fresh)
	report(t, want, facts(b), d.kept)
	if d.sql != nil && !d.unseen && !d.closed {
		o.perform(t, fresh, d)
		if maps.Equal(want, facts(fresh)) {
			t.Error("it leaves no trace that this test would see")
		}
	}
	fresh.leave()
}

// settle waits until no session of the database is in use.
func (o *oracle) settle(t *testing.T, database string) {
	t.Helper()
	sidecar.Await(t, "end of the session's use", func() bool { return o.metric(t, "in_use", fmt.Sprintf("database=%q", database)) == 0 })
}

// perform does the deed.
func (o *oracle) perform(t *testing.T, r *raw, d deed) {
	t.Helper()
	if d.do != nil {
		d.do(t, r)
		return
	}
	for _, sql := range d.sql {
		want := ""
		if code, rest, ok := strings.Cut(sql, ": "); ok && len(code) == 2 {
			if code > fmt.Sprint(o.pg.Version) {
				t.Skip("PostgreSQL", code)
			}
			sql = rest
		}
		if code, rest, ok := strings.Cut(sql, ": "); ok && len(code) == 5 {
			want, sql = code, rest
		}
		if _, code := r.query(sql); code != want {
			t.Fatalf("%s: %q, want %q", sql, code, want)
		}
	}
}

// report tells of facts that differ.
func report(t *testing.T, want, got map[string]string, kept []string) {
	t.Helper()
	differed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(union(want, got))) {
		if want[name] == got[name] {
			continue
		}
		i := slices.IndexFunc(kept, func(k string) bool { return strings.HasPrefix(name, k) })
		if i < 0 {
			t.Errorf("%s is %q, in a fresh session %q", name, got[name], want[name])
			continue
		}
		differed[kept[i]] = true
	}
	for _, k := range kept {
		if !differed[k] {
			t.Errorf("%s is as in a fresh session", k)
		}
	}
}

func union(a, b map[string]string) map[string]string {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

// questions are what a session is asked. Errors are answers too.
var questions = [][2]string{
	{"user", "SELECT current_user, session_user, current_role, current_setting('role'), current_setting('session_authorization'), current_setting('is_superuser')"},
	{"schemas", "SELECT current_schemas(false), current_schema, current_database()"},
	{"temporary schema", "SELECT current_schemas(true), pg_my_temp_schema() <> 0"},
	{"temporary relations", "SELECT relname, relkind FROM pg_class WHERE relnamespace = pg_my_temp_schema() ORDER BY 1"},
	{"temporary functions", "SELECT proname FROM pg_proc WHERE pronamespace = pg_my_temp_schema() ORDER BY 1"},
	{"temporary types", "SELECT typname FROM pg_type WHERE typnamespace = pg_my_temp_schema() ORDER BY 1"},
	{"temporary others", "SELECT collname FROM pg_collation WHERE collnamespace = pg_my_temp_schema() UNION ALL SELECT oprname FROM pg_operator WHERE oprnamespace = pg_my_temp_schema() UNION ALL SELECT cfgname FROM pg_ts_config WHERE cfgnamespace = pg_my_temp_schema() UNION ALL SELECT conname FROM pg_constraint WHERE connamespace = pg_my_temp_schema()"},
	{"prepared statements", "SELECT name, statement, parameter_types::text, from_sql FROM pg_prepared_statements"},
	{"cursors", "SELECT name, statement, is_holdable FROM pg_cursors"},
	{"channels", "SELECT pg_listening_channels()"},
	{"locks", "SELECT locktype, mode, granted, relation::regclass, classid, objid, objsubid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid' ORDER BY 1, 2, 3, 4, 5, 6, 7"},
	{"transaction", "SELECT pg_current_xact_id_if_assigned(), current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('transaction_deferrable')"},
	{"currval", "SELECT currval('s')"},
	{"currval of cached", "SELECT currval('cached')"},
	{"lastval", "SELECT lastval()"},
	{"activity", "SELECT datname, usename, application_name, client_addr, backend_xid, backend_type, state FROM pg_stat_activity WHERE pid = pg_backend_pid()"},
	{"slots", "SELECT slot_name FROM pg_replication_slots WHERE active_pid = pg_backend_pid()"},
	{"prepared transactions", "SELECT gid FROM pg_prepared_xacts"},
	{"large objects", "SELECT oid FROM pg_largeobject_metadata"},
	{"a large object's descriptor", "SELECT lo_tell(0)"},
	{"a custom setting", "SELECT current_setting('my.app', true) IS NULL"},
	{"another custom setting's value", "SELECT coalesce(current_setting('my.app', true), '')"},
	{"t", "SELECT relpersistence FROM pg_class WHERE oid = to_regclass('t')"},
	{"settings", "SELECT name, setting, source, reset_val, pending_restart FROM pg_settings WHERE source <> 'default' OR name !~ '[.]' OR setting IS DISTINCT FROM boot_val"},
	{"time", "SELECT timestamptz '2001-02-03 04:05:06+00', interval '1 day 2 hours', 1.1::float8, '\\x01'::bytea, 'ä'"},
}

// facts is all that a client can learn of its session. What it was told when it logged in
// comes first.
func facts(r *raw) map[string]string {
	r.t.Helper()
	out := map[string]string{"reports": strings.Join(r.statuses, " "), "notices": fmt.Sprint(r.notices), "length of the cancel key": fmt.Sprint(len(r.key.SecretKey))}
	// Before any Query, which would drop these two.
	r.send(&pgproto3.Execute{}, &pgproto3.Sync{})
	out["portal without a name"] = r.ready()
	r.send(&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	out["statement without a name"] = r.ready()
	var all []pgproto3.FrontendMessage
	for _, q := range questions {
		all = append(all, &pgproto3.Query{String: q[1]})
	}
	r.send(all...) // at once, because there are many
	for _, q := range questions {
		rows, code := r.answer()
		if q[0] != "settings" {
			out[q[0]] = strings.Join(rows, "\n") + code
			continue
		}
		if len(rows) < 300 {
			r.t.Fatalf("%d settings, %s", len(rows), code)
		}
		for _, row := range rows {
			name, value, _ := strings.Cut(row, "|")
			out["setting "+name] = value
		}
	}
	return out
}
