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
// with.
var resets = []struct{ sql, tag string }{{"DISCARD ALL", "DISCARD ALL"}, {"RESET ROLE", "RESET"}}

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
