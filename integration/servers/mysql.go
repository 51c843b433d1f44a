package servers

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/pki"
)

// MySQLOptions says what kind of MySQL or MariaDB to start. Only Flavor is
// needed: TLS with a certificate for localhost, logins over TLS only, and no
// binary log.
type MySQLOptions struct {
	Flavor      string           // mysql or mariadb
	Host        string           // the address of loopback to listen on; default: 127.0.0.1
	Port        int              // default: a free one
	Certificate *pki.Certificate // default: one for localhost and Host from an authority of its own
	CA          *pki.CA          // who issued Certificate; alone: who issues the default one
	ClientCA    *pki.CA          // if set, users must show a certificate of this authority
	NoTLS       bool             // no TLS at all, and logins in the clear are let in

	IAM           *TokenVerifier    // decides about IAM users and MariaDB's PAM users; without it there are none
	Binlog        bool              // write a binary log, by row, with GTIDs
	ReplicaOf     *MySQL            // a read-only replica of that server, which has a Binlog, as this one has too
	LogStatements bool              // write each statement to the log; see LogAll
	Settings      map[string]string // my.cnf, e.g. max_connections, performance_schema (off by default)
}

// MySQL is a running MySQL or MariaDB. It has the superuser root, who can log in
// only through the socket, and the database app.
type MySQL struct {
	Flavor      string
	Version     string // as the server says it, e.g. 9.7.4-2
	Host        string // an address; the default certificate also names localhost
	Port        int
	SocketDir   string
	Socket      string
	CA          *pki.CA          // to be trusted by clients; nil without TLS, or if the options do not name it
	CAFile      string           // the same as a file; "" if CA is nil
	Certificate *pki.Certificate // its own, with the key; nil without TLS

	require string // of users, as CREATE USER has it
	process *process
	general *os.File // the general log, if there is one; outlives its name
}

// MySQLFlavors are those that setup.sh installs.
func MySQLFlavors() []string { return []string{"mysql", "mariadb"} }

// MySQLProgram is the path of a program of that flavor's distribution: mysql,
// mysqldump, mysqladmin, mysqlbinlog, mysqlslap; mariadb, mariadb-dump and so on.
func MySQLProgram(t testing.TB, flavor, name string) string {
	t.Helper()
	path, err := mysqlProgram(flavor, name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Program is MySQLProgram of this server's flavor, for callers without a test.
func (my *MySQL) Program(name string) (string, error) { return mysqlProgram(my.Flavor, name) }

func mysqlProgram(flavor, name string) (string, error) {
	return installed(flavor, "usr/bin", name)
}

// RunMySQL starts a server that stops at the test's end; its log is shown if the
// test failed.
func RunMySQL(t testing.TB, o MySQLOptions) *MySQL {
	t.Helper()
	my, err := StartMySQL(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		my.Stop()
		if t.Failed() {
			t.Logf("log of %s %s on port %d:\n%s", my.Flavor, my.Version, my.Port, my.Log())
		}
	})
	return my
}

// StartMySQL starts a server and returns when it takes logins. The caller must
// Stop it.
func StartMySQL(ctx context.Context, o MySQLOptions) (*MySQL, error) {
	my, err := atFreePort(func() (*MySQL, error) { return startMySQL(ctx, o) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Flavor, err)
	}
	return my, nil
}

func startMySQL(ctx context.Context, o MySQLOptions) (*MySQL, error) {
	server := map[string]string{"mysql": "mysqld", "mariadb": "mariadbd"}[o.Flavor]
	program, err := installed(o.Flavor, "usr/sbin", server)
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	port, err := portOr(o.Port)
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	dir, err := makeFolder("credproxy-"+o.Flavor+"-", as)
	if err != nil {
		return nil, fmt.Errorf("make server folder: %w", err)
	}
	my := &MySQL{Flavor: o.Flavor, Host: hostOr(o.Host), Port: port, SocketDir: dir, Socket: filepath.Join(dir, "socket")}
	if err := my.writeFolder(ctx, as, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	var env []string
	if o.IAM != nil {
		env = append(env, o.IAM.env())
	}
	my.process, err = start(as, dir, "TERM", env, program, "--defaults-file="+my.confFile())
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := my.process.awaitLogin(ctx, my.readVersion); err != nil {
		my.Stop()
		return nil, fmt.Errorf("%w\n%s", err, my.Log())
	}
	if o.ReplicaOf != nil {
		if err := my.Follow(ctx, o.ReplicaOf); err != nil {
			my.Stop()
			return nil, fmt.Errorf("replicate: %w\n%s", err, my.Log())
		}
	}
	if o.LogStatements {
		if my.general, err = os.Open(my.generalLog()); err != nil {
			my.Stop()
			return nil, err
		}
	}
	return my, nil
}

func (my *MySQL) readVersion(ctx context.Context) error {
	root, err := my.Superuser()
	if err != nil {
		return err
	}
	defer root.Close()
	return root.QueryRowContext(ctx, "SELECT version()").Scan(&my.Version)
}

// Stop shuts the server down in order and removes its folder. More calls do nothing.
func (my *MySQL) Stop() { my.process.stop() }

// Kill ends the server as a crash of its machine does, and removes its folder.
func (my *MySQL) Kill() error { return my.process.kill(filepath.Join(my.SocketDir, "pid")) }

// Log is the end of the server's log, also after Stop.
func (my *MySQL) Log() string { return my.process.logText() }

// LogAll is all that the server has logged so far, also after Stop: its log, and
// with MySQLOptions.LogStatements the general log, where the server itself has
// left out the passwords of statements it knows to have them.
func (my *MySQL) LogAll() (string, error) {
	text, err := readAll(my.process.log)
	if err != nil || my.general == nil {
		return text, err
	}
	general, err := readAll(my.general)
	return text + general, err
}

// Addr is the server's host:port.
func (my *MySQL) Addr() string { return fmt.Sprintf("%s:%d", my.Host, my.Port) }

// Config is a login at the TCP port, for mysql.NewConnector: over TLS that
// verifies the server, if the authority is known. No name of a data source can
// say the same, because TLS settings in one refer to a global registry.
func (my *MySQL) Config(user, password, database string) *mysql.Config {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = user, password, database
	c.Net, c.Addr = "tcp", my.Addr()
	c.Logger = &mysql.NopLogger{} // the error says it all
	if my.CA != nil {
		c.TLS = &tls.Config{RootCAs: my.CA.Pool(), ServerName: my.Host}
		c.AllowCleartextPasswords = true // for IAM
	}
	return c
}

// Flags are those of the same login for the flavor's own programs; they must
// come first.
func (my *MySQL) Flags(user, password string) []string {
	flags := []string{"--no-defaults", "--protocol=tcp", "--host=" + my.Host, fmt.Sprintf("--port=%d", my.Port),
		"--user=" + user, "--password=" + password}
	switch {
	case my.Flavor == "mysql" && my.CA != nil:
		return append(flags, "--ssl-mode=VERIFY_IDENTITY", "--ssl-ca="+my.CAFile)
	case my.Flavor == "mysql":
		return append(flags, "--ssl-mode=DISABLED")
	case my.CA != nil:
		return append(flags, "--ssl-verify-server-cert", "--ssl-ca="+my.CAFile)
	default:
		return append(flags, "--skip-ssl")
	}
}

// Superuser logs in through the socket as root, and takes many statements at
// once. The caller must close it.
func (my *MySQL) Superuser() (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr = "root", "unix", my.Socket
	c.MultiStatements = true
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
