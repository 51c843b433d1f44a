package servers

import (
	"context"
	"fmt"
	"strings"
)

// Exec runs one or more statements as the superuser.
func (my *MySQL) Exec(ctx context.Context, sql string) error {
	root, err := my.Superuser()
	if err != nil {
		return fmt.Errorf("superuser: %w", err)
	}
	defer root.Close()
	if _, err := root.ExecContext(ctx, sql); err != nil {
		return fmt.Errorf("superuser: %w", err)
	}
	return nil
}

// CreateUser makes a user who logs in with a password from any host and may do
// anything in the database app. Plugin is the server's name of how: "" for its
// default; MySQL's caching_sha2_password (default), sha256_password; MariaDB's
// mysql_native_password (default), ed25519, and pam, where MySQLOptions.IAM
// decides about the password. Grants are more rights, such as "SELECT ON mysql.*"
// or "REPLICATION SLAVE ON *.*".
func (my *MySQL) CreateUser(ctx context.Context, user, password, plugin string, grants ...string) error {
	return my.createUser(ctx, user, my.identified(password, plugin), grants)
}

// CreateIAMUser makes a user who logs in with a token, as one does on RDS;
// MySQLOptions.IAM decides about it. A refused token is error 1045, SQLSTATE 28000.
func (my *MySQL) CreateIAMUser(ctx context.Context, user string, grants ...string) error {
	return my.createUser(ctx, user, "WITH AWSAuthenticationPlugin AS 'RDS'", grants)
}

// SetPassword gives a user another password, as a rotation does. The plugin
// stays, and sessions go on.
func (my *MySQL) SetPassword(ctx context.Context, user, password string) error {
	value := mysqlLiteral(password)
	if my.Flavor == "mariadb" {
		value = "PASSWORD(" + value + ")"
	}
	return my.Exec(ctx, fmt.Sprintf("SET PASSWORD FOR %s = %s", mysqlLiteral(user), value))
}

func (my *MySQL) identified(password, plugin string) string {
	switch {
	case plugin == "":
		return "BY " + mysqlLiteral(password)
	case plugin == "pam":
		return "VIA pam USING " + mysqlLiteral(pamService(my.Flavor))
	case my.Flavor == "mariadb":
		return fmt.Sprintf("VIA %s USING PASSWORD(%s)", plugin, mysqlLiteral(password))
	default:
		return fmt.Sprintf("WITH %s BY %s", plugin, mysqlLiteral(password))
	}
}

func (my *MySQL) createUser(ctx context.Context, user, identified string, grants []string) error {
	name := mysqlLiteral(user)
	statements := []string{"CREATE USER " + name + " IDENTIFIED " + identified + my.require}
	for _, grant := range append([]string{"ALL ON app.*"}, grants...) {
		statements = append(statements, "GRANT "+grant+" TO "+name)
	}
	return my.Exec(ctx, strings.Join(statements, "; "))
}

// mysqlLiteral quotes s as a string, or a user's name at any host.
func mysqlLiteral(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
