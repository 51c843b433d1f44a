package wire

import (
	"github.com/go-mysql-org/go-mysql/mysql"
)

// NotOffered are the capabilities that a client is never offered: on the way to a
// neighbour compression costs time only, and TLS is offered only with client_tls.
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
