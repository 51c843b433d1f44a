package integration_test

import (
	endian "encoding/binary"
	"fmt"
	"time"
)

// command sends a command and returns the first packet of the answer.
func (c *rawMySQL) command(number byte, payload []byte) []byte {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	c.seq, c.heard = 0, nil
	if c.frames != nil {
		c.frames.number = 0
	}
	c.send(append([]byte{number}, payload...))
	return c.packet()
}

// Commands (page "Command Phase").
const (
	comQuery           = 0x03
	comChangeUser      = 0x11
	comStmtPrepare     = 0x16
	comStmtExecute     = 0x17
	comResetConnection = 0x1f
)

// query sends a query, or what stands for the rest of a command, and returns the
// first packet of the answer.
func (c *rawMySQL) query(sql string) []byte {
	c.t.Helper()
	if c.has(capQueryAttributes) {
		sql = "\x00\x01" + sql // no attributes, one set of them
	}
	return c.command(comQuery, []byte(sql))
}

// exec runs a statement without a result.
func (c *rawMySQL) exec(sql string) {
	c.t.Helper()
	if p := c.query(sql); p[0] != 0 {
		c.t.Fatalf("%s: %q", sql, p)
	}
}

// null is how rows shows NULL.
const null = "NULL"

// rows runs a query with one result and decodes it by the flags both sides agreed
// on (page "Text Resultset"). end is its last packet.
func (c *rawMySQL) rows(sql string) (columns []string, rows [][]string, end []byte) {
	c.t.Helper()
	first := field{c.t, c.query(sql)}
	if first.b[0] == 0xff || first.b[0] == 0 {
		c.t.Fatalf("%s: %q", sql, first.b)
	}
	count, metadata := int(first.take(1)[0]), byte(1)
	if c.has(capOptionalMetadata | capCacheMetadata) {
		metadata = first.take(1)[0]
	}
	if len(first.b) > 0 || metadata != 1 {
		c.t.Fatalf("%s: %q after the number of columns, metadata %d", sql, first.b, metadata)
	}
	for range count {
		columns = append(columns, c.column())
	}
	if !c.has(capDeprecateEOF) {
		if p := c.packet(); p[0] != 0xfe || len(p) != 5 {
			c.t.Fatalf("%s: %q where the columns end", sql, p)
		}
	}
	for {
		row := field{c.t, c.packet()}
		if row.b[0] == 0xfe || row.b[0] == 0xff {
			return columns, rows, row.b
		}
		var values []string
		for range count {
			values = append(values, row.counted())
		}
		rows = append(rows, values)
	}
}

// column reads a column's definition and returns its name.
func (c *rawMySQL) column() string {
	c.t.Helper()
	f := field{c.t, c.packet()}
	var names [6]string
	for i := range names {
		names[i] = f.counted()
	}
	if c.has(capExtendedMetadata) {
		f.counted()
	}
	if n := f.take(1)[0]; n != 12 || len(f.b) != 12 || names[0] != "def" {
		c.t.Fatalf("column %q goes on with %d, %q", names, n, f.b)
	}
	return names[4]
}

// value is the only value of a query's result.
func (c *rawMySQL) value(sql string) string {
	c.t.Helper()
	_, rows, _ := c.rows(sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		c.t.Fatalf("%s: %q", sql, rows)
	}
	return rows[0][0]
}

// mysqlError shows an ERR packet as the clients do.
func mysqlError(p []byte) string {
	if len(p) < 9 || p[0] != 0xff {
		return fmt.Sprintf("no error: %q", p)
	}
	return fmt.Sprintf("%d (%s): %s", endian.LittleEndian.Uint16(p[1:]), p[4:9], p[9:])
}
