package wire

import (
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// LoginOnly are the capabilities that say how to log in, and nothing of what follows:
// the two legs need not agree on them.
const LoginOnly = NotOffered | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
	mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_CONNECT_WITH_DB | mysql.CLIENT_CONNECT_ATTRS | mysql.MULTI_FACTOR_AUTHENTICATION

// Differs says in words in what a server that greets with actual is another than a client
// takes it for that was told g and answered r; "" if that client cannot tell.
func (g Greeting) Differs(actual Greeting, r HandshakeResponse) string {
	differ := r.Capabilities &^ LoginOnly & (g.Capabilities ^ actual.Capabilities)
	for i := range mariaDBFlags { // where MySQL and its clients have zeros
		differ |= uint32(r.Filler[len(r.Filler)-mariaDBFlags+i] & (g.Reserved[len(g.Reserved)-mariaDBFlags+i] ^ actual.Reserved[len(g.Reserved)-mariaDBFlags+i]))
	}
	switch told, is := release(g.Version), release(actual.Version); {
	case told != is:
		return fmt.Sprintf("it is %s, and the client was told %s", is, told)
	case differ != 0:
		return "its capabilities are others"
	case g.Charset != actual.Charset:
		return "its default character set is another"
	}
	return ""
}

// mariaDBFlags is how many bytes MariaDB's further capabilities take, at the end of what
// is reserved.
const mariaDBFlags = 4

// IsMariaDB reports whether a server that greets with a version is MariaDB.
func IsMariaDB(version string) bool { return strings.Contains(version, "MariaDB") }

// release returns what drivers switch on in a server's version: the product and its series,
// as "MySQL 8.4". The servers behind one name may be of several releases of a series, while
// they are upgraded one after the other.
func release(version string) string {
	product := "MySQL "
	if IsMariaDB(version) {
		product = "MariaDB "
		version = strings.TrimPrefix(version, "5.5.5-") // for replicas of old
	}
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return product + major[:min(len(major), 8)] + "." + minor[:min(len(minor), 8)]
}
