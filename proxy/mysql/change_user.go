package mysql

import (
	"context"
	"errors"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/backend"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/secrets"
)

// answerChangeUser answers a client's COM_CHANGE_USER: any password will do for the
// client, and the database gets the current credential. A database that refuses
// it closes the connection; then the next credential is tried on a new one, which
// is all the same to the client, because the command ends a session and begins
// another.
func (l *login) answerChangeUser(withheld []byte) error {
	_ = l.client.SetDeadline(time.Now().Add(l.session.LoginTimeout()))
	l.client.Resume(withheld)
	payload, err := l.client.ReadPacket()
	if err != nil {
		return clientError(err)
	}
	want, err := wire.ParseChangeUser(payload, *l.client.want)
	if err != nil {
		return &fault.Error{Kind: fault.ClientProtocol, Message: "the client's COM_CHANGE_USER cannot be read", Err: err}
	}
	if l.client.want.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 {
		// Servers always switch here, and clients have not prepared for less.
		if err := l.client.switchTo(want.Plugin); err != nil {
			return err
		}
	}
	r := l.client.want
	r.User, r.Database, r.Attributes, r.Charset = want.User, want.Database, want.Attributes, want.Charset[0]
	old := l.up
	var refusal *wire.ServerError
	err = l.search(func(ctx context.Context, cred *secrets.Credential) error {
		if old == nil {
			return l.attempt(ctx, cred)
		}
		up := old
		old = nil
		err := l.changeOn(ctx, up, want, cred)
		if !secrets.IsRejected(err) {
			refusal, _ = errors.AsType[*wire.ServerError](err)
		}
		return err
	})
	_ = l.client.SetWriteDeadline(time.Now().Add(l.session.LoginTimeout()))
	switch {
	case refusal != nil:
		// What follows is up to the database: MySQL closes the connection,
		// MariaDB goes on with the user and the database that were.
		return clientError(l.client.WritePacket(refusal.Raw))
	case err != nil:
		return err
	}
	return clientError(l.client.WritePacket(l.up.OK))
}

// changeOn changes the user on the connection that the session has.
func (l *login) changeOn(ctx context.Context, up *backend.Conn, want wire.ChangeUser, cred *secrets.Credential) error {
	p := l.params()
	if err := l.engine.checkDatabase(p.DatabaseFor(cred)); err != nil {
		return err
	}
	return up.ChangeUser(ctx, p, want, cred)
}
