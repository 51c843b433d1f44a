package mysql

import (
	"context"
	"errors"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
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
	l.change = &want
	refusal, err := l.changeUser(want)
	l.change = nil
	r.ForgetLogin()
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

// changeUser changes the user on the connection that the session has, or else logs in on
// a new one, which is all the same to the client. What a database says on a session's own
// connection is no verdict: it may be busy with the session's last command, or dead, or
// at a place that was. So only a credential that needs none is offered there, and nobody
// waits for it. The refusal is the database's of something else than the credential.
func (l *login) changeUser(want wire.ChangeUser) (refusal *wire.ServerError, err error) {
	cred, err := l.proven()
	if err != nil {
		return nil, err
	}
	p, old := l.params(), l.up
	if cred, _, err = l.engine.toServer(l.ctx, &p, topology.Place{Host: old.Host, Port: old.Port}, cred); err != nil {
		return nil, err
	}
	if !old.LeadsTo(p.Dialer, cred) {
		_ = old.Close()
		return nil, l.search(l.attempt)
	}
	if err := l.engine.checkDatabase(p.DatabaseFor(cred)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.session.LoginTimeout())
	defer cancel()
	err = old.ChangeUser(ctx, p, want, cred)
	if secrets.IsRejected(err) {
		return nil, l.search(l.attempt)
	}
	if l.lacksDefault(err) {
		_ = old.TCP.Close()
		return nil, l.search(l.attempt)
	}
	refusal, _ = errors.AsType[*wire.ServerError](err)
	if secrets.IsUserRefused(err) && l.changeToAnother(cred) == nil {
		_ = old.TCP.Close()
		return nil, nil
	}
	return refusal, err
}

// proven returns a credential that needs no verdict, by a login for nobody if there is
// none.
func (l *login) proven() (*secrets.Credential, error) {
	waiting, stop := proxy.CancelOnClientClose(l.ctx, l.client.Conn, l.client.R)
	defer stop()
	return l.engine.Credentials.Proven(waiting, l.each(func(ctx context.Context, cred *secrets.Credential) error {
		up, err := l.engine.dial(ctx, l.session.Phase, cred)
		if err != nil {
			return err
		}
		err = up.CloseCleanly(ctx, l.engine.params(l.session.Phase), up.Cred()) // cred's, or the token for where it leads
		if err == nil {
			l.engine.refused.CompareAndSwap(cred, nil)
		}
		return err
	}))
}

// changeToAnother logs in on a new connection if the secret names another user by now
// than cred's, whom the database refused on the session's own.
func (l *login) changeToAnother(cred *secrets.Credential) error {
	refused := secrets.MarkNotSent(secrets.MarkUserRefused(errors.New("the database refused the user on the session's own connection")))
	return l.search(func(ctx context.Context, other *secrets.Credential) error {
		if other.Username == cred.Username {
			return refused
		}
		return l.attempt(ctx, other)
	})
}
