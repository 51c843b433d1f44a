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
// ones are asked, in physical replication by SHOW.
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
	if c.walsender {
		return c.showsRecovery()
	}
	yes, err := c.value("SELECT pg_catalog.pg_is_in_recovery()")
	return yes == "t", err
}

// showsRecovery asks a walsender, which takes SHOW and no SELECT ("Streaming Replication
// Protocol"). A transaction of a server in recovery is read-only; one of another server only if
// transactions are so by default, which no role's or database's settings say there.
func (c *Conn) showsRecovery() (bool, error) {
	readOnly, err := c.value("SHOW transaction_read_only")
	if err != nil || readOnly == "off" {
		return false, err
	}
	byDefault, err := c.value("SHOW default_transaction_read_only")
	if err == nil && byDefault == "on" {
		err = &fault.Error{Kind: fault.UpstreamRefused, Message: "the database does not say in physical replication whether it is the writer, because default_transaction_read_only is on",
			Hint: "Turn it off, or let such clients in through a database without role in the configuration of credproxy."}
	}
	return true, err
}

// value runs a statement that returns one.
func (c *Conn) value(sql string) (string, error) {
	rows, err := c.query([]string{sql})
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fault.ErrAnswer("no row that says whether the server is in recovery", nil)
	}
	return rows[0][0], nil
}

// unread puts back what was read.
func (c *Conn) unread(read []byte) {
	ahead, _ := c.r.Peek(c.r.Buffered()) // cannot fail: it is there
	all := append(read, ahead...)
	c.r = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(all), c.Conn), max(len(all), 4096))
	_, _ = c.r.Peek(len(all)) // cannot fail: none of it is the network's
}
