package pool_test

// sqlDeeds leave things in the session, or something open.
func sqlDeeds() []deed {
	var all []deed
	for _, sql := range []string{
		"PREPARE p AS SELECT 1",
		"PREPARE p (int, text) AS SELECT $1, $2",
		"PREPARE p AS INSERT INTO t VALUES (1)",

		"DECLARE c CURSOR WITH HOLD FOR SELECT 1",
		"DECLARE c BINARY INSENSITIVE SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)",

		"LISTEN somewhere",
		`LISTEN a; LISTEN "b c"`,

		"SELECT pg_advisory_lock(1)",
		"SELECT pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock(2, 3)",
		"SELECT pg_advisory_lock_shared(1)",
		"SELECT pg_try_advisory_lock(1, 2)",
		"SELECT pg_try_advisory_lock_shared(7)",

		"SELECT nextval('s')",
		"SELECT setval('s', 77)",
		"SELECT nextval('cached')",
	} {
		all = append(all, deed{sql: []string{sql}})
	}
	for _, sql := range []string{
		"CREATE TEMPORARY TABLE temporary (n int PRIMARY KEY, s text)",
		"CREATE TEMPORARY TABLE temporary (n int GENERATED ALWAYS AS IDENTITY)",
		"CREATE TEMPORARY TABLE temporary (n int) ON COMMIT DELETE ROWS",
		"CREATE TEMPORARY TABLE t AS SELECT 1",
		"SELECT 1 AS n INTO TEMPORARY temporary",
		"CREATE TABLE pg_temp.temporary (n int)",
		"CREATE TEMPORARY VIEW temporary AS SELECT 1",
		"CREATE TEMPORARY RECURSIVE VIEW temporary (n) AS VALUES (1)",
		"CREATE TEMPORARY SEQUENCE temporary",
		"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"CREATE AGGREGATE pg_temp.a (int) (SFUNC = int4pl, STYPE = int)",
		"CREATE TYPE pg_temp.pair AS (a int, b int)",
		"CREATE TYPE pg_temp.colour AS ENUM ('red')",
		"CREATE DOMAIN pg_temp.positive AS int CHECK (VALUE > 0)",
		`CREATE COLLATION pg_temp.c FROM "C"`,
		"CREATE OPERATOR pg_temp.&&& (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
		"CREATE TEXT SEARCH CONFIGURATION pg_temp.c (COPY = simple)",
	} {
		all = append(all, deed{sql: []string{sql}, kept: temporarySchema})
	}
	for _, sql := range []string{
		"SELECT 1", "", ";", "SELECT 1; SELECT 2; SELECT 3",
		"42601: SELEC", "22012: SELECT 1/0", "22012: SELECT 1; SELECT 1/0; SELECT 2",
		"57014: SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(20)",
		"COPY t TO STDOUT", "COPY (SELECT generate_series(1, 10000)) TO STDOUT (FORMAT binary)",
		"57014: COPY t FROM STDIN",
		"DISCARD ALL", "DISCARD TEMP", "DISCARD PLANS", "DISCARD SEQUENCES", "DEALLOCATE ALL", "CLOSE ALL", "UNLISTEN *", "RESET ALL",
		"NOTIFY somewhere, 'something'",
		"SELECT pg_advisory_xact_lock(1)",
		"25P01: DECLARE c CURSOR FOR SELECT 1",
		"25P01: LOCK TABLE t", "SELECT lo_open(lo_create(0), 131072)",
		"EXPLAIN ANALYZE SELECT 1", "VACUUM t", "ANALYZE t", "CHECKPOINT",
		"SELECT pg_current_xact_id()", "INSERT INTO t VALUES (1) RETURNING n",
		"VALUES (pg_logical_emit_message(false, 'a', 'b'))",
	} {
		all = append(all, deed{sql: []string{sql}, unseen: true, after: "SELECT lo_unlink(oid) FROM pg_largeobject_metadata"})
	}
	return append(all, []deed{
		{sql: []string{"PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p"}, unseen: true},
		{sql: []string{"PREPARE p (int) AS SELECT $1", "EXECUTE p (1)", "CREATE TEMPORARY TABLE made AS EXECUTE p (2)"}, kept: temporarySchema},
		{sql: []string{"BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 10)", "FETCH 3 FROM c", "COMMIT"}},
		{sql: []string{"BEGIN", "DECLARE c CURSOR FOR SELECT 1", "COMMIT"}, unseen: true},
		{sql: []string{"LISTEN somewhere", "NOTIFY somewhere, 'to oneself'"}},
		{sql: []string{"BEGIN", "LISTEN somewhere", "NOTIFY somewhere", "COMMIT"}},
		{sql: []string{"LISTEN somewhere", "UNLISTEN somewhere"}, unseen: true},
		{sql: []string{"BEGIN", "SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_lock(2)", "COMMIT"}},
		{sql: []string{"BEGIN", "SELECT pg_advisory_lock(2)", "ROLLBACK"}},
		{sql: []string{"BEGIN", "CREATE TEMPORARY TABLE temporary (n int) ON COMMIT DROP", "COMMIT"}, kept: temporarySchema},
		{sql: []string{"BEGIN", "CREATE TEMPORARY TABLE temporary (n int)", "ROLLBACK"}, unseen: true},
		{sql: []string{"CREATE TEMPORARY TABLE temporary (n int)", "INSERT INTO temporary SELECT generate_series(1, 10000)", "CREATE INDEX ON temporary (n)", "ANALYZE temporary"}, kept: temporarySchema},
		{sql: []string{"CREATE TEMPORARY SEQUENCE temporary", "SELECT nextval('temporary')"}, kept: temporarySchema},
		{sql: []string{"CREATE TEMPORARY TABLE temporary (n serial)", "INSERT INTO temporary DEFAULT VALUES"}, kept: temporarySchema},
		{sql: []string{"SELECT nextval('s'), nextval('cached')", "SELECT currval('s'), lastval()"}},
		{sql: []string{"SELECT lo_create(77)", "BEGIN", "SELECT lo_open(77, 131072)", "COMMIT"}, after: "SELECT lo_unlink(77)", unseen: true},
		{sql: []string{"SELECT lo_from_bytea(78, 'x')", "SELECT lo_unlink(78)"}, unseen: true},
		{sql: []string{"BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"}, unseen: true},
		{sql: []string{"BEGIN", "22012: SELECT 1/0", "25P02: SELECT 1", "ROLLBACK"}, unseen: true},
		{sql: []string{"BEGIN", "SAVEPOINT a", "22012: SELECT 1/0", "ROLLBACK TO a", "COMMIT"}, unseen: true},
		{sql: []string{"BEGIN", "COMMIT AND CHAIN", "COMMIT"}, unseen: true},
		{sql: []string{"BEGIN; SELECT 1; COMMIT"}, unseen: true},
		{sql: []string{"BEGIN", "INSERT INTO t VALUES (7)", "PREPARE TRANSACTION 'x'"}, unseen: true, after: "ROLLBACK PREPARED 'x'"},
		{sql: []string{"BEGIN", "SELECT pg_export_snapshot()", "COMMIT"}, unseen: true},
		{sql: []string{"BEGIN", "SET CONSTRAINTS ALL DEFERRED", "COMMIT"}, unseen: true},
		{sql: []string{"BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE", "SELECT * FROM t", "COMMIT"}, unseen: true},
		{sql: []string{"LOAD 'auto_explain'", "SET auto_explain.log_min_duration = 0", "SET auto_explain.log_analyze = on"}},
		{sql: []string{"CREATE TEMPORARY TABLE temporary (n int)", "PREPARE p AS SELECT * FROM temporary", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM temporary", "SET ROLE other", "LISTEN a"}, kept: temporarySchema},

		{sql: []string{"BEGIN"}, closed: true},
		{sql: []string{"START TRANSACTION READ ONLY"}, closed: true},
		{sql: []string{"BEGIN", "INSERT INTO t VALUES (1)"}, closed: true},
		{sql: []string{"BEGIN", "22012: SELECT 1/0"}, closed: true},
		{sql: []string{"BEGIN", "LOCK TABLE t"}, closed: true},
		{sql: []string{"BEGIN", "DECLARE c CURSOR FOR SELECT 1"}, closed: true},
		{sql: []string{"BEGIN", "SELECT lo_open(lo_create(0), 131072)"}, closed: true},
		{sql: []string{"BEGIN", "COMMIT AND CHAIN"}, closed: true},
		{sql: []string{"BEGIN; SELECT 1; COMMIT; BEGIN"}, closed: true},
		{sql: []string{"BEGIN", "SAVEPOINT a", "22012: SELECT 1/0", "ROLLBACK TO a"}, closed: true},
	}...)
}

// temporarySchema is what a session tells of its temporary schema, which is emptied and stays.
var temporarySchema = []string{"temporary schema"}
