package pool_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/servers"
)

// mySQLDeed is what a client does before it leaves.
type mySQLDeed struct {
	only string // the flavor that knows it; empty: both
	// sql are statements, one after another. One that begins with "!" fails, and one that
	// begins with "?" may.
	sql   []string
	do    func(t *testing.T, c myClient) // in place of sql
	fails bool                           // the session is not to be used again
	keeps string                         // what the next client finds
}

// name is for messages.
func (d mySQLDeed) name() string {
	if d.do != nil {
		return "in Go: " + d.sql[0]
	}
	return strings.Join(d.sql, "; ")
}

// run does it.
func (d mySQLDeed) run(t *testing.T, c myClient) {
	t.Helper()
	if d.do != nil {
		d.do(t, c)
		return
	}
	for _, sql := range d.sql {
		failing, maybe := strings.HasPrefix(sql, "!"), strings.HasPrefix(sql, "?")
		_, err := c.ExecContext(t.Context(), strings.TrimLeft(sql, "!?"))
		if failing != (err != nil) && !maybe {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// setUpMySQL makes what the deeds need.
func setUpMySQL(t *testing.T, my *servers.MySQL) {
	t.Helper()
	for _, sql := range []string{
		"CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT) ENGINE=InnoDB",
		"CREATE TABLE app.u (id INT) ENGINE=InnoDB",
		"INSERT INTO app.t (v) VALUES ('a'), ('b'), ('c')",
		"CREATE DATABASE elsewhere",
		"CREATE ROLE r1", "GRANT SELECT ON mysql.* TO r1", "GRANT r1 TO app",
		"CREATE ROLE r2", "GRANT r2 TO app",
		"CREATE PROCEDURE app.p() BEGIN SELECT 1; SELECT 2; END",
		"CREATE PROCEDURE app.vars() BEGIN SET @from_procedure = 1; SET SESSION sql_mode = ''; END",
	} {
		must(t, my.Exec(t.Context(), sql))
	}
	def := "SET DEFAULT ROLE r2 TO app"
	if my.Flavor == "mariadb" {
		def = "SET DEFAULT ROLE r2 FOR app"
		must(t, my.Exec(t.Context(), "CREATE SEQUENCE app.seq"))
	}
	must(t, my.Exec(t.Context(), def))
}

// lookAt is what the server says of a session: answers by question. An error is an answer.
// The first look for what any statement changes.
func lookAt(t *testing.T, c myClient, flavor string) map[string]string {
	t.Helper()
	questions := []string{
		"SELECT FOUND_ROWS(), ROW_COUNT(), LAST_INSERT_ID(), @@warning_count, @@error_count, @@identity",
		"SHOW WARNINGS",
		"SELECT DATABASE(), CURRENT_USER(), SESSION_USER(), CURRENT_ROLE(), @@autocommit",
		"SELECT DATABASE(), CURRENT_USER(), SESSION_USER(), CURRENT_ROLE(), @@autocommit",
		"SELECT COLLATION('x'), CHARSET('x'), CHARSET(DATABASE()), @@character_set_database",
		"SELECT IS_USED_LOCK('l1'), IS_USED_LOCK('l2')",
		"SELECT @a, @b, @from_procedure",
		"SELECT * FROM tmp1", "SELECT * FROM app.tmp2", "SELECT other FROM t", "SHOW PROFILES",
		"EXECUTE st1", "EXECUTE st2 USING @a", "HANDLER h READ FIRST", "HANDLER t READ FIRST",
		"SELECT COUNT(*) FROM app.t", "SELECT COUNT(*) FROM app.u", "SELECT COUNT(*) FROM mysql.user WHERE FALSE",
		"SELECT NOW() > '2020-01-01', NOW() < '2100-01-01'",
		"SELECT 'a' || 'b', \"a\" = 'a', '\\\\'",
		"XA RECOVER", "XA END 'x'", "XA COMMIT 'x'",
		"SHOW VARIABLES WHERE VARIABLE_NAME IN ('rand_seed1', 'rand_seed2', 'insert_id', 'last_insert_id', 'timestamp_')",
		"SHOW SESSION VARIABLES",
		"SHOW SESSION STATUS LIKE 'Com_stmt_%'",
		"SHOW SESSION STATUS LIKE 'Ssl_version'",
		"START TRANSACTION", "SELECT COUNT(*) FROM app.t LOCK IN SHARE MODE",
		"SELECT trx_isolation_level, trx_state, trx_rows_modified, trx_unique_checks, trx_foreign_key_checks, trx_is_read_only FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id = CONNECTION_ID()",
		"INSERT INTO app.u VALUES (1)", "ROLLBACK",
		"COMMIT", "UNLOCK TABLES",
	}
	if flavor == "mysql" {
		questions = append(questions,
			"SELECT * FROM performance_schema.user_variables_by_thread WHERE THREAD_ID = PS_CURRENT_THREAD_ID()",
			"SELECT STATEMENT_NAME, SQL_TEXT FROM performance_schema.prepared_statements_instances WHERE OWNER_THREAD_ID = PS_CURRENT_THREAD_ID()",
			"SELECT OBJECT_TYPE, OBJECT_NAME, LOCK_TYPE FROM performance_schema.metadata_locks WHERE OWNER_THREAD_ID = PS_CURRENT_THREAD_ID() AND OBJECT_NAME NOT IN ('metadata_locks')",
			"SELECT RESOURCE_GROUP, INSTRUMENTED, HISTORY, PROCESSLIST_DB, PROCESSLIST_USER FROM performance_schema.threads WHERE THREAD_ID = PS_CURRENT_THREAD_ID()",
			"SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.variables_by_thread WHERE THREAD_ID = PS_CURRENT_THREAD_ID()",
			"SELECT ATTR_NAME, ATTR_VALUE FROM performance_schema.session_account_connect_attrs WHERE PROCESSLIST_ID = CONNECTION_ID() ORDER BY 1",
			"SELECT COUNT(*) FROM information_schema.INNODB_TEMP_TABLE_INFO",
			"SELECT TRACE <> '' FROM information_schema.OPTIMIZER_TRACE",
		)
	} else {
		questions = append(questions,
			"SELECT * FROM information_schema.USER_VARIABLES",
			"SELECT LOCK_MODE, LOCK_TYPE, TABLE_NAME FROM information_schema.METADATA_LOCK_INFO WHERE THREAD_ID = CONNECTION_ID()",
			"SELECT LASTVAL(app.seq)",
			"SELECT * FROM information_schema.ENABLED_ROLES ORDER BY 1",
		)
	}
	if flavor == "mariadb" { // whose fresh sessions say what an earlier one did
		questions[0] = strings.Replace(questions[0], "FOUND_ROWS(), ", "", 1)
	}
	said := map[string]string{}
	for i, q := range questions {
		answers := answerTo(t, c, q)
		// The server shows it as it was when it was last asked, unless that is 0.1 s ago.
		for until := time.Now().Add(5 * time.Second); strings.Contains(q, "INNODB_TRX") && answers[""] == "" && time.Now().Before(until); {
			time.Sleep(110 * time.Millisecond)
			answers = answerTo(t, c, q)
		}
		for name, value := range answers {
			said[fmt.Sprintf("%02d %s %s", i, q, name)] = value
		}
	}
	return said
}

// answerTo asks one question. An answer of two columns, the first of which is VARIABLE_NAME,
// is one answer for each row.
func answerTo(t *testing.T, c myClient, query string) map[string]string {
	t.Helper()
	rows, err := c.QueryContext(t.Context(), query)
	if err != nil {
		return map[string]string{"": err.Error()}
	}
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	out, all := map[string]string{}, []string{}
	for rows.Next() {
		row := make([]any, len(columns))
		for i := range row {
			row[i] = new([]byte)
		}
		must(t, rows.Scan(row...))
		var text []string
		for _, v := range row {
			b := *v.(*[]byte)
			if b == nil {
				b = []byte("NULL")
			}
			text = append(text, string(b))
		}
		if len(columns) == 2 && strings.EqualFold(columns[0], "VARIABLE_NAME") {
			out[text[0]] = text[1]
			continue
		}
		all = append(all, strings.Join(text, "|"))
	}
	must(t, rows.Err())
	if len(out) == 0 {
		out[""] = strings.Join(all, "\n")
	}
	return out
}

// own are answers that no two sessions share, or that tell of the whole server.
var own = regexp.MustCompile(` (timestamp|statement_id|pseudo_thread_id|rand_seed\d|innodb_.*|gtid_.*|last_gtid|.*_server_.*|tls_.*|ssl_.*|Com_stmt_.*)$`)

// TestMySQLOracle has one client after another change the state of its session in every way
// that there is, and compares what the server says of the next client's with what it says of
// a fresh session.
func TestMySQLOracle(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Settings: map[string]string{"performance_schema": "ON", "local_infile": "ON"}})
		must(t, my.CreateUser(t.Context(), "app", appPassword, "", "ALL ON *.*"))
		setUpMySQL(t, my)
		s := mySQLStand(t, my, "pool: {mode: session, max_idle: 1}")
		direct := my.Config("app", appPassword, "app")
		direct.MultiStatements, direct.AllowAllFiles = true, true
		through := func(c *mysql.Config) { c.DBName, c.AllowAllFiles = "app", true }
		fresh := func() map[string]string {
			c := connectMySQL(t, direct)
			defer c.close(t)
			return lookAt(t, c, flavor)
		}
		want := fresh()
		for key, value := range fresh() {
			if want[key] != value && !own.MatchString(key) {
				t.Errorf("two fresh sessions differ: %s: %q, %q", key, want[key], value)
			}
		}
		deeds, reused := mySQLDeeds(t, s), 0
		for _, d := range deeds {
			if d.only != "" && d.only != flavor {
				continue
			}
			first := s.open(t, through)
			before := first.ask(t, connectionID)
			d.run(t, first)
			s.leave(t, first)
			next := s.open(t, through)
			got := lookAt(t, next, flavor)
			same, differs := next.ask(t, connectionID) == before, false
			if same {
				reused++
			}
			if same == d.fails {
				t.Errorf("%s: used again: %v", d.name(), same)
			}
			kept := false
			for _, key := range slices.Sorted(maps.Keys(want)) {
				switch {
				case got[key] == want[key] || own.MatchString(key):
				case d.keeps != "" && strings.Contains(key, d.keeps):
					kept = true
				default:
					differs = true
					t.Errorf("%s: (used again: %v): %s is %q, want %q", d.name(), same, key, got[key], want[key])
				}
			}
			if d.keeps != "" && !kept {
				t.Errorf("%s: %s is as in a fresh session", d.name(), d.keeps)
			}
			if differs || kept { // the next deed is to be seen by itself
				_, _ = next.ExecContext(t.Context(), "KILL CONNECTION_ID()")
			}
			s.leave(t, next)
		}
		t.Logf("%d deeds, %d sessions used again", len(deeds), reused)
		if n := len(deeds); n < 60 {
			t.Errorf("%d deeds", n)
		}
	})
}

// exec runs statements that may not fail.
func exec(t *testing.T, c myClient, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := c.ExecContext(context.WithoutCancel(t.Context()), sql)
		must(t, err)
	}
}
