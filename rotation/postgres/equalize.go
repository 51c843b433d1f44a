package postgres

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/credproxy/credproxy/rotation/account"
)

// options are how a role is a member of another. Servers before PostgreSQL 16 have admin
// alone; the others are then empty.
type options struct{ admin, inherit, set string }

// membership is in one role, by one grantor.
type membership struct {
	role, grantor string
	options
}

// memberships returns those of a role, by grantor.
func (c *change) memberships(role string) ([]membership, error) {
	more := "'', ''"
	if c.version >= 160000 {
		more = "m.inherit_option, m.set_option"
	}
	rows, err := c.query("SELECT r.rolname, coalesce(g.rolname, ''), m.admin_option, " + more + ` FROM pg_auth_members m
		JOIN pg_roles u ON u.oid = m.member JOIN pg_roles r ON r.oid = m.roleid LEFT JOIN pg_roles g ON g.oid = m.grantor
		WHERE u.rolname = ` + literal(role) + " ORDER BY 1, 2")
	var all []membership
	for _, row := range rows {
		all = append(all, membership{row[0], row[1], options{row[2], row[3], row[4]}})
	}
	return all, err
}

// merged returns what all grantors together give.
func merged(all []membership) map[string]options {
	m := map[string]options{}
	for _, one := range all {
		o := m[one.role]
		m[one.role] = options{max(o.admin, one.admin), max(o.inherit, one.inherit), max(o.set, one.set)} // "t" is above "f"
	}
	return m
}

// equalizeMemberships makes the role a member of what the other is a member of, of nothing
// else, and in the same ways. The second of two users is a member of the first besides, as
// AWS's templates have it, and so has the first's rights on objects; unless both have them
// from a common owner.
func (c *change) equalizeMemberships() error {
	of, err := c.memberships(c.Like)
	if err != nil {
		return err
	}
	has, err := c.memberships(c.New.Username)
	if err != nil {
		return err
	}
	wants, got := merged(of), merged(has)
	delete(wants, c.New.Username)
	plain := options{admin: "f"}
	if c.version >= 160000 {
		plain = options{"f", "t", "t"}
	}
	switch {
	case c.Owner != "":
		if rows, err := c.query("SELECT FROM pg_roles WHERE rolname = " + literal(c.Owner)); err != nil {
			return err
		} else if len(rows) == 0 {
			return &account.Obstacle{Message: fmt.Sprintf("there is no role %s, which is to own what the users make", c.Owner),
				Hint: fmt.Sprintf("CREATE ROLE %s NOLOGIN, give it the objects and rights of %s, or leave OWNER_ROLE out", name(c.Owner), c.Like)}
		}
		if _, ok := wants[c.Owner]; !ok {
			wants[c.Owner] = plain
		}
	case c.New.Username == c.Like+account.CloneSuffix:
		wants[c.Like] = plain
	}
	for _, role := range slices.Sorted(maps.Keys(got)) {
		want, keep := wants[role]
		if keep && want == got[role] || !keep && role == c.Like && c.Owner == "" {
			continue
		}
		if err := c.needAdmin(role, "change the members of the role "+role); err != nil {
			return err
		}
		for _, m := range has {
			if m.role != role {
				continue
			}
			by := ""
			if c.version >= 160000 {
				by = " GRANTED BY " + name(m.grantor)
				if err := c.needGrantor(m); err != nil {
					return err
				}
			}
			c.add("REVOKE %s FROM %s%s CASCADE", name(role), name(c.New.Username), by)
		}
		delete(got, role)
	}
	for _, role := range slices.Sorted(maps.Keys(wants)) {
		if _, ok := got[role]; ok {
			continue
		}
		if err := c.needAdmin(role, "make a member of the role "+role); err != nil {
			return err
		}
		c.add("GRANT %s TO %s%s", name(role), name(c.New.Username), wants[role].with(c.version))
	}
	return nil
}

// needGrantor is the obstacle that the session's user may not take back what another has
// granted.
func (c *change) needGrantor(m membership) error {
	if c.super || m.grantor == c.me {
		return nil
	}
	rows, err := c.query(fmt.Sprintf("SELECT pg_has_role(session_user, %s, 'USAGE')", literal(m.grantor)))
	if err != nil || len(rows) == 1 && rows[0][0] == "t" {
		return err
	}
	return &account.Obstacle{Message: fmt.Sprintf("%s is a member of %s, which %s is not, and %s may not take back what %s has granted", c.New.Username, m.role, c.Like, c.me, m.grantor),
		Hint: fmt.Sprintf("As %s: REVOKE %s FROM %s CASCADE; let %s grant memberships from then on", m.grantor, name(m.role), name(c.New.Username), c.me)}
}

// with writes the options of a GRANT.
func (o options) with(version int) string {
	switch {
	case version >= 160000:
		word := map[string]string{"t": "TRUE", "f": "FALSE"}
		return fmt.Sprintf(" WITH ADMIN %s, INHERIT %s, SET %s", word[o.admin], word[o.inherit], word[o.set])
	case o.admin == "t":
		return " WITH ADMIN OPTION"
	}
	return ""
}

// setting names one of ALTER ROLE ... SET: in one database, or in all.
type setting struct{ database, parameter string }

// settingsOf returns the settings of a role.
func (c *change) settingsOf(role string) (map[setting]string, error) {
	rows, err := c.query(`SELECT coalesce(d.datname, ''), unnest(s.setconfig) FROM pg_db_role_setting s
		JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = ` + literal(role))
	all := map[setting]string{}
	for _, row := range rows {
		parameter, value, _ := strings.Cut(row[1], "=")
		all[setting{row[0], parameter}] = value
	}
	return all, err
}

// equalizeSettings gives the role the settings of the other, and no others.
func (c *change) equalizeSettings() error {
	wants, err := c.settingsOf(c.Like)
	if err != nil {
		return err
	}
	has, err := c.settingsOf(c.New.Username)
	if err != nil {
		return err
	}
	if c.Owner != "" { // what the role makes belongs to the owner
		wants[setting{"", "role"}] = c.Owner
	}
	byName := func(a, b setting) int {
		return cmp.Or(cmp.Compare(a.database, b.database), cmp.Compare(a.parameter, b.parameter))
	}
	for _, s := range slices.SortedFunc(maps.Keys(has), byName) {
		if _, keep := wants[s]; !keep {
			c.add("ALTER ROLE %s%s RESET %s", name(c.New.Username), s.in(), s.quoted())
		}
	}
	for _, s := range slices.SortedFunc(maps.Keys(wants), byName) {
		if value, ok := has[s]; !ok || value != wants[s] {
			if err := c.needSet(s.parameter); err != nil {
				return err
			}
			c.add("ALTER ROLE %s%s SET %s TO %s", name(c.New.Username), s.in(), s.quoted(), s.value(wants[s]))
		}
	}
	return nil
}

// needSet is the obstacle that the session's user may not set a parameter: one that only
// superusers may, or one that no loaded extension knows.
func (c *change) needSet(parameter string) error {
	if c.super || parameter == "role" { // anybody's, and not in pg_settings
		return nil
	}
	may := "false"
	if c.version >= 150000 {
		may = fmt.Sprintf("has_parameter_privilege(session_user, %s, 'SET')", literal(parameter))
	}
	rows, err := c.query(fmt.Sprintf("SELECT EXISTS (SELECT FROM pg_settings WHERE lower(name) = lower(%s) AND context IN ('user', 'backend')) OR %s", literal(parameter), may))
	if err != nil || len(rows) == 1 && rows[0][0] == "t" {
		return err
	}
	return &account.Obstacle{Message: fmt.Sprintf("%s has the setting %s, which %s may not give to %s", c.Like, parameter, c.me, c.New.Username),
		Hint: fmt.Sprintf("As a superuser: GRANT SET ON PARAMETER %s TO %s (PostgreSQL 15 and later), or take the setting from %s", parameter, name(c.me), c.Like)}
}

func (s setting) in() string {
	if s.database == "" {
		return ""
	}
	return " IN DATABASE " + name(s.database)
}

// quoted writes the parameter, each part of an extension's for itself.
func (s setting) quoted() string {
	parts := strings.Split(s.parameter, ".")
	for i, part := range parts {
		parts[i] = name(part)
	}
	return strings.Join(parts, ".")
}

// quotedLists are the parameters whose value is kept as a list of quoted names
// (GUC_LIST_QUOTE in guc_tables.c): each name is a value of its own when they are set.
var quotedLists = []string{"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"}

// value writes what the catalog has of the parameter.
func (s setting) value(kept string) string {
	if !slices.Contains(quotedLists, strings.ToLower(s.parameter)) {
		return literal(kept)
	}
	names := splitNames(kept)
	for i, n := range names {
		names[i] = literal(n)
	}
	if len(names) == 0 {
		return "''"
	}
	return strings.Join(names, ", ")
}

// splitNames takes a list of quoted names apart, as SplitGUCList of PostgreSQL does.
func splitNames(list string) (names []string) {
	for rest := strings.TrimSpace(list); rest != ""; {
		var n string
		if !strings.HasPrefix(rest, `"`) {
			n, rest, _ = strings.Cut(rest, ",")
			names = append(names, strings.TrimSpace(n))
			rest = strings.TrimSpace(rest)
			continue
		}
		rest = rest[1:]
		for {
			part, after, closed := strings.Cut(rest, `"`)
			n += part
			if rest = after; !closed || !strings.HasPrefix(rest, `"`) {
				break
			}
			n += `"`
			rest = rest[1:]
		}
		names = append(names, n)
		_, rest, _ = strings.Cut(rest, ",")
		rest = strings.TrimSpace(rest)
	}
	return names
}
