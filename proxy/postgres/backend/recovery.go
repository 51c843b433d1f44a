package backend

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// maxBeginning caps what the database may say between AuthenticationOk and the first
// ReadyForQuery, in bytes: parameters, notices, the cancel key.
const maxBeginning = 256 << 10

// InRecovery reports whether the server only follows another one, of a session that Begin
// has begun. It waits for the first ReadyForQuery; what it reads up to there will be read
// again. Servers from PostgreSQL 14 on say it by then, as the parameter in_hot_standby; older
// ones are asked.
//
// The errors are those of [Conn.Begin]; the connection is closed then.
func (c *Conn) InRecovery(ctx context.Context) (yes bool, err error) {
	err = upstream.BreakOff(ctx, c.TCP, func() (err error) {
		yes, err = c.inRecovery(ctx)
		return err
	})
	if err == nil {
		return yes, nil
	}
	if err = c.fail(ctx, err); secrets.IsRejected(err) {
		return false, err
	}
	return false, secrets.MarkAccepted(err)
}

func (c *Conn) inRecovery(ctx context.Context) (bool, error) {
	var beginning []byte
	var frames wire.ServerFrames
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return false, Broken("waiting for the session to begin", err)
		}
		if beginning = append(beginning, m.Raw...); len(beginning) > maxBeginning {
			return false, Broken("endless messages before the session begins", nil)
		}
		switch m.Kind() {
		case 'S':
			frames.Scan(m.Raw)
		case 'E':
			return false, Refusal(m, c.Cred)
		case 'Z':
			yes, err := c.saidOrAsked(ctx, frames.Statuses)
			c.unread(beginning)
			return yes, err
		}
	}
}

// saidOrAsked looks for the parameter, and asks where the server has none.
func (c *Conn) saidOrAsked(ctx context.Context, said []wire.Param) (bool, error) {
	for _, s := range said {
		if s.Name == "in_hot_standby" {
			return s.Value == "on", nil
		}
	}
	c.begun = true
	rows, err := c.query([]string{"SELECT pg_catalog.pg_is_in_recovery()"})
	if err != nil {
		return false, err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return false, fault.ErrAnswer("no row that says whether the server is in recovery", nil)
	}
	return rows[0][0] == "t", nil
}

// unread puts back what was read.
func (c *Conn) unread(read []byte) {
	ahead, _ := c.r.Peek(c.r.Buffered()) // cannot fail: it is there
	all := append(read, ahead...)
	c.r = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(all), c.Conn), max(len(all), 4096))
	_, _ = c.r.Peek(len(all)) // cannot fail: none of it is the network's
}
