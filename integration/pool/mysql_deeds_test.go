package pool_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// mySQLDeeds change the state of a session.
func mySQLDeeds(t *testing.T, s *myStand) (all []mySQLDeed) {
	for _, sql := range []string{
		// variables
		"SET @a = 1, @b = 'x'", "SELECT 1 INTO @a", "CALL app.vars()",
		"SET sql_mode = ''", "SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
		"SET time_zone = '+05:45'", "SET lc_time_names = 'de_DE'", "SET lc_messages = 'de_DE'",
		"SET autocommit = 0", "SET autocommit = 0; INSERT INTO app.u VALUES (2)", "SET SESSION wait_timeout = 77",
		"SET SESSION net_write_timeout = 7, net_read_timeout = 7, net_retry_count = 3",
		"SET foreign_key_checks = 0, unique_checks = 0", "SET sql_safe_updates = 1", "SET sql_select_limit = 1", "SET sql_notes = 0",
		"SET SESSION group_concat_max_len = 7", "SET SESSION max_join_size = 7", "SET SESSION div_precision_increment = 9",
		"SET SESSION default_storage_engine = MyISAM", "SET SESSION optimizer_switch = 'mrr=off'", "mysql: SET SESSION max_error_count = 0; !SELECT * FROM nowhere", "mariadb: SET SESSION max_error_count = 0; !SELECT * FROM nowhere",
		"SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1", "SET SESSION low_priority_updates = 1", "SET SESSION auto_increment_increment = 7, auto_increment_offset = 3",
		"SET SESSION sort_buffer_size = 77777, join_buffer_size = 77777, tmp_table_size = 77777", "SET sql_big_selects = 0", "SET SESSION completion_type = CHAIN",
		"mysql: SET SESSION max_execution_time = 7777", "mysql: SET SESSION cte_max_recursion_depth = 7", "mysql: SET SESSION sql_require_primary_key = 1", "mysql: SET SESSION default_table_encryption = 1",
		"mysql: SET SESSION optimizer_trace = 'enabled=on'; SELECT COUNT(*) FROM app.t", "mysql: SET SESSION explain_format = 'TREE'", "mysql: SET SESSION information_schema_stats_expiry = 0",
		"mysql: SET SESSION session_track_gtids = OWN_GTID, session_track_schema = 0, session_track_state_change = 1, session_track_transaction_info = 'STATE', session_track_system_variables = '*'",
		"mariadb: SET SESSION session_track_state_change = 1, session_track_system_variables = '*'", "mariadb: SET SESSION max_statement_time = 77", "mariadb: SET SESSION server_id = 7, gtid_domain_id = 7",
		"mariadb: SET SESSION sql_mode = 'ORACLE'", "mariadb: SET SESSION system_versioning_alter_history = KEEP, system_versioning_asof = '2020-01-01 00:00:00'", "mariadb: SET SESSION check_constraint_checks = 0",
		"mariadb: SET SESSION default_regex_flags = 'DOTALL'", "mariadb: SET SESSION sql_if_exists = 1", "mariadb: SET SESSION aria_sort_buffer_size = 77777",
		"SET timestamp = 86400", "SET insert_id = 77", "SET last_insert_id = 77", "SET rand_seed1 = 1, rand_seed2 = 2", "SET profiling = 1", "mysql: SET profiling = 1; SELECT 1", "mariadb: SET profiling = 1; SELECT 1",
		"?SET SESSION pseudo_thread_id = 7", "?SET SESSION sql_log_bin = 0", "SET SESSION big_tables = 1", "SET SESSION query_prealloc_size = 77777",
		// character sets
		"SET NAMES latin1", "SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET CHARACTER SET latin1", "SET character_set_results = NULL", "SET character_set_client = sjis", "SET collation_connection = latin1_german2_ci",
		"SET character_set_connection = cp1251", "SET collation_database = latin1_bin", "SET collation_server = latin1_bin", "SET character_set_filesystem = latin1",
		"mysql: SET SESSION default_collation_for_utf8mb4 = utf8mb4_general_ci",
		// roles
		"SET ROLE r1", "SET ROLE NONE", "mysql: SET ROLE ALL", "mysql: SET ROLE ALL EXCEPT r2",
		// databases
		"USE elsewhere", "USE information_schema", "CREATE DATABASE gone; USE gone; DROP DATABASE gone", "!USE nowhere",
		// locks
		"DO GET_LOCK('l1', 0), GET_LOCK('l2', 0)", "DO GET_LOCK('l1', 0), GET_LOCK('l1', 0)", "LOCK TABLES app.t READ", "LOCK TABLES app.t WRITE, app.u WRITE", "FLUSH TABLES WITH READ LOCK", "FLUSH TABLES app.t FOR EXPORT",
		"FLUSH TABLES app.t WITH READ LOCK", "mysql: LOCK INSTANCE FOR BACKUP", "mariadb: BACKUP STAGE START", "mariadb: BACKUP LOCK app.t", "HANDLER app.t OPEN AS h; HANDLER h READ FIRST", "HANDLER t OPEN",
		// temporary tables
		"CREATE TEMPORARY TABLE tmp1 (id INT); INSERT INTO tmp1 VALUES (1)", "CREATE TEMPORARY TABLE app.tmp2 SELECT 1 AS id", "CREATE TEMPORARY TABLE t (other INT)", "CREATE TEMPORARY TABLE tmp1 (id INT) ENGINE=MyISAM",
		"CREATE TEMPORARY TABLE tmp1 (id INT) ENGINE=MEMORY", "mariadb: CREATE TEMPORARY SEQUENCE tmp1",
		// transactions
		"START TRANSACTION; INSERT INTO app.u VALUES (3)", "BEGIN; SELECT * FROM app.t FOR UPDATE", "START TRANSACTION READ ONLY", "START TRANSACTION WITH CONSISTENT SNAPSHOT", "START TRANSACTION; SAVEPOINT a; INSERT INTO app.u VALUES (4)",
		"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION READ ONLY", "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ ONLY", "BEGIN; !SELECT * FROM nowhere", "BEGIN; INSERT INTO app.u VALUES (5); !INSERT INTO app.t VALUES (1, 'twice')",
		"XA START 'x'; INSERT INTO app.u VALUES (6)", "XA START 'x'; INSERT INTO app.u VALUES (6); XA END 'x'", "XA START 'x'; XA END 'x'; XA ROLLBACK 'x'",
		// statements and what they leave
		"PREPARE st1 FROM 'SELECT 1'", "PREPARE st2 FROM 'SELECT ?'; SET @a = 1; EXECUTE st2 USING @a", "INSERT INTO app.t (v) VALUES ('d'); DELETE FROM app.t WHERE v = 'd'", "DO LAST_INSERT_ID(77)",
		"SELECT SQL_CALC_FOUND_ROWS * FROM app.t LIMIT 1", "!SELECT * FROM nowhere", "SELECT 1/0", "SELECT CAST('x' AS SIGNED)", "CALL app.p()", "!SIGNAL SQLSTATE '45000'", "mariadb: SELECT NEXTVAL(app.seq)",
		"mysql: ?SET RESOURCE GROUP USR_default", "mysql: UPDATE performance_schema.threads SET INSTRUMENTED = 'NO', HISTORY = 'NO' WHERE THREAD_ID = PS_CURRENT_THREAD_ID()", "mysql: SET PERSIST_ONLY max_connections = 777",
		"mariadb: SET STATEMENT sql_mode = '' FOR SELECT 1", "mariadb: EXECUTE IMMEDIATE 'SET @a = 1'", "FLUSH STATUS",
	} {
		d := mySQLDeed{}
		for _, flavor := range []string{"mysql", "mariadb"} {
			if rest, ok := strings.CutPrefix(sql, flavor+": "); ok {
				d.only, sql = flavor, rest
			}
		}
		d.sql, d.fails = strings.Split(sql, "; "), strings.HasPrefix(sql, "SET ROLE") || sql == "SET profiling = 1; SELECT 1" && d.only == "mariadb"
		if strings.Contains(sql, "performance_schema.threads") {
			d.keeps = "performance_schema.threads"
		}
		all = append(all, d)
	}
	more := func(name string, fails bool, do func(*testing.T, myClient)) {
		all = append(all, mySQLDeed{sql: []string{name}, do: do, fails: fails})
	}
	more("several statements at once", false, func(t *testing.T, c myClient) {
		exec(t, c, "SET @a = 1; SELECT 1; SELECT * FROM app.t; SET sql_mode = ''")
	})
	more("several statements, the second of which fails", false, func(t *testing.T, c myClient) {
		if _, err := c.ExecContext(t.Context(), "SELECT 1; SELECT * FROM nowhere"); err == nil {
			t.Error("no error")
		}
	})
	more("prepared statements of the protocol", false, func(t *testing.T, c myClient) {
		for range 20 {
			st, err := c.PrepareContext(t.Context(), "SELECT ?, ?")
			must(t, err)
			rows, err := st.QueryContext(t.Context(), 1, strings.Repeat("long data ", 1<<17)) // in pieces
			must(t, err)
			must(t, rows.Close())
		}
	})
	more("a result that is read at last", false, func(t *testing.T, c myClient) {
		rows, err := c.QueryContext(t.Context(), "SELECT REPEAT('x', 100000) FROM information_schema.COLUMNS a, app.t b LIMIT 3000")
		must(t, err)
		_ = rows.Next()
		must(t, rows.Close()) // reads on
	})
	more("many short rows", false, func(t *testing.T, c myClient) {
		rows, err := c.QueryContext(t.Context(), "SELECT '' FROM information_schema.COLUMNS a, app.t b, app.t c, app.t d LIMIT 5003")
		must(t, err)
		for rows.Next() {
		}
		must(t, rows.Err())
	})
	more("a file", true, func(t *testing.T, c myClient) {
		mysql.RegisterReaderHandler("file", func() io.Reader { return strings.NewReader("7\n8\n") })
		exec(t, c, "BEGIN", "LOAD DATA LOCAL INFILE 'Reader::file' INTO TABLE app.u", "ROLLBACK")
	})
	more("a file that breaks off", true, func(t *testing.T, c myClient) {
		mysql.RegisterReaderHandler("broken", func() io.Reader { return io.MultiReader(strings.NewReader("7\n8\n"), brokenReader{}) })
		exec(t, c, "BEGIN")
		if _, err := c.ExecContext(t.Context(), "LOAD DATA LOCAL INFILE 'Reader::broken' INTO TABLE app.u"); err == nil {
			t.Error("no error")
		}
	})
	return all
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the file broke off") }
