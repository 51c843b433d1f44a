package mysql

import (
	"context"
	"errors"
	"strconv"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// utf8mb4 is the id of utf8mb4_general_ci, which every server has.
const utf8mb4 = 45

// Query logs in with cred, for no client but credproxy itself, runs the
// statements one after another by COM_QUERY, and ends the session. It returns the
// rows of the last one as text, with "" for NULL.
//
// database may be empty: it is then the configuration's, else the secret's, else
// none. Databases does not apply.
//
// The login is that of a client: same TLS, same plugins, same errors, with the
// mark of [secrets.Rejected] if the database refused the credential. What it says
// once it has taken that, against the session or a statement, is a *fault.SQLError in
// the chain. The caps are those of package proxy.
func (e *Engine) Query(ctx context.Context, cred *secrets.Credential, database string, statements ...string) (rows [][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	up, err := e.dial(ctx, upstream.NoPhase, cred)
	if err != nil {
		return nil, err
	}
	want := ownResponse(up.greeting.caps)
	if want.database = database; database == "" {
		want.database = e.databaseFor(cred)
	}
	if err := e.logInto(ctx, upstream.NoPhase, up, want); err != nil {
		return nil, tookPassword(err)
	}
	e.refused.CompareAndSwap(cred, nil)
	stop := upstream.BreakOff(ctx, up.tcp)
	defer stop()
	for _, sql := range statements {
		if rows, err = up.query(sql); err != nil {
			break
		}
	}
	if _, said := errors.AsType[*fault.SQLError](err); err != nil && !said {
		return nil, up.fail(ctx, err)
	}
	up.quit()
	return rows, err
}

// tookPassword tells the refusals apart that a server gives only once it has checked
// the password.
func tookPassword(err error) error {
	se, ok := errors.AsType[*serverError](err)
	if !ok {
		return err
	}
	switch se.code {
	case mysql.ER_DBACCESS_DENIED_ERROR, mysql.ER_BAD_DB_ERROR, mysql.ER_USER_LIMIT_REACHED:
		return &fault.Error{Kind: fault.UpstreamRefused, Message: "the database took the credential and refused the session",
			Err: &fault.SQLError{Code: strconv.Itoa(int(se.code)), Message: se.message}}
	}
	return err
}

// ownResponse is the answer to a greeting where no client stands behind a login.
// It names the program if the server's capabilities allow.
func ownResponse(server uint32) response {
	r := response{
		caps:      mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_TRANSACTIONS,
		maxPacket: 1 << 24, charset: utf8mb4, filler: make([]byte, 23),
	}
	// Without it a server that wants a second factor says that the password is wrong.
	r.caps |= server & mysql.MULTI_FACTOR_AUTHENTICATION
	if server&mysql.CLIENT_CONNECT_ATTRS != 0 {
		r.caps |= mysql.CLIENT_CONNECT_ATTRS
		for _, s := range []string{"program_name", "credproxy"} {
			r.attrs = append(mysql.AppendLengthEncodedInteger(r.attrs, uint64(len(s))), s...)
		}
	}
	return r
}

func (u *serverConn) query(sql string) ([][]string, error) {
	u.seq = 0
	if err := u.write(append([]byte{mysql.COM_QUERY}, sql...)); err != nil {
		return nil, fault.ErrAnswer("sending it", err)
	}
	return u.answer()
}

// answer reads the answer to a statement: OK, an error, or a result set in text
// (page "COM_QUERY Response"), whose definitions of columns it skips.
func (c *packetConn) answer() (rows [][]string, err error) {
	columns := 0
	const head, definitions, body = 0, 1, 2
	for part, size := head, 0; size <= upstream.MaxAnswer && len(rows) <= upstream.MaxRows; {
		b, err := c.read()
		if err != nil || len(b) == 0 {
			return nil, fault.ErrAnswer("waiting for the answer", err)
		}
		size += headerSize + len(b)
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
			row, err := parseRow(b, columns)
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
	se, err := parseError(payload)
	if err != nil {
		return fault.ErrAnswer("an error packet that cannot be read", err)
	}
	return fault.ErrStatement(&fault.SQLError{Code: strconv.Itoa(int(se.code)), Message: se.message})
}

// parseRow parses one row of a result set (page "Text Resultset Row").
func parseRow(b []byte, columns int) ([]string, error) {
	f := fields{b: b}
	row := make([]string, columns)
	for i := range row {
		if len(f.b) > 0 && f.b[0] == 0xfb { // NULL
			f.take(1)
			continue
		}
		row[i] = string(f.counted())
	}
	if f.err == nil && len(f.b) > 0 {
		f.err = errors.New("bytes after the last column")
	}
	return row, f.err
}
