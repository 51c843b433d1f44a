package backend

import (
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/secrets"
)

// refusal makes an error of an ERR packet that ended a login with cred. Only 1045
// blames the credential: no other version of it would help against 1044, 1049, 1040,
// 1129, 1130, 1203 or 1226.
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
	return e
}

// broken is a database that breaks the protocol or the connection.
func broken(what string, err error) error {
	return &fault.Error{Kind: fault.UpstreamBroken, Message: "the connection to the database broke during login: " + what,
		Hint: "Is this the port of a MySQL or MariaDB server? Its log may tell more.", Err: err}
}
