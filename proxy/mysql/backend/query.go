package backend

import (
	"context"
	"errors"
	"strconv"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// utf8mb4 is the id of utf8mb4_general_ci, which every server has.
const utf8mb4 = 45

// Query logs in with cred, for no client but credproxy itself, runs the statements as
// [Conn.Query] does, and ends the session. p.Response does not count. database may be
// empty: it is then p.Database, else the secret's, else none.
//
// The errors are those of [Login] and [Conn.Query].
func Query(ctx context.Context, p Params, cred *secrets.Credential, database string, statements ...string) (rows [][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	p.Response = nil
	if database != "" {
		p.Database, p.NoDatabase = database, false
	}
	c, err := Login(ctx, p, cred)
	if err != nil {
		return nil, afterPassword(err)
	}
	rows, err = c.Query(ctx, statements...)
	if _, said := errors.AsType[*fault.SQLError](err); err == nil || said {
		_ = c.Close()
	}
	return rows, err
}

// Query runs the statements one after another by COM_QUERY, and returns the rows of the
// last one as text, with "" for NULL. The caps are those of package upstream.
//
// What the database says against a statement is a *fault.SQLError in the chain of the
// error; the connection then is as it was. After any other error it is closed.
func (c *Conn) Query(ctx context.Context, statements ...string) (rows [][]string, err error) {
	err = upstream.BreakOff(ctx, c.TCP, func() (err error) {
		for _, sql := range statements {
			if rows, err = c.query(sql); err != nil {
				return err
			}
		}
		return nil
	})
	if _, said := errors.AsType[*fault.SQLError](err); err != nil && !said {
		return nil, c.fail(ctx, err)
	}
	return rows, err
}

// afterPassword tells the refusals apart that a server gives only once it has checked
// the password.
func afterPassword(err error) error {
	se, ok := errors.AsType[*wire.ServerError](err)
	if !ok || !tookPassword(se.Code) {
		return err
	}
	return &fault.Error{Kind: fault.UpstreamRefused, Message: "the database took the credential and refused the session",
		Err: &fault.SQLError{Code: strconv.Itoa(int(se.Code)), Message: se.Message}}
}

// ownResponse is the answer to a greeting where no client stands behind a login.
// It names the program if the server's capabilities allow.
func ownResponse(server uint32) wire.HandshakeResponse {
	r := wire.HandshakeResponse{
		Capabilities: mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_TRANSACTIONS,
		MaxPacket:    1 << 24, Charset: utf8mb4, Filler: make([]byte, 23),
	}
	// Without it a server that wants a second factor says that the password is wrong.
	r.Capabilities |= server & mysql.MULTI_FACTOR_AUTHENTICATION
	if server&mysql.CLIENT_CONNECT_ATTRS != 0 {
		r.Capabilities |= mysql.CLIENT_CONNECT_ATTRS
		for _, s := range []string{"program_name", "credproxy"} {
			r.Attributes = append(mysql.AppendLengthEncodedInteger(r.Attributes, uint64(len(s))), s...)
		}
	}
	return r
}

func (c *Conn) query(sql string) ([][]string, error) {
	c.Seq = 0
	if err := c.WritePacket(append([]byte{mysql.COM_QUERY}, sql...)); err != nil {
		return nil, fault.ErrAnswer("sending it", err)
	}
	return readResult(c.PacketConn)
}

// readResult reads the answer to a statement: OK, an error, or a result set in text
// (page "COM_QUERY Response"), whose definitions of columns it skips.
func readResult(c *wire.PacketConn) (rows [][]string, err error) {
	columns := 0
	const head, definitions, body = 0, 1, 2
	for part, size := head, 0; size <= upstream.MaxAnswer && len(rows) <= upstream.MaxRows; {
		b, err := c.ReadPacket()
		if err != nil || len(b) == 0 {
			return nil, fault.ErrAnswer("waiting for the answer", err)
		}
		size += wire.HeaderSize + len(b)
		switch end := b[0] == mysql.EOF_HEADER && len(b) < 9; {
		case b[0] == mysql.ERR_HEADER:
			return nil, sqlError(b)
		case part == head && b[0] == mysql.OK_HEADER:
			return nil, nil
		case part == head && (len(b) != 1 || b[0] > upstream.MaxColumns):
			return nil, fault.ErrAnswer("no result that a statement of credproxy's has", nil)
		case part == head:
			columns, part = int(b[0]), definitions
		case part == definitions && end:
			part = body
		case part == definitions:
		case end:
			return rows, nil
		default:
			row, err := wire.ParseRow(b, columns)
			if err != nil {
				return nil, fault.ErrAnswer("a row that cannot be read", err)
			}
			rows = append(rows, row)
		}
	}
	return nil, fault.ErrAnswer("a longer answer than any statement of credproxy's has", nil)
}

// sqlError makes an error of an ERR packet to a statement.
func sqlError(payload []byte) error {
	se, err := wire.ParseError(payload)
	if err != nil {
		return fault.ErrAnswer("an error packet that cannot be read", err)
	}
	return fault.ErrStatement(&fault.SQLError{Code: strconv.Itoa(int(se.Code)), Message: se.Message})
}
