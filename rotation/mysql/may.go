package mysql

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/credproxy/credproxy/rotation/account"
)

// checkGives says whether the session's user may grant and revoke what is needed.
func (p *planner) checkGives(needs []need) error {
	for _, n := range needs {
		if p.rights.gives(n) {
			continue
		}
		o := &account.Obstacle{}
		switch {
		case n.role != nil:
			o.Message = fmt.Sprintf("%s may not grant the role %s", p.user, n.role.role())
			o.Hint = fmt.Sprintf("GRANT %s TO %s WITH ADMIN OPTION.", n.role.role(), p.user)
		case n.proxy != nil:
			o.Message = fmt.Sprintf("%s may not grant PROXY ON %s", p.user, n.proxy)
			o.Hint = fmt.Sprintf("GRANT PROXY ON %s TO %s WITH GRANT OPTION.", n.proxy, p.user)
		default:
			what := cmp.Or(n.privilege, "GRANT OPTION")
			o.Message = fmt.Sprintf("%s may not grant or revoke %s ON %s", p.user, what, n.on)
			o.Hint = fmt.Sprintf("GRANT %s ON %s TO %s WITH GRANT OPTION; or do without it at the users of the secret.", cmp.Or(n.privilege, "USAGE"), n.on, p.user)
		}
		return o
	}
	return nil
}

// gives reports whether who has the rights may give the other away.
func (g *grants) gives(n need) bool {
	switch {
	case n.role != nil:
		return g.roles[*n.role] || g.global("ROLE_ADMIN") || n.role.host != "" && g.global("SUPER")
	case n.proxy != nil:
		return g.proxies[*n.proxy] || g.proxies[user{}]
	case n.on == anywhere && isDynamic(n.privilege):
		return g.dynamic[n.privilege]
	}
	return g.may(n, true)
}

// may reports whether there is a privilege (none: any) on something or on what it is in, and,
// if that is asked, whether it may be given away.
func (g *grants) may(n need, option bool) bool {
	for on, p := range g.on {
		if option && !p.option || n.privilege != "" && !p.has[n.privilege] && !p.has[all] {
			continue
		}
		if on == anywhere || on == n.on || on == databaseOf(n.on) || matches(on, databaseOf(n.on)) {
			return true
		}
	}
	return false
}

// matches reports whether privileges on databases by a pattern are on the database. (Those
// on a database have its name as a pattern, too: with a backslash before each _.)
func matches(pattern, database string) bool {
	pattern, ok := strings.CutSuffix(pattern, ".*")
	if !ok || database == "" {
		return false
	}
	var b strings.Builder
	escaped := false
	for _, c := range pattern {
		switch {
		case c == '\\' && !escaped:
			escaped = true
			continue
		case c == '%' && !escaped:
			b.WriteString("(?s:.*)")
		case c == '_' && !escaped:
			b.WriteString("(?s:.)")
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
		escaped = false
	}
	r, err := regexp.Compile("^" + b.String() + "$")
	return err == nil && r.MatchString(strings.ReplaceAll(strings.TrimSuffix(database, ".*"), `\`, ""))
}
