package mysql

import (
	"context"
	"errors"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// noPlugin is the plugin named in a COM_CHANGE_USER of ours. No server has it, so
// every server answers with an AuthSwitchRequest and a fresh salt. (The field for
// a password there has one byte for its length, too little for an IAM token.)
const noPlugin = "credproxy_none"

// changeUser is a COM_CHANGE_USER (page "COM_CHANGE_USER").
type changeUser struct {
	user     string
	database string
	charset  [2]byte
	plugin   string
	attrs    []byte
}

// parseChangeUser parses the payload of a client whose handshake response was r.
func parseChangeUser(payload []byte, r response) (changeUser, error) {
	f := fields{b: payload}
	f.take(1)
	c := changeUser{user: f.text(), charset: [2]byte{r.charset}}
	if r.caps&mysql.CLIENT_SECURE_CONNECTION != 0 {
		f.take(int(f.byte()))
	} else {
		f.text()
	}
	c.database = f.text()
	if len(f.b) >= 2 {
		copy(c.charset[:], f.take(2))
	}
	if r.caps&mysql.CLIENT_PLUGIN_AUTH != 0 && len(f.b) > 0 {
		c.plugin = f.text()
	}
	if r.caps&mysql.CLIENT_CONNECT_ATTRS != 0 && len(f.b) > 0 {
		c.attrs = f.counted()
	}
	return c, f.err
}

// encode encodes the command for a server that has been told caps.
func (c changeUser) encode(caps uint32) []byte {
	b := appendText([]byte{mysql.COM_CHANGE_USER}, c.user)
	b = append(b, 0) // no password yet
	b = appendText(b, c.database)
	b = append(b, c.charset[:]...)
	b = appendText(b, noPlugin)
	if caps&mysql.CLIENT_CONNECT_ATTRS != 0 {
		b = mysql.AppendLengthEncodedInteger(b, uint64(len(c.attrs)))
		b = append(b, c.attrs...)
	}
	return b
}

// changeUser answers a client's COM_CHANGE_USER: any password will do for the
// client, and the database gets the current credential. A database that refuses
// it closes the connection; then the next credential is tried on a new one, which
// is all the same to the client, because the command ends a session and begins
// another.
func (l *login) changeUser(held []byte) error {
	_ = l.client.SetDeadline(time.Now().Add(l.session.LoginTimeout()))
	l.client.resume(held)
	payload, err := l.client.read()
	if err != nil {
		return clientError(err)
	}
	want, err := parseChangeUser(payload, *l.client.want)
	if err != nil {
		return &fault.Error{Kind: fault.ClientProtocol, Message: "the client's COM_CHANGE_USER cannot be read", Err: err}
	}
	if l.client.want.caps&mysql.CLIENT_PLUGIN_AUTH != 0 {
		// Servers always switch here, and clients have not prepared for less.
		if err := l.client.switchTo(want.plugin); err != nil {
			return err
		}
	}
	r := l.client.want
	r.user, r.database, r.attrs, r.charset = want.user, want.database, want.attrs, want.charset[0]
	old := l.up
	var refusal *serverError
	err = l.search(func(ctx context.Context, cred *secrets.Credential) error {
		if old == nil {
			return l.attempt(ctx, cred)
		}
		up := old
		old = nil
		err := l.changeOn(ctx, up, want, cred)
		if !secrets.IsRejected(err) {
			refusal, _ = errors.AsType[*serverError](err)
		}
		return err
	})
	_ = l.client.SetWriteDeadline(time.Now().Add(l.session.LoginTimeout()))
	switch {
	case refusal != nil:
		// What follows is up to the database: MySQL closes the connection,
		// MariaDB goes on with the user and the database that were.
		return clientError(l.client.write(refusal.raw))
	case err != nil:
		return err
	}
	return clientError(l.client.write(l.up.ok))
}

// changeOn changes the user on the connection that the session has. It closes the
// connection on failure, unless the database refused something else than the
// credential.
func (l *login) changeOn(ctx context.Context, up *serverConn, want changeUser, cred *secrets.Credential) error {
	if err := l.engine.checkDatabase(want.database, cred); err != nil {
		return err
	}
	stop := upstream.BreakOff(ctx, up.tcp)
	defer stop()
	up.packetConn = newPacketConn(up.Conn)
	up.cred, want.user = cred, cred.Username
	if want.database == "" {
		want.database = l.engine.databaseFor(cred)
	}
	err := up.write(want.encode(l.client.want.caps))
	if err == nil {
		up.ok, err = l.engine.authenticator(up).run(up.packetConn)
	} else {
		err = broken("changing the user", err)
	}
	if _, said := errors.AsType[*serverError](err); said && !secrets.IsRejected(err) {
		return err
	}
	if err != nil {
		return up.fail(ctx, err)
	}
	return nil
}
