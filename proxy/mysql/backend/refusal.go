package backend

import (
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/secrets"
)

// Error numbers that the library does not know.
const (
	userBlocked3955   = 3955 // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK, MySQL
	userBlocked4150   = 4150 // ER_USER_IS_BLOCKED, MariaDB
	accountLocked3118 = 3118 // ER_ACCOUNT_HAS_BEEN_LOCKED, MySQL
	accountLocked4151 = 4151 // ER_ACCOUNT_HAS_BEEN_LOCKED, MariaDB
)

// refusal makes an error of an ERR packet that ended a login with cred. Only 1045
// blames the credential. Some blame the user, for whom another may stand in; no version
// would help against 1049, 1040, 1129, or 1130, which comes before the user is known.
func refusal(payload []byte, cred *secrets.Credential) error {
	se, err := wire.ParseError(payload)
	if err != nil {
		return broken("an error packet that cannot be read", err)
	}
	e := &fault.Error{Kind: fault.UpstreamRefused, Message: "the database refused the login", Err: se}
	if se.Code == mysql.ER_ACCESS_DENIED_ERROR {
		e.Kind = fault.CredentialRejected
		e.Message = "the database refused the credential"
		e.Hint = "Compare the secret with the database: was the password changed by hand, or did a rotation fail? Is the user allowed from this host?"
		if !cred.Expires.IsZero() { // a token
			e.Hint = "Is the user identified with AWSAuthenticationPlugin AS 'RDS', and rds-db:connect allowed to the AWS credentials? Have these expired? Is signing_host what RDS shows as endpoint?"
		}
		return secrets.MarkRejected(e)
	}
	switch {
	case blamesUser(se.Code):
		return secrets.MarkUserRefused(e)
	case blamesClient(se.Code):
		return secrets.MarkNotSent(e)
	}
	return e
}

// blamesClient reports whether code is about what the handshake response says: its flags,
// attributes or character set.
func blamesClient(code uint16) bool {
	switch code {
	case mysql.ER_HANDSHAKE_ERROR, mysql.ER_MALFORMED_PACKET, mysql.ER_NOT_SUPPORTED_AUTH_MODE,
		mysql.ER_UNKNOWN_CHARACTER_SET, mysql.ER_NET_PACKET_TOO_LARGE:
		return true
	}
	return false
}

// blamesUser reports whether code means that this user may not log in, or not to the
// database, or has as many sessions as it may have.
func blamesUser(code uint16) bool {
	switch code {
	case mysql.ER_DBACCESS_DENIED_ERROR, mysql.ER_USER_LIMIT_REACHED, mysql.ER_TOO_MANY_USER_CONNECTIONS,
		mysql.ER_ACCESS_DENIED_NO_PASSWORD_ERROR, mysql.ER_PLUGIN_IS_NOT_LOADED, mysql.ER_MUST_CHANGE_PASSWORD_LOGIN,
		accountLocked3118, accountLocked4151, userBlocked3955, userBlocked4150:
		return true
	}
	return false
}

// tookPassword reports whether a server gives code only once it has checked the password.
func tookPassword(code uint16) bool {
	switch code {
	case mysql.ER_DBACCESS_DENIED_ERROR, mysql.ER_BAD_DB_ERROR, mysql.ER_USER_LIMIT_REACHED:
		return true
	}
	return false
}

// broken is a database that breaks the protocol or the connection.
func broken(what string, err error) error {
	return &fault.Error{Kind: fault.UpstreamBroken, Message: "the connection to the database broke during login: " + what,
		Hint: "Is this the port of a MySQL or MariaDB server? Its log may tell more.", Err: err}
}
