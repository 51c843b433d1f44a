package backend

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgproto3/v2"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
)

// resets are the statements that make a session as a fresh one, each a message of its own
// (DISCARD ALL may not be in a transaction block, which several statements in one message
// are), and their command tags. DISCARD ALL leaves the role NONE, whatever the session began
// with; the second is for sessions that began with another.
var resets = []struct{ sql, tag string }{{"DISCARD ALL", "DISCARD ALL"}, {"RESET ROLE", "RESET"}}

// LearnReset asks a session that has just begun what Reset will have to do; ReadyForQuery was
// read, and the connection is not detached. said and the error are as those of Reset.
func (c *Conn) LearnReset(ctx context.Context, said func(wire.Message)) error {
	err := upstream.BreakOff(ctx, c.TCP, func() (err error) {
		c.roleless, err = c.beganWithoutRole(said)
		return err
	})
	if err != nil {
		return c.fail(ctx, err)
	}
	return nil
}

func (c *Conn) beganWithoutRole(said func(wire.Message)) (roleless bool, err error) {
	b, _ := (&pgproto3.Query{String: "SHOW role"}).Encode(nil) // cannot fail: it is short
	if _, err := c.Write(b); err != nil {
		return false, fault.ErrAnswer("asking for the role", err)
	}
	for size := 0; size <= upstream.MaxAnswer; {
		m, err := c.ReadMessage()
		if err != nil {
			return false, fault.ErrAnswer("waiting for the role", err)
		}
		size += len(m.Raw)
		switch m.Kind() {
		case 'S', 'N':
			said(m)
		case 'D':
			row, err := wire.ParseRow(m.Body(), 1)
			roleless = err == nil && len(row) == 1 && row[0] == "none"
		case 'T', 'C', 'E': // who cannot say has its role reset
		case 'Z':
			return roleless, nil
		default:
			return false, fault.ErrAnswer(fmt.Sprintf("message %q instead of the role", m.Kind()), nil)
		}
	}
	return false, fault.ErrAnswer("endless messages instead of the role", nil)
}

// Reset makes a session, which must be idle, as a fresh one is, so far as the server can do
// that ("DISCARD" in its manual). It waits for the answers, which must be those and no
// others; said hears of the messages between them: ParameterStatus, and notices. After an
// error the connection is closed.
func (c *Conn) Reset(ctx context.Context, said func(wire.Message)) error {
	err := upstream.BreakOff(ctx, c.TCP, func() error { return c.reset(said) })
	if err != nil {
		return c.fail(ctx, err)
	}
	return nil
}

func (c *Conn) reset(said func(wire.Message)) error {
	var b []byte
	resets := resets
	if c.roleless {
		resets = resets[:1]
	}
	for _, r := range resets {
		b, _ = (&pgproto3.Query{String: r.sql}).Encode(b) // cannot fail: it is short
	}
	if _, err := c.Write(b); err != nil {
		return fault.ErrAnswer("resetting the session", err)
	}
	c.r = bufio.NewReaderSize(c.Conn, 1024) // the answers are short
	defer func() { c.r = nil }()
	for _, r := range resets {
		if err := c.expect(r.tag, said); err != nil {
			return err
		}
	}
	if c.r.Buffered() > 0 {
		return fault.ErrAnswer("more than the answer to the reset", nil)
	}
	return nil
}

// expect reads the answer to one statement.
func (c *Conn) expect(tag string, said func(wire.Message)) error {
	done := false
	for size := 0; size <= upstream.MaxAnswer; {
		m, err := c.ReadMessage()
		if err != nil {
			return fault.ErrAnswer("waiting for the end of the reset", err)
		}
		size += len(m.Raw)
		switch body := string(m.Body()); {
		case m.Kind() == 'S' || m.Kind() == 'N':
			said(m)
		case m.Kind() == 'C' && !done && strings.TrimSuffix(body, "\x00") == tag:
			done = true
		case m.Kind() == 'Z' && done && body == "I":
			return nil
		default:
			return fault.ErrAnswer(fmt.Sprintf("message %q instead of the end of %s", m.Kind(), tag), nil)
		}
	}
	return fault.ErrAnswer("endless messages in the reset", nil)
}
