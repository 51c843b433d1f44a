package postgres

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

// Query logs in with cred, for no client but credproxy itself, runs the
// statements one after another by the simple query protocol, and ends the
// session. It returns the rows of the last one as text, with "" for NULL.
//
// database may be empty: it is then the configuration's, else the secret's, else
// that of the user's name. Databases does not apply; Role does.
//
// The login is that of a client: same TLS, same methods, same errors, with the
// mark of [secrets.Rejected] if the database refused the credential. What it says
// once it has taken that, against the session or a statement, is a *fault.SQLError in
// the chain. The caps are those of package proxy.
func (e *Engine) Query(ctx context.Context, cred *secrets.Credential, database string, statements ...string) (rows [][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	want := wire.Startup{Version: wire.ProtocolMajor << 16, Params: []wire.Param{
		{Name: "user", Value: cred.Username}, {Name: "database", Value: database}, {Name: "application_name", Value: "credproxy"}}}
	up, err := e.connect(ctx, upstream.NoPhase, want, cred)
	if err != nil {
		return nil, err
	}
	stop := upstream.BreakOff(ctx, up.tcp)
	defer stop()
	if rows, err = up.query(statements); err != nil {
		if _, said := errors.AsType[*fault.SQLError](err); !said {
			return nil, up.fail(ctx, err)
		}
	}
	_, _ = up.Write([]byte{'X', 0, 0, 0, 4})
	_ = up.Close()
	return rows, err
}

// query waits until the session has begun and runs the statements.
func (u *serverConn) query(statements []string) (rows [][]string, err error) {
	if _, err := u.answer(u.refused); err != nil {
		return nil, err
	}
	for _, sql := range statements {
		b, err := (&pgproto3.Query{String: sql}).Encode(nil)
		if err != nil {
			return nil, fmt.Errorf("encode a statement: %w", err)
		}
		if _, err := u.Write(b); err != nil {
			return nil, fault.ErrAnswer("sending it", err)
		}
		if rows, err = u.answer(sqlError); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// refused makes an error of an ErrorResponse that ends the session before it began:
// the database knows who logs in by then, and minds its name, or the role.
func (u *serverConn) refused(m wire.Message) error {
	err := refusal(m, u.cred)
	if se, ok := errors.AsType[*serverError](err); ok && !secrets.IsRejected(err) {
		return &fault.Error{Kind: fault.UpstreamRefused, Message: "the database took the credential and refused the session",
			Err: &fault.SQLError{Code: se.fields.Code, Message: se.fields.Message}}
	}
	return err
}

// answer reads up to ReadyForQuery (section "Simple Query"). It returns the rows
// of the last result, or what said makes of the database's error.
func (u *serverConn) answer(said func(wire.Message) error) (rows [][]string, err error) {
	for size := 0; size <= upstream.MaxAnswer && len(rows) <= upstream.MaxRows; {
		m, readErr := wire.ReadMessage(u.r)
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
