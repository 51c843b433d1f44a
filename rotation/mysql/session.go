package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/backend"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

// Server is a MySQL or a MariaDB. It implements [account.Server].
type Server struct{ dialer *upstream.Dialer }

// NewServer returns the server that d leads to.
func NewServer(d *upstream.Dialer) *Server { return &Server{d} }

// Login implements [account.Server]. The session has no database: the one that a secret
// names need not be one that another secret's user may use.
func (s *Server) Login(ctx context.Context, cred *secrets.Credential) (account.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	conn, err := backend.Login(ctx, backend.Params{Dialer: s.dialer, NoDatabase: true}, cred)
	if err != nil {
		return nil, err
	}
	c := &Session{conn: conn, link: s.dialer.Link(conn.PacketConn.Conn)}
	if err := c.begin(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Session is logged in at a [Server]. It implements [account.Session].
type Session struct {
	conn *backend.Conn
	link secrets.Link
	user user // as the server sees it
	server
}

// server is what is known of the server.
type server struct {
	mariadb bool
	version [3]int
}

// serverOf takes what the server says of its version.
func serverOf(text string) (s server, err error) {
	s.mariadb = strings.Contains(strings.ToLower(text), "mariadb")
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &s.version[0], &s.version[1], &s.version[2]); err != nil {
		return s, fmt.Errorf("the server's version %q cannot be read", fault.Clip(text))
	}
	return s, nil
}

// mysqlFrom reports whether this is MySQL of the version given or a later one.
func (s server) mysqlFrom(version ...int) bool {
	return !s.mariadb && slices.Compare(s.version[:], version) >= 0
}

// retains reports whether the server is a MySQL that keeps a second password.
func (s server) retains() bool { return s.mysqlFrom(8, 0, 14) }

// lockTimeout is how long a statement waits for a lock, in seconds: less than the session
// waits for it, so that none runs when nobody hears of it any more.
const lockTimeout = "10"

// begin settles how text is read and written in the session, and turns on all roles.
func (s *Session) begin(ctx context.Context) error {
	rows, err := s.Query(ctx, "SET NAMES utf8mb4", "SELECT @@version, CURRENT_USER()")
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return fault.ErrAnswer("no version", nil)
	}
	if s.server, err = serverOf(rows[0][0]); err != nil {
		return err
	}
	s.user = userOf(rows[0][1])
	mode := "STRICT_ALL_TABLES"
	if !s.mysqlFrom(8) { // there GRANT makes no users anyway
		mode += ",NO_AUTO_CREATE_USER"
	}
	statements := []string{"SET SESSION sql_mode = '" + mode + "'", "SET SESSION sql_quote_show_create = ON",
		"SET SESSION lock_wait_timeout = " + lockTimeout + ", innodb_lock_wait_timeout = " + lockTimeout}
	if s.mysqlFrom(8) {
		statements = append(statements, "SET ROLE ALL")
	}
	if s.mariadb { // changes of accounts wait for a backup's lock whatever lock_wait_timeout says
		statements = append(statements, "SET SESSION max_statement_time = "+lockTimeout)
	}
	_, err = s.Query(ctx, statements...)
	return err
}

// Query implements [account.Session].
func (s *Session) Query(ctx context.Context, statements ...string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, upstream.QueryTimeout)
	defer cancel()
	return s.conn.Query(ctx, statements...)
}

// Close says good-bye.
func (s *Session) Close() error { return s.conn.Close() }

// errorsOfRights are those by which a server says that the user may not.
var errorsOfRights = []string{"1044", "1045", "1142", "1143", "1227", "1370", "1410", "1698"}

// read runs a statement that needs a right of the session's user. Without it the error is
// an obstacle.
func (s *Session) read(ctx context.Context, what, sql string) ([][]string, error) {
	rows, err := s.Query(ctx, sql)
	if said, ok := errors.AsType[*fault.SQLError](err); ok && slices.Contains(errorsOfRights, said.Code) {
		return nil, &account.Obstacle{
			Message: fmt.Sprintf("%s may not read %s: %s", s.user, what, said),
			Hint:    fmt.Sprintf("Let the user that makes the change read the accounts: GRANT SELECT ON mysql.* TO %s.", s.user)}
	}
	return rows, err
}

// texts is read for statements that return one column.
func (s *Session) texts(ctx context.Context, what, sql string) (all []string, err error) {
	rows, err := s.read(ctx, what, sql)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		all = append(all, row[0])
	}
	return all, nil
}

// checkWritable says whether accounts can be changed here. A user who could in spite of
// read_only would change the accounts of a replica alone.
func (s *Session) checkWritable(ctx context.Context) error {
	rows, err := s.Query(ctx, "SELECT @@global.innodb_read_only, @@global.read_only")
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return fault.ErrAnswer("no answer to whether it is read only", nil)
	}
	for i, name := range []string{"innodb_read_only", "read_only"} {
		if value := rows[0][i]; value != "0" && !strings.EqualFold(value, "OFF") {
			return &account.Obstacle{Message: fmt.Sprintf("the server is read only (%s is %s): it is a replica, or an Aurora reader", name, value),
				Hint: "Set host in the secret to the primary's host; for an Aurora cluster that is the writer's (cluster) endpoint."}
		}
	}
	return nil
}

// release takes the password out of cred, as what make makes of it.
func release[T any](s *Session, cred *secrets.Credential, m secrets.Method, make func(password string) (T, error)) (T, error) {
	made, err := secrets.Release(cred, m, s.link, make)
	if _, unfit := errors.AsType[*secrets.ReleaseError](err); unfit {
		err = &account.Obstacle{Message: err.Error(), Hint: "Reach the server over TLS that verifies it."}
	}
	return made, err
}

// clear takes the password out of cred for a statement of MySQL, which writes it to none of
// its logs. The statement is the one place that has it then.
func (s *Session) clear(cred *secrets.Credential) (string, error) {
	return release(s, cred, secrets.Cleartext, func(password string) (string, error) { return password, nil })
}

// keeps reports whether the password of cred is the one that an account of MySQL keeps.
func (s *Session) keeps(cred *secrets.Credential, plugin, kept string) (bool, error) {
	if cred == nil || kept == "" {
		return false, nil
	}
	return release(s, cred, secrets.StoredHash, func(password string) (bool, error) { return keeps(plugin, kept, password) })
}
