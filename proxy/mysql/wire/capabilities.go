package wire

import (
	"github.com/go-mysql-org/go-mysql/mysql"
)

// NotOffered are the capabilities that a client is never offered: what is
// compressed cannot be passed on unseen, and TLS is offered only with client_tls.
const NotOffered = mysql.CLIENT_COMPRESS | mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM | mysql.CLIENT_SSL

// ForClient returns the greeting that a client hears: the database's own, but
// with our salt, without what is not offered, and with a plugin that we can play.
func (g Greeting) ForClient(tls bool) Greeting {
	g.Capabilities &^= NotOffered
	if tls {
		g.Capabilities |= mysql.CLIENT_SSL
	}
	g.Salt = NewSalt()
	if g.Plugin != mysql.AUTH_CACHING_SHA2_PASSWORD {
		g.Plugin = mysql.AUTH_NATIVE_PASSWORD
	}
	return g
}

// ForServer returns the response that the database hears from us: the client's
// own, with another user, with the database if the client named none, and with
// the flags that say how we send the password. No flag that changes what follows
// the login is added or taken away.
func (r HandshakeResponse) ForServer(server uint32, user, database, plugin string, tls bool) HandshakeResponse {
	r.User, r.Plugin, r.Auth = user, plugin, nil
	r.Capabilities &^= NotOffered | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
	r.Capabilities |= mysql.CLIENT_SECURE_CONNECTION
	r.Capabilities |= server & (mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
	if tls {
		r.Capabilities |= mysql.CLIENT_SSL
	}
	if r.Database == "" {
		r.Database = database
	}
	if r.Database != "" {
		r.Capabilities |= mysql.CLIENT_CONNECT_WITH_DB
	}
	return r
}
