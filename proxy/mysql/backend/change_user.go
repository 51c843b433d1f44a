package backend

import (
	"context"
	"errors"

	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// ChangeUser makes the session one of cred's user, by COM_CHANGE_USER as want says it but
// for the user: for a database that has been told the capabilities of p.Response. It
// closes the connection if it fails, unless the database refused something else than the
// credential: what follows is up to the database then. The errors are those of [Login].
func (c *Conn) ChangeUser(ctx context.Context, p Params, want wire.ChangeUser, cred *secrets.Credential) error {
	c.PacketConn = wire.NewPacketConn(c.PacketConn.Conn)
	c.Cred, want.User = cred, cred.Username
	if want.Database == "" {
		want.Database = p.DefaultDatabase(cred)
	}
	err := upstream.BreakOff(ctx, c.TCP, func() error { return c.changeUser(p, want) })
	if _, said := errors.AsType[*wire.ServerError](err); said && !secrets.IsRejected(err) && ctx.Err() == nil {
		return err
	}
	if err != nil {
		return c.fail(ctx, err)
	}
	return nil
}

func (c *Conn) changeUser(p Params, want wire.ChangeUser) (err error) {
	if err := c.WritePacket(want.Encode(p.Response.Capabilities)); err != nil {
		return broken("changing the user", err)
	}
	auth := authenticator{cred: c.Cred, link: c.dialer.Link(c.PacketConn.Conn)}
	c.OK, err = auth.run(c.PacketConn)
	return err
}
