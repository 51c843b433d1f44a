package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
)

// Fresh says what a session was like when it began, of what a reset does not bring back.
type Fresh struct {
	Capabilities uint32 // that both sides have set
	Database     string // "" for none
	InitConnect  bool   // the server runs statements of its own at each login
	role         string // the statement that fails where the session is of no use; "" if it is everywhere
	profiles     bool   // a reset leaves profiling on, whatever the variable says
	settings     string // the statement that brings settings back
	changed      string // the query that has a row if something is not as it was: 1, or 0 if it is the database alone
}

// netSettings hold of the connection itself, and a reset, which brings back the variables,
// leaves that as it is.
const netSettings = "SET net_write_timeout = @@GLOBAL.net_write_timeout, net_retry_count = @@GLOBAL.net_retry_count"

// traceSettings forget the traces of MySQL's optimizer, in which statements are; no reset does.
const traceSettings = ", optimizer_trace_limit = @@GLOBAL.optimizer_trace_limit"

// Learn asks a session that has just begun what it is like, for [Conn.Reset]. client are
// the capabilities that the database was told. The session is as it was, but for the number
// of statements that it counts.
//
// MariaDB brings the character sets back that the handshake asked for. MySQL has those of
// the server after a reset, and what the handshake makes of them depends on how the server
// was started (character-set-client-handshake) and on its own character set.
func (c *Conn) Learn(ctx context.Context, client uint32, database string) (f Fresh, err error) {
	f = Fresh{Capabilities: client & c.Greeting.Capabilities, Database: database, settings: netSettings}
	err = upstream.BreakOff(ctx, c.TCP, func() error { return c.learn(&f) })
	if _, said := errors.AsType[*fault.SQLError](err); err != nil && !said {
		return f, c.fail(ctx, err)
	}
	return f, err
}

func (c *Conn) learn(f *Fresh) error {
	row, err := c.row(*f, 7, "SELECT LENGTH(@@GLOBAL.init_connect), COALESCE(HEX(CURRENT_ROLE()), ''), @@character_set_client, @@character_set_results, @@collation_connection, "+
		"COALESCE(HEX(DATABASE()), ''), @@collation_database")
	if err != nil {
		return err
	}
	const hex = "0123456789ABCDEF"
	if row == nil || strings.Trim(row[1]+row[5], hex) != "" || !isName(row[2]) || !isName(row[3]) && row[3] != "" || !isName(row[4]) || !isName(row[6]) {
		return fault.ErrAnswer("no roles, character sets and database", nil)
	}
	f.InitConnect = row[0] != "0" && row[0] != ""
	lost := "COALESCE(HEX(CURRENT_ROLE()), '') <> '" + row[1] + "'"
	moved := fmt.Sprintf("COALESCE(HEX(DATABASE()), '') <> '%s' OR @@collation_database <> '%s'", row[5], row[6])
	if f.Database == "" {
		lost, moved = lost+" OR DATABASE() IS NOT NULL", "FALSE" // there is no way back to none
	}
	if wire.IsMariaDB(c.Greeting.Version) {
		f.profiles = true
		lost += " OR EXISTS (SELECT 1 FROM information_schema.PROFILING)"
	} else {
		f.settings += traceSettings + ", " + characterSets(row[2], row[3], row[4])
	}
	f.changed = fmt.Sprintf("SELECT %s FROM DUAL WHERE %[1]s OR %s", lost, moved)
	if row, err = c.row(*f, 1, f.changed); err == nil && row != nil { // FOUND_ROWS() is 0 again
		err = fault.ErrAnswer("another session than it has just been", nil)
	}
	if err != nil {
		return err
	}
	_, err = c.command(f.query(f.settings)) // and so is ROW_COUNT()
	return err
}

// characterSets returns what of a SET brings character_set_client, character_set_results
// ("" for NULL) and collation_connection back. After a handshake all three are the client's
// collation, which the server also names in the columns of results. Only NAMES brings that
// back: a variable that is given a character set's name has its default collation.
func characterSets(client, results, collation string) string {
	if set, _, _ := strings.Cut(collation, "_"); client == results && client == set {
		return fmt.Sprintf("NAMES %s COLLATE %s", set, collation)
	}
	if results == "" {
		results = "NULL"
	}
	return fmt.Sprintf("character_set_client = %s, character_set_results = %s, collation_connection = %s", client, results, collation)
}

// isName reports whether s is the name of a character set or a collation.
func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// Reset makes a session, which must be idle or [wire.Idle], as a fresh one is, as far as the
// server can do that (page "COM_RESET_CONNECTION"), and brings back what that loses. Each
// command awaits its answer, because servers are known to hang else; each answer must be
// exactly OK. It returns the last status. After an error the connection is closed.
func (c *Conn) Reset(ctx context.Context, f Fresh) (status uint16, err error) {
	err = upstream.BreakOff(ctx, c.TCP, func() (err error) {
		status, err = c.reset(f)
		return err
	})
	if err != nil {
		return 0, c.fail(ctx, err)
	}
	return status, nil
}

func (c *Conn) reset(f Fresh) (status uint16, err error) {
	c.PacketConn = wire.NewPacketConn(c.PacketConn.Conn)
	defer func() { c.R = nil }() // its memory is not needed until the next reset
	if status, err = c.command([]byte{mysql.COM_RESET_CONNECTION}); err != nil {
		return 0, err
	}
	if f.profiles {
		if _, err = c.command(f.query("SET profiling = 0")); err != nil {
			return 0, err
		}
	}
	if f.role != "" {
		if _, err = c.command(f.query(f.role)); err != nil {
			return 0, err
		}
	}
	if err := c.bringBack(f); err != nil {
		return 0, err
	}
	return c.command(f.query(f.settings))
}

// bringBack fails if something is not as it was that a reset leaves as it is: the active
// roles, a database where there was none, and MariaDB's profiles, in which statements are. Its query has no row else, and
// so FOUND_ROWS(), which no reset brings back either, is 0, as it is in a fresh session.
//
// The database is brought back if it is another, or has not the character set that it had: a
// reset of MySQL leaves the server's, so a session that needed that once is likely to need it
// again.
func (c *Conn) bringBack(f Fresh) error {
	for {
		if c.moves {
			if _, err := c.command(append([]byte{mysql.COM_INIT_DB}, f.Database...)); err != nil {
				return err
			}
		}
		row, err := c.row(f, 1, f.changed)
		if err != nil || row == nil {
			return err
		}
		if row[0] != "0" || c.moves {
			return fault.ErrAnswer("roles, a database or profiles that it had not when it began", nil)
		}
		c.moves = true
	}
}

// query encodes a COM_QUERY.
func (f Fresh) query(sql string) []byte {
	b := []byte{mysql.COM_QUERY}
	if f.Capabilities&mysql.CLIENT_QUERY_ATTRIBUTES != 0 {
		b = append(b, 0, 1) // none, in one set
	}
	return append(b, sql...)
}

// command sends a command whose answer is OK, and nothing more.
func (c *Conn) command(payload []byte) (status uint16, err error) {
	c.Seq = 0
	if err := c.WritePacket(payload); err != nil {
		return 0, fault.ErrAnswer("resetting the session", err)
	}
	b, err := c.ReadPacket()
	if err != nil || len(b) == 0 {
		return 0, fault.ErrAnswer("waiting for the end of the reset", err)
	}
	if b[0] == mysql.ERR_HEADER {
		return 0, sqlError(b)
	}
	const unfinished = mysql.SERVER_STATUS_IN_TRANS | mysql.SERVER_MORE_RESULTS_EXISTS | inTransactionReadOnly
	status, ok := uint16(0), false
	if b[0] == mysql.OK_HEADER {
		status, ok = wire.StatusOf(b)
	}
	if !ok || status&unfinished != 0 || c.R.Buffered() > 0 {
		return 0, fault.ErrAnswer("not the answer to a reset", nil)
	}
	return status, nil
}

// inTransactionReadOnly is SERVER_STATUS_IN_TRANS_READONLY.
const inTransactionReadOnly = 0x2000

// row runs a query of as many columns that has one row or none, which it then returns as
// nil, whatever the client's flags make of result sets (page "Text Resultset").
func (c *Conn) row(f Fresh, columns int, sql string) (row []string, err error) {
	c.Seq = 0
	if err := c.WritePacket(f.query(sql)); err != nil {
		return nil, fault.ErrAnswer("sending it", err)
	}
	definitions := 1 + columns
	if f.Capabilities&mysql.CLIENT_DEPRECATE_EOF == 0 {
		definitions++ // an EOF ends them
	}
	for i := 0; ; i++ {
		b, err := c.ReadPacket()
		switch {
		case err != nil || len(b) == 0:
			return nil, fault.ErrAnswer("waiting for the answer", err)
		case b[0] == mysql.ERR_HEADER:
			return nil, sqlError(b)
		case i == 0 && !bytes.Contains(b, []byte{byte(columns)}) || i > definitions+1:
			return nil, fault.ErrAnswer("another answer than this query has", nil)
		case i < definitions:
		case b[0] == mysql.EOF_HEADER && c.R.Buffered() > 0:
			return nil, fault.ErrAnswer("more than the answer", nil)
		case b[0] == mysql.EOF_HEADER:
			return row, nil
		case i > definitions:
			return nil, fault.ErrAnswer("more rows than one", nil)
		default:
			if row, err = wire.ParseRow(b, columns); err != nil {
				return nil, fault.ErrAnswer("a row that cannot be read", err)
			}
		}
	}
}
