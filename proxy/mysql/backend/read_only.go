package backend

import (
	"context"
	"errors"
	"strconv"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// What tells a server that is read-only from others: the variables of topology.MySQLRole. They
// are compared as strings, because MariaDB has other values of read_only from 12.0 on, and a
// comparison of numbers with those leaves a warning. As a string, MySQL's off is 0.
const (
	isReadOnly = "REPLACE(CONCAT(@@GLOBAL.innodb_read_only, @@GLOBAL.read_only), 'OFF', '0') <> '00'"
	isWritable = "REPLACE(CONCAT(@@GLOBAL.innodb_read_only, @@GLOBAL.read_only), 'OFF', '0') = '00'"
)

// failIf is a statement that fails with ER_DATA_OUT_OF_RANGE, as the greatest number plus 1
// is, if a condition holds, and else changes nothing: a variable stays as it is, and so do
// FOUND_ROWS(), ROW_COUNT() and the warnings, which any query or DO would change.
func failIf(condition string) string {
	return "SET SESSION net_retry_count = @@SESSION.net_retry_count + 0 * (9223372036854775807 + (" + condition + "))"
}

// failUnless fails at a server that is read-only, or at one that is not.
func failUnless(readOnly bool) string {
	if readOnly {
		return failIf(isWritable)
	}
	return failIf(isReadOnly)
}

// OnlyAt has a reset fail unless the server is, or is not, read-only by then.
func (f *Fresh) OnlyAt(readOnly bool) { f.role = failUnless(readOnly) }

// IsReadOnly reports whether the server takes no writes but those of its administrators, of a
// session that has just begun. client are the capabilities that the database was told.
//
// If it is as hoped, the session is as it was, but for the number of statements that it
// counts.
//
// The error is marked as secrets.MarkAccepted: the database took the credential. The
// connection is closed then.
func (c *Conn) IsReadOnly(ctx context.Context, client uint32, hoped bool) (yes bool, err error) {
	sql := failUnless(hoped)
	f := Fresh{Capabilities: client & c.Greeting.Capabilities}
	err = upstream.BreakOff(ctx, c.TCP, func() error {
		_, err := c.command(f.query(sql))
		return err
	})
	if said, ok := errors.AsType[*fault.SQLError](err); ok && said.Code == strconv.Itoa(mysql.ER_DATA_OUT_OF_RANGE) {
		return !hoped, nil
	}
	if err != nil {
		return false, secrets.MarkAccepted(c.fail(ctx, err))
	}
	return hoped, nil
}
