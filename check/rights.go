package check

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/probe"
)

// iamPlugin is how RDS for MySQL and MariaDB knows an IAM user.
const iamPlugin = "AWSAuthenticationPlugin"

// rights looks whether the user may do what the configuration asks of it.
func (c *checker) rights(ctx context.Context) Step {
	if c.db.Credentials.DSQL != nil {
		return c.dsqlRights(ctx)
	}
	if c.engine == config.Postgres {
		return c.postgresRights(ctx)
	}
	return c.mysqlRights(ctx)
}

func (c *checker) postgresRights(ctx context.Context) Step {
	rows, err := c.query(ctx, c.upstream, c.cred, "",
		"SELECT current_user, coalesce((SELECT pg_has_role(oid, 'member') FROM pg_roles WHERE rolname = 'rds_iam'), false)")
	if outcome, _ := probe.AcceptanceOf(c.db, c.database(c.cred), err); err != nil && outcome == probe.Accepted {
		return Step{
			Result: Warning, Detail: fmt.Sprintf("the user's rights cannot be seen: there is no database %s, or the user may not connect to it", c.database(c.cred)),
			Advice: "Set database to one that the user may connect to.",
		}
	}
	if err != nil {
		return failure(err)
	}
	if len(rows) == 0 || len(rows[0]) < 2 {
		return noAnswer
	}
	user, iam := rows[0][0], rows[0][1] == "t"
	switch {
	case c.db.Credentials.IAM != nil && !iam:
		return Step{
			Result: Warning, Detail: fmt.Sprintf("rds_iam is not granted to %s, and yet it logs in with a token", user),
			Advice: "Is this a database of RDS? There: GRANT rds_iam TO " + quoted(user) + ";",
		}
	case c.db.Credentials.IAM == nil && iam:
		return Step{
			Result: Warning, Detail: fmt.Sprintf("rds_iam is granted to %s: RDS takes no password from it", user),
			Advice: "REVOKE rds_iam FROM " + quoted(user) + ";  Or use credentials.iam.",
		}
	}
	detail := "no rights are asked for"
	if iam {
		detail = "rds_iam is granted to " + user
	}
	if c.db.Session.Role == "" {
		return fine("%s", detail)
	}
	return c.setRole(ctx, user)
}

// dsqlRights: in Aurora DSQL a token alone lets a user in.
func (c *checker) dsqlRights(ctx context.Context) Step {
	if c.db.Session.Role == "" {
		return fine("%s logs in with a token of Aurora DSQL", c.cred.Username)
	}
	return c.setRole(ctx, c.cred.Username)
}

// setRole sees whether user may become session.role.
func (c *checker) setRole(ctx context.Context, user string) Step {
	role := c.db.Session.Role
	if _, err := c.query(ctx, c.upstream, c.cred, role, "SELECT 1"); err != nil {
		s := failure(err)
		s.Detail = fmt.Sprintf("%s may not SET ROLE %s (session.role): %s", user, role, s.Detail)
		s.Advice = fmt.Sprintf("GRANT %s TO %s;", quoted(role), quoted(user))
		return s
	}
	return fine("%s may SET ROLE %s", user, role)
}

// noAnswer is what becomes of a question that the database answers with nothing, as
// some that only speak the protocol do.
var noAnswer = Step{
	Result: Warning, Detail: "how the user logs in cannot be seen: the database's answer is empty",
	Advice: "Is this a pooler, or something else that is no server of PostgreSQL, MySQL or MariaDB?",
}

// quoted writes a name as PostgreSQL takes it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// identified finds the plugin in what SHOW CREATE USER says: IDENTIFIED WITH 'plugin'
// (MySQL), IDENTIFIED VIA plugin (MariaDB).
var identified = regexp.MustCompile("IDENTIFIED (?:WITH|VIA) ['`]?([A-Za-z0-9_]+)")

func (c *checker) mysqlRights(ctx context.Context) Step {
	// The answer holds the hash of the password: nothing but the plugin is shown.
	rows, err := c.query(ctx, c.upstream, c.cred, "", "SHOW CREATE USER CURRENT_USER()")
	if err != nil {
		s := failure(err)
		s.Result, s.Detail = Warning, "how the user logs in cannot be seen: "+s.Detail
		return s
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return noAnswer
	}
	plugin := "mysql_native_password" // MariaDB says IDENTIFIED BY PASSWORD
	if m := identified.FindStringSubmatch(rows[0][len(rows[0])-1]); m != nil {
		plugin = m[1]
	}
	if c.db.Credentials.IAM != nil && plugin != iamPlugin {
		return Step{
			Result: Warning, Detail: fmt.Sprintf("%s logs in by %s, and yet with a token", c.cred.Username, plugin),
			Advice: fmt.Sprintf("Is this a database of RDS? There: ALTER USER '%s' IDENTIFIED WITH %s AS 'RDS';", c.cred.Username, iamPlugin),
		}
	}
	return fine("%s logs in by %s", c.cred.Username, plugin)
}
