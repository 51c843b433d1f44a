package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/rotation/account"
)

// maxName is the longest name of a role, in bytes (NAMEDATALEN).
const maxName = 63

// change is one [account.Change] with what the server says about it.
type change struct {
	account.Change
	s       *session
	ctx     context.Context // of Plan
	me      string          // the session's user
	version int             // as in server_version_num
	super   bool            // the session's user may do anything
	creates bool            // it has CREATEROLE

	statements []account.Statement
}

// Plan is that of [account.Session].
func (s *session) Plan(ctx context.Context, want account.Change) ([]account.Statement, error) {
	c := &change{Change: want, s: s, ctx: ctx}
	if _, err := c.query("SET ROLE NONE"); err != nil { // ALTER ROLE ... SET role may have set another
		return nil, err
	}
	for _, step := range []func() error{c.lookAround, c.makeRole, c.equalize, c.setPassword} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	c.statements = append([]account.Statement{{SQL: "BEGIN READ WRITE"}}, append(c.statements, account.Statement{SQL: "COMMIT"})...)
	return c.statements, nil
}

func (c *change) add(format string, args ...any) {
	c.statements = append(c.statements, account.Statement{SQL: fmt.Sprintf(format, args...)})
}

func (c *change) query(sql string) ([][]string, error) { return c.s.Query(c.ctx, sql) }

// lookAround finds what is in the way of any change.
func (c *change) lookAround() error {
	rows, err := c.query(`SELECT session_user, current_setting('server_version_num'), pg_is_in_recovery(), r.rolsuper, r.rolcreaterole,
		coalesce(current_setting('rds.restrict_password_commands', true), '') IN ('on', '1', 'true')
		AND NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = 'rds_password' AND pg_has_role(session_user, p.oid, 'MEMBER'))
		FROM pg_roles r WHERE r.rolname = session_user`)
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) != 6 {
		return fmt.Errorf("the server says nothing of its own user")
	}
	row := rows[0]
	c.me, c.super, c.creates = row[0], row[3] == "t", row[4] == "t"
	if c.version, err = strconv.Atoi(row[1]); err != nil {
		return fmt.Errorf("server_version_num: %w", err)
	}
	switch {
	case row[2] == "t":
		return &account.Obstacle{Message: "the server is a replica, which takes no changes",
			Hint: "Set host in the secret to the writer's endpoint, or name a master secret whose host is that endpoint"}
	case row[5] == "t":
		return &account.Obstacle{Message: fmt.Sprintf("%s may not change passwords: rds.restrict_password_commands is on", c.me),
			Hint: fmt.Sprintf("Rotate with a master secret, whose user is a member of rds_password; or GRANT rds_password TO %s", name(c.me))}
	case len(c.New.Username) > maxName:
		return &account.Obstacle{Message: fmt.Sprintf("the name %s is longer than the %d bytes that PostgreSQL allows", c.New.Username, maxName),
			Hint: "Take a shorter name for the first of the two users"}
	case c.me != c.New.Username && !c.super && !c.creates:
		return &account.Obstacle{Message: fmt.Sprintf("%s may not change other roles", c.me),
			Hint: fmt.Sprintf("ALTER ROLE %s CREATEROLE, or name the secret of a user who has it as the master secret", name(c.me))}
	}
	return nil
}

// mayAdminister reports whether the session's user may change a role and who its members
// are. Up to PostgreSQL 15 CREATEROLE is enough.
func (c *change) mayAdminister(role string) (bool, error) {
	if c.super || c.version < 160000 && c.creates {
		return true, nil
	}
	rows, err := c.query(fmt.Sprintf("SELECT pg_has_role(session_user, %s, 'MEMBER WITH ADMIN OPTION')", literal(role)))
	return err == nil && len(rows) == 1 && rows[0][0] == "t", err
}

// needAdmin is the obstacle that the session's user may not administer a role.
func (c *change) needAdmin(role, what string) error {
	ok, err := c.mayAdminister(role)
	if err != nil || ok {
		return err
	}
	return &account.Obstacle{Message: fmt.Sprintf("%s may not %s: it has no ADMIN OPTION on %s, which PostgreSQL 16 and later want", c.me, what, role),
		Hint: fmt.Sprintf("As a superuser or a role that has it: GRANT %s TO %s WITH ADMIN OPTION", name(role), name(c.me))}
}

// attribute is an attribute of roles that is on or off.
type attribute struct {
	column, on, off string
	isDefault       string // of a role that is made
}

var attributes = []attribute{
	{"rolsuper", "SUPERUSER", "NOSUPERUSER", "f"}, {"rolinherit", "INHERIT", "NOINHERIT", "t"},
	{"rolcreaterole", "CREATEROLE", "NOCREATEROLE", "f"}, {"rolcreatedb", "CREATEDB", "NOCREATEDB", "f"},
	{"rolcanlogin", "LOGIN", "NOLOGIN", "f"}, {"rolreplication", "REPLICATION", "NOREPLICATION", "f"},
	{"rolbypassrls", "BYPASSRLS", "NOBYPASSRLS", "f"}, {"rolconnlimit", "", "", "-1"}, {"coalesce(rolvaliduntil, 'infinity')", "", "", "infinity"},
}

// role returns the attributes of a role, nil if there is no such role.
func (c *change) role(role string) ([]string, error) {
	columns := make([]string, len(attributes))
	for i, a := range attributes {
		columns[i] = a.column
	}
	rows, err := c.query("SELECT " + strings.Join(columns, ", ") + " FROM pg_roles WHERE rolname = " + literal(role))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// makeRole makes the role if it is missing and may be made, and gives it the attributes of
// the other.
func (c *change) makeRole() error {
	has, err := c.role(c.New.Username)
	switch {
	case err != nil:
		return err
	case c.Like == "" && has == nil:
		return &account.Obstacle{Message: fmt.Sprintf("there is no role %s", c.New.Username), Hint: "Create it, or correct username in the secret"}
	case has == nil:
		c.add("CREATE ROLE %s", name(c.New.Username))
		for _, a := range attributes {
			has = append(has, a.isDefault)
		}
	case c.me != c.New.Username:
		if err := c.needAdmin(c.New.Username, "change the role "+c.New.Username); err != nil {
			return err
		}
	}
	if c.Like == "" {
		return c.needAttributes(has, has)
	}
	wants, err := c.role(c.Like)
	if err != nil {
		return err
	}
	if wants == nil {
		return &account.Obstacle{Message: fmt.Sprintf("there is no role %s", c.Like), Hint: "The master secret leads to another server than the secret does; correct host in one of them"}
	}
	if err := c.needAttributes(has, wants); err != nil {
		return err
	}
	var changed []string
	for i, a := range attributes {
		switch {
		case has[i] == wants[i]:
		case a.column == "rolconnlimit":
			changed = append(changed, "CONNECTION LIMIT "+wants[i])
		case a.on == "":
			changed = append(changed, "VALID UNTIL "+literal(wants[i]))
		case wants[i] == "t":
			changed = append(changed, a.on)
		default:
			changed = append(changed, a.off)
		}
	}
	if len(changed) > 0 {
		c.add("ALTER ROLE %s %s", name(c.New.Username), strings.Join(changed, " "))
	}
	return nil
}

// needAttributes is the obstacle that the session's user may not change a role for an
// attribute that it has, or may not give or take one.
func (c *change) needAttributes(has, wants []string) error {
	if c.super {
		return nil
	}
	mine, err := c.role(c.me)
	if err != nil || mine == nil {
		return err
	}
	old := c.version < 160000 // there superusers alone give what others give who have it
	for i, a := range attributes {
		super, replication, rls := a.column == "rolsuper", a.column == "rolreplication", a.column == "rolbypassrls"
		changes := has[i] != wants[i]
		switch {
		case has[i] == "t" && (super || replication && old):
			return &account.Obstacle{Message: fmt.Sprintf("%s has %s, and %s is no superuser, who alone may change it", c.New.Username, a.on, c.me),
				Hint: fmt.Sprintf("ALTER ROLE %s %s, or rotate with a superuser's secret as the master secret", name(c.New.Username), a.off)}
		case changes && (super || old && (replication || rls)),
			changes && mine[i] != "t" && !old && (replication || rls || a.column == "rolcreatedb" || a.column == "rolcreaterole"):
			which, hint := a.off, "As a superuser make both users alike in this"
			if wants[i] == "t" {
				which = a.on
			}
			if !old && !super {
				hint = fmt.Sprintf("As a superuser: ALTER ROLE %s %s; or make both users alike in this", name(c.me), a.on)
			}
			return &account.Obstacle{Message: fmt.Sprintf("%s has %s, which %s may not give to %s", c.Like, which, c.me, c.New.Username), Hint: hint}
		}
	}
	return nil
}

// equalize gives the role the memberships and settings of the other.
func (c *change) equalize() error {
	if c.Like == "" {
		return nil
	}
	if err := c.equalizeMemberships(); err != nil {
		return err
	}
	return c.equalizeSettings()
}

// defaultIterations is PostgreSQL's own (SCRAM_SHA_256_DEFAULT_ITERATIONS).
const defaultIterations = 4096

// setPassword adds the statement that sets the password.
func (c *change) setPassword() error {
	rows, err := c.query("SELECT coalesce(current_setting('scram_iterations', true), '')")
	if err != nil {
		return err
	}
	iterations := defaultIterations
	if len(rows) == 1 {
		if n, err := strconv.Atoi(rows[0][0]); err == nil && n > iterations {
			iterations = n
		}
	}
	stored, err := backend.ScramVerifier(c.New, c.s.link, iterations)
	if err == nil && c.AllowMD5 {
		var md5 bool
		if md5, err = c.hasMD5(); md5 {
			stored, err = backend.MD5Hash(c.New, c.s.link)
		}
	}
	if err != nil {
		return err
	}
	sql := fmt.Sprintf("ALTER ROLE %s PASSWORD ", name(c.New.Username))
	c.statements = append(c.statements, account.Statement{SQL: sql + literal(stored), Text: sql + "'<redacted>'"})
	return nil
}

// hasMD5 reports whether the role's password is an md5 one, as far as the session can tell:
// its own by how it logged in, others' if it is a superuser.
func (c *change) hasMD5() (bool, error) {
	if c.me == c.New.Username || !c.super {
		return c.me == c.New.Username && c.s.Method == backend.MethodMD5, nil
	}
	like := c.New.Username
	if c.Like != "" {
		like = c.Like
	}
	rows, err := c.query("SELECT rolpassword LIKE 'md5%' FROM pg_authid WHERE rolname = " + literal(like))
	return err == nil && len(rows) == 1 && rows[0][0] == "t", err
}
