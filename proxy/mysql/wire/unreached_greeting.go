package wire

import (
	"github.com/go-mysql-org/go-mysql/mysql"
)

// Unreached returns a greeting for clients of a database that nobody has reached yet, so
// that they can be told why.
func Unreached(mariaDB bool) Greeting {
	g := Greeting{
		Version: "8.0.0-credproxy", Plugin: mysql.AUTH_CACHING_SHA2_PASSWORD, Charset: 255, Salt: NewSalt(),
		Status: [2]byte{byte(mysql.SERVER_STATUS_AUTOCOMMIT)},
		Capabilities: mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_LONG_FLAG | mysql.CLIENT_CONNECT_WITH_DB | mysql.CLIENT_PROTOCOL_41 |
			mysql.CLIENT_TRANSACTIONS | mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_MULTI_STATEMENTS | mysql.CLIENT_MULTI_RESULTS |
			mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_CONNECT_ATTRS | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
	}
	if mariaDB {
		g.Version, g.Plugin, g.Charset = "5.5.5-10.6.0-MariaDB-credproxy", mysql.AUTH_NATIVE_PASSWORD, 45
		g.Capabilities &^= mysql.CLIENT_LONG_PASSWORD // it speaks of further capabilities, and has none
	}
	return g
}
