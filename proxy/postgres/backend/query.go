package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgproto3/v2"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// Query logs in with cred, for no client but credproxy itself, runs the statements as
// [Conn.Query] does, and ends the session. p.Startup does not count. database may be
// empty: it is then p.Database, else the secret's, else that of the user's name.
//
// The errors are those of [Login] and [Conn.Query].
func Query(ctx context.Context, p Params, cred *secrets.Credential, database string, statements ...string) (rows [][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	p.Startup = OwnStartup(cred, database)
	c, err := Login(ctx, p, cred)
	if err != nil {
		return nil, err
	}
	rows, err = c.Query(ctx, statements...)
	if _, said := errors.AsType[*fault.SQLError](err); err == nil || said {
		_ = c.Close()
	}
	return rows, err
}

// OwnStartup returns what credproxy asks for where it logs in for no client. An empty
// database is that of the [Params], else the secret's, else that of the user's name.
func OwnStartup(cred *secrets.Credential, database string) wire.Startup {
	return wire.Startup{Version: wire.ProtocolMajor << 16, Params: []wire.Param{
		{Name: "user", Value: cred.Username}, {Name: "database", Value: database}, {Name: "application_name", Value: "credproxy"}}}
}

// Query runs the statements one after another by the simple query protocol, and
// returns the rows of the last one as text, with "" for NULL. The caps are those of
// package upstream.
//
// What the database says against the session or a statement is a *fault.SQLError in
// the chain of the error; the connection then is as it was. After any other error it is
// closed.
func (c *Conn) Query(ctx context.Context, statements ...string) (rows [][]string, err error) {
	err = upstream.BreakOff(ctx, c.TCP, func() (err error) {
		rows, err = c.query(statements)
		return err
	})
	if err != nil {
		if _, said := errors.AsType[*fault.SQLError](err); !said {
			return nil, c.fail(ctx, err)
		}
	}
	return rows, err
}

// query waits until the session has begun and runs the statements.
func (c *Conn) query(statements []string) (rows [][]string, err error) {
	if !c.begun {
		if _, err := c.readResult(c.refused); err != nil {
			return nil, err
		}
		c.begun = true
	}
	for _, sql := range statements {
		b, err := (&pgproto3.Query{String: sql}).Encode(nil)
		if err != nil {
			return nil, fmt.Errorf("encode a statement: %w", err)
		}
		if _, err := c.Write(b); err != nil {
			return nil, fault.ErrAnswer("sending it", err)
		}
		if rows, err = c.readResult(sqlError); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// refused makes an error of an ErrorResponse that ends the session before it began:
// the database knows who logs in by then, and minds its name, or the role.
func (c *Conn) refused(m wire.Message) error {
	err := Refusal(m, c.Cred)
	if se, ok := errors.AsType[*ServerError](err); ok && !secrets.IsRejected(err) {
		return &fault.Error{Kind: fault.UpstreamRefused, Message: "the database took the credential and refused the session",
			Err: &fault.SQLError{Code: se.Fields.Code, Message: se.Fields.Message}}
	}
	return err
}

// readResult reads up to ReadyForQuery (section "Simple Query"). It returns the rows
// of the last result, or what said makes of the database's error.
func (c *Conn) readResult(said func(wire.Message) error) (rows [][]string, err error) {
	for size := 0; size <= upstream.MaxAnswer && len(rows) <= upstream.MaxRows; {
		m, readErr := c.ReadMessage()
		switch {
		case readErr != nil && err != nil: // a fatal one ends the connection
			return nil, err
		case readErr != nil:
			return nil, fault.ErrAnswer("waiting for the answer", readErr)
		}
		size += len(m.Raw)
		switch m.Kind() {
		case 'T':
			rows = nil
		case 'D':
			row, err := wire.ParseRow(m.Body(), upstream.MaxColumns)
			if err != nil {
				return nil, fault.ErrAnswer("a row that cannot be read", err)
			}
			rows = append(rows, row)
		case 'E':
			if err == nil {
				err = said(m)
			}
		case 'Z':
			if err != nil {
				return nil, err
			}
			return rows, nil
		case 'C', 'I', 'N', 'S', 'A', 'K': // completions, notices, settings, the cancel key
		default:
			return nil, fault.ErrAnswer(fmt.Sprintf("message %q out of turn", m.Kind()), nil)
		}
	}
	return nil, fault.ErrAnswer("a longer answer than any statement of credproxy's has", nil)
}

// sqlError makes an error of an ErrorResponse to a statement.
func sqlError(m wire.Message) error {
	var fields pgproto3.ErrorResponse
	if err := fields.Decode(m.Body()); err != nil {
		return fault.ErrAnswer("an error message that cannot be read", err)
	}
	return fault.ErrStatement(&fault.SQLError{Code: fields.Code, Message: fields.Message})
}
