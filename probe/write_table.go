package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
)

// WriteStatements returns statements that write a row to the table, read it, and leave: the end of the
// session takes the row back, so that nothing is left and nobody else ever sees it.
// A lock on the table is waited for 5 s. Rows have no value to conflict with, so
// any number of probes may write at once.
func WriteStatements(engine config.Engine, table string) []string {
	if engine == config.Postgres {
		table = quotedTable(table, `"`)
		return []string{
			"BEGIN", "SET LOCAL statement_timeout = '5s'",
			"INSERT INTO " + table + " DEFAULT VALUES", "SELECT 1 FROM " + table + " LIMIT 1",
		}
	}
	table = quotedTable(table, "`")
	return []string{
		"SET SESSION lock_wait_timeout = 5, innodb_lock_wait_timeout = 5", "START TRANSACTION",
		"INSERT INTO " + table + " () VALUES ()", "SELECT 1 FROM " + table + " LIMIT 1",
	}
}

// quotedTable quotes table or schema.table. The configuration has checked that
// neither name holds a quote.
func quotedTable(table, quote string) string {
	return quote + strings.ReplaceAll(table, ".", quote+"."+quote) + quote
}

// writeFailure returns the label and the error of a probe that could not write to table.
func writeFailure(err error, table, user string) (kind string, e *fault.Error) {
	said, ok := errors.AsType[*fault.SQLError](err)
	if !ok { // a login or a connection that failed
		e = fault.As(err)
		return string(e.Kind), e
	}
	e = &fault.Error{Message: fmt.Sprintf("probe.write_table %s cannot be written to: %s (%s)", table, said.Message, said.Code), Hint: writeHints[said.Code]}
	switch {
	case e.Hint == "":
		e.Hint = "It should take a row of defaults, and let the user INSERT and SELECT; docs/probe.md has an example."
	case strings.Contains(e.Hint, "%"):
		e.Hint = fmt.Sprintf(e.Hint, table, user)
	}
	return probeNotWritable, e
}

const (
	hintGrant    = "GRANT INSERT, SELECT ON %s TO %s."
	hintReadOnly = "Does host name a reader, or has a failover left this connection on one? Or is the server set to read only?"
	hintTable    = "Create it in the database that probes log in to; docs/probe.md has an example."
)

// writeHints go by SQLSTATE of PostgreSQL (appendix "PostgreSQL Error Codes") and
// error number of MySQL and MariaDB.
var writeHints = map[string]string{
	insufficientPrivilege: hintGrant,
	"25006":               hintReadOnly, // read_only_sql_transaction
	"42P01":               hintTable,    // undefined_table
	"3F000":               hintTable,    // invalid_schema_name
	"1142":                hintGrant,    // ER_TABLEACCESS_DENIED_ERROR
	"1290":                hintReadOnly, // ER_OPTION_PREVENTS_STATEMENT
	"1792":                hintReadOnly, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
	"1836":                hintReadOnly, // ER_READ_ONLY_MODE
	"1146":                hintTable,    // ER_NO_SUCH_TABLE
	badDatabase:           hintTable,
	"1046":                hintTable, // ER_NO_DB_ERROR
}
